// The store through its public face: what is acknowledged is there again, whatever happened in between. The
// world here is a disk in memory and jobs that run when the test says so; sim/ repeats all of it under faults
// and random orders.
#include "store/store.h"

#include <gtest/gtest.h>

#include "store/frame.h"
#include "store/memory_disk.h"
#include "store/segment.h"

namespace hf::store {
namespace {

crypto::Key test_kek() { return crypto::Key(std::string(32, 'k')); }

struct World {
  MemoryDisk disk;
  TestEntropy entropy;
  Options options;
  Now now;
  OpenReport report;
  std::unique_ptr<Store> store;

  World() {
    options.quota_bytes = 64 << 20;
    options.segment_bytes_min = 64 << 10;
    options.segment_bytes_max = 256 << 10;
    now.mono = {1'000'000'000};
    now.wall_us = 1'700'000'000'000'000;
    now.quality = ClockQuality::kNtp;
    now.boot = {1, 2};
    EXPECT_TRUE(Store::create(disk, entropy, test_kek(), 42));
    open();
  }

  void open(Bytes fence = "here") {
    store.reset();
    Result<std::unique_ptr<Store>> opened =
        Store::open(disk, entropy, test_kek(), options, fence, now, &report);
    ASSERT_TRUE(opened) << opened.error().text;
    store = std::move(*opened);
  }

  // Runs disk jobs until there are none.
  void settle() {
    store->boundary();
    for (int i = 0; i < 10'000; ++i) {
      std::unique_ptr<Job> job = store->take_job(now);
      if (job == nullptr) return;
      job->run(disk, entropy);
      store->complete(std::move(job), now);
    }
    FAIL() << "the store never comes to rest";
  }

  Store::Appended append(StreamId stream, Bytes payload, std::vector<Member> audience = {},
                         Bytes topic = "t") {
    const std::string encoded = encode_audience(std::move(audience));
    NewRecord record;
    record.stream = stream;
    record.topic = topic;
    record.payload = payload;
    record.qos = 1;
    record.arrival = arrival_of(now);
    record.audience = encoded;
    EXPECT_TRUE(store->admit(topic.size() + payload.size()));
    return store->append(record);
  }

  // Everything the reader is owed, in order; acknowledged if asked.
  std::vector<std::string> drain(ReaderId reader, bool acknowledge = true) {
    std::vector<std::string> payloads;
    for (int i = 0; i < 1'000'000; ++i) {
      Store::Fetch fetch = store->next(reader);
      if (fetch.status == Store::FetchStatus::kRecord) {
        payloads.emplace_back(fetch.record->payload);
        if (acknowledge) store->acknowledge(reader, fetch.record->position);
      } else if (fetch.status == Store::FetchStatus::kPending) {
        settle();
      } else {
        break;
      }
    }
    return payloads;
  }
};

std::vector<std::string> numbered(int first, int last) {
  std::vector<std::string> names;
  for (int i = first; i <= last; ++i) names.push_back("payload " + std::to_string(i));
  return names;
}

TEST(Store, NothingIsDurableBeforeItsSync) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const auto appended = world.append(stream, "x", {{reader}});
  EXPECT_EQ(appended.sequence, 1u);
  EXPECT_EQ(world.store->durable_commit(), 0u);
  EXPECT_EQ(world.store->next(reader).status, Store::FetchStatus::kNone);
  world.settle();
  EXPECT_GE(world.store->durable_commit(), appended.position.commit());
  EXPECT_EQ(world.store->take_woken(), std::vector<ReaderId>{reader});
  EXPECT_EQ(world.drain(reader), std::vector<std::string>{"x"});
}

TEST(Store, ReaderGetsOnlyWhatItsAudienceSaysInOrder) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId a = world.store->create_reader(true);
  const ReaderId b = world.store->create_reader(true);
  for (int i = 0; i < 100; ++i) {
    std::vector<Member> audience;
    if (i % 2 == 0) audience.push_back({a});
    if (i % 3 == 0) audience.push_back({b});
    world.append(stream, std::to_string(i), std::move(audience));
    if (i % 7 == 0) world.settle();
  }
  world.settle();
  const auto for_a = world.drain(a);
  const auto for_b = world.drain(b);
  ASSERT_EQ(for_a.size(), 50u);
  ASSERT_EQ(for_b.size(), 34u);
  for (size_t i = 0; i < for_a.size(); ++i) EXPECT_EQ(for_a[i], std::to_string(2 * i));
  for (size_t i = 0; i < for_b.size(); ++i) EXPECT_EQ(for_b[i], std::to_string(3 * i));
  EXPECT_EQ(world.store->reader(a)->owed_count, 0u);
  EXPECT_EQ(world.store->reader(a)->owed_bytes, 0u);
}

TEST(Store, EverythingIsThereAgainAfterARestart) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 3, 60);
  const ReaderId reader = world.store->create_reader(true);
  world.store->put(Table::kSession, "client", "state");
  world.store->put(Table::kSession, "gone", "x");
  for (const std::string& name : numbered(0, 999)) world.append(stream, name, {{reader}});
  world.settle();
  world.store->erase(Table::kSession, "gone");
  world.settle();
  for (int round = 0; round < 3; ++round) {
    world.open();
    EXPECT_EQ(world.store->get(Table::kSession, "client"), "state");
    EXPECT_EQ(world.store->get(Table::kSession, "gone"), std::nullopt);
    ASSERT_NE(world.store->stream(stream), nullptr);
    EXPECT_EQ(world.store->stream(stream)->sequence_last, 1000u);
    EXPECT_EQ(world.store->stream(stream)->options.priority, 3);
    ASSERT_NE(world.store->reader(reader), nullptr);
    EXPECT_EQ(world.store->reader(reader)->owed_count, 1000u);
    world.store->rewind(reader, world.store->reader(reader)->low_water);
    EXPECT_EQ(world.drain(reader, false), numbered(0, 999));
  }
  EXPECT_FALSE(world.report.tail_cut);
  EXPECT_EQ(world.report.frames_rotten, 0u);
}

