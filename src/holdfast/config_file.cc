#include "holdfast/config_file.h"

#include <fmt/format.h>

// Compiled here and nowhere else. With exceptions, though everything else is without: version 3.3 in its mode without them goes
// on after some errors, into undefined behaviour ("[,").
#define TOML_EXCEPTIONS 1
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <algorithm>
#include <functional>
#include <map>
#include <sstream>

#include "holdfast/read_file.h"
#include "holdfast/text.h"
#include "holdfast/units.h"
#include "io/address.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

// What stands in which section, for suggestions.
struct KnownKey {
  const char* section;
  const char* key;
};
constexpr KnownKey kKnownKeys[] = {
    {"", "name"},
    {"", "data"},
    {"", "listen"},
    {"", "admin_socket"},
    {"", "key"},
    {"", "insecure"},
    {"", "quota"},
    {"", "retention"},
    {"", "upstream"},
    {"", "route"},
    {"", "event_time"},
    {"", "mqtt"},
    {"upstream", "host"},
    {"upstream", "port"},
    {"upstream", "compress"},
    {"route", "filter"},
    {"route", "stream"},
    {"route", "priority"},
    {"route", "time_to_live"},
    {"route", "upstream"},
    {"event_time", "filter"},
    {"event_time", "field"},
    {"event_time", "unit"},
    {"mqtt", "session_expiry"},
    {"mqtt", "max_packet"},
    {"mqtt", "receive_maximum"},
};

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a number";
    case toml::node_type::floating_point:
      return "a decimal number";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::date_time:
      return "a date";
    case toml::node_type::none:
      break;
  }
  return "nothing";
}

class Reader {
 public:
  Reader(const std::string& name, Mistakes* mistakes) : name_(name), mistakes_(mistakes) {}

  void mistake(const toml::source_region& where, const std::string& text) {
    mistakes_->push_back(fmt::format("{}:{}: {}", name_, where.begin.line, text));
  }

 private:
  const std::string& name_;
  Mistakes* const mistakes_;
};

// One table of the file. Each accessor leaves *out as it is when the key is not there, and names the mistake
// when it is there and wrong.
class Section {
 public:
  Section(Reader& reader, const toml::table& table, const char* name)
      : reader_(reader), table_(table), name_(name) {}

  // Keys that nobody knows.
  void refuse_unknown() {
    for (const auto& [key, value] : table_) {
      const std::string text(key.str());
      std::vector<std::string> here;
      std::vector<std::string> elsewhere;
      bool known = false;
      for (const KnownKey& candidate : kKnownKeys) {
        if (std::string_view(candidate.section) == name_) {
          here.emplace_back(candidate.key);
          known = known || text == candidate.key;
        } else if (text == candidate.key) {
          elsewhere.push_back(*candidate.section == '\0'
                                  ? fmt::format("`{}` at the top of the file", text)
                                  : fmt::format("`{}` in [{}]", text, candidate.section));
        }
      }
      if (known) continue;
      std::string said = fmt::format("unknown key `{}`", qualified(text));
      if (const std::string near = nearest_name(text, here); !near.empty()) {
        said += fmt::format("; did you mean `{}`?", qualified(near));
      } else if (!elsewhere.empty()) {
        said += fmt::format("; did you mean {}?", elsewhere.front());
      }
      reader_.mistake(key.source(), said);
    }
  }

  const toml::node* find(const char* key) const { return table_.get(key); }
  bool has(const char* key) const { return table_.contains(key); }
  const toml::source_region& where(const char* key) const {
    const toml::node* node = find(key);
    return node == nullptr ? table_.source() : node->source();
  }
  void mistake(const char* key, const std::string& text) { reader_.mistake(where(key), text); }

  bool text(const char* key, std::string* out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    if (!node->is_string()) {
      wrong_type(key, *node, "a string");
      return false;
    }
    *out = node->as_string()->get();
    return true;
  }

