#include "holdfast/admin.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

#include "base/base64.h"
#include "crypto/crypto.h"
#include "holdfast/admin_work.h"
#include "holdfast/inspect_json.h"
#include "holdfast/inspect_text.h"
#include "holdfast/text.h"
#include "holdfast/units.h"
#include "holdfast/version.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

constexpr size_t kWaitingMax = 64;
constexpr uint64_t kTailCount = 10;
constexpr uint64_t kPageCount = 100;
constexpr uint64_t kCountMax = 1000;
constexpr Duration kPatience = seconds(10);

std::string error_line(const std::string& code, const std::string& sentence) {
  return dump({{"ok", false}, {"code", code}, {"error", sentence}});
}
std::string error_line(const Error& error) {
  std::string sentence = error.text;
  if (error.code == Code::kIo && error.number != 0)
    sentence += " (errno " + std::to_string(error.number) + ")";
  return error_line(code_name(error.code), sentence);
}

std::string no_client(const std::string& name) {
  return error_line("not-found", "no client `" + name + "`; see them with: holdfast client ls");
}

template <typename Number>
bool parse_number(Bytes digits, Number* number) {
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *number);
  return error == std::errc() && end == digits.data() + digits.size();
}
std::optional<store::Position> parse_position(Bytes text) {
  uint64_t commit = 0;
  uint32_t index = 0;
  const size_t colon = text.find(':');
  if (colon == Bytes::npos) return std::nullopt;
  if (!parse_number(text.substr(0, colon), &commit) || !parse_number(text.substr(colon + 1), &index))
    return std::nullopt;
  if (commit >> (64 - store::Position::kIndexBits) != 0 || index >> store::Position::kIndexBits != 0)
    return std::nullopt;
  return store::Position::of(commit, index);
}

double in_seconds(Duration duration) { return static_cast<double>(to_ms(duration)) / 1000; }

Json optional_seconds(const std::optional<Duration>& duration) {
  return duration ? Json(in_seconds(*duration)) : Json(nullptr);
}
Json optional_time(const std::optional<int64_t>& wall_us) {
  return wall_us ? Json(format_utc(*wall_us, 6)) : Json(nullptr);
}

Json link_json(const node::LinkStatus& link) {
  Json lanes = Json::array();
  for (const node::LinkStatus::Lane& lane : link.lanes) {
    lanes.push_back({{"priority", lane.priority},
                     {"count", lane.count},
                     {"bytes", lane.bytes},
                     {"oldest", optional_time(lane.oldest_wall_us)}});
  }
  return {{"configured", link.configured},
          {"claimed", link.claimed},
          {"rejected", link.rejected},
          {"up", link.up},
          {"peer", link.peer},
          {"since_s", in_seconds(link.since)},
          {"next_dial_s", optional_seconds(link.next_dial)},
          {"last_error", link.last_error},
          {"backlog_count", link.backlog_count},
          {"backlog_bytes", link.backlog_bytes},
          {"oldest", optional_time(link.oldest_wall_us)},
          {"lanes", lanes},
          {"sent_bytes", link.sent_bytes},
          {"sent_payload_bytes", link.sent_payload_bytes},
          {"received_bytes", link.received_bytes},
          {"records_sent", link.records_sent},
          {"records_receipted", link.records_receipted},
          {"records_received", link.records_received},
          {"repeats_ignored", link.repeats_ignored},
          {"forks", link.forks},
          {"goodput_bytes_s", link.goodput_bytes_s}};
}

