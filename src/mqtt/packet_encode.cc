// From packets to bytes. What a caller must keep to, and would be our own bug, is asserted: sizes, packet
// identifiers and QoS. Whether a reason or a property belongs into a packet is the caller's to know; the
// decoder of the other side will tell.
#include <cstdint>
#include <string>
#include <variant>

#include "base/assert.h"
#include "mqtt/packet.h"
#include "mqtt/wire.h"

namespace hf::mqtt {

namespace {

// Write at `at`, where they fit, and return where they end.
char* write_variable(char* at, uint32_t value) {
  HF_ASSERT(value <= kVariableMax);
  return write_varint(at, value);  // [MQTT-1.5.5-1] The bytes of both are the same.
}
char* write_u16be(char* at, size_t value) {
  at[0] = static_cast<char>(value >> 8);
  at[1] = static_cast<char>(value);
  return at + 2;
}
char* write_packet_id(char* at, uint16_t packet_id) {
  HF_ASSERT(packet_id != 0);  // [MQTT-2.2.1-3] [MQTT-2.2.1-4]
  return write_u16be(at, packet_id);
}

void append(std::string& out, const char* begin, const char* end) {
  out.append(begin, static_cast<size_t>(end - begin));
}

uint8_t first_byte(PacketType type, unsigned flags) {
  return static_cast<uint8_t>((static_cast<unsigned>(type) << 4) | flags);
}

// [MQTT-2.1.3-1]
unsigned flags_of(PacketType type) {
  return type == PacketType::kPubrel || type == PacketType::kSubscribe || type == PacketType::kUnsubscribe
             ? 2
             : 0;
}

// Appends what `put` appends, with its size in front. It is moved once for that: its size is known only
// afterwards.
template <typename Put>
void put_prefixed(std::string& out, Put&& put) {
  const size_t start = out.size();
  put();
  const size_t size = out.size() - start;
  HF_ASSERT(size <= kVariableMax);
  char prefix[kVariableBytesMax];
  const char* const end = write_variable(prefix, static_cast<uint32_t>(size));
  out.insert(start, prefix, static_cast<size_t>(end - prefix));
}

void put_properties(std::string& out, const Properties& properties) {
  put_prefixed(out, [&] { encode_properties(out, properties); });  // [MQTT-2.2.2-1]
}

void put_packet_id(std::string& out, uint16_t packet_id) {
  char raw[2];
  append(out, raw, write_packet_id(raw, packet_id));
}

// The body of each packet, behind its fixed header.
class BodyWriter {
 public:
  BodyWriter(std::string& out, Version version) : out_(out), v5_(version == Version::k5) {}

  void put(const Connect& connect) {
    put_binary(out_, "MQTT");  // [MQTT-3.1.2-1]
    put_u8(out_, static_cast<uint8_t>(connect.version));
    unsigned flags = connect.clean_start ? 0x02 : 0;
    if (connect.will) {
      HF_ASSERT(connect.will->qos <= 2);
      flags |= 0x04U | (static_cast<unsigned>(connect.will->qos) << 3) | (connect.will->retain ? 0x20U : 0);
    }
    if (connect.password) flags |= 0x40;
    if (connect.user_name) flags |= 0x80;
    put_u8(out_, static_cast<uint8_t>(flags));
    put_u16be(out_, connect.keep_alive_s);
    properties(connect.properties);
    // [MQTT-3.1.3-1]
    put_binary(out_, connect.client_id);
    if (connect.will) {
      properties(connect.will->properties);
      put_binary(out_, connect.will->topic);
      put_binary(out_, connect.will->payload);
    }
    if (connect.user_name) put_binary(out_, *connect.user_name);
    if (connect.password) put_binary(out_, *connect.password);
  }

  void put(const Connack& connack) {
    put_u8(out_, connack.session_present ? 1 : 0);
    put_u8(out_, connack.reason);
    properties(connack.properties);
  }

