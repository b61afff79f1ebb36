#include "io/handshake_limits.h"

#include <gtest/gtest.h>

namespace hf::io {
namespace {

int admitted(HandshakeLimits* limits, const std::string& network, bool wary, Instant now) {
  int count = 0;
  for (int i = 0; i < 100; ++i) count += limits->admit(network, wary, now) ? 1 : 0;
  return count;
}

TEST(HandshakeLimits, AddressThatFailedGetsTenASecondForAMinute) {
  HandshakeLimits limits;
  const Instant now{1'000'000'000};
  EXPECT_EQ(admitted(&limits, "a", false, now), 100);
  limits.failed("a", now);
  EXPECT_EQ(admitted(&limits, "a", false, now), 10);
  EXPECT_EQ(admitted(&limits, "b", false, now), 100);
  EXPECT_EQ(admitted(&limits, "a", false, now + milliseconds(500)), 5);
  EXPECT_EQ(admitted(&limits, "a", false, now + seconds(59)), 10);
  EXPECT_EQ(admitted(&limits, "a", false, now + seconds(60)), 100);
}

TEST(HandshakeLimits, EveryAddressGetsTenASecondWhileTheNodeIsWary) {
  HandshakeLimits limits;
  const Instant now{1'000'000'000};
  EXPECT_EQ(admitted(&limits, "a", true, now), 10);
  EXPECT_EQ(admitted(&limits, "b", true, now), 10);
  EXPECT_EQ(admitted(&limits, "a", false, now), 100);
}

}  // namespace
}  // namespace hf::io