Json store_json(const node::Status& status) {
  const store::Figures& figures = status.store;
  return {{"mode", store::mode_name(status.mode)},
          {"id", to_hex(status.store_id)},
          {"incarnation", to_hex(status.incarnation)},
          {"file_bytes", figures.file_bytes},
          {"free_bytes", figures.free_bytes},
          {"quota_bytes", figures.quota_bytes},
          {"records_live_bytes", figures.records_live_bytes},
          {"spare_bytes", figures.spare_bytes},
          {"space_left_s", optional_seconds(status.space_left)},
          {"segment_count", figures.segment_count},
          {"commits", figures.commits},
          {"records", figures.records},
          {"record_bytes", figures.record_bytes},
          {"ingest_bytes", figures.ingest_bytes},
          {"rewrite_bytes", figures.rewrite_bytes},
          {"sync_failures", figures.sync_failures},
          {"frames_rotten", figures.frames_rotten},
          {"cache_bytes", figures.cache_bytes},
          {"gaps", status.gaps}};
}

Json recovery_json(const store::OpenReport& report) {
  return {{"created", report.created},         {"new_incarnation", report.new_incarnation},
          {"segments", report.segments},       {"segments_scanned", report.segments_scanned},
          {"commit_last", report.commit_last}, {"frames_rotten", report.frames_rotten},
          {"tail_cut", report.tail_cut},       {"files_removed", report.files_removed}};
}

Json broker_json(const broker::Counters& counters) {
  return {{"connections", counters.connections},
          {"connects_accepted", counters.connects_accepted},
          {"connects_refused", counters.connects_refused},
          {"publishes_received", Json(counters.publishes_received)},
          {"publishes_sent", Json(counters.publishes_sent)},
          {"publishes_refused", counters.publishes_refused},
          {"qos0_dropped", counters.qos0_dropped},
          {"expired", counters.expired},
          {"protocol_errors", counters.protocol_errors},
          {"slow_disconnected", counters.slow_disconnected}};
}

Json streams_json(const std::vector<node::StreamStatus>& streams) {
  Json list = Json::array();
  for (const node::StreamStatus& stream : streams) {
    list.push_back({{"name", stream.name},
                    {"origin", stream.origin},
                    {"incarnation", to_hex(stream.incarnation)},
                    {"priority", stream.priority},
                    {"time_to_live_s", stream.time_to_live_s},
                    {"sequence_last", stream.sequence_last}});
  }
  return list;
}

Json nodes_json(const std::vector<node::NodeStatus>& nodes) {
  Json list = Json::array();
  for (const node::NodeStatus& node : nodes) {
    list.push_back({{"name", node.name},
                    {"connected", node.connected},
                    {"claimed", node.claimed},
                    {"down", node.down_filters},
                    {"prefix", node.prefix.empty() ? Json(nullptr) : Json(node.prefix)},
                    {"backlog_count", node.backlog_count},
                    {"backlog_bytes", node.backlog_bytes},
                    {"records_received", node.records_received},
                    {"last_seen", optional_time(node.last_seen_wall_us)}});
  }
  return list;
}

// A field of the request, when it is there and of the right kind; false if it is there and is not.
bool read_text(const Json& json, const char* key, std::string* out) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_string()) return false;
  *out = found->get<std::string>();
  return true;
}

bool read_flag(const Json& json, const char* key, bool* out) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_boolean()) return false;
  *out = found->get<bool>();
  return true;
}
bool read_number(const Json& json, const char* key, uint64_t* out) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_number_unsigned()) return false;
  *out = found->get<uint64_t>();
  return true;
}
bool read_texts(const Json& json, const char* key, std::vector<std::string>* out) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_array()) return false;
  for (const Json& each : *found) {
    if (!each.is_string()) return false;
    out->push_back(each.get<std::string>());
  }
  return true;
}
// One that is not to stay in memory.
bool read_secret(Json& json, const char* key, std::string* out) {
  const bool sound = read_text(json, key, out);
  if (const auto found = json.find(key); found != json.end() && found->is_string())
    crypto::wipe(&found->get_ref<std::string&>());
  return sound;
}

// [MQTT-1.5.4-2], and the length has 16 bits.
bool property_valid(const std::string& text) {
  return text.size() <= mqtt::kTopicBytesMax && mqtt::utf8_valid(text);
}

