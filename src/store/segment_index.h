// What a segment holds, without its records: the directory by which readers find their frames, and the rows
// it changed. Kept beside each sealed segment as a file of its own, derived from the frames and rebuilt from
// them when it is bad, so that start-up reads indexes, not data. The file repeats the rows: a rotten frame
// does not bring an older row back.
//
//     file    := magic:8 segment:u64 plain_size:u32 nonce:12 crc:u32 ciphertext tag:16
//     plain   := rewrite:u8 commit_first:u64 commit_last:u64 used:varint wall_max:svarint
//                frames readers streams rows rotten:varint
//     frames  := count:varint (offset_delta:varint size:varint commit_first:varint index_first:varint
//     commit_last:varint
//                index_last:varint records:varint bytes:varint)*          commit_first is a delta,
//                commit_last to the first
//     readers := count:varint (reader_delta:varint shares:varint (frame_delta:varint count:varint
//     bytes:varint)*)* streams := count:varint (stream:varint incarnation:u64 name:sized origin:sized
//     priority:u8 time_to_live:varint
//                first:varint last:varint frames:varint frame_delta:varint*)*
//     rows    := count:varint (table:u8 erased:u8 commit:varint key:sized value:sized)*
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
  std::vector<uint32_t> frames;  // Entries that hold some of it, ascending.
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
  uint64_t used_bytes = 0;  // Where the last frame ends.
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

// Writes the file so that it is there whole or not at all, and syncs it (not the directory).
Result<> write_index_file(Disk& disk, const Keys& keys, uint64_t segment, Entropy& entropy,
                          const SegmentIndex& index);
Result<SegmentIndex> read_index_file(Disk& disk, const Keys& keys, uint64_t segment);

}  // namespace hf::store