  void flag(const char* key, bool* out) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_boolean()) return wrong_type(key, *node, "true or false");
    *out = node->as_boolean()->get();
  }

  template <typename Number>
  void number(const char* key, int64_t min, int64_t max, Number* out) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_integer()) return wrong_type(key, *node, "a number");
    const int64_t value = node->as_integer()->get();
    if (value < min || value > max) {
      return mistake(key, fmt::format("`{}` is {}, but may be {} to {}", qualified(key), value, min, max));
    }
    *out = static_cast<Number>(value);
  }

  void size(const char* key, uint64_t min, uint64_t max, uint64_t* out) {
    const std::string wanted = "a size with its unit, such as \"4 GiB\"";
    std::string written;
    if (!quantity(key, wanted, &written)) return;
    const auto value = parse_size(written);
    if (!value)
      return mistake(key, fmt::format("`{}` is \"{}\", which is not {}", qualified(key), written, wanted));
    if (*value < min || *value > max) {
      return mistake(key, fmt::format("`{}` is {}, but may be {} to {}", qualified(key), format_size(*value),
                                      binary_size(min), binary_size(max)));
    }
    *out = *value;
  }

  void duration_s(const char* key, uint32_t min_s, uint32_t max_s, uint32_t* out) {
    const std::string wanted = "a duration with its unit, such as \"7 d\" or \"1 h 30 min\"";
    std::string written;
    if (!quantity(key, wanted, &written)) return;
    const auto value = parse_duration(written);
    if (!value)
      return mistake(key, fmt::format("`{}` is \"{}\", which is not {}", qualified(key), written, wanted));
    const int64_t whole_s = value->ns / 1'000'000'000;
    if (whole_s < min_s || whole_s > max_s || value->ns % 1'000'000'000 != 0) {
      return mistake(
          key, fmt::format("`{}` is \"{}\", but may be {} to {}, in whole seconds", qualified(key), written,
                           format_duration(seconds(min_s)), format_duration(seconds(max_s))));
    }
    *out = static_cast<uint32_t>(whole_s);
  }

  void filter(const char* key, std::string* out) {
    if (!text(key, out)) {
      if (!has(key)) reader_.mistake(table_.source(), fmt::format("[{}] needs `{}`", name_, key));
      return;
    }
    if (!mqtt::topic_filter_valid(*out)) {
      mistake(key, fmt::format("`{}` is \"{}\", which is not an MQTT topic filter", qualified(key), *out));
    }
  }

  void section(const char* key, const std::function<void(Section&)>& visit) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_table()) return wrong_type(key, *node, "a section, as [" + std::string(key) + "]");
    Section inner(reader_, *node->as_table(), key);
    inner.refuse_unknown();
    visit(inner);
  }

  void sections(const char* key, const std::function<void(Section&)>& visit) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const std::string wanted = fmt::format("a section that may be repeated, as [[{}]]", key);
    if (!node->is_array()) return wrong_type(key, *node, wanted);
    for (const toml::node& element : *node->as_array()) {
      if (!element.is_table()) {
        reader_.mistake(element.source(),
                        fmt::format("`{}` holds {}, but is {}", key, type_name(element), wanted));
        continue;
      }
      Section inner(reader_, *element.as_table(), key);
      inner.refuse_unknown();
      visit(inner);
    }
  }

  // A list of strings, or one string.
  void texts(const char* key, std::vector<std::string>* out) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (node->is_string()) {
      *out = {node->as_string()->get()};
      return;
    }
    if (!node->is_array()) return wrong_type(key, *node, "a list of strings");
    out->clear();
    for (const toml::node& element : *node->as_array()) {
      if (!element.is_string()) {
        reader_.mistake(element.source(), fmt::format("`{}` holds {}, but is a list of strings",
                                                      qualified(key), type_name(element)));
        continue;
      }
      out->push_back(element.as_string()->get());
    }
  }

  std::string qualified(std::string_view key) const {
    return *name_ == '\0' ? std::string(key) : fmt::format("{}.{}", name_, key);
  }
  uint32_t line() const { return table_.source().begin.line; }

 private:
  void wrong_type(const char* key, const toml::node& node, const std::string& wanted) {
    mistake(key, fmt::format("`{}` is {}, but should be {}", qualified(key), type_name(node), wanted));
  }

  bool quantity(const char* key, const std::string& wanted, std::string* out) {
    const toml::node* node = find(key);
    if (node == nullptr) return false;
    if (!node->is_string()) {
      wrong_type(key, *node, wanted);
      return false;
    }
    *out = node->as_string()->get();
    return true;
  }

  static std::string binary_size(uint64_t bytes) {
    if (bytes >= uint64_t{1} << 40) return fmt::format("{} TiB", bytes >> 40);
    if (bytes >= uint64_t{1} << 20) return fmt::format("{} MiB", bytes >> 20);
    if (bytes >= uint64_t{1} << 10) return fmt::format("{} KiB", bytes >> 10);
    return fmt::format("{} B", bytes);
  }

  Reader& reader_;
  const toml::table& table_;
  const char* const name_;
};