// The message of `publish`. False: *error says what is wrong, or a field has the wrong type.
bool read_message(const Json& json, broker::Publication* message, std::string* error) {
  uint64_t qos = 1;
  uint64_t expiry_s = 0;
  std::string base64;
  std::vector<std::string> pairs;
  const bool sound = read_text(json, "topic", &message->topic) &&
                     read_text(json, "payload", &message->payload) &&
                     read_text(json, "payload_base64", &base64) && read_number(json, "qos", &qos) &&
                     read_flag(json, "retain", &message->retain) &&
                     read_text(json, "content_type", &message->content_type) &&
                     read_number(json, "expiry_s", &expiry_s) && read_texts(json, "user_properties", &pairs);
  if (!sound) return false;
  if (!mqtt::topic_name_valid(message->topic)) {
    *error = "`topic` is not a topic name: it may hold neither + nor #";
  } else if (json.contains("payload") == json.contains("payload_base64")) {
    *error = "say what to publish: `payload`, or `payload_base64` if it is not text";
  } else if (qos > 2) {
    *error = "`qos` is 0, 1 or 2";
  } else if (expiry_s > UINT32_MAX) {
    *error = "`expiry_s` is " + std::to_string(UINT32_MAX) + " at most";
  } else if (!property_valid(message->content_type)) {
    *error = "`content_type` has 65535 bytes at most, and none is zero";
  }
  if (!base64.empty()) {
    auto bytes = from_base64(base64);
    if (!bytes) *error = "`payload_base64` is not base64, with its padding and in one line";
    message->payload = std::move(bytes).value_or("");
  }
  for (const std::string& pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || !property_valid(pair)) {
      *error = "`user_properties` are NAME=VALUE each, with 65535 bytes at most, and none is zero";
      break;
    }
    message->user_properties.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  message->qos = static_cast<uint8_t>(qos);
  if (json.contains("expiry_s")) message->expiry_s = static_cast<uint32_t>(expiry_s);
  return error->empty();
}

// Nothing: *error says what is wrong with the line.
std::optional<AdminRequest> decode_request(Bytes line, std::string* error) {
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    *error = "a request is one JSON object on one line, such as {\"command\":\"status\"}";
    return std::nullopt;
  }
  AdminRequest request;
  bool sound = read_text(json, "command", &request.command) && read_text(json, "stream", &request.stream) &&
               read_text(json, "name", &request.name) && read_text(json, "claim", &request.claim) &&
               read_text(json, "client", &request.client) && read_text(json, "topic", &request.topic) &&
               read_text(json, "filter", &request.filter) && read_text(json, "since", &request.since) &&
               read_text(json, "until", &request.until) && read_text(json, "key", &request.key) &&
               read_text(json, "prefix", &request.prefix) && read_flag(json, "forget", &request.forget) &&
               read_flag(json, "text", &request.text) && read_number(json, "count", &request.count) &&
               read_texts(json, "down", &request.down) && read_text(json, "user", &request.user) &&
               read_text(json, "action", &request.action) && read_text(json, "role", &request.role) &&
               read_number(json, "iterations", &request.iterations);
  sound = read_secret(json, "password", &request.password) && sound;
  if (bool scram = false; json.contains("scram")) {
    sound = sound && read_flag(json, "scram", &scram);
    request.scram = scram;
  }
  if (request.command == "publish") {
    request.message.emplace();
    sound = read_message(json, &*request.message, error) && sound;
    if (!error->empty()) return std::nullopt;
  }
  std::string cursor;
  sound = sound && read_text(json, "cursor", &cursor);
  if (!cursor.empty()) {
    const auto place = from_base64(cursor);
    sound = sound && place;
    request.cursor = place.value_or("");
  }
  std::string after;
  sound = sound && read_text(json, "after", &after);
  if (!after.empty()) {
    const auto position = parse_position(after);
    sound = sound && position;
    request.after = position;
  }
  if (!sound) {
    crypto::wipe(&request.password);
    *error = "a field of the request has the wrong type (docs/formats/admin.md)";
    return std::nullopt;
  }
  return request;
}

