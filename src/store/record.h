// What the log holds: records in streams, named by position, with the audience that was decided at commit.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"

namespace hf::store {

// Where a record stands in the log: (commit number, index within the commit), packed so that positions
// compare as numbers. Never a byte offset; a rewrite moves bytes, not positions. The zero position lies
// before every record.
struct Position {
  static constexpr int kIndexBits = 20;
  uint64_t value = 0;

  static constexpr Position of(uint64_t commit, uint32_t index) { return {(commit << kIndexBits) | index}; }
  constexpr uint64_t commit() const { return value >> kIndexBits; }
  constexpr uint32_t index() const { return static_cast<uint32_t>(value & ((1u << kIndexBits) - 1)); }
  friend constexpr auto operator<=>(Position, Position) = default;
};

// Somebody who is owed records: a session, a share group, a priority of a link. Never used twice in a store.
using ReaderId = uint64_t;
// A stream's number within this store. Its name to the world is its StreamKey.
using StreamId = uint32_t;

// The name of a stream everywhere: which life of which store gave the numbers, and the stream's name there.
struct StreamKey {
  uint64_t incarnation = 0;
  std::string name;
  friend auto operator<=>(const StreamKey&, const StreamKey&) = default;
};

struct StreamOptions {
  uint8_t priority = 5;         // 0 first, 9 last.
  uint32_t time_to_live_s = 0;  // 0: for ever.
  // Path of node names from here to the store that numbered the stream, "ship-7/engine"; empty for a stream
  // of our own.
  std::string origin;
  bool operator==(const StreamOptions&) const = default;
};

// When and under which clock a device handed the record in, at the node that numbered it; carried unchanged
// over links.
struct Arrival {
  int64_t wall_us = 0;
  uint64_t mono_ns = 0;
  ClockQuality quality = ClockQuality::kUnknown;
  BootId boot;
  bool operator==(const Arrival&) const = default;
};

inline Arrival arrival_of(const Now& now) { return {now.wall_us, now.mono.ns, now.quality, now.boot}; }

// One reader of an audience with what its subscriptions granted when the record was committed: a later
// SUBSCRIBE changes later records only. Overlapping subscriptions are one member: the highest QoS and every
// identifier.
struct Member {
  ReaderId reader = 0;
  uint8_t qos = 2;  // The most this reader is to get.
  bool retain_as_published = false;
  std::vector<uint32_t> subscription_identifiers;
  bool operator==(const Member&) const = default;
};

// The canonical bytes of an audience: members by ascending reader. Equal audiences have equal bytes, so that
// a frame holds each once.
std::string encode_audience(std::vector<Member> members);
// False if `bytes` is not an audience.
bool decode_audience(Bytes bytes, std::vector<Member>* members);
// Calls visit(const Member&) until it returns false. The bytes are an audience; a broken one ends the visit.
template <typename Visit>
void for_each_member(Bytes audience, Visit&& visit);

// A record on its way into the log. All bytes are copied by the append.
struct NewRecord {
  StreamId stream = 0;
  // 0: the stream gives the next number. Else (a received stream) the number its origin gave, above the last
  // one here.
  uint64_t sequence = 0;
  Bytes topic;
  Bytes headers;  // Encoded MQTT 5 properties that are carried through.
  Bytes payload;
  uint8_t qos = 0;      // As published.
  bool retain = false;  // As published.
  bool may_double =
      false;  // A restored store sends it again and cannot know whether it arrived (docs/formats/link.md).
  Arrival arrival;
  std::optional<int64_t> event_us;   // The device's own time, microseconds since 1970 UTC.
  std::optional<uint32_t> expiry_s;  // Message expiry interval, from arrival.
  Bytes audience;                    // encode_audience(); may be empty.
};

// A record as read: views into its frame, which has it.
struct Record {
  // Written out because a defaulted one would fill it all with zeros first, for every record that is read.
  Record() {}

  Position position;
  StreamId stream = 0;
  uint64_t sequence = 0;
  Bytes topic;
  Bytes headers;
  Bytes payload;
  uint8_t qos = 0;
  bool retain = false;
  bool may_double = false;
  Arrival arrival;
  std::optional<int64_t> event_us;
  std::optional<uint32_t> expiry_s;
  Bytes audience;

  // What the record costs in quotas and backlogs: its own bytes, not the frame's.
  uint64_t size_bytes() const { return topic.size() + headers.size() + payload.size(); }
};

// Whether its message expiry, or the stream's time to live (0: none), has passed. Within one boot monotonic
// time decides; across boots the wall clock does, and a clock of unknown quality never expires anything (keep
// rather than lose).
bool expired(const Record& record, uint32_t time_to_live_s, const Now& now);
// How long it has until then, by the clocks of now; nothing if nobody can say, or never.
std::optional<Duration> time_left(const Record& record, uint32_t time_to_live_s, const Now& now);

// What is no longer there, and why. Reader 0: for everybody.
enum class GapCause : uint8_t {
  kRot = 1,       // Bad bytes below what was durable: quarantined.
  kTailCut,       // The last commit was not whole after a crash.
  kExpired,       // Message expiry or time to live.
  kDropped,       // Given up: for want of space, for its size, or by the operator.
  kSessionEnded,  // The session it was for ended or expired.
  kRewound,       // A parent lost what it had receipted, and it is no longer here.
};
inline constexpr size_t kGapCauseCount = 6;
const char* gap_cause_name(GapCause cause);

struct Gap {
  StreamId stream = 0;  // 0: unknown, then the range is of positions.
  uint64_t first = 0;   // Sequence numbers, inclusive.
  uint64_t last = 0;
  GapCause cause = GapCause::kRot;
  ReaderId reader = 0;
  int64_t wall_us = 0;  // When it was noticed. 0, in add_gap(): now.
  uint64_t count =
      0;  // How many records there were, where the range does not say it. 0: it does, or nobody knows.
};

// Of gap records of one cause since the store was made.
struct GapSum {
  uint64_t gaps = 0;
  uint64_t records = 0;  // As far as it is known.
};

template <typename Visit>
void for_each_member(Bytes audience, Visit&& visit) {
  ByteReader in(audience);
  Member member;
  uint64_t last = 0;
  while (!in.empty()) {
    last += in.varint();
    member.reader = last;
    const uint64_t flags = in.varint();
    member.qos = flags & 3;
    member.retain_as_published = (flags & 4) != 0;
    member.subscription_identifiers.clear();
    for (uint64_t i = flags >> 3; i > 0 && in.ok(); --i) {
      member.subscription_identifiers.push_back(static_cast<uint32_t>(in.varint()));
    }
    if (!in.ok() || !visit(static_cast<const Member&>(member))) return;
  }
}

}  // namespace hf::store
