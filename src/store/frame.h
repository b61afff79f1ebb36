// The plaintext of a frame: what a commit writes, and how it is read again. A frame is self-contained: every
// topic, stream, audience and boot that its records name is defined in it before. The grammar:
//
//     frame    := op*
//     op       := 0x01 topic                                       defines the next topic number (from 0)
//               | 0x02 stream                                      defines the next stream number
//               | 0x03 audience                                    defines the next audience number (from 1;
//               0 is nobody) | 0x04 high:u64 low:u64                            defines the next boot number
//               | 0x05 commit:varint index:varint                  the next record's position, where it is
//               not one further | 0x06 record | 0x07 table:u8 key:sized value:sized              a row is put
//               | 0x08 table:u8 key:sized                          a row is erased
//     topic    := bytes:sized
//     stream   := id:varint incarnation:u64 name:sized origin:sized priority:u8 time_to_live:varint
//     audience := bytes:sized                                      (record.h, encode_audience)
//     record   := flags:u8 stream:varint topic:varint audience:varint boot:varint quality:u8 sequence:svarint
//                 wall:svarint mono:svarint [event:svarint] [expiry:varint] [headers:sized] payload:sized
//
// flags: bits 0-1 QoS, 2 retain, 3 may double, 4 event time, 5 expiry, 6 headers. Numbers are deltas:
// sequence against the stream's previous record in the frame (else 0), wall and mono against the previous
// record (else 0), event against wall. docs/formats/store.md says the same for strangers; frame_test.cc holds
// golden bytes.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/record.h"
#include "store/table.h"

namespace hf::store {

// The size a frame grows to before the next one begins: large enough for AES-GCM to be cheap, small enough to
// read for one record.
inline constexpr size_t kFramePlainBytes = 16 * 1024;

// What one frame holds of a stream, or for a reader.
struct Share {
  uint32_t frame = 0;  // Number of the entry in the segment's directory.
  uint32_t count = 0;
  uint64_t bytes = 0;
  Position last;  // Of the last such record: others may follow it in the frame.
};

// Builds one frame's plaintext.
class FrameBuilder {
 public:
  explicit FrameBuilder(Position first) : next_(first) {}

  // `stream` says what record.stream is; record.sequence is set. The record stands at `position`.
  void add(Position position, const NewRecord& record, const StreamKey& key, const StreamOptions& options);
  void put(Table table, Bytes key, Bytes value);
  void erase(Table table, Bytes key);

  size_t size() const { return plain_.size(); }
  uint32_t record_count() const { return record_count_; }
  Position first() const { return first_; }
  Position last() const { return last_; }
  uint64_t record_bytes() const { return record_bytes_; }
  int64_t wall_max_us() const { return wall_max_us_; }

  // What each reader is owed here, by ascending reader; `frame` is 0.
  std::map<ReaderId, Share> shares() const;
  struct StreamUse {
    uint64_t first = 0;  // Sequence numbers.
    uint64_t last = 0;
    Share share;
  };
  // What each stream has here; `frame` is 0.
  const std::map<StreamId, StreamUse>& streams() const { return stream_use_; }

  // Without the room that was left for more: it stays in the cache.
  std::string take() {
    if (plain_.size() < plain_.capacity() / 4 * 3) plain_.shrink_to_fit();
    return std::move(plain_);
  }

 private:
  struct StreamNumber {
    StreamId id;
    uint64_t sequence_last = 0;
  };
  struct AudienceUse {
    std::string bytes;
    uint32_t count = 0;
    uint64_t size = 0;
    Position last;
  };

  uint32_t topic_number(Bytes topic);
  uint32_t stream_number(StreamId id, const StreamKey& key, const StreamOptions& options);
  uint32_t audience_number(Bytes audience);
  uint32_t boot_number(const BootId& boot);

  std::string plain_;
  Position next_;  // Where the next record stands unless 0x05 says otherwise.
  Position first_;
  Position last_;
  uint32_t record_count_ = 0;
  uint64_t record_bytes_ = 0;
  int64_t wall_max_us_ = INT64_MIN;
  int64_t wall_last_us_ = 0;
  uint64_t mono_last_ns_ = 0;
  std::map<std::string, uint32_t, std::less<>> topics_;
  Bytes topic_last_;  // The key in topics_ that was used last: runs of one topic skip the look-up.
  uint32_t topic_last_number_ = 0;
  std::vector<StreamNumber> streams_;
  std::map<StreamId, StreamUse> stream_use_;
  std::vector<AudienceUse> audiences_;
  std::map<std::string, uint32_t, std::less<>> audience_numbers_;
  uint32_t audience_last_ = 0;
  std::vector<BootId> boots_;
};

struct RowOp {
  Table table{};
  bool erased = false;
  Bytes key;
  Bytes value;
};

struct StreamDefinition {
  StreamId id = 0;
  StreamKey key;
  StreamOptions options;
};

// A frame's plaintext and, once parsed, its records. Immutable and shared: a record's bytes are views into
// it.
class Frame {
 public:
  // kCorrupt if `plain` breaks the grammar. `first` is the position of the first record without an 0x05
  // before it.
  static Result<std::shared_ptr<const Frame>> parse(std::string plain, Position first);
  // The plaintext again, of a frame that nobody else holds.
  static std::string unparse(const std::shared_ptr<const Frame>& frame);

  const std::vector<Record>& records() const { return records_; }
  const std::vector<RowOp>& rows() const { return rows_; }
  const std::vector<StreamDefinition>& streams() const { return streams_; }
  // For the cache's budget.
  uint64_t memory_bytes() const;
  // The first record behind `after`, or records().size().
  size_t upper_bound(Position after) const;

 private:
  std::string plain_;
  std::vector<Record> records_;
  std::vector<RowOp> rows_;
  std::vector<StreamDefinition> streams_;
};

}  // namespace hf::store