const std::vector<std::string>& commands() {
  static const std::vector<std::string> names = {
      "status",   "streams",     "tail",        "nodes",   "node-add", "node-renew",  "node-rm",
      "claim",    "connect",     "version",     "config",  "clients",  "client",      "client-kick",
      "queues",   "queue",       "queue-rm",    "export",  "retained", "retained-rm", "subscriptions",
      "users",    "user-add",    "user-passwd", "user-rm", "tokens",   "token-add",   "token-rm",
      "acl-test", "config-test", "publish"};
  return names;
}

bool is_one_of(const std::string& command, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return command == name; });
}

size_t page_count(const AdminRequest& request) {
  return std::min(request.count == 0 ? kPageCount : request.count, kCountMax);
}

// The answer of a list: its rows, and where it goes on.
template <typename Row, typename ToJson>
std::string page_line(const AdminRequest& request, const ListText& list, const node::Page<Row>& page,
                      const ToJson& to_json) {
  Json rows = Json::array();
  for (const Row& row : page.rows) rows.push_back(to_json(row));
  Json json = {{"ok", true}};
  std::string text;
  if (request.text) {
    TablePages table(request.cursor.empty() ? list.heading : std::vector<std::string>());
    std::vector<std::vector<std::string>> lines;
    for (const Json& row : rows) lines.push_back(list.row(row));
    if (!lines.empty()) {
      text = table.add(lines);
    } else if (request.cursor.empty() && !page.next) {
      text = std::string(list.none) + "\n";
    }
  }
  json[list.rows] = std::move(rows);
  if (page.next) json["cursor"] = to_base64(*page.next);
  if (request.text) json["text"] = text;
  return dump(json);
}

}  // namespace

std::string encode_request(const AdminRequest& request) {
  Json json = {{"command", request.command}};
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) json[key] = value;
  };
  if (request.text) json["text"] = true;
  put("stream", request.stream);
  if (request.after) json["after"] = position_text(*request.after);
  if (request.count != 0) json["count"] = request.count;
  put("name", request.name);
  if (request.command == "node-add") json["down"] = request.down;
  put("prefix", request.prefix);
  put("claim", request.claim);
  put("cursor", to_base64(request.cursor));
  put("client", request.client);
  put("topic", request.topic);
  put("filter", request.filter);
  put("since", request.since);
  put("until", request.until);
  put("key", request.key);
  if (request.forget) json["forget"] = true;
  return dump(json);
}

std::optional<AdminAnswer> decode_answer(Bytes line) {
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("ok") || !json["ok"].is_boolean()) return std::nullopt;
  AdminAnswer answer;
  answer.ok = json["ok"].get<bool>();
  std::string after;
  const bool sound = read_text(json, "code", &answer.code) && read_text(json, "error", &answer.error) &&
                     read_text(json, "state", &answer.state) &&
                     read_text(json, "sentence", &answer.sentence) &&
                     read_text(json, "claim", &answer.claim) && read_text(json, "after", &after) &&
                     read_text(json, "text", &answer.text);
  if (!sound) return std::nullopt;
  if (const auto hand = json.find("needs_a_hand"); hand != json.end() && hand->is_boolean()) {
    answer.needs_a_hand = hand->get<bool>();
  }
  answer.after = parse_position(after).value_or(store::Position{});
  json.erase("text");
  answer.json = json_printable(json.dump(2, ' ', false, Json::error_handler_t::replace));
  return answer;
}

Admin::Admin(node::Node* node, const StatusView& view, std::vector<ConfigValue> config)
    : node_(node), view_(view), config_(std::move(config)) {}
Admin::~Admin() = default;

void Admin::serve_files(const AdminFiles& files, io::Wakeup* wakeup) {
  files_ = &files;
  if (wakeup != nullptr) thread_ = std::make_unique<io::WorkThread<AdminWork>>(*wakeup, "admin");
}

