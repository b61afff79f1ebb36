// Faults that were found in the store once, each with the promise that it broke: what was acknowledged is there again, what is
// gone is named, and a store that is full, failing or idle does not get stuck.
#include "store/store_world_testing.h"

namespace hf::store {
namespace {

// A batch larger than the waiting spare is given a later spare; the earlier one is used after it.
TEST(StoreFaults, SegmentsUsedOutOfTheOrderOfTheirIdsAreAllFoundAgain) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  int count = 0;
  // More than half of the first segment: a spare of 128 KiB is made.
  while (world.names(".seg").size() < 2) {
    world.append(stream, "payload " + std::to_string(count++), {{reader}});
    ASSERT_TRUE(world.settle());
  }
  // One atomic group that fits neither: a third segment is made and used before the second.
  const std::string filler(2000, 'f');
  for (int i = 0; i < 100; ++i) {
    world.append(stream, "payload " + std::to_string(count++) + filler, {{reader}});
  }
  ASSERT_TRUE(world.settle());
  for (int i = 0; i < 30; ++i) {
    world.append(stream, "payload " + std::to_string(count++), {{reader}});
    ASSERT_TRUE(world.settle());
  }
  const uint64_t durable = world.store->durable_commit();
  world.open();
  EXPECT_EQ(world.report.commit_last, durable);
  EXPECT_EQ(world.drain(reader).size(), static_cast<size_t>(count));
}

// Rot of a rewrite's header (8 KiB) costs at most that header.
TEST(StoreFaults, RottenHeaderOfARewriteDoesNotVoidTheActiveSegment) {
  for (const bool with_index : {true, false}) {
    World world;
    const StreamId stream = world.store->open_local_stream("s", 5, 0);
    const ReaderId reader = world.store->create_reader(true);
    for (const std::string& name : numbered(0, 499)) {
      world.append(stream, name, {{reader}});
      ASSERT_TRUE(world.settle());
    }
    for (int i = 0; i < 30; ++i) {
      world.idle(11);
      ASSERT_TRUE(world.settle());
    }
    for (const std::string& name : numbered(500, 509)) {
      world.append(stream, name, {{reader}});
      ASSERT_TRUE(world.settle());
    }
    int damaged = 0;
    for (const std::string& name : world.names(".seg")) {
      std::string& bytes = world.disk.files[name];
      auto header = decode_segment_header(Bytes(bytes).substr(0, kSegmentHeaderBytes));
      if (!header || !header->rewrite) continue;
      ++damaged;
      bytes.replace(0, kSegmentHeaderBytes, kSegmentHeaderBytes, 'x');
      if (!with_index) world.disk.files.erase(name.substr(0, 16) + ".idx");
    }
    ASSERT_GT(damaged, 0);
    world.open();
    ASSERT_NE(world.store->reader(reader), nullptr);
    EXPECT_EQ(world.drain(reader), numbered(0, 509)) << with_index;
  }
}

// An idle session that has acknowledged everything holds no segment.
TEST(StoreFaults, ReaderThatOwesNothingPinsNoSegment) {
  World world;
  world.options.quota_bytes = 2 << 20;
  world.open();
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId busy = world.store->create_reader(true);
  std::vector<ReaderId> idle;
  const std::string filler(1000, 'f');
  int refused = 0;
  for (int i = 0; i < 20'000; ++i) {
    // Now and then a session gets one command, in the same commit as other traffic behind it.
    if (i % 100 == 0 && idle.size() < 64) {
      idle.push_back(world.store->create_reader(true));
      world.append(stream, "command", {{idle.back()}});
    }
    if (!world.store->admit(1001)) {
      ++refused;
      world.idle(2);
    } else
      world.append(stream, filler, {{busy}});
    ASSERT_TRUE(world.settle());
    world.drain(busy);
    if (!idle.empty()) world.drain(idle.back());
    if (refused > 200) break;
  }
  for (const ReaderId id : idle) {
    EXPECT_EQ(world.store->reader(id)->owed_count, 0u);
  }
  EXPECT_LT(refused, 200) << "everything is acknowledged and the store is full for ever";
}

// Gap records of a recovery survive a second crash before the first commit.
TEST(StoreFaults, GapsOfARecoverySurviveASecondCrash) {
  for (const bool tail : {false, true}) {
    World world;
    const StreamId stream = world.store->open_local_stream("s", 5, 0);
    const ReaderId reader = world.store->create_reader(true);
    for (const std::string& name : numbered(0, 9)) {
      world.append(stream, name, {{reader}});
      ASSERT_TRUE(world.settle());
    }
    const std::string name = world.names(".seg").front();
    world.disk.files[name][kSegmentHeaderBytes + (tail ? 9 : 5) * kPageBytes + 100] ^= 1;
    world.open();
    EXPECT_EQ(world.gaps().size(), 1u);
    world.open();  // The power went again before anything was written.
    EXPECT_EQ(world.gaps().size(), 1u) << (tail ? "tail_cut" : "rot");
  }
}

// Every rotten frame is named.
TEST(StoreFaults, EveryRottenFrameIsNamedByAGapAndNothingElseIs) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  std::vector<Position> positions;
  for (const std::string& name : numbered(0, 9)) {
    positions.push_back(world.append(stream, name, {{reader}}).position);
    ASSERT_TRUE(world.settle());
  }
  const std::string name = world.names(".seg").front();
  for (const int page : {3, 6}) world.disk.files[name][kSegmentHeaderBytes + page * kPageBytes + 100] ^= 1;
  world.open();
  EXPECT_EQ(world.report.frames_rotten, 2u);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(world.covered(positions[i]), i == 3 || i == 6) << i;
}

