#include "holdfast/config_values.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "holdfast/inspect_json.h"
#include "holdfast/text.h"
#include "holdfast/units.h"

namespace hf::holdfast {

namespace {

// As parse_duration reads it, to the second.
std::string exact_duration(uint64_t all_s) {
  std::string text;
  uint64_t left = all_s;
  for (const auto& [name, size] :
       {std::pair{"d", 86'400u}, std::pair{"h", 3'600u}, std::pair{"min", 60u}, std::pair{"s", 1u}}) {
    const uint64_t count = left / size;
    left %= size;
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : " ", count, name);
  }
  return text.empty() ? "0 s" : text;
}

// As parse_size reads it, to the byte, in the largest unit that has no fraction.
std::string exact_size(uint64_t bytes) {
  const std::pair<const char*, uint64_t> units[] = {{"GiB", uint64_t{1} << 30}, {"GB", 1'000'000'000},
                                                    {"MiB", uint64_t{1} << 20}, {"MB", 1'000'000},
                                                    {"KiB", uint64_t{1} << 10}, {"kB", 1'000}};
  for (const auto& [name, size] : units) {
    if (bytes != 0 && bytes % size == 0) return fmt::format("{} {}", bytes / size, name);
  }
  return fmt::format("{} B", bytes);
}

Json optional_text(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

const char* unit_name(node::EventTimeField::Unit unit) {
  using Unit = node::EventTimeField::Unit;
  switch (unit) {
    case Unit::kSeconds:
      return "s";
    case Unit::kMilliseconds:
      return "ms";
    case Unit::kMicroseconds:
      return "us";
    case Unit::kNanoseconds:
      return "ns";
    case Unit::kRfc3339:
      return "rfc3339";
  }
  return "";
}

Json routes_json(const std::vector<node::Route>& routes) {
  Json list = Json::array();
  for (const node::Route& route : routes) {
    list.push_back({{"filter", route.filter},
                    {"stream", route.stream},
                    {"priority", route.priority},
                    {"time_to_live",
                     route.time_to_live_s == 0 ? Json(nullptr) : Json(exact_duration(route.time_to_live_s))},
                    {"upstream", route.upstream}});
  }
  return list;
}

Json listeners_json(const std::vector<ListenerConfig>& listeners) {
  Json list = Json::array();
  for (const ListenerConfig& listener : listeners) {
    const io::DoorOptions& door = listener.door;
    const io::TlsServerFiles files = door.tls.value_or(io::TlsServerFiles());
    const bool asks = !files.client_ca.empty();
    list.push_back(
        {{"address", door.address},
         {"protocol", door.http        ? "http"
                      : door.websocket ? "websocket"
                                       : "mqtt"},
         {"certificate", optional_text(files.certificate)},
         {"key", optional_text(files.key)},
         {"client_ca", optional_text(files.client_ca)},
         {"client_crl", optional_text(files.client_crl)},
         {"client_certificate", asks ? Json(files.client_required ? "required" : "optional") : Json(nullptr)},
         {"user_from",
          asks ? Json(files.user_from == io::TlsServerFiles::UserFrom::kSan ? "san" : "common_name")
               : Json(nullptr)},
         {"proxy", door.proxy},
         {"origins", door.origins},
         {"hosts", door.hosts}});
  }
  return list;
}

Json event_times_json(const std::vector<node::EventTimeField>& fields) {
  Json list = Json::array();
  for (const node::EventTimeField& field : fields) {
    list.push_back({{"filter", field.filter}, {"field", field.field}, {"unit", unit_name(field.unit)}});
  }
  return list;
}

}  // namespace

std::vector<ConfigValue> config_values(const Config& config, const std::string& data) {
  std::vector<ConfigValue> values;
  const auto add = [&](const std::string& key, const Json& value) {
    values.push_back({key, dump(value), config.given.contains(key)});
  };
  const auto file = [&](const std::string& said, const char* name) {
    return said.empty() ? data + "/" + name : said;
  };
  const node::Config& node = config.node;
  add("name", node.name);
  add("data", data);
  add("listen", config.listen);
  add("listener", listeners_json(config.listeners));
  add("admin_socket", file(config.admin_socket, "admin.sock"));
  add("key", file(config.key, "key"));
  add("users", file(config.users, "users"));
  add("permissions", file(config.permissions, "permissions.toml"));
  add("tokens", file(config.tokens, "tokens"));
  add("log", config.log_json ? "json" : "text");
  add("insecure", node.insecure);
  add("anonymous", node.identities.anonymous);
  add("quota", exact_size(node.quota_bytes));
  add("retention", exact_duration(node.retention_s));
  add("upstream.host", node.upstream ? Json(node.upstream->host) : Json(nullptr));
  add("upstream.port", node.upstream ? Json(node.upstream->port) : Json(nullptr));
  const io::TlsClientFiles tls = config.upstream_tls.value_or(io::TlsClientFiles());
  add("upstream.tls", config.upstream_tls.has_value());
  add("upstream.ca", optional_text(tls.ca));
  add("upstream.certificate", optional_text(tls.certificate));
  add("upstream.key", optional_text(tls.key));
  add("upstream.server_name", optional_text(tls.server_name));
  add("upstream.compress", node.upstream ? Json(node.upstream->compress) : Json(nullptr));
  add("route", routes_json(node.routes));
  add("event_time", event_times_json(node.event_times));
  add("mqtt.session_expiry", exact_duration(node.session_expiry_default_s));
  add("mqtt.max_packet", exact_size(node.packet_bytes_max));
  add("mqtt.session_expiry_max", node.session_expiry_max_s == UINT32_MAX
                                     ? Json(nullptr)
                                     : Json(exact_duration(node.session_expiry_max_s)));
  add("mqtt.session_queue_max",
      node.session_owed_bytes_max == 0 ? Json(nullptr) : Json(exact_size(node.session_owed_bytes_max)));
  add("mqtt.keep_alive_max",
      node.keep_alive_max_s == 0 ? Json(nullptr) : Json(exact_duration(node.keep_alive_max_s)));
  add("mqtt.response_topic", optional_text(node.response_topic));
  add("mqtt.moved_to", optional_text(node.server_moved));
  add("mqtt.receive_maximum", node.receive_maximum);
  return values;
}

bool config_key_within(const std::string& asked, const std::string& key) {
  return asked.empty() || key == asked || key.starts_with(asked + ".");
}

std::string config_key_unknown(const std::string& asked) {
  const std::vector<std::string> keys = known_config_keys();
  const std::string near = nearest_name(asked, keys);
  return "no key `" + printable(asked) + "`" +
         (near.empty() ? "; see them with: holdfast config get" : "; did you mean `" + near + "`?");
}

Json config_value_json(const ConfigValue& value) {
  return {{"key", value.key},
          {"value", Json::parse(value.value, nullptr, /*allow_exceptions=*/false)},
          {"from", value.given ? "file" : "default"}};
}

}  // namespace hf::holdfast
