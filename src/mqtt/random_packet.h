// For tests: random packets that keep to the standard, as rich as it allows. The same seed gives the same
// packets.
#pragma once

#include <array>
#include <deque>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/prng.h"
#include "mqtt/packet.h"

namespace hf::mqtt {

class RandomPackets {
 public:
  explicit RandomPackets(uint64_t seed) : prng_(seed) {}

  // A packet that `sender` may send. It borrows from this object until the next call.
  Packet next(Version version, Sender sender) {
    kept_.clear();
    v5_ = version == Version::k5;
    from_client_ = sender == Sender::kClient;
    switch (below(8)) {
      case 0:
        return from_client_ ? Packet(connect(version)) : Packet(connack());
      case 1:
        return ack();
      case 2:
        return from_client_ ? Packet(subscribe()) : Packet(suback(PacketType::kSuback));
      case 3:
        return from_client_ ? Packet(unsubscribe()) : Packet(suback(PacketType::kUnsuback));
      case 4:
        return Ping{.type = from_client_ ? PacketType::kPingreq : PacketType::kPingresp};
      case 5:
        if (v5_ || from_client_) return disconnect();
        break;
      case 6:
        if (v5_) return auth();
        break;
      default:
        break;
    }
    return publish();
  }

  // A text of at most `size_max` code points, of one to four bytes each.
  Bytes text(uint64_t size_max = 12) {
    std::string value;
    for (uint64_t i = below(size_max + 1); i > 0; --i) put_code_point(value);
    return keep(std::move(value));
  }

  Bytes topic_name() {
    std::string value;
    const uint64_t levels = 1 + below(6);
    for (uint64_t i = 0; i < levels; ++i) {
      if (i > 0) value += '/';
      if (chance(1, 8)) continue;
      for (uint64_t k = 1 + below(5); k > 0; --k) put_letter(value);
    }
    if (value.empty()) value = "/";
    return keep(std::move(value));
  }

  Bytes topic_filter() {
    std::string value;
    if (chance(1, 8)) value = "$share/group/";
    const uint64_t levels = 1 + below(6);
    for (uint64_t i = 0; i < levels; ++i) {
      if (i > 0) value += '/';
      if (chance(1, 4)) {
        value += '+';
      } else {
        put_letter(value);
      }
    }
    if (chance(1, 4)) value += "/#";
    return keep(std::move(value));
  }

