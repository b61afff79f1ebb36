// A batch: records of one lane, grouped by stream, on the wire. This file is its codec alone;
// docs/formats/link.md says what a receiver makes of it.
//
//   batch    = format:u8 (1), flags:u8, body       flags bit 0: body is plain-size (varint) and a zstd frame
//   body     = section-count (varint), section ...
//   section  = incarnation:u64, name (sized), origin (sized), priority:u8, time-to-live (varint, s),
//              first (varint), last - first (varint),
//              run-count (varint), run ..., record ...
//   run      = distance (varint, from the end of the run before, or from `first`), count (varint), cause:u8
//   record   = flags:u8, topic, [clock], mono (svarint), wall (svarint), [event (svarint)],
//              [expiry (varint)], [headers (sized)], payload (sized)
//   topic    = number (varint) in the order of first appearance in the batch; a number one past the last is
//              followed by the new topic (sized)
//   clock    = quality:u8, boot (numbered like topics; a new one is followed by high:u64, low:u64)
//
// A section names every number from first to last: those in runs are absent, all others are its records, in
// order; the last is a record. So a record carries no number of its own. Its flags:
//   0-1 QoS, 2 retain, 3 may double, 4 event, 5 expiry, 6 headers, 7 clock as in the record before, of any
//   section.
// mono is the distance in nanoseconds from the record before (0 before the first); wall is the distance in
// microseconds less mono / 1000 (cut towards zero), which is nearly always 0; event is the distance from
// wall. All of it wraps modulo 2^64.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/record.h"

namespace hf::link {

// Limits of the decoder, and promises of the encoder's callers.
inline constexpr size_t kBatchPlainBytesMax = 4 << 20;
inline constexpr size_t kBatchRecordsMax = 16'384;
inline constexpr size_t kBatchSectionsMax = 1024;
inline constexpr size_t kBatchRunsMax = 16'384;

// Why numbers are absent: not routed to this peer, or one of store::GapCause.
inline constexpr uint8_t kNotRouted = 0;

struct AbsentRun {
  uint64_t first = 0;
  uint64_t count = 0;
  uint8_t cause = kNotRouted;
  bool operator==(const AbsentRun&) const = default;
};

struct BatchRecord {
  uint64_t sequence = 0;
  Bytes topic;
  Bytes headers;
  Bytes payload;
  uint8_t qos = 0;
  bool retain = false;
  bool may_double = false;
  store::Arrival arrival;
  std::optional<int64_t> event_us;
  std::optional<uint32_t> expiry_s;
  bool operator==(const BatchRecord&) const = default;
};

struct Section {
  store::StreamKey key;
  std::string origin;
  uint8_t priority = 5;
  uint32_t time_to_live_s = 0;
  uint64_t first = 0;
  uint64_t last = 0;
  std::vector<AbsentRun> absent;  // Ascending.
  std::vector<BatchRecord> records;
  bool operator==(const Section&) const = default;
};

// Whether these are properties that a message carries from its publisher; what belongs to one connection or one delivery may
// not be there.
bool headers_sound(Bytes headers);

class BatchCodec {
 public:
  BatchCodec();
  ~BatchCodec();
  BatchCodec(const BatchCodec&) = delete;
  BatchCodec& operator=(const BatchCodec&) = delete;

  // Replaces *out. `compress`: with zstd, where that makes it smaller. *plain_size: of the batch had it not
  // been.
  void encode(const std::vector<Section>& sections, bool compress, std::string* out, uint64_t* plain_size);
  // What is decoded borrows from `message` and from this codec, until the next decode.
  Result<std::vector<Section>> decode(Bytes message);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hf::link
