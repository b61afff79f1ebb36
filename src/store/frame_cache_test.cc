#include "store/frame_cache.h"

#include <gtest/gtest.h>

namespace hf::store {
namespace {

constexpr int kRecords = 50;

// The plaintext of a frame of commit `number`.
std::string plain_of(uint64_t number) {
  FrameBuilder builder(Position::of(number, 0));
  for (uint32_t i = 0; i < kRecords; ++i) {
    builder.add(
        Position::of(number, i),
        {.stream = 1, .sequence = number * kRecords + i, .topic = "t", .payload = std::to_string(number)},
        {7, "s"}, {});
  }
  return builder.take();
}

FrameRef ref_of(uint64_t number) { return {1, number * 4096}; }

void fill(FrameCache& cache, uint64_t from, uint64_t to) {
  for (uint64_t number = from; number < to; ++number)
    cache.add(ref_of(number), plain_of(number), Position::of(number, 0));
}

bool whole(const std::shared_ptr<const Frame>& frame, uint64_t number) {
  return frame != nullptr && frame->records().size() == kRecords &&
         frame->records().back().position == Position::of(number, kRecords - 1) &&
         frame->records().back().payload == std::to_string(number);
}

TEST(FrameCache, TheOldestGoFirst) {
  FrameCache cache(64 << 10);
  fill(cache, 1, 1000);
  EXPECT_LE(cache.bytes(), 64u << 10);
  EXPECT_FALSE(cache.contains(ref_of(1)));
  EXPECT_EQ(cache.find(ref_of(1)), nullptr);
  EXPECT_TRUE(whole(cache.find(ref_of(999)), 999));
}

TEST(FrameCache, OneThatIsTooLargeStaysUntilTheNext) {
  FrameCache cache(1);
  fill(cache, 1, 2);
  EXPECT_TRUE(whole(cache.find(ref_of(1)), 1));
  fill(cache, 2, 3);
  EXPECT_FALSE(cache.contains(ref_of(1)));
  EXPECT_TRUE(whole(cache.find(ref_of(2)), 2));
}

// Goal: who reads the cache from its oldest frame to its newest finds all of it. (Parsed frames counted like others: each that
// was read pushed out the next.)
TEST(FrameCache, ReadingFromTheOldestOnPushesNothingOut) {
  FrameCache cache(64 << 10);
  fill(cache, 1, 1000);
  uint64_t first = 1;
  while (!cache.contains(ref_of(first))) ++first;
  ASSERT_LT(first, 980u);
  for (int round = 0; round < 2; ++round) {
    for (uint64_t number = first; number < 1000; ++number) {
      ASSERT_TRUE(whole(cache.find(ref_of(number)), number)) << number;
      ASSERT_LE(cache.bytes(), 64u << 10);
    }
  }
}

TEST(FrameCache, WhatCannotBeParsedIsHereAndGivesNothing) {
  FrameCache cache(64 << 10);
  cache.add(ref_of(1), "\x06", Position::of(1, 0));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(cache.find(ref_of(1)), nullptr);
  EXPECT_TRUE(cache.contains(ref_of(1)));
}

TEST(FrameCache, AFrameThatSomebodyHoldsStaysAsItIs) {
  FrameCache cache(64 << 10);
  fill(cache, 1, 1000);
  const std::shared_ptr<const Frame> held = cache.find(ref_of(990));
  for (int round = 0; round < 2; ++round) {
    for (uint64_t number = 950; number < 1000; ++number) cache.find(ref_of(number));
  }
  EXPECT_EQ(cache.find(ref_of(990)), held);
  fill(cache, 1000, 2000);
  EXPECT_FALSE(cache.contains(ref_of(990)));
  EXPECT_TRUE(whole(held, 990));
}

}  // namespace
}  // namespace hf::store
