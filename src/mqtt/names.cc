// The words of the standard for packet types and reason codes, and which packet may carry which reason code.
#include <cstdint>

#include "mqtt/packet.h"
#include "mqtt/wire.h"

namespace hf::mqtt {

namespace {

constexpr uint16_t bit(PacketType type) { return static_cast<uint16_t>(1U << static_cast<unsigned>(type)); }

constexpr uint16_t kConnack = bit(PacketType::kConnack);
constexpr uint16_t kReceived = bit(PacketType::kPuback) | bit(PacketType::kPubrec);
constexpr uint16_t kReleased = bit(PacketType::kPubrel) | bit(PacketType::kPubcomp);
constexpr uint16_t kSuback = bit(PacketType::kSuback);
constexpr uint16_t kUnsuback = bit(PacketType::kUnsuback);
constexpr uint16_t kDisconnect = bit(PacketType::kDisconnect);
constexpr uint16_t kAuth = bit(PacketType::kAuth);

struct ReasonRow {
  Reason reason;
  const char* name;
  uint16_t from_both;    // Packets in which either side may send it.
  uint16_t from_client;  // Further packets in which the client may.
  uint16_t from_server;  // Further packets in which the server may.
};

// MQTT 5.0, table 2-6; who may send what comes from the tables 3-1 (CONNACK), 3-4 to 3-9 (acknowledgements),
// 3-10 (DISCONNECT) and 3-11 (AUTH).
constexpr ReasonRow kReasons[] = {
    {Reason::kSuccess, "Success", kReceived | kReleased | kDisconnect, 0,
     kConnack | kSuback | kUnsuback | kAuth},
    {Reason::kGrantedQos1, "Granted QoS 1", 0, 0, kSuback},
    {Reason::kGrantedQos2, "Granted QoS 2", 0, 0, kSuback},
    {Reason::kDisconnectWithWill, "Disconnect with Will Message", 0, kDisconnect, 0},
    {Reason::kNoMatchingSubscribers, "No matching subscribers", 0, 0, kReceived},
    {Reason::kNoSubscriptionExisted, "No subscription existed", 0, 0, kUnsuback},
    {Reason::kContinueAuthentication, "Continue authentication", kAuth, 0, 0},
    {Reason::kReauthenticate, "Re-authenticate", 0, kAuth, 0},
    {Reason::kUnspecifiedError, "Unspecified error", kReceived | kDisconnect, 0,
     kConnack | kSuback | kUnsuback},
    {Reason::kMalformedPacket, "Malformed Packet", kDisconnect, 0, kConnack},
    {Reason::kProtocolError, "Protocol Error", kDisconnect, 0, kConnack},
    {Reason::kImplementationSpecificError, "Implementation specific error", kReceived | kDisconnect, 0,
     kConnack | kSuback | kUnsuback},
    {Reason::kUnsupportedProtocolVersion, "Unsupported Protocol Version", 0, 0, kConnack},
    {Reason::kClientIdentifierNotValid, "Client Identifier not valid", 0, 0, kConnack},
    {Reason::kBadUserNameOrPassword, "Bad User Name or Password", 0, 0, kConnack},
    {Reason::kNotAuthorized, "Not authorized", kReceived, 0, kConnack | kSuback | kUnsuback | kDisconnect},
    {Reason::kServerUnavailable, "Server unavailable", 0, 0, kConnack},
    {Reason::kServerBusy, "Server busy", 0, 0, kConnack | kDisconnect},
    {Reason::kBanned, "Banned", 0, 0, kConnack},
    {Reason::kServerShuttingDown, "Server shutting down", 0, 0, kDisconnect},
    {Reason::kBadAuthenticationMethod, "Bad authentication method", 0, 0, kConnack | kDisconnect},
    {Reason::kKeepAliveTimeout, "Keep Alive timeout", 0, 0, kDisconnect},
    {Reason::kSessionTakenOver, "Session taken over", 0, 0, kDisconnect},
    {Reason::kTopicFilterInvalid, "Topic Filter invalid", 0, 0, kSuback | kUnsuback | kDisconnect},
    {Reason::kTopicNameInvalid, "Topic Name invalid", kReceived | kDisconnect, 0, kConnack},
    {Reason::kPacketIdentifierInUse, "Packet Identifier in use", kReceived, 0, kSuback | kUnsuback},
    {Reason::kPacketIdentifierNotFound, "Packet Identifier not found", kReleased, 0, 0},
    {Reason::kReceiveMaximumExceeded, "Receive Maximum exceeded", kDisconnect, 0, 0},
    {Reason::kTopicAliasInvalid, "Topic Alias invalid", kDisconnect, 0, 0},
    {Reason::kPacketTooLarge, "Packet too large", kDisconnect, 0, kConnack},
    {Reason::kMessageRateTooHigh, "Message rate too high", kDisconnect, 0, 0},
    {Reason::kQuotaExceeded, "Quota exceeded", kReceived | kDisconnect, 0, kConnack | kSuback},
    {Reason::kAdministrativeAction, "Administrative action", kDisconnect, 0, 0},
    {Reason::kPayloadFormatInvalid, "Payload format invalid", kReceived | kDisconnect, 0, kConnack},
    {Reason::kRetainNotSupported, "Retain not supported", 0, 0, kConnack | kDisconnect},
    {Reason::kQosNotSupported, "QoS not supported", 0, 0, kConnack | kDisconnect},
    {Reason::kUseAnotherServer, "Use another server", 0, 0, kConnack | kDisconnect},
    {Reason::kServerMoved, "Server moved", 0, 0, kConnack | kDisconnect},
    {Reason::kSharedSubscriptionsNotSupported, "Shared Subscriptions not supported", 0, 0,
     kSuback | kDisconnect},
    {Reason::kConnectionRateExceeded, "Connection rate exceeded", 0, 0, kConnack | kDisconnect},
    {Reason::kMaximumConnectTime, "Maximum connect time", 0, 0, kDisconnect},
    {Reason::kSubscriptionIdentifiersNotSupported, "Subscription Identifiers not supported", 0, 0,
     kSuback | kDisconnect},
    {Reason::kWildcardSubscriptionsNotSupported, "Wildcard Subscriptions not supported", 0, 0,
     kSuback | kDisconnect},
};

const ReasonRow* row_of(Reason reason) {
  for (const ReasonRow& row : kReasons) {
    if (row.reason == reason) return &row;
  }
  return nullptr;
}

}  // namespace

const char* packet_type_name(PacketType type) {
  switch (type) {
    case PacketType::kConnect:
      return "CONNECT";
    case PacketType::kConnack:
      return "CONNACK";
    case PacketType::kPublish:
      return "PUBLISH";
    case PacketType::kPuback:
      return "PUBACK";
    case PacketType::kPubrec:
      return "PUBREC";
    case PacketType::kPubrel:
      return "PUBREL";
    case PacketType::kPubcomp:
      return "PUBCOMP";
    case PacketType::kSubscribe:
      return "SUBSCRIBE";
    case PacketType::kSuback:
      return "SUBACK";
    case PacketType::kUnsubscribe:
      return "UNSUBSCRIBE";
    case PacketType::kUnsuback:
      return "UNSUBACK";
    case PacketType::kPingreq:
      return "PINGREQ";
    case PacketType::kPingresp:
      return "PINGRESP";
    case PacketType::kDisconnect:
      return "DISCONNECT";
    case PacketType::kAuth:
      return "AUTH";
  }
  return "RESERVED";
}

const char* reason_name(Reason reason) {
  const ReasonRow* row = row_of(reason);
  return row == nullptr ? "Unknown reason" : row->name;
}

bool reason_allowed(PacketType type, Sender sender, uint8_t reason) {
  const ReasonRow* row = row_of(static_cast<Reason>(reason));
  if (row == nullptr) return false;
  const uint16_t packets = row->from_both | (sender == Sender::kClient ? row->from_client : row->from_server);
  return (packets & bit(type)) != 0;
}

}  // namespace hf::mqtt
