// From bytes to packets. One function for each shape of packet, in the order of the standard's chapter 3;
// each reads its fields in the order in which they stand and refuses what the standard forbids. Whether a
// packet may come *now* is the session's affair, not decided here.
#include <cstdint>

#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "mqtt/wire.h"

#include <algorithm>

namespace hf::mqtt {

namespace {

// What all packets have in common.
struct Context {
  uint8_t flags;  // The low four bits of the first byte.
  Version version;
  Sender sender;
  BodyReader in;
};

// Whether this side sends packets of this type in this version.
bool may_send(Sender sender, Version version, PacketType type) {
  switch (type) {
    case PacketType::kConnect:
    case PacketType::kSubscribe:
    case PacketType::kUnsubscribe:
    case PacketType::kPingreq:
      return sender == Sender::kClient;
    case PacketType::kConnack:
    case PacketType::kSuback:
    case PacketType::kUnsuback:
    case PacketType::kPingresp:
      return sender == Sender::kServer;
    case PacketType::kDisconnect:
      return sender == Sender::kClient || version == Version::k5;
    case PacketType::kAuth:
      return version == Version::k5;
    case PacketType::kPublish:
    case PacketType::kPuback:
    case PacketType::kPubrec:
    case PacketType::kPubrel:
    case PacketType::kPubcomp:
      return true;
  }
  return false;
}

// [MQTT-2.1.3-1] What the flags of every packet but PUBLISH must be. (In 3.1.1: [MQTT-2.2.2-1].)
uint8_t reserved_flags(PacketType type) {
  switch (type) {
    case PacketType::kPubrel:       // [MQTT-3.6.1-1]
    case PacketType::kSubscribe:    // [MQTT-3.8.1-1]
    case PacketType::kUnsubscribe:  // [MQTT-3.10.1-1]
      return 2;
    default:
      return 0;  // [MQTT-3.14.1-1] [MQTT-3.15.1-1]
  }
}

uint16_t packet_id(BodyReader& in) {
  const uint16_t id = in.u16();
  // [MQTT-2.2.1-3] [MQTT-2.2.1-4] (In 3.1.1: [MQTT-2.3.1-1].)
  if (id == 0) in.fail(Reason::kProtocolError, "a packet identifier is 0");
  return id;
}

// Right, but for our limit: then the reason is not that the packet is malformed.
bool too_deep(Bytes topic) {
  return static_cast<size_t>(std::count(topic.begin(), topic.end(), '/')) >= kTopicLevelsMax;
}

bool topic_name(BodyReader& in, Bytes name) {
  if (topic_name_valid(name)) return true;
  if (!utf8_valid(name)) {
    return in.fail(Reason::kMalformedPacket, "a topic name is not UTF-8, or holds U+0000");
  }
  if (too_deep(name)) return in.fail(Reason::kTopicNameInvalid, "a topic name has more than 256 levels");
  return in.fail(Reason::kMalformedPacket, "a topic name is empty or holds a wildcard");
}

bool topic_filter(BodyReader& in, Bytes filter) {
  if (topic_filter_valid(filter)) return true;
  if (!utf8_valid(filter)) {
    return in.fail(Reason::kMalformedPacket, "a topic filter is not UTF-8, or holds U+0000");
  }
  if (too_deep(filter))
    return in.fail(Reason::kTopicFilterInvalid, "a topic filter has more than 256 levels");
  return in.fail(Reason::kMalformedPacket, "a topic filter is empty or has a wildcard out of place");
}

bool protocol_reason(Context& context, PacketType type, uint8_t reason) {
  // [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2]
  // [MQTT-3.14.2-1] [MQTT-3.15.2-1]
  if (reason_allowed(type, context.sender, reason)) return true;
  return context.in.fail(Reason::kProtocolError, "a reason code that this packet may not carry");
}

bool decode_will(Context& context, uint8_t flags, Version version, Connect* connect) {
  BodyReader& in = context.in;
  const uint8_t qos = (flags >> 3) & 3;
  const bool retain = (flags & 0x20) != 0;
  if ((flags & 0x04) == 0) {
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13] (In 3.1.1: [MQTT-3.1.2-13] and [MQTT-3.1.2-15].)
    if (qos != 0 || retain) return in.fail(Reason::kMalformedPacket, "flags of a will without a will");
    return true;
  }
  // [MQTT-3.1.2-12] (In 3.1.1: [MQTT-3.1.2-14].)
  if (qos == 3) return in.fail(Reason::kMalformedPacket, "the will has QoS 3");
  Will& will = connect->will.emplace();  // [MQTT-3.1.2-9]
  will.qos = qos;
  will.retain = retain;
  if (version == Version::k5 && !read_properties(in, kInWill, &will.properties)) return false;
  will.topic = in.binary();
  if (!topic_name(in, will.topic)) return false;  // [MQTT-3.1.3-11] (In 3.1.1: [MQTT-3.1.3-10].)
  will.payload = in.binary();
  return in.ok();
}

// Protocol Name and Protocol Version.
bool decode_protocol(BodyReader& in, Version* version, uint8_t* unsupported_level) {
  const Bytes name = in.binary();
  const uint8_t level = in.u8();
  if (!in.ok()) return false;
  const bool ours = name == "MQTT";  // [MQTT-3.1.2-1]
  if (ours && (level == 4 || level == 5)) {
    *version = static_cast<Version>(level);
    return true;
  }
  // [MQTT-3.1.2-2] MQTT 3.1 called itself "MQIsdp", level 3.
  if (ours || (name == "MQIsdp" && level == 3)) {
    if (unsupported_level != nullptr) *unsupported_level = level;
    return in.fail(Reason::kUnsupportedProtocolVersion, "neither MQTT 3.1.1 nor 5.0");
  }
  return in.fail(Reason::kMalformedPacket, "the protocol name is not MQTT");
}

bool decode_connect(Context& context, Connect* connect, uint8_t* unsupported_level) {
  BodyReader& in = context.in;
  if (!decode_protocol(in, &connect->version, unsupported_level)) return false;
  const Version version = connect->version;
  const uint8_t flags = in.u8();
  const bool has_user_name = (flags & 0x80) != 0;
  const bool has_password = (flags & 0x40) != 0;
  if ((flags & 0x01) != 0) {
    return in.fail(Reason::kMalformedPacket, "CONNECT's reserved flag is set");  // [MQTT-3.1.2-3]
  }
  if (version == Version::k311 && has_password && !has_user_name) {
    return in.fail(Reason::kMalformedPacket, "a password without a user name");  // [MQTT-3.1.2-22] of 3.1.1
  }
  connect->clean_start = (flags & 0x02) != 0;
  connect->keep_alive_s = in.u16();
  if (version == Version::k5) {
    if (!read_properties(in, kInConnect, &connect->properties)) return false;
    if (connect->properties.authentication_data && !connect->properties.authentication_method) {
      return in.fail(Reason::kProtocolError, "authentication data without a method");  // 3.1.2.11.10
    }
  }
  // [MQTT-3.1.3-1] The order of the payload.
  connect->client_id = in.text();  // [MQTT-3.1.3-3] [MQTT-3.1.3-4]
  if (!decode_will(context, flags, version, connect)) return false;
  // [MQTT-3.1.2-16] [MQTT-3.1.2-17] (In 3.1.1: [MQTT-3.1.2-18] and [MQTT-3.1.2-19].)
  if (has_user_name) connect->user_name = in.text();  // [MQTT-3.1.3-12] (In 3.1.1: [MQTT-3.1.3-11].)
  // [MQTT-3.1.2-18] [MQTT-3.1.2-19] (In 3.1.1: [MQTT-3.1.2-20] and [MQTT-3.1.2-21].)
  if (has_password) connect->password = in.binary();
  return in.done();
}

bool decode_connack(Context& context, Connack* connack) {
  BodyReader& in = context.in;
  const uint8_t flags = in.u8();
  if (flags > 1) {
    return in.fail(Reason::kMalformedPacket, "CONNACK's reserved flags are set");  // [MQTT-3.2.2-1]
  }
  connack->session_present = flags == 1;
  connack->reason = in.u8();
  // [MQTT-3.2.2-6] (In 3.1.1: [MQTT-3.2.2-4].)
  if (connack->session_present && connack->reason != 0) {
    return in.fail(Reason::kProtocolError, "a session is present in a refusal");
  }
  if (context.version == Version::k311) {
    if (connack->reason > 5) return in.fail(Reason::kProtocolError, "an unknown return code");
    return in.done();
  }
  if (!protocol_reason(context, PacketType::kConnack, connack->reason)) return false;
  return read_properties(in, kInConnack, &connack->properties) && in.done();
}

bool decode_publish(Context& context, Publish* publish) {
  BodyReader& in = context.in;
  publish->dup = (context.flags & 0x08) != 0;
  publish->qos = (context.flags >> 1) & 3;
  publish->retain = (context.flags & 0x01) != 0;
  if (publish->qos == 3) return in.fail(Reason::kMalformedPacket, "a PUBLISH has QoS 3");  // [MQTT-3.3.1-4]
  if (publish->dup && publish->qos == 0) {
    return in.fail(Reason::kMalformedPacket, "a PUBLISH of QoS 0 has DUP");  // [MQTT-3.3.1-2]
  }
  publish->topic = in.binary();                               // [MQTT-3.3.2-1]
  if (publish->qos != 0) publish->packet_id = packet_id(in);  // [MQTT-2.2.1-2]
  if (context.version == Version::k5) {
    if (!read_properties(in, kInPublish, &publish->properties, &publish->raw_properties)) return false;
    if (context.sender == Sender::kClient && !publish->properties.subscription_identifiers.empty()) {
      return in.fail(Reason::kProtocolError, "a client sent a subscription identifier");  // [MQTT-3.3.4-6]
    }
  }
  if (publish->topic.empty() && context.version == Version::k5) {
    if (!publish->properties.topic_alias) {
      return in.fail(Reason::kProtocolError, "neither a topic name nor a topic alias");  // 3.3.2.1
    }
  } else if (!topic_name(in, publish->topic)) {  // [MQTT-3.3.2-2]
    return false;
  }
  publish->payload = in.rest();
  return in.ok();
}

bool decode_ack(Context& context, Ack* ack) {
  BodyReader& in = context.in;
  ack->packet_id = packet_id(in);
  if (context.version == Version::k311 || in.empty()) return in.done();
  const uint8_t reason = in.u8();
  if (!protocol_reason(context, ack->type, reason)) return false;
  ack->reason = static_cast<Reason>(reason);
  if (in.empty()) return in.done();  // 3.4.2.2.1: below a remaining length of 4 there is no property length.
  return read_properties(in, kInAck, &ack->properties) && in.done();
}

bool decode_options(Context& context, SubscribeEntry* entry) {
  BodyReader& in = context.in;
  const uint8_t options = in.u8();
  entry->qos = options & 3;
  if (context.version == Version::k311) {
    // [MQTT-3-8.3-4] of 3.1.1
    if (options > 2) return in.fail(Reason::kMalformedPacket, "a requested QoS is not 0, 1 or 2");
    return in.ok();
  }
  // [MQTT-3.8.3-5]
  if ((options & 0xc0) != 0) {
    return in.fail(Reason::kMalformedPacket, "reserved subscription options are set");
  }
  entry->no_local = (options & 0x04) != 0;
  entry->retain_as_published = (options & 0x08) != 0;
  entry->retain_handling = (options >> 4) & 3;
  if (entry->qos == 3) return in.fail(Reason::kProtocolError, "a maximum QoS is 3");  // 3.8.3.1
  if (entry->retain_handling == 3) {
    return in.fail(Reason::kProtocolError, "a retain handling is 3");  // 3.8.3.1
  }
  if (entry->no_local && entry->filter.starts_with("$share/")) {
    return in.fail(Reason::kProtocolError, "no local on a shared subscription");  // [MQTT-3.8.3-4]
  }
  return in.ok();
}

bool decode_subscribe(Context& context, Subscribe* subscribe) {
  BodyReader& in = context.in;
  subscribe->packet_id = packet_id(in);
  if (context.version == Version::k5 && !read_properties(in, kInSubscribe, &subscribe->properties)) {
    return false;
  }
  // [MQTT-3.8.3-2] (In 3.1.1: [MQTT-3.8.3-3].)
  if (in.empty()) return in.fail(Reason::kProtocolError, "a SUBSCRIBE without topic filters");
  while (!in.empty()) {
    SubscribeEntry entry;
    entry.filter = in.binary();
    if (!topic_filter(in, entry.filter)) return false;  // [MQTT-3.8.3-1]
    if (!decode_options(context, &entry)) return false;
    subscribe->entries.push_back(entry);
  }
  return in.done();
}

bool decode_suback(Context& context, SubAck* suback) {
  BodyReader& in = context.in;
  suback->packet_id = packet_id(in);
  const bool unsuback = suback->type == PacketType::kUnsuback;
  if (context.version == Version::k311 && unsuback) return in.done();
  if (context.version == Version::k5 && !read_properties(in, kInSubAck, &suback->properties)) return false;
  for (const char c : in.rest()) {
    const auto reason = static_cast<uint8_t>(c);
    if (context.version == Version::k311) {
      // [MQTT-3.9.3-2] of 3.1.1
      if (reason > 2 && reason != 0x80) return in.fail(Reason::kProtocolError, "an unknown return code");
    } else if (!protocol_reason(context, suback->type, reason)) {
      return false;
    }
    suback->reasons.push_back(reason);
  }
  // [MQTT-3.8.4-6] One for each filter, and there was at least one.
  if (suback->reasons.empty()) {
    return in.fail(Reason::kProtocolError, "an acknowledgement without reason codes");
  }
  return in.done();
}

bool decode_unsubscribe(Context& context, Unsubscribe* unsubscribe) {
  BodyReader& in = context.in;
  unsubscribe->packet_id = packet_id(in);
  if (context.version == Version::k5 && !read_properties(in, kInUnsubscribe, &unsubscribe->properties)) {
    return false;
  }
  // [MQTT-3.10.3-2]
  if (in.empty()) return in.fail(Reason::kProtocolError, "an UNSUBSCRIBE without topic filters");
  while (!in.empty()) {
    const Bytes filter = in.binary();
    if (!topic_filter(in, filter)) return false;  // [MQTT-3.10.3-1]
    unsubscribe->filters.push_back(filter);
  }
  return in.done();
}

bool decode_disconnect(Context& context, Disconnect* disconnect) {
  BodyReader& in = context.in;
  if (context.version == Version::k311 || in.empty()) return in.done();
  const uint8_t reason = in.u8();
  if (!protocol_reason(context, PacketType::kDisconnect, reason)) return false;
  disconnect->reason = static_cast<Reason>(reason);
  if (in.empty()) return in.done();  // 3.14.2.2.1: below a remaining length of 2 there is no property length.
  if (!read_properties(in, kInDisconnect, &disconnect->properties)) return false;
  if (context.sender == Sender::kServer && disconnect->properties.session_expiry_interval_s) {
    return in.fail(Reason::kProtocolError, "a server sent a session expiry");  // [MQTT-3.14.2-2]
  }
  return in.done();
}

bool decode_auth(Context& context, Disconnect* auth) {
  BodyReader& in = context.in;
  // 3.15.2.1: no body means Success without properties; a reason is always followed by them.
  const bool bare = in.empty();
  const uint8_t reason = bare ? uint8_t{0} : in.u8();
  if (!protocol_reason(context, PacketType::kAuth, reason)) return false;
  auth->reason = static_cast<Reason>(reason);
  if (bare) return in.done();
  if (!read_properties(in, kInAuth, &auth->properties)) return false;
  if (!auth->properties.authentication_method) {
    return in.fail(Reason::kProtocolError, "an AUTH without a method");  // 3.15.2.2.2
  }
  return in.done();
}

bool decode_body(Context& context, PacketType type, Packet* packet, uint8_t* unsupported_level) {
  switch (type) {
    case PacketType::kConnect:
      return decode_connect(context, &packet->emplace<Connect>(), unsupported_level);
    case PacketType::kConnack:
      return decode_connack(context, &packet->emplace<Connack>());
    case PacketType::kPublish:
      return decode_publish(context, &packet->emplace<Publish>());
    case PacketType::kPuback:
    case PacketType::kPubrec:
    case PacketType::kPubrel:
    case PacketType::kPubcomp: {
      Ack& ack = packet->emplace<Ack>();
      ack.type = type;
      return decode_ack(context, &ack);
    }
    case PacketType::kSubscribe:
      return decode_subscribe(context, &packet->emplace<Subscribe>());
    case PacketType::kUnsubscribe:
      return decode_unsubscribe(context, &packet->emplace<Unsubscribe>());
    case PacketType::kSuback:
    case PacketType::kUnsuback: {
      SubAck& suback = packet->emplace<SubAck>();
      suback.type = type;
      return decode_suback(context, &suback);
    }
    case PacketType::kPingreq:
    case PacketType::kPingresp:
      packet->emplace<Ping>().type = type;
      return context.in.done();
    case PacketType::kDisconnect:
      return decode_disconnect(context, &packet->emplace<Disconnect>());
    case PacketType::kAuth: {
      Disconnect& auth = packet->emplace<Disconnect>();
      auth.type = type;
      return decode_auth(context, &auth);
    }
  }
  return context.in.fail(Reason::kMalformedPacket, "packet type 0");
}

}  // namespace

