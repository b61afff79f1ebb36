// PUBLISH out: to whom at once, what waits, in which order, and sending again.
//
// A session's messages at QoS 1 and 2 leave in the order of the log [MQTT-4.6.0-5]. A record goes at once if nothing is
// before it and the client has room (flows()); else it waits in the log, `behind` is set, and pump() reads on
// as room comes back. Messages that are not stored wait in the session's queue, each behind the last record
// that was owed when it came; pump() takes it as soon as the reader has passed that record, and later records
// wait for it.
#include <algorithm>

#include "base/assert.h"
#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

using Status = store::Store::FetchStatus;

// Expired records that one call passes over before it lets others have a turn.
constexpr int kSkipsMax = 4096;
// Outbound::run of a delivery whose row is not written yet. (There are never so many slots.)
constexpr uint16_t kRunOpen = UINT16_MAX;

bool find_member(const store::Record& record, store::ReaderId reader, store::Member* member) {
  bool found = false;
  store::for_each_member(record.audience, [&](const store::Member& one) {
    if (one.reader < reader) return true;
    found = one.reader == reader;
    if (found) *member = one;
    return false;
  });
  return found;
}

}  // namespace

void Broker::Impl::begin_fan(const store::Record& record) {
  fan_.record = &record;
  fan_.plain_ready = false;
  for (auto& version : fan_.whole) version[0] = version[1] = {};
  if (!fan_.came.empty()) fan_.whole[fan_.came_version == Version::k5][false] = fan_.came;
}

Bytes Broker::Impl::fan_properties(Version version, std::span<const uint32_t> identifiers) {
  if (version == Version::k311) return {};
  const store::Record& record = *fan_.record;
  const auto make = [&](std::string* scratch) {
    const store::StreamInfo* stream = record.stream != 0 ? store_.stream(record.stream) : nullptr;
    return delivery_properties(record, stream, identifiers, now_, scratch);
  };
  if (!identifiers.empty()) return make(&fan_.own_bytes);
  if (!fan_.plain_ready) fan_.plain = make(&fan_.plain_bytes);
  fan_.plain_ready = true;
  return fan_.plain;
}

void Broker::Impl::deliver(const Target& target, bool stored) {
  if (target.group != nullptr) return deliver_shared(target, stored);
  Session& session = *target.session;
  const store::Record& record = *fan_.record;
  // [MQTT-3.8.4-8] The lower of what was published and what was granted.
  const uint8_t qos = std::min(target.qos, record.qos);
  if (qos == 0) {
    if (session.connection != nullptr) deliver_qos0(*session.connection, target);
    return;
  }
  const bool retain = target.retain_as_published && record.retain;  // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
  if (stored && session.reader != 0) {
    session.owed_last = record.position;
    if (!flows(session)) {
      session.behind = true;
      if (session.connection == nullptr) owed_to_absent(session, record);
      check_owed(session);
      return;
    }
    store_.take(session.reader, record.position, record.size_bytes());
    send_new(session, qos, retain, target.subscription_identifiers, session.reader);
    return;
  }
  if (session.connection == nullptr) return;
  if (flows(session)) {
    send_new(session, qos, retain, target.subscription_identifiers, 0);
  } else {
    enqueue(session, target, qos);
  }
}

