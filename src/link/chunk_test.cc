// The codec of records in pieces. Golden bytes fix the wire; random content comes back; every prefix and every
// changed byte is refused without harm.
#include "link/chunk.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/prng.h"

namespace hf::link {
namespace {

Chunk chunk_of(Chunk::Kind kind) {
  Chunk chunk;
  chunk.kind = kind;
  chunk.of.key = {0x1122334455667788, "t"};
  chunk.of.number = 300;
  if (kind == Chunk::Kind::kPiece || kind == Chunk::Kind::kWhole) chunk.of.hash = 5;
  if (kind == Chunk::Kind::kPiece) {
    chunk.of.size = 1000;
    chunk.of.held = 200;
    chunk.bytes = "piece";
  }
  if (kind == Chunk::Kind::kWhole) {
    chunk.headers_size = 7;
    chunk.bytes = "batch";
  }
  if (kind == Chunk::Kind::kVerdict) chunk.reason = 0x97;
  if (kind == Chunk::Kind::kHalves) {
    chunk.of = {};
    chunk.halves = {{{2, "b"}, 3, 4, 500, 500}, {{2, "a"}, 1, 2, 300, 0}};
  }
  return chunk;
}

constexpr Chunk::Kind kKinds[] = {Chunk::Kind::kHalves, Chunk::Kind::kPiece, Chunk::Kind::kWhole,
                                  Chunk::Kind::kVerdict, Chunk::Kind::kGivenUp};

TEST(Chunk, HasTheseBytes) {
  ChunkCodec codec;
  const auto bytes = [&](Chunk::Kind kind) { return to_hex(Bytes(codec.encode(chunk_of(kind), true))); };
  EXPECT_EQ(bytes(Chunk::Kind::kHalves),
            "0100"
            "02"
            "0200000000000000"
            "0161"
            "01"
            "0200000000000000"
            "ac02"
            "00"
            "0200000000000000"
            "0162"
            "03"
            "0400000000000000"
            "f403"
            "f403"
            "bf378871");
  EXPECT_EQ(bytes(Chunk::Kind::kPiece),
            "0101"
            "8877665544332211"
            "0174"
            "ac02"
            "0500000000000000"
            "e807"
            "c801"
            "00"
            "7069656365"
            "68a08012");
  EXPECT_EQ(bytes(Chunk::Kind::kWhole),
            "0102"
            "8877665544332211"
            "0174"
            "ac02"
            "0500000000000000"
            "07"
            "6261746368"
            "8ff78ef5");
  EXPECT_EQ(bytes(Chunk::Kind::kVerdict),
            "0103"
            "8877665544332211"
            "0174"
            "ac02"
            "97"
            "29199b83");
  EXPECT_EQ(bytes(Chunk::Kind::kGivenUp),
            "0104"
            "8877665544332211"
            "0174"
            "ac02"
            "9e974dac");
}

TEST(Chunk, ComesBackAsItWas) {
  Prng prng(1);
  ChunkCodec encoder;
  ChunkCodec decoder;
  for (int i = 0; i < 300; ++i) {
    Chunk chunk = chunk_of(Chunk::Kind::kPiece);
    std::string bytes(1 + prng.below(i % 10 == 0 ? kPieceBytesMax : 300), '\0');
    for (char& c : bytes) c = static_cast<char>(prng.below(i % 3 == 0 ? 2 : 256));
    chunk.bytes = bytes;
    chunk.of.held = prng.below(1000);
    chunk.of.size = chunk.of.held + bytes.size() + prng.below(1000);
    const std::string message = encoder.encode(chunk, i % 2 == 0);
    EXPECT_LE(message.size(), bytes.size() + kPieceHeadBytesMax);
    const Result<Chunk> back = decoder.decode(message);
    ASSERT_TRUE(back) << back.error().text;
    EXPECT_EQ(*back, chunk);
  }
  for (const Chunk::Kind kind : kKinds) {
    Chunk chunk = chunk_of(kind);
    const std::string message = encoder.encode(chunk, true);
    const Result<Chunk> back = decoder.decode(message);
    if (!chunk.halves.empty()) std::swap(chunk.halves[0], chunk.halves[1]);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, chunk);
  }
}

TEST(Chunk, EveryPrefixAndEveryChangedByteIsRefused) {
  ChunkCodec codec;
  Prng prng(2);
  const std::string many(500, 'x');
  for (const Chunk::Kind kind : kKinds) {
    Chunk chunk = chunk_of(kind);
    if (kind == Chunk::Kind::kPiece) chunk.bytes = many;
    const std::string bytes = codec.encode(chunk, true);
    ASSERT_TRUE(codec.decode(bytes));
    for (size_t size = 0; size < bytes.size(); ++size)
      EXPECT_FALSE(codec.decode(Bytes(bytes).substr(0, size)));
    for (size_t at = 0; at < bytes.size(); ++at) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ (1 + prng.below(255)));
      EXPECT_FALSE(codec.decode(changed)) << at;
    }
    // The same where the checksum is right: cut, changed, and decoded or refused.
    for (size_t size = 2; size + 4 < bytes.size(); ++size) {
      std::string cut = bytes.substr(0, size);
      put_u32(cut, crc32c(cut));
      const Result<Chunk> back = codec.decode(cut);
      const bool open_ended =
          kind == Chunk::Kind::kWhole;  // A batch that ends early is the batch's to refuse.
      EXPECT_TRUE(!back || open_ended) << size;
    }
    for (int i = 0; i < 2000; ++i) {
      std::string changed = bytes.substr(0, bytes.size() - 4);
      changed[prng.below(changed.size())] = static_cast<char>(prng.next());
      put_u32(changed, crc32c(changed));
      (void)codec.decode(changed);
    }
  }
}

