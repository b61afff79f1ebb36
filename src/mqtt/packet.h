// MQTT 3.1.1 and 5.0 control packets as values, and the codec between them and bytes; both roles, no I/O, no
// session state. Everything decoded borrows from the bytes it was decoded from.
//
//   packet := first byte, remaining length: variable byte integer, body
//   first byte := type in the upper four bits, flags in the lower four
//
// The grammar of the bodies is that of the OASIS standards "MQTT Version 3.1.1" and "MQTT Version 5.0". The
// normative clause stands beside the line that obeys it, as [MQTT-x.y.z-n] of 5.0, or of 3.1.1 where it says
// so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace hf::mqtt {

enum class Version : uint8_t { k311 = 4, k5 = 5 };

enum class PacketType : uint8_t {
  kConnect = 1,
  kConnack,
  kPublish,
  kPuback,
  kPubrec,
  kPubrel,
  kPubcomp,
  kSubscribe,
  kSuback,
  kUnsubscribe,
  kUnsuback,
  kPingreq,
  kPingresp,
  kDisconnect,
  kAuth,
};
const char* packet_type_name(PacketType type);  // "CONNECT"

// MQTT 5.0, section 2.4. Values of 0x80 and more are failures.
enum class Reason : uint8_t {
  kSuccess = 0x00,
  kGrantedQos1 = 0x01,
  kGrantedQos2 = 0x02,
  kDisconnectWithWill = 0x04,
  kNoMatchingSubscribers = 0x10,
  kNoSubscriptionExisted = 0x11,
  kContinueAuthentication = 0x18,
  kReauthenticate = 0x19,
  kUnspecifiedError = 0x80,
  kMalformedPacket = 0x81,
  kProtocolError = 0x82,
  kImplementationSpecificError = 0x83,
  kUnsupportedProtocolVersion = 0x84,
  kClientIdentifierNotValid = 0x85,
  kBadUserNameOrPassword = 0x86,
  kNotAuthorized = 0x87,
  kServerUnavailable = 0x88,
  kServerBusy = 0x89,
  kBanned = 0x8a,
  kServerShuttingDown = 0x8b,
  kBadAuthenticationMethod = 0x8c,
  kKeepAliveTimeout = 0x8d,
  kSessionTakenOver = 0x8e,
  kTopicFilterInvalid = 0x8f,
  kTopicNameInvalid = 0x90,
  kPacketIdentifierInUse = 0x91,
  kPacketIdentifierNotFound = 0x92,
  kReceiveMaximumExceeded = 0x93,
  kTopicAliasInvalid = 0x94,
  kPacketTooLarge = 0x95,
  kMessageRateTooHigh = 0x96,
  kQuotaExceeded = 0x97,
  kAdministrativeAction = 0x98,
  kPayloadFormatInvalid = 0x99,
  kRetainNotSupported = 0x9a,
  kQosNotSupported = 0x9b,
  kUseAnotherServer = 0x9c,
  kServerMoved = 0x9d,
  kSharedSubscriptionsNotSupported = 0x9e,
  kConnectionRateExceeded = 0x9f,
  kMaximumConnectTime = 0xa0,
  kSubscriptionIdentifiersNotSupported = 0xa1,
  kWildcardSubscriptionsNotSupported = 0xa2,
};
const char* reason_name(Reason reason);  // "Packet too large"

struct UserProperty {
  Bytes name;
  Bytes value;
  bool operator==(const UserProperty&) const = default;
};