  void put(const Ack& ack) {
    put_packet_id(out_, ack.packet_id);
    if (!v5_) return;
    const bool bare = ack.properties == Properties();
    if (bare && ack.reason == Reason::kSuccess) return;
    put_u8(out_, static_cast<uint8_t>(ack.reason));
    if (!bare) properties(ack.properties);
  }

  void put(const Subscribe& subscribe) {
    put_packet_id(out_, subscribe.packet_id);
    properties(subscribe.properties);
    HF_ASSERT(!subscribe.entries.empty());  // [MQTT-3.8.3-2]
    for (const SubscribeEntry& entry : subscribe.entries) {
      HF_ASSERT(entry.qos <= 2 && entry.retain_handling <= 2);
      put_binary(out_, entry.filter);
      unsigned options = entry.qos;
      if (v5_) {
        options |= (entry.no_local ? 0x04U : 0) | (entry.retain_as_published ? 0x08U : 0) |
                   (static_cast<unsigned>(entry.retain_handling) << 4);
      }
      put_u8(out_, static_cast<uint8_t>(options));
    }
  }

  void put(const Unsubscribe& unsubscribe) {
    put_packet_id(out_, unsubscribe.packet_id);
    properties(unsubscribe.properties);
    HF_ASSERT(!unsubscribe.filters.empty());  // [MQTT-3.10.3-2]
    for (const Bytes filter : unsubscribe.filters) put_binary(out_, filter);
  }

  void put(const SubAck& suback) {
    put_packet_id(out_, suback.packet_id);
    properties(suback.properties);
    if (!v5_ && suback.type == PacketType::kUnsuback) return;
    for (const uint8_t reason : suback.reasons) {
      // 3.1.1 knows one failure only: [MQTT-3.9.3-2].
      put_u8(out_, !v5_ && reason >= 0x80 ? uint8_t{0x80} : reason);
    }
  }

  void put(const Ping&) {}

  void put(const Disconnect& disconnect) {
    HF_ASSERT(v5_ || disconnect.type == PacketType::kDisconnect);
    if (!v5_) return;
    const bool bare = disconnect.properties == Properties();
    if (bare && disconnect.reason == Reason::kSuccess) return;
    put_u8(out_, static_cast<uint8_t>(disconnect.reason));
    // Only DISCONNECT may leave out the length of no properties behind a reason (3.14.2.2.1).
    if (!bare || disconnect.type == PacketType::kAuth) properties(disconnect.properties);
  }

 private:
  void properties(const Properties& properties) {
    if (v5_) put_properties(out_, properties);
  }