FrameStatus frame_next(Bytes bytes, size_t size_max, Framed* framed, DecodeError* error) {
  *framed = {};
  if (bytes.empty()) return FrameStatus::kNeedMore;
  framed->first_byte = static_cast<uint8_t>(bytes[0]);
  if (framed->first_byte < 0x10) {
    *error = {Reason::kMalformedPacket, "packet type 0"};  // Table 2-1: forbidden.
    return FrameStatus::kBad;
  }

  size_t remaining = 0;
  for (size_t i = 0; i < kVariableBytesMax; ++i) {
    if (1 + i >= bytes.size()) return FrameStatus::kNeedMore;
    const auto byte = static_cast<uint8_t>(bytes[1 + i]);
    remaining |= static_cast<size_t>(byte & 0x7f) << (7 * i);
    if (byte >= 0x80) continue;

    const size_t header_size = 2 + i;
    framed->size = header_size + remaining;
    if (framed->size > size_max) {  // [MQTT-3.2.2-15]
      *error = {Reason::kPacketTooLarge, "a packet over the limit"};
      return FrameStatus::kBad;
    }
    if (bytes.size() < framed->size) return FrameStatus::kNeedMore;
    framed->body = bytes.substr(header_size, remaining);
    return FrameStatus::kWhole;
  }
  *error = {Reason::kMalformedPacket, "a remaining length of more than four bytes"};  // 2.1.4
  return FrameStatus::kBad;
}