void Broker::Impl::deliver_qos0(Connection& connection, const Target& target) {
  const store::Record& record = *fan_.record;
  const size_t before_connack = connection.connack_sent ? 0 : connection.gate.size();
  if (unsent_of(connection) + before_connack > limits_.unsent_bytes_max) {
    ++counters_.qos0_dropped;
    return;
  }
  const bool v5 = connection.version == Version::k5;
  const bool retain = target.retain_as_published && record.retain;
  const mqtt::PublishHead head{.retain = retain, .topic = record.topic};  // [MQTT-4.3.1-1]
  const auto encode = [&](std::string& out, std::span<const uint32_t> identifiers) {
    mqtt::PublishHead whole = head;
    whole.raw_properties = fan_properties(connection.version, identifiers);
    out.clear();
    mqtt::encode_publish(out, connection.version, whole, record.payload);
  };
  Bytes bytes;
  uint16_t fresh_alias = 0;
  if (connection.outbound_aliases.enabled()) {
    mqtt::PublishHead own = head;
    own.raw_properties = fan_properties(connection.version, target.subscription_identifiers);
    // What does not wait in the gate may not build on what does.
    const uint16_t known = connection.outbound_aliases.find(own.topic);
    if (!connection.connack_sent || !connection.outbound_aliases.waits(known))
      fresh_alias = alias_topic(connection, &own);
    if (fresh_alias != 0 && mqtt::encoded_publish_size(connection.version, own, record.payload.size()) >
                                connection.packet_bytes_max) {
      own.topic_alias = fresh_alias = 0;
    }
    fan_.own_whole.clear();
    mqtt::encode_publish(fan_.own_whole, connection.version, own, record.payload);
    bytes = fan_.own_whole;
  } else if (v5 && !target.subscription_identifiers.empty()) {
    encode(fan_.own_whole, target.subscription_identifiers);
    bytes = fan_.own_whole;
  } else {
    // Once for each kind of subscriber.
    Bytes& whole = fan_.whole[v5][retain];
    if (whole.empty()) {
      encode(fan_.whole_bytes[v5][retain], {});
      whole = fan_.whole_bytes[v5][retain];
    }
    bytes = whole;
  }
  if (bytes.size() > connection.packet_bytes_max) {  // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    ++counters_.deliveries_too_large;
    return;
  }
  if (fresh_alias != 0) connection.outbound_aliases.add(record.topic, !connection.connack_sent);
  ++counters_.publishes_sent[0];
  if (connection.connack_sent) {
    ++counters_.packets_sent;
    return send_now(connection, bytes);
  }
  send_gated(connection, 0, 0, [&](std::string& out) { out.append(bytes); });
}

void Broker::Impl::enqueue(Session& session, const Target& target, uint8_t qos) {
  const store::Record& record = *fan_.record;
  Queued item{.after = session.owed_last,
              .qos = qos,
              .retain = record.retain,
              .retain_as_published = target.retain_as_published,
              .subscription_identifiers = target.subscription_identifiers,
              .arrival = record.arrival,
              .expiry_s = record.expiry_s,
              .event_us = record.event_us,
              .topic = std::string(record.topic),
              .headers = std::string(record.headers),
              .payload = std::string(record.payload)};
  const size_t size_bytes = item.size_bytes();
  if (session.queue_bytes + size_bytes > limits_.clean_session_queue_bytes_max) {
    // Never skipped in silence.
    ++counters_.slow_disconnected;
    ++counters_.of(Limit::kSlowSession);
    log_rarely(kEventTooSlow, quoted_name(session.client_id) + " takes its QoS 1 and 2 messages too slowly");
    return doom(*session.connection, Reason::kQuotaExceeded, "too far behind for a session without state");
  }
  session.queue_bytes += size_bytes;
  session.queue.push_back(std::move(item));
}

// --- Windows.

uint32_t Broker::Impl::window(const Connection& connection) const {
  const uint32_t most = std::min<uint32_t>(limits_.inflight_max, Inflight::kCountMax / 2);
  return std::min<uint32_t>(connection.receive_maximum, most);  // [MQTT-3.3.4-9] [MQTT-4.9.0-1]
}

// Of PUBLISHes above QoS 0; nothing else waits for it [MQTT-3.3.4-10] [MQTT-4.9.0-3].
bool Broker::Impl::has_window(const Connection& connection) const {  // [MQTT-4.9.0-2]
  // (Properties that the node adds do not count as the message's; together they stay below what would be too many answers.)
  return connection.sent_open < window(connection) &&
         connection.sent_open_bytes < limits_.inflight_bytes_max &&
         connection.gate.size() < gate_bytes_max() / 2;
}

bool Broker::Impl::has_room(const Connection& connection) const {
  return has_window(connection) && unsent_of(connection) < limits_.unsent_bytes_max / 4;
}

bool Broker::Impl::flows(const Session& session) const {
  return session.connection != nullptr && session.connection->connack_sent && !session.behind &&
         !session.resending() && session.queue.empty() && has_room(*session.connection);
}

void Broker::Impl::wait_for_room(Connection& connection) {
  // An acknowledgement will come, or unsent(). If what was sent in this very step is all that stands in the
  // way, the host may have no reason to call.
  if (has_window(connection) && connection.unsent_bytes < limits_.unsent_bytes_max / 4)
    wait_for_step(connection);
}

void Broker::Impl::wait_for_step(Connection& connection) {
  if (connection.next_step) return;
  connection.next_step = true;
  next_step_.push_back(connection.id);
}

// --- One PUBLISH.