// Stream names become parts of topics between nodes and of messages to people.
bool stream_name_valid(std::string_view name) {
  if (name.empty() || name.size() > 64) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
  });
}

void read_upstream(Section& section, bool insecure, node::Config* config) {
  node::Upstream upstream;
  if (!section.text("host", &upstream.host)) {
    if (!section.has("host"))
      section.mistake("host", "[upstream] needs `host`, the node that takes what this one keeps");
  } else if (upstream.host.empty() || upstream.host.find_first_of(" /:") != std::string::npos) {
    if (!io::parse_address(upstream.host, 1)) {
      section.mistake(
          "host",
          fmt::format("`upstream.host` is \"{}\", which is not a name or an address; the port goes to `port`",
                      upstream.host));
    }
  } else if (!insecure && !io::host_is_loopback(upstream.host)) {
    section.mistake(
        "host",
        fmt::format(
            "`upstream.host` is \"{}\", another machine, and this version does not encrypt connections: "
            "whoever sees the network could read and forge messages. If the way there is protected by "
            "other means (VPN, a cable of your own), set insecure = true",
            upstream.host));
  }
  section.number("port", 1, 65535, &upstream.port);
  section.flag("compress", &upstream.compress);
  config->upstream = upstream;
}

void read_routes(Section& root, node::Config* config) {
  struct Seen {
    node::Route route;
    uint32_t line = 0;
  };
  std::map<std::string, Seen> streams;
  root.sections("route", [&](Section& section) {
    node::Route route;
    section.filter("filter", &route.filter);
    if (!section.text("stream", &route.stream)) {
      if (!section.has("stream"))
        section.mistake("stream", "[route] needs `stream`, the name of the stream that takes the messages");
    } else if (!stream_name_valid(route.stream)) {
      section.mistake(
          "stream",
          fmt::format("`route.stream` is \"{}\", but may be 1 to 64 letters, digits, '.', '_', '-' and '/'",
                      route.stream));
    } else if (route.stream.starts_with("down/")) {
      section.mistake("stream",
                      "`route.stream` begins with \"down/\", which is kept for what goes down to nodes");
    }
    section.number("priority", 0, 9, &route.priority);
    section.duration_s("time_to_live", 1, 100 * 365 * 86400u, &route.time_to_live_s);
    section.flag("upstream", &route.upstream);

    const auto [seen, is_new] = streams.try_emplace(route.stream, Seen{route, section.line()});
    const node::Route& first = seen->second.route;
    if (!is_new && (first.priority != route.priority || first.time_to_live_s != route.time_to_live_s)) {
      section.mistake(
          "stream",
          fmt::format("stream \"{}\" has another priority or time_to_live in the [[route]] of line {}; "
                      "a stream has one of each",
                      route.stream, seen->second.line));
    }
    config->routes.push_back(std::move(route));
  });
}

void read_event_times(Section& root, node::Config* config) {
  root.sections("event_time", [&](Section& section) {
    using Unit = node::EventTimeField::Unit;
    static const std::map<std::string, Unit> kUnits = {{"s", Unit::kSeconds},
                                                       {"ms", Unit::kMilliseconds},
                                                       {"us", Unit::kMicroseconds},
                                                       {"ns", Unit::kNanoseconds},
                                                       {"rfc3339", Unit::kRfc3339}};
    node::EventTimeField field;
    section.filter("filter", &field.filter);
    if (!section.text("field", &field.field) && !section.has("field")) {
      section.mistake("field", "[event_time] needs `field`, the JSON field that holds the device's time");
    } else if (section.has("field") && field.field.empty()) {
      section.mistake("field", "`event_time.field` is empty");
    }
    std::string unit = "ms";
    section.text("unit", &unit);
    if (const auto found = kUnits.find(unit); found != kUnits.end()) {
      field.unit = found->second;
    } else {
      section.mistake("unit",
                      fmt::format("`event_time.unit` is \"{}\", but may be s, ms, us, ns or rfc3339", unit));
    }
    config->event_times.push_back(std::move(field));
  });
}

}  // namespace

bool node_name_valid(std::string_view name) {
  return stream_name_valid(name) && name.find('/') == std::string_view::npos && name != "." && name != "..";
}

