#include "identity/once.h"

#include <gtest/gtest.h>

namespace hf::identity {
namespace {

bool tries(Once* once, const std::string& key, Instant now) {
  if (!once->may(key, now)) return false;
  once->take(key, now);
  return true;
}

TEST(Once, KeyMayOnceInThePeriod) {
  Once once(seconds(10));
  const Instant now{1'000'000'000};
  EXPECT_TRUE(tries(&once, "a", now));
  EXPECT_FALSE(tries(&once, "a", now + seconds(9)));
  EXPECT_TRUE(tries(&once, "b", now + seconds(9)));
  EXPECT_TRUE(tries(&once, "a", now + seconds(10)));
  EXPECT_FALSE(tries(&once, "b", now + seconds(18)));
}

TEST(Once, WhatWasGivenBackMayBeTakenAgainForAWholePeriod) {
  Once once(seconds(10));
  const Instant now{1'000'000'000};
  EXPECT_TRUE(tries(&once, "a", now));
  once.give_back("a");
  once.give_back("b");
  EXPECT_TRUE(tries(&once, "a", now + seconds(9)));
  EXPECT_TRUE(tries(&once, "b", now + seconds(12)));
  EXPECT_FALSE(tries(&once, "a", now + seconds(12)));
  EXPECT_TRUE(tries(&once, "a", now + seconds(19)));
}

TEST(Once, FullTableForgetsTheOldestAndKeepsNobodyOut) {
  Once once(seconds(3600));
  const Instant now{1'000'000'000};
  for (size_t i = 0; i < Once::kKeysMax; ++i) EXPECT_TRUE(tries(&once, std::to_string(i), now));
  EXPECT_TRUE(tries(&once, "new", now));
  EXPECT_FALSE(tries(&once, "new", now));
  EXPECT_FALSE(tries(&once, std::to_string(Once::kKeysMax - 1), now));
  EXPECT_TRUE(tries(&once, "0", now));
}

}  // namespace
}  // namespace hf::identity