// Puts the topic's alias in its place, if it has one; else one beside it that counts from when this packet is sent: then
// it is returned, and to be added.
uint16_t Broker::Impl::alias_topic(const Connection& connection, mqtt::PublishHead* head) {
  if (const uint16_t known = connection.outbound_aliases.find(head->topic)) {
    head->topic_alias = known;
    head->topic = {};
    return 0;
  }
  head->topic_alias = connection.outbound_aliases.next(head->topic);
  return head->topic_alias;
}

// One that fits without an alias.
void Broker::Impl::send_publish(Connection& connection, uint64_t commit, mqtt::PublishHead head,
                                Bytes payload) {
  if (connection.outbound_aliases.enabled() && alias_topic(connection, &head) != 0) {
    if (mqtt::encoded_publish_size(connection.version, head, payload.size()) <= connection.packet_bytes_max) {
      connection.outbound_aliases.add(head.topic,
                                      !connection.gate.empty() || commit > store_.durable_commit());
    } else {
      head.topic_alias = 0;
    }
  }
  send_gated(connection, commit, 0,
             [&](std::string& out) { mqtt::encode_publish(out, connection.version, head, payload); });
}

Broker::Impl::Sent Broker::Impl::send_new(Session& session, uint8_t qos, bool retain,
                                          std::span<const uint32_t> identifiers, store::ReaderId reader) {
  Connection& connection = *session.connection;
  const store::Record& record = *fan_.record;
  mqtt::PublishHead head{.qos = qos,
                         .retain = retain,
                         .topic = record.topic,
                         .packet_id = 1,
                         .raw_properties = fan_properties(connection.version, identifiers)};
  if (connection.packet_bytes_max != UINT32_MAX &&
      mqtt::encoded_publish_size(connection.version, head, record.payload.size()) >
          connection.packet_bytes_max) {
    ++counters_.deliveries_too_large;
    if (reader != 0) store_.acknowledge(reader, record.position);  // [MQTT-3.1.2-25]
    return Sent::kTooLarge;
  }
  Outbound& entry = *session.outbound.add();  // [MQTT-2.2.1-4]
  entry.qos = qos;
  entry.on_wire = true;
  entry.size_bytes = static_cast<uint32_t>(record.size_bytes());
  if (reader != 0) {
    entry.position = record.position;
    entry.commit = record.position.commit();
    entry.leased = reader != session.reader;
    if (entry.leased) {
      session.leases[entry.packet_id] = {
          .reader = reader, .identifier = identifiers.empty() ? 0 : identifiers.front(), .retain = retain};
    }
    if (session.durable && qos == 1 && !entry.leased) {
      // Its row comes with those of the others that are sent in this call.
      if (session.runs.open.empty()) open_runs_.push_back(session.number);
      session.runs.open.push_back(entry.packet_id);
      entry.run = kRunOpen;
      entry.commit = store_.open_commit();
    } else if (session.durable) {
      // The QoS 2 states are too many for that, and leases have a reader of their own.
      put_outbound(session, entry);
    } else if (entry.leased) {
      put_owed(reader, record.position, qos);
      // The row says that nobody else may get it [MQTT-4.8.2-5]. At QoS 1 another one may, and the row rides.
      if (qos == 2) entry.commit = store_.open_commit();
    }
  }
  head.packet_id = entry.packet_id;
  connection.sent_open += 1;
  connection.sent_open_bytes += entry.size_bytes;
  ++counters_.publishes_sent[qos];
  const uint64_t commit = planted(PlantedBug::kDeliverBeforeDurable) ? 0 : entry.commit;
  // [MQTT-4.3.2-1] [MQTT-4.3.3-1] Without DUP, whatever it came with: [MQTT-4.3.2-2] [MQTT-4.3.3-2] [MQTT-3.3.1-3].
  send_publish(connection, commit, head, record.payload);
  return Sent::kSent;
}

void Broker::Impl::put_outbound(Session& session, Outbound& entry) {
  const Lease lease = entry.leased ? session.leases.at(entry.packet_id) : Lease();
  store_.put(Table::kOutbound, PacketKey(session.number, entry.packet_id), encode(entry, lease));
  entry.commit = store_.open_commit();
}

store::ReaderId Broker::Impl::owner(const Session& session, const Outbound& entry) {
  return entry.leased ? session.leases.at(entry.packet_id).reader : session.reader;
}

