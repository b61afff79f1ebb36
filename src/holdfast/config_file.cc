#include "holdfast/config_file.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "holdfast/data_directory.h"
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
    {"", "listener"},
    {"", "admin_socket"},
    {"", "key"},
    {"", "users"},
    {"", "permissions"},
    {"", "tokens"},
    {"", "log"},
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
    {"upstream", "tls"},
    {"upstream", "ca"},
    {"upstream", "certificate"},
    {"upstream", "key"},
    {"upstream", "server_name"},
    {"listener", "address"},
    {"listener", "protocol"},
    {"listener", "certificate"},
    {"listener", "key"},
    {"listener", "client_ca"},
    {"listener", "client_crl"},
    {"listener", "client_certificate"},
    {"listener", "user_from"},
    {"listener", "proxy"},
    {"listener", "origins"},
    {"listener", "hosts"},
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
    {"mqtt", "session_queue_max"},
    {"mqtt", "keep_alive_max"},
    {"mqtt", "response_topic"},
    {"mqtt", "moved_to"},
};

std::string qualified(const KnownKey& known) {
  return *known.section == '\0' ? known.key : fmt::format("{}.{}", known.section, known.key);
}

// Stream names become parts of topics between nodes and of messages to people.
bool stream_name_valid(std::string_view name) {
  if (name.empty() || name.size() > 64) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
  });
}

// Certificate and key come together. Returns whether they are there.
bool read_pair(Section& section, std::string* certificate, std::string* key) {
  section.path("certificate", certificate);
  section.path("key", key);
  if (section.has("certificate") != section.has("key")) {
    const char* there = section.has("key") ? "key" : "certificate";
    section.mistake(there, fmt::format("`{}` needs `{}` beside it", section.qualified(there),
                                       section.has("key") ? "certificate" : "key"));
  }
  return section.has("certificate");
}

void read_upstream(Section& section, Config* config) {
  node::Upstream upstream;
  const bool insecure = config->node.insecure;
  bool tls = false;
  section.flag("tls", &tls);
  io::TlsClientFiles files;
  section.path("ca", &files.ca);
  read_pair(section, &files.certificate, &files.key);
  section.path("server_name", &files.server_name);
  if (tls) {
    upstream.port = 8883;
    config->upstream_tls = files;
    config->upstream_lines = section.lines();
  } else {
    for (const char* key : {"ca", "certificate", "key", "server_name"}) {
      if (!section.has(key)) continue;
      section.mistake(key, fmt::format("`{}` needs `tls = true` beside it", section.qualified(key)));
    }
  }
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
  } else if (!insecure && !tls && !io::host_is_loopback(upstream.host)) {
    section.mistake(
        "host",
        fmt::format(
            "`upstream.host` is \"{}\", another machine, and the connection is not encrypted: whoever sees "
            "the "
            "network could read and forge messages. Set tls = true, or, if the way there is protected by "
            "other means (VPN, a cable of your own), insecure = true at the top of the file",
            upstream.host));
  }
  section.number("port", 1, 65535, &upstream.port);
  section.flag("compress", &upstream.compress);
  config->node.upstream = upstream;
}

// `address` of a listener; `tls`: what it carries is encrypted.
void check_address(Section& section, const std::string& address, bool tls, bool insecure, bool http) {
  constexpr std::string_view kUnix = "unix:";
  if (address.starts_with(kUnix)) {
    if (address.size() == kUnix.size())
      section.mistake("address", "`listener.address` is a unix socket without a path");
    return;
  }
  const auto at = io::parse_host_port(address);
  if (!at) {
    section.mistake("address",
                    fmt::format("`listener.address` is \"{}\", which is neither ADDRESS:PORT, such as "
                                "\"0.0.0.0:8883\", nor unix:PATH",
                                address));
  } else if (!tls && http && !io::host_is_loopback(at->host)) {
    // Not even with `insecure`: who sees a token once can use it for ever.
    section.mistake(
        "address",
        fmt::format(
            "`listener.address` is \"{}\", which other machines can reach, and HTTP there carries tokens. "
            "Give the listener `certificate` and `key`, or listen on 127.0.0.1",
            address));
  } else if (!tls && !insecure && !io::host_is_loopback(at->host)) {
    section.mistake(
        "address",
        fmt::format("`listener.address` is \"{}\", which other machines can reach, and the listener does "
                    "not encrypt. Give it `certificate` and `key`, or listen on 127.0.0.1, or, if the "
                    "network is protected by other means, set insecure = true at the top of the file",
                    address));
  }
}

