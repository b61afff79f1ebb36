// PUBLISH in: checks, and what becomes of the message: its record, its retained row, its deliveries, its
// answer.
//
// All that one PUBLISH writes, the record, the rows of deliveries that leave at once, the retained row and
// the identifier of QoS 2, is one group between two boundaries.
#include <algorithm>

#include "broker/broker_impl.h"
#include "mqtt/topic.h"

namespace hf::broker {

bool Broker::Impl::on_publish_again(Connection& connection, const mqtt::Framed& framed) {
  Incoming packet;
  if (!read_again(connection, framed, &packet)) return false;
  on_publish(connection, packet);
  return true;
}

bool Broker::Impl::read_again(const Connection& connection, const mqtt::Framed& framed,
                              Incoming* packet) const {
  constexpr unsigned kQosBits = 0x06;
  if ((framed.first_byte & ~kQosBits) != 0x30 || (framed.first_byte & kQosBits) == kQosBits) return false;
  const Bytes body = framed.body;
  const size_t topic_size = topic_last_.size();
  const unsigned qos = (framed.first_byte & kQosBits) >> 1;
  const bool v5 = connection.version == Version::k5;
  const size_t head_size = 2 + topic_size + (qos > 0 ? 2 : 0) + (v5 ? 1 : 0);
  if (topic_size == 0 || body.size() < head_size) return false;
  ByteReader in(body.substr(0, head_size));
  if (in.u16be() != topic_size || in.bytes(topic_size) != topic_last_) return false;
  *packet = {.qos = static_cast<uint8_t>(qos),
             .topic = body.substr(2, topic_size),
             .payload = body.substr(head_size)};
  if (qos > 0) packet->packet_id = in.u16be();
  if ((qos > 0 && packet->packet_id == 0) || (v5 && in.u8() != 0)) return false;
  // A length in more bytes than it needs is refused in 5.0, by decode(), and never passed on.
  const bool minimal =
      framed.size == 1 + mqtt::variable_size(static_cast<uint32_t>(body.size())) + body.size();
  if (v5 && !minimal) return false;  // [MQTT-1.5.5-1]
  if (qos == 0 && minimal) {
    packet->whole = Bytes(body.data() - (framed.size - body.size()), framed.size);
  }
  return true;
}

size_t Broker::Impl::on_publish_run(Connection& connection, Bytes source, bool lasting) {
  constexpr char kQos0 = 0x30;
  if (source.empty() || source[0] != kQos0 || connection.state != Connection::State::kOpen) return 0;
  Session& session = *connection.session;
  const Audience* audience = nullptr;
  run_.clear();
  size_t size = 0;
  while (size < source.size() && source[size] == kQos0) {
    mqtt::Framed framed;
    mqtt::DecodeError error;
    Incoming packet;
    const bool again = mqtt::frame_next(source.substr(size), limits_.packet_bytes_max, &framed, &error) ==
                           mqtt::FrameStatus::kWhole &&
                       read_again(connection, framed, &packet) && !packet.whole.empty() &&
                       !host_.event_time(packet.topic, packet.payload);
    if (!again) break;
    run_.push_back(packet);
    size += framed.size;
    if (run_.size() != 2) continue;
    // Asked before the rest is looked at: else each message of a stream that is stored would look at all behind it.
    if (topic_last_.starts_with('$') || !may_publish(session, topic_last_, false)) return 0;
    audience = &audiences_.find(topic_last_, client_source_, session.number);
    if (audience->routed) return 0;
  }
  if (audience == nullptr) return 0;
  connection.last_received = now_.mono;
  counters_.packets_received += run_.size();
  counters_.publishes_received[0] += run_.size();
  fan_out_run(*audience, connection.version, source.substr(0, size), lasting);
  return size;
}

void Broker::Impl::fan_out_run(const Audience& audience, Version version, Bytes run, bool lasting) {
  size_t largest = 0;
  for (const Incoming& packet : run_) largest = std::max(largest, packet.whole.size());
  run_odd_.clear();
  for (const Target& target : audience.targets) {
    Connection* const connection = target.session != nullptr ? target.session->connection : nullptr;
    if (target.session != nullptr && connection == nullptr) continue;
    // Who cannot have it as it came has one after the other.
    const bool plain = connection != nullptr && connection->connack_sent && connection->version == version &&
                       !connection->outbound_aliases.enabled() && target.subscription_identifiers.empty() &&
                       largest <= connection->packet_bytes_max &&
                       unsent_of(*connection) + run.size() <= limits_.unsent_bytes_max;
    if (!plain) {
      run_odd_.push_back(&target);
      continue;
    }
    counters_.publishes_sent[0] += run_.size();
    counters_.packets_sent += run_.size();
    count_sent(*connection, run.size());
    if (lasting) {
      host_.pass_on(connection->id, run);
    } else {
      host_.send(connection->id, run);
    }
  }
  if (run_odd_.empty()) return;
  for (const Incoming& packet : run_) {
    store::Record message;
    message.topic = packet.topic;
    message.payload = packet.payload;
    message.arrival = arrival_;
    fan_.came = packet.whole;
    fan_.came_version = version;
    begin_fan(message);
    for (const Target* target : run_odd_) deliver(*target, false);
  }
  fan_.came = {};
}

void Broker::Impl::on_publish(Connection& connection, const mqtt::Publish& packet) {
  Bytes topic = packet.topic;
  if (packet.properties.topic_alias) {
    switch (connection.inbound_aliases.resolve(*packet.properties.topic_alias, limits_.topic_alias_maximum,
                                               &topic)) {
      case InboundAliases::Outcome::kOk:
        break;
      case InboundAliases::Outcome::kOutOfRange:  // [MQTT-3.3.2-9]
        return fail(connection, Reason::kTopicAliasInvalid, "a topic alias over the maximum");
      case InboundAliases::Outcome::kUnmapped:
        return fail(connection, Reason::kProtocolError, "a topic alias that stands for nothing");
    }
  }
  topic_last_.assign(topic);
  on_publish(connection, Incoming{.qos = packet.qos,
                                  .retain = packet.retain,
                                  .packet_id = packet.packet_id,
                                  .topic = topic,
                                  .payload = packet.payload,
                                  .properties = packet.raw_properties.empty() ? nullptr : &packet.properties,
                                  .raw_properties = packet.raw_properties});
}

void Broker::Impl::on_publish(Connection& connection, const Incoming& packet) {
  Session& session = *connection.session;
  ++counters_.publishes_received[packet.qos];
  if (packet.qos == 2) {
    const auto known = session.inbound.find(packet.packet_id);
    if (known != session.inbound.end()) {
      // [MQTT-4.3.3-10] It is here already; PUBREC waits for the same commit as the first time. (At QoS 1 every one is new
      // [MQTT-4.3.2-5].)
      return send_ack(connection, known->second, PacketType::kPubrec, packet.packet_id, Reason::kSuccess);
    }
  }
  if (packet.qos == 2 && session.inbound.size() >= limits_.inbound_ids_max) {
    ++counters_.of(Limit::kInboundIds);
    return fail(connection, Reason::kQuotaExceeded, "too many PUBLISHes of QoS 2 that it does not release");
  }
  if (packet.qos > 0) {
    // [MQTT-3.3.4-7] is the client's duty.
    if (connection.version == Version::k5 && connection.received_open >= limits_.receive_maximum) {
      return fail(connection, Reason::kReceiveMaximumExceeded,
                  "more open PUBLISHes than the receive maximum");
    }
    ++connection.received_open;
  }
  if (packet.topic.starts_with('$')) {
    if (mqtt::reserved_to_nodes(packet.topic) && connection.principal.kind == Principal::Kind::kNode)
      return on_reserved(connection, packet);
    if (mqtt::reserved_to_nodes(packet.topic) && packet.qos == 0) {
      return fail(connection, Reason::kNotAuthorized, "a reserved topic");
    }
    return refuse_publish(connection, packet, Reason::kNotAuthorized);
  }
  if (!may_publish(session, packet.topic, packet.retain)) {
    ++counters_.not_authorized;
    return refuse_publish(connection, packet, Reason::kNotAuthorized);
  }

  store::NewRecord record = record_of(packet, session.client_id);
  const bool as_it_came = !packet.whole.empty() && !record.event_us;
  fan_.came = as_it_came ? packet.whole : Bytes();
  fan_.came_version = connection.version;

  const Outcome outcome = publish(record, client_source_,
                                  {session.number, session.user, session.by_certificate, session.client_id});
  fan_.came = {};
  if (packet.qos == 0) return;
  if (outcome.reason >= Reason::kUnspecifiedError) return refuse_publish(connection, packet, outcome.reason);
  acknowledge_publish(connection, packet, outcome);
}

store::NewRecord Broker::Impl::record_of(const Incoming& packet, Bytes who) {
  store::NewRecord record;
  record.topic = packet.topic;
  record.payload = packet.payload;
  record.qos = packet.qos;
  record.retain = packet.retain;
  record.arrival = arrival_;
  if (packet.properties != nullptr) {
    const Carried carried = carry(*packet.properties, packet.raw_properties, &headers_scratch_);
    record.headers = carried.headers;
    record.expiry_s = carried.expiry_s;
    record.event_us = carried.event_us;
    if (carried.time_invalid) {
      ++counters_.times_invalid;
      log_rarely(kEventTimeInvalid, "an hf-time of " + quoted_name(who) + " on " + quoted_name(record.topic) +
                                        " is neither RFC 3339 in UTC nor milliseconds: it tells nothing");
    }
  }
  if (!record.event_us) record.event_us = host_.event_time(record.topic, record.payload);
  return record;
}

Result<Published> Broker::Impl::publish(const Publication& message, const Now& now) {
  const Call call(*this, now);
  boundary_due_ = true;
  const auto refused = [this](const Error& error) {
    ++counters_.publishes_refused;
    return std::unexpected(error);
  };
  if (message.topic.starts_with('$')) {
    return refused({Code::kDenied, "topics that begin with $ are the node's own"});
  }
  mqtt::Properties properties;
  properties.message_expiry_interval_s = message.expiry_s;
  if (!message.content_type.empty()) properties.content_type = message.content_type;
  for (const auto& [name, value] : message.user_properties)
    properties.user_properties.push_back({name, value});
  store::NewRecord record = record_of({.qos = message.qos,
                                       .retain = message.retain,
                                       .topic = message.topic,
                                       .payload = message.payload,
                                       .properties = &properties},
                                      "the operator");
  const size_t bytes = record.topic.size() + record.headers.size() + record.payload.size();
  if (bytes > limits_.packet_bytes_max) {
    return refused({Code::kTooLarge, "the message is larger than mqtt.max_packet", limits_.packet_bytes_max});
  }
  ++counters_.publishes_received[message.qos];
  const Outcome outcome = publish(record, client_source_, {});
  if (outcome.reason < Reason::kUnspecifiedError)
    return Published{outcome.reason != Reason::kNoMatchingSubscribers, outcome.commit};
  if (const auto admitted = store_.admit(bytes); !admitted) return refused(admitted.error());
  return refused({Code::kFull, "retained messages have reached their limit"});
}

void Broker::Impl::acknowledge_publish(Connection& connection, const Incoming& packet,
                                       const Outcome& outcome) {
  Session& session = *connection.session;
  uint64_t commit = outcome.commit;
  if (packet.qos == 2) {
    if (session.durable) {  // The identifier is session state, also where the message was not stored.
      store_.put(Table::kInbound, PacketKey(session.number, packet.packet_id), encode_inbound());
      commit = store_.open_commit();
    }
    session.inbound[packet.packet_id] = commit;
  }
  if (planted(PlantedBug::kAckBeforeSync)) commit = 0;
  ack_begun(commit);
  // [MQTT-3.3.4-1] [MQTT-2.2.1-5] [MQTT-4.3.2-4] [MQTT-4.3.3-8]
  send_ack(connection, commit, packet.qos == 1 ? PacketType::kPuback : PacketType::kPubrec, packet.packet_id,
           outcome.reason);
}

// How long publishers wait, for those who watch the node.
void Broker::Impl::ack_begun(uint64_t commit) {
  if (commit <= store_.durable_commit()) return counters_.publish_acks.add(Duration{0});
  if (!ack_waits_.empty()) {
    AckWait& last = ack_waits_.back();
    const bool same = last.commit == commit && last.since == now_.mono;
    if (same || ack_waits_.size() >= kAckWaitsMax) {
      last.commit = std::max(last.commit, commit);
      ++last.count;
      return;
    }
  }
  ack_waits_.push_back({commit, now_.mono, 1});
}

void Broker::Impl::acks_left(uint64_t durable_commit) {
  while (!ack_waits_.empty() && ack_waits_.front().commit <= durable_commit) {
    const AckWait& wait = ack_waits_.front();
    counters_.publish_acks.add(now_.mono - wait.since, wait.count);
    ack_waits_.pop_front();
  }
}

void Broker::Impl::refuse_publish(Connection& connection, const Incoming& packet, Reason reason) {
  ++counters_.publishes_refused;
  log_rarely(kEventPublishRefused,
             "PUBLISH of " + quoted_name(connection.session->client_id) + " on " + quoted_name(packet.topic) +
                 " refused: " + (storage_failed() ? "storage has failed" : mqtt::reason_name(reason)));
  if (packet.qos == 0) return;
  if (connection.version == Version::k311) {
    // [MQTT-3.3.5-2] of 3.1.1: it has no way to refuse but to close. Where that may help, it does; who has no right to a topic
    // would come back with the same message for ever, and with nothing else.
    if (reason != Reason::kNotAuthorized) return fail(connection, reason, "a PUBLISH was refused");
    reason = Reason::kSuccess;
    if (packet.qos == 2) connection.session->inbound[packet.packet_id] = 0;
  }
  // [MQTT-4.3.3-9] The identifier of a refusal is kept nowhere.
  send_ack(connection, 0, packet.qos == 1 ? PacketType::kPuback : PacketType::kPubrec, packet.packet_id,
           reason);
}

void Broker::Impl::on_reserved(Connection& connection, const Incoming& packet) {
  if (packet.qos != 1) return fail(connection, Reason::kProtocolError, "a node's reserved PUBLISH has QoS 1");
  // The last that is done here: the host may call back.
  host_.reserved_publish(connection.id, packet.topic, packet.payload, packet.packet_id);
}

Reason Broker::Impl::admit(const store::NewRecord& record, bool stored, bool retained) {
  if (storage_failed()) return Reason::kQuotaExceeded;
  if (!stored && !retained) return Reason::kSuccess;
  const auto admitted = store_.admit(record.topic.size() + record.headers.size() + record.payload.size());
  if (!admitted) return Reason::kQuotaExceeded;  // Too large as well: PUBACK has no other reason for it.
  if (retained && !retained_.admit(record.topic, record.headers.size(), record.payload.size(), now_)) {
    ++counters_.of(Limit::kRetained);
    log_rarely(kEventRetainedFull, "retained messages have reached their limit; the new one is refused");
    return Reason::kQuotaExceeded;
  }
  return Reason::kSuccess;
}

Broker::Impl::Outcome Broker::Impl::publish(store::NewRecord& record, const Source& source,
                                            const Publisher& publisher) {
  const Audience& audience = audiences_.find(record.topic, source, publisher.session);
  bool stored = audience.routed || (record.qos > 0 && audience.durable_wants);
  bool retained = record.retain;  // [MQTT-3.3.1-8]
  const bool adds = retained && !record.payload.empty();
  if (record.qos > 0 || stored || retained) {
    const Reason reason = admit(record, stored, adds);
    if (reason != Reason::kSuccess) {
      if (record.qos > 0) return {reason, 0};
      // QoS 0 goes on to whoever is there. What was retained goes too, since nobody can be told that this one was not
      // kept: [MQTT-3.3.1-5], and [MQTT-3.3.1-7] of 3.1.1.
      ++counters_.publishes_refused;
      stored = false;
      if (adds && !storage_failed()) retained_.erase(record.topic, Haste::kRide);
      retained = retained && !adds && !storage_failed();
    }
  }

  Outcome outcome;
  store::Store::Appended appended;
  if (stored) {  // [MQTT-4.5.0-1]
    record.stream = audience.stream != 0 ? audience.stream : local_stream();
    record.audience = record.qos > 0 ? audience.all : audience.links;
    appended = store_.append(record);
    outcome.commit = store_.open_commit();
  }
  if (retained) {
    const bool changed = retain(record, publisher, nullptr, 0);
    // Somebody else may have erased it already, and that may wait for the disk too.
    const uint64_t commit = changed ? store_.open_commit() : store_.commit_of(Table::kRetained, record.topic);
    if (record.qos > 0) outcome.commit = std::max(outcome.commit, commit);
  }
  if (!stored && audience.targets.empty()) outcome.reason = Reason::kNoMatchingSubscribers;
  fan_out(record, appended, audience, stored);
  return outcome;
}

void Broker::Impl::fan_out(const store::NewRecord& record, const store::Store::Appended& appended,
                           const Audience& audience, bool stored) {
  if (audience.targets.empty()) return;
  store::Record message;
  message.position = appended.position;
  message.stream = stored ? record.stream : 0;
  message.sequence = appended.sequence;
  message.topic = record.topic;
  message.headers = record.headers;
  message.payload = record.payload;
  message.qos = record.qos;
  message.retain = record.retain;
  message.may_double = record.may_double;
  message.arrival = record.arrival;
  message.event_us = record.event_us;
  message.expiry_s = record.expiry_s;
  begin_fan(message);
  for (const Target& target : audience.targets) deliver(target, stored);
}

bool Broker::Impl::retain(const store::NewRecord& record, const Publisher& publisher,
                          const store::StreamInfo* stream, uint64_t sequence) {
  const Haste haste = record.qos > 0 ? Haste::kCommit : Haste::kRide;
  // [MQTT-3.3.1-6] [MQTT-3.3.1-7]
  if (record.payload.empty()) return retained_.erase(record.topic, haste);
  std::string scratch;
  const RetainedRow row{.qos = record.qos,
                        .arrival = record.arrival,
                        .expiry_s = record.expiry_s,
                        .event_us = record.event_us,
                        .user = publisher.user,
                        .by_certificate = publisher.by_certificate,
                        .publisher = publisher.client_id,
                        .headers = lasting_headers(record, stream, sequence, &scratch),
                        .payload = record.payload};
  retained_.set(record.topic, row, haste);  // [MQTT-3.3.1-5]
  return true;
}

store::StreamId Broker::Impl::local_stream() {
  if (local_stream_ == 0 || local_incarnation_ != store_.incarnation()) {
    local_incarnation_ = store_.incarnation();
    local_stream_ = store_.open_local_stream("local", store::StreamOptions().priority, 0);
  }
  return local_stream_;
}

store::Store::Appended Broker::Impl::ingest(store::NewRecord record, const Source& source, const Now& now) {
  const Call call(*this, now);
  const Audience& audience = audiences_.find(record.topic, source, 0);
  record.audience = record.qos > 0 ? audience.all : audience.links;
  const store::Store::Appended appended = store_.append(record);
  if (record.retain) {
    if (record.payload.empty() ||
        retained_.admit(record.topic, record.headers.size(), record.payload.size(), now_)) {
      retain(record, {}, store_.stream(record.stream), appended.sequence);
    } else {
      // Nor what was there before, which says something else than the last message did [MQTT-3.3.1-5].
      retained_.erase(record.topic, Haste::kRide);
      ++counters_.of(Limit::kRetained);
      log_rarely(kEventRetainedFull,
                 "retained messages have reached their limit; one that came over a link is not kept");
    }
  }
  fan_out(record, appended, audience, true);
  return appended;
}

void Broker::Impl::together(const Now& now, const std::function<void()>& work) {
  const Call call(*this, now);
  work();
}

void Broker::Impl::reserved_acknowledge(ConnectionId id, uint16_t packet_id, Reason reason, uint64_t commit) {
  Connection* connection = find(id);
  if (connection == nullptr || connection->session == nullptr) return;
  send_ack(*connection, commit, PacketType::kPuback, packet_id, reason);
}

uint16_t Broker::Impl::reserved_send(ConnectionId id, Bytes topic, Bytes payload, uint64_t commit) {
  Connection* connection = find(id);
  if (connection == nullptr || connection->session == nullptr) return 0;
  Session& session = *connection->session;
  mqtt::PublishHead head{.qos = 1, .topic = topic, .packet_id = 1};
  if (session.outbound.count() >= Inflight::kCountMax ||
      mqtt::encoded_publish_size(connection->version, head, payload.size()) > connection->packet_bytes_max) {
    doom(*connection, Reason::kQuotaExceeded, "a node does not take what it is sent");
    return 0;
  }
  Outbound& entry = *session.outbound.add();
  entry.reserved = true;
  entry.on_wire = true;
  entry.size_bytes = static_cast<uint32_t>(payload.size());
  entry.commit = commit;
  connection->sent_open += 1;
  connection->sent_open_bytes += entry.size_bytes;
  head.packet_id = entry.packet_id;
  send_gated(*connection, commit, 0,
             [&](std::string& out) { mqtt::encode_publish(out, connection->version, head, payload); });
  return head.packet_id;
}

}  // namespace hf::broker