TEST(StoreFaults, RotAtTheEndOfASegmentWithALaterOneIsNamed) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  std::vector<Position> positions;
  while (world.names(".seg").size() < 3) {
    positions.push_back(world.append(stream, std::to_string(positions.size()), {{reader}}).position);
    ASSERT_TRUE(world.settle());
  }
  const std::string name = world.names(".seg").front();
  world.disk.files.erase(name.substr(0, 16) + ".idx");
  const uint64_t pages = world.disk.files[name].size() / kPageBytes;
  world.disk.files[name][(pages - 1) * kPageBytes + 100] ^= 1;
  const size_t lost = pages - 3;  // The record of the last frame: one a page, the first page holds record 0.
  world.open();
  EXPECT_EQ(world.report.frames_rotten, 1u);
  EXPECT_EQ(world.drain(reader).size(), positions.size() - 1);
  EXPECT_TRUE(world.covered(positions[lost]));
}

TEST(StoreFaults, RotOfTheFirstFrameDoesNotClaimEarlierSegments) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  std::vector<Position> positions;
  while (world.names(".seg").size() < 3) {
    positions.push_back(world.append(stream, std::to_string(positions.size()), {{reader}}).position);
    ASSERT_TRUE(world.settle());
  }
  for (int i = 0; i < 5; ++i) {
    positions.push_back(world.append(stream, std::to_string(positions.size()), {{reader}}).position);
    ASSERT_TRUE(world.settle());
  }
  const std::string name = world.names(".seg")[1];
  world.disk.files[name][kSegmentHeaderBytes + 100] ^= 1;
  world.open();
  EXPECT_EQ(world.report.frames_rotten, 1u);
  EXPECT_FALSE(world.covered(positions[0]));
  EXPECT_EQ(world.drain(reader).size(), positions.size() - 1);
}

