// How a backlog comes from the disk.
#include "store/store_world_testing.h"

namespace hf::store {
namespace {

// Goal: who reads a backlog from end to end waits for the disk once a segment, and not once a read. Method: the disk has done
// what it was asked before the reader asks again.
TEST(Readers, BacklogIsReadBeforeItIsNeeded) {
  World world;
  world.options.tail_cache_bytes = 4 << 20;
  world.options.segment_bytes_min = world.options.segment_bytes_max = 16 << 20;
  world.open();
  const StreamId stream = world.store->open_local_stream("s", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string filler(1000, 'f');
  constexpr int kRecords = 16'000;
  for (int i = 0; i < kRecords; ++i) {
    world.append(stream, filler, {{reader}});
    if (i % 50 == 0) world.settle();
  }
  world.settle();
  size_t waits = 0;
  for (int taken = 0; taken < kRecords;) {
    const Store::Fetch fetch = world.store->next(reader);
    ASSERT_NE(fetch.status, Store::FetchStatus::kNone);
    if (fetch.status == Store::FetchStatus::kRecord) {
      ++taken;
    } else {
      ++waits;
    }
    world.settle();
  }
  EXPECT_LE(waits, 2u * 2u);  // Two segments, for directory and first frames of each.
}

// Goal: many who come from behind, each from another place, do not push out what was read for the others. Method: they take a
// record each in turn, and what the disk gave is counted.
TEST(Readers, ManyReadersOfABacklogReadItOnceEach) {
  struct Counting : MemoryDisk {
    uint64_t bytes_read = 0;
    Result<std::string> read(const std::string& name, uint64_t offset, uint64_t size) override {
      if (name.ends_with(".seg")) bytes_read += size;
      return MemoryDisk::read(name, offset, size);
    }
  };
  for (const size_t reader_count : {1u, 4u, 16u, 40u}) {
    Counting disk;
    World world(&disk);
    world.options.segment_bytes_min = world.options.segment_bytes_max = 8 << 20;
    world.options.quota_bytes = 1 << 30;
    world.open();
    const StreamId stream = world.store->open_local_stream("s", 5, 0);
    std::vector<ReaderId> readers;
    std::vector<Member> audience;
    for (size_t i = 0; i < reader_count; ++i) readers.push_back(world.store->create_reader(true));
    for (const ReaderId reader : readers) audience.push_back({reader});
    constexpr size_t kEach = 500;
    const std::string filler(1000, 'f');
    std::vector<Position> places;
    for (size_t i = 0; i < reader_count * kEach + 20'000; ++i) {
      const Position position = world.append(stream, filler, audience).position;
      if (i % kEach == 0 && places.size() < reader_count) places.push_back(position);
      if (i % 50 == 0) world.settle();
    }
    world.settle();
    for (size_t i = 0; i < reader_count; ++i) world.store->rewind(readers[i], places[i]);
    disk.bytes_read = 0;
    for (size_t taken = 0; taken < kEach; ++taken) {
      for (const ReaderId reader : readers) {
        Store::Fetch fetch = world.store->next(reader);
        for (int tries = 0; fetch.status == Store::FetchStatus::kPending && tries < 10; ++tries) {
          world.settle();
          fetch = world.store->next(reader);
        }
        ASSERT_EQ(fetch.status, Store::FetchStatus::kRecord);
      }
    }
    // Its own part, and what was asked for beyond it.
    EXPECT_LE(disk.bytes_read, reader_count * (kEach * filler.size() * 3 / 2 + (512 << 10)));
  }
}

}  // namespace
}  // namespace hf::store