std::expected<Config, Mistakes> parse_config(std::string_view text, const std::string& name) {
  // TOML forbids these everywhere, and toml++ 3.3 trips over some of them.
  for (size_t i = 0, line = 1; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\n') ++line;
    if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f) {
      return std::unexpected(
          Mistakes{fmt::format("{}:{}: a control character (0x{:02x}); is it a text file?", name, line, c)});
    }
  }
  toml::table table;
  try {
    table = toml::parse(text, std::string_view(name));
  } catch (const toml::parse_error& error) {
    return std::unexpected(
        Mistakes{fmt::format("{}:{}: {}", name, error.source().begin.line, error.description())});
  }
  Mistakes mistakes;
  Reader reader(name, &mistakes);
  Section root(reader, table, "");
  root.refuse_unknown();

  Config config;
  node::Config& node = config.node;
  if (root.text("name", &node.name) && !node_name_valid(node.name)) {
    root.mistake("name", fmt::format("`name` is \"{}\", but may be 1 to 64 letters, digits, '.', '_' and '-'",
                                     node.name));
  }
  root.text("data", &config.data);
  root.text("admin_socket", &config.admin_socket);
  root.text("key", &config.key);
  for (const char* key : {"data", "admin_socket", "key"}) {
    std::string path;
    if (root.has(key) && root.find(key)->is_string() && root.text(key, &path) && path.empty()) {
      root.mistake(key, fmt::format("`{}` is empty; leave it out for its default", key));
    }
  }
  root.flag("insecure", &node.insecure);
  root.size("quota", uint64_t{32} << 20, uint64_t{1024} << 40, &node.quota_bytes);
  root.duration_s("retention", 0, 100 * 365 * 86400u, &node.retention_s);

  root.texts("listen", &config.listen);
  for (const std::string& address : config.listen) {
    const auto at = io::parse_host_port(address);
    if (!at) {
      root.mistake("listen",
                   fmt::format("`listen` holds \"{}\", which is not ADDRESS:PORT, such as \"127.0.0.1:1883\"",
                               address));
    } else if (!node.insecure && !io::host_is_loopback(at->host)) {
      root.mistake(
          "listen",
          fmt::format(
              "`listen` holds \"{}\", which other machines can reach, and this version does not encrypt "
              "connections. Listen on 127.0.0.1, or, if the network is protected by other means, set "
              "insecure = true",
              address));
    }
  }

  root.section("upstream", [&](Section& section) { read_upstream(section, node.insecure, &node); });
  read_routes(root, &node);
  read_event_times(root, &node);
  root.section("mqtt", [&](Section& section) {
    section.duration_s("session_expiry", 0, 100 * 365 * 86400u, &node.session_expiry_default_s);
    uint64_t packet_bytes_max = node.packet_bytes_max;
    section.size("max_packet", 1 << 10, 16 << 20, &packet_bytes_max);
    node.packet_bytes_max = static_cast<uint32_t>(packet_bytes_max);
    section.number("receive_maximum", 1, 65535, &node.receive_maximum);
  });

  if (!mistakes.empty()) return std::unexpected(mistakes);
  return config;
}

std::expected<Config, Mistakes> load_config(const std::string& path) {
  const auto text = read_file(path, 1 << 20);
  if (!text) return std::unexpected(Mistakes{text.error()});
  return parse_config(*text, path);
}

std::string config_template(const std::string& node_name, const std::string& key_path) {
  std::ostringstream out;
  out << "# Holdfast. Every key has a default; docs/configuration.md explains them all.\n"
         "# Check a change before a restart: holdfast config test\n"
         "\n"
         "name = "
      << json_quoted(node_name)
      << "\n"
         "listen = [\"127.0.0.1:1883\"]\n"
         "quota = \"4 GiB\"            # of disk, for everything\n"
         "retention = \"7 d\"          # how long what nobody waits for is kept\n";
  if (!key_path.empty()) out << "key = " << json_quoted(key_path) << "\n";
  out << "\n"
         "# Where everything goes when the link is up. Without it this node only keeps: a hub.\n"
         "# [upstream]\n"
         "# host = \"127.0.0.1\"\n"
         "# port = 1883\n"
         "\n"
         "# Alarms first: a stream of their own, sent before all others.\n"
         "# [[route]]\n"
         "# filter = \"alarm/#\"\n"
         "# stream = \"alarms\"\n"
         "# priority = 0\n";
  return out.str();
}

}  // namespace hf::holdfast