TEST(Store, AcknowledgedPositionsRideWithTheNextCommit) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  for (const std::string& name : numbered(0, 9)) world.append(stream, name, {{reader}});
  world.settle();
  EXPECT_EQ(world.drain(reader).size(), 10u);
  EXPECT_EQ(world.store->take_job(world.now), nullptr) << "a position alone is not worth a commit";
  world.now.mono = world.now.mono + seconds(11);
  world.settle();
  world.open();
  EXPECT_EQ(world.store->reader(reader)->owed_count, 0u);
  EXPECT_TRUE(world.drain(reader).empty());
}

TEST(Store, OutOfOrderAcknowledgementsKeepTheLowWaterAtTheFirstOpenRecord) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  std::vector<Position> positions;
  for (int i = 0; i < 3; ++i) {
    positions.push_back(world.append(stream, "x", {{reader}}).position);
    world.store->take(reader, positions.back(), 2);
  }
  EXPECT_TRUE(world.store->caught_up(reader));
  world.settle();
  world.store->acknowledge(reader, positions[2]);
  world.store->acknowledge(reader, positions[1]);
  EXPECT_LT(world.store->reader(reader)->low_water, positions[0]);
  EXPECT_EQ(world.store->reader(reader)->owed_count, 1u);
  world.store->acknowledge(reader, positions[0]);
  EXPECT_EQ(world.store->reader(reader)->low_water, positions[2]);
}

TEST(Store, FiguresSayWhatCountedReadersAreOwedTogether) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId a = world.store->create_reader(true);
  const ReaderId b = world.store->create_reader(true);
  const ReaderId uncounted = world.store->create_reader(true);
  const auto count = [&] {
    world.store->count_in_figures(a);
    world.store->count_in_figures(b);
    world.store->count_in_figures(b);  // Twice is once.
  };
  const auto expect_owed = [&](uint64_t records, uint64_t bytes) {
    EXPECT_EQ(world.store->figures().owed_count, records);
    EXPECT_EQ(world.store->figures().owed_bytes, bytes);
  };
  for (int i = 0; i < 4; ++i)
    world.append(stream, "123456789", {{a}, {b}, {uncounted}});  // 10 bytes with "t".
  expect_owed(0, 0);
  count();
  expect_owed(8, 80);
  for (int i = 0; i < 6; ++i) world.append(stream, "123456789", {{a}, {b}, {uncounted}});
  expect_owed(20, 200);
  world.settle();
  expect_owed(20, 200);
  for (int i = 0; i < 3; ++i) world.store->acknowledge(a, world.store->next(a).record->position);
  expect_owed(17, 170);
  const Position low = world.store->reader(a)->low_water;
  world.store->next(a);
  world.store->rewind(a, low);
  expect_owed(17, 170);
  world.store->put(Table::kSession, "x", "y");
  world.settle();
  world.open();
  expect_owed(0, 0);
  count();
  expect_owed(17, 170);
  world.store->remove_reader(a, std::nullopt);
  expect_owed(10, 100);
  EXPECT_EQ(world.drain(uncounted).size(), 10u);
  expect_owed(10, 100);
  EXPECT_EQ(world.drain(b).size(), 10u);
  expect_owed(0, 0);
}

