// Rows of tables over many segments: what is there is what was written last, and what is erased costs no memory for longer than a
// segment may bring it back.
#include <map>

#include "base/prng.h"
#include "store/store_world_testing.h"

namespace hf::store {
namespace {

// Each delivery to a shared subscription without a session is such a row, and none of their keys ever comes again.
TEST(StoreRows, ErasedRowsLeaveMemoryWithTheirSegment) {
  World world;
  world.options.segment_bytes_max = 4 << 20;
  world.options.segment_bytes_min = 4 << 20;
  world.open();
  world.store->put(Table::kShareOwed, "stays", "x");
  ASSERT_TRUE(world.settle());
  const uint64_t before = world.store->figures().row_bytes;
  for (int i = 0; i < 5000; ++i) {
    const std::string key = "delivery " + std::to_string(i);
    world.store->put(Table::kShareOwed, key, "x");
    if (i % 10 == 0) {
      ASSERT_TRUE(world.settle());
    }
    world.store->erase(Table::kShareOwed, key);
    if (i % 7 == 0) {
      ASSERT_TRUE(world.settle());
    }
  }
  EXPECT_GT(world.store->figures().row_bytes, before);  // The last ones are not durable yet.
  ASSERT_TRUE(world.settle());
  EXPECT_LT(world.store->figures().row_bytes, before + 200);  // A row or two of the store's own.
  world.open();
  world.store->scan(Table::kShareOwed, {}, [](Bytes key, Bytes) {
    EXPECT_EQ(key, "stays");
    return true;
  });
}

// Goal: no row comes back and none is lost, however the log is cut into segments. Method: rows are put and erased at random beside
// records that are acknowledged, so that segments fill, are rewritten and go; now and then the store is opened anew, from its
// indexes or without the last one. A map says what must be there.
TEST(StoreRows, AreWhatWasWrittenLastOverManySegmentsAndStarts) {
  uint32_t segments_most = 0;
  uint64_t rewritten = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    World world;
    world.options.quota_bytes = 4 << 20;
    world.options.segment_bytes_max = 128 << 10;
    world.options.retention_s = 0;
    world.open();
    Prng prng(seed);
    std::map<std::string, std::string> model;
    const StreamId stream = world.store->open_local_stream("s", 5, 0);
    ReaderId reader = world.store->create_reader(true);
    for (int step = 0; step < 3000; ++step) {
      const std::string key = "key " + std::to_string(prng.below(60));
      if (prng.below(3) == 0) {
        world.store->erase(Table::kRetained, key);
        model.erase(key);
      } else {
        const std::string value(prng.below(200), static_cast<char>('a' + prng.below(26)));
        world.store->put(Table::kRetained, key, value);
        model[key] = value;
      }
      if (prng.below(4) == 0) world.append(stream, std::string(prng.below(2000), 'p'), {{reader}});
      if (prng.below(3) == 0) {
        ASSERT_TRUE(world.settle());
      }
      if (prng.below(40) == 0) world.drain(reader);
      if (prng.below(50) == 0) world.idle(11);
      segments_most = std::max(segments_most, world.store->figures().segment_count);
      if (prng.below(200) != 0) continue;
      rewritten += world.store->figures().rewrite_bytes;
      ASSERT_TRUE(world.settle());
      if (prng.below(2) == 0) {
        const auto indexes = world.names(".idx");
        if (!indexes.empty()) world.disk.files.erase(indexes.back());
      }
      world.open();
      std::map<std::string, std::string> found;
      world.store->scan(Table::kRetained, {}, [&](Bytes row, Bytes value) {
        found.emplace(row, value);
        return true;
      });
      ASSERT_EQ(found, model) << "seed " << seed << ", step " << step;
    }
  }
  EXPECT_GT(segments_most, 4u);
  EXPECT_GT(rewritten, 0u);
}

TEST(StoreRows, ErasureThatIsNotDurableYetHasACommitToWaitFor) {
  World world;
  world.store->put(Table::kRetained, "t", "x");
  ASSERT_TRUE(world.settle());
  EXPECT_EQ(world.store->commit_of(Table::kRetained, "t"), 0u);
  EXPECT_EQ(world.store->commit_of(Table::kRetained, "never"), 0u);
  world.store->erase(Table::kRetained, "t", Haste::kRide);
  const uint64_t commit = world.store->commit_of(Table::kRetained, "t");
  EXPECT_EQ(commit, world.store->open_commit());
  ASSERT_TRUE(world.settle());  // It does not ride any more.
  EXPECT_EQ(world.store->durable_commit(), commit);
  EXPECT_EQ(world.store->commit_of(Table::kRetained, "t"), 0u);
}

}  // namespace
}  // namespace hf::store