// The properties of any MQTT 5.0 packet (section 2.2.2.2). Decoding refuses a property that its packet may
// not carry and one that stands twice where it may stand once. Empty in 3.1.1.
struct Properties {
  std::optional<uint8_t> payload_format_indicator;
  std::optional<uint32_t> message_expiry_interval_s;
  std::optional<Bytes> content_type;
  std::optional<Bytes> response_topic;
  std::optional<Bytes> correlation_data;
  std::vector<uint32_t> subscription_identifiers;
  std::optional<uint32_t> session_expiry_interval_s;
  std::optional<Bytes> assigned_client_identifier;
  std::optional<uint16_t> server_keep_alive_s;
  std::optional<Bytes> authentication_method;
  std::optional<Bytes> authentication_data;
  std::optional<uint8_t> request_problem_information;
  std::optional<uint32_t> will_delay_interval_s;
  std::optional<uint8_t> request_response_information;
  std::optional<Bytes> response_information;
  std::optional<Bytes> server_reference;
  std::optional<Bytes> reason_string;
  std::optional<uint16_t> receive_maximum;
  std::optional<uint16_t> topic_alias_maximum;
  std::optional<uint16_t> topic_alias;
  std::optional<uint8_t> maximum_qos;
  std::optional<uint8_t> retain_available;
  std::optional<uint32_t> maximum_packet_size;
  std::optional<uint8_t> wildcard_subscription_available;
  std::optional<uint8_t> subscription_identifier_available;
  std::optional<uint8_t> shared_subscription_available;
  std::vector<UserProperty> user_properties;
  bool operator==(const Properties&) const = default;
};

struct Will {
  uint8_t qos = 0;
  bool retain = false;
  Properties properties;
  Bytes topic;
  Bytes payload;
  bool operator==(const Will&) const = default;
};

struct Connect {
  Version version = Version::k311;
  bool clean_start = true;  // "Clean Session" in 3.1.1.
  uint16_t keep_alive_s = 0;
  Properties properties;
  Bytes client_id;
  std::optional<Will> will;
  std::optional<Bytes> user_name;
  std::optional<Bytes> password;
  bool operator==(const Connect&) const = default;
};

struct Connack {
  bool session_present = false;
  uint8_t reason = 0;  // A Reason in 5.0, a return code of 0 to 5 in 3.1.1.
  Properties properties;
  bool operator==(const Connack&) const = default;
};

struct Publish {
  bool dup = false;
  uint8_t qos = 0;
  bool retain = false;
  Bytes topic;             // Empty only with a topic alias (5.0).
  uint16_t packet_id = 0;  // 0 at QoS 0.
  // The encoded properties without their length, exactly as they came (empty in 3.1.1).
  Bytes raw_properties;
  Properties properties;  // The same, parsed. encode() looks at these only if raw_properties is empty.
  Bytes payload;
  bool operator==(const Publish&) const = default;
};

// PUBACK, PUBREC, PUBREL and PUBCOMP have one shape.
struct Ack {
  PacketType type = PacketType::kPuback;
  uint16_t packet_id = 0;
  Reason reason = Reason::kSuccess;
  Properties properties;
  bool operator==(const Ack&) const = default;
};

struct SubscribeEntry {
  Bytes filter;
  uint8_t qos = 0;
  bool no_local = false;
  bool retain_as_published = false;
  uint8_t retain_handling = 0;  // 0 send, 1 send if new, 2 do not send.
  bool operator==(const SubscribeEntry&) const = default;
};

struct Subscribe {
  uint16_t packet_id = 0;
  Properties properties;
  std::vector<SubscribeEntry> entries;
  bool operator==(const Subscribe&) const = default;
};

struct Unsubscribe {
  uint16_t packet_id = 0;
  Properties properties;
  std::vector<Bytes> filters;
  bool operator==(const Unsubscribe&) const = default;
};

// SUBACK and UNSUBACK; the latter has no reasons in 3.1.1.
struct SubAck {
  PacketType type = PacketType::kSuback;
  uint16_t packet_id = 0;
  Properties properties;
  std::vector<uint8_t> reasons;
  bool operator==(const SubAck&) const = default;
};

struct Ping {
  PacketType type = PacketType::kPingreq;
  bool operator==(const Ping&) const = default;
};

// DISCONNECT, and AUTH in 5.0.
struct Disconnect {
  PacketType type = PacketType::kDisconnect;
  Reason reason = Reason::kSuccess;
  Properties properties;
  bool operator==(const Disconnect&) const = default;
};

