#include "holdfast/config_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "holdfast/read_file.h"
#include "holdfast/text.h"
#include "holdfast/toml_section.h"
#include "holdfast/units.h"
#include "io/address.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

// What stands in which section.
constexpr KnownKey kKnownKeys[] = {
    {"", "name"},
    {"", "data"},
    {"", "listen"},
    {"", "admin_socket"},
    {"", "key"},
    {"", "users"},
    {"", "permissions"},
    {"", "insecure"},
    {"", "anonymous"},
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
    {"mqtt", "session_expiry_max"},
    {"mqtt", "keep_alive_max"},
    {"mqtt", "response_topic"},
    {"mqtt", "moved_to"},
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
  const auto table = parse_toml(text, name);
  if (!table) return std::unexpected(table.error());
  Mistakes mistakes;
  Reader reader(name, kKnownKeys, &mistakes);
  Section root(reader, *table, "");
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
  root.text("users", &config.users);
  root.text("permissions", &config.permissions);
  for (const char* key : {"data", "admin_socket", "key", "users", "permissions"}) {
    std::string path;
    if (root.has(key) && root.find(key)->is_string() && root.text(key, &path) && path.empty()) {
      root.mistake(key, fmt::format("`{}` is empty; leave it out for its default", key));
    }
  }
  root.flag("insecure", &node.insecure);
  root.flag("anonymous", &node.identities.anonymous);
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
    section.duration_s("session_expiry_max", 1, 100 * 365 * 86400u, &node.session_expiry_max_s);
    node.session_expiry_default_s = std::min(node.session_expiry_default_s, node.session_expiry_max_s);
    uint32_t keep_alive_max_s = node.keep_alive_max_s;
    section.duration_s("keep_alive_max", 5, 65535, &keep_alive_max_s);
    node.keep_alive_max_s = static_cast<uint16_t>(keep_alive_max_s);
    if (section.text("response_topic", &node.response_topic) && !node.response_topic.empty() &&
        !mqtt::topic_name_valid(node.response_topic)) {
      section.mistake("response_topic", "`response_topic` is not a topic name: it may hold neither + nor #");
    }
    section.text("moved_to", &node.server_moved);
  });

  if (!mistakes.empty()) return std::unexpected(mistakes);
  return config;
}

std::expected<Config, Mistakes> load_config(const std::string& path) {
  const auto text = read_file(path, 1 << 20);
  if (!text) return std::unexpected(Mistakes{text.error()});
  auto config = parse_config(*text, path);
  if (!config) return config;
  for (std::string* file : {&config->users, &config->permissions}) {
    if (!file->empty()) *file = (std::filesystem::path(path).parent_path() / *file).string();
  }
  return config;
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