  std::string& out_;
  bool v5_;
};

// CONNECT and PUBLISH have heads of their own, below.
PacketType type_of(const Connack&) { return PacketType::kConnack; }
PacketType type_of(const Ack& ack) { return ack.type; }
PacketType type_of(const Subscribe&) { return PacketType::kSubscribe; }
PacketType type_of(const Unsubscribe&) { return PacketType::kUnsubscribe; }
PacketType type_of(const SubAck& suback) { return suback.type; }
PacketType type_of(const Ping& ping) { return ping.type; }
PacketType type_of(const Disconnect& disconnect) { return disconnect.type; }

template <typename T>
void encode_one(std::string& out, Version version, const T& packet) {
  const PacketType type = type_of(packet);
  put_u8(out, first_byte(type, flags_of(type)));
  put_prefixed(out, [&] { BodyWriter(out, version).put(packet); });
}

void encode_one(std::string& out, Version, const Connect& connect) {
  put_u8(out, first_byte(PacketType::kConnect, 0));
  put_prefixed(out, [&] { BodyWriter(out, connect.version).put(connect); });
}

void encode_one(std::string& out, Version version, const Publish& publish) {
  std::string fresh;
  Bytes raw = publish.raw_properties;
  if (raw.empty() && version == Version::k5) {
    encode_properties(fresh, publish.properties);
    raw = fresh;
  }
  const PublishHead head{.dup = publish.dup,
                         .qos = publish.qos,
                         .retain = publish.retain,
                         .topic = publish.topic,
                         .packet_id = publish.packet_id,
                         .raw_properties = raw};
  encode_publish(out, version, head, publish.payload);
}

size_t properties_size(const PublishHead& head) {
  return head.raw_properties.size() + (head.topic_alias != 0 ? 3 : 0);
}

// Behind the fixed header. Sizes are asserted here, before anything is written.
uint32_t publish_remaining(Version version, const PublishHead& head, size_t payload_size) {
  HF_ASSERT(head.topic.size() <= kTopicBytesMax && head.raw_properties.size() <= kVariableMax &&
            payload_size <= kVariableMax);
  size_t size = 2 + head.topic.size() + (head.qos > 0 ? 2 : 0) + payload_size;
  if (version == Version::k5) {
    const size_t properties = properties_size(head);
    size += variable_size(static_cast<uint32_t>(properties)) + properties;
  }
  HF_ASSERT(size <= kVariableMax);
  return static_cast<uint32_t>(size);
}

}  // namespace

void put_variable(std::string& out, uint32_t value) {
  char raw[kVariableBytesMax];
  append(out, raw, write_variable(raw, value));
}

void put_binary(std::string& out, Bytes value) {
  HF_ASSERT(value.size() <= UINT16_MAX);
  put_u16be(out, static_cast<uint16_t>(value.size()));
  out.append(value);
}

void encode(std::string& out, Version version, const Packet& packet) {
  std::visit([&](const auto& one) { encode_one(out, version, one); }, packet);
}

size_t encoded_publish_size(Version version, const PublishHead& head, size_t payload_size) {
  const uint32_t remaining = publish_remaining(version, head, payload_size);
  return 1 + variable_size(remaining) + remaining;
}

void encode_publish(std::string& out, Version version, const PublishHead& head, Bytes payload) {
  HF_ASSERT(head.qos <= 2);              // [MQTT-3.3.1-4]
  HF_ASSERT(head.qos > 0 || !head.dup);  // [MQTT-3.3.1-2]
  const uint32_t remaining = publish_remaining(version, head, payload.size());
  const unsigned flags =
      (head.dup ? 8U : 0) | (static_cast<unsigned>(head.qos) << 1) | (head.retain ? 1U : 0);
  char front[1 + kVariableBytesMax + 2];
  char* at = front;
  *at++ = static_cast<char>(first_byte(PacketType::kPublish, flags));
  at = write_variable(at, remaining);
  at = write_u16be(at, head.topic.size());
  append(out, front, at);
  out.append(head.topic);
  char behind[2 + kVariableBytesMax + 3];
  at = behind;
  if (head.qos > 0) at = write_packet_id(at, head.packet_id);  // [MQTT-2.2.1-2]
  if (version == Version::k5) {
    at = write_variable(at, static_cast<uint32_t>(properties_size(head)));
    if (head.topic_alias != 0) {
      *at++ = 0x23;
      at = write_u16be(at, head.topic_alias);
    }
  }
  append(out, behind, at);
  if (version == Version::k5) out.append(head.raw_properties);
  out.append(payload);
}

// Without properties, so no reason string or user property makes it too large: [MQTT-3.4.2-2] [MQTT-3.4.2-3]
// [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3].
void encode_ack(std::string& out, Version version, PacketType type, uint16_t packet_id, Reason reason) {
  const bool with_reason = version == Version::k5 && reason != Reason::kSuccess;
  char raw[5];
  char* at = raw;
  *at++ = static_cast<char>(first_byte(type, flags_of(type)));
  *at++ = with_reason ? 3 : 2;
  at = write_packet_id(at, packet_id);
  if (with_reason) *at++ = static_cast<char>(reason);
  append(out, raw, at);
}

}  // namespace hf::mqtt
