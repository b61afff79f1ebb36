// What a segment holds, without its records: the directory by which readers find their frames, and the rows
// it changed. Kept beside each sealed segment as a file of its own, derived from the frames and rebuilt from
// them when it is bad, so that start-up reads indexes, not data. The file repeats the rows: a rotten frame
// does not bring an older row back.
//
//     file    := magic:8 segment:u64 plain_size:u32 nonce:12 crc:u32 ciphertext tag:16
//     plain   := rewrite:u8 commit_first:u64 commit_last:u64 used:varint plain:varint wall_max:svarint
//                frames readers streams rows rotten:varint
//     frames  := count:varint (offset:varint size:varint commit_first:varint index_first:varint
//                commit_last:varint index_last:varint records:varint bytes:varint)*
//     readers := count:varint (reader:varint shares)*
//     streams := count:varint (stream:varint incarnation:u64 name:sized origin:sized priority:u8
//                time_to_live:varint first:varint last:varint shares)*
//     shares  := count:varint (frame:varint records:varint bytes:varint commit_last:varint
//                index_last:varint)*
//     rows    := count:varint (table:u8 erased:u8 commit:varint key:sized value:sized)*
//
// Deltas: offset, commit_first of frames, reader and frame against the one before; commit_last against the frame's
// commit_first.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "store/frame.h"
#include "store/segment.h"

namespace hf::store {

struct FrameEntry {
  uint64_t offset = 0;
  uint32_t size = 0;  // Head, ciphertext and tag.
  Position first;     // Records only; a frame without records has no entry.
  Position last;
  uint32_t records = 0;
  uint64_t bytes = 0;  // Record::size_bytes of them.
};

struct StreamUse {
  StreamDefinition definition;
  uint64_t first = 0;  // Sequence numbers.
  uint64_t last = 0;
  std::vector<Share> shares;  // Ascending.
};

// Which frames hold something for whom.
struct Directory {
  std::vector<FrameEntry> frames;
  std::map<ReaderId, std::vector<Share>> readers;
  std::map<StreamId, StreamUse> streams;

  uint64_t memory_bytes() const;
  // The first entry whose last record lies behind `after`.
  size_t frame_after(Position after) const;
};

struct IndexedRow {
  Table table{};
  bool erased = false;
  uint64_t commit = 0;
  std::string key;
  std::string value;
};

struct SegmentIndex {
  bool rewrite = false;
  uint64_t commit_first = 0;
  uint64_t commit_last = 0;
  uint64_t used_bytes = 0;   // Where the last frame ends.
  uint64_t plain_bytes = 0;  // Of all frames: what a dense copy would take at most.
  int64_t wall_max_us = INT64_MIN;
  uint32_t frames_rotten = 0;
  Directory directory;
  std::vector<IndexedRow> rows;

  // Adds a frame found at `offset`. Its rows are appended (later ones win).
  void add_frame(uint64_t offset, const FrameHead& head, const Frame& frame);
};

std::string encode_index(const SegmentIndex& index);
Result<SegmentIndex> decode_index(Bytes plain);

// The file's bytes, and back: kCorrupt if they are not whole, kForeign if of another segment.
std::string seal_index(const Keys& keys, uint64_t segment, const crypto::Nonce& nonce,
                       const SegmentIndex& index);
Result<SegmentIndex> open_index(const Keys& keys, uint64_t segment, Bytes bytes);

// Names what is missing between whole frames: the positions from behind the last whole frame before a bad place to the first
// whole frame behind it.
class GapFinder {
 public:
  // `bad` are the places of a scan; `lower` is the first position that the segment may hold.
  GapFinder(std::vector<uint64_t> bad, Position lower, int64_t wall_us)
      : bad_(std::move(bad)), expected_(lower), wall_us_(wall_us) {}

  // In file order; null: the frame turned out to be bad itself.
  void frame(uint64_t offset, const FrameHead& head, const Frame* frame);
  // `upper` is the last position that the segment may hold.
  std::vector<Gap> finish(Position upper);
  uint32_t count() const { return count_; }

 private:
  void name_until(Position last);

  const std::vector<uint64_t> bad_;
  size_t next_ = 0;    // In bad_.
  bool open_ = false;  // Something bad lies behind the last whole frame.
  Position expected_;
  const int64_t wall_us_;
  uint32_t count_ = 0;
  std::vector<Gap> gaps_;
};

// The index of a segment from its frames, which `scan` names; only those are taken.
struct RebuiltIndex {
  SegmentIndex index;
  std::vector<Gap> gaps;
};
RebuiltIndex rebuild_index(Disk& disk, const Keys& keys, uint64_t segment, bool rewrite,
                           const SegmentScan& scan, Position lower, Position upper, int64_t wall_us);

// Writes the file so that it is there whole or not at all, and syncs it (not the directory).
Result<> write_index_file(Disk& disk, const Keys& keys, uint64_t segment, Entropy& entropy,
                          const SegmentIndex& index);
Result<SegmentIndex> read_index_file(Disk& disk, const Keys& keys, uint64_t segment);

}  // namespace hf::store
