// Goal: the tree finds what matching every filter by itself would find, in an order that its content alone
// decides, and forgets what was erased. Method: random inserts and erases next to a plain set that is
// searched in full.
#include "mqtt/filter_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "mqtt/naive_match.h"

namespace hf::mqtt {
namespace {

using Pair = std::pair<std::string, int>;

std::vector<int> visits(const FilterTree<int>& tree, Bytes name) {
  std::vector<int> values;
  tree.match(name, [&](int value) { values.push_back(value); });
  return values;
}

std::vector<int> sorted(std::vector<int> values) {
  std::sort(values.begin(), values.end());
  return values;
}

std::vector<int> oracle(const std::set<Pair>& pairs, Bytes name) {
  std::vector<int> values;
  for (const auto& [filter, value] : pairs) {
    if (naive_match(filter, name)) values.push_back(value);
  }
  return sorted(values);
}

std::vector<Pair> random_pairs(Prng& prng, size_t count) {
  std::vector<Pair> pairs(count);
  for (auto& [filter, value] : pairs) {
    filter = random_filter(prng, 4);
    value = static_cast<int>(prng.below(1'000));
  }
  return pairs;
}

TEST(FilterTree, EmptyMatchesNothing) {
  FilterTree<int> tree;
  EXPECT_EQ(tree.count(), 0u);
  EXPECT_TRUE(visits(tree, "a").empty());
  EXPECT_FALSE(tree.erase("a", 1));
  EXPECT_FALSE(tree.erase("#", 1));
  EXPECT_FALSE(tree.erase("+/#", 1));
}

TEST(FilterTree, PairStandsOnce) {
  FilterTree<int> tree;
  EXPECT_TRUE(tree.insert("a/+", 1));
  EXPECT_FALSE(tree.insert("a/+", 1));
  EXPECT_TRUE(tree.insert("a/+", 2));
  EXPECT_TRUE(tree.insert("a/#", 1));
  EXPECT_EQ(tree.count(), 3u);
  EXPECT_EQ(visits(tree, "a/b"), (std::vector<int>{1, 1, 2}));
  EXPECT_TRUE(tree.erase("a/+", 1));
  EXPECT_FALSE(tree.erase("a/+", 1));
  EXPECT_FALSE(tree.erase("a/b", 2));
  EXPECT_FALSE(tree.erase("a", 1));
  EXPECT_EQ(tree.count(), 2u);
}

TEST(FilterTree, MultiLevelWildcardMatchesItsParent) {
  FilterTree<int> tree;
  tree.insert("sport/#", 1);
  tree.insert("#", 2);
  tree.insert("/#", 3);
  EXPECT_EQ(visits(tree, "sport"), (std::vector<int>{2, 1}));
  EXPECT_EQ(visits(tree, "sport/tennis/x"), (std::vector<int>{2, 1}));
  EXPECT_EQ(visits(tree, "/"), (std::vector<int>{2, 3}));
  EXPECT_TRUE(tree.erase("/#", 3));
  EXPECT_TRUE(tree.erase("#", 2));
  EXPECT_EQ(visits(tree, "sport"), (std::vector<int>{1}));
  EXPECT_EQ(visits(tree, "/"), (std::vector<int>{}));
}

TEST(FilterTree, WildcardsAtTheFrontLeaveDollarAlone) {
  FilterTree<int> tree;
  tree.insert("#", 1);
  tree.insert("+/x", 2);
  tree.insert("$SYS/#", 3);
  tree.insert("$SYS/+", 4);
  EXPECT_EQ(visits(tree, "$SYS/x"), (std::vector<int>{3, 4}));
  EXPECT_EQ(visits(tree, "a/x"), (std::vector<int>{1, 2}));
}

TEST(FilterTree, VisitsParentsThenLiteralThenPlus) {
  FilterTree<int> tree;
  tree.insert("+/+", 6);
  tree.insert("+/b", 5);
  tree.insert("a/+", 4);
  tree.insert("a/b", 3);
  tree.insert("a/#", 2);
  tree.insert("#", 1);
  EXPECT_EQ(visits(tree, "a/b"), (std::vector<int>{1, 2, 3, 4, 5, 6}));
}

TEST(FilterTree, AgreesWithTheOracleThroughInsertsAndErases) {
  Prng prng(21);
  FilterTree<int> tree;
  std::set<Pair> pairs;
  for (int round = 0; round < 20'000; ++round) {
    const std::string filter = random_filter(prng, 4);
    const int value = static_cast<int>(prng.below(5));
    // Growing, then shrinking to nothing, in turns.
    const bool growing = round % 4'000 < 2'000;
    if (prng.chance(growing ? 3 : 1, 4)) {
      ASSERT_EQ(tree.insert(filter, value), pairs.emplace(filter, value).second);
    } else if (prng.chance(1, 2) || pairs.empty()) {
      ASSERT_EQ(tree.erase(filter, value), pairs.erase({filter, value}) == 1);
    } else {
      const Pair any = *std::next(pairs.begin(), static_cast<ptrdiff_t>(prng.below(pairs.size())));
      ASSERT_TRUE(tree.erase(any.first, any.second));
      pairs.erase(any);
    }
    ASSERT_EQ(tree.count(), pairs.size());
    if (round % 40 != 0) continue;
    const std::string name = random_name(prng, 5);
    ASSERT_EQ(sorted(visits(tree, name)), oracle(pairs, name)) << name;
  }
}

TEST(FilterTree, OrderFollowsFromTheContentAlone) {
  Prng prng(22);
  for (int round = 0; round < 50; ++round) {
    std::vector<Pair> pairs = random_pairs(prng, 100);
    FilterTree<int> one;
    for (const auto& [filter, value] : pairs) one.insert(filter, value);
    // The other has had a past: other pairs came and went, and the same came in another order.
    FilterTree<int> other;
    std::vector<Pair> past = random_pairs(prng, 100);
    for (Pair& pair : past) {
      if (prng.chance(1, 2)) pair.first = "x/" + pair.first;
      pair.second += 1'000;  // None of the pairs that stay.
    }
    for (const auto& [filter, value] : past) other.insert(filter, value);
    for (size_t i = pairs.size(); i > 1; --i) std::swap(pairs[i - 1], pairs[prng.below(i)]);
    for (const auto& [filter, value] : pairs) other.insert(filter, value);
    for (const auto& [filter, value] : past) other.erase(filter, value);

    ASSERT_EQ(one.count(), other.count());
    for (int i = 0; i < 100; ++i) {
      const std::string name = random_name(prng, 5);
      ASSERT_EQ(visits(one, name), visits(other, name)) << name;
    }
  }
}

TEST(FilterTree, ManyChildrenOfOneNode) {
  FilterTree<int> tree;
  for (int i = 0; i < 10'000; ++i) tree.insert("dev" + std::to_string(i) + "/+", i);
  for (int i = 0; i < 10'000; i += 3) EXPECT_TRUE(tree.erase("dev" + std::to_string(i) + "/+", i));
  for (int i = 0; i < 10'000; ++i) {
    const std::vector<int> found = visits(tree, "dev" + std::to_string(i) + "/x");
    EXPECT_EQ(found, i % 3 == 0 ? std::vector<int>{} : std::vector<int>{i});
  }
}

TEST(FilterTree, DeepestFilterAndDeeperName) {
  std::string filter = "+";
  std::string name = "a";
  for (size_t i = 1; i < kTopicLevelsMax; ++i) {
    filter += "/+";
    name += "/a";
  }
  FilterTree<int> tree;
  tree.insert(filter, 1);
  tree.insert(name, 2);
  tree.insert("#", 3);
  EXPECT_EQ(sorted(visits(tree, name)), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(visits(tree, name + "/a"), (std::vector<int>{3}));
  EXPECT_EQ(visits(tree, std::string(kTopicBytesMax, '/')), (std::vector<int>{3}));
  EXPECT_TRUE(tree.erase(filter, 1));
  EXPECT_TRUE(tree.erase(name, 2));
  EXPECT_EQ(tree.count(), 1u);
}

TEST(FilterTree, IsAValue) {
  FilterTree<int> tree;
  tree.insert("a", 1);
  FilterTree<int> copy = tree;
  tree.erase("a", 1);
  EXPECT_EQ(visits(copy, "a"), (std::vector<int>{1}));
  EXPECT_TRUE(visits(tree, "a").empty());
}

}  // namespace
}  // namespace hf::mqtt