bool decode_bare_ack(const Framed& framed, uint16_t* packet_id) {
  if (framed.size != 4 || framed.body.size() != 2) return false;
  const PacketType type = framed.type();
  if (type < PacketType::kPuback || type > PacketType::kPubcomp) return false;
  if ((framed.first_byte & 0x0f) != reserved_flags(type)) return false;
  *packet_id = ByteReader(framed.body).u16be();
  return *packet_id != 0;
}

bool decode(const Framed& framed, Version version, Sender sender, Packet* packet, DecodeError* error,
            uint8_t* unsupported_level) {
  const PacketType type = framed.type();
  Context context{.flags = static_cast<uint8_t>(framed.first_byte & 0x0f),
                  .version = version,
                  .sender = sender,
                  .in = BodyReader(framed.body, error)};
  if (!may_send(sender, version, type)) {
    return context.in.fail(Reason::kProtocolError, "a packet of a type that this side does not send");
  }
  if (type != PacketType::kPublish && context.flags != reserved_flags(type)) {
    return context.in.fail(Reason::kMalformedPacket, "reserved flags are set");
  }
  if (!decode_body(context, type, packet, unsupported_level)) return false;

  if (type == PacketType::kConnect) version = std::get<Connect>(*packet).version;
  // [MQTT-1.5.5-1] holds for the remaining length too, but only in 5.0.
  const auto body_size = static_cast<uint32_t>(framed.body.size());
  if (version == Version::k5 && framed.size > 1 + variable_size(body_size) + body_size) {
    return context.in.fail(Reason::kMalformedPacket, "a remaining length that is longer than it need be");
  }
  return true;
}

}  // namespace hf::mqtt
