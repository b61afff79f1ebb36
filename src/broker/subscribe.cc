// SUBSCRIBE and UNSUBSCRIBE, and the retained messages that a SUBSCRIBE owes.
//
// To a session with a reader they are records for it alone, in commits no later than SUBACK's; at QoS 0 they
// follow SUBACK as the client takes them, read from their rows at that moment.
#include <algorithm>

#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

constexpr size_t kScanTopicsMax = 4096;  // Names held at a time for retained messages at QoS 0.

uint8_t number(Reason reason) { return static_cast<uint8_t>(reason); }

bool reserved(Bytes filter) { return filter == "$hf" || filter.starts_with("$hf/"); }

}  // namespace

void Broker::Impl::on_subscribe(Connection& connection, const mqtt::Subscribe& packet) {
  Session& session = *connection.session;
  const auto& identifiers = packet.properties.subscription_identifiers;
  const uint32_t identifier = identifiers.empty() ? 0 : identifiers.front();
  mqtt::SubAck suback{.type = PacketType::kSuback,
                      .packet_id = packet.packet_id};  // [MQTT-3.8.4-1] [MQTT-3.8.4-2]
  std::vector<RetainedScan> scans;
  uint64_t commit = 0;
  for (const mqtt::SubscribeEntry& entry : packet.entries) {  // [MQTT-3.8.4-5]
    suback.reasons.push_back(
        subscribe_one(session, connection, entry, identifier, &scans, &commit));  // [MQTT-3.8.4-6]
  }
  send_packet(connection, commit, suback);
  if (connection.closed() || scans.empty()) return;
  for (RetainedScan& scan : scans) {
    scan.commit = connection.gate.commit();
    connection.retained_scans.push_back(std::move(scan));
  }
  continue_retained(connection);
}

uint8_t Broker::Impl::subscribe_one(Session& session, const Connection& connection,
                                    const mqtt::SubscribeEntry& entry, uint32_t identifier,
                                    std::vector<RetainedScan>* scans, uint64_t* commit) {
  if (entry.filter == "$share" || entry.filter.starts_with("$share/")) {
    return number(Reason::kSharedSubscriptionsNotSupported);
  }
  if (reserved(entry.filter)) {
    // A node's link speaks there without subscriptions: Broker::reserved_send.
    return connection.principal.kind == Principal::Kind::kNode ? entry.qos : number(Reason::kNotAuthorized);
  }
  const bool is_new = !session.subscriptions.contains(entry.filter);
  if (is_new && session.subscriptions.size() >= limits_.subscriptions_per_session_max) {
    return number(Reason::kQuotaExceeded);
  }
  const SubscriptionOptions options{.qos = storage_failed() ? uint8_t{0} : entry.qos,
                                    .no_local = entry.no_local,
                                    .retain_as_published = entry.retain_as_published,
                                    .retain_handling = entry.retain_handling,
                                    .identifier = identifier};
  if (options.qos > 0 && session.reader == 0) {
    session.reader = store_.create_reader(false);
    sessions_by_reader_[session.reader] = &session;
  }
  // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] (3.1.1 always sends them: [MQTT-3.3.1-6] there.)
  bool some_at_qos0 = false;
  if (entry.retain_handling == 0 || (entry.retain_handling == 1 && is_new)) {
    some_at_qos0 = options.qos == 0;
    if (options.qos > 0 && !owe_retained(session, entry.filter, options, &some_at_qos0, commit)) {
      return number(Reason::kQuotaExceeded);
    }
  }
  // After the records: should a crash part the groups, the client, which has no SUBACK, subscribes anew and
  // misses none.
  subscriptions_.set(session, entry.filter, options);  // [MQTT-3.8.4-3] [MQTT-3.8.4-4]
  if (session.durable && !storage_failed()) {
    store_.put(Table::kSubscription, subscription_key(session.number, entry.filter), encode(options));
    *commit = store_.open_commit();
  }
  if (some_at_qos0) scans->push_back({.filter = std::string(entry.filter), .options = options});
  return options.qos;  // [MQTT-3.8.4-7]
}

