#include "holdfast/answer_schemas.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "broker/inspect.h"
#include "identity/permissions.h"
#include "identity/tokens.h"
#include "node/inspect.h"
#include "store/store.h"

namespace hf::holdfast {

namespace {

using Json = nlohmann::ordered_json;

struct Member {
  const char* name = "";
  Json schema;
  bool always = true;  // Every answer has it.
};
using Members = std::vector<Member>;

Member sometimes(const char* name, Json schema) {
  return {.name = name, .schema = std::move(schema), .always = false};
}

Json text() { return {{"type", "string"}}; }
Json count() { return {{"type", "integer"}, {"minimum", 0}}; }
Json seconds() { return {{"type", "number"}}; }
Json flag() { return {{"type", "boolean"}}; }
Json moment() { return {{"type", "string"}, {"format", "date-time"}}; }
Json anything() { return Json::object(); }
Json list(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }
Json words(std::vector<std::string> all) { return {{"type", "string"}, {"enum", std::move(all)}}; }

Json or_null(Json schema) {
  schema["type"] = Json::array({schema["type"], "null"});
  if (schema.contains("enum")) schema["enum"].push_back(nullptr);
  return schema;
}

Json object(const Members& members) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const Member& member : members) {
    properties[member.name] = member.schema;
    if (member.always) required.push_back(member.name);
  }
  return {{"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}};
}

Members joined(Members first, const Members& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// All names of an enumeration whose values count from 0 to `last`.
template <typename Enum>
Json names_up_to(Enum last, const char* (*name)(Enum)) {
  std::vector<std::string> all;
  for (auto value = uint8_t{0}; value <= static_cast<uint8_t>(last); ++value)
    all.emplace_back(name(static_cast<Enum>(value)));
  return words(std::move(all));
}

Json roles() { return names_up_to(identity::Role::kAdminister, identity::role_name); }

// Bytes are text if they are UTF-8, else base64 (put_bytes).
const Members& payload() {
  static const Members members = {sometimes("payload", text()), sometimes("payload_base64", text())};
  return members;
}

Json link() {
  const Json lane =
      object({{"priority", count()}, {"count", count()}, {"bytes", count()}, {"oldest", or_null(moment())}});
  return object({{"configured", flag()},
                 {"claimed", flag()},
                 {"rejected", flag()},
                 {"up", flag()},
                 {"peer", text()},
                 {"since_s", seconds()},
                 {"next_dial_s", or_null(seconds())},
                 {"last_error", text()},
                 {"backlog_count", count()},
                 {"backlog_bytes", count()},
                 {"oldest", or_null(moment())},
                 {"lanes", list(lane)},
                 {"sent_bytes", count()},
                 {"sent_payload_bytes", count()},
                 {"received_bytes", count()},
                 {"records_sent", count()},
                 {"records_receipted", count()},
                 {"records_received", count()},
                 {"repeats_ignored", count()},
                 {"forks", count()},
                 {"goodput_bytes_s", count()}});
}

Json broker() {
  return object({{"connections", count()},
                 {"connects_accepted", count()},
                 {"connects_refused", count()},
                 {"publishes_received", list(count())},
                 {"publishes_sent", list(count())},
                 {"publishes_refused", count()},
                 {"qos0_dropped", count()},
                 {"expired", count()},
                 {"protocol_errors", count()},
                 {"slow_disconnected", count()}});
}

Json store() {
  return object({{"mode", names_up_to(store::Mode::kStorageFailed, store::mode_name)},
                 {"id", text()},
                 {"incarnation", text()},
                 {"file_bytes", count()},
                 {"free_bytes", count()},
                 {"quota_bytes", count()},
                 {"records_live_bytes", count()},
                 {"spare_bytes", count()},
                 {"space_left_s", or_null(seconds())},
                 {"segment_count", count()},
                 {"commits", count()},
                 {"records", count()},
                 {"record_bytes", count()},
                 {"ingest_bytes", count()},
                 {"rewrite_bytes", count()},
                 {"sync_failures", count()},
                 {"frames_rotten", count()},
                 {"cache_bytes", count()},
                 {"gaps", count()}});
}

Json recovery() {
  return object({{"created", flag()},
                 {"new_incarnation", flag()},
                 {"segments", count()},
                 {"segments_scanned", count()},
                 {"commit_last", count()},
                 {"frames_rotten", count()},
                 {"tail_cut", flag()},
                 {"files_removed", count()}});
}

Members status() {
  return {{"state",
           words({"online", "offline", "hub", "standalone", "degraded", "full", "storage-failed", "locked"})},
          {"needs_a_hand", flag()},
          {"sentence", text()},
          {"name", text()},
          {"version", text()},
          {"data", text()},
          {"key", words({"beside-data", "elsewhere"})},
          // Not while it is locked.
          sometimes("uptime_s", seconds()),
          sometimes("time", moment()),
          sometimes("clock", names_up_to(ClockQuality::kGnss, clock_quality_name)),
          sometimes("listen", list(text())),
          sometimes("insecure", flag()),
          sometimes("moved_to", or_null(text())),
          sometimes("link", link()),
          sometimes("nodes", object({{"registered", count()}, {"connected", count()}})),
          sometimes("broker", broker()),
          sometimes("store", store()),
          sometimes("recovery", recovery())};
}

Json stream() {
  return object({{"name", text()},
                 {"origin", text()},
                 {"incarnation", text()},
                 {"priority", count()},
                 {"time_to_live_s", count()},
                 {"sequence_last", count()}});
}

Json tail_record() {
  return object(joined({{"position", text()},
                        {"sequence", count()},
                        {"arrived", moment()},
                        {"event_time", or_null(moment())},
                        {"qos", count()},
                        {"topic", text()}},
                       payload()));
}

Json export_record() {
  return object(joined({{"position", text()},
                        {"origin", text()},
                        {"incarnation", text()},
                        {"sequence", count()},
                        {"arrived", moment()},
                        {"event_time", or_null(moment())},
                        {"qos", count()},
                        {"retain", flag()},
                        {"topic", text()}},
                       payload()));
}

Json node() {
  return object({{"name", text()},
                 {"connected", flag()},
                 {"claimed", flag()},
                 {"down", list(text())},
                 {"prefix", or_null(text())},
                 {"backlog_count", count()},
                 {"backlog_bytes", count()},
                 {"records_received", count()},
                 {"last_seen", or_null(moment())}});
}

Members client() {
  return {{"client", text()},
          {"user", or_null(text())},
          {"node", or_null(text())},
          {"connected", flag()},
          {"since_s", seconds()},
          {"address", or_null(text())},
          {"version", words({"3.1.1", "5.0"})},
          {"persistent", flag()},
          {"subscription_count", count()},
          {"owed_count", count()},
          {"owed_bytes", count()},
          {"inflight", count()},
          {"window", or_null(count())}};
}

Members subscription_options() {
  return {{"qos", count()},
          {"no_local", flag()},
          {"retain_as_published", flag()},
          {"retain_handling", count()},
          {"identifier", or_null(count())}};
}

Json client_report() {
  const Json will = object({{"topic", text()},
                            {"qos", count()},
                            {"retain", flag()},
                            {"delay_s", count()},
                            {"payload_bytes", count()}});
  const Json lists = object({{"allow", list(text())}, {"deny", list(text())}});
  const Json rights = object({{"publish", lists}, {"retain", lists}, {"subscribe", lists}});
  return object(joined(
      client(), {{"since", moment()},
                 {"expiry_s", or_null(count())},
                 {"expires_in_s", or_null(seconds())},
                 {"inflight_bytes", count()},
                 {"keep_alive_s", count()},
                 {"heard_s", or_null(seconds())},
                 {"acknowledged_s", or_null(seconds())},
                 {"max_packet_bytes", or_null(count())},
                 {"unsent_bytes", count()},
                 {"received_open", count()},
                 {"authentication", or_null(text())},
                 {"will", or_null(will)},
                 {"rights", or_null(rights)},
                 {"subscriptions", list(object(joined({{"filter", text()}}, subscription_options())))}}));
}

Json subscription() {
  const Members who = {{"client", text()},
                       {"user", or_null(text())},
                       {"connected", flag()},
                       {"filter", text()},
                       {"group", or_null(text())}};
  return object(joined(joined(who, subscription_options()), {sometimes("allowed", flag())}));
}

Json retained() {
  return object({{"topic", text()},
                 {"qos", count()},
                 {"payload_bytes", count()},
                 {"arrived", moment()},
                 {"age_s", seconds()},
                 {"expires_in_s", or_null(count())},
                 {"client", or_null(text())},
                 {"user", or_null(text())}});
}

Json queue() {
  return object({{"name", text()},
                 {"kind", names_up_to(node::QueueStatus::Kind::kSession, node::queue_kind_name)},
                 {"owed_count", count()},
                 {"owed_bytes", count()},
                 {"oldest_s", or_null(seconds())},
                 {"waits_for", names_up_to(broker::WaitsFor::kUpstream, broker::waits_for_name)},
                 {"summary", text()},
                 {"sentence", text()},
                 {"since_s", or_null(seconds())},
                 {"inflight", count()},
                 {"inflight_bytes", count()},
                 {"window", or_null(count())},
                 {"unsent_bytes", count()},
                 // Of groups.
                 sometimes("members", count()),
                 sometimes("members_connected", count()),
                 // Of links.
                 sometimes("up", flag()),
                 sometimes("last_error", or_null(text())),
                 sometimes("next_dial_s", or_null(seconds())),
                 sometimes("goodput_bytes_s", count())});
}

Json config_value() {
  return object({{"key", text()}, {"value", anything()}, {"from", words({"file", "default"})}});
}

Json user() {
  const Json password = object(
      {{"kind", words({"argon2id"})}, {"memory_kib", count()}, {"passes", count()}, {"lanes", count()}});
  const Json scram = object({{"kind", words({"SHA-256"})}, {"iterations", count()}});
  return object({{"name", text()}, {"password", password}, {"scram", or_null(scram)}});
}

Json acl_answer() {
  std::vector<std::string> actions;
  for (const identity::Action action : identity::kActions)
    actions.emplace_back(identity::action_name(action));
  return object(
      {{"action", words(actions)}, {"allowed", flag()}, {"why", text()}, {"line", or_null(count())}});
}

Members page_of(const char* rows, Json row) {
  return {{rows, list(std::move(row))}, sometimes("cursor", text())};
}

struct Answer {
  const char* command = "";
  Members members;  // Beside `ok`.
};

std::vector<Answer> answers() {
  const Members claim = {{"name", text()}, {"claim", text()}};
  return {{"status", status()},
          {"version", {{"version", text()}}},
          {"streams", {{"streams", list(stream())}}},
          {"tail", {{"after", text()}, {"records", list(tail_record())}}},
          {"nodes", {{"nodes", list(node())}}},
          {"node-add", claim},
          {"node-renew", claim},
          {"node-rm", {{"name", text()}}},
          {"claim", {}},
          {"connect", {}},
          {"config", {{"values", list(config_value())}}},
          {"clients", page_of("clients", object(client()))},
          {"client", {{"client", client_report()}}},
          {"client-kick", {{"name", text()}, {"disconnected", flag()}, {"forgotten", flag()}}},
          {"subscriptions", page_of("subscriptions", subscription())},
          {"retained", page_of("retained", retained())},
          {"retained-rm", page_of("retained", retained())},
          {"queues", page_of("queues", queue())},
          {"queue", {{"queues", list(queue())}}},
          {"queue-rm", {{"name", text()}, {"owed_count", count()}, {"owed_bytes", count()}}},
          {"export", page_of("records", export_record())},
          {"publish", {{"topic", text()}, {"qos", count()}, {"stored", flag()}, {"wanted", flag()}}},
          {"users", {{"users", list(user())}}},
          {"user-add", {{"name", text()}, {"scram", flag()}}},
          {"user-passwd", {{"name", text()}, {"scram", flag()}}},
          {"user-rm", {{"name", text()}}},
          {"acl-test",
           {{"user", text()}, {"client", text()}, {"topic", text()}, {"answers", list(acl_answer())}}},
          {"tokens", {{"tokens", list(object({{"name", text()}, {"role", roles()}}))}}},
          {"token-add", {{"name", text()}, {"role", roles()}, {"token", text()}}},
          {"token-rm", {{"name", text()}}},
          {"config-test",
           {{"file", text()}, {"right", flag()}, {"mistakes", list(text())}, {"warnings", list(text())}}}};
}

}  // namespace

std::string answer_schema_name(const std::string& command) {
  std::string name;
  bool begins = true;
  for (const char c : command) {
    if (c != '-') name += begins ? static_cast<char>(c - 'a' + 'A') : c;
    begins = c == '-';
  }
  return name + "Answer";
}

nlohmann::ordered_json answer_schemas() {
  Json schemas = Json::object();
  for (const Answer& answer : answers()) {
    const Json good = {{"type", "boolean"}, {"enum", Json::array({true})}};
    schemas[answer_schema_name(answer.command)] = object(joined({{"ok", good}}, answer.members));
  }
  return schemas;
}

}  // namespace hf::holdfast
