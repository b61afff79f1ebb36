#include "link/packing.h"

#include <gtest/gtest.h>

namespace hf::link {
namespace {

constexpr uint64_t kFast = 100 << 20;
constexpr uint64_t kSlow = 2500;

// Of so many batches that shrink to `packed_percent` when it is tried, how many attempts were made.
int attempts(Packing& packing, uint64_t goodput, uint64_t packed_percent, int batches) {
  int tried = 0;
  for (int i = 0; i < batches; ++i) {
    if (!packing.worth_trying(goodput)) continue;
    ++tried;
    packing.tried(100'000, 1000 * packed_percent);
  }
  return tried;
}

TEST(Packing, WhatShrinksIsAlwaysTried) {
  Packing packing;
  EXPECT_EQ(attempts(packing, kFast, 10, 100), 100);
  EXPECT_EQ(attempts(packing, kFast, 87, 100), 100);
}

TEST(Packing, WhatDoesNotShrinkIsTriedOneTimeInEightOnAFastLink) {
  Packing packing;
  EXPECT_EQ(attempts(packing, kFast, 90, 801), 101);
}

TEST(Packing, EveryByteIsWorthAnAttemptOnASlowLink) {
  Packing packing;
  EXPECT_EQ(attempts(packing, kSlow, 100, 100), 100);
  // Also when the link became slow meanwhile.
  attempts(packing, kFast, 100, 3);
  EXPECT_EQ(attempts(packing, kSlow, 100, 100), 100);
}

TEST(Packing, WhatShrinksAgainIsNoticedWithinEightBatches) {
  Packing packing;
  attempts(packing, kFast, 100, 50);
  EXPECT_GE(attempts(packing, kFast, 10, 100), 93);
}

}  // namespace
}  // namespace hf::link