std::string Admin::status(const AdminRequest& request, const Now& now) const {
  StatusView view = view_;
  if (node_ != nullptr) view.status = node_->status(now);
  const node::Status& status = view.status;
  Json json = {{"ok", true},
               {"state", status_state(view)},
               {"needs_a_hand", status_needs_a_hand(view)},
               {"sentence", status_sentence(view)},
               {"name", status.name},
               {"version", kVersion},
               {"data", view.data},
               {"key", view.key == KeyPlace::kBesideData ? "beside-data" : "elsewhere"}};
  if (view.locked.empty()) {
    json["uptime_s"] = in_seconds(status.uptime);
    json["time"] = format_utc(status.wall_us, 6);
    json["clock"] = clock_quality_name(status.clock_quality);
    json["listen"] = view.listen;
    json["insecure"] = status.insecure;
    json["moved_to"] = status.moved_to.empty() ? Json(nullptr) : Json(status.moved_to);
    json["link"] = link_json(status.link);
    json["nodes"] = {{"registered", status.nodes_registered}, {"connected", status.nodes_connected}};
    json["broker"] = broker_json(status.broker);
    json["store"] = store_json(status);
    json["recovery"] = recovery_json(status.recovery);
  }
  if (request.text) json["text"] = status_text(view);
  return dump(json);
}

std::string Admin::tail(const AdminRequest& request) const {
  bool pending = false;
  const auto records =
      node_->tail(request.stream, request.after,
                  std::min(request.count == 0 ? kTailCount : request.count, kCountMax), &pending);
  if (pending) return "";
  Json list = Json::array();
  store::Position after = request.after.value_or(store::Position{});
  for (const node::TailRecord& record : records) {
    Json one = {{"position", position_text(record.position)},
                {"sequence", record.sequence},
                {"arrived", format_utc(record.arrived_wall_us, 6)},
                {"event_time", optional_time(record.event_us)},
                {"qos", record.qos},
                {"topic", record.topic}};
    put_bytes(one, "payload", record.payload);
    list.push_back(std::move(one));
    after = record.position;
  }
  Json json = {{"ok", true}, {"after", position_text(after)}, {"records", std::move(list)}};
  if (request.text) json["text"] = records_text(records);
  return dump(json);
}

std::string Admin::config(const AdminRequest& request) const {
  Json values = Json::array();
  for (const ConfigValue& value : config_) {
    if (config_key_within(request.key, value.key)) values.push_back(config_value_json(value));
  }
  if (values.empty()) return error_line("not-found", config_key_unknown(request.key));
  Json json = {{"ok", true}, {"values", values}};
  if (request.text) {
    TablePages table(config_list().heading);
    std::vector<std::vector<std::string>> rows;
    for (const Json& value : values) rows.push_back(config_list().row(value));
    json["text"] = table.add(rows);
  }
  return dump(json);
}

std::string Admin::look(const AdminRequest& request, const Now& now) const {
  const std::string& command = request.command;
  const size_t count = page_count(request);
  if (command == "clients") {
    return page_line(request, clients_list(), node_->clients(request.cursor, count, now), client_json);
  }
  if (command == "client") {
    const auto about = node_->client(request.name, now);
    if (!about) return no_client(request.name);
    const Json client = client_report_json(*about, now.wall_us);
    Json json = {{"ok", true}, {"client", client}};
    if (request.text) json["text"] = client_text(client);
    return dump(json);
  }
  if (command == "subscriptions") {
    const bool for_topic = !request.topic.empty();
    if (for_topic && !mqtt::topic_name_valid(request.topic)) {
      return error_line("invalid", "`topic` is not a topic name: it may hold neither + nor #");
    }
    return page_line(request, for_topic ? receivers_list() : subscriptions_list(),
                     node_->subscriptions(request.client, request.topic, request.cursor, count),
                     [&](const broker::SubscriptionInfo& one) { return subscription_json(one, for_topic); });
  }
  // retained
  const std::string filter = request.filter.empty() ? "#" : request.filter;
  if (!mqtt::topic_filter_valid(filter)) return error_line("invalid", "`filter` is not a topic filter");
  return page_line(request, retained_list(), node_->retained(filter, request.cursor, count, now),
                   retained_json);
}

