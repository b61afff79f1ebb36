// A segment file: two copies of a header, then frames. Built, sealed, opened and scanned here; what the
// frames mean is frame.h's matter, what a whole log means is recovery's.
//
//     segment := header (4 KiB) header (4 KiB) frame*
//     header  := magic:8 format:u16 flags:u16 store:u64 segment:u64 epoch:u32 check:16 count:u16
//                replaced:u64[count] crc:u32
//     frame   := head:64 ciphertext[plain_size] tag:16, at a multiple of 4096 (ingest) or 64 (rewrite)
//     head    := magic:u32 kind:u8 flags:u8 index:u16 count:u16 zero:u16 frame:u32 plain_size:u32 segment:u64
//                commit:u64 first_index:u32 durable:u64 nonce:12 crc:u32
//
// A frame is whole if and only if: its head's magic and CRC hold; head.segment is this segment; ciphertext
// and tag lie within the file; and the tag holds under the segment's key with head[0..60), the store id and
// the frame's own offset as associated data, so that a frame moved or copied from elsewhere is not whole.
// `durable` is the last commit that was known durable when the frame was written: what is bad at or before it
// is rot, not a torn write.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "store/keys.h"

namespace hf::store {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kSegmentHeaderBytes = 2 * kPageBytes;
inline constexpr size_t kFrameHeadBytes = 64;
inline constexpr uint64_t kFrameOverheadBytes = kFrameHeadBytes + crypto::kTagBytes;
inline constexpr uint64_t kRewriteAlignment = 64;
// A segment cannot replace more than fit into its header.
inline constexpr size_t kReplacedMax = 400;

std::string segment_name(uint64_t segment);  // "000000000000002a.seg"
std::string index_name(uint64_t segment);    // "000000000000002a.idx"
// The number of a "....seg" or "....idx" name; false for any other name.
bool parse_segment_name(const std::string& name, uint64_t* segment, bool* index);

struct SegmentHeader {
  bool rewrite = false;
  uint64_t store_id = 0;
  uint64_t segment = 0;
  uint32_t epoch = 1;
  std::string check;               // Keys::segment_check.
  std::vector<uint64_t> replaced;  // A rewrite: the segments whose records it holds.
};
// Both copies.
std::string encode_segment_header(const SegmentHeader& header);
// From the first 8 KiB: the first whole copy. kCorrupt if none is, kUnsupported for a newer format.
Result<SegmentHeader> decode_segment_header(Bytes bytes);

enum class FrameKind : uint8_t {
  kCommit = 1,
  kRewrite = 2,     // Records moved here from older segments.
  kRewriteEnd = 3,  // The rewrite is whole.
};

struct FrameHead {
  FrameKind kind = FrameKind::kCommit;
  uint16_t index = 0;  // Of the frame within its commit.
  uint16_t count = 1;  // Frames of the commit.
  uint32_t frame = 0;  // Number of the frame in its segment.
  uint32_t plain_size = 0;
  uint64_t segment = 0;
  uint64_t commit = 0;
  uint32_t first_index = 0;  // Record index of the frame's first record.
  uint64_t durable = 0;
  crypto::Nonce nonce{};

  uint64_t file_bytes() const { return kFrameOverheadBytes + plain_size; }
};

inline uint64_t align_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

// Appends head, ciphertext and tag to *out. The frame will stand at `offset` of the file.
void seal_frame(crypto::Aead& aead, uint64_t store_id, uint64_t offset, const FrameHead& head, Bytes plain,
                std::string* out);
// The head at the front of `bytes`: kTruncated, kCorrupt.
Result<FrameHead> decode_frame_head(Bytes bytes);
// Checks and decrypts a frame that starts at the front of `bytes` and stands at `offset`. kForeign: of
// another segment.
Result<std::string> open_frame(crypto::Aead& aead, uint64_t store_id, uint64_t segment, uint64_t offset,
                               Bytes bytes, FrameHead* head);

// What a scan finds, without the frames' content: that is read again by visit_frames(), one frame at a time.
struct SegmentScan {
  struct Found {
    uint64_t offset = 0;
    FrameHead head;
  };
  std::vector<Found> frames;  // Whole ones, in file order.
  std::vector<uint64_t>
      bad;  // Where something begins that is not zero and not a whole frame, or cannot be read.
  uint64_t file_size = 0;
};

// Looks at every place where a frame may stand, whatever the bytes are. Fails only if the file cannot be opened at all; what
// the disk does not give counts as bad.
Result<SegmentScan> scan_segment(Disk& disk, const Keys& keys, uint64_t segment, uint64_t alignment);

// Reads and decrypts the frames of a scan again, in order. visit(found, plain): an error where the frame is no longer whole.
void visit_frames(Disk& disk, const Keys& keys, uint64_t segment, const SegmentScan& scan,
                  const std::function<void(const SegmentScan::Found&, Result<std::string>)>& visit);

}  // namespace hf::store