void read_listeners(Section& root, Config* config) {
  std::map<std::string, uint32_t> seen;
  for (const std::string& address : config->listen) seen.emplace(address, root.lines()["listen"]);
  root.sections("listener", [&](Section& section) {
    ListenerConfig listener;
    io::DoorOptions& door = listener.door;
    listener.lines = section.lines();
    const size_t protocol = section.choice("protocol", {"mqtt", "websocket", "http"});
    door.websocket = protocol == 1;
    door.http = protocol == 2;
    section.flag("proxy", &door.proxy);
    section.texts("origins", &door.origins);
    if (section.has("origins") && !door.websocket)
      section.mistake("origins", "`listener.origins` needs `protocol = \"websocket\"` beside it");
    for (const std::string& origin : door.origins) {
      if (origin == "*" || origin == "null" || origin.find("://") != std::string::npos) continue;
      section.mistake("origins",
                      fmt::format("`listener.origins` holds \"{}\", which is not an origin, such as "
                                  "\"https://app.example\", nor \"*\"",
                                  origin));
    }

    section.texts(
        "hosts",
        [](const std::string& host) {
          const bool name = !host.empty() && host.find_first_of("/: *") == std::string::npos;
          return name ? ""
                      : fmt::format(
                            "`listener.hosts` holds \"{}\", which is not a name, such as \"hub.example\"; "
                            "no port and no scheme go with it",
                            host);
        },
        &door.hosts);
    if (section.has("hosts") && !door.http)
      section.mistake("hosts", "`listener.hosts` needs `protocol = \"http\"` beside it");

    io::TlsServerFiles files;
    const bool tls = read_pair(section, &files.certificate, &files.key);
    section.path("client_ca", &files.client_ca);
    section.path("client_crl", &files.client_crl);
    files.client_required = section.choice("client_certificate", {"required", "optional"}) == 0;
    files.user_from = section.choice("user_from", {"common_name", "san"}) == 1
                          ? io::TlsServerFiles::UserFrom::kSan
                          : io::TlsServerFiles::UserFrom::kCommonName;
    if (section.has("client_ca") && !tls)
      section.mistake("client_ca", "`listener.client_ca` needs `certificate` and `key` beside it");
    for (const char* key : {"client_crl", "client_certificate", "user_from"}) {
      if (!section.has(key) || section.has("client_ca")) continue;
      section.mistake(
          key, fmt::format("`{}` needs `client_ca` beside it, the authority of the clients' certificates",
                           section.qualified(key)));
    }
    if (tls) door.tls = files;

    if (!section.text("address", &door.address)) {
      if (!section.has("address"))
        section.mistake("address", "[listener] needs `address`, such as \"0.0.0.0:8883\"");
    } else {
      check_address(section, door.address, tls, config->node.insecure, door.http);
      const auto [first, is_new] = seen.emplace(door.address, section.line());
      if (!is_new) {
        const std::string other = first->second == 0 ? "`listen` has by default; set listen = []"
                                                     : fmt::format("line {} has", first->second);
        section.mistake("address",
                        fmt::format("`listener.address` is \"{}\", which {}", door.address, other));
      }
    }
    config->listeners.push_back(std::move(listener));
  });
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

std::vector<std::string> known_config_keys() {
  std::vector<std::string> keys;
  for (const KnownKey& known : kKnownKeys) {
    // Of a list of sections there is one value, the list.
    const std::string_view section = known.section;
    const bool listed = section == "route" || section == "event_time" || section == "listener";
    if (!listed) keys.push_back(qualified(known));
  }
  return keys;
}

std::expected<Config, Mistakes> parse_config(std::string_view text, const std::string& name) {
  const auto table = parse_toml(text, name);
  if (!table) return std::unexpected(table.error());
  Mistakes mistakes;
  Reader reader(name, kKnownKeys, &mistakes);
  Section root(reader, *table, "");
  root.refuse_unknown();

  Config config;
  for (const KnownKey& known : kKnownKeys) {
    const bool top = *known.section == '\0';
    const auto found = top ? (*table)[known.key] : (*table)[known.section][known.key];
    if (found) config.given.insert(qualified(known));
  }
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
  root.text("tokens", &config.tokens);
  config.log_json = root.choice("log", {"text", "json"}) == 1;
  for (const char* key : {"data", "admin_socket", "key", "users", "permissions", "tokens"}) {
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
              "`listen` holds \"{}\", which other machines can reach, and `listen` does not encrypt. Open a "
              "[[listener]] with `certificate` and `key`, or listen on 127.0.0.1, or, if the network is "
              "protected by other means, set insecure = true",
              address));
    }
  }

  read_listeners(root, &config);
  root.section("upstream", [&](Section& section) { read_upstream(section, &config); });
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
    section.size("session_queue_max", 16 << 20, uint64_t{1} << 50, &node.session_owed_bytes_max);
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
  config.lines = root.lines();
  return config;
}