void Broker::Impl::send_again(Session& session, Outbound& entry, const store::Member& member) {
  Connection& connection = *session.connection;
  const store::Record& record = *fan_.record;
  const mqtt::PublishHead head{
      .dup = true,  // [MQTT-3.3.1-1]
      .qos = entry.qos,
      .retain = member.retain_as_published && record.retain,
      .topic = record.topic,
      .packet_id = entry.packet_id,  // [MQTT-4.4.0-1]
      .raw_properties = fan_properties(connection.version, member.subscription_identifiers)};
  if (connection.packet_bytes_max != UINT32_MAX &&
      mqtt::encoded_publish_size(connection.version, head, record.payload.size()) >
          connection.packet_bytes_max) {
    ++counters_.deliveries_too_large;
    return complete(session, entry);
  }
  entry.on_wire = true;
  connection.sent_open += 1;
  connection.sent_open_bytes += entry.size_bytes;
  ++counters_.publishes_sent[entry.qos];
  send_publish(connection, entry.commit, head, record.payload);
}

void Broker::Impl::complete(Session& session, Outbound& entry) {
  if (entry.on_wire && session.connection != nullptr) {
    session.connection->sent_open -= 1;
    session.connection->sent_open_bytes -= entry.size_bytes;
  }
  if (entry.position != Position{}) {
    if (session.durable && entry.run == 0) {
      store_.erase(Table::kOutbound, PacketKey(session.number, entry.packet_id), Haste::kRide);
    } else if (entry.run != 0 && entry.run != kRunOpen && --session.runs.left[entry.run - 1u] == 0) {
      store_.erase(Table::kOutboundRun, PacketKey(session.number, static_cast<uint16_t>(entry.run - 1)),
                   Haste::kRide);
    }
    if (entry.leased && !session.durable) erase_owed(owner(session, entry), entry.position);
    store_.acknowledge(owner(session, entry), entry.position);
  }
  ShareGroup* const group = entry.leased ? find_group(owner(session, entry)) : nullptr;
  if (entry.leased) session.leases.erase(entry.packet_id);
  session.outbound.erase(&entry);
  if (group == nullptr) return;
  --group->lease_count;
  close_group(*group);
}

void Broker::Impl::close_runs() {
  for (const uint64_t number : open_runs_) {
    const auto found = sessions_by_number_.find(number);
    if (found != sessions_by_number_.end()) close_run(*found->second);
  }
  open_runs_.clear();
}

void Broker::Impl::close_run(Session& session) {
  OutboundRuns& runs = session.runs;
  const auto slot =
      static_cast<uint16_t>(std::find(runs.left.begin(), runs.left.end(), 0) - runs.left.begin());
  run_scratch_.clear();
  for (const uint16_t packet_id : runs.open) {
    Outbound* const entry = session.outbound.find(packet_id);
    if (entry == nullptr || entry->run != kRunOpen)
      continue;  // A client may acknowledge what it has not got.
    entry->run = static_cast<uint16_t>(slot + 1);
    run_scratch_.push_back(*entry);
  }
  runs.open.clear();
  if (run_scratch_.empty()) return;
  // An identifier that is acknowledged before it was sent may be open for a second time, and then stands where the first did.
  const auto earlier = [](const Outbound& a, const Outbound& b) { return a.position < b.position; };
  if (!std::is_sorted(run_scratch_.begin(), run_scratch_.end(), earlier))
    std::sort(run_scratch_.begin(), run_scratch_.end(), earlier);
  if (slot == runs.left.size()) runs.left.push_back(0);
  runs.left[slot] = static_cast<uint16_t>(run_scratch_.size());
  store_.put(Table::kOutboundRun, PacketKey(session.number, slot), encode_run(run_scratch_));
}

// --- Serving a session.

void Broker::Impl::pump_later(Session& session) {
  if (session.pump_due) return;
  session.pump_due = true;
  pumps_.push_back(session.number);
}

void Broker::Impl::pump(Session& session) {
  pump_own(session);
  if (session.connection == nullptr || !session.connection->connack_sent) return;
  for (ShareGroup* group : session.groups) {
    group->ready.insert(session.number);
    if (group->behind) pump_group_later(*group);
  }
}

