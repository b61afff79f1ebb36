#include "link/chunk.h"

#include <zstd.h>

#include <algorithm>

#include "base/crc32c.h"
#include "link/rows.h"

namespace hf::link {

namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kFlagZstd = 1;
constexpr int kZstdLevel = 1;
constexpr size_t kCompressBytesMin = 64;  // Below, the frame costs more than it saves.
constexpr size_t kCrcBytes = 4;
constexpr uint64_t kNumberMax = uint64_t{1} << 62;
constexpr uint64_t kSizeMax = uint64_t{1}
                              << 40;  // Any record of any store; what this one takes it says itself.

void put_key(std::string& out, const Half& half) {
  put_u64(out, half.key.incarnation);
  put_sized(out, half.key.name);
  put_varint(out, half.number);
}

// Key and number; false if they are unsound. Whether they are there at all is the cursor's to know.
bool read_key(ByteReader& in, Half* half) {
  half->key.incarnation = in.u64();
  const Bytes name = in.sized();
  half->number = in.varint();
  half->key.name = name.substr(0, kStreamNameBytesMax + 1);
  return !in.ok() || (name.size() <= kStreamNameBytesMax && half->number > 0 && half->number <= kNumberMax);
}

}  // namespace

struct ChunkCodec::State {
  ZSTD_CCtx* compressor = nullptr;
  ZSTD_DCtx* decompressor = nullptr;
  std::string plain;
};

ChunkCodec::ChunkCodec() : state_(std::make_unique<State>()) {}

ChunkCodec::~ChunkCodec() {
  ZSTD_freeCCtx(state_->compressor);
  ZSTD_freeDCtx(state_->decompressor);
}

std::string ChunkCodec::encode(Chunk chunk, bool compress) {
  std::string out;
  out.reserve(kPieceHeadBytesMax + chunk.bytes.size());
  put_u8(out, kFormat);
  put_u8(out, static_cast<uint8_t>(chunk.kind));
  if (chunk.kind != Chunk::Kind::kHalves) put_key(out, chunk.of);
  switch (chunk.kind) {
    case Chunk::Kind::kHalves:
      std::sort(chunk.halves.begin(), chunk.halves.end(),
                [](const Half& a, const Half& b) { return a.key < b.key; });
      put_varint(out, chunk.halves.size());
      for (const Half& half : chunk.halves) {
        put_key(out, half);
        put_u64(out, half.hash);
        put_varint(out, half.size);
        put_varint(out, half.held);
      }
      break;
    case Chunk::Kind::kPiece: {
      put_u64(out, chunk.of.hash);
      put_varint(out, chunk.of.size);
      put_varint(out, chunk.of.held);
      const size_t flags = out.size();
      put_u8(out, 0);
      if (compress && chunk.bytes.size() >= kCompressBytesMin) {
        if (state_->compressor == nullptr) state_->compressor = ZSTD_createCCtx();
        std::string& packed = state_->plain;
        packed.resize(chunk.bytes.size());  // No room for what would not be smaller.
        const size_t size = state_->compressor == nullptr
                                ? packed.size()
                                : ZSTD_compressCCtx(state_->compressor, packed.data(),
                                                    packed.size() - varint_size(packed.size()),
                                                    chunk.bytes.data(), chunk.bytes.size(), kZstdLevel);
        if (state_->compressor != nullptr && ZSTD_isError(size) == 0) {
          out[flags] = static_cast<char>(kFlagZstd);
          put_varint(out, chunk.bytes.size());
          out.append(packed, 0, size);
          break;
        }
      }
      out.append(chunk.bytes);
      break;
    }
    case Chunk::Kind::kWhole:
      put_u64(out, chunk.of.hash);
      put_varint(out, chunk.headers_size);
      out.append(chunk.bytes);
      break;
    case Chunk::Kind::kVerdict:
      put_u8(out, chunk.reason);
      break;
    case Chunk::Kind::kGivenUp:
      break;
  }
  put_u32(out, crc32c(out));
  return out;
}

