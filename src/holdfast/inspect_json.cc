#include "holdfast/inspect_json.h"

#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "holdfast/inspect_text.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

double in_seconds(Duration duration) { return static_cast<double>(to_ms(duration)) / 1000; }
Json optional_seconds(const std::optional<Duration>& duration) {
  return duration ? Json(in_seconds(*duration)) : Json(nullptr);
}
// Empty is not there.
Json optional_text(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

const char* version_text(mqtt::Version version) { return version == mqtt::Version::k5 ? "5.0" : "3.1.1"; }

Json lists_json(const node::RightsInfo::Lists& lists) {
  return {{"allow", lists.allow}, {"deny", lists.deny}};
}

Json options_json(const broker::SubscriptionOptions& options) {
  return {{"qos", options.qos},
          {"no_local", options.no_local},
          {"retain_as_published", options.retain_as_published},
          {"retain_handling", options.retain_handling},
          {"identifier", options.identifier == 0 ? Json(nullptr) : Json(options.identifier)}};
}

}  // namespace

std::string position_text(store::Position position) {
  return std::to_string(position.commit()) + ":" + std::to_string(position.index());
}

void put_bytes(Json& json, const std::string& name, const std::string& bytes) {
  if (mqtt::utf8_valid(bytes)) {
    json[name] = bytes;
  } else {
    json[name + "_base64"] = to_base64(bytes);
  }
}

Json client_json(const node::ClientStatus& client) {
  const broker::ClientInfo& info = client.info;
  return {{"client", info.client_id},
          {"user", optional_text(info.user)},
          {"node", optional_text(info.node)},
          {"connected", info.connected},
          {"since_s", in_seconds(info.since)},
          {"address", optional_text(client.address)},
          {"version", version_text(info.version)},
          {"persistent", info.persistent},
          {"subscription_count", info.subscriptions},
          {"owed_count", info.owed_count},
          {"owed_bytes", info.owed_bytes},
          {"inflight", info.inflight},
          {"window", info.window == 0 ? Json(nullptr) : Json(info.window)}};
}

Json client_report_json(const node::ClientReport& about, int64_t now_wall_us) {
  const broker::ClientDetail& detail = about.detail;
  Json json = client_json({detail.info, about.address});
  json["since"] = format_utc(now_wall_us - detail.info.since.ns / 1000, 6);
  json["expiry_s"] = detail.expiry_s == UINT32_MAX ? Json(nullptr) : Json(detail.expiry_s);
  json["expires_in_s"] = optional_seconds(detail.expires_in);
  json["inflight_bytes"] = detail.inflight_bytes;
  json["keep_alive_s"] = detail.keep_alive_s;
  json["heard_s"] = optional_seconds(detail.heard);
  json["acknowledged_s"] = optional_seconds(detail.acknowledged);
  json["max_packet_bytes"] = detail.packet_bytes_max == 0 ? Json(nullptr) : Json(detail.packet_bytes_max);
  json["unsent_bytes"] = detail.unsent_bytes;
  json["received_open"] = detail.received_open;
  json["authentication"] = optional_text(detail.auth_method);
  json["will"] = nullptr;
  if (detail.will) {
    json["will"] = {{"topic", detail.will->topic},
                    {"qos", detail.will->qos},
                    {"retain", detail.will->retain},
                    {"delay_s", detail.will->delay_s},
                    {"payload_bytes", detail.will->payload_bytes}};
  }
  json["rights"] = nullptr;  // Everything.
  if (!about.rights.everything && detail.info.node.empty()) {
    json["rights"] = {{"publish", lists_json(about.rights.publish)},
                      {"retain", lists_json(about.rights.retain)},
                      {"subscribe", lists_json(about.rights.subscribe)}};
  }
  json["subscriptions"] = Json::array();
  for (const auto& [filter, options] : detail.subscriptions) {
    Json one = {{"filter", filter}};
    one.update(options_json(options));
    json["subscriptions"].push_back(std::move(one));
  }
  return json;
}

Json subscription_json(const broker::SubscriptionInfo& subscription, bool with_allowed) {
  Json json = {{"client", subscription.client_id},
               {"user", optional_text(subscription.user)},
               {"connected", subscription.connected},
               {"filter", subscription.filter}};
  mqtt::SharedFilter shared;
  mqtt::parse_shared(subscription.filter, &shared);
  json["group"] = optional_text(std::string(shared.group));
  json.update(options_json(subscription.options));
  if (with_allowed) json["allowed"] = subscription.allowed;
  return json;
}

Json retained_json(const broker::RetainedInfo& retained) {
  return {{"topic", retained.topic},
          {"qos", retained.qos},
          {"payload_bytes", retained.payload_bytes},
          {"arrived", format_utc(retained.arrived_wall_us, 6)},
          {"age_s", in_seconds(retained.age)},
          {"expires_in_s", retained.expires_in_s ? Json(*retained.expires_in_s) : Json(nullptr)},
          {"client", optional_text(retained.publisher)},
          {"user", optional_text(retained.user)}};
}

Json queue_json(const node::QueueStatus& queue, int64_t now_wall_us) {
  const broker::QueueInfo& info = queue.info;
  Json json = {{"name", info.name},
               {"kind", node::queue_kind_name(queue.kind)},
               {"owed_count", info.owed_count},
               {"owed_bytes", info.owed_bytes},
               {"oldest_s", optional_seconds(info.oldest)},
               {"waits_for", broker::waits_for_name(info.waits_for)},
               {"summary", queue_summary(queue)},
               {"sentence", queue_sentence(queue, now_wall_us)},
               {"since_s", optional_seconds(info.since)},
               {"inflight", info.inflight},
               {"inflight_bytes", info.inflight_bytes},
               {"window", info.window == 0 ? Json(nullptr) : Json(info.window)},
               {"unsent_bytes", info.unsent_bytes}};
  using Kind = node::QueueStatus::Kind;
  if (queue.kind == Kind::kGroup) {
    json["members"] = info.members;
    json["members_connected"] = info.members_connected;
  }
  if (queue.kind == Kind::kParent || queue.kind == Kind::kNode) {
    json["up"] = queue.up;
    json["last_error"] = optional_text(queue.error);
    json["next_dial_s"] = optional_seconds(queue.next_dial);
    json["goodput_bytes_s"] = queue.goodput_bytes_s;
  }
  return json;
}

Json export_json(const node::ExportRecord& record) {
  Json json = {{"position", position_text(record.position)},
               {"origin", record.origin},
               {"incarnation", to_hex(record.incarnation)},
               {"sequence", record.sequence},
               {"arrived", format_utc(record.arrived_wall_us, 6)},
               {"event_time", record.event_us ? Json(format_utc(*record.event_us, 6)) : Json(nullptr)},
               {"qos", record.qos},
               {"retain", record.retain},
               {"topic", record.topic}};
  put_bytes(json, "payload", record.payload);
  return json;
}

// --- The client's side.

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}
uint64_t number_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}
bool flag_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}
std::optional<Duration> duration_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return milliseconds(static_cast<int64_t>(found->get<double>() * 1000));
}
Json list_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_array() ? *found : Json::array();
}

}  // namespace hf::holdfast