using Packet = std::variant<Connect, Connack, Publish, Ack, Subscribe, Unsubscribe, SubAck, Ping, Disconnect>;

// Why bytes were refused: the reason a server of 5.0 sends in CONNACK or DISCONNECT, and a sentence for the
// log.
struct DecodeError {
  Reason reason = Reason::kMalformedPacket;
  const char* text = "";
};

// A whole control packet at the front of a byte stream.
struct Framed {
  uint8_t first_byte = 0;  // Type and flags.
  Bytes body;              // After the fixed header.
  size_t size = 0;         // Of the whole packet, fixed header included.
  PacketType type() const { return static_cast<PacketType>(first_byte >> 4); }
};

enum class FrameStatus : uint8_t { kWhole, kNeedMore, kBad };

// Finds the packet at the front of `bytes`. kNeedMore: *framed has first_byte and, once its length is known,
// `size`, so that the caller can refuse a large packet before it is there. kBad fills *error: a Remaining
// Length of more than four bytes, a packet over `size_max` (kPacketTooLarge), type 0.
FrameStatus frame_next(Bytes bytes, size_t size_max, Framed* framed, DecodeError* error);

// Which side sent the packet: decides which types and which properties may come.
enum class Sender : uint8_t { kClient, kServer };

// Decodes a packet that frame_next() found. `version` is that of the connection; for CONNECT it is ignored. A
// CONNECT of another protocol level fails with kUnsupportedProtocolVersion; its level is then in
// *unsupported_level when that is not null.
//
// What it lets through keeps to the standard's rules for a single packet. In particular every topic name and
// every topic filter is valid by mqtt/topic.h, no packet identifier is 0, and no list of filters or reason
// codes is empty. Left to the caller: rules about client identifiers, topic aliases in use, and the order of
// packets.
//
// False: *error says why, and *packet holds nothing to rely on, except that after a CONNECT of a supported
// level it holds a Connect with the right `version`, for the answer.
bool decode(const Framed& framed, Version version, Sender sender, Packet* packet, DecodeError* error,
            uint8_t* unsupported_level = nullptr);

// Appends the packet. The caller keeps to the limits (strings of at most 65,535 bytes, QoS at most 2, packet
// identifiers not 0, filters not none); asserted. A CONNECT is encoded in its own version. 3.1.1 leaves out
// what only 5.0 has, and every failure in a SUBACK becomes 0x80.
void encode(std::string& out, Version version, const Packet& packet);

// The hot path: PUBLISH with properties that are already encoded (without their length; ignored in 3.1.1).
struct PublishHead {
  bool dup = false;
  uint8_t qos = 0;
  bool retain = false;
  Bytes topic;
  uint16_t packet_id = 0;
  Bytes raw_properties;
  uint16_t topic_alias = 0;  // 5.0; a property of its own before those. 0: none.
};
void encode_publish(std::string& out, Version version, const PublishHead& head, Bytes payload);
size_t encoded_publish_size(Version version, const PublishHead& head, size_t payload_size);

// The hot path of the four acknowledgements: no properties; in 5.0 a zero reason is left out.
void encode_ack(std::string& out, Version version, PacketType type, uint16_t packet_id, Reason reason);

// And in: true if this is a PUBACK, PUBREC, PUBREL or PUBCOMP of an identifier and nothing else, which nearly all are. What else
// it is, or what is wrong with it, decode() knows.
bool decode_bare_ack(const Framed& framed, uint16_t* packet_id);

// Appends properties without their length; `decode_publish_properties` is the inverse for the properties that a
// PUBLISH may carry.
void encode_properties(std::string& out, const Properties& properties);
bool decode_publish_properties(Bytes raw, Properties* properties, DecodeError* error);

// MQTT's Variable Byte Integer (1.5.5): at most four bytes, at most 268,435,455.
void put_variable(std::string& out, uint32_t value);
// How many bytes that appends.
constexpr size_t variable_size(uint32_t value) {
  return value < 128 ? 1 : value < 16'384 ? 2 : value < 2'097'152 ? 3 : 4;
}

}  // namespace hf::mqtt
