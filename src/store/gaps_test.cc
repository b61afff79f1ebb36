// Gap records: none of what is lost goes unsaid, and those who make many cannot fill the store with them.
#include "store/store_world_testing.h"

namespace hf::store {
namespace {

Gap account(uint64_t first, uint64_t last, ReaderId reader = 7) {
  return {.first = first, .last = last, .cause = GapCause::kSessionEnded, .reader = reader, .count = 1};
}

TEST(Gaps, OneThatGoesOnWhereAnotherEndedIsPartOfIt) {
  World world;
  world.store->add_gap(account(10, 10));
  world.store->add_gap(account(11, 12));
  world.store->add_gap(account(13, 13, 8));  // Somebody else's.
  world.store->add_gap({.stream = 3, .first = 5, .last = 9, .cause = GapCause::kExpired});
  world.store->add_gap({.stream = 3, .first = 10, .last = 10, .cause = GapCause::kExpired});
  world.store->add_gap({.stream = 3, .first = 11, .last = 11, .cause = GapCause::kDropped});
  const std::vector<Gap> gaps = world.gaps();
  ASSERT_EQ(gaps.size(), 4u);
  EXPECT_EQ(gaps[0].first, 10u);
  EXPECT_EQ(gaps[0].last, 12u);
  EXPECT_EQ(gaps[0].count, 2u);
  EXPECT_EQ(gaps[1].reader, 8u);
  EXPECT_EQ(gaps[2].last, 10u);
  EXPECT_EQ(gaps[3].first, 11u);
  EXPECT_EQ(world.store->gap_sum(GapCause::kSessionEnded).gaps, 2u);
  EXPECT_EQ(world.store->gap_sum(GapCause::kSessionEnded).records, 3u);
  EXPECT_EQ(world.store->gap_sum(GapCause::kExpired).records, 6u);
  EXPECT_EQ(world.store->gap_sum(GapCause::kDropped).records, 1u);
}

TEST(Gaps, SaidAgainIsSaidOnce) {
  World world;
  for (int i = 0; i < 3; ++i) world.store->add_gap({.first = 10, .last = 20, .cause = GapCause::kRot});
  world.store->add_gap({.first = 10, .last = 15, .cause = GapCause::kRot});
  ASSERT_EQ(world.gaps().size(), 1u);
  EXPECT_EQ(world.gaps()[0].last, 20u);
  EXPECT_EQ(world.store->gap_sum(GapCause::kRot).gaps, 1u);
}

// Goal: a client that makes gap records all day costs a bounded memory, and what it lost is counted all the same, also after a
// restart. Those that are everybody's are not pushed out.
TEST(Gaps, AccountsOfReadersAreBoundedAndTheSumsHaveThemAll) {
  constexpr uint64_t kMade = 20'000;
  World world;
  world.options.segment_bytes_min = world.options.segment_bytes_max = 4 << 20;
  world.open();
  world.store->add_gap({.first = 1, .last = 2, .cause = GapCause::kRot});
  for (uint64_t i = 0; i < kMade; ++i) {
    world.store->add_gap(account(1000 + 2 * i, 1000 + 2 * i));
    if (i % 50 == 0) {
      world.store->put(Table::kStore, "test", "x");
      ASSERT_TRUE(world.settle());
    }
  }
  world.store->put(Table::kStore, "test", "x");  // What rides is durable with it.
  ASSERT_TRUE(world.settle());
  for (const bool restarted : {false, true}) {
    if (restarted) world.open();
    const std::vector<Gap> gaps = world.gaps();
    EXPECT_LE(gaps.size(), 4097u) << restarted;
    EXPECT_EQ(gaps.front().cause, GapCause::kRot) << restarted;
    EXPECT_EQ(gaps.back().first, 1000 + 2 * (kMade - 1)) << restarted;
    EXPECT_EQ(world.store->gap_sum(GapCause::kSessionEnded).gaps, kMade) << restarted;
    EXPECT_EQ(world.store->gap_sum(GapCause::kSessionEnded).records, kMade) << restarted;
    EXPECT_LT(world.store->figures().row_bytes, 2u << 20) << restarted;
  }
}

TEST(Gaps, WhatAReaderWasOwedIsCounted) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  for (int i = 0; i < 5; ++i) world.append(stream, "payload", {{reader}});
  ASSERT_TRUE(world.settle());
  world.store->next(reader);
  world.store->acknowledge(reader, world.store->reader(reader)->cursor);
  world.store->remove_reader(reader, GapCause::kSessionEnded);
  EXPECT_EQ(world.store->gap_sum(GapCause::kSessionEnded).records, 4u);
}

// Goal: what is given up and the gap that says so are of one commit, and the reader goes on behind it. Method: a start without
// that commit, and one with it.
TEST(Gaps, WhatIsGivenUpIsOwedNoMoreAndTheReaderGoesOn) {
  for (const bool durable : {false, true}) {
    World world;
    const StreamId stream = world.store->open_local_stream("s", 5, 0);
    const ReaderId reader = world.store->create_reader(true);
    for (int i = 0; i < 5; ++i) world.append(stream, "old", {{reader}});
    ASSERT_TRUE(world.settle());
    for (int i = 0; i < 2; ++i) world.store->next(reader);
    world.store->give_up(reader, GapCause::kDropped);
    EXPECT_EQ(world.store->reader(reader)->owed_count, 0u);
    EXPECT_TRUE(world.store->caught_up(reader));
    EXPECT_EQ(world.store->next(reader).status, Store::FetchStatus::kNone);
    world.store->boundary();
    if (durable) {
      ASSERT_TRUE(world.settle()) << "nothing else has to ask for the commit";
    }
    world.open();
    EXPECT_EQ(world.store->reader(reader)->owed_count, durable ? 0u : 5u);
    EXPECT_EQ(world.store->gap_sum(GapCause::kDropped).records, durable ? 5u : 0u);
    world.append(stream, "new", {{reader}});
    ASSERT_TRUE(world.settle());
    EXPECT_EQ(world.drain(reader).size(), durable ? 1u : 6u);
    world.store->give_up(reader, GapCause::kDropped);
    EXPECT_EQ(world.store->gap_sum(GapCause::kDropped).gaps, durable ? 1u : 0u) << "nothing is no gap";
  }
}

// Written before rows said how many records there were.
TEST(Gaps, RowsWithoutACountAreRead) {
  const Gap gap{.stream = 3, .first = 5, .last = 9, .cause = GapCause::kDropped, .reader = 2, .wall_us = 77};
  World world;
  world.store->put(Table::kGap, Bytes("\0\0\0\3\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\2", 20),
                   Bytes("\x09\0\0\0\0\0\0\0\4\x4d\0\0\0\0\0\0\0", 17));
  ASSERT_TRUE(world.settle());
  world.open();
  ASSERT_EQ(world.gaps().size(), 1u);
  const Gap found = world.gaps()[0];
  EXPECT_EQ(found.stream, gap.stream);
  EXPECT_EQ(found.first, gap.first);
  EXPECT_EQ(found.last, gap.last);
  EXPECT_EQ(found.cause, gap.cause);
  EXPECT_EQ(found.reader, gap.reader);
  EXPECT_EQ(found.wall_us, gap.wall_us);
  EXPECT_EQ(found.count, 0u);
  EXPECT_EQ(world.store->gap_sum(GapCause::kDropped).records, 5u);
}

}  // namespace
}  // namespace hf::store
