#include "link/batch.h"

#include <zstd.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/assert.h"
#include "link/rows.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

namespace hf::link {

namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kFlagZstd = 1;
constexpr int kZstdLevel = 1;
constexpr size_t kCompressBytesMin = 64;  // Below, the frame costs more than it saves.

constexpr uint8_t kQosBits = 3;
constexpr uint8_t kRetain = 1 << 2;
constexpr uint8_t kMayDouble = 1 << 3;
constexpr uint8_t kEvent = 1 << 4;
constexpr uint8_t kExpiry = 1 << 5;
constexpr uint8_t kHeaders = 1 << 6;
constexpr uint8_t kSameClock = 1 << 7;

constexpr size_t kRecordBytesMin = 5;
constexpr uint64_t kSequenceMax = uint64_t{1} << 62;

// What one record leaves to the next.
struct Clock {
  bool known = false;
  uint64_t wall_us = 0;
  uint64_t mono_ns = 0;
  ClockQuality quality = ClockQuality::kUnknown;
  uint64_t boot = 0;  // Number within the batch.
};

// Signed, cut towards zero, on both sides alike.
uint64_t expected_wall(uint64_t mono_distance) {
  return static_cast<uint64_t>(static_cast<int64_t>(mono_distance) / 1000);
}

bool topic_sound(Bytes topic) { return mqtt::topic_name_valid(topic) && !mqtt::reserved_to_nodes(topic); }

class Encoder {
 public:
  explicit Encoder(std::string& out) : out_(out) {}

  void sections(const std::vector<Section>& sections) {
    put_varint(out_, sections.size());
    for (const Section& section : sections) this->section(section);
  }

 private:
  void section(const Section& section) {
    put_u64(out_, section.key.incarnation);
    put_sized(out_, section.key.name);
    put_sized(out_, section.origin);
    put_u8(out_, section.priority);
    put_varint(out_, section.time_to_live_s);
    put_varint(out_, section.first);
    put_varint(out_, section.last - section.first);
    put_varint(out_, section.absent.size());
    uint64_t at = section.first;
    for (const AbsentRun& run : section.absent) {
      put_varint(out_, run.first - at);
      put_varint(out_, run.count);
      put_u8(out_, run.cause);
      at = run.first + run.count;
    }
    for (const BatchRecord& record : section.records) this->record(record);
  }

  void record(const BatchRecord& record) {
    const store::Arrival& arrival = record.arrival;
    const bool same_clock =
        clock_.known && clock_.quality == arrival.quality && boots_[clock_.boot] == arrival.boot;
    put_u8(out_, static_cast<uint8_t>(
                     record.qos | (record.retain ? kRetain : 0) | (record.may_double ? kMayDouble : 0) |
                     (record.event_us ? kEvent : 0) | (record.expiry_s ? kExpiry : 0) |
                     (record.headers.empty() ? 0 : kHeaders) | (same_clock ? kSameClock : 0)));
    topic(record.topic);
    if (!same_clock) {
      put_u8(out_, static_cast<uint8_t>(arrival.quality));
      boot(arrival.boot);
      clock_.known = true;
      clock_.quality = arrival.quality;
    }
    const auto wall = static_cast<uint64_t>(arrival.wall_us);
    const uint64_t mono_distance = arrival.mono_ns - clock_.mono_ns;
    put_svarint(out_, static_cast<int64_t>(mono_distance));
    put_svarint(out_, static_cast<int64_t>(wall - clock_.wall_us - expected_wall(mono_distance)));
    clock_.mono_ns = arrival.mono_ns;
    clock_.wall_us = wall;
    if (record.event_us)
      put_svarint(out_, static_cast<int64_t>(static_cast<uint64_t>(*record.event_us) - wall));
    if (record.expiry_s) put_varint(out_, *record.expiry_s);
    if (!record.headers.empty()) put_sized(out_, record.headers);
    put_sized(out_, record.payload);
  }

