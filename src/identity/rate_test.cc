#include "identity/rate.h"

#include <gtest/gtest.h>

namespace hf::identity {
namespace {

int taken(Rate* rate, const std::string& key, int tries, Instant now) {
  int count = 0;
  for (int i = 0; i < tries; ++i) count += rate->take(key, now) ? 1 : 0;
  return count;
}

TEST(Rate, SoManyAtOnceAndThenSoManyASecond) {
  Rate rate(10);
  Instant now{1'000'000'000};
  EXPECT_EQ(taken(&rate, "a", 100, now), 10);
  EXPECT_EQ(taken(&rate, "b", 5, now), 5);
  EXPECT_EQ(taken(&rate, "a", 100, now + milliseconds(99)), 0);
  EXPECT_EQ(taken(&rate, "a", 100, now + milliseconds(100)), 1);
  // Whoever keeps on trying gets what the rate allows, and no more.
  int count = 0;
  for (int i = 0; i < 100; ++i) count += taken(&rate, "a", 3, now + milliseconds(100 + 100 * i));
  EXPECT_EQ(count, 99);
  EXPECT_EQ(taken(&rate, "a", 100, now + seconds(60)), 10);
}

TEST(Rate, FullTableKeepsNobodyOutAndIsSwept) {
  Rate rate(10);
  const Instant now{1'000'000'000};
  for (size_t i = 0; i < Rate::kKeysMax; ++i) EXPECT_EQ(taken(&rate, std::to_string(i), 20, now), 10);
  EXPECT_EQ(taken(&rate, "new", 20, now), 20);
  EXPECT_EQ(taken(&rate, "0", 20, now), 0);
  EXPECT_EQ(taken(&rate, "new", 20, now + seconds(2)), 10);
}

}  // namespace
}  // namespace hf::identity