bool Broker::Impl::owe_retained(Session& session, Bytes filter, const SubscriptionOptions& options,
                                bool* some_at_qos0, uint64_t* commit) {
  std::vector<std::string> topics;
  retained_.find(filter, std::nullopt, SIZE_MAX, now_, &topics);
  if (topics.empty()) return true;
  // The retain flag is set in the record and kept by the member [MQTT-3.3.1-8] of 3.1.1.
  store::Member member{.reader = session.reader, .qos = options.qos, .retain_as_published = true};
  if (options.identifier != 0) member.subscription_identifiers.push_back(options.identifier);
  const std::string audience = store::encode_audience({member});
  RetainedRow row;
  for (const std::string& topic : topics) {
    if (!retained_.get(topic, &row)) continue;
    if (options.no_local && row.publisher == session.client_id) continue;
    if (row.qos == 0) {
      *some_at_qos0 = true;
      continue;
    }
    if (!store_.admit(topic.size() + row.headers.size() + row.payload.size())) return false;
    store::NewRecord record;
    record.stream = local_stream();
    record.topic = topic;
    record.headers = row.headers;
    record.payload = row.payload;
    record.qos = row.qos;
    record.retain = true;
    record.arrival = row.arrival;
    record.event_us = row.event_us;
    record.expiry_s = row.expiry_s;
    record.audience = audience;
    session.owed_last = store_.append(record).position;
    session.behind = true;
    *commit = store_.open_commit();
    // All retained messages in one group could be more than a commit holds.
    boundary();
  }
  return true;
}

bool Broker::Impl::has_room_for_retained(Connection& connection) {
  if (unsent_of(connection) < limits_.unsent_bytes_max / 4) return true;
  if (connection.unsent_bytes < limits_.unsent_bytes_max / 4) wait_for_step(connection);
  return false;
}

void Broker::Impl::continue_retained(Connection& connection) {
  std::vector<std::string> topics;
  RetainedRow row;
  while (!connection.closed() && !connection.retained_scans.empty()) {
    RetainedScan& scan = connection.retained_scans.front();
    if (!connection.connack_sent || scan.commit > store_.durable_commit())
      return;  // durable() comes here again.
    if (!has_room_for_retained(connection)) return;
    Target target{.session = connection.session, .qos = 0, .retain_as_published = true};
    if (scan.options.identifier != 0) target.subscription_identifiers.push_back(scan.options.identifier);
    const bool more = retained_.find(scan.filter, scan.last, kScanTopicsMax, now_, &topics);
    for (const std::string& topic : topics) {
      if (!has_room_for_retained(connection)) return;
      scan.last = topic;
      if (!retained_.get(topic, &row)) continue;
      // What is above QoS 0 on both sides was owed as a record.
      if (std::min(scan.options.qos, row.qos) > 0) continue;
      if (scan.options.no_local && row.publisher == connection.session->client_id) continue;
      store::Record record;
      record.topic = topic;
      record.headers = row.headers;
      record.payload = row.payload;
      record.retain = true;  // [MQTT-3.3.1-8] of 3.1.1
      record.arrival = row.arrival;
      record.event_us = row.event_us;
      record.expiry_s = row.expiry_s;
      begin_fan(record);
      deliver_qos0(connection, target);
    }
    if (!more) connection.retained_scans.pop_front();
  }
}

void Broker::Impl::on_unsubscribe(Connection& connection, const mqtt::Unsubscribe& packet) {
  Session& session = *connection.session;
  mqtt::SubAck unsuback{.type = PacketType::kUnsuback,
                        .packet_id = packet.packet_id};  // [MQTT-3.10.4-4] [MQTT-3.10.4-5]
  uint64_t commit = 0;
  for (const Bytes filter : packet.filters) {  // [MQTT-3.10.4-6]
    // [MQTT-3.10.4-1] What is owed already is still delivered [MQTT-3.10.4-3].
    const bool was = subscriptions_.erase(session, filter);
    unsuback.reasons.push_back(number(was ? Reason::kSuccess : Reason::kNoSubscriptionExisted));
    if (!was || !session.durable) continue;
    store_.erase(Table::kSubscription, subscription_key(session.number, filter), Haste::kCommit);
    commit = store_.open_commit();
  }
  send_packet(connection, commit, unsuback);
}

}  // namespace hf::broker