TEST(Store, OutstandingRecordsAreReadAgainByPositionAfterARestart) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  std::vector<Position> positions;
  for (const std::string& name : numbered(0, 9))
    positions.push_back(world.append(stream, name, {{reader}}).position);
  world.settle();
  for (int i = 0; i < 5; ++i) world.store->next(reader);
  for (const int done : {0, 1, 3}) world.store->acknowledge(reader, positions[static_cast<size_t>(done)]);
  world.store->put(Table::kSession, "x", "y");
  world.settle();
  world.open();
  const Position open[] = {positions[4], positions[2]};
  world.store->restore_outstanding(reader, open);
  EXPECT_EQ(world.store->reader(reader)->owed_count, 7u);
  Store::Fetch fetch = world.store->at(positions[2], reader);
  if (fetch.status == Store::FetchStatus::kPending) {
    world.settle();
    fetch = world.store->at(positions[2], reader);
  }
  ASSERT_EQ(fetch.status, Store::FetchStatus::kRecord);
  EXPECT_EQ(fetch.record->payload, "payload 2");
  EXPECT_EQ(world.drain(reader), numbered(5, 9));
}

// Goal: memory stays flat and a backlog larger than every cache is read back in order. Method: caches of a
// few frames.
TEST(Store, BacklogBeyondTheCachesIsReadBackFromDisk) {
  World world;
  world.options.tail_cache_bytes = 64 << 10;
  world.options.index_cache_bytes = 4 << 10;
  world.open();
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string filler(500, 'f');
  for (int i = 0; i < 4000; ++i) {
    world.append(stream, std::to_string(i) + filler, {{reader}});
    if (i % 50 == 0) world.settle();
  }
  world.settle();
  EXPECT_GT(world.store->figures().segment_count, 6u);
  EXPECT_LT(world.store->figures().cache_bytes, 128u << 10);
  for (int round = 0; round < 2; ++round) {
    const auto payloads = world.drain(reader, false);
    ASSERT_EQ(payloads.size(), 4000u);
    for (int i = 0; i < 4000; ++i) ASSERT_EQ(payloads[static_cast<size_t>(i)], std::to_string(i) + filler);
    world.open();
    world.store->rewind(reader, world.store->reader(reader)->low_water);
  }
}

// A search that needed two frames at once would read them in turn for ever where the cache holds one.
TEST(Store, SearchesGoOnWithACacheOfOneFrame) {
  World world;
  world.options.tail_cache_bytes = 1;
  world.open();
  const StreamId streams[2] = {world.store->open_local_stream("a", 5, 0),
                               world.store->open_local_stream("b", 5, 0)};
  const ReaderId readers[2] = {world.store->create_reader(true), world.store->create_reader(true)};
  // Each frame ends with a record of the other stream, for the other reader, than the next one begins with.
  for (size_t i = 0; i < 60; ++i) {
    const size_t which = i % 4 < 2 ? 0 : 1;
    world.append(streams[which], std::to_string(i), {{readers[which]}});
    if (i % 3 == 2) world.settle();
  }
  world.settle();
  // All four searches take turns, so that each pushes out what the others read.
  std::vector<std::string> found[4];
  Position after[2];
  for (int round = 0; round < 2000; ++round) {
    for (size_t i = 0; i < 2; ++i) {
      const Store::Fetch fetch = world.store->next_in_stream(streams[i], after[i], readers[i]);
      if (fetch.status == Store::FetchStatus::kRecord) {
        found[i].emplace_back(fetch.record->payload);
        after[i] = fetch.record->position;
      }
    }
    for (size_t i = 0; i < 2; ++i) {
      const Store::Fetch fetch = world.store->next(readers[i]);
      if (fetch.status == Store::FetchStatus::kRecord) found[2 + i].emplace_back(fetch.record->payload);
    }
    world.settle();
  }
  for (const auto& list : found) EXPECT_EQ(list.size(), 30u);
}

