// The fault model itself: what a cut may and may not do to each kind of unsynced change. Method: small files with known
// bytes, every cut model, many seeds.
#include "sim/sim_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace hf::sim {
namespace {

std::string all(SimDisk& disk, const std::string& name) {
  return disk.read(name, 0, 1 << 24).value_or("<error>");
}

// A file whose bytes and name are durable.
void make_durable(SimDisk& disk, const std::string& name, const std::string& bytes) {
  ASSERT_TRUE(disk.create(name, 0));
  ASSERT_TRUE(disk.write(name, 0, bytes));
  ASSERT_TRUE(disk.sync(name));
  ASSERT_TRUE(disk.sync_directory());
}

TEST(SimDisk, WhatIsSyncedSurvivesEveryCut) {
  for (const CutModel model : kCutModels) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      SimDisk disk(seed);
      make_durable(disk, "a", std::string(10'000, 'a'));
      disk.power_cut(model);
      EXPECT_EQ(all(disk, "a"), std::string(10'000, 'a')) << cut_model_name(model);
    }
  }
}

TEST(SimDisk, LostLosesBytesAndNames) {
  SimDisk disk(1);
  make_durable(disk, "a", "old");
  ASSERT_TRUE(disk.write("a", 0, "new"));
  ASSERT_TRUE(disk.create("b", 100));
  ASSERT_TRUE(disk.sync("b"));
  EXPECT_EQ(all(disk, "a"), "new");
  disk.power_cut(CutModel::kLost);
  EXPECT_EQ(all(disk, "a"), "old");
  EXPECT_EQ(disk.list().value(),
            std::vector<std::string>{"a"});  // A synced file without a synced name is lost.
}

TEST(SimDisk, KeptKeepsEverything) {
  SimDisk disk(1);
  ASSERT_TRUE(disk.create("a", 100));
  ASSERT_TRUE(disk.write("a", 50, "bytes"));
  ASSERT_TRUE(disk.rename("a", "b"));
  disk.power_cut(CutModel::kKept);
  EXPECT_EQ(disk.list().value(), std::vector<std::string>{"b"});
  EXPECT_EQ(all(disk, "b").substr(50, 5), "bytes");
  EXPECT_EQ(disk.size("b").value(), 100u);
}

TEST(SimDisk, PrefixNeverKeepsTheLaterOfTwoWrites) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SimDisk disk(seed);
    make_durable(disk, "a", "..");
    make_durable(disk, "b", "..");
    ASSERT_TRUE(disk.write("a", 0, "1"));
    ASSERT_TRUE(disk.write("b", 0, "2"));
    ASSERT_TRUE(disk.write("a", 1, "3"));
    disk.power_cut(CutModel::kPrefix);
    seen.insert(all(disk, "a").substr(0, 1) + all(disk, "b").substr(0, 1) + all(disk, "a").substr(1, 1));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"...", "1..", "12.", "123"}));
}

TEST(SimDisk, ReorderedKeepsAnySubset) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SimDisk disk(seed);
    make_durable(disk, "a", "...");
    for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(disk.write("a", i, "x"));
    disk.power_cut(CutModel::kReordered);
    seen.insert(all(disk, "a"));
  }
  EXPECT_EQ(seen.size(), 8u);
}

TEST(SimDisk, TornKeepsWholeSectors) {
  bool torn = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimDisk disk(seed);
    make_durable(disk, "a", std::string(4096, '.'));
    ASSERT_TRUE(disk.write("a", 0, std::string(4096, 'x')));
    disk.power_cut(CutModel::kTorn);
    const std::string bytes = all(disk, "a");
    for (size_t sector = 0; sector < 4096; sector += 512) {
      const std::string part = bytes.substr(sector, 512);
      EXPECT_TRUE(part == std::string(512, '.') || part == std::string(512, 'x'));
    }
    torn |= bytes.find('.') != std::string::npos && bytes.find('x') != std::string::npos;
  }
  EXPECT_TRUE(torn);
}