// A rewrite that meets a rotten frame says so.
TEST(StoreFaults, RotFoundByARewriteIsNamed) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  std::vector<Position> positions;
  while (world.names(".seg").size() < 3) {
    positions.push_back(world.append(stream, std::to_string(positions.size()), {{reader}}).position);
    ASSERT_TRUE(world.settle());
  }
  world.disk.files[world.names(".seg").front()][kSegmentHeaderBytes + 3 * kPageBytes + 100] ^= 1;
  for (int i = 0; i < 20; ++i) {
    world.idle(11);
    ASSERT_TRUE(world.settle());
  }
  EXPECT_EQ(world.drain(reader).size(), positions.size() - 1);
  EXPECT_TRUE(world.covered(positions[3]));
  EXPECT_EQ(world.store->reader(reader)->owed_count, 0u);
}

// An idle store does not write.
TEST(StoreFaults, IdleStoreOfRowsComesToRest) {
  World world;
  const std::string value(1000, 'v');
  for (int i = 0; i < 2000; ++i) {
    world.store->put(Table::kRetained, "topic " + std::to_string(i), value);
    if (i % 20 == 0) {
      ASSERT_TRUE(world.settle());
    }
  }
  for (int i = 0; i < 50; ++i) {
    world.idle(11);
    ASSERT_TRUE(world.settle());
  }
  const uint64_t before = world.store->figures().ingest_bytes;
  for (int i = 0; i < 100; ++i) {
    world.idle(11);
    ASSERT_TRUE(world.settle());
  }
  EXPECT_LT(world.store->figures().ingest_bytes - before, 64u << 10) << "in 18 idle minutes";
}

// A burst when space runs out.
TEST(StoreFaults, BurstAtTheEndOfTheSpaceDoesNotWedgeTheStore) {
  World world;
  world.options.quota_bytes = 2 << 20;
  world.open();
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string filler(1000, 'f');
  // Dense commits until most of the quota is used.
  int count = 0;
  while (world.store->figures().file_bytes < (1 << 20)) {
    for (int i = 0; i < 30; ++i, ++count) world.append(stream, filler, {{reader}});
    ASSERT_TRUE(world.settle());
  }
  // A burst within what the caller lets wait.
  for (int i = 0; i < 1500 && world.store->admit(1001); ++i, ++count) {
    world.append(stream, filler, {{reader}});
    world.store->boundary();
  }
  (void)world.settle();
  // The reader takes and acknowledges all it can get; time passes.
  for (int i = 0; i < 60; ++i) {
    world.drain(reader);
    world.idle(11);
    (void)world.settle();
  }
  EXPECT_EQ(world.store->pending_bytes(), 0u);
  EXPECT_EQ(world.store->mode(), Mode::kReady);
  EXPECT_EQ(world.store->durable_commit() + 1, world.store->open_commit());
}