// Goal: whoever stops reading when the store says so is never refused, as long as readers keep up. Method: a slow disk: one
// job for each record that comes.
// Goal: however small the memory for indexes, readers that are behind in different segments all get on. Method: sixteen of them, each
// with its records in a segment of its own; what the disk did in one round comes back together, as it does from threads.
TEST(Store, ReadersBehindInManySegmentsDoNotPushEachOtherOut) {
  constexpr int kReaders = 16;
  World world;
  world.options.index_cache_bytes = 1;
  world.options.tail_cache_bytes = 64 << 10;
  world.open();
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  std::map<ReaderId, int> read;
  for (int i = 0; i < kReaders; ++i) {
    const ReaderId reader = world.store->create_reader(true);
    read[reader] = 0;
    for (int n = 0; n < 60; ++n) {
      world.append(stream, std::string(6000, 'x'), {{reader}});
      world.settle();
    }
  }
  ASSERT_GE(world.store->figures().segment_count, uint32_t{kReaders});
  world.open();
  std::vector<ReaderId> turn;
  for (const auto& [reader, count] : read) turn.push_back(reader);
  for (int round = 0; round < 3000 && !turn.empty(); ++round) {
    for (const ReaderId reader : turn) {
      for (;;) {
        const Store::Fetch fetch = world.store->next(reader);
        if (fetch.status != Store::FetchStatus::kRecord) break;
        world.store->acknowledge(reader, fetch.record->position);
        ++read[reader];
      }
    }
    std::vector<std::unique_ptr<Job>> jobs;
    while (auto job = world.store->take_job(world.now)) jobs.push_back(std::move(job));
    for (auto& job : jobs) {
      job->run(world.disk, world.entropy);
      world.store->complete(std::move(job), world.now);
    }
    turn = world.store->take_woken();
  }
  for (const auto& [reader, count] : read) EXPECT_EQ(count, 60) << reader;
}

TEST(Store, WhatIsDoneWithMakesRoomBeforeAnythingIsRefused) {
  World world;
  world.options.quota_bytes = 8 << 20;
  world.open();
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string audience = encode_audience({{reader}});
  const std::string payload(20'000, 'p');
  int waited = 0;
  for (int i = 0; i < 3000; ++i) {
    for (int turns = 0; world.store->congested(); ++turns) {
      ASSERT_LT(turns, 1000) << "it asks to wait and does nothing";
      std::unique_ptr<Job> job = world.store->take_job(world.now);
      if (job == nullptr) {
        world.now.mono = world.now.mono + milliseconds(50);
        continue;
      }
      ++waited;
      job->run(world.disk, world.entropy);
      world.store->complete(std::move(job), world.now);
    }
    NewRecord record;
    record.stream = stream;
    record.topic = "t";
    record.payload = payload;
    record.arrival = arrival_of(world.now);
    record.audience = audience;
    ASSERT_TRUE(world.store->admit(payload.size() + 1)) << i;
    world.store->append(record);
    world.store->boundary();
    if (std::unique_ptr<Job> job = world.store->take_job(world.now)) {
      job->run(world.disk, world.entropy);
      world.store->complete(std::move(job), world.now);
    }
    for (Store::Fetch fetch = world.store->next(reader); fetch.status == Store::FetchStatus::kRecord;
         fetch = world.store->next(reader)) {
      world.store->acknowledge(reader, fetch.record->position);
    }
  }
  EXPECT_GT(waited, 0);
  EXPECT_LE(world.store->figures().file_bytes, 9u << 20);
}

// Goal: a segment that is gone, index and all, is missed at the next start and its records are named; one that was given up is
// not. Method: each segment but the last taken away, of a store that has given up some.
TEST(Store, ASegmentThatIsGoneIsMissed) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string filler(2000, 'f');
  for (int i = 0; i < 600; ++i) {
    world.append(stream, filler, {{reader}});
    if (i % 5 == 0) world.settle();
  }
  world.settle();
  for (int i = 0; i < 300; ++i) {
    const Store::Fetch fetch = world.store->next(reader);
    if (fetch.status == Store::FetchStatus::kPending) world.settle();
    if (fetch.status == Store::FetchStatus::kRecord) world.store->acknowledge(reader, fetch.record->position);
  }
  world.options.retention_s = 0;
  world.open();
  for (int i = 0; i < 20; ++i) {
    world.now.mono = world.now.mono + seconds(11);
    world.now.wall_us += 11'000'000;
    world.settle();
  }
  world.open();
  ASSERT_EQ(world.report.frames_rotten, 0u);
  ASSERT_GT(world.report.segments, 3u);
  world.append(stream, "in a segment of its own, which says what else there is");
  world.settle();
  const std::map<std::string, std::string> files = world.disk.files;
  std::vector<std::string> names;
  for (const auto& [name, bytes] : files) {
    if (name.ends_with(".seg")) names.push_back(name.substr(0, name.size() - 4));
  }
  names.pop_back();
  size_t missed = 0;
  for (const std::string& name : names) {
    world.disk.files = files;
    world.disk.files.erase(name + ".seg");
    if (world.disk.files.erase(name + ".idx") == 0) continue;
    world.open();
    EXPECT_EQ(world.report.frames_rotten, 1u) << name;
    size_t gaps = 0;
    world.store->for_each_gap([&](const Gap& gap) { gaps += gap.cause == GapCause::kRot ? 1 : 0; });
    EXPECT_GE(gaps, 1u) << name;
    ++missed;
    world.settle();
    world.open();
    EXPECT_EQ(world.report.frames_rotten, 0u) << "said once: " << name;
  }
  EXPECT_GT(missed, 2u);
}