 private:
  uint64_t below(uint64_t bound) { return prng_.below(bound); }
  bool chance(uint64_t numerator, uint64_t denominator) { return prng_.chance(numerator, denominator); }
  uint8_t u8(uint64_t bound = 256) { return static_cast<uint8_t>(below(bound)); }
  uint16_t u16() { return static_cast<uint16_t>(prng_.next()); }
  uint32_t u32() { return static_cast<uint32_t>(prng_.next()); }
  uint16_t packet_id() { return static_cast<uint16_t>(1 + below(65'535)); }
  Bytes keep(std::string value) { return kept_.emplace_back(std::move(value)); }

  Bytes binary(uint64_t size_max = 20) {
    std::string value;
    for (uint64_t i = below(size_max + 1); i > 0; --i) value += static_cast<char>(prng_.next());
    return keep(std::move(value));
  }

  void put_letter(std::string& out) {
    if (chance(1, 10)) {
      out += "\xc3\xa9";
    } else {
      out += static_cast<char>('a' + below(26));
    }
  }

  void put_code_point(std::string& out) {
    const auto tail = [&out](uint64_t bits) { out += static_cast<char>(0x80 | (bits & 0x3f)); };
    switch (below(5)) {
      case 0: {
        const uint64_t point = 0x80 + below(0x800 - 0x80);
        out += static_cast<char>(0xc0 | (point >> 6));
        tail(point);
        return;
      }
      case 1: {
        uint64_t point = 0x800 + below(0x10000 - 0x800 - 0x800);
        if (point >= 0xd800) point += 0x800;  // Not the surrogates.
        out += static_cast<char>(0xe0 | (point >> 12));
        tail(point >> 6);
        tail(point);
        return;
      }
      case 2: {
        const uint64_t point = 0x10000 + below(0x110000 - 0x10000);
        out += static_cast<char>(0xf0 | (point >> 18));
        tail(point >> 12);
        tail(point >> 6);
        tail(point);
        return;
      }
      default:
        out += static_cast<char>(1 + below(0x7f));
    }
  }

  void put_users(Properties& properties) {
    while (chance(1, 3)) properties.user_properties.push_back({.name = text(), .value = text()});
  }
  // Each with a chance of one half.
  template <typename T, typename Make>
  void maybe(std::optional<T>& slot, Make&& make) {
    if (chance(1, 2)) slot = make();
  }
  void maybe_flag(std::optional<uint8_t>& slot) {
    maybe(slot, [this] { return u8(2); });
  }

  // What a PUBLISH and a will have in common.
  Properties message_properties() {
    Properties p;
    maybe_flag(p.payload_format_indicator);
    maybe(p.message_expiry_interval_s, [this] { return u32(); });
    maybe(p.content_type, [this] { return text(); });
    maybe(p.response_topic, [this] { return topic_name(); });
    maybe(p.correlation_data, [this] { return binary(); });
    put_users(p);
    return p;
  }
  // What CONNECT and CONNACK have in common.
  Properties connection_properties() {
    Properties p;
    maybe(p.session_expiry_interval_s, [this] { return u32(); });
    maybe(p.receive_maximum, [this] { return packet_id(); });
    maybe(p.maximum_packet_size, [this] { return 1 + (u32() >> 1); });
    maybe(p.topic_alias_maximum, [this] { return u16(); });
    maybe(p.authentication_method, [this] { return text(); });
    if (p.authentication_method) maybe(p.authentication_data, [this] { return binary(); });
    put_users(p);
    return p;
  }
  Properties reason_properties() {
    Properties p;
    maybe(p.reason_string, [this] { return text(); });
    put_users(p);
    return p;
  }

  Connect connect(Version version) {
    Connect connect{
        .version = version, .clean_start = chance(1, 2), .keep_alive_s = u16(), .client_id = text()};
    if (v5_) {
      connect.properties = connection_properties();
      maybe_flag(connect.properties.request_response_information);
      maybe_flag(connect.properties.request_problem_information);
    }
    if (chance(1, 2)) {
      connect.will = Will{.qos = u8(3), .retain = chance(1, 2), .topic = topic_name(), .payload = binary()};
      if (v5_) {
        connect.will->properties = message_properties();
        maybe(connect.will->properties.will_delay_interval_s, [this] { return u32(); });
      }
    }
    maybe(connect.user_name, [this] { return text(); });
    if (v5_ || connect.user_name) maybe(connect.password, [this] { return binary(); });
    return connect;
  }

  Connack connack() {
    Connack connack;
    if (!v5_) {
      connack.reason = u8(6);
      connack.session_present = connack.reason == 0 && chance(1, 2);
      return connack;
    }
    static constexpr std::array<uint8_t, 5> kReasons = {0x00, 0x80, 0x8c, 0x95, 0x9f};
    connack.reason = kReasons[below(kReasons.size())];
    connack.session_present = connack.reason == 0 && chance(1, 2);
    Properties& p = connack.properties;
    p = connection_properties();
    maybe_flag(p.maximum_qos);
    maybe_flag(p.retain_available);
    maybe(p.assigned_client_identifier, [this] { return text(); });
    maybe(p.reason_string, [this] { return text(); });
    maybe_flag(p.wildcard_subscription_available);
    maybe_flag(p.subscription_identifier_available);
    maybe_flag(p.shared_subscription_available);
    maybe(p.server_keep_alive_s, [this] { return u16(); });
    maybe(p.response_information, [this] { return text(); });
    maybe(p.server_reference, [this] { return text(); });
    return connack;
  }

  Publish publish() {
    Publish publish{.qos = u8(3), .retain = chance(1, 2), .topic = topic_name(), .payload = binary(200)};
    if (publish.qos > 0) {
      publish.dup = chance(1, 2);
      publish.packet_id = packet_id();
    }
    if (!v5_) return publish;
    publish.properties = message_properties();
    maybe(publish.properties.topic_alias, [this] { return packet_id(); });
    if (publish.properties.topic_alias && chance(1, 2)) publish.topic = {};
    while (!from_client_ && chance(1, 3)) {
      publish.properties.subscription_identifiers.push_back(1 + (u32() >> (4 + below(28))));
    }
    return publish;
  }

  Ack ack() {
    static constexpr std::array<PacketType, 4> kTypes = {PacketType::kPuback, PacketType::kPubrec,
                                                         PacketType::kPubrel, PacketType::kPubcomp};
    Ack ack{.type = kTypes[below(kTypes.size())], .packet_id = packet_id()};
    if (!v5_) return ack;
    if (chance(1, 2)) {
      const bool release = ack.type == PacketType::kPubrel || ack.type == PacketType::kPubcomp;
      ack.reason = release ? Reason::kPacketIdentifierNotFound : Reason::kQuotaExceeded;
    }
    if (chance(1, 2)) ack.properties = reason_properties();
    return ack;
  }

  Subscribe subscribe() {
    Subscribe subscribe{.packet_id = packet_id()};
    if (v5_) {
      if (chance(1, 2)) subscribe.properties.subscription_identifiers = {1 + (u32() >> (4 + below(28)))};
      put_users(subscribe.properties);
    }
    do {
      SubscribeEntry entry{.filter = topic_filter(), .qos = u8(3)};
      if (v5_) {
        entry.no_local = chance(1, 2) && !entry.filter.starts_with("$share/");
        entry.retain_as_published = chance(1, 2);
        entry.retain_handling = u8(3);
      }
      subscribe.entries.push_back(entry);
    } while (chance(1, 2));
    return subscribe;
  }

  Unsubscribe unsubscribe() {
    Unsubscribe unsubscribe{.packet_id = packet_id()};
    if (v5_) put_users(unsubscribe.properties);
    do unsubscribe.filters.push_back(topic_filter());
    while (chance(1, 2));
    return unsubscribe;
  }

  SubAck suback(PacketType type) {
    SubAck suback{.type = type, .packet_id = packet_id()};
    if (v5_) suback.properties = reason_properties();
    if (!v5_ && type == PacketType::kUnsuback) return suback;
    static constexpr std::array<uint8_t, 4> kSuback = {0, 1, 2, 0x80};
    static constexpr std::array<uint8_t, 4> kUnsuback = {0, 0x11, 0x80, 0x8f};
    do suback.reasons.push_back((type == PacketType::kSuback ? kSuback : kUnsuback)[below(4)]);
    while (chance(1, 2));
    return suback;
  }

  Disconnect disconnect() {
    Disconnect disconnect;
    if (!v5_ || chance(1, 4)) return disconnect;
    disconnect.reason = from_client_ ? Reason::kDisconnectWithWill : Reason::kServerMoved;
    if (chance(1, 4)) return disconnect;
    disconnect.properties = reason_properties();
    if (from_client_) maybe(disconnect.properties.session_expiry_interval_s, [this] { return u32(); });
    if (!from_client_) maybe(disconnect.properties.server_reference, [this] { return text(); });
    return disconnect;
  }

  Disconnect auth() {
    Disconnect auth{.type = PacketType::kAuth, .reason = Reason::kContinueAuthentication};
    if (!from_client_ && chance(1, 3)) {
      auth.reason = Reason::kSuccess;
      return auth;
    }
    auth.properties = reason_properties();
    auth.properties.authentication_method = text();
    maybe(auth.properties.authentication_data, [this] { return binary(); });
    return auth;
  }

  Prng prng_;
  std::deque<std::string> kept_;
  bool v5_ = false;
  bool from_client_ = false;
};

}  // namespace hf::mqtt
