// SUBSCRIBE and UNSUBSCRIBE, and the retained messages that a SUBSCRIBE owes.
//
// Those follow SUBACK as the client takes them, read from their rows at that moment: at QoS 0 they just leave, above it each
// becomes a record for the session alone when its turn has come. What a durable session is still owed is a mark in the
// subscription's row, so a restart begins that search anew.
#include <algorithm>

#include "broker/broker_impl.h"
#include "mqtt/topic.h"

namespace hf::broker {

namespace {

// Looked at for retained messages of all sessions before the rest of the world has a turn.
constexpr size_t kRowsPerStep = 4096;
// Filters of one SUBSCRIBE; those behind them are refused.
constexpr size_t kEntriesMax = 4096;
constexpr Duration kRetainedRetry = seconds(1);

uint8_t number(Reason reason) { return static_cast<uint8_t>(reason); }

}  // namespace

void Broker::Impl::on_subscribe(Connection& connection, const mqtt::Subscribe& packet) {
  Session& session = *connection.session;
  const auto& identifiers = packet.properties.subscription_identifiers;
  const uint32_t identifier = identifiers.empty() ? 0 : identifiers.front();
  mqtt::SubAck suback{.type = PacketType::kSuback,
                      .packet_id = packet.packet_id};  // [MQTT-2.2.1-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2]
  uint64_t commit = 0;
  std::set<std::string> fresh;                                // To be told what there is already.
  for (const mqtt::SubscribeEntry& entry : packet.entries) {  // [MQTT-3.8.4-5] [MQTT-3.9.3-1]
    if (suback.reasons.size() >= kEntriesMax) {
      suback.reasons.push_back(number(Reason::kQuotaExceeded));
      ++counters_.of(Limit::kSubscribeFilters);
      continue;
    }
    bool wants_retained = false;
    suback.reasons.push_back(subscribe_one(session, connection, entry, identifier, &commit,
                                           &wants_retained));  // [MQTT-3.8.4-6]
    if (wants_retained) fresh.emplace(entry.filter);
  }
  send_packet(connection, commit,
              suback);  // No reason string, no user property: [MQTT-3.9.2-1] [MQTT-3.9.2-2].
  if (connection.closed()) return;
  for (const std::string& filter : fresh) {
    const auto scan = session.retained_scans.find(filter);
    if (scan != session.retained_scans.end()) scan->second.commit = connection.gate.commit();
  }
  answer_sys(session, fresh);
  serve_retained(session);
}

uint8_t Broker::Impl::subscribe_one(Session& session, const Connection& connection,
                                    const mqtt::SubscribeEntry& entry, uint32_t identifier, uint64_t* commit,
                                    bool* wants_retained) {
  mqtt::SharedFilter shared;
  if (!mqtt::parse_shared(entry.filter, &shared))
    return number(Reason::kTopicFilterInvalid);  // [MQTT-4.8.2-1]
  const bool is_shared = !shared.group.empty();
  if (is_shared && (storage_failed() || mqtt::reserved_to_nodes(shared.filter)))
    return number(Reason::kNotAuthorized);
  const Rights* const rights = session_rights_.of(session);
  if (rights != nullptr && !rights->subscribe(shared.filter)) {
    ++counters_.not_authorized;
    log_rarely(kEventSubscribeRefused,
               quoted_name(session.client_id) + " has no right to subscribe to " + quoted_name(entry.filter));
    return number(Reason::kNotAuthorized);
  }
  if (mqtt::reserved_to_nodes(entry.filter)) {
    // A node's link speaks there without subscriptions: Broker::reserved_send.
    return connection.principal.kind == Principal::Kind::kNode ? entry.qos : number(Reason::kNotAuthorized);
  }
  const auto found = session.subscriptions.find(entry.filter);
  const bool is_new = found == session.subscriptions.end();
  if (is_new && session.subscriptions.size() >= limits_.subscriptions_per_session_max) {
    ++counters_.of(Limit::kSubscriptions);
    return number(Reason::kQuotaExceeded);
  }
  const SubscriptionOptions options{.qos = storage_failed() ? uint8_t{0} : entry.qos,
                                    .no_local = entry.no_local,
                                    .retain_as_published = entry.retain_as_published,
                                    .retain_handling = entry.retain_handling,
                                    .identifier = identifier};
  if (options.qos > 0 && session.reader == 0 && !is_shared) {
    session.reader = store_.create_reader(false);
    sessions_by_reader_[session.reader] = &session;
    store_.count_in_figures(session.reader);
  }
  // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] (3.1.1 always sends them: [MQTT-3.3.1-6] there.)
  // A shared subscription gets none (4.8.2).
  const bool wants = !is_shared && (entry.retain_handling == 0 || (entry.retain_handling == 1 && is_new));
  const bool owed = wants && retained_.bytes() > 0;
  const bool durable = session.durable && !storage_failed();
  const bool was_owed = session.retained_scans.contains(entry.filter);
  if (durable && (is_new || found->second != options || owed != was_owed)) {
    const std::string row = encode(SubscriptionRow{options, owed || was_owed});
    if (is_new && !store_.admit_row(8 + entry.filter.size() + row.size())) {
      ++counters_.of(Limit::kRows);
      log_rarely(kEventRowsFull, "no space for a subscription of " + quoted_name(session.client_id));
      return number(Reason::kQuotaExceeded);
    }
    store_.put(Table::kSubscription, subscription_key(session.number, entry.filter), row);
    *commit = store_.open_commit();
  }
  subscriptions_.set(session, entry.filter, options);  // [MQTT-3.8.4-3] [MQTT-3.8.4-4]
  watch_sys(entry.filter);
  *wants_retained = wants;
  const auto scan = session.retained_scans.find(entry.filter);
  if (owed) {
    session.retained_scans[std::string(entry.filter)] = {.options = options};
  } else if (scan != session.retained_scans.end()) {
    scan->second.options = options;  // What an earlier SUBSCRIBE is owed comes as this one says.
  }
  if (ShareGroup* group = subscriptions_.group(entry.filter)) {
    if (open_group(*group)) *commit = store_.open_commit();
    // It may take what the others had no room for.
    if (group->behind) pump_group_later(*group);
  }
  return options.qos;  // [MQTT-3.8.4-7] [MQTT-3.2.2-10]
}

// Whether the session's connection can take a retained message now; if not, this is called again when it can.
bool Broker::Impl::has_room_for_retained(Session& session, uint8_t qos) {
  Connection& connection = *session.connection;
  if (qos > 0) {
    if (flows(session)) return true;
    if (!session.behind && session.queue.empty()) wait_for_room(connection);
    return false;
  }
  if (unsent_of(connection) < limits_.unsent_bytes_max / 4) return true;
  if (connection.unsent_bytes < limits_.unsent_bytes_max / 4) wait_for_step(connection);
  return false;
}

void Broker::Impl::serve_retained(Session& session) {
  if (retained_step_ != step_) retained_rows_left_ = kRowsPerStep;
  retained_step_ = step_;
  size_t& rows_left = retained_rows_left_;
  RetainedRow row;
  while (session.connection != nullptr && session.connection->connack_sent &&
         !session.retained_scans.empty()) {
    const auto& [filter, scan] = *session.retained_scans.begin();
    if (scan.commit > store_.durable_commit()) return;  // durable() comes here again.
    // Neither QoS can pass while there is no room for the lower one.
    if (!has_room_for_retained(session, 0)) return;
    const ConnectionId id = session.connection->id;
    // Who searches takes his turn; a topic by its name costs nothing.
    const bool search = Retained::is_search(filter);
    const bool others_first = serving_ != id && !next_step_.empty();
    if (search && (rows_left == 0 || others_first)) return wait_for_step(*session.connection);
    std::optional<std::string> last = scan.last;
    const Retained::Found found = retained_.next(filter, &last, &rows_left, now_, &row);
    if (search && rows_left == 0) retained_last_ = id;
    if (found == Retained::Found::kMessage) {
      const bool withheld = (scan.options.no_local && row.publisher == session.client_id) ||
                            !may_receive(session, *last) ||
                            !may_still_publish({0, row.user, row.by_certificate, row.publisher}, *last, true);
      const uint8_t qos = std::min(scan.options.qos, row.qos);
      if (!withheld && !send_retained(session, scan.options, qos, *last, row)) return;
    }
    session.retained_scans.begin()->second.last = std::move(last);
    if (found == Retained::Found::kNoMore) end_scan(session);
  }
}

// False: not now.
bool Broker::Impl::send_retained(Session& session, const SubscriptionOptions& options, uint8_t qos,
                                 Bytes topic, const RetainedRow& row) {
  if (!has_room_for_retained(session, qos)) return false;
  Target target{.session = &session, .qos = qos, .retain_as_published = true};
  if (options.identifier != 0) target.subscription_identifiers.push_back(options.identifier);
  store::Record record;
  record.topic = topic;
  record.headers = row.headers;
  record.payload = row.payload;
  record.qos = row.qos;
  record.retain = true;  // [MQTT-3.3.1-8] of 3.1.1; the target keeps it.
  record.arrival = row.arrival;
  record.event_us = row.event_us;
  record.expiry_s = row.expiry_s;
  if (qos == 0) {
    begin_fan(record);
    deliver_qos0(*session.connection, target);
    return true;
  }
  if (!store_.admit(topic.size() + row.headers.size() + row.payload.size())) {
    timers_.arm(Timer::Kind::kRetained, session.number, now_.mono + kRetainedRetry, &session.retained_timer);
    return false;
  }
  store::Member member{.reader = session.reader, .qos = qos, .retain_as_published = true};
  member.subscription_identifiers = target.subscription_identifiers;
  const std::string audience = store::encode_audience({member});
  store::NewRecord kept;
  kept.stream = record.stream = local_stream();
  kept.topic = record.topic;
  kept.headers = record.headers;
  kept.payload = record.payload;
  kept.qos = record.qos;
  kept.retain = true;
  kept.arrival = record.arrival;
  kept.event_us = record.event_us;
  kept.expiry_s = record.expiry_s;
  kept.audience = audience;
  const store::Store::Appended appended = store_.append(kept);
  record.position = appended.position;
  record.sequence = appended.sequence;
  begin_fan(record);
  deliver(target, true);
  boundary();
  return true;
}

// The first scan has come to its end.
void Broker::Impl::end_scan(Session& session) {
  const auto scan = session.retained_scans.begin();
  const auto subscription = session.subscriptions.find(scan->first);
  if (session.durable && subscription != session.subscriptions.end() && !storage_failed()) {
    store_.put(Table::kSubscription, subscription_key(session.number, scan->first),
               encode(SubscriptionRow{subscription->second}), Haste::kRide);
  }
  session.retained_scans.erase(scan);
}

void Broker::Impl::on_unsubscribe(Connection& connection, const mqtt::Unsubscribe& packet) {
  Session& session = *connection.session;
  mqtt::SubAck unsuback{.type = PacketType::kUnsuback,
                        .packet_id = packet.packet_id};  // [MQTT-2.2.1-6] [MQTT-3.10.4-4] [MQTT-3.10.4-5]
  uint64_t commit = 0;
  for (const Bytes filter : packet.filters) {  // [MQTT-3.10.4-6] [MQTT-3.11.3-1]
    // [MQTT-3.10.4-1] What is owed already is still delivered [MQTT-3.10.4-3].
    ShareGroup* const group = subscriptions_.group(filter);
    const bool was = subscriptions_.erase(session, filter);
    if (group != nullptr) close_group(*group);
    if (const auto scan = session.retained_scans.find(filter); scan != session.retained_scans.end()) {
      session.retained_scans.erase(scan);  // [MQTT-3.10.4-2]
    }
    unsuback.reasons.push_back(number(was ? Reason::kSuccess : Reason::kNoSubscriptionExisted));
    if (!was || !session.durable) continue;
    store_.erase(Table::kSubscription, subscription_key(session.number, filter), Haste::kCommit);
    commit = store_.open_commit();
  }
  send_packet(connection, commit, unsuback);  // Neither here: [MQTT-3.11.2-1] [MQTT-3.11.2-2].
}

}  // namespace hf::broker