TEST(Chunk, RefusesWhatBreaksItsGrammar) {
  ChunkCodec codec;
  const auto refused = [&](Chunk::Kind kind, auto change) {
    Chunk chunk = chunk_of(kind);
    change(chunk);
    return !codec.decode(codec.encode(std::move(chunk), false));
  };
  using Kind = Chunk::Kind;
  const std::string long_name(256, 'n');
  const std::string huge(kPieceBytesMax + 1, 'x');
  EXPECT_TRUE(refused(Kind::kVerdict, [](Chunk& c) { c.of.number = 0; }));
  EXPECT_TRUE(refused(Kind::kVerdict, [](Chunk& c) { c.of.number = UINT64_MAX; }));
  EXPECT_TRUE(refused(Kind::kVerdict, [&](Chunk& c) { c.of.key.name = long_name; }));
  EXPECT_TRUE(refused(Kind::kPiece, [](Chunk& c) { c.bytes = {}; }));
  EXPECT_TRUE(refused(Kind::kPiece, [](Chunk& c) { c.of.held = 996; }));
  EXPECT_TRUE(refused(Kind::kPiece, [](Chunk& c) { c.of.held = 1001; }));
  EXPECT_TRUE(refused(Kind::kPiece, [](Chunk& c) { c.of.size = UINT64_MAX; }));
  EXPECT_TRUE(refused(Kind::kPiece, [&](Chunk& c) {
    c.bytes = huge;
    c.of.size = 1 << 30;
  }));
  EXPECT_TRUE(refused(Kind::kHalves, [](Chunk& c) { c.halves[0].held = 501; }));
  EXPECT_TRUE(refused(Kind::kHalves, [](Chunk& c) { c.halves[0].size = 0; }));
  EXPECT_TRUE(refused(Kind::kHalves, [](Chunk& c) { c.halves[1].key = c.halves[0].key; }));
  EXPECT_TRUE(refused(Kind::kHalves, [](Chunk& c) {
    for (uint64_t i = 0; i < kHalvesMax; ++i) c.halves.push_back({{10 + i, "c"}, 1, 1, 1, 1});
  }));
}

}  // namespace
}  // namespace hf::link
