// Topics that the parent calls by another name.
#include <gtest/gtest.h>

#include "link/conversation.h"
#include "link/two_nodes_testing.h"

namespace hf::link {
namespace {

const std::string kPrefix = "sites/ship-7/";

// Goal: what comes up has the prefix, and the two sides agree on records that they call differently: after cuts, restores
// and forks, in pieces and in batches.
TEST(Prefixes, AreOfTheParentAloneAndAgreementDoesNotDependOnThem) {
  TwoNodes world(/*chunks=*/true, kPrefix);
  world.write(100);
  world.write_large(50'000);
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_EQ(std::set<std::string>(world.parent.topics.begin(), world.parent.topics.end()),
            std::set<std::string>{kPrefix + "t"});
  // The parent is put back to an earlier day: it gets the rest again.
  const auto parent_backup = world.parent.copy();
  const auto child_backup = world.child.copy();
  world.write(20);
  world.settle();
  world.wire.cut();
  world.parent.restore(parent_backup);
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_EQ(world.sender().counters().forks, 0u);
  // Then the child: the fork is found to the record, which reads what the parent holds under its own name.
  world.write(200);
  world.settle();
  world.wire.cut();
  world.child.restore(child_backup);
  const size_t held = world.parent.kept(false).size();
  world.write(3);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.sender().counters().forks, 1u);
  EXPECT_EQ(world.parent.kept(false).size(), held + 3);
  EXPECT_TRUE(world.drained());
}

TEST(Prefixes, AreTakenOffOnTheWayDown) {
  TwoNodes world(/*chunks=*/true, kPrefix);
  world.parent.owed = [](const std::string& peer, const std::string& from, Bytes) {
    return peer == "ship-7" && from.empty();
  };
  world.wire.connect();
  world.settle();
  for (int i = 0; i < 5; ++i)
    world.parent.write("down/ship-7", "c" + std::to_string(i), 5, kPrefix + "cmd/start");
  world.parent.write("down/ship-7", std::string(5'000, 'x'), 5, kPrefix + "firmware");
  world.parent.write("down/ship-7", "all", 5, "all/stop");
  world.settle();
  std::vector<std::string> expected(5, "cmd/start");
  expected.insert(expected.end(), {"firmware", "all/stop"});
  EXPECT_EQ(world.child.topics, expected);
  // The child is put back; the parent sends again what it knows by another name.
  world.wire.cut();
  const auto backup = world.child.copy();
  world.wire.connect();
  world.parent.write("down/ship-7", "c9", 5, kPrefix + "cmd/start");
  world.settle();
  world.wire.cut();
  world.child.restore(backup);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.child.topics.size(), 9u);
  EXPECT_EQ(world.parent.with("ship-7").sender().counters().forks, 0u);
  EXPECT_EQ(world.parent.with("ship-7").sender().travel().owed().count, 0u);
}

// Each hub puts its own in front, and each pair of them agrees on what travels between the two.
TEST(Prefixes, AddUpOverHubsOfHubs) {
  TestNode engine{"engine", 1};
  TestNode ship{"ship-7", 2};
  TestNode hub{"hub", 3};
  ship.settings.prefix = "engines/main/";
  hub.settings.prefix = kPrefix;
  engine.with(std::string(kParentName));
  ship.with(std::string(kParentName));
  ship.with("engine");
  hub.with("ship-7");
  Wire low{engine, ship};
  Wire high{ship, hub};
  for (int i = 0; i < 50; ++i) engine.write("telemetry", "r" + std::to_string(i), 5, "temperature");
  ship.write("telemetry", "s", 5, "position");
  low.connect();
  high.connect();
  settle({&engine, &ship, &hub}, {&low, &high});
  EXPECT_EQ(hub.kept(false).size(), 51u);
  EXPECT_EQ(std::set<std::string>(hub.topics.begin(), hub.topics.end()),
            (std::set<std::string>{kPrefix + "engines/main/temperature", kPrefix + "position"}));
  // The one in the middle forgets a day: what it passed on is recognised by what it is called on that link.
  low.cut();
  high.cut();
  const auto backup = ship.copy();
  for (int i = 50; i < 80; ++i) engine.write("telemetry", "r" + std::to_string(i), 5, "temperature");
  low.connect();
  high.connect();
  settle({&engine, &ship, &hub}, {&low, &high});
  low.cut();
  high.cut();
  ship.restore(backup);
  low.connect();
  high.connect();
  settle({&engine, &ship, &hub}, {&low, &high});
  EXPECT_EQ(hub.kept(false).size(), 81u);
  EXPECT_EQ(ship.with("^").sender().counters().forks, 0u);
}

// A topic that has no room for the prefix: the record is named as dropped, and what follows goes on.
TEST(Prefixes, ThatMakeATopicTooLongCostThatRecordAlone) {
  TwoNodes world(/*chunks=*/true, kPrefix);
  const std::string longest(65'535 - kPrefix.size(), 't');
  world.write(2);
  world.child.write("telemetry", "fits", 5, longest);
  world.child.write("telemetry", "does not", 5, longest + "t");
  world.write(2);
  world.child.write("telemetry", "the last does not", 5, longest + "t");
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.parent.kept(false).size(), 5u);
  EXPECT_TRUE(world.parent.logged("HF-LINK-014"));
  std::vector<store::Gap> gaps;
  world.parent.store().for_each_gap([&](const store::Gap& gap) { gaps.push_back(gap); });
  ASSERT_EQ(gaps.size(), 2u);
  EXPECT_EQ(gaps[0].first, 4u);
  EXPECT_EQ(gaps[0].cause, store::GapCause::kDropped);
  EXPECT_TRUE(world.drained());
  // It counts as held: nothing comes again.
  world.wire.cut();
  world.write(1);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.parent.kept(false).size(), 6u);
  EXPECT_EQ(world.sender().counters().forks, 0u);
}

}  // namespace
}  // namespace hf::link
