#include "identity/throttle.h"

#include <gtest/gtest.h>

namespace hf::identity {
namespace {

TEST(Throttle, FailuresDoubleTheWaitUpToTheMost) {
  Throttle throttle(seconds(5));
  Instant now{1'000'000'000};
  for (int i = 0; i < 3; ++i) throttle.failed("a", now);
  EXPECT_FALSE(throttle.waits("a", now));
  for (const int wait_s : {1, 2, 4, 5, 5}) {
    throttle.failed("a", now);
    EXPECT_EQ(throttle.waits("a", now), now + seconds(wait_s));
    EXPECT_FALSE(throttle.waits("b", now));
    now = now + seconds(wait_s);
    EXPECT_FALSE(throttle.waits("a", now));
  }
  throttle.succeeded("a");
  throttle.failed("a", now);
  EXPECT_FALSE(throttle.waits("a", now));
}

TEST(Throttle, WhileAKeyWaitsOneASecondMayTryEarly) {
  Throttle throttle(seconds(60));
  Instant now{1'000'000'000};
  for (int i = 0; i < 10; ++i) throttle.failed("a", now);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(throttle.early("a", now));
    EXPECT_FALSE(throttle.early("a", now + milliseconds(999)));
    throttle.failed("a", now);
    now = now + seconds(1);
  }
}

TEST(Throttle, WhoWasQuietForLongBeginsAnew) {
  Throttle throttle(seconds(5));
  const Instant now{1'000'000'000};
  EXPECT_FALSE(throttle.remembers("a", now));
  for (int i = 0; i < 10; ++i) throttle.failed("a", now);
  EXPECT_TRUE(throttle.remembers("a", now + seconds(10)));
  EXPECT_FALSE(throttle.remembers("a", now + seconds(11)));
  throttle.failed("a", now + seconds(11));
  EXPECT_FALSE(throttle.waits("a", now + seconds(11)));
}

TEST(Throttle, FullTableSlowsDownThoseWhoComeNewTogether) {
  Throttle throttle(seconds(60));
  const Instant now{1'000'000'000};
  for (size_t i = 0; i < Throttle::kKeysMax; ++i) {
    for (int j = 0; j < 4; ++j) throttle.failed(std::to_string(i), now);
  }
  EXPECT_FALSE(throttle.waits("new", now));
  for (int j = 0; j < 4; ++j) throttle.failed("new " + std::to_string(j), now);
  EXPECT_TRUE(throttle.waits("newer", now));
  EXPECT_FALSE(throttle.waits("newer", now + seconds(2)));
}

}  // namespace
}  // namespace hf::identity