Result<Chunk> ChunkCodec::decode(Bytes message) {
  if (message.size() < 2 + kCrcBytes) return fail(Code::kTruncated, "a chunk ends early", message.size());
  const Bytes body = message.substr(0, message.size() - kCrcBytes);
  if (static_cast<uint8_t>(message[0]) != kFormat)
    return fail(Code::kUnsupported, "a chunk of an unknown format", static_cast<uint8_t>(message[0]));
  if (ByteReader(message.substr(body.size())).u32() != crc32c(body))
    return fail(Code::kCorrupt, "a chunk that changed on its way", message.size());
  ByteReader in(body.substr(1));
  const uint8_t kind = in.u8();
  if (kind > static_cast<uint8_t>(Chunk::Kind::kGivenUp))
    return fail(Code::kUnsupported, "a chunk of an unknown kind", kind);
  Chunk chunk;
  chunk.kind = static_cast<Chunk::Kind>(kind);
  if (chunk.kind != Chunk::Kind::kHalves && !read_key(in, &chunk.of))
    return fail(Code::kInvalid, "a chunk of no sound record");
  switch (chunk.kind) {
    case Chunk::Kind::kHalves: {
      const uint64_t count = in.varint();
      if (count > kHalvesMax) return fail(Code::kTooLarge, "too many records that are not whole", count);
      for (uint64_t i = 0; i < count && in.ok(); ++i) {
        Half half;
        const bool sound = read_key(in, &half);
        half.hash = in.u64();
        half.size = in.varint();
        half.held = in.varint();
        if (!in.ok()) break;
        if (!sound || half.size == 0 || half.size > kSizeMax || half.held > half.size)
          return fail(Code::kInvalid, "a record that is not whole, and not sound either");
        if (!chunk.halves.empty() && !(chunk.halves.back().key < half.key))
          return fail(Code::kInvalid, "records that are not whole, out of order");
        chunk.halves.push_back(std::move(half));
      }
      break;
    }
    case Chunk::Kind::kPiece: {
      chunk.of.hash = in.u64();
      chunk.of.size = in.varint();
      chunk.of.held = in.varint();
      const uint8_t flags = in.u8();
      if (!in.ok()) return fail(Code::kTruncated, "a piece ends early", message.size());
      if ((flags & ~kFlagZstd) != 0) return fail(Code::kUnsupported, "a piece with unknown flags", flags);
      chunk.bytes = in.rest();
      if ((flags & kFlagZstd) != 0) {
        const uint64_t plain_size = in.varint();
        if (!in.ok()) return fail(Code::kTruncated, "a piece ends early", message.size());
        if (plain_size > kPieceBytesMax) return fail(Code::kTooLarge, "a piece is too large", plain_size);
        if (state_->decompressor == nullptr) state_->decompressor = ZSTD_createDCtx();
        if (state_->decompressor == nullptr) return fail(Code::kBusy, "no memory to decompress a piece");
        state_->plain.resize(plain_size);
        const size_t size = ZSTD_decompressDCtx(state_->decompressor, state_->plain.data(), plain_size,
                                                in.rest().data(), in.rest().size());
        if (ZSTD_isError(size) != 0 || size != plain_size)
          return fail(Code::kCorrupt, "a piece that does not decompress");
        chunk.bytes = state_->plain;
      }
      if (chunk.bytes.size() > kPieceBytesMax)
        return fail(Code::kTooLarge, "a piece is too large", chunk.bytes.size());
      if (chunk.bytes.empty() || chunk.of.size > kSizeMax || chunk.of.held > chunk.of.size ||
          chunk.bytes.size() > chunk.of.size - chunk.of.held) {
        return fail(Code::kInvalid, "a piece outside of its record", chunk.of.held);
      }
      return chunk;
    }
    case Chunk::Kind::kWhole:
      chunk.of.hash = in.u64();
      chunk.headers_size = in.varint();
      if (!in.ok()) return fail(Code::kTruncated, "a whole ends early", message.size());
      if (chunk.headers_size > kSizeMax) return fail(Code::kInvalid, "a whole with unsound headers");
      chunk.bytes = in.rest();
      return chunk;
    case Chunk::Kind::kVerdict:
      chunk.reason = in.u8();
      break;
    case Chunk::Kind::kGivenUp:
      break;
  }
  if (!in.ok()) return fail(Code::kTruncated, "a chunk ends early", message.size());
  if (!in.done()) return fail(Code::kInvalid, "a chunk is followed by something", in.rest().size());
  return chunk;
}

}  // namespace hf::link