TEST(Store, LooksBackFromTheNewest) {
  World world;
  world.options.index_cache_bytes = 1;
  world.open();
  const StreamId streams[2] = {world.store->open_local_stream("a", 5, 0),
                               world.store->open_local_stream("b", 5, 0)};
  for (size_t i = 0; i < 600; ++i) {
    world.append(streams[i % 3 == 0 ? 0 : 1], std::to_string(i) + std::string(500, 'f'));
    if (i % 20 == 0) world.settle();
  }
  world.settle();
  for (const uint64_t count : {1, 2, 50, 199, 200, 201, 5000}) {
    std::optional<Position> at = world.store->before_last(streams[0], count, 0);
    for (int i = 0; i < 100 && !at; ++i) {
      world.settle();
      at = world.store->before_last(streams[0], count, 0);
    }
    ASSERT_TRUE(at);
    uint64_t behind = 0;
    for (Store::Fetch fetch; fetch.status != Store::FetchStatus::kNone || behind == 0;) {
      fetch = world.store->next_in_stream(streams[0], *at, 0);
      if (fetch.status == Store::FetchStatus::kPending) world.settle();
      if (fetch.status != Store::FetchStatus::kRecord) continue;
      at = fetch.record->position;
      ++behind;
    }
    EXPECT_GE(behind, std::min<uint64_t>(count, 200)) << count;
    EXPECT_LE(behind, std::min<uint64_t>(count + 20, 200)) << count;
  }
}

// A look for a number reads what lies behind it, and none of the segments before.
TEST(Store, LooksForANumberPastOlderSegments) {
  World world;
  const StreamId streams[2] = {world.store->open_local_stream("a", 5, 0),
                               world.store->open_local_stream("b", 5, 0)};
  std::vector<Position> positions[2];
  for (size_t i = 0; i < 3000; ++i) {
    const size_t which = i % 3 == 0 ? 0 : 1;
    positions[which].push_back(world.append(streams[which], std::string(900, 'f')).position);
    if (i % 20 == 0) world.settle();
  }
  world.settle();
  ASSERT_GT(world.store->figures().segment_count, 2u);
  for (const size_t which : {0, 1}) {
    const std::vector<Position>& all = positions[which];
    uint64_t passed = 0;
    for (const uint64_t number : {uint64_t{1}, uint64_t{2}, all.size() / 2, all.size()}) {
      const Position at = world.store->before_number(streams[which], number);
      EXPECT_LT(at, all[number - 1]) << number;
      passed +=
          static_cast<uint64_t>(std::count_if(all.begin(), all.end(), [&](Position p) { return p <= at; }));
    }
    EXPECT_GT(passed, all.size() / 2);
    const Position end = world.store->before_number(streams[which], all.size() + 1);
    EXPECT_EQ(world.store->next_in_stream(streams[which], end, 0).status, Store::FetchStatus::kNone);
  }
}