// The device is full (not the quota): attempts to rewrite must not eat the reserve.
TEST(StoreFaults, FailingRewriteOnAFullDeviceIsNotPlannedAgainAtOnce) {
  struct FullDevice : MemoryDisk {
    bool full = false;
    Result<> create(const std::string& name, uint64_t size) override {
      return full ? Result<>(fail(Code::kFull, "no space", 28)) : MemoryDisk::create(name, size);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  while (world.names(".seg").size() < 4) {
    world.append(stream, "x", {{reader}});
    ASSERT_TRUE(world.settle());
  }
  disk.full = true;  // Somebody else filled the device.
  const uint64_t before = world.store->figures().commits;
  uint64_t appended = 0;
  while (appended < 1000 && world.store->mode() != Mode::kFull) {
    world.append(stream, "x", {{reader}});
    ++appended;
    (void)world.settle();
  }
  ASSERT_EQ(world.store->mode(), Mode::kFull);
  for (int i = 0; i < 10; ++i) {
    world.idle(2);
    (void)world.settle(2000);
  }
  EXPECT_LT(world.store->figures().commits - before, appended + 12) << "commits of nothing";
  // Control rows still go.
  world.store->put(Table::kSession, "late", "row");
  (void)world.settle();
  EXPECT_EQ(world.store->durable_commit() + 1, world.store->open_commit());
}

// A deadline that lies in the past is a busy loop.
TEST(StoreFaults, FailedStorageSetsNoDeadlineInThePast) {
  struct Failing : MemoryDisk {
    bool dead = false;
    Result<> sync(const std::string& name) override {
      return dead && name.ends_with(".seg") ? Result<>(fail(Code::kIo, "I/O error", 5))
                                            : MemoryDisk::sync(name);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  while (world.names(".seg").size() < 3) {
    world.append(stream, "x");
    ASSERT_TRUE(world.settle());
  }
  disk.dead = true;
  for (int i = 0; i < 30 && world.store->mode() != Mode::kStorageFailed; ++i) {
    world.append(stream, "x");
    (void)world.settle();
    world.idle(2);
  }
  ASSERT_EQ(world.store->mode(), Mode::kStorageFailed);
  world.idle(60);
  EXPECT_TRUE(world.settle());
  const auto deadline = world.store->next_deadline();
  EXPECT_TRUE(!deadline || *deadline > world.now.mono);
}

TEST(StoreFaults, LongRewriteSetsNoDeadlineInThePast) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  while (world.names(".seg").size() < 4) {
    world.append(stream, "x", {{reader}});
    ASSERT_TRUE(world.settle());
  }
  world.idle(11);
  std::vector<std::unique_ptr<Job>> held;
  for (int i = 0; i < 100; ++i) {
    auto job = world.store->take_job(world.now);
    if (!job) break;
    if (job->lane() == Lane::kBackground) {
      held.push_back(std::move(job));
      continue;
    }  // Takes its time.
    job->run(world.disk, world.entropy);
    world.store->complete(std::move(job), world.now);
  }
  ASSERT_FALSE(held.empty());
  for (int i = 0; i < 3; ++i) {
    world.idle(11);
    for (auto job = world.store->take_job(world.now); job; job = world.store->take_job(world.now)) {
      job->run(world.disk, world.entropy);
      world.store->complete(std::move(job), world.now);
    }
  }
  const auto deadline = world.store->next_deadline();
  EXPECT_TRUE(!deadline || *deadline > world.now.mono);
}

// The first commit of a fresh segment fails and is written again elsewhere.
TEST(StoreFaults, RecordsOfARepeatedCommitAreFoundByPosition) {
  struct Failing : MemoryDisk {
    int skip = 0, fail_syncs = 0;
    Result<> sync(const std::string& name) override {
      if (name.ends_with(".seg") && fail_syncs > 0 && skip-- <= 0) {
        --fail_syncs;
        return fail(Code::kIo, "I/O error", 5);
      }
      return MemoryDisk::sync(name);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const Position position = world.append(stream, "x", {{reader}}).position;
  disk.skip = 1;  // The sync of the new segment's header works, that of the first commit does not.
  disk.fail_syncs = 1;
  ASSERT_TRUE(world.settle());
  ASSERT_EQ(world.store->mode(), Mode::kDegraded);
  ASSERT_EQ(world.store->durable_commit(), position.commit());
  EXPECT_EQ(world.store->at(position, reader).status, Store::FetchStatus::kRecord);
  world.open();
  auto fetch = world.store->at(position, reader);
  if (fetch.status == Store::FetchStatus::kPending) {
    world.settle();
    fetch = world.store->at(position, reader);
  }
  EXPECT_EQ(fetch.status, Store::FetchStatus::kRecord);
}

// One unreadable sector does not keep the node from starting.
TEST(StoreFaults, UnreadableSectorDoesNotStopTheStart) {
  struct Bad : MemoryDisk {
    uint64_t bad_from = UINT64_MAX;
    std::string bad_name;
    Result<std::string> read(const std::string& name, uint64_t offset, uint64_t size) override {
      if (name == bad_name && offset <= bad_from && bad_from < offset + size) {
        return fail(Code::kIo, "I/O error", 5);
      }
      return MemoryDisk::read(name, offset, size);
    }
  };
  for (const uint64_t at : {uint64_t{100}, kSegmentHeaderBytes + 3 * kPageBytes}) {
    Bad disk;
    World world(&disk);
    const StreamId stream = world.store->open_local_stream("s", 5, 0);
    const ReaderId reader = world.store->create_reader(true);
    for (const std::string& name : numbered(0, 9)) {
      world.append(stream, name, {{reader}});
      ASSERT_TRUE(world.settle());
    }
    disk.bad_name = world.names(".seg").front();
    disk.bad_from = at;
    auto opened = Store::open(disk, world.entropy, test_kek(), world.options, "here", world.now, nullptr);
    EXPECT_TRUE(opened) << "byte " << at;
  }
}

// One failed read is not rot.
TEST(StoreFaults, ReadThatFailsOnceLosesNothing) {
  struct Once : MemoryDisk {
    int fail_reads = 0;
    Result<std::string> read(const std::string& name, uint64_t offset, uint64_t size) override {
      if (name.ends_with(".seg") && fail_reads > 0) {
        --fail_reads;
        return fail(Code::kIo, "cannot allocate memory", 12);
      }
      return MemoryDisk::read(name, offset, size);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  for (const std::string& name : numbered(0, 9)) {
    world.append(stream, name, {{reader}});
    ASSERT_TRUE(world.settle());
  }
  world.open();
  disk.fail_reads = 1;
  EXPECT_EQ(world.drain(reader), numbered(0, 9));
  EXPECT_TRUE(world.gaps().empty());
}

// Goal: a place that the disk cannot read costs the frame that lies there, not those that are read with it.
TEST(StoreFaults, BadPlaceCostsItsOwnFrameAlone) {
  struct Bad : MemoryDisk {
    std::string name;
    uint64_t at = 0;
    Result<std::string> read(const std::string& asked, uint64_t offset, uint64_t size) override {
      if (asked == name && offset <= at && at < offset + size) return fail(Code::kIo, "bad sector", 5);
      return MemoryDisk::read(asked, offset, size);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  for (const std::string& name : numbered(0, 9)) {
    world.append(stream, name, {{reader}});
    ASSERT_TRUE(world.settle());
  }
  world.open();
  disk.name = world.names(".seg").front();
  disk.at = 8192 + 5 * 4096 + 100;
  std::vector<std::string> left = numbered(0, 9);
  const std::vector<std::string> read = world.drain(reader);
  ASSERT_EQ(read.size(), 9u);
  std::erase_if(
      left, [&](const std::string& name) { return std::find(read.begin(), read.end(), name) == read.end(); });
  EXPECT_EQ(read, left);
  ASSERT_EQ(world.gaps().size(), 1u);
  EXPECT_EQ(world.gaps().front().cause, GapCause::kRot);
}

// A rewrite that is not whole never costs an original.
TEST(StoreFaults, RewriteThatIsNotWholeRemovesNoOriginal) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  int count = 0;
  while (world.names(".seg").size() < 4) {
    world.append(stream, std::to_string(count++), {{reader}});
    ASSERT_TRUE(world.settle());
  }
  // What a failed rewrite of segments 1 (gone since) and 2 left behind: its removal failed as well.
  Keys keys = *load_keys(world.disk, world.entropy, test_kek());
  SegmentHeader header;
  header.rewrite = true;
  header.store_id = keys.store_id;
  header.segment = 50;
  header.check = keys.segment_check(50);
  header.replaced = {0xdead, 2};
  world.disk.files[segment_name(50)] = encode_segment_header(header);
  world.open();
  EXPECT_EQ(world.drain(reader).size(), static_cast<size_t>(count));
}

// A rewrite that was whole when it failed, and whose removal failed too, comes to nothing once another took its place.
TEST(StoreFaults, RewriteThatFailedWhenItWasWholeGivesNothingTwice) {
  struct Stubborn : MemoryDisk {
    bool refuse = false;
    Result<> write(const std::string& name, uint64_t at, Bytes bytes) override {
      if (refuse && name.ends_with(".tmp")) return fail(Code::kIo, "no index today");
      return MemoryDisk::write(name, at, bytes);
    }
    Result<> remove(const std::string& name) override {
      if (refuse && name.ends_with(".seg")) return fail(Code::kIo, "nothing goes today");
      return MemoryDisk::remove(name);
    }
    std::vector<std::string> rewrites() const {
      std::vector<std::string> names;
      for (const auto& [name, bytes] : files) {
        const auto header = name.ends_with(".seg") ? decode_segment_header(bytes) : std::unexpected(Error{});
        if (header && header->rewrite) names.push_back(name);
      }
      return names;
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  int count = 0;
  while (world.names(".idx").size() < 2) {  // A page for each record: dense, they take less.
    world.append(stream, "payload " + std::to_string(count++), {{reader}});
    ASSERT_TRUE(world.settle());
  }
  const auto wait_for = [&](size_t rewrites) {
    for (int i = 0; i < 100 && disk.rewrites().size() < rewrites; ++i) {
      world.idle(11);
      ASSERT_TRUE(world.settle());
    }
    ASSERT_EQ(disk.rewrites().size(), rewrites);
  };
  disk.refuse = true;
  wait_for(1);
  disk.refuse = false;
  wait_for(2);
  world.idle(11);
  ASSERT_TRUE(world.settle());  // The originals go.
  const std::string failed = disk.rewrites().front();
  const std::string bytes = disk.files[failed];
  const auto expect_each_once = [&] {
    world.open();
    EXPECT_FALSE(disk.files.contains(failed));
    world.store->rewind(reader, Position{});
    EXPECT_EQ(world.drain(reader, false), numbered(0, count - 1));
    EXPECT_TRUE(world.gaps().empty());
    EXPECT_EQ(world.report.frames_rotten, 0u);
  };
  expect_each_once();
  // Its removal comes undone, and the one that took its place has been rewritten with its neighbours meanwhile.
  const std::string later = disk.rewrites().front();
  while (disk.files.contains(later)) {
    world.append(stream, "payload " + std::to_string(count++), {{reader}});
    ASSERT_TRUE(world.settle());
    world.idle(11);
    ASSERT_TRUE(world.settle());
    ASSERT_LT(count, 5000);
  }
  disk.files[failed] = bytes;
  expect_each_once();
}

// A full device must not keep a sealed segment out of reach for ever.
TEST(StoreFaults, IndexThatCouldNotBeWrittenIsTriedAgain) {
  struct NoIndex : MemoryDisk {
    bool refuse = false;
    Result<> write(const std::string& name, uint64_t at, Bytes bytes) override {
      if (refuse && name.ends_with(".tmp")) return fail(Code::kFull, "no space", 28);
      return MemoryDisk::write(name, at, bytes);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  disk.refuse = true;
  while (world.names(".seg").size() < 3) {
    world.append(stream, "x");
    ASSERT_TRUE(world.settle());
  }
  disk.refuse = false;
  for (int i = 0; i < 10; ++i) {
    world.idle(11);
    ASSERT_TRUE(world.settle());
  }
  EXPECT_FALSE(world.names(".idx").empty());
  EXPECT_TRUE(world.names(".tmp").empty());
}

// Nothing becomes durable any more, so nothing may pile up.
TEST(StoreFaults, FailedStorageDoesNotCollectRows) {
  struct Failing : MemoryDisk {
    bool dead = false;
    Result<> sync(const std::string& name) override {
      return dead && name.ends_with(".seg") ? Result<>(fail(Code::kIo, "I/O error", 5))
                                            : MemoryDisk::sync(name);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  while (world.names(".seg").size() < 3) {
    world.append(stream, "x");
    ASSERT_TRUE(world.settle());
  }
  disk.dead = true;
  for (int i = 0; i < 30 && world.store->mode() != Mode::kStorageFailed; ++i) {
    world.append(stream, "x");
    (void)world.settle();
    world.idle(2);
  }
  ASSERT_EQ(world.store->mode(), Mode::kStorageFailed);
  for (int i = 0; i < 20'000; ++i) {
    world.store->put(Table::kSession, "client", std::string(100, 'v'));
    world.store->boundary();
  }
  EXPECT_LT(world.store->pending_bytes(), 1u << 20);
}

// A dead disk is not a full disk.
TEST(StoreFaults, DiskThatMakesNoSegmentsIsNotCalledFull) {
  struct Failing : MemoryDisk {
    bool dead = false;
    Result<> create(const std::string& name, uint64_t size) override {
      return dead ? Result<>(fail(Code::kIo, "I/O error", 5)) : MemoryDisk::create(name, size);
    }
    Result<> sync(const std::string& name) override {
      return dead ? Result<>(fail(Code::kIo, "I/O error", 5)) : MemoryDisk::sync(name);
    }
  } disk;
  World world(&disk);
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  world.append(stream, "x");
  ASSERT_TRUE(world.settle());
  disk.dead = true;
  for (int i = 0; i < 60; ++i) {
    if (i < 3) world.append(stream, "x");
    (void)world.settle();
    world.idle(2);
  }
  EXPECT_EQ(world.store->mode(), Mode::kStorageFailed) << mode_name(world.store->mode());
}

// Times come from devices and peers.
TEST(StoreFaults, ExtremeTimesRoundTrip) {
  World world;
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string audience = encode_audience({{reader}});
  for (const int64_t wall : {INT64_MIN, INT64_MAX, int64_t{0}, INT64_MIN}) {
    NewRecord record;
    record.stream = stream;
    record.topic = "t";
    record.audience = audience;
    record.arrival.wall_us = wall;
    record.event_us = wall < 0 ? INT64_MAX : INT64_MIN;
    world.store->append(record);
  }
  ASSERT_TRUE(world.settle());
  for (int i = 0; i < 5; ++i) {
    world.idle(11);
    ASSERT_TRUE(world.settle());
  }
  EXPECT_EQ(world.drain(reader).size(), 4u);
}

// A slot that another key opens is somebody's.
TEST(StoreFaults, SoundSlotUnderAnotherKeyIsLeftAlone) {
  World world;
  const Keys keys = *load_keys(world.disk, world.entropy, test_kek());
  const std::string recovery = encode_key_slot(keys, crypto::Key(std::string(32, 'r')), {});
  world.disk.files["keys.1"] = recovery;
  world.open();
  EXPECT_TRUE(world.disk.files["keys.1"] == recovery);
}

TEST(StoreFaults, InterruptedCreationCanBeRepeated) {
  for (int calls = 0; calls < 12; ++calls) {
    struct Cut : MemoryDisk {
      int left = 0;
      bool on() { return --left >= 0; }
      Result<> off() { return fail(Code::kIo, "the power is off"); }
      Result<> create(const std::string& n, uint64_t s) override {
        return on() ? MemoryDisk::create(n, s) : off();
      }
      Result<> write(const std::string& n, uint64_t a, Bytes b) override {
        return on() ? MemoryDisk::write(n, a, b) : off();
      }
      Result<> sync(const std::string& n) override { return on() ? MemoryDisk::sync(n) : off(); }
      Result<> rename(const std::string& a, const std::string& b) override {
        return on() ? MemoryDisk::rename(a, b) : off();
      }
      Result<> sync_directory() override { return on() ? Result<>{} : off(); }
    } disk;
    TestEntropy entropy;
    disk.left = calls;
    if (Store::create(disk, entropy, test_kek(), 1)) break;
    disk.left = 1000;
    Now now;
    auto opened = Store::open(disk, entropy, test_kek(), {}, "f", now, nullptr);
    EXPECT_TRUE(opened || Store::create(disk, entropy, test_kek(), 1))
        << "cut after " << calls << ": " << opened.error().text;
  }
}

}  // namespace
}  // namespace hf::store
