// A record that is larger than a batch, on its way in pieces. This file is the codec of $hf/chunk alone;
// docs/formats/link.md tells the story.
//
//   chunk    = format:u8 (1), kind:u8, body, crc:u32                      CRC-32C of all before
//   halves   = kind 0: count (varint), half ...                           what the receiver holds of records not whole
//   half     = key, number (varint), hash:u64, size (varint), held (varint)       ascending by key
//   piece    = kind 1: key, number (varint), hash:u64, size (varint), offset (varint), flags:u8,
//              [plain size (varint)], bytes                               flags bit 0: the bytes are a zstd frame
//   whole    = kind 2: key, number (varint), hash:u64, headers size (varint), batch
//   verdict  = kind 3: key, number (varint), reason:u8                    what became of a whole
//   given-up = kind 4: key, number (varint)                               nothing more of it comes
//   key      = incarnation:u64, name (sized)
//
// The bytes that travel in pieces are the record's headers and its payload, one behind the other: `size` of
// them. Everything else of the record stands in `whole`, a batch of one section with this one record, whose
// headers and payload are left empty there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/record.h"

namespace hf::link {

// Of one piece, decompressed.
inline constexpr size_t kPieceBytesMax = 256 << 10;
// Records not whole that one peer may have here.
inline constexpr size_t kHalvesMax = 16;
// What a piece takes besides its bytes, at most.
inline constexpr size_t kPieceHeadBytesMax = 400;

// How much there is of a record that is not whole.
struct Half {
  store::StreamKey key;
  uint64_t number = 0;
  uint64_t hash = 0;  // record_hash() of the whole.
  uint64_t size = 0;  // Of headers and payload.
  uint64_t held = 0;  // The first so many bytes.
  bool same_record(const Half& other) const {
    return number == other.number && hash == other.hash && size == other.size;
  }
  bool operator==(const Half&) const = default;
};

struct Chunk {
  enum class Kind : uint8_t { kHalves, kPiece, kWhole, kVerdict, kGivenUp };
  Kind kind = Kind::kHalves;
  std::vector<Half> halves;  // kHalves.
  Half of;      // The others: key and number; kPiece and kWhole hash; kPiece size. `held` is the offset.
  Bytes bytes;  // kPiece: what follows the offset. kWhole: the batch.
  uint64_t headers_size = 0;  // kWhole.
  uint8_t reason = 0;         // kVerdict: as of a PUBACK.
  bool operator==(const Chunk&) const = default;
};

class ChunkCodec {
 public:
  ChunkCodec();
  ~ChunkCodec();
  ChunkCodec(const ChunkCodec&) = delete;
  ChunkCodec& operator=(const ChunkCodec&) = delete;

  // Sorts halves. `compress`: a piece with zstd, where that makes it smaller.
  std::string encode(Chunk chunk, bool compress);
  // What is decoded borrows from `message` and from this codec, until the next decode.
  Result<Chunk> decode(Bytes message);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hf::link