std::string Admin::read(const AdminRequest& request, const Now& now) const {
  const std::string& command = request.command;
  if (command == "tail") return tail(request);
  bool pending = false;
  const auto one = [&](const node::QueueStatus& queue) { return queue_json(queue, now.wall_us); };
  if (command == "queues") {
    const auto page = node_->queues(request.cursor, page_count(request), now, &pending);
    return pending ? "" : page_line(request, queues_list(), page, one);
  }
  if (command == "queue") {
    const auto queues = node_->queue(request.name, now, &pending);
    if (pending) return "";
    if (queues.empty()) {
      return error_line("not-found", "nobody is called `" + request.name +
                                         "` here; see: holdfast queue ls, holdfast client ls");
    }
    Json json = {{"ok", true}, {"queues", Json::array()}};
    std::string text;
    for (const node::QueueStatus& queue : queues) {
      json["queues"].push_back(one(queue));
      text += queue_sentence(queue, now.wall_us) + "\n";
    }
    if (request.text) json["text"] = text;
    return dump(json);
  }
  // export
  node::ExportQuery query{.stream = request.stream,
                          .filter = request.filter,
                          .after = request.cursor,
                          .count = page_count(request)};
  if (!request.filter.empty() && !mqtt::topic_filter_valid(request.filter)) {
    return error_line("invalid", "`filter` is not a topic filter");
  }
  if ((!request.since.empty() && !parse_utc(request.since, &query.since_us)) ||
      (!request.until.empty() && !parse_utc(request.until, &query.until_us))) {
    return error_line("invalid", "`since` and `until` are moments in UTC, such as 2026-11-20T09:45:42Z");
  }
  const auto page = node_->export_records(query, &pending);
  if (pending) return "";
  if (!page) return error_line(page.error());
  Json records = Json::array();
  for (const node::ExportRecord& record : page->rows) records.push_back(export_json(record));
  Json json = {{"ok", true}, {"records", std::move(records)}};
  if (page->next) json["cursor"] = to_base64(*page->next);
  return dump(json);
}