  void topic(Bytes topic) {
    if (topic == topic_last_) return put_varint(out_, topic_number_last_);
    const auto [found, fresh] = topics_.try_emplace(topic, topics_.size());
    put_varint(out_, found->second);
    if (fresh) put_sized(out_, topic);
    topic_last_ = topic;
    topic_number_last_ = found->second;
  }

  void boot(const BootId& boot) {
    size_t number = 0;
    while (number < boots_.size() && boots_[number] != boot) ++number;
    put_varint(out_, number);
    if (number == boots_.size()) {
      put_u64(out_, boot.high);
      put_u64(out_, boot.low);
      boots_.push_back(boot);
    }
    clock_.boot = number;
  }

  std::string& out_;
  std::unordered_map<Bytes, size_t> topics_;  // Never iterated.
  Bytes topic_last_;                          // A topic is never empty, so this starts as none.
  size_t topic_number_last_ = 0;
  std::vector<BootId> boots_;
  Clock clock_;
};

class Decoder {
 public:
  explicit Decoder(Bytes body) : in_(body) {}

  Result<std::vector<Section>> sections() {
    const uint64_t count = in_.varint();
    if (count > kBatchSectionsMax) return fail(Code::kTooLarge, "a batch with too many sections", count);
    std::vector<Section> sections;
    for (uint64_t i = 0; i < count && in_.ok(); ++i) {
      Section& section = sections.emplace_back();
      HF_TRY(this->section(section));
      if (!keys_.insert(section.key).second)
        return fail(Code::kInvalid, "a batch with two sections of one stream");
    }
    if (!in_.ok()) return fail(Code::kTruncated, "a batch ends early");
    if (!in_.done()) return fail(Code::kInvalid, "a batch is followed by something", in_.rest().size());
    return sections;
  }

 private:
  Result<> section(Section& section) {
    section.key.incarnation = in_.u64();
    section.key.name = in_.sized();
    section.origin = in_.sized();
    section.priority = in_.u8();
    const uint64_t time_to_live_s = in_.varint();
    section.first = in_.varint();
    const uint64_t distance = in_.varint();
    const uint64_t run_count = in_.varint();
    if (!in_.ok()) return fail(Code::kTruncated, "a section ends early");
    if (section.key.name.size() > kStreamNameBytesMax)
      return fail(Code::kInvalid, "a stream name that is too long");
    if (!origin_valid(section.origin, true)) return fail(Code::kInvalid, "a section with a bad origin");
    if (section.priority > 9) return fail(Code::kInvalid, "a section with a bad priority", section.priority);
    if (time_to_live_s > UINT32_MAX)
      return fail(Code::kInvalid, "a section with a bad time to live", time_to_live_s);
    section.time_to_live_s = static_cast<uint32_t>(time_to_live_s);
    if (section.first == 0 || section.first > kSequenceMax || distance > kSequenceMax) {
      return fail(Code::kInvalid, "a section with a bad range", section.first);
    }
    section.last = section.first + distance;
    runs_left_ -= std::min<uint64_t>(runs_left_, run_count);
    if (runs_left_ == 0 && run_count > 0)
      return fail(Code::kTooLarge, "a batch with too many absent runs", run_count);

    uint64_t at = section.first;
    uint64_t absent = 0;
    for (uint64_t i = 0; i < run_count; ++i) {
      const uint64_t skip = in_.varint();
      AbsentRun run;
      run.count = in_.varint();
      run.cause = in_.u8();
      if (!in_.ok()) return fail(Code::kTruncated, "a section ends early");
      // The last number is a record, so that its hash can stand for all before it.
      if (skip > section.last - at || run.count == 0 || run.count > section.last - at - skip) {
        return fail(Code::kInvalid, "absent numbers outside of their section");
      }
      if (run.cause > static_cast<uint8_t>(store::GapCause::kRewound)) {
        return fail(Code::kInvalid, "absent numbers of an unknown cause", run.cause);
      }
      run.first = at + skip;
      at = run.first + run.count;
      absent += run.count;
      section.absent.push_back(run);
    }

    const uint64_t count = section.last - section.first + 1 - absent;
    if (count > records_left_) return fail(Code::kTooLarge, "a batch with too many records", count);
    if (count > in_.rest().size() / kRecordBytesMin) return fail(Code::kTruncated, "a section ends early");
    records_left_ -= count;
    section.records.reserve(count);
    uint64_t sequence = section.first;
    size_t run = 0;
    for (uint64_t i = 0; i < count; ++i, ++sequence) {
      while (run < section.absent.size() && section.absent[run].first == sequence) {
        sequence += section.absent[run++].count;
      }
      BatchRecord& record = section.records.emplace_back();
      record.sequence = sequence;
      HF_TRY(this->record(record));
    }
    return {};
  }