TEST(Store, SmallSegmentsAreJoinedAndPositionsStay) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  std::vector<Position> positions;
  for (int round = 0; round < 40; ++round) {
    positions.push_back(world.append(stream, "payload " + std::to_string(round), {{reader}}).position);
    world.store->put(Table::kRetained, "topic " + std::to_string(round % 7), std::to_string(round));
    if (round % 5 == 0) world.store->erase(Table::kRetained, "topic " + std::to_string((round + 3) % 7));
    world.settle();
    world.open();  // Each start leaves a segment behind.
  }
  std::map<std::string, std::string> rows;
  world.store->scan(Table::kRetained, {}, [&](Bytes key, Bytes value) {
    rows[std::string(key)] = value;
    return true;
  });
  for (int i = 0; i < 8; ++i) {
    world.now.mono = world.now.mono + seconds(11);
    world.settle();
  }
  EXPECT_LT(world.store->figures().segment_count, 12u);
  world.open();
  std::map<std::string, std::string> after;
  world.store->scan(Table::kRetained, {}, [&](Bytes key, Bytes value) {
    after[std::string(key)] = value;
    return true;
  });
  EXPECT_EQ(after, rows);
  EXPECT_EQ(world.drain(reader, false), numbered(0, 39));
  for (size_t i = 0; i < positions.size(); ++i) {
    const Store::Fetch fetch = world.store->at(positions[i], reader);
    ASSERT_EQ(fetch.status, Store::FetchStatus::kRecord);
    EXPECT_EQ(fetch.record->sequence, i + 1);
  }
}

// Goal: a message a commit, a page a commit does not stay that way on disk. Method: 2,000 commits of one
// small record.
TEST(Store, PaddedSegmentsBecomeDense) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  for (const std::string& name : numbered(0, 1999)) {
    world.append(stream, name, {{reader}});
    world.settle();
  }
  const uint64_t before = world.store->figures().file_bytes;
  EXPECT_GT(before, 2000 * kPageBytes);
  for (int i = 0; i < 100; ++i) {
    world.now.mono = world.now.mono + seconds(11);
    world.settle();
  }
  EXPECT_LT(world.store->figures().file_bytes, before / 8);
  world.open();
  EXPECT_EQ(world.drain(reader), numbered(0, 1999));
}

TEST(Store, FullStoreRefusesAndTakesAgainWhenReadersMoveOn) {
  World world;
  world.options.quota_bytes = 2 << 20;
  world.open();
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string filler(1000, 'f');
  int accepted = 0;
  while (accepted < 100'000 && world.store->admit(filler.size() + 1)) {
    world.append(stream, filler, {{reader}});
    world.settle();
    ++accepted;
  }
  ASSERT_LT(accepted, 100'000);
  EXPECT_EQ(world.store->admit(1001).error().code, Code::kFull);
  EXPECT_EQ(world.store->mode(), Mode::kFull);
  EXPECT_LE(world.store->figures().file_bytes, world.options.quota_bytes);
  // Control rows still go: a position, a session.
  world.store->put(Table::kSession, "late", "row");
  world.settle();
  EXPECT_EQ(world.store->durable_commit() + 1, world.store->open_commit());
  EXPECT_EQ(world.drain(reader).size(), static_cast<size_t>(accepted));
  for (int i = 0; i < 20; ++i) {
    world.now.mono = world.now.mono + seconds(2);
    world.settle();
  }
  EXPECT_TRUE(world.store->admit(1001));
  world.append(stream, "again", {{reader}});
  world.settle();
  world.open();
  EXPECT_EQ(world.store->get(Table::kSession, "late"), "row");
  EXPECT_EQ(world.drain(reader), std::vector<std::string>{"again"});
  EXPECT_EQ(world.store->stream(stream)->sequence_last, static_cast<uint64_t>(accepted) + 1);
}

TEST(Store, CopyOfTheDirectoryTakesANewIncarnationAndGoesOnNumbering) {
  World world;
  const uint64_t first = world.store->incarnation();
  world.append(world.store->open_local_stream("s", 5, 0), "x");
  world.settle();
  world.open();
  EXPECT_EQ(world.store->incarnation(), first);
  world.open("elsewhere");
  EXPECT_TRUE(world.report.new_incarnation);
  EXPECT_NE(world.store->incarnation(), first);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  EXPECT_EQ(world.append(stream, "y").sequence, 2u);
  EXPECT_EQ(world.store->find_stream({first, "s"})->sequence_last, 1u);
}

TEST(Store, WrongKeyAndForeignDirectoryAreToldApart) {
  World world;
  MemoryDisk empty;
  EXPECT_EQ(Store::open(empty, world.entropy, test_kek(), world.options, "", world.now, nullptr).error().code,
            Code::kForeign);
  EXPECT_EQ(Store::open(world.disk, world.entropy, crypto::Key(std::string(32, 'x')), world.options, "",
                        world.now, nullptr)
                .error()
                .code,
            Code::kWrongKey);
  EXPECT_EQ(Store::create(world.disk, world.entropy, test_kek(), 1).error().code, Code::kExists);
  // One damaged slot is mended from the other.
  world.disk.files["keys.0"][20] ^= 1;
  world.open();
  EXPECT_TRUE(decode_key_slot(world.disk.files["keys.0"], test_kek()));
}

// Goal: a rotten frame costs that frame and nothing behind it. Method: flip a byte in the middle of the log.
TEST(Store, RotInTheMiddleIsQuarantinedUnderAGapRecord) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  for (const std::string& name : numbered(0, 9)) {
    world.append(stream, name, {{reader}});
    world.settle();
  }
  std::string& file = world.disk.files.rbegin()->second;
  std::string name;
  for (auto& [candidate, bytes] : world.disk.files) {
    if (candidate.ends_with(".seg") && name.empty()) name = candidate;
  }
  (void)file;
  // The sixth commit's page.
  world.disk.files[name][kSegmentHeaderBytes + 5 * kPageBytes + 100] ^= 1;
  world.open();
  EXPECT_EQ(world.report.frames_rotten, 1u);
  EXPECT_FALSE(world.report.tail_cut);
  auto expected = numbered(0, 9);
  expected.erase(expected.begin() + 5);
  EXPECT_EQ(world.drain(reader), expected);
  int gaps = 0;
  world.store->for_each_gap([&](const Gap& gap) { gaps += gap.cause == GapCause::kRot ? 1 : 0; });
  EXPECT_EQ(gaps, 1);
}