// Empty: the answer comes when what was written is durable.
std::string Admin::write(ConnectionId connection, AdminRequest& request, const Now& now) {
  const std::string& command = request.command;
  Waiting waiting{.connection = connection, .request = {}, .line = {}, .deadline = now.mono + kPatience};
  if (command == "publish") {
    waiting.what = Waiting::For::kPublish;
    waiting.request.message.emplace();
    waiting.request.message->topic = request.message->topic;
    waiting.request.message->qos = request.message->qos;
    waiting.number = node_->publish(std::move(*request.message));
    waiting_.push_back(std::move(waiting));
    return "";
  }
  waiting.request = request;
  if (command == "client-kick") {
    const auto about = node_->client(request.name, now);
    if (!about) return no_client(request.name);
    const bool connected = about->detail.info.connected;
    waiting.line = dump(
        {{"ok", true}, {"name", request.name}, {"disconnected", connected}, {"forgotten", request.forget}});
    if (!connected && !request.forget) return waiting.line;
    if (const auto begun = node_->client_end(request.name, request.forget, now); !begun)
      return error_line(begun.error());
    waiting.what = Waiting::For::kStep;
    waiting_.push_back(std::move(waiting));
    return "";
  }
  if (command == "retained-rm") {
    if (!mqtt::topic_filter_valid(request.filter)) {
      return error_line("invalid", "`filter` is a topic filter, or a topic, and has to be there");
    }
    const auto page =
        node_->remove_retained(request.filter, request.cursor, page_count(request), now, &waiting.commit);
    waiting.line = page_line(request, retained_list(), page, retained_json);
    if (waiting.commit == 0) return waiting.line;
    waiting_.push_back(std::move(waiting));
    return "";
  }
  if (command == "queue-rm") {
    if (request.name != node::queue_kind_name(node::QueueStatus::Kind::kParent)) {
      return error_line(
          "invalid",
          "only `parent` can be given up on: a session ends with holdfast client kick ID --forget, a "
          "node with holdfast node rm NAME");
    }
    const node::LinkStatus owed = node_->status(now).link;
    const auto commit = node_->give_up_parent();
    if (!commit) return error_line(commit.error());
    waiting.commit = *commit;
    waiting.line = dump({{"ok", true},
                         {"name", request.name},
                         {"owed_count", owed.backlog_count},
                         {"owed_bytes", owed.backlog_bytes}});
    waiting_.push_back(std::move(waiting));
    return "";
  }
  std::string claim;
  const auto commit = command == "node-add"
                          ? node_->node_add(request.name, request.down, request.prefix, &claim)
                      : command == "node-renew" ? node_->node_renew(request.name, &claim)
                      : command == "node-rm"    ? node_->node_remove(request.name)
                                                : node_->claim(request.claim);
  if (!commit && commit.error().code == Code::kNotFound && !request.name.empty()) {
    return error_line("not-found",
                      "no node `" + request.name + "` is registered; see them with: holdfast node ls");
  }
  if (!commit) return error_line(commit.error());
  Json json = {{"ok", true}};
  if (!request.name.empty()) json["name"] = request.name;
  if (!claim.empty()) json["claim"] = claim;
  waiting.commit = *commit;
  waiting.line = dump(json);
  waiting_.push_back(std::move(waiting));
  return "";
}

// About files. Empty: the answer comes when the work is done.
std::string Admin::work(ConnectionId connection, const AdminRequest& request, const Now& now) {
  if (files_ == nullptr) return error_line("unsupported", "this node has no such files");
  if (work_count_ >= kWaitingMax) return error_line("busy", "too many requests wait; ask again");
  auto piece = std::make_unique<AdminWork>(++work_last_, request, *files_);
  if (thread_ == nullptr) {
    piece->run();
    return piece->line();
  }
  ++work_count_;
  thread_->submit(std::move(piece));
  waiting_.push_back({.connection = connection,
                      .request = {},
                      .what = Waiting::For::kWork,
                      .number = work_last_,
                      .line = {},
                      .deadline = now.mono + kPatience});
  return "";
}

void Admin::take_work() {
  if (!work_done()) return;
  for (const std::unique_ptr<AdminWork>& piece : thread_->take_done()) {
    --work_count_;
    for (Waiting& waiting : waiting_) {
      if (waiting.what != Waiting::For::kWork || waiting.number != piece->number()) continue;
      waiting.what = Waiting::For::kCommit;  // Of nothing: it is durable.
      waiting.line = piece->line();
    }
  }
}

void Admin::take_published() {
  if (node_ == nullptr) return;
  for (const node::Node::OperatorPublished& published : node_->take_published()) {
    for (Waiting& waiting : waiting_) {
      if (waiting.what != Waiting::For::kPublish || waiting.number != published.number) continue;
      waiting.what = Waiting::For::kCommit;
      if (!published.outcome) {
        waiting.line = error_line(published.outcome.error());
        continue;
      }
      waiting.commit = published.outcome->commit;
      waiting.line = dump({{"ok", true},
                           {"topic", waiting.request.message->topic},
                           {"qos", waiting.request.message->qos},
                           {"stored", waiting.commit != 0},
                           {"wanted", published.outcome->wanted}});
    }
  }
}

