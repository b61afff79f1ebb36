// The rows that the broker keeps in the store's tables, and their bytes. Numbers are LEB128 varints (svarint:
// zigzag) or single bytes unless said otherwise; `sized` is a varint of the size, then the bytes; keys use
// big-endian so that they sort.
//
//   stamp = wall_us:svarint mono_ns:varint quality:u8 boot_high:u64 boot_low:u64     (u64: little-endian)
//
//   kSession      client identifier         -> 1:u8 flags:u8 number:varint expiry_s:varint reader:varint
//                                              stamp [user:sized]
//                   flags: bit 0 a connection stood when the row was written, bit 1 the client speaks 5.0, 2 has user,
//                   3 a certificate named the user;
//                   stamp: when the row was written, so without bit 0 when the connection ended
//   kSubscription number:u64be filter       -> 1:u8 options:u8 identifier:varint
//                   options: bits 0-1 QoS, 2 no local, 3 retain as published, 4-5 retain handling,
//                   6 retained messages that its SUBSCRIBE asked for are still owed; identifier 0: none
//   kRetained     topic                     -> 1:u8 flags:u8 stamp [expiry_s:varint] [event_us:svarint] [user:sized]
//                                              publisher:sized headers:sized payload (the rest)
//                   flags: bits 0-1 QoS, 2 has expiry_s, 3 has event_us, 5 has user, 6 a certificate named the user;
//                   publisher: client identifier, for "no local"; empty if it came over a link
//   kInbound      number:u64be packet:u16be -> 1:u8
//   kOutbound     number:u64be packet:u16be -> 1:u8 flags:u8 position:varint size_bytes:varint
//                                              [reader:varint identifier:varint]
//                   flags: bits 0-1 QoS, 2 released (PUBREC came), 3 a lease: of that reader, a share group's, with the
//                   subscription identifier (0: none), 4 and with the retain flag
//   kOutboundRun  number:u64be slot:u16be   -> 1:u8 (packet:varint positions_ahead:varint size_bytes:varint)*
//                   QoS 1; ascending positions, the first against 0; a delivery counts if its position is behind the
//                   low-water position of the session's reader: the row goes when all of them are acknowledged
//   kShareGroup   name '/' filter           -> 1:u8 reader:varint
//   kShareOwed    reader:u64be position:u64be -> 1:u8 qos:u8
//                   1: came back, or leased to a session without rows: to be leased again after a restart; 2: leased so
//                   at QoS 2, and given up then
//   kWill         client identifier         -> 1:u8 flags:u8 delay_s:varint
//                                              [expiry_s:varint] [event_us:svarint] [user:sized]
//                                              topic:sized headers:sized payload (the rest)
//                   flags: bits 0-1 QoS, 2 has expiry_s, 3 has event_us, 4 retain, 5 has user, 6 a certificate
//                   named the user
//
// The first byte is the version of the row's grammar. `headers` are encoded MQTT 5 properties, as in a
// record. A row that does not decode is left where it is and passed over.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "broker/inflight.h"
#include "store/record.h"

namespace hf::broker {

struct SessionRow {
  bool connected = false;
  bool v5 = false;
  uint64_t number = 0;
  uint32_t expiry_s = 0;
  store::ReaderId reader = 0;
  store::Arrival stamp;
  std::string user;             // Whose it is; empty: of a client without a name.
  bool by_certificate = false;  // How that user came: in no list of users he is looked for then.
  bool operator==(const SessionRow&) const = default;
};
std::string encode(const SessionRow& row);
bool decode(Bytes bytes, SessionRow* row);

// What a SUBSCRIBE asked for one filter.
struct SubscriptionOptions {
  uint8_t qos = 0;
  bool no_local = false;
  bool retain_as_published = false;
  uint8_t retain_handling = 0;
  uint32_t identifier = 0;  // 0: none.
  bool operator==(const SubscriptionOptions&) const = default;
};
struct SubscriptionRow {
  SubscriptionOptions options;
  bool retained_owed = false;
  bool operator==(const SubscriptionRow&) const = default;
};
std::string encode(const SubscriptionRow& row);
bool decode(Bytes bytes, SubscriptionRow* row);
std::string subscription_key(uint64_t session_number, Bytes filter);

struct RetainedRow {
  uint8_t qos = 0;
  store::Arrival arrival;
  std::optional<uint32_t> expiry_s;
  std::optional<int64_t> event_us;
  Bytes user;  // Of the publisher; empty: it had no name, or it came over a link.
  bool by_certificate = false;
  Bytes publisher;
  Bytes headers;
  Bytes payload;
  bool operator==(const RetainedRow&) const = default;
};
std::string encode(const RetainedRow& row);
// The views borrow from `bytes`.
bool decode(Bytes bytes, RetainedRow* row);

struct WillRow {
  uint8_t qos = 0;
  bool retain = false;
  uint32_t delay_s = 0;
  std::optional<uint32_t> expiry_s;
  std::optional<int64_t> event_us;
  std::string user;
  bool by_certificate = false;
  std::string topic;
  std::string headers;
  std::string payload;
  bool operator==(const WillRow&) const = default;
};
std::string encode(const WillRow& row);
bool decode(Bytes bytes, WillRow* row);

// What a session holds of a share group's: the rest of what a delivery needs to be sent again.
struct Lease {
  store::ReaderId reader = 0;  // The group's; 0: it is none.
  uint32_t identifier = 0;     // Subscription identifier; 0: none.
  bool retain = false;
  bool operator==(const Lease&) const = default;
};

std::string encode_inbound();
std::string encode(const Outbound& row, const Lease& lease);
// Leaves packet_id alone: it stands in the key.
bool decode(Bytes bytes, Outbound* row, Lease* lease);

std::string encode_group(store::ReaderId reader);
bool decode_group(Bytes bytes, store::ReaderId* reader);

std::string owed_key(store::ReaderId reader, store::Position position);
bool decode_owed_key(Bytes key, store::ReaderId* reader, store::Position* position);
std::string encode_owed(uint8_t qos);
bool decode_owed(Bytes bytes, uint8_t* qos);

// Of each row: packet_id, position and size_bytes.
std::string encode_run(std::span<const Outbound> deliveries);
bool decode_run(Bytes bytes, std::vector<Outbound>* deliveries);

// The key of kInbound and kOutbound, and with a slot for the packet identifier of kOutboundRun, without an allocation.
class PacketKey {
 public:
  PacketKey(uint64_t session_number, uint16_t packet_id);
  operator Bytes() const { return Bytes(raw_, sizeof raw_); }  // NOLINT: a key is its bytes.

 private:
  char raw_[10];
};
bool decode_packet_key(Bytes key, uint64_t* session_number, uint16_t* packet_id);  // Of either.
// The first eight bytes of the keys above, and the prefix of a session's rows.
std::string session_prefix(uint64_t session_number);

}  // namespace hf::broker