// Goal: after a power cut at any write, what was durable is there, nothing else is half there, and the store
// goes on. Method: a disk that stops after the n-th call, for every n until the workload runs through;
// unsynced writes of whole calls are kept here, sim/ loses, tears and reorders them.
TEST(Store, PowerCutAfterEveryDiskCallKeepsWhatWasDurable) {
  class CutDisk : public MemoryDisk {
   public:
    int calls_left = INT_MAX;
    Result<> create(const std::string& name, uint64_t size) override {
      return on() ? MemoryDisk::create(name, size) : off();
    }
    Result<> write(const std::string& name, uint64_t at, Bytes bytes) override {
      if (on()) return MemoryDisk::write(name, at, bytes);
      // The cut write itself is torn.
      if (calls_left == -1) (void)MemoryDisk::write(name, at, bytes.substr(0, bytes.size() / 2));
      return off();
    }
    Result<> truncate(const std::string& name, uint64_t size) override {
      return on() ? MemoryDisk::truncate(name, size) : off();
    }
    Result<> sync(const std::string& name) override { return on() ? MemoryDisk::sync(name) : off(); }
    Result<> rename(const std::string& from, const std::string& to) override {
      return on() ? MemoryDisk::rename(from, to) : off();
    }
    Result<> remove(const std::string& name) override { return on() ? MemoryDisk::remove(name) : off(); }
    Result<> sync_directory() override { return on() ? Result<>{} : off(); }

   private:
    bool on() { return --calls_left >= 0; }
    Result<> off() { return fail(Code::kIo, "the power is off"); }
  };
  for (int cut = 1; cut < 2000; ++cut) {
    CutDisk disk;
    TestEntropy entropy(7);
    Options options;
    options.quota_bytes = 4 << 20;
    options.segment_bytes_min = 32 << 10;
    options.segment_bytes_max = 64 << 10;
    Now now;
    now.quality = ClockQuality::kNtp;
    ASSERT_TRUE(Store::create(disk, entropy, test_kek(), 1));
    disk.calls_left = cut;
    ReaderId reader = 0;
    int appended = 0;
    int durable = 0;
    {
      auto opened = Store::open(disk, entropy, test_kek(), options, "f", now, nullptr);
      if (opened) {
        Store& store = **opened;
        const StreamId stream = store.open_local_stream("s", 5, 0);
        reader = store.create_reader(true);
        const std::string audience = encode_audience({{reader}});
        std::map<int, uint64_t> commits;
        for (int step = 0; step < 60; ++step) {
          for (int i = 0; i < 3; ++i) {
            NewRecord record;
            const std::string payload = std::to_string(appended) + std::string(900, 'p');
            record.stream = stream;
            record.topic = "t";
            record.payload = payload;
            record.audience = audience;
            commits[appended] = store.append(record).position.commit();
            store.put(Table::kMark, "count", std::to_string(++appended));
          }
          store.boundary();
          for (int jobs = 0; jobs < 50; ++jobs) {
            auto job = store.take_job(now);
            if (job == nullptr) break;
            job->run(disk, entropy);
            store.complete(std::move(job), now);
          }
          while (durable < appended && commits[durable] <= store.durable_commit()) ++durable;
        }
      }
    }
    const bool finished = disk.calls_left > 0;
    for (int again = 0; again < 2; ++again) {
      disk.calls_left = INT_MAX;
      auto opened = Store::open(disk, entropy, test_kek(), options, "f", now, nullptr);
      ASSERT_TRUE(opened) << "cut " << cut << ": " << opened.error().text;
      Store& store = **opened;
      const auto count = store.get(Table::kMark, "count");
      const int present = count ? std::stoi(std::string(*count)) : 0;
      ASSERT_GE(present, durable) << "cut " << cut;
      ASSERT_LE(present, appended) << "cut " << cut;
      if (store.reader(reader) == nullptr) {
        ASSERT_EQ(durable, 0);
        continue;
      }
      store.rewind(reader, {});
      for (int i = 0; i < present; ++i) {
        Store::Fetch fetch = store.next(reader);
        for (int tries = 0; fetch.status == Store::FetchStatus::kPending && tries < 20; ++tries) {
          for (auto job = store.take_job(now); job != nullptr; job = store.take_job(now)) {
            job->run(disk, entropy);
            store.complete(std::move(job), now);
          }
          fetch = store.next(reader);
        }
        ASSERT_EQ(fetch.status, Store::FetchStatus::kRecord)
            << "cut " << cut << " record " << i << " of " << present;
        ASSERT_EQ(fetch.record->sequence, static_cast<uint64_t>(i) + 1);
        ASSERT_TRUE(fetch.record->payload.starts_with(std::to_string(i) + "p"));
      }
    }
    if (finished) {
      EXPECT_EQ(durable, appended);
      return;
    }
  }
  FAIL() << "the workload never finished";
}