// The answer, or nothing while it has to wait.
std::string Admin::answer(ConnectionId connection, AdminRequest& request, const Now& now) {
  const std::string& command = request.command;
  if (command == "status") return status(request, now);
  if (command == "version") return dump({{"ok", true}, {"version", kVersion}});
  if (command == "config") return config(request);
  if (std::find(commands().begin(), commands().end(), command) == commands().end()) {
    std::string sentence = "no command `" + command + "`";
    if (const std::string near = nearest_name(command, commands()); !near.empty()) {
      sentence += "; did you mean `" + near + "`?";
    }
    return error_line("unsupported", sentence);
  }
  if (is_admin_work(command)) return work(connection, request, now);
  if (node_ == nullptr) return error_line("denied", "the store is locked: " + view_.locked);

  if (command == "streams") {
    const auto streams = node_->streams();
    Json json = {{"ok", true}, {"streams", streams_json(streams)}};
    if (request.text) json["text"] = streams_text(streams);
    return dump(json);
  }
  if (command == "nodes") {
    const auto nodes = node_->nodes();
    Json json = {{"ok", true}, {"nodes", nodes_json(nodes)}};
    if (request.text) json["text"] = nodes_text(nodes, now.wall_us);
    return dump(json);
  }
  if (command == "connect") {
    const auto dialed = node_->connect_now(now);
    return dialed ? dump({{"ok", true}}) : error_line(dialed.error());
  }
  if (is_one_of(command, {"clients", "client", "subscriptions", "retained"})) return look(request, now);
  if (waiting_.size() >= kWaitingMax) return error_line("busy", "too many requests wait; ask again");
  if (!is_one_of(command, {"tail", "export", "queues", "queue"})) return write(connection, request, now);
  if (is_one_of(command, {"tail", "export"})) {
    const auto streams = node_->streams();
    const bool known = std::any_of(streams.begin(), streams.end(), [&](const node::StreamStatus& stream) {
      return stream.name == request.stream;
    });
    if (!known)
      return error_line("not-found", "no stream `" + request.stream + "`; see them with: holdfast stream ls");
  }
  std::string line = read(request, now);
  if (line.empty()) {
    waiting_.push_back({.connection = connection,
                        .request = request,
                        .what = Waiting::For::kDisk,
                        .line = {},
                        .deadline = now.mono + kPatience});
  }
  return line;
}

void Admin::request(ConnectionId connection, Bytes line, const Now& now,
                    std::vector<io::AdminReply>* replies) {
  std::string error;
  std::optional<AdminRequest> request = decode_request(line, &error);
  std::string said = request ? answer(connection, *request, now) : error_line("invalid", error);
  if (request) crypto::wipe(&request->password);
  if (!said.empty()) replies->push_back({connection, std::move(said)});
}

bool Admin::after_step(const Now& now, bool disk_answered, std::vector<io::AdminReply>* replies) {
  take_work();
  take_published();
  if (waiting_.empty()) return false;
  bool asked = false;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    using For = Waiting::For;
    std::string line;
    if (waiting.what == For::kStep) {
      waiting.commit = waiting.request.forget ? node_->ended_commit() : 0;
      waiting.what = For::kCommit;
    }
    if (waiting.what == For::kDisk) {
      if (disk_answered) {
        line = read(waiting.request, now);
        asked = asked || line.empty();
      }
    } else if (waiting.commit == 0 || node_->durable_commit() >= waiting.commit) {
      line = waiting.line;
    }
    if (line.empty() && now.mono >= waiting.deadline) {
      line = error_line("io", waiting.what == For::kWork
                                  ? "it was not done in time, and may be done yet; look before you ask again"
                                  : "the disk did not answer in time; see: holdfast status");
    }
    if (line.empty()) return false;
    replies->push_back({waiting.connection, std::move(line)});
    return true;
  });
  return asked;
}

void Admin::closed(ConnectionId connection) {
  std::erase_if(waiting_, [connection](const Waiting& waiting) { return waiting.connection == connection; });
}

}  // namespace hf::holdfast