TEST(SimDisk, PagesKeepsWholePages) {
  bool torn = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SimDisk disk(seed);
    make_durable(disk, "a", std::string(4 * 4096, '.'));
    ASSERT_TRUE(disk.write("a", 0, std::string(4 * 4096, 'x')));
    disk.power_cut(CutModel::kPages);
    const std::string bytes = all(disk, "a");
    for (size_t page = 0; page < bytes.size(); page += 4096) {
      const std::string part = bytes.substr(page, 4096);
      EXPECT_TRUE(part == std::string(4096, '.') || part == std::string(4096, 'x'));
    }
    torn |= bytes.find('.') != std::string::npos && bytes.find('x') != std::string::npos;
  }
  EXPECT_TRUE(torn);
}

TEST(SimDisk, GarbageStaysInPagesThatWereWritten) {
  bool damaged = false;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SimDisk disk(seed);
    make_durable(disk, "a", std::string(4 * 4096, '.'));
    ASSERT_TRUE(disk.write("a", 4096, std::string(4096, 'x')));
    disk.power_cut(CutModel::kGarbage);
    const std::string bytes = all(disk, "a");
    ASSERT_EQ(bytes.size(), 4u * 4096);
    EXPECT_EQ(bytes.substr(0, 4096), std::string(4096, '.'));
    EXPECT_EQ(bytes.substr(2 * 4096), std::string(2 * 4096, '.'));
    damaged |= std::any_of(bytes.begin(), bytes.end(), [](char c) { return c != '.' && c != 'x'; });
  }
  EXPECT_TRUE(damaged);
}

TEST(SimDisk, NamesSurviveEachForItselfUntilTheDirectoryIsSynced) {
  std::set<std::vector<std::string>> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SimDisk disk(seed);
    make_durable(disk, "old", "1");
    ASSERT_TRUE(disk.create("new", 1));
    ASSERT_TRUE(disk.remove("old"));
    disk.power_cut(CutModel::kReordered);
    seen.insert(disk.list().value());
  }
  EXPECT_EQ(seen, (std::set<std::vector<std::string>>{{}, {"new"}, {"new", "old"}, {"old"}}));
}

TEST(SimDisk, RemovedFileComesBackWithItsBytes) {
  SimDisk disk(1);
  make_durable(disk, "a", "bytes");
  ASSERT_TRUE(disk.remove("a"));
  disk.power_cut(CutModel::kLost);
  EXPECT_EQ(all(disk, "a"), "bytes");
  ASSERT_TRUE(disk.remove("a"));
  ASSERT_TRUE(disk.sync_directory());
  disk.power_cut(CutModel::kLost);
  EXPECT_TRUE(disk.list().value().empty());
}

TEST(SimDisk, CutAtTheNthChangeIsExact) {
  // The workload has three changes; a cut at each leaves exactly what came before, and everything fails afterwards.
  for (uint64_t k = 1; k <= 4; ++k) {
    SimDisk disk(1);
    make_durable(disk, "a", "...");
    disk.cut_after(k);
    int done = 0;
    for (uint64_t i = 0; i < 3; ++i) done += disk.write("a", i, "x").has_value() ? 1 : 0;
    EXPECT_EQ(done, static_cast<int>(std::min<uint64_t>(k - 1, 3)));
    EXPECT_EQ(disk.dead(), k <= 3);
    EXPECT_EQ(disk.list().has_value(), k > 3);
    disk.power_cut(CutModel::kKept);
    // The change at the cut counts as made.
    EXPECT_EQ(all(disk, "a"),
              std::string(std::min<uint64_t>(k, 3), 'x') + std::string(3 - std::min<uint64_t>(k, 3), '.'));
  }
}

TEST(SimDisk, CutInASyncMakesNothingCertain) {
  SimDisk disk(1);
  make_durable(disk, "a", "old");
  ASSERT_TRUE(disk.write("a", 0, "new"));
  disk.cut_after(1);
  EXPECT_FALSE(disk.sync("a"));
  disk.power_cut(CutModel::kLost);
  EXPECT_EQ(all(disk, "a"), "old");
}

