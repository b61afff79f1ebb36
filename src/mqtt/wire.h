// What the decoder and the encoder of packets share: the identifiers of properties, the limits of MQTT's own
// number, and the cursor over the body of a packet. Private to mqtt/.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

namespace hf::mqtt {

// The Variable Byte Integer (MQTT 5.0, 1.5.5): seven bits a byte, low bits first, the top bit says that more
// follow.
inline constexpr uint32_t kVariableMax = 268'435'455;
inline constexpr size_t kVariableBytesMax = 4;

// MQTT 5.0, table 2-4.
enum class PropertyId : uint8_t {
  kPayloadFormatIndicator = 0x01,
  kMessageExpiryInterval = 0x02,
  kContentType = 0x03,
  kResponseTopic = 0x08,
  kCorrelationData = 0x09,
  kSubscriptionIdentifier = 0x0b,
  kSessionExpiryInterval = 0x11,
  kAssignedClientIdentifier = 0x12,
  kServerKeepAlive = 0x13,
  kAuthenticationMethod = 0x15,
  kAuthenticationData = 0x16,
  kRequestProblemInformation = 0x17,
  kWillDelayInterval = 0x18,
  kRequestResponseInformation = 0x19,
  kResponseInformation = 0x1a,
  kServerReference = 0x1c,
  kReasonString = 0x1f,
  kReceiveMaximum = 0x21,
  kTopicAliasMaximum = 0x22,
  kTopicAlias = 0x23,
  kMaximumQos = 0x24,
  kRetainAvailable = 0x25,
  kUserProperty = 0x26,
  kMaximumPacketSize = 0x27,
  kWildcardSubscriptionAvailable = 0x28,
  kSubscriptionIdentifierAvailable = 0x29,
  kSharedSubscriptionAvailable = 0x2a,
};

// What carries properties: a set bit each. The four acknowledgements of PUBLISH carry the same ones, and so
// do SUBACK and UNSUBACK.
enum Carrier : uint16_t {
  kInConnect = 1 << 0,
  kInWill = 1 << 1,
  kInConnack = 1 << 2,
  kInPublish = 1 << 3,
  kInAck = 1 << 4,
  kInSubscribe = 1 << 5,
  kInSubAck = 1 << 6,
  kInUnsubscribe = 1 << 7,
  kInDisconnect = 1 << 8,
  kInAuth = 1 << 9,
};

// A cursor over the body of a packet that keeps the first thing wrong with it. Like ByteReader, a failure is
// for good and later reads give zero or empty, so that a decoder reads a run of fields and asks ok() once.
class BodyReader {
 public:
  // *error outlives the reader, and means something once ok() is false.
  BodyReader(Bytes body, DecodeError* error) : in_(body), error_(error) {
    *error_ = {Reason::kMalformedPacket, "a field is longer than the packet"};
  }

  uint8_t u8() { return in_.u8(); }
  uint16_t u16() { return in_.u16be(); }
  uint32_t u32() { return in_.u32be(); }
  Bytes bytes(size_t size) { return in_.bytes(size); }
  Bytes rest() { return in_.bytes(in_.rest().size()); }
  // Binary Data (1.5.6): a size of two bytes, then so many bytes.
  Bytes binary() { return in_.bytes(in_.u16be()); }
  // A UTF-8 Encoded String (1.5.4).
  Bytes text() {
    const Bytes value = binary();
    if (!utf8_valid(value)) fail(Reason::kMalformedPacket, "a string is not UTF-8, or holds U+0000");
    return value;
  }
  uint32_t variable() {
    uint32_t value = 0;
    for (size_t i = 0; i < kVariableBytesMax; ++i) {
      const uint8_t byte = in_.u8();
      value |= static_cast<uint32_t>(byte & 0x7f) << (7 * i);
      if (byte >= 0x80) continue;
      // [MQTT-1.5.5-1]
      if (i > 0 && byte == 0)
        fail(Reason::kMalformedPacket, "a variable byte integer is longer than it need be");
      return value;
    }
    fail(Reason::kMalformedPacket, "a variable byte integer has more than four bytes");
    return 0;
  }

  bool empty() const { return in_.empty(); }
  bool ok() const { return in_.ok(); }
  // Read to its end, and nothing wrong.
  bool done() {
    if (in_.ok() && !in_.empty()) fail(Reason::kMalformedPacket, "the packet is longer than its fields");
    return in_.ok();
  }
  // Always false. The first failure is the one that is told.
  bool fail(Reason reason, const char* text) {
    if (in_.ok()) *error_ = {reason, text};
    in_.fail();
    return false;
  }
  DecodeError* error() const { return error_; }

 private:
  ByteReader in_;
  DecodeError* error_;
};

// Reads the Property Length and the properties that `carrier` may hold. *raw, when given, is what stood
// behind the length. False: *in.error() says why.
bool read_properties(BodyReader& in, Carrier carrier, Properties* properties, Bytes* raw = nullptr);

// Appends Binary Data or a UTF-8 Encoded String: two bytes of size, then the bytes.
void put_binary(std::string& out, Bytes value);

// Whether `sender` may put this reason code into a packet of this type (MQTT 5.0, table 2-6 and the tables of
// chapter 3).
bool reason_allowed(PacketType type, Sender sender, uint8_t reason);

}  // namespace hf::mqtt
