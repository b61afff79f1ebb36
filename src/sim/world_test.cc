// The world itself: one seed gives one history, links come up, messages travel, clocks run as they should.
#include "sim/world.h"

#include <gtest/gtest.h>

#include "sim/scenario.h"

namespace hf::sim {
namespace {

TEST(World, SameSeedSameTrace) {
  // Goal: nothing outside the seed reaches a world. Method: the same seeds twice, other seeds once, hashes compared.
  std::set<uint64_t> hashes;
  for (const uint64_t seed : {1, 2, 3}) {
    const Verdict first = run_swarm({.seed = seed});
    const Verdict second = run_swarm({.seed = seed});
    EXPECT_EQ(first.violation, "");
    EXPECT_EQ(first.trace, second.trace) << "seed " << seed;
    EXPECT_EQ(first.deliveries, second.deliveries);
    hashes.insert(first.trace);
  }
  EXPECT_EQ(hashes.size(), 3u);
}

TEST(World, MessagesTravelUpAndDown) {
  Village village(5, {}, false);
  World& world = village.world;
  ASSERT_TRUE(world.set_up()) << world.oracle().violation();
  village.burst(4);
  world.finish(seconds(60));
  EXPECT_EQ(world.oracle().violation(), "");
  // Ten messages, the eight of the site at two subscribers each, the two of the hub as well.
  EXPECT_EQ(world.oracle().message_count(), 10u);
  EXPECT_GE(world.oracle().deliveries(), 20u);
}

TEST(Clock, DriftsStepsAndInverts) {
  for (const int64_t ppm : {-500, -1, 0, 1, 500}) {
    Clock clock;
    clock.booted_at = Instant{1'000'000'000};
    clock.mono_begin_ns = 5'000'000'000;
    clock.drift_ppm = ppm;
    uint64_t last = 0;
    for (uint64_t t = 1'000'000'000; t < 1'000'100'000; t += 997) {
      const Now now = clock.now(Instant{t});
      EXPECT_GE(now.mono.ns, last);
      last = now.mono.ns;
    }
    const Instant later{10'000'000'000'000};
    const Instant mono = clock.now(later).mono;
    const Instant when = clock.when(mono);
    EXPECT_GE(clock.now(when).mono, mono);
    EXPECT_LE(when.ns, later.ns + 2'000);
  }
}

TEST(Clock, UnsetClockCountsFrom1970) {
  Clock clock;
  clock.set = false;
  clock.mono_begin_ns = 3'000'000'000;
  EXPECT_EQ(clock.now(Instant{1'000'000'000}).wall_us, 4'000'000);
  EXPECT_EQ(clock.now(Instant{}).quality, ClockQuality::kUnknown);
}

}  // namespace
}  // namespace hf::sim