TEST(SimDisk, KilledProcessLosesNothingAndSyncsNothing) {
  SimDisk disk(1);
  make_durable(disk, "a", "old");
  ASSERT_TRUE(disk.write("a", 0, "new"));
  disk.revive();
  EXPECT_EQ(all(disk, "a"), "new");
  EXPECT_FALSE(disk.all_synced());
  disk.power_cut(CutModel::kLost);
  EXPECT_EQ(all(disk, "a"), "old");
}

TEST(SimDisk, FailedSyncMarksPagesClean) {
  // After a failed sync the next one succeeds and still saves nothing: what Linux does.
  bool lost = false;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SimDisk disk(seed);
    make_durable(disk, "a", "old");
    ASSERT_TRUE(disk.write("a", 0, "new"));
    disk.inject({.at = 1, .operations = Injection::bit(Operation::kSync)});
    EXPECT_FALSE(disk.sync("a"));
    EXPECT_EQ(all(disk, "a"), "new");
    EXPECT_TRUE(disk.sync("a"));
    disk.power_cut(CutModel::kKept);
    lost |= all(disk, "a") == "old";
  }
  EXPECT_TRUE(lost);
}

TEST(SimDisk, InjectionFailsTheNthOnceOrForEver) {
  SimDisk disk(1);
  disk.inject(
      {.at = 2, .operations = Injection::bit(Operation::kCreate), .error = {Code::kFull, "full", 28}});
  EXPECT_TRUE(disk.create("a", 0));
  EXPECT_TRUE(disk.list());
  const Result<> second = disk.create("b", 0);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kFull);
  EXPECT_TRUE(disk.create("b", 0));
  disk.inject({.at = 1, .forever = true});
  EXPECT_FALSE(disk.list());
  EXPECT_FALSE(disk.sync("a"));
  disk.heal();
  EXPECT_TRUE(disk.list());
  EXPECT_EQ(disk.failures(), 3u);
}

TEST(SimDisk, FullDiskRefusesAndLeavesNoName) {
  SimDisk disk(1);
  disk.set_capacity(3 * 4096);
  ASSERT_TRUE(disk.create("a", 2 * 4096));
  EXPECT_EQ(disk.free_bytes().value(), 4096u);
  const Result<> second = disk.create("b", 2 * 4096);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kFull);
  EXPECT_EQ(disk.list().value(), std::vector<std::string>{"a"});
  EXPECT_TRUE(disk.write("a", 4096, std::string(4096, 'x')));  // Within what it has.
  EXPECT_FALSE(disk.write("a", 2 * 4096, std::string(2 * 4096, 'x')));
  ASSERT_TRUE(disk.remove("a"));
  EXPECT_TRUE(disk.create("b", 3 * 4096));
}

TEST(SimDisk, CopiesLiveTheirOwnLives) {
  SimDisk disk(1);
  make_durable(disk, "a", std::string(5000, 'a'));
  ASSERT_TRUE(disk.write("a", 0, "unsynced"));
  SimDisk copy = disk;
  ASSERT_TRUE(copy.write("a", 4500, "copy"));
  ASSERT_TRUE(disk.write("a", 4500, "disk"));
  EXPECT_EQ(all(copy, "a").substr(4500, 4), "copy");
  EXPECT_EQ(all(disk, "a").substr(4500, 4), "disk");
  copy.power_cut(CutModel::kLost);
  EXPECT_EQ(all(copy, "a"), std::string(5000, 'a'));
  EXPECT_EQ(all(disk, "a").substr(0, 8), "unsynced");
}

TEST(SimDisk, RotIsReadAndStays) {
  SimDisk disk(1);
  make_durable(disk, "a", "aaaa");
  disk.flip("a", 2, 1);
  EXPECT_EQ(all(disk, "a"), "aa`a");
  disk.power_cut(CutModel::kLost);
  EXPECT_EQ(all(disk, "a"), "aa`a");
}

TEST(SimDisk, ShrunkenFileGrowsBackAsZeros) {
  SimDisk disk(1);
  make_durable(disk, "a", std::string(9000, 'a'));
  ASSERT_TRUE(disk.truncate("a", 100));
  ASSERT_TRUE(disk.truncate("a", 9000));
  EXPECT_EQ(all(disk, "a"), std::string(100, 'a') + std::string(8900, '\0'));
}

}  // namespace
}  // namespace hf::sim
