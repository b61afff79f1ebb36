// PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT 5.0, section 4.3). Each answer has the identifier of what it answers
// [MQTT-2.2.1-5].
#include "broker/broker_impl.h"

namespace hf::broker {

void Broker::Impl::on_ack(Connection& connection, PacketType type, uint16_t packet_id, Reason reason) {
  Session& session = *connection.session;
  if (type != PacketType::kPubrel) connection.acknowledged = now_.mono;
  switch (type) {
    case PacketType::kPuback:
      return on_puback(connection, session, packet_id, reason);
    case PacketType::kPubrec:
      return on_pubrec(connection, session, packet_id, reason);
    case PacketType::kPubrel:
      return on_pubrel(connection, session, packet_id);
    default:
      return on_pubcomp(connection, session, packet_id);
  }
}

void Broker::Impl::on_puback(Connection& connection, Session& session, uint16_t packet_id, Reason reason) {
  Outbound* entry = session.outbound.find(packet_id);
  if (entry == nullptr) return;  // Late, or not ours: nothing hangs on it.
  if (entry->qos != 1) return fail(connection, Reason::kProtocolError, "PUBACK for a message of QoS 2");
  if (reason >= Reason::kUnspecifiedError && !entry->reserved) ++counters_.deliveries_refused;
  const bool reserved = entry->reserved;
  const ConnectionId id = connection.id;
  // [MQTT-4.3.2-3] Also with a reason of failure: the client does not want it [MQTT-4.4.0-2] [MQTT-4.8.2-6].
  complete(session, *entry);
  pump_later(session);
  // The last that is done here: the host may call back.
  if (reserved) host_.reserved_acknowledged(id, packet_id, reason);
}

void Broker::Impl::on_pubrec(Connection& connection, Session& session, uint16_t packet_id, Reason reason) {
  Outbound* entry = session.outbound.find(packet_id);
  if (entry != nullptr && entry->qos != 2) {
    return fail(connection, Reason::kProtocolError, "PUBREC for a message of QoS 1");
  }
  if (entry == nullptr) {
    if (reason >= Reason::kUnspecifiedError) return;
    return send_ack(connection, 0, PacketType::kPubrel, packet_id, Reason::kPacketIdentifierNotFound);
  }
  if (reason >= Reason::kUnspecifiedError) {  // [MQTT-4.3.3-4]: no PUBREL then. [MQTT-4.4.0-2] [MQTT-4.8.2-6]
    ++counters_.deliveries_refused;
    complete(session, *entry);
    return pump_later(session);
  }
  if (entry->state == Outbound::State::kSent) {  // [MQTT-4.3.3-3]
    entry->state = Outbound::State::kReleased;
    if (session.durable) put_outbound(session, *entry);
  }
  const uint64_t commit = planted(PlantedBug::kPubcompBeforeState) ? 0 : entry->commit;
  send_ack(connection, commit, PacketType::kPubrel, packet_id, Reason::kSuccess);  // [MQTT-4.3.3-4]
}

void Broker::Impl::on_pubrel(Connection& connection, Session& session, uint16_t packet_id) {
  const auto found = session.inbound.find(packet_id);
  if (found == session.inbound.end()) {
    // In a session from before it is one whose PUBCOMP was lost: that "is not an error during recovery" (3.7.2.1 of 5.0), and
    // MQTT.js tells its user that a message failed for every reason but success.
    const Reason reason = connection.resumed ? Reason::kSuccess : Reason::kPacketIdentifierNotFound;
    return send_ack(connection, 0, PacketType::kPubcomp, packet_id, reason);
  }
  uint64_t commit = found->second;
  // [MQTT-4.3.3-12]: the identifier is new from here on. The message may have expired meanwhile [MQTT-4.3.3-13].
  session.inbound.erase(found);
  if (session.durable) {
    store_.erase(Table::kInbound, PacketKey(session.number, packet_id), Haste::kCommit);
    commit = store_.open_commit();
  }
  if (planted(PlantedBug::kPubcompBeforeState)) commit = 0;
  send_ack(connection, commit, PacketType::kPubcomp, packet_id, Reason::kSuccess);  // [MQTT-4.3.3-11]
}

void Broker::Impl::on_pubcomp(Connection& connection, Session& session, uint16_t packet_id) {
  Outbound* entry = session.outbound.find(packet_id);
  if (entry == nullptr) return;
  if (entry->state != Outbound::State::kReleased) {  // [MQTT-4.3.3-5]
    return fail(connection, Reason::kProtocolError, "PUBCOMP for a message that was not released");
  }
  complete(session, *entry);
  pump_later(session);
}

}  // namespace hf::broker
