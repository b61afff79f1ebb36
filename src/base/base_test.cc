// The small pieces everything stands on: cursors, checksums, times, handles.
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/prng.h"
#include "base/slot_map.h"
#include "base/time.h"

namespace hf {
namespace {

TEST(Bytes, ReleasedMemoryIsGivenBack) {
  std::string text(1 << 20, 'x');
  release_memory(text);
  EXPECT_TRUE(text.empty());
  EXPECT_LT(text.capacity(), 64u);
}

TEST(Varint, RoundTripsAtEveryWidthAndSaysItsSize) {
  for (int bits = 0; bits <= 64; ++bits) {
    for (const uint64_t delta : {uint64_t{0}, uint64_t{1}}) {
      const uint64_t value = (bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits)) - delta;
      std::string out;
      put_varint(out, value);
      EXPECT_EQ(out.size(), varint_size(value));
      ByteReader reader(out);
      EXPECT_EQ(reader.varint(), value);
      EXPECT_TRUE(reader.done());
      for (size_t cut = 0; cut < out.size(); ++cut) {
        ByteReader prefix(Bytes(out).substr(0, cut));
        prefix.varint();
        EXPECT_FALSE(prefix.ok());
      }
    }
  }
}

TEST(Varint, RefusesOverlongAndOverflowingForms) {
  for (const Bytes bad : {Bytes("\x80\x00", 2), Bytes("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10),
                          Bytes("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11)}) {
    ByteReader reader(bad);
    reader.varint();
    EXPECT_FALSE(reader.ok());
  }
}

TEST(Varint, ZigzagKeepsSmallNegativeNumbersShort) {
  for (const int64_t value : {int64_t{0}, int64_t{-1}, int64_t{1}, INT64_MIN, INT64_MAX}) {
    std::string out;
    put_svarint(out, value);
    ByteReader reader(out);
    EXPECT_EQ(reader.svarint(), value);
    EXPECT_TRUE(reader.done());
  }
  std::string out;
  put_svarint(out, -64);
  EXPECT_EQ(out.size(), 1u);
}

TEST(ByteReader, FailsForGoodAtTheFirstReadPastTheEnd) {
  ByteReader reader("abc");
  EXPECT_EQ(reader.u16(), 0x6261);
  EXPECT_EQ(reader.u32(), 0u);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.u8(), 0);
}

TEST(ByteReader, ReadsBothByteOrders) {
  std::string out;
  put_u16be(out, 0x0102);
  put_u32be(out, 0x03040506);
  put_u64be(out, 0x0708090a0b0c0d0e);
  put_u16(out, 0x0102);
  put_u32(out, 0x03040506);
  put_u64(out, 7);
  EXPECT_EQ(to_hex(Bytes(out).substr(0, 14)), "0102030405060708090a0b0c0d0e");
  ByteReader reader(out);
  EXPECT_EQ(reader.u16be(), 0x0102);
  EXPECT_EQ(reader.u32be(), 0x03040506u);
  EXPECT_EQ(reader.u64be(), 0x0708090a0b0c0d0eu);
  EXPECT_EQ(reader.u16(), 0x0102);
  EXPECT_EQ(reader.u32(), 0x03040506u);
  EXPECT_EQ(reader.u64(), 7u);
  EXPECT_TRUE(reader.done());
}

TEST(Hex, RefusesWhatIsNotHex) {
  EXPECT_EQ(from_hex("00ffA1"), std::string("\x00\xff\xa1", 3));
  EXPECT_EQ(from_hex("0"), "");
  EXPECT_EQ(from_hex("zz"), "");
}

TEST(Crc32c, AgreesWithThePublishedCheckValueAndContinues) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c("456789", crc32c("123")), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4.
}

TEST(Utc, FormatsAndParsesTheSameMoment) {
  EXPECT_EQ(format_utc(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(format_utc(1'594'598'424'502'333), "2020-07-13T00:00:24.502Z");
  EXPECT_EQ(format_utc(-1), "1969-12-31T23:59:59.999Z");
  int64_t wall_us = 0;
  EXPECT_TRUE(parse_utc("2020-07-13T00:00:24.502333Z", &wall_us));
  EXPECT_EQ(wall_us, 1'594'598'424'502'333);
  EXPECT_TRUE(parse_utc("2000-02-29 23:59:60Z", &wall_us));
  EXPECT_EQ(format_utc(wall_us), "2000-03-01T00:00:00.000Z");
  for (const char* bad :
       {"", "2020-07-13", "2020-02-30T00:00:00Z", "2020-07-13T00:00:24", "2020-07-13T25:00:00Z",
        "2020-07-13T00:00:24.Z", "2020-07-13T00:00:24+02:00", "2020-13-01T00:00:00Z"}) {
    EXPECT_FALSE(parse_utc(bad, &wall_us)) << bad;
  }
}

TEST(Prng, IsDeterministicAndStaysBelowItsBound) {
  Prng a(7);
  Prng b(7);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(a.next(), b.next());
    EXPECT_LT(a.below(10), 10u);
    b.below(10);
  }
}

TEST(SlotMap, StaleHandleIsAnOrdinaryMiss) {
  SlotMap<int> map;
  const auto first = map.emplace(1);
  EXPECT_EQ(*map.find(first), 1);
  EXPECT_TRUE(map.erase(first));
  EXPECT_FALSE(map.erase(first));
  const auto second = map.emplace(2);
  EXPECT_EQ(second.slot, first.slot);
  EXPECT_EQ(map.find(first), nullptr);
  EXPECT_EQ(*map.find(second), 2);
  EXPECT_EQ(map.find(Handle<int>{}), nullptr);
}

}  // namespace
}  // namespace hf
