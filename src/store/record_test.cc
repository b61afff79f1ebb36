// Audiences, expiry and positions: the small values that everything else in the store carries.
#include "store/record.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/prng.h"

namespace hf::store {
namespace {

std::vector<Member> random_members(Prng& prng) {
  std::vector<Member> members;
  ReaderId reader = 0;
  for (uint64_t count = prng.below(6); count > 0; --count) {
    Member member;
    // Numbers of one, two and many varint bytes.
    member.reader = reader += 1 + (prng.next() >> (24 + prng.below(40)));
    member.qos = static_cast<uint8_t>(prng.below(3));
    member.retain_as_published = prng.chance(1, 2);
    for (uint64_t i = prng.chance(1, 8) ? 31 : prng.below(3); i > 0; --i) {
      member.subscription_identifiers.push_back(
          static_cast<uint32_t>(prng.next() >> (36 + prng.below(28)) | 1));
    }
    members.push_back(member);
  }
  return members;
}

TEST(Position, OrdersByCommitThenIndexAndZeroLiesBeforeEverything) {
  EXPECT_EQ(Position::of(3, 7).value, 0x300007u);
  EXPECT_EQ(Position::of(3, 7).commit(), 3u);
  EXPECT_EQ(Position::of(3, 7).index(), 7u);
  EXPECT_LT(Position::of(3, 0xfffff), Position::of(4, 0));
  EXPECT_LT(Position{}, Position::of(1, 0));
}

TEST(Audience, GoldenBytes) {
  EXPECT_EQ(to_hex(encode_audience({})), "");
  // Reader 5: QoS 1. Reader 300, a delta of 295: QoS 2, retain as published, identifiers 9 and 300.
  EXPECT_EQ(to_hex(encode_audience({{300, 2, true, {9, 300}}, {5, 1, false, {}}})),
            "05"
            "01"
            "a702"
            "16"
            "09"
            "ac02");
}

TEST(Audience, RandomMembersComeBackSortedAndEqualSetsHaveEqualBytes) {
  Prng prng(1);
  for (int round = 0; round < 2000; ++round) {
    const std::vector<Member> members = random_members(prng);
    std::vector<Member> shuffled = members;
    for (size_t i = shuffled.size(); i > 1; --i) std::swap(shuffled[i - 1], shuffled[prng.below(i)]);
    const std::string bytes = encode_audience(shuffled);
    EXPECT_EQ(bytes, encode_audience(members));
    std::vector<Member> decoded;
    ASSERT_TRUE(decode_audience(bytes, &decoded));
    EXPECT_EQ(decoded, members);
  }
}

TEST(Audience, VisitStopsWhereItIsTold) {
  int visited = 0;
  for_each_member(encode_audience({{1}, {2}, {3}}), [&](const Member& member) {
    ++visited;
    return member.reader < 2;
  });
  EXPECT_EQ(visited, 2);
}

// Goal: a broken audience ends the visit and is refused. Method: every prefix of some, from a buffer of its
// own size.
TEST(Audience, EveryPrefixIsRefusedOrHoldsFewerMembers) {
  Prng prng(2);
  for (int round = 0; round < 200; ++round) {
    const std::vector<Member> members = random_members(prng);
    const std::string bytes = encode_audience(members);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const std::vector<char> prefix(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      std::vector<Member> decoded;
      const bool whole = decode_audience(Bytes(prefix.data(), prefix.size()), &decoded);
      ASSERT_LT(decoded.size(), members.size());
      EXPECT_TRUE(std::equal(decoded.begin(), decoded.end(), members.begin()));
      if (whole) {
        EXPECT_EQ(encode_audience(decoded), bytes.substr(0, size));
      }
    }
  }
}

TEST(Audience, EveryFlippedBitIsRefusedOrDecodesToWhatEncodesAgain) {
  Prng prng(3);
  for (int round = 0; round < 100; ++round) {
    const std::string bytes = encode_audience(random_members(prng));
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      std::vector<Member> decoded;
      if (!decode_audience(flipped, &decoded)) continue;
      std::vector<Member> again;
      ASSERT_TRUE(decode_audience(encode_audience(decoded), &again));
      EXPECT_EQ(again, decoded);
    }
  }
}

TEST(Expiry, SameBootCountsMonotonicTimeAndIgnoresTheWallClock) {
  Record record;
  record.arrival = {.wall_us = 0, .mono_ns = 5'000'000'000, .boot = {1, 2}};
  record.expiry_s = 10;
  Now now;
  now.boot = {1, 2};
  now.wall_us = INT64_MAX;
  now.quality = ClockQuality::kGnss;
  now.mono = {14'999'999'999};
  EXPECT_FALSE(expired(record, 0, now));
  now.mono = {15'000'000'000};
  EXPECT_TRUE(expired(record, 0, now));
}

TEST(Expiry, AcrossBootsTheWallClockDecidesUnlessEitherIsUnknown) {
  Record record;
  record.arrival = {.wall_us = 1'000'000, .quality = ClockQuality::kRtc, .boot = {1, 2}};
  record.expiry_s = 10;
  Now now;
  now.boot = {3, 4};
  now.quality = ClockQuality::kNtp;
  now.wall_us = 10'999'999;
  EXPECT_FALSE(expired(record, 0, now));
  now.wall_us = 11'000'000;
  EXPECT_TRUE(expired(record, 0, now));
  now.quality = ClockQuality::kUnknown;
  EXPECT_FALSE(expired(record, 0, now)) << "keep rather than lose";
  now.quality = ClockQuality::kNtp;
  record.arrival.quality = ClockQuality::kUnknown;
  EXPECT_FALSE(expired(record, 0, now));
}

TEST(Expiry, TheSmallerOfMessageExpiryAndTimeToLiveCounts) {
  Record record;
  Now now;
  now.mono = {1'000'000'000'000};
  EXPECT_FALSE(expired(record, 0, now)) << "neither is given";
  EXPECT_TRUE(expired(record, 1000, now));
  record.expiry_s = UINT32_MAX;
  EXPECT_TRUE(expired(record, 1000, now));
  EXPECT_FALSE(expired(record, 0, now));
  record.expiry_s = 0;
  EXPECT_TRUE(expired(record, 0, now));
}

}  // namespace
}  // namespace hf::store
