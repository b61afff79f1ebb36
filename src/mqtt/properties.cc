// The properties of MQTT 5.0 (section 2.2.2), both ways:
//
//   properties := length: variable byte integer, property*      the length is in bytes
//   property   := identifier: u8, value                          what the value is depends on the identifier
//
// Identifiers are Variable Byte Integers by the standard; all that it defines have one byte.
#include <cstdint>
#include <optional>
#include <string>

#include "mqtt/packet.h"
#include "mqtt/wire.h"

namespace hf::mqtt {

namespace {

// MQTT 5.0, table 2-4; 0 for an identifier that the standard does not know.
constexpr unsigned carriers_of(PropertyId id) {
  switch (id) {
    case PropertyId::kPayloadFormatIndicator:
    case PropertyId::kMessageExpiryInterval:
    case PropertyId::kContentType:
    case PropertyId::kResponseTopic:
    case PropertyId::kCorrelationData:
      return kInPublish | kInWill;
    case PropertyId::kSubscriptionIdentifier:
      return kInPublish | kInSubscribe;
    case PropertyId::kSessionExpiryInterval:
      return kInConnect | kInConnack | kInDisconnect;
    case PropertyId::kAssignedClientIdentifier:
    case PropertyId::kServerKeepAlive:
      return kInConnack;
    case PropertyId::kAuthenticationMethod:
    case PropertyId::kAuthenticationData:
      return kInConnect | kInConnack | kInAuth;
    case PropertyId::kRequestProblemInformation:
      return kInConnect;
    case PropertyId::kWillDelayInterval:
      return kInWill;
    case PropertyId::kRequestResponseInformation:
      return kInConnect;
    case PropertyId::kResponseInformation:
      return kInConnack;
    case PropertyId::kServerReference:
      return kInConnack | kInDisconnect;
    case PropertyId::kReasonString:
      return kInConnack | kInAck | kInSubAck | kInDisconnect | kInAuth;
    case PropertyId::kReceiveMaximum:
    case PropertyId::kTopicAliasMaximum:
      return kInConnect | kInConnack;
    case PropertyId::kTopicAlias:
      return kInPublish;
    case PropertyId::kMaximumQos:
    case PropertyId::kRetainAvailable:
      return kInConnack;
    case PropertyId::kUserProperty:
      return kInConnect | kInWill | kInConnack | kInPublish | kInAck | kInSubscribe | kInSubAck |
             kInUnsubscribe | kInDisconnect | kInAuth;
    case PropertyId::kMaximumPacketSize:
      return kInConnect | kInConnack;
    case PropertyId::kWildcardSubscriptionAvailable:
    case PropertyId::kSubscriptionIdentifierAvailable:
    case PropertyId::kSharedSubscriptionAvailable:
      return kInConnack;
  }
  return 0;
}

template <typename T>
bool once(BodyReader& in, std::optional<T>& slot, T value) {
  if (slot) return in.fail(Reason::kProtocolError, "a property stands twice");
  slot = value;
  return in.ok();
}

// A byte that is 0 or 1.
bool flag(BodyReader& in, std::optional<uint8_t>& slot) {
  const uint8_t value = in.u8();
  if (value > 1) return in.fail(Reason::kProtocolError, "a property that is 0 or 1 is neither");
  return once(in, slot, value);
}

template <typename T>
bool nonzero(BodyReader& in, std::optional<T>& slot, T value, Reason reason, const char* text) {
  if (value == 0) return in.fail(reason, text);
  return once(in, slot, value);
}

bool response_topic(BodyReader& in, Properties* properties) {
  const Bytes topic = in.text();  // [MQTT-3.3.2-13]
  // [MQTT-3.3.2-14]
  if (!topic_name_valid(topic)) {
    return in.fail(Reason::kProtocolError, "the response topic is not a topic name");
  }
  return once(in, properties->response_topic, topic);
}

bool subscription_identifier(BodyReader& in, Carrier carrier, Properties* properties) {
  const uint32_t value = in.variable();
  if (value == 0) return in.fail(Reason::kProtocolError, "a subscription identifier is 0");
  if (carrier == kInSubscribe && !properties->subscription_identifiers.empty()) {
    return in.fail(Reason::kProtocolError, "a property stands twice");
  }
  if (!in.ok()) return false;
  properties->subscription_identifiers.push_back(value);
  return true;
}

bool user_property(BodyReader& in, Properties* properties) {
  const Bytes name = in.text();  // [MQTT-1.5.7-1]
  const Bytes value = in.text();
  if (!in.ok()) return false;
  properties->user_properties.push_back({.name = name, .value = value});
  return true;
}

bool read_property(BodyReader& in, PropertyId id, Carrier carrier, Properties* properties) {
  Properties& p = *properties;
  switch (id) {
    case PropertyId::kPayloadFormatIndicator:
      return flag(in, p.payload_format_indicator);
    case PropertyId::kMessageExpiryInterval:
      return once(in, p.message_expiry_interval_s, in.u32());
    case PropertyId::kContentType:
      return once(in, p.content_type, in.text());  // [MQTT-3.3.2-19]
    case PropertyId::kResponseTopic:
      return response_topic(in, properties);
    case PropertyId::kCorrelationData:
      return once(in, p.correlation_data, in.binary());
    case PropertyId::kSubscriptionIdentifier:
      return subscription_identifier(in, carrier, properties);
    case PropertyId::kSessionExpiryInterval:
      return once(in, p.session_expiry_interval_s, in.u32());
    case PropertyId::kAssignedClientIdentifier:
      return once(in, p.assigned_client_identifier, in.text());
    case PropertyId::kServerKeepAlive:
      return once(in, p.server_keep_alive_s, in.u16());
    case PropertyId::kAuthenticationMethod:
      return once(in, p.authentication_method, in.text());
    case PropertyId::kAuthenticationData:
      return once(in, p.authentication_data, in.binary());
    case PropertyId::kRequestProblemInformation:
      return flag(in, p.request_problem_information);
    case PropertyId::kWillDelayInterval:
      return once(in, p.will_delay_interval_s, in.u32());
    case PropertyId::kRequestResponseInformation:
      return flag(in, p.request_response_information);
    case PropertyId::kResponseInformation:
      return once(in, p.response_information, in.text());
    case PropertyId::kServerReference:
      return once(in, p.server_reference, in.text());
    case PropertyId::kReasonString:
      return once(in, p.reason_string, in.text());
    case PropertyId::kReceiveMaximum:
      return nonzero(in, p.receive_maximum, in.u16(), Reason::kProtocolError, "the receive maximum is 0");
    case PropertyId::kTopicAliasMaximum:
      return once(in, p.topic_alias_maximum, in.u16());
    case PropertyId::kTopicAlias:  // [MQTT-3.3.2-8]
      return nonzero(in, p.topic_alias, in.u16(), Reason::kTopicAliasInvalid, "the topic alias is 0");
    case PropertyId::kMaximumQos:
      return flag(in, p.maximum_qos);
    case PropertyId::kRetainAvailable:
      return flag(in, p.retain_available);
    case PropertyId::kUserProperty:
      return user_property(in, properties);
    case PropertyId::kMaximumPacketSize:
      return nonzero(in, p.maximum_packet_size, in.u32(), Reason::kProtocolError,
                     "the maximum packet size is 0");
    case PropertyId::kWildcardSubscriptionAvailable:
      return flag(in, p.wildcard_subscription_available);
    case PropertyId::kSubscriptionIdentifierAvailable:
      return flag(in, p.subscription_identifier_available);
    case PropertyId::kSharedSubscriptionAvailable:
      return flag(in, p.shared_subscription_available);
  }
  return in.fail(Reason::kMalformedPacket, "an unknown property");
}

bool read_all(Bytes raw, Carrier carrier, Properties* properties, DecodeError* error) {
  BodyReader in(raw, error);
  while (!in.empty()) {
    const auto id = static_cast<PropertyId>(in.u8());
    // 2.2.2.2: an identifier that is not valid for its packet type makes the packet malformed.
    if ((carriers_of(id) & carrier) == 0) {
      return in.fail(Reason::kMalformedPacket, "a property that this packet may not carry");
    }
    if (!read_property(in, id, carrier, properties)) return false;
  }
  return true;
}

void put_id(std::string& out, PropertyId id) { put_u8(out, static_cast<uint8_t>(id)); }

void put(std::string& out, PropertyId id, const std::optional<uint8_t>& value) {
  if (!value) return;
  put_id(out, id);
  put_u8(out, *value);
}

void put(std::string& out, PropertyId id, const std::optional<uint16_t>& value) {
  if (!value) return;
  put_id(out, id);
  put_u16be(out, *value);
}

void put(std::string& out, PropertyId id, const std::optional<uint32_t>& value) {
  if (!value) return;
  put_id(out, id);
  put_u32be(out, *value);
}

void put(std::string& out, PropertyId id, const std::optional<Bytes>& value) {
  if (!value) return;
  put_id(out, id);
  put_binary(out, *value);
}

}  // namespace

bool read_properties(BodyReader& in, Carrier carrier, Properties* properties, Bytes* raw) {
  const Bytes block = in.bytes(in.variable());
  if (!in.ok()) return false;
  if (raw != nullptr) *raw = block;
  return block.empty() || read_all(block, carrier, properties, in.error());
}

bool decode_publish_properties(Bytes raw, Properties* properties, DecodeError* error) {
  *properties = {};
  return read_all(raw, kInPublish, properties, error);
}

void encode_properties(std::string& out, const Properties& p) {
  put(out, PropertyId::kPayloadFormatIndicator, p.payload_format_indicator);
  put(out, PropertyId::kMessageExpiryInterval, p.message_expiry_interval_s);
  put(out, PropertyId::kContentType, p.content_type);
  put(out, PropertyId::kResponseTopic, p.response_topic);
  put(out, PropertyId::kCorrelationData, p.correlation_data);
  for (const uint32_t identifier : p.subscription_identifiers) {
    put_id(out, PropertyId::kSubscriptionIdentifier);
    put_variable(out, identifier);
  }
  put(out, PropertyId::kSessionExpiryInterval, p.session_expiry_interval_s);
  put(out, PropertyId::kAssignedClientIdentifier, p.assigned_client_identifier);
  put(out, PropertyId::kServerKeepAlive, p.server_keep_alive_s);
  put(out, PropertyId::kAuthenticationMethod, p.authentication_method);
  put(out, PropertyId::kAuthenticationData, p.authentication_data);
  put(out, PropertyId::kRequestProblemInformation, p.request_problem_information);
  put(out, PropertyId::kWillDelayInterval, p.will_delay_interval_s);
  put(out, PropertyId::kRequestResponseInformation, p.request_response_information);
  put(out, PropertyId::kResponseInformation, p.response_information);
  put(out, PropertyId::kServerReference, p.server_reference);
  put(out, PropertyId::kReasonString, p.reason_string);
  put(out, PropertyId::kReceiveMaximum, p.receive_maximum);
  put(out, PropertyId::kTopicAliasMaximum, p.topic_alias_maximum);
  put(out, PropertyId::kTopicAlias, p.topic_alias);
  put(out, PropertyId::kMaximumQos, p.maximum_qos);
  put(out, PropertyId::kRetainAvailable, p.retain_available);
  put(out, PropertyId::kMaximumPacketSize, p.maximum_packet_size);
  put(out, PropertyId::kWildcardSubscriptionAvailable, p.wildcard_subscription_available);
  put(out, PropertyId::kSubscriptionIdentifierAvailable, p.subscription_identifier_available);
  put(out, PropertyId::kSharedSubscriptionAvailable, p.shared_subscription_available);
  for (const UserProperty& user : p.user_properties) {
    put_id(out, PropertyId::kUserProperty);
    put_binary(out, user.name);
    put_binary(out, user.value);
  }
}

}  // namespace hf::mqtt