  Result<> record(BatchRecord& record) {
    const uint8_t flags = in_.u8();
    record.qos = flags & kQosBits;
    record.retain = (flags & kRetain) != 0;
    record.may_double = (flags & kMayDouble) != 0;
    HF_TRY(topic(record));
    if ((flags & kSameClock) == 0) {
      HF_TRY(clock());
    } else if (!clock_.known) {
      return fail(Code::kInvalid, "a record without a clock");
    }
    const auto mono_distance = static_cast<uint64_t>(in_.svarint());
    clock_.mono_ns += mono_distance;
    clock_.wall_us += static_cast<uint64_t>(in_.svarint()) + expected_wall(mono_distance);
    record.arrival = {static_cast<int64_t>(clock_.wall_us), clock_.mono_ns, clock_.quality,
                      boots_[clock_.boot]};
    if ((flags & kEvent) != 0) {
      record.event_us = static_cast<int64_t>(clock_.wall_us + static_cast<uint64_t>(in_.svarint()));
    }
    if ((flags & kExpiry) != 0) {
      const uint64_t expiry_s = in_.varint();
      if (expiry_s > UINT32_MAX) return fail(Code::kInvalid, "a record with a bad expiry", expiry_s);
      record.expiry_s = static_cast<uint32_t>(expiry_s);
    }
    if ((flags & kHeaders) != 0) record.headers = in_.sized();
    record.payload = in_.sized();
    if (!in_.ok()) return fail(Code::kTruncated, "a record ends early");
    if (record.qos > 2) return fail(Code::kInvalid, "a record with a bad QoS");
    if ((flags & kHeaders) != 0 && record.headers != headers_last_) {
      if (record.headers.empty() || !headers_sound(record.headers))
        return fail(Code::kInvalid, "a record with bad headers");
      headers_last_ = record.headers;
    }
    return {};
  }

  Result<> topic(BatchRecord& record) {
    const uint64_t number = in_.varint();
    if (number == topics_.size()) {
      const Bytes topic = in_.sized();
      if (!in_.ok()) return fail(Code::kTruncated, "a record ends early");
      if (!topic_sound(topic)) return fail(Code::kInvalid, "a record with a bad topic");
      topics_.push_back(topic);
    }
    if (!in_.ok()) return fail(Code::kTruncated, "a record ends early");
    if (number >= topics_.size())
      return fail(Code::kInvalid, "a record with an unknown topic number", number);
    record.topic = topics_[number];
    return {};
  }

  Result<> clock() {
    const uint8_t quality = in_.u8();
    const uint64_t number = in_.varint();
    if (in_.ok() && number == boots_.size()) {
      const uint64_t high = in_.u64();
      boots_.push_back({high, in_.u64()});
    }
    if (!in_.ok()) return fail(Code::kTruncated, "a record ends early");
    if (quality > static_cast<uint8_t>(ClockQuality::kGnss))
      return fail(Code::kInvalid, "a record with a bad clock quality");
    if (number >= boots_.size()) return fail(Code::kInvalid, "a record with an unknown boot number", number);
    clock_.known = true;
    clock_.quality = static_cast<ClockQuality>(quality);
    clock_.boot = number;
    return {};
  }