std::expected<Config, Mistakes> load_config(const std::string& path) {
  const auto text = read_file(path, 1 << 20);
  if (!text) return std::unexpected(Mistakes{text.error()});
  auto config = parse_config(*text, path);
  if (!config) return config;
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  const auto from_here = [&](std::string* file) {
    if (!file->empty() && file->front() != '/') *file = directory + *file;
  };
  from_here(&config->data);
  from_here(&config->admin_socket);
  from_here(&config->key);
  from_here(&config->users);
  from_here(&config->permissions);
  from_here(&config->tokens);
  for (ListenerConfig& listener : config->listeners) {
    if (std::string file = listener.door.unix_path(); !file.empty()) {
      from_here(&file);
      listener.door.address = "unix:" + file;
    }
    if (!listener.door.tls) continue;
    for (std::string* file : {&listener.door.tls->certificate, &listener.door.tls->key,
                              &listener.door.tls->client_ca, &listener.door.tls->client_crl})
      from_here(file);
  }
  if (config->upstream_tls) {
    for (std::string* file :
         {&config->upstream_tls->ca, &config->upstream_tls->certificate, &config->upstream_tls->key})
      from_here(file);
  }
  return config;
}

FileCheck check_files(const Config& config, const std::string& name, const std::string& data) {
  FileCheck check;
  const auto top = [&](const char* key, const std::string& said) {
    const auto at = config.lines.find(key);
    const std::string place =
        at == config.lines.end() ? name + ": " : fmt::format("{}:{}: `{}`: ", name, at->second, key);
    check.mistakes.push_back(place + said);
  };
  const auto place_of = [&](const std::string& said, const char* file) {
    return said.empty() && !data.empty() ? data + "/" + file : said;
  };
  constexpr size_t kSocketPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;
  const std::string socket = place_of(config.admin_socket, "admin.sock");
  if (socket.size() > kSocketPathBytesMax) {
    top("admin_socket", fmt::format("{} has {} bytes; the path of a socket has at most {}", socket,
                                    socket.size(), kSocketPathBytesMax));
  }
  if (const std::string path = place_of(config.key, "key"); !path.empty()) {
    if (const auto key = read_key(path); !key) top("key", key.error());
  }
  const auto take = [&](const Lines& lines, const char* section, const io::TlsContext::Loaded& loaded) {
    if (loaded) {
      for (const io::TlsContext::Warning& warning : (*loaded)->warnings())
        check.warnings.push_back(warning.text);
      return;
    }
    const auto at = lines.find(loaded.error().key);
    check.mistakes.push_back(fmt::format("{}:{}: `{}.{}`: {}", name,
                                         at == lines.end() ? lines.at("") : at->second, section,
                                         loaded.error().key, loaded.error().text));
  };
  for (const ListenerConfig& listener : config.listeners) {
    if (!listener.door.tls) continue;
    take(listener.lines, "listener",
         io::TlsContext::server(*listener.door.tls, io::TlsContext::Protocol::kMqtt));
  }
  if (config.upstream_tls)
    take(config.upstream_lines, "upstream", io::TlsContext::client(*config.upstream_tls));
  return check;
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
         "# Probes, metrics and an API over HTTP; the API needs a token: holdfast token add NAME --role "
         "read\n"
         "# [[listener]]\n"
         "# address = \"127.0.0.1:8080\"\n"
         "# protocol = \"http\"\n"
         "\n"
         "# Where everything goes when the link is up. Without it this node only keeps: a hub.\n"
         "# [upstream]\n"
         "# host = \"hub.example\"\n"
         "# tls = true\n"
         "\n"
         "# Alarms first: a stream of their own, sent before all others.\n"
         "# [[route]]\n"
         "# filter = \"alarm/#\"\n"
         "# stream = \"alarms\"\n"
         "# priority = 0\n";
  return out.str();
}

}  // namespace hf::holdfast
