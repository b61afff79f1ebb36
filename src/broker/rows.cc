#include "broker/rows.h"

namespace hf::broker {

namespace {

constexpr uint8_t kGrammar = 1;

constexpr unsigned kQosMask = 3;
constexpr unsigned kHasExpiry = 4;
constexpr unsigned kHasEvent = 8;
constexpr unsigned kWillRetain = 16;
constexpr unsigned kReleased = 4;
constexpr unsigned kLeased = 8;
constexpr unsigned kLeaseRetain = 16;
constexpr unsigned kConnected = 1;
constexpr unsigned kSpeaks5 = 2;
constexpr unsigned kNoLocal = 4;
constexpr unsigned kRetainAsPublished = 8;
constexpr unsigned kRetainedOwed = 1 << 6;
constexpr unsigned kSessionUser = 4;
constexpr unsigned kSessionByCertificate = 8;
constexpr unsigned kUser = 1 << 5;  // Of wills and retained messages, like the next.
constexpr unsigned kByCertificate = 1 << 6;

void put_flags(std::string& out, unsigned flags) { put_u8(out, static_cast<uint8_t>(flags)); }

// A reader behind the grammar byte; failed if that is unknown.
ByteReader open(Bytes bytes) {
  ByteReader in(bytes);
  if (in.u8() != kGrammar) in.fail();
  return in;
}

uint32_t read_u32(ByteReader& in) {
  const uint64_t value = in.varint();
  if (value > UINT32_MAX) in.fail();
  return static_cast<uint32_t>(value);
}

uint8_t read_qos(ByteReader& in, uint8_t flags) {
  const uint8_t qos = flags & kQosMask;
  if (qos > 2) in.fail();
  return qos;
}

void put_stamp(std::string& out, const store::Arrival& stamp) {
  put_svarint(out, stamp.wall_us);
  put_varint(out, stamp.mono_ns);
  put_u8(out, static_cast<uint8_t>(stamp.quality));
  put_u64(out, stamp.boot.high);
  put_u64(out, stamp.boot.low);
}

store::Arrival read_stamp(ByteReader& in) {
  store::Arrival stamp;
  stamp.wall_us = in.svarint();
  stamp.mono_ns = in.varint();
  const uint8_t quality = in.u8();
  if (quality > static_cast<uint8_t>(ClockQuality::kGnss)) in.fail();
  stamp.quality = static_cast<ClockQuality>(quality);
  stamp.boot.high = in.u64();
  stamp.boot.low = in.u64();
  return stamp;
}

unsigned times_flags(const std::optional<uint32_t>& expiry_s, const std::optional<int64_t>& event_us) {
  return (expiry_s ? kHasExpiry : 0) | (event_us ? kHasEvent : 0);
}

void put_times(std::string& out, const std::optional<uint32_t>& expiry_s,
               const std::optional<int64_t>& event_us) {
  if (expiry_s) put_varint(out, *expiry_s);
  if (event_us) put_svarint(out, *event_us);
}

void read_times(ByteReader& in, uint8_t flags, std::optional<uint32_t>* expiry_s,
                std::optional<int64_t>* event_us) {
  expiry_s->reset();
  event_us->reset();
  if ((flags & kHasExpiry) != 0) *expiry_s = read_u32(in);
  if ((flags & kHasEvent) != 0) *event_us = in.svarint();
}

}  // namespace

std::string encode(const SessionRow& row) {
  std::string out;
  put_u8(out, kGrammar);
  put_flags(out, (row.connected ? kConnected : 0) | (row.v5 ? kSpeaks5 : 0) |
                     (row.user.empty() ? 0 : kSessionUser) |
                     (row.by_certificate ? kSessionByCertificate : 0));
  put_varint(out, row.number);
  put_varint(out, row.expiry_s);
  put_varint(out, row.reader);
  put_stamp(out, row.stamp);
  if (!row.user.empty()) put_sized(out, row.user);
  return out;
}

bool decode(Bytes bytes, SessionRow* row) {
  ByteReader in = open(bytes);
  const uint8_t flags = in.u8();
  row->connected = (flags & kConnected) != 0;
  row->v5 = (flags & kSpeaks5) != 0;
  row->number = in.varint();
  row->expiry_s = read_u32(in);
  row->reader = in.varint();
  row->stamp = read_stamp(in);
  row->user = (flags & kSessionUser) != 0 ? std::string(in.sized()) : std::string();
  row->by_certificate = (flags & kSessionByCertificate) != 0;
  return in.done() && row->number != 0;
}

std::string encode(const SubscriptionRow& row) {
  const SubscriptionOptions& options = row.options;
  std::string out;
  put_u8(out, kGrammar);
  put_flags(out, options.qos | (options.no_local ? kNoLocal : 0) |
                     (options.retain_as_published ? kRetainAsPublished : 0) |
                     (static_cast<unsigned>(options.retain_handling) << 4) |
                     (row.retained_owed ? kRetainedOwed : 0));
  put_varint(out, options.identifier);
  return out;
}

bool decode(Bytes bytes, SubscriptionRow* row) {
  ByteReader in = open(bytes);
  const uint8_t flags = in.u8();
  SubscriptionOptions& options = row->options;
  options.qos = read_qos(in, flags);
  options.no_local = (flags & kNoLocal) != 0;
  options.retain_as_published = (flags & kRetainAsPublished) != 0;
  options.retain_handling = (flags >> 4) & 3;
  options.identifier = read_u32(in);
  row->retained_owed = (flags & kRetainedOwed) != 0;
  return in.done();
}

std::string encode(const RetainedRow& row) {
  std::string out;
  out.reserve(64 + row.publisher.size() + row.headers.size() + row.payload.size());
  put_u8(out, kGrammar);
  put_flags(out, row.qos | times_flags(row.expiry_s, row.event_us) | (row.user.empty() ? 0 : kUser) |
                     (row.by_certificate ? kByCertificate : 0));
  put_stamp(out, row.arrival);
  put_times(out, row.expiry_s, row.event_us);
  if (!row.user.empty()) put_sized(out, row.user);
  put_sized(out, row.publisher);
  put_sized(out, row.headers);
  out.append(row.payload);
  return out;
}

bool decode(Bytes bytes, RetainedRow* row) {
  ByteReader in = open(bytes);
  const uint8_t flags = in.u8();
  row->qos = read_qos(in, flags);
  row->arrival = read_stamp(in);
  read_times(in, flags, &row->expiry_s, &row->event_us);
  row->user = (flags & kUser) != 0 ? in.sized() : Bytes();
  row->by_certificate = (flags & kByCertificate) != 0;
  row->publisher = in.sized();
  row->headers = in.sized();
  row->payload = in.rest();
  return in.ok();
}

std::string encode(const WillRow& row) {
  std::string out;
  put_u8(out, kGrammar);
  put_flags(out, row.qos | times_flags(row.expiry_s, row.event_us) | (row.retain ? kWillRetain : 0) |
                     (row.user.empty() ? 0 : kUser) | (row.by_certificate ? kByCertificate : 0));
  put_varint(out, row.delay_s);
  put_times(out, row.expiry_s, row.event_us);
  if (!row.user.empty()) put_sized(out, row.user);
  put_sized(out, row.topic);
  put_sized(out, row.headers);
  out.append(row.payload);
  return out;
}

bool decode(Bytes bytes, WillRow* row) {
  ByteReader in = open(bytes);
  const uint8_t flags = in.u8();
  row->qos = read_qos(in, flags);
  row->retain = (flags & kWillRetain) != 0;
  row->delay_s = read_u32(in);
  read_times(in, flags, &row->expiry_s, &row->event_us);
  row->user = (flags & kUser) != 0 ? std::string(in.sized()) : std::string();
  row->by_certificate = (flags & kByCertificate) != 0;
  row->topic = std::string(in.sized());
  row->headers = std::string(in.sized());
  row->payload = std::string(in.rest());
  return in.ok() && !row->topic.empty();
}

std::string encode_inbound() { return std::string(1, static_cast<char>(kGrammar)); }

std::string encode(const Outbound& row, const Lease& lease) {
  std::string out;
  put_u8(out, kGrammar);
  put_flags(out, row.qos | (row.state == Outbound::State::kReleased ? kReleased : 0) |
                     (lease.reader != 0 ? kLeased : 0) | (lease.retain ? kLeaseRetain : 0));
  put_varint(out, row.position.value);
  put_varint(out, row.size_bytes);
  if (lease.reader != 0) {
    put_varint(out, lease.reader);
    put_varint(out, lease.identifier);
  }
  return out;
}

std::string encode_group(store::ReaderId reader) {
  std::string out;
  put_u8(out, kGrammar);
  put_varint(out, reader);
  return out;
}

bool decode_group(Bytes bytes, store::ReaderId* reader) {
  ByteReader in = open(bytes);
  *reader = in.varint();
  return in.done() && *reader != 0;
}

std::string owed_key(store::ReaderId reader, store::Position position) {
  std::string out;
  put_u64be(out, reader);
  put_u64be(out, position.value);
  return out;
}

bool decode_owed_key(Bytes key, store::ReaderId* reader, store::Position* position) {
  ByteReader in(key);
  *reader = in.u64be();
  position->value = in.u64be();
  return in.done();
}

std::string encode_owed(uint8_t qos) {
  std::string out;
  put_u8(out, kGrammar);
  put_u8(out, qos);
  return out;
}

bool decode_owed(Bytes bytes, uint8_t* qos) {
  ByteReader in = open(bytes);
  *qos = in.u8();
  return in.done() && (*qos == 1 || *qos == 2);
}

bool decode(Bytes bytes, Outbound* row, Lease* lease) {
  ByteReader in = open(bytes);
  const uint8_t flags = in.u8();
  row->qos = read_qos(in, flags);
  row->state = (flags & kReleased) != 0 ? Outbound::State::kReleased : Outbound::State::kSent;
  row->position.value = in.varint();
  row->size_bytes = read_u32(in);
  *lease = {};
  if ((flags & kLeased) == 0) return in.done();
  lease->reader = in.varint();
  lease->identifier = read_u32(in);
  lease->retain = (flags & kLeaseRetain) != 0;
  return in.done() && lease->reader != 0;
}

std::string encode_run(std::span<const Outbound> deliveries) {
  std::string out;
  out.reserve(16 + 6 * deliveries.size());
  put_u8(out, kGrammar);
  uint64_t position = 0;
  for (const Outbound& delivery : deliveries) {
    char raw[3 * kVarintBytesMax];
    char* at = write_varint(raw, delivery.packet_id);
    at = write_varint(at, delivery.position.value - position);
    at = write_varint(at, delivery.size_bytes);
    out.append(raw, static_cast<size_t>(at - raw));
    position = delivery.position.value;
  }
  return out;
}

bool decode_run(Bytes bytes, std::vector<Outbound>* deliveries) {
  deliveries->clear();
  ByteReader in = open(bytes);
  uint64_t position = 0;
  while (in.ok() && !in.empty()) {
    const uint64_t packet_id = in.varint();
    const uint64_t ahead = in.varint();
    if (packet_id == 0 || packet_id > UINT16_MAX || ahead == 0 || position + ahead < position) in.fail();
    Outbound delivery;
    delivery.packet_id = static_cast<uint16_t>(packet_id);
    delivery.position.value = position += ahead;
    delivery.size_bytes = read_u32(in);
    deliveries->push_back(delivery);
  }
  return in.done() && !deliveries->empty();
}

std::string session_prefix(uint64_t session_number) {
  std::string out;
  put_u64be(out, session_number);
  return out;
}

std::string subscription_key(uint64_t session_number, Bytes filter) {
  std::string out = session_prefix(session_number);
  out.append(filter);
  return out;
}

PacketKey::PacketKey(uint64_t session_number, uint16_t packet_id) {
  for (int i = 0; i < 8; ++i) raw_[i] = static_cast<char>(session_number >> (56 - 8 * i));
  raw_[8] = static_cast<char>(packet_id >> 8);
  raw_[9] = static_cast<char>(packet_id);
}

bool decode_packet_key(Bytes key, uint64_t* session_number, uint16_t* packet_id) {
  ByteReader in(key);
  *session_number = in.u64be();
  *packet_id = in.u16be();
  return in.done();
}

}  // namespace hf::broker