  ByteReader in_;
  uint64_t records_left_ = kBatchRecordsMax;
  uint64_t runs_left_ = kBatchRunsMax;
  std::vector<Bytes> topics_;
  std::vector<BootId> boots_;
  std::set<store::StreamKey> keys_;
  Bytes headers_last_;
  Clock clock_;
};

}  // namespace

bool headers_sound(Bytes headers) {
  mqtt::Properties properties;
  mqtt::DecodeError error;
  return mqtt::decode_publish_properties(headers, &properties, &error) && !properties.topic_alias &&
         properties.subscription_identifiers.empty();
}

struct BatchCodec::State {
  ZSTD_CCtx* compressor = nullptr;
  ZSTD_DCtx* decompressor = nullptr;
  std::string plain;
};

BatchCodec::BatchCodec() : state_(std::make_unique<State>()) {}

BatchCodec::~BatchCodec() {
  ZSTD_freeCCtx(state_->compressor);
  ZSTD_freeDCtx(state_->decompressor);
}

void BatchCodec::encode(const std::vector<Section>& sections, bool compress, std::string* out,
                        uint64_t* plain_size) {
  out->clear();
  put_u8(*out, kFormat);
  put_u8(*out, 0);
  const size_t head = out->size();
  Encoder(*out).sections(sections);
  *plain_size = out->size();
  const size_t body = out->size() - head;
  if (!compress || body < kCompressBytesMin) return;

  if (state_->compressor == nullptr) state_->compressor = ZSTD_createCCtx();
  if (state_->compressor == nullptr) return;
  std::string& packed = state_->plain;
  packed.clear();
  put_u8(packed, kFormat);
  put_u8(packed, kFlagZstd);
  put_varint(packed, body);
  const size_t packed_head = packed.size();
  packed.resize(packed_head + body);  // No room for what would not be smaller.
  const size_t size = ZSTD_compressCCtx(state_->compressor, packed.data() + packed_head, body,
                                        out->data() + head, body, kZstdLevel);
  if (ZSTD_isError(size) != 0 || packed_head + size >= out->size()) return;
  packed.resize(packed_head + size);
  std::swap(*out, packed);
}

Result<std::vector<Section>> BatchCodec::decode(Bytes message) {
  ByteReader in(message);
  const uint8_t format = in.u8();
  const uint8_t flags = in.u8();
  if (!in.ok()) return fail(Code::kTruncated, "a batch ends early");
  if (format != kFormat) return fail(Code::kUnsupported, "a batch of an unknown format", format);
  if ((flags & ~kFlagZstd) != 0) return fail(Code::kUnsupported, "a batch with unknown flags", flags);
  if ((flags & kFlagZstd) == 0) {
    if (in.rest().size() > kBatchPlainBytesMax)
      return fail(Code::kTooLarge, "a batch is too large", in.rest().size());
    return Decoder(in.rest()).sections();
  }

  const uint64_t plain_size = in.varint();
  if (!in.ok()) return fail(Code::kTruncated, "a batch ends early");
  if (plain_size > kBatchPlainBytesMax) return fail(Code::kTooLarge, "a batch is too large", plain_size);
  if (state_->decompressor == nullptr) state_->decompressor = ZSTD_createDCtx();
  if (state_->decompressor == nullptr) return fail(Code::kBusy, "no memory to decompress a batch");
  state_->plain.resize(plain_size);
  const size_t size = ZSTD_decompressDCtx(state_->decompressor, state_->plain.data(), plain_size,
                                          in.rest().data(), in.rest().size());
  if (ZSTD_isError(size) != 0 || size != plain_size)
    return fail(Code::kCorrupt, "a batch that does not decompress");
  return Decoder(state_->plain).sections();
}

}  // namespace hf::link