TEST(Store, FailedSyncMovesTheCommitToANewSegmentAndASecondOneLatches) {
  class FailingDisk : public MemoryDisk {
   public:
    int fail_syncs = 0;
    std::set<std::string> failed;
    Result<> sync(const std::string& name) override {
      EXPECT_FALSE(failed.contains(name)) << "a failed file is synced again";
      if (name.ends_with(".seg") && fail_syncs > 0) {
        --fail_syncs;
        failed.insert(name);
        return fail(Code::kIo, "I/O error", 5);
      }
      return {};
    }
  };
  FailingDisk disk;
  TestEntropy entropy;
  Options options;
  Now now;
  ASSERT_TRUE(Store::create(disk, entropy, test_kek(), 1));
  auto store = std::move(*Store::open(disk, entropy, test_kek(), options, "f", now, nullptr));
  const auto settle = [&] {
    store->boundary();
    for (auto job = store->take_job(now); job != nullptr; job = store->take_job(now)) {
      job->run(disk, entropy);
      store->complete(std::move(job), now);
    }
  };
  const ReaderId reader = store->create_reader(true);
  const std::string audience = encode_audience({{reader}});
  const StreamId stream = store->open_local_stream("s", 5, 0);
  const auto append = [&](Bytes payload) {
    NewRecord record;
    record.stream = stream;
    record.topic = "t";
    record.payload = payload;
    record.audience = audience;
    return store->append(record).position.commit();
  };
  append("one");
  settle();
  const uint64_t second = append("two");
  disk.fail_syncs = 1;
  settle();
  EXPECT_EQ(store->mode(), Mode::kDegraded);
  EXPECT_EQ(store->durable_commit(), second);
  append("three");
  settle();
  store = std::move(*Store::open(disk, entropy, test_kek(), options, "f", now, nullptr));
  store->rewind(reader, {});
  for (const char* expected : {"one", "two", "three"}) {
    Store::Fetch fetch = store->next(reader);
    if (fetch.status == Store::FetchStatus::kPending) {
      settle();
      fetch = store->next(reader);
    }
    ASSERT_EQ(fetch.status, Store::FetchStatus::kRecord);
    EXPECT_EQ(fetch.record->payload, expected);
  }
  disk.failed.clear();
  append("four");
  settle();
  const uint64_t before = store->durable_commit();
  append("five");
  disk.fail_syncs = 2;
  settle();
  if (store->mode() != Mode::kStorageFailed) {
    // The spare that the retry waits for failed to be made, which is a failure as well.
    now.mono = now.mono + seconds(2);
    settle();
  }
  EXPECT_GE(store->durable_commit(), before);
}

}  // namespace
}  // namespace hf::store