void Broker::Impl::pump_own(Session& session) {
  Connection* connection = session.connection;
  if (connection == nullptr || !connection->connack_sent) return;
  if (!pump_again(session)) return;
  for (int skips = 0; skips < kSkipsMax;) {
    if (!has_room(*connection)) return wait_for_room(*connection);
    if (pump_queue(session)) continue;
    if (!session.behind) return serve_retained(session);
    const store::Store::Fetch fetched = store_.next(session.reader);
    if (fetched.status == Status::kNone) {
      // What is owed still but not durable yet wakes the reader by itself.
      if (!store_.caught_up(session.reader)) return;
      session.behind = false;
      continue;  // serve_retained() has its turn.
    }
    if (fetched.status != Status::kRecord) return;
    const store::Record& record = *fetched.record;
    const store::StreamInfo* stream = store_.stream(record.stream);
    store::Member member;
    const bool expired = store::expired(record, stream != nullptr ? stream->options.time_to_live_s : 0, now_);
    if (expired) ++counters_.expired;  // [MQTT-3.3.2-5]
    const bool wanted =
        !expired && may_receive(session, record.topic) && find_member(record, session.reader, &member);
    const uint8_t qos = std::min(member.qos, record.qos);
    if (!wanted || qos == 0) {
      store_.acknowledge(session.reader, record.position);
      ++skips;
      continue;
    }
    begin_fan(record);
    if (send_new(session, qos, member.retain_as_published && record.retain, member.subscription_identifiers,
                 session.reader) == Sent::kTooLarge) {
      ++skips;
    }
  }
  wait_for_step(*connection);
}

// The first message of the queue that nothing owed lies before. False if there is none.
bool Broker::Impl::pump_queue(Session& session) {
  if (session.queue.empty()) return false;
  const Queued& item = session.queue.front();
  if (session.behind) {
    const store::ReaderInfo* reader = store_.reader(session.reader);
    HF_ASSERT(reader != nullptr);
    if (reader->cursor < item.after) return false;
  }
  store::Record record;
  record.topic = item.topic;
  record.headers = item.headers;
  record.payload = item.payload;
  record.qos = item.qos;
  record.retain = item.retain;
  record.arrival = item.arrival;
  record.event_us = item.event_us;
  record.expiry_s = item.expiry_s;
  if (store::expired(record, 0, now_)) {
    ++counters_.expired;
  } else if (may_receive(session, record.topic)) {
    begin_fan(record);
    send_new(session, item.qos, item.retain && item.retain_as_published, item.subscription_identifiers, 0);
  }
  session.queue_bytes -= item.size_bytes();
  session.queue.pop_front();
  return true;
}

// What an earlier connection left unacknowledged. True when all of it was sent.
bool Broker::Impl::pump_again(Session& session) {
  Connection& connection = *session.connection;
  for (; session.resending(); ++session.resend_next) {
    Outbound* entry = session.outbound.find(session.resend[session.resend_next]);
    if (entry == nullptr || entry->on_wire) continue;
    if (entry->state == Outbound::State::kReleased) {  // [MQTT-4.3.3-6]
      // It counts into the window, so that what waits for PUBCOMP stays bounded.
      entry->on_wire = true;
      connection.sent_open += 1;
      connection.sent_open_bytes += entry->size_bytes;
      const uint64_t commit = planted(PlantedBug::kPubcompBeforeState) ? 0 : entry->commit;
      send_ack(connection, commit, PacketType::kPubrel, entry->packet_id, Reason::kSuccess);
      continue;
    }
    if (!has_room(connection)) {
      wait_for_room(connection);
      return false;
    }
    const store::Store::Fetch fetched = store_.at(entry->position, session.reader);
    if (fetched.status == Status::kPending || fetched.status == Status::kNone) return false;
    store::Member member;
    if (entry->leased) {
      const Lease& lease = session.leases.at(entry->packet_id);
      member.retain_as_published = lease.retain;
      if (lease.identifier != 0) member.subscription_identifiers = {lease.identifier};
    }
    const bool there = fetched.status != Status::kGone;
    if (there && entry->leased && !may_receive(session, fetched.record->topic)) {
      return_lease(session, *entry);  // It is the group's, and others may have the right.
      continue;
    }
    const bool gone = !there || !may_receive(session, fetched.record->topic) ||
                      (!entry->leased && !find_member(*fetched.record, session.reader, &member));
    if (gone) {
      complete(session, *entry);
      continue;
    }
    begin_fan(*fetched.record);  // Expired or not [MQTT-4.3.3-7].
    send_again(session, *entry, member);
  }
  session.resend.clear();
  session.resend_next = 0;
  return true;
}

}  // namespace hf::broker
