// Conversations of real stores over wires that a test can cut at any message. Each story ends by comparing
// what the parent holds with what the child wrote.
#include "link/conversation.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "base/prng.h"
#include "link/link_testing.h"

namespace hf::link {
namespace {

// What the parent must hold of a child called `name` when all of it is through.
std::vector<Kept> as_received(std::vector<Kept> records, const std::string& name) {
  for (Kept& record : records) record.origin = record.origin.empty() ? name : name + "/" + record.origin;
  return records;
}

// Of what is held: each (origin, stream, payload), how often.
std::map<std::string, int> payloads(const std::vector<Kept>& records) {
  std::map<std::string, int> counts;
  for (const Kept& record : records) ++counts[record.stream + ":" + record.payload];
  return counts;
}

// Names what differs.
void expect_equal(const std::vector<Kept>& held, const std::vector<Kept>& wanted) {
  std::vector<Kept> missing;
  std::vector<Kept> surplus;
  std::set_difference(wanted.begin(), wanted.end(), held.begin(), held.end(), std::back_inserter(missing));
  std::set_difference(held.begin(), held.end(), wanted.begin(), wanted.end(), std::back_inserter(surplus));
  EXPECT_EQ(missing, std::vector<Kept>());
  EXPECT_EQ(surplus, std::vector<Kept>());
}

struct TwoNodes {
  TestNode child{"ship-7", 1};
  TestNode parent{"hub", 2};
  Wire wire{child, parent};
  int written = 0;

  // Without `chunks` the child is of an earlier version.
  // `prefix`: of the child's topics at the parent.
  explicit TwoNodes(bool chunks = true, const std::string& prefix = {}) {
    parent.settings.prefix = prefix;
    child.settings.chunks = child.settings.hashes = chunks;
    child.with(std::string(kParentName));
    parent.with("ship-7");
  }
  void write(int count, Bytes stream = "telemetry", uint8_t priority = 5) {
    for (int i = 0; i < count; ++i) child.write(stream, "r" + std::to_string(++written), priority);
  }
  // Of bytes that do not compress.
  void write_large(size_t size, Bytes stream = "telemetry", uint8_t priority = 5,
                   std::optional<uint32_t> expiry_s = {}) {
    Prng noise(static_cast<uint64_t>(++written));
    std::string payload = "large" + std::to_string(written);
    while (payload.size() < size) payload.push_back(static_cast<char>(noise.next()));
    child.write(stream, payload, priority, "t", 0, expiry_s);
  }
  // What is at the parent of records that are not whole.
  std::vector<Half> halves() { return parent.with("ship-7").receiver().halves(); }
  // Steps and messages, one round at a time, until `done`.
  template <typename Done>
  bool rounds(int most, Done&& done, Duration tick = milliseconds(1)) {
    for (int i = 0; i < most; ++i) {
      if (done()) return true;
      for (TestNode* node : {&child, &parent}) {
        node->step();
        node->base.now.mono = node->base.now.mono + tick;
        node->base.now.wall_us += tick.ns / 1000;
      }
      wire.deliver();
    }
    return done();
  }
  void settle() { link::settle({&child, &parent}, {&wire}); }
  const Sender& sender() { return child.with(std::string(kParentName)).sender(); }
  const Receiver& receiver() { return parent.with("ship-7").receiver(); }
  // Everything was handed out and receipted. (The figures of the store may say for a while that there is
  // more.)
  bool drained() {
    for (const Lane& lane : sender().travel().lanes()) {
      const store::ReaderInfo* reader = child.store().reader(lane.reader);
      if (reader->low_water < reader->cursor) return false;
      if (child.store().next(lane.reader).status != store::Store::FetchStatus::kNone) return false;
    }
    return true;
  }
  void expect_same() {
    expect_equal(parent.kept(false), as_received(child.kept(true), "ship-7"));
    EXPECT_TRUE(drained());
  }
};

TEST(Conversation, BringsEverythingUpInOrder) {
  TwoNodes world;
  world.write(3000);
  world.write(500, "alarm", 0);
  world.wire.connect();
  world.settle();
  EXPECT_TRUE(world.child.with("^").up());
  world.expect_same();
  EXPECT_EQ(world.parent.kept(false).size(), 3500u);
  // And what comes while the link stands.
  world.write(1);
  world.settle();
  world.expect_same();
  EXPECT_EQ(world.sender().counters().records_sent, 3501u);
  EXPECT_EQ(world.receiver().counters().repeats_ignored, 0u);
  EXPECT_LT(world.sender().counters().sent_bytes, world.sender().counters().sent_plain_bytes);
}

// Goal: the receipt waits for the disk of the parent. Method: stall it, and look who still owes what.
TEST(Conversation, ReceiptComesOnlyAfterTheParentsCommit) {
  TwoNodes world;
  world.write(10);
  world.wire.connect();
  world.parent.stalled = false;
  world.settle();
  world.parent.stalled = true;
  world.write(10);
  world.settle();
  EXPECT_EQ(world.receiver().counters().records_received, 20u);
  EXPECT_EQ(world.sender().counters().records_receipted, 10u);
  EXPECT_EQ(world.sender().backlog_count(), 10u);
  // The parent dies with what it had not made durable: it comes again.
  world.wire.cut();
  world.parent.crash();
  world.parent.stalled = false;
  EXPECT_EQ(world.parent.kept(false).size(), 10u);
  world.wire.connect();
  world.settle();
  world.expect_same();
}

enum class Crash { kNobody, kChild, kParent, kBoth };

// Goal: wherever the wire breaks, and whoever dies with it, nothing is lost and nothing stands twice. Method:
// the same story with the cut after message 1, 2, 3 ...
void cut_everywhere(Crash crash) {
  for (uint64_t cut = 1; cut < 60; ++cut) {
    SCOPED_TRACE("cut after " + std::to_string(cut));
    TwoNodes world;
    world.write(20);
    world.write(5, "alarm", 0);
    world.child.base.run();
    world.wire.cut_after = cut;
    world.wire.connect();
    for (int i = 0; i < 40 && world.wire.up(); ++i) {
      // Commits lag behind messages, now and then by several.
      world.child.stalled = i % 3 == 1;
      world.parent.stalled = i % 4 == 2;
      world.write(1, i % 2 == 0 ? "telemetry" : "alarm", i % 2 == 0 ? 5 : 0);
      world.child.step();
      world.parent.step();
      world.wire.deliver();
    }
    world.wire.cut();
    world.child.stalled = world.parent.stalled = false;
    if (crash == Crash::kChild || crash == Crash::kBoth) world.child.crash();
    if (crash == Crash::kParent || crash == Crash::kBoth) world.parent.crash();
    world.wire.cut_after.reset();
    world.write(3);
    world.wire.connect();
    world.settle();
    ASSERT_TRUE(world.child.with("^").up());
    world.expect_same();
    EXPECT_EQ(world.sender().counters().forks, 0u);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Conversation, CutAtEveryMessageLosesAndDoublesNothing) { cut_everywhere(Crash::kNobody); }
TEST(Conversation, ChildDyingAtEveryMessageLosesAndDoublesNothing) { cut_everywhere(Crash::kChild); }
TEST(Conversation, ParentDyingAtEveryMessageLosesAndDoublesNothing) { cut_everywhere(Crash::kParent); }
TEST(Conversation, BothDyingAtEveryMessageLosesAndDoublesNothing) { cut_everywhere(Crash::kBoth); }

// A backup of the child is put back; what it had sent since, and what it writes anew, are different records
// of one number.
TEST(Conversation, RestoredChildTakesANewIncarnation) {
  TwoNodes world;
  world.write(50);
  world.wire.connect();
  world.settle();
  const auto backup = world.child.copy();
  world.write(30);
  world.settle();
  const std::vector<Kept> before = world.parent.kept(false);
  const uint64_t incarnation = world.child.store().incarnation();
  EXPECT_EQ(before.size(), 80u);

  world.wire.cut();
  world.child.restore(backup);
  EXPECT_EQ(world.child.store().incarnation(), incarnation);
  world.write(10);  // r81 to r90, as numbers 51 to 60.
  world.wire.connect();
  world.settle();
  EXPECT_NE(world.child.store().incarnation(), incarnation);
  EXPECT_EQ(world.child.renewed, 1u);
  EXPECT_EQ(world.sender().counters().forks, 1u);
  EXPECT_TRUE(world.child.logged("HF-LINK-004"));

  world.write(5);
  world.settle();
  // All of both lives, each once: what was there before is untouched, the rest stands under the new
  // incarnation.
  std::map<std::string, int> expected;
  for (int i = 1; i <= 95; ++i) expected["telemetry:r" + std::to_string(i)] = 1;
  const std::vector<Kept> after = world.parent.kept(false);
  EXPECT_EQ(payloads(after), expected);
  for (const Kept& record : before) EXPECT_EQ(std::count(after.begin(), after.end(), record), 1);
  for (const Kept& record : after) {
    if (record.incarnation == incarnation) continue;
    EXPECT_EQ(record.incarnation, world.child.store().incarnation());
    // Of those written before the fork was found, the parent may hold some for all that the child can know.
    EXPECT_EQ(record.may_double, record.sequence <= 60) << record.sequence;
    EXPECT_GE(record.sequence, 51u);
  }
  EXPECT_EQ(world.sender().backlog_count(), 0u);

  // It goes on like this, also over a restart: labels are durable.
  world.wire.cut();
  world.child.crash();
  world.write(5);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.parent.kept(false).size(), 100u);
  EXPECT_EQ(world.sender().counters().forks, 0u);
}

// The backup is older than records that it holds unsent: they are recognised by the parent's pairs, not sent
// again.
TEST(Conversation, RestoredBacklogIsVerifiedNotDoubled) {
  TwoNodes world;
  world.write(10);
  world.wire.connect();
  world.settle();
  world.wire.cut();
  world.write(200);
  const auto backup = world.child.copy();
  world.wire.connect();
  world.settle();
  world.write(30);
  world.settle();
  world.wire.cut();
  world.child.restore(backup);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.sender().counters().forks, 1u);
  std::map<std::string, int> expected;
  for (int i = 1; i <= 240; ++i) expected["telemetry:r" + std::to_string(i)] = 1;
  EXPECT_EQ(payloads(world.parent.kept(false)), expected);
}

// Goal: what both hold behind the last agreed pair is neither labelled nor sent again. Method: pairs far apart, a fork at a
// number between two of them, and two more streams that forked elsewhere.
TEST(Conversation, AForkIsFoundToTheRecordBySingleHashes) {
  for (const int at : {1, 2, 17, 400, 1199, 1200}) {
    SCOPED_TRACE("fork after " + std::to_string(at));
    TwoNodes world;
    world.write(10);
    world.write(3, "alarm", 0);
    world.wire.connect();
    world.settle();
    world.wire.cut();
    world.write(at);
    world.write(at, "audit", 7);
    const auto backup = world.child.copy();
    world.write(1500 - at);
    world.write(40, "audit", 7);
    world.write(40, "alarm", 0);
    world.child.base.run();
    world.wire.connect();
    world.settle();
    world.wire.cut();
    // Of the receiver's pairs those in between are gone, as after weeks: only the first and the last are left.
    for (const char* stream : {"telemetry", "audit"}) {
      const store::StreamKey key{world.child.store().incarnation(), stream};
      Pairs pairs = Pairs::received(world.parent.store(), "ship-7");
      const std::vector<Pair> all = pairs.all(key);
      pairs.cut(key, all.size() > 1 && all.front().number <= 10 ? all.front().number : 0);
      if (all.back().number > 10) pairs.put(key, all.back(), store::Haste::kCommit);
    }
    world.parent.base.run();
    const std::vector<Kept> before = world.parent.kept(false);
    world.child.restore(backup);
    world.write(5);
    world.wire.connect();
    world.settle();
    EXPECT_EQ(world.sender().counters().forks, 3u);
    std::map<std::string, int> expected = payloads(before);
    for (int i = world.written - 4; i <= world.written; ++i) expected["telemetry:r" + std::to_string(i)] = 1;
    const std::map<std::string, int> held = payloads(world.parent.kept(false));
    for (const auto& [payload, count] : held) EXPECT_EQ(expected[payload], count) << payload;
    EXPECT_EQ(held.size(), expected.size());
    EXPECT_TRUE(world.drained());
    if (testing::Test::HasFailure()) return;
  }
}

// Without them, as with a peer of an earlier version, what follows the last agreed pair comes twice and says so.
TEST(Conversation, AForkIsFoundToThePairByAPeerWithoutSingleHashes) {
  TwoNodes world(/*chunks=*/false);
  world.write(300);
  const auto backup = world.child.copy();
  world.write(10);
  world.wire.connect();
  world.settle();
  world.wire.cut();
  world.child.restore(backup);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.sender().counters().forks, 1u);
  std::map<std::string, int> sure;
  for (const Kept& record : world.parent.kept(false)) sure[record.payload] += record.may_double ? 0 : 1;
  EXPECT_EQ(sure.size(), 310u);
  for (const auto& [payload, count] : sure) EXPECT_EQ(count, 1) << payload;
}

// Two live copies of one directory take turns at the parent.
TEST(Conversation, ClonesBothArrive) {
  TwoNodes world;
  TestNode clone{"ship-7", 1};
  clone.with(std::string(kParentName));
  Wire other{clone, world.parent};
  world.write(20);
  world.wire.connect();
  world.settle();
  world.wire.cut();
  clone.restore(world.child.copy());
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 10; ++i) {
      world.child.write("telemetry", "a" + std::to_string(round * 10 + i));
      clone.write("telemetry", "b" + std::to_string(round * 10 + i));
    }
    world.wire.connect();
    settle({&world.child, &world.parent}, {&world.wire});
    world.wire.cut();
    other.connect();
    settle({&clone, &world.parent}, {&other});
    other.cut();
  }
  std::map<std::string, int> expected;
  for (int i = 1; i <= 20; ++i) expected["telemetry:r" + std::to_string(i)] = 1;
  for (int i = 0; i < 40; ++i) {
    expected["telemetry:a" + std::to_string(i)] = 1;
    expected["telemetry:b" + std::to_string(i)] = 1;
  }
  EXPECT_EQ(payloads(world.parent.kept(false)), expected);
  EXPECT_EQ(clone.with("^").sender().counters().forks + world.sender().counters().forks, 1u);
  EXPECT_NE(clone.store().incarnation(), world.child.store().incarnation());
}

TEST(Conversation, RestoredParentMakesTheChildRewind) {
  TwoNodes world;
  world.write(50);
  world.write(5, "alarm", 0);
  world.wire.connect();
  world.settle();
  const auto backup = world.parent.copy();
  world.write(300);
  world.settle();
  world.wire.cut();
  world.parent.restore(backup);
  EXPECT_EQ(world.parent.kept(false).size(), 55u);
  world.write(10);
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_EQ(world.sender().counters().forks, 0u);
  EXPECT_TRUE(world.child.logged("HF-LINK-005"));
  EXPECT_EQ(world.parent.kept(false).size(), 365u);
  // Again, to before its first record.
  world.wire.cut();
  TestStore empty(2);
  world.parent.restore(empty.disk.files);
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_EQ(world.sender().counters().forks, 0u);
}

TEST(Conversation, RepeatIsRecognisedByNumber) {
  TestNode node{"hub", 2};
  Receiver receiver(node.store(), node, "ship-7");
  BatchCodec codec;
  const auto batch = [&](uint64_t first, uint64_t last) {
    Section section;
    section.key = {9, "telemetry"};
    section.first = first;
    section.last = last;
    for (uint64_t i = first; i <= last; ++i) {
      BatchRecord record;
      record.sequence = i;
      record.topic = "t";
      record.payload = "p";
      section.records.push_back(record);
    }
    std::string bytes;
    uint64_t plain_size = 0;
    codec.encode({section}, true, &bytes, &plain_size);
    return receiver.batch(bytes, node.base.now).reason;
  };
  EXPECT_EQ(batch(5, 10), mqtt::Reason::kSuccess);  // A new stream begins anywhere.
  EXPECT_EQ(batch(5, 10), mqtt::Reason::kSuccess);
  EXPECT_EQ(batch(8, 12), mqtt::Reason::kSuccess);
  EXPECT_EQ(batch(14, 15), mqtt::Reason::kUnspecifiedError);  // 13 is missing.
  EXPECT_EQ(batch(13, 15), mqtt::Reason::kSuccess);
  node.base.run();
  EXPECT_EQ(node.kept(false).size(), 11u);
  EXPECT_EQ(receiver.counters().repeats_ignored, 9u);
  EXPECT_EQ(receiver.counters().batches_refused, 1u);
}

// A peer cannot write into a stream that came from elsewhere, even if it knows its key.
TEST(Conversation, AKeyFromElsewhereIsKeptApart) {
  TestNode node{"hub", 2};
  node.write("telemetry", "mine");
  BatchCodec codec;
  Section section;
  section.key = {node.store().incarnation(), "telemetry"};
  section.first = section.last = 1;
  BatchRecord record;
  record.sequence = 1;
  record.topic = "t";
  record.payload = "theirs";
  section.records.push_back(record);
  std::string bytes;
  uint64_t plain_size = 0;
  codec.encode({section}, false, &bytes, &plain_size);
  Receiver a(node.store(), node, "a");
  Receiver b(node.store(), node, "b");
  EXPECT_EQ(a.batch(bytes, node.base.now).reason, mqtt::Reason::kSuccess);
  EXPECT_EQ(b.batch(bytes, node.base.now).reason, mqtt::Reason::kSuccess);
  node.base.run();
  ASSERT_EQ(node.kept(true).size(), 1u);
  const std::vector<Kept> others = node.kept(false);
  ASSERT_EQ(others.size(), 2u);
  EXPECT_NE(others[0].incarnation, others[1].incarnation);
  // From outside of its subtree nothing can be said to come.
  section.origin = "^/x";
  codec.encode({section}, false, &bytes, &plain_size);
  EXPECT_NE(a.batch(bytes, node.base.now).broken, nullptr);
}

// One section of one record, on its own.
std::string batch_of(const store::StreamKey& key, uint64_t number, const std::string& payload) {
  Section section;
  section.key = key;
  section.first = section.last = number;
  BatchRecord record;
  record.sequence = number;
  record.topic = "t";
  record.payload = payload;
  section.records.push_back(record);
  BatchCodec codec;
  std::string bytes;
  uint64_t plain_size = 0;
  codec.encode({section}, false, &bytes, &plain_size);
  return bytes;
}

// Goal: whatever a peer sends under an incarnation of ours stays apart from our own streams, also from those that are not
// opened yet. Method: it is there first, then we write to streams of the same names, then it goes on.
TEST(Conversation, AChildCannotUseOurIncarnation) {
  for (const std::string peer : {"a", "^"}) {
    for (const char* name : {"local", "$halves", "down/b"}) {
      TestNode node{"hub", 2};
      const store::StreamKey key{node.store().incarnation(), name};
      Receiver receiver(node.store(), node, peer);
      const auto brings = [&](uint64_t number) {
        return receiver.batch(batch_of(key, number, "theirs"), node.base.now).reason;
      };
      EXPECT_EQ(brings(1), mqtt::Reason::kSuccess);
      node.write(name, "ours");
      EXPECT_EQ(brings(2), mqtt::Reason::kSuccess);
      node.write(name, "ours");
      node.base.run();
      const std::vector<Kept> own = node.kept(true);
      ASSERT_EQ(own.size(), 2u);
      for (uint64_t i = 0; i < 2; ++i) {
        EXPECT_EQ(own[i].payload, "ours");
        EXPECT_EQ(own[i].sequence, i + 1);
      }
      const std::vector<Kept> others = node.kept(false);
      ASSERT_EQ(others.size(), 2u);
      for (const Kept& other : others) {
        EXPECT_EQ(other.origin, peer);
        EXPECT_NE(other.incarnation, key.incarnation);
      }
      // It goes by the key that the peer uses.
      ASSERT_EQ(receiver.marks().size(), 1u);
      EXPECT_EQ(receiver.marks().front().key, key);
      EXPECT_EQ(receiver.marks().front().number, 2u);
    }
  }
}

// Goal: two keys of one peer are never one stream here, in whatever order they come. Method: the key under which a stream
// is kept here can be computed, so a peer sends both, one after the other or in one batch.
TEST(Conversation, TwoKeysOfAPeerAreNotMixed) {
  TestNode node{"hub", 2};
  const store::StreamKey ours{node.store().incarnation(), "telemetry"};
  const auto alias_of = [&](const store::StreamKey& key) {
    TestNode other{"hub", 2};
    Receiver receiver(other.store(), other, "a");
    EXPECT_EQ(other.store().incarnation(), node.store().incarnation());
    EXPECT_EQ(receiver.batch(batch_of(key, 1, "x"), other.base.now).reason, mqtt::Reason::kSuccess);
    other.base.run();
    return store::StreamKey{other.kept(false).at(0).incarnation, key.name};
  };
  const store::StreamKey alias = alias_of(ours);
  ASSERT_NE(alias, ours);
  Receiver receiver(node.store(), node, "a");
  const auto brings = [&](const store::StreamKey& key, uint64_t number) {
    return receiver.batch(batch_of(key, number, std::to_string(number)), node.base.now).reason;
  };
  EXPECT_EQ(brings(ours, 1), mqtt::Reason::kSuccess);
  EXPECT_EQ(brings(alias, 1), mqtt::Reason::kSuccess);  // Kept under a key of its own.
  EXPECT_EQ(brings(alias, 2), mqtt::Reason::kSuccess);
  EXPECT_EQ(brings(ours, 2), mqtt::Reason::kSuccess);
  EXPECT_EQ(brings(ours, 3), mqtt::Reason::kSuccess);
  node.base.run();
  std::map<uint64_t, int> records;
  for (const Kept& record : node.kept(false)) ++records[record.incarnation];
  EXPECT_EQ(records.size(), 2u);
  EXPECT_EQ(records[alias.incarnation], 3);

  // The other way round the key that is used already cannot be had, and nothing is taken.
  Receiver restarted(node.store(), node, "a");  // It knows of the marks what the rows say.
  EXPECT_EQ(restarted.batch(batch_of(alias, 3, "3"), node.base.now).reason, mqtt::Reason::kSuccess);
  TestNode second{"hub", 2};
  Receiver reversed(second.store(), second, "a");
  EXPECT_EQ(reversed.batch(batch_of(alias, 1, "x"), second.base.now).reason, mqtt::Reason::kSuccess);
  EXPECT_EQ(reversed.batch(batch_of(ours, 1, "x"), second.base.now).reason, mqtt::Reason::kUnspecifiedError);
  EXPECT_TRUE(second.logged("HF-LINK-010"));
  TestNode third{"hub", 2};
  Receiver together(third.store(), third, "a");
  std::vector<Section> both(2);
  both[0].key = ours;
  both[1].key = alias;
  for (Section& section : both) {
    section.first = section.last = 1;
    section.records.push_back({1, "t", "", "x", 1, false, false, {}, {}, {}});
  }
  BatchCodec codec;
  std::string bytes;
  uint64_t plain_size = 0;
  codec.encode(both, false, &bytes, &plain_size);
  EXPECT_EQ(together.batch(bytes, third.base.now).reason, mqtt::Reason::kUnspecifiedError);
  third.base.run();
  EXPECT_EQ(third.kept(false).size(), 0u);
}

// Goal: a number that is here is not taken twice, also if no mark tells of it. Method: the row of the mark becomes what it
// was some batches ago, as if the later one had rotted; the records are there.
TEST(Conversation, NumbersThatAreHereWithoutTheirMarkAreRepeats) {
  TestNode node{"hub", 2};
  const store::StreamKey key{9, "telemetry"};
  const auto brings = [&](Receiver& receiver, uint64_t number) {
    return receiver.batch(batch_of(key, number, std::to_string(number)), node.base.now).reason;
  };
  Receiver receiver(node.store(), node, "a");
  EXPECT_EQ(brings(receiver, 1), mqtt::Reason::kSuccess);
  const std::string row(*node.store().get(store::Table::kMark, mark_key("a", key)));
  EXPECT_EQ(brings(receiver, 2), mqtt::Reason::kSuccess);
  EXPECT_EQ(brings(receiver, 3), mqtt::Reason::kSuccess);
  node.store().put(store::Table::kMark, mark_key("a", key), row);
  Receiver after(node.store(), node, "a");
  ASSERT_EQ(after.marks().front().number, 1u);
  for (uint64_t number = 2; number <= 4; ++number) EXPECT_EQ(brings(after, number), mqtt::Reason::kSuccess);
  EXPECT_EQ(after.counters().repeats_ignored, 2u);
  node.base.run();
  EXPECT_EQ(node.kept(false).size(), 4u);
  EXPECT_EQ(after.marks().front().number, 4u);
}

// Goal: what was refused comes before what was under way behind it, also if the stream is new here, so that any number could
// be its first. Method: a batch with a record that is too large for this store, and a small one that is not.
TEST(Conversation, NothingOfANewStreamGoesBeforeWhatWasRefused) {
  TestNode node{"hub", 2};
  const store::StreamKey key{9, "telemetry"};
  Receiver receiver(node.store(), node, "a");
  const auto brings = [&](uint64_t number, size_t size) {
    return receiver.batch(batch_of(key, number, std::string(size, 'x')), node.base.now).reason;
  };
  EXPECT_EQ(brings(5, 2 << 20), kRecordTooLarge);
  EXPECT_EQ(brings(6, 10), mqtt::Reason::kUnspecifiedError);
  EXPECT_EQ(brings(7, 10), mqtt::Reason::kUnspecifiedError);
  EXPECT_TRUE(receiver.marks().empty());
  // It goes on from there, or from before it.
  EXPECT_EQ(brings(5, 10), mqtt::Reason::kSuccess);
  EXPECT_EQ(brings(6, 10), mqtt::Reason::kSuccess);
  EXPECT_EQ(receiver.marks().front().number, 6u);
  // In another conversation the sender has agreed anew, and may have given it up.
  EXPECT_EQ(receiver.batch(batch_of({9, "other"}, 1, std::string(2 << 20, 'x')), node.base.now).reason,
            kRecordTooLarge);
  receiver.stop();
  EXPECT_EQ(receiver.batch(batch_of({9, "other"}, 2, "x"), node.base.now).reason, mqtt::Reason::kSuccess);
}

struct ThreeNodes {
  TestNode engine{"engine", 1};
  TestNode ship{"ship", 2};
  TestNode hub{"hub", 3};
  Wire low{engine, ship};
  Wire high{ship, hub};
  int written = 0;
  ThreeNodes() {
    engine.with("^");
    ship.with("^");
    ship.with("engine");
    hub.with("ship");
  }
  void write(int count) {
    for (int i = 0; i < count; ++i) engine.write("telemetry", "e" + std::to_string(++written));
  }
  void settle() { link::settle({&engine, &ship, &hub}, {&low, &high}); }
};

TEST(Conversation, ThreeNodesInARowKeepTheOriginsNumbers) {
  ThreeNodes row;
  row.write(100);
  for (int i = 0; i < 20; ++i) row.ship.write("telemetry", "s" + std::to_string(i));
  row.low.connect();
  row.high.connect();
  row.settle();
  std::vector<Kept> expected = as_received(row.engine.kept(true), "ship/engine");
  for (const Kept& record : as_received(row.ship.kept(true), "ship")) expected.push_back(record);
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(row.hub.kept(false), expected);
  EXPECT_EQ(expected.size(), 120u);
}

// The node in the middle is put back to a backup: what it had passed on comes to it again, and is not passed
// on twice.
TEST(Conversation, RestoredMiddlePassesNothingOnTwice) {
  ThreeNodes row;
  row.write(30);
  row.low.connect();
  row.high.connect();
  row.settle();
  const auto backup = row.ship.copy();
  row.write(100);
  row.settle();
  row.low.cut();
  row.high.cut();
  row.ship.restore(backup);
  row.write(10);
  row.high.connect();  // The hub is there first: it says that it holds more than the ship has.
  row.settle();
  row.low.connect();
  row.settle();
  EXPECT_EQ(row.hub.kept(false), as_received(row.engine.kept(true), "ship/engine"));
  EXPECT_EQ(row.ship.with("^").sender().counters().forks, 0u);
  EXPECT_EQ(row.ship.with("^").sender().backlog_count(), 0u);
}

// What goes down is a stream of the parent's; two children that want some of it see the rest as absent.
TEST(Conversation, DownStreamsNameWhatIsNotRouted) {
  TestNode hub{"hub", 3};
  TestNode a{"a", 1};
  TestNode b{"b", 2};
  Wire to_a{a, hub};
  Wire to_b{b, hub};
  hub.with("a");
  hub.with("b");
  hub.owed = [](const std::string& peer, const std::string&, Bytes topic) {
    return topic == "all" || topic == peer;
  };
  for (int i = 0; i < 50; ++i)
    hub.write("down/a", std::to_string(i), 1, i % 5 == 0 ? "all" : i % 2 == 0 ? "a" : "b");
  to_a.connect();
  to_b.connect();
  settle({&hub, &a, &b}, {&to_a, &to_b});
  std::vector<Kept> expected_a;
  std::vector<Kept> expected_b;
  for (const Kept& record : hub.kept(true)) {
    const int i = std::stoi(record.payload);
    Kept down = record;
    down.origin = "^";
    if (i % 5 == 0 || i % 2 == 0) expected_a.push_back(down);
    if (i % 5 == 0 || i % 2 != 0) expected_b.push_back(down);
  }
  EXPECT_EQ(a.kept(false), expected_a);
  EXPECT_EQ(b.kept(false), expected_b);
  // Numbers behind the last record are named when another one follows.
  EXPECT_EQ(a.with("^").receiver().counters().absent_named, 49 - expected_a.size());
  int gaps = 0;
  a.store().for_each_gap([&](const store::Gap&) { ++gaps; });
  EXPECT_EQ(gaps, 0);
}

TEST(Conversation, ExpiredRecordsAreNamedNotSent) {
  TwoNodes world;
  world.write(5);
  for (int i = 0; i < 10; ++i) world.child.write("telemetry", "old", 5, "t", 0, 60);
  world.child.base.run();
  world.child.base.now.mono = world.child.base.now.mono + seconds(100);
  world.child.base.now.wall_us += 100'000'000;
  world.write(5);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.parent.kept(false).size(), 10u);
  EXPECT_EQ(world.sender().backlog_count(), 0u);
  EXPECT_EQ(world.sender().counters().records_expired, 10u);
  std::vector<store::Gap> gaps;
  world.parent.store().for_each_gap([&](const store::Gap& gap) { gaps.push_back(gap); });
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(gaps[0].first, 6u);
  EXPECT_EQ(gaps[0].last, 15u);
  EXPECT_EQ(gaps[0].cause, store::GapCause::kExpired);
}

// A parent without space is left alone for a while; then everything goes on from the last receipt.
TEST(Conversation, AFullParentGetsItLater) {
  TwoNodes world;
  world.write(100);
  int answers = 0;  // The first two are those to HELLO and to what is held in pieces.
  world.wire.answer = [&](mqtt::Reason reason) {
    ++answers;
    return answers > 2 && answers < 6 ? mqtt::Reason::kQuotaExceeded : reason;
  };
  world.wire.connect();
  link::settle({&world.child, &world.parent}, {&world.wire}, seconds(3));
  world.expect_same();
  EXPECT_TRUE(world.child.logged("HF-LINK-007"));
}

// A peer that knows no pieces and takes only small messages.
TEST(Conversation, ARecordThatThePeerCannotTakeIsGivenUpAndNamed) {
  TwoNodes world(/*chunks=*/false);
  world.wire.message_bytes_max = 4000;
  world.write(5);
  Prng prng(1);
  std::string large(8000, 'x');
  for (char& c : large) c = static_cast<char>(prng.next());
  world.child.write("telemetry", large);
  world.write(5);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.parent.kept(false).size(), 10u);
  EXPECT_EQ(world.sender().counters().records_given_up, 1u);
  EXPECT_EQ(world.sender().backlog_count(), 0u);
  std::vector<store::Gap> gaps;
  world.parent.store().for_each_gap([&](const store::Gap& gap) { gaps.push_back(gap); });
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(gaps[0].cause, store::GapCause::kDropped);
}

// With a peer that knows no pieces a large record goes alone and arrives.
TEST(Conversation, ALargeRecordGoesAloneToAPeerThatKnowsNoPieces) {
  TwoNodes world(/*chunks=*/false);
  world.write(3);
  world.child.write("telemetry", std::string(900'000, 'x'));
  world.write(3);
  world.wire.connect();
  world.settle();
  world.expect_same();
}

// --- Records that are larger than a batch.

TEST(LargeRecords, GoInPiecesAndArriveInOrder) {
  TwoNodes world;
  world.wire.message_bytes_max = 60'000;  // Far less than the record.
  world.write(3);
  world.write_large(900'000);
  world.write(3);
  world.write_large(70'000);
  world.write(1);
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_GT(world.sender().counters().pieces_sent, 18u);
  EXPECT_EQ(world.receiver().counters().records_assembled, 2u);
  EXPECT_EQ(world.receiver().counters().repeats_ignored, 0u);
  EXPECT_EQ(world.halves(), std::vector<Half>());
}

// The largest that the store takes, between two stores of the same limits.
TEST(LargeRecords, TheLargestRecordOfAStoreGoesToAStoreOfTheSameLimits) {
  TwoNodes world;
  std::string payload((1 << 20) - 1, 'x');  // With its topic a quarter of the largest segment.
  world.child.write("telemetry", payload);
  EXPECT_FALSE(world.child.store().admit((1 << 20) + 1));
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_EQ(world.sender().counters().records_given_up, 0u);
}

// Goal: wherever the wire breaks in a large record, and whoever dies with it, it goes on from the last piece that was
// receipted, and is there once. Method: the same story with the cut after message 1, 2, 3 ...
void cut_large_everywhere(Crash crash) {
  uint64_t resumed = 0;
  for (uint64_t cut = 1; cut < 90; ++cut) {
    SCOPED_TRACE("cut after " + std::to_string(cut));
    TwoNodes world;
    world.write(2);
    world.write_large(60'000);
    world.write(2);
    world.write_large(20'000, "alarm", 0);
    world.write(1, "audit");
    world.child.base.run();
    world.wire.message_bytes_max = 4000;
    world.wire.cut_after = cut;
    world.wire.connect();
    for (int i = 0; i < 200 && world.wire.up(); ++i) {
      world.child.stalled = i % 3 == 1;
      world.parent.stalled = i % 4 == 2;
      world.child.step();
      world.parent.step();
      world.wire.deliver();
    }
    world.wire.cut();
    world.child.stalled = world.parent.stalled = false;
    if (crash == Crash::kChild || crash == Crash::kBoth) world.child.crash();
    if (crash == Crash::kParent || crash == Crash::kBoth) world.parent.crash();
    uint64_t held = 0;
    for (const Half& half : world.halves()) held += half.held;
    world.wire.cut_after.reset();
    world.write(3);
    world.wire.connect();
    world.settle();
    world.expect_same();
    EXPECT_EQ(world.halves(), std::vector<Half>());
    EXPECT_EQ(world.sender().counters().forks, 0u);
    // What a process knows of what it sent before goes with it.
    EXPECT_EQ(world.sender().counters().pieces_held, held);
    resumed += held > 0 ? 1 : 0;
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(resumed, 20u);
}

TEST(LargeRecords, GoOnFromTheLastPieceAfterACut) { cut_large_everywhere(Crash::kNobody); }
TEST(LargeRecords, GoOnFromTheLastPieceAfterTheChildDied) { cut_large_everywhere(Crash::kChild); }
TEST(LargeRecords, GoOnFromTheLastPieceAfterTheParentDied) { cut_large_everywhere(Crash::kParent); }
TEST(LargeRecords, GoOnFromTheLastPieceAfterBothDied) { cut_large_everywhere(Crash::kBoth); }

// Goal: an alarm, and another stream of the same lane, do not wait for a large record; its own stream does.
TEST(LargeRecords, OnlyTheirOwnStreamWaitsForThem) {
  TwoNodes world;
  world.wire.message_bytes_max = 2000;
  world.write_large(200'000);
  world.write(5);
  world.child.base.run();
  world.wire.connect();
  ASSERT_TRUE(world.rounds(1000, [&] { return world.receiver().counters().pieces_received > 10; }));
  world.write(5, "alarm", 0);
  world.write(5, "audit", 5);
  const uint64_t pieces = world.receiver().counters().pieces_received;
  ASSERT_TRUE(world.rounds(1000, [&] { return world.parent.kept(false).size() == 10; }));
  EXPECT_LT(world.receiver().counters().pieces_received, pieces + 40);
  for (const Kept& record : world.parent.kept(false)) EXPECT_NE(record.stream, "telemetry");
  // Whoever is behind a large record in memory is a position there, and nothing more.
  EXPECT_EQ(world.halves().size(), 1u);
  world.settle();
  world.expect_same();
}

TEST(LargeRecords, SeveralOfALaneGoOneAfterTheOther) {
  TwoNodes world;
  world.wire.message_bytes_max = 4000;
  for (int i = 0; i < 4; ++i) {
    for (const char* stream : {"one", "two", "three"}) {
      world.write_large(20'000, stream);
      world.write(2, stream);
    }
    world.write(5, "four");
  }
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_EQ(world.receiver().counters().records_assembled, 12u);
}

// Goal: the records before a large one of their stream are there before it, also if the batch they were put into was too
// large to leave, so that half of it went back. Method: first what compresses well, so that the sender expects the same
// of what follows, which does not.
TEST(LargeRecords, WhatIsPutBackStillGoesBeforeTheLargeOne) {
  for (int small = 100; small <= 500; small += 100) {
    SCOPED_TRACE(std::to_string(small) + " records before the large one");
    TwoNodes world;
    world.wire.message_bytes_max = 4000;
    world.wire.connect();
    for (int i = 0; i < 300; ++i) world.child.write("telemetry", std::string(150, 'x'));
    world.settle();
    for (int i = 0; i < small; ++i) world.write_large(60);
    world.write_large(400'000);
    // Another large one of another stream, which waits for the first.
    for (int i = 0; i < 3; ++i) world.child.write("audit", std::string(150'000, 'x'));
    for (int i = 0; i < small; ++i) world.write_large(60, "audit");
    world.write_large(40'000, "audit");
    world.write(5);
    world.settle();
    world.expect_same();
    EXPECT_EQ(world.receiver().counters().absent_named, 0u);
    if (testing::Test::HasFailure()) return;
  }
}

// Goal: a record that was put aside because it has to wait for another lane does not overtake those of its stream that wait
// for a large one. Method: a stream changes its lane, the parent is put back to before that, and while the first lane goes
// again, the second one brings its large records.
TEST(LargeRecords, WhatHasToWaitForAnotherLaneDoesNotOvertakeThoseThatWaited) {
  TwoNodes world;
  const auto settle = [&] { link::settle({&world.child, &world.parent}, {&world.wire}, seconds(2)); };
  world.child.base.options.tail_cache_bytes = 8 << 20;  // So that no lane waits for the disk.
  world.child.crash();
  world.wire.message_bytes_max = 4000;
  world.wire.connect();
  for (const char* stream : {"moves", "one", "two"}) world.write(1, stream, Bytes(stream) == "moves" ? 0 : 5);
  settle();
  const auto backup = world.parent.copy();
  for (int i = 0; i < 1000; ++i) world.write_large(1000, "moves", 0);
  world.write_large(6'000, "one");
  world.write_large(6'000, "two");
  world.write(1, "one");
  world.write(1, "two");
  world.write(1, "moves", 0);
  settle();
  // Here its lane changes to that of the others, in which nothing goes beyond this place before the other lane has.
  world.write(1, "two");
  world.write(1, "one");
  world.write(1, "moves", 5);
  settle();
  world.wire.cut();
  world.parent.restore(backup);
  world.wire.connect();
  settle();
  world.expect_same();
  EXPECT_EQ(world.sender().counters().records_given_up, 0u);
}

// A record whose time is over is sent no further, and the parent keeps nothing of it.
TEST(LargeRecords, ThatExpireOnTheirWayAreNamedAndForgotten) {
  TwoNodes world;
  world.wire.message_bytes_max = 2000;
  world.write(1);
  world.write_large(100'000, "telemetry", 5, 5);
  world.write(1);
  world.child.base.run();
  world.wire.connect();
  ASSERT_TRUE(world.rounds(1000, [&] { return world.receiver().counters().pieces_received > 10; }));
  EXPECT_EQ(world.halves().size(), 1u);
  for (TestNode* node : {&world.child, &world.parent}) node->base.now.mono = node->base.now.mono + seconds(6);
  world.settle();
  EXPECT_EQ(world.halves(), std::vector<Half>());
  EXPECT_EQ(world.parent.kept(false).size(), 2u);
  EXPECT_EQ(world.sender().counters().records_expired, 1u);
  std::vector<store::Gap> gaps;
  world.parent.store().for_each_gap([&](const store::Gap& gap) { gaps.push_back(gap); });
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(gaps[0].cause, store::GapCause::kExpired);
  EXPECT_TRUE(world.drained());
}

// The child is put back to before a record of which the parent has a part: its stream forks, and what was begun goes.
TEST(LargeRecords, OfAStreamThatForkedBeginAnew) {
  TwoNodes world;
  world.write(20);
  world.wire.connect();
  world.settle();
  const auto backup = world.child.copy();
  world.write(5);
  world.settle();
  world.wire.message_bytes_max = 2000;
  world.write_large(100'000);
  ASSERT_TRUE(world.rounds(1000, [&] { return world.receiver().counters().pieces_received > 10; }));
  world.wire.cut();
  EXPECT_EQ(world.halves().size(), 1u);
  world.child.restore(backup);
  world.write_large(100'000);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.sender().counters().forks, 1u);
  EXPECT_EQ(world.halves(), std::vector<Half>());
  EXPECT_EQ(world.parent.kept(false).size(), 26u);
  EXPECT_TRUE(world.drained());
}

// A parent without space leaves what it has of the record, and takes the rest later.
TEST(LargeRecords, WaitForSpaceAtThePeer) {
  TwoNodes world;
  world.wire.message_bytes_max = 4000;
  world.write_large(60'000);
  world.write(3);
  int answers = 0;
  world.wire.answer = [&](mqtt::Reason reason) {
    ++answers;
    return answers > 8 && answers < 12 ? mqtt::Reason::kQuotaExceeded : reason;
  };
  world.wire.connect();
  link::settle({&world.child, &world.parent}, {&world.wire}, seconds(3));
  world.expect_same();
  EXPECT_TRUE(world.child.logged("HF-LINK-007"));
  EXPECT_EQ(world.sender().counters().records_given_up, 0u);
}

// Goal: a refusal of something else, after which all goes again, ends no conversation if the large record was taken meanwhile.
// Method: its verdict waits for the parent's disk until the child has begun anew and sent the whole a second time.
TEST(LargeRecords, AWholeThatIsHeldAlreadyIsTold) {
  TwoNodes world;
  world.wire.message_bytes_max = 4000;
  world.wire.connect();
  world.write(300);
  world.settle();  // So that the pace lets all of the large one leave before its first receipt.
  const uint64_t sent = world.sender().counters().records_sent;
  world.write_large(20'000);
  world.parent.stalled = true;
  ASSERT_TRUE(world.rounds(100, [&] { return world.sender().counters().records_sent == sent + 1; }));
  world.rounds(10, [] { return false; });
  bool refused = false;
  world.wire.answer = [&](mqtt::Reason reason) {
    if (std::exchange(refused, true)) return reason;
    return mqtt::Reason::kQuotaExceeded;
  };
  world.parent.stalled = false;
  ASSERT_TRUE(world.rounds(10, [&] { return world.receiver().counters().records_assembled == 1; }));
  world.parent.stalled = true;
  ASSERT_TRUE(world.rounds(3000, [&] { return world.sender().counters().records_sent == sent + 2; }));
  EXPECT_TRUE(refused);
  world.rounds(10, [] { return false; });
  world.parent.stalled = false;
  world.settle();
  EXPECT_TRUE(world.wire.up());
  world.expect_same();
  EXPECT_EQ(world.receiver().counters().records_assembled, 1u);
  EXPECT_EQ(world.receiver().counters().batches_refused, 0u);
}

TEST(LargeRecords, TooLargeForThePeerAreGivenUpAndNamed) {
  TwoNodes world;
  world.wire.message_bytes_max = 4000;
  world.write(2);
  world.write_large(60'000);
  world.write(3);
  world.wire.answer = [&](mqtt::Reason reason) {
    return world.sender().counters().records_receipted > 0 && world.sender().counters().records_given_up == 0
               ? kRecordTooLarge
               : reason;
  };
  world.wire.connect();
  link::settle({&world.child, &world.parent}, {&world.wire}, seconds(3));
  EXPECT_EQ(world.parent.kept(false).size(), 5u);
  EXPECT_EQ(world.sender().counters().records_given_up, 1u);
  EXPECT_EQ(world.halves(), std::vector<Half>());
  EXPECT_TRUE(world.drained());
}

// A receiver that hears pieces, in a conversation with one that says whatever a test likes.
struct HearsPieces {
  struct Fake final : Channel {
    uint16_t send(Kind kind, Bytes message, uint64_t) override {
      if (kind == Kind::kChunk) said.emplace_back(message);
      return ++id;
    }
    void acknowledge(uint16_t, mqtt::Reason reason, uint64_t) override {
      EXPECT_TRUE(puback_carries(reason)) << mqtt::reason_name(reason);
      acknowledged.push_back(reason);
    }
    void close(const char* why) override { closed = why; }
    uint64_t message_bytes_max() const override { return 1 << 20; }
    uint16_t id = 0;
    std::vector<std::string> said;
    std::vector<mqtt::Reason> acknowledged;
    std::string closed;
  };
  TestNode node{"hub", 2};
  Conversation& conversation = node.with("ship-7");
  Fake channel;
  ChunkCodec codec;
  uint16_t id = 0;

  HearsPieces() {
    conversation.begin(channel, node.base.now);
    Hello hello;
    hello.name = "ship-7";
    hello.store_id = 7;
    hello.features = kFeatureChunks;
    conversation.received(Kind::kHello, encode_hello(hello), ++id, node.base.now);
  }
  static Chunk piece(const std::string& bytes, uint64_t offset, uint64_t size, uint64_t hash = 5,
                     uint64_t number = 1, const std::string& stream = "telemetry") {
    Chunk chunk;
    chunk.kind = Chunk::Kind::kPiece;
    chunk.of = {{9, stream}, number, hash, size, offset};
    chunk.bytes = bytes;
    return chunk;
  }
  void hear(const Chunk& chunk) {
    conversation.received(Kind::kChunk, codec.encode(chunk, false), ++id, node.base.now);
    for (int i = 0; i < 10; ++i) node.step();
  }
  mqtt::Reason answer(const Chunk& chunk) {
    hear(chunk);
    return channel.acknowledged.back();
  }
  // The verdict on a record that is whole.
  std::optional<Chunk> verdict() {
    const auto last = codec.decode(channel.said.back());
    if (!last || last->kind != Chunk::Kind::kVerdict) return std::nullopt;
    return *last;
  }
};

TEST(LargeRecords, PiecesThatDoNotMakeTheRecordAreForgotten) {
  HearsPieces world;
  const std::string bytes = "the payload of a record";
  EXPECT_EQ(world.answer(HearsPieces::piece(bytes, 0, bytes.size())), mqtt::Reason::kSuccess);
  EXPECT_EQ(world.conversation.receiver().halves().size(), 1u);
  Section section;
  section.key = {9, "telemetry"};
  section.first = section.last = 1;
  section.records.push_back({1, "t", "", "", 1, false, false, {}, {}, {}});
  BatchCodec batches;
  std::string batch;
  uint64_t plain = 0;
  batches.encode({section}, false, &batch, &plain);
  Chunk whole;
  whole.kind = Chunk::Kind::kWhole;
  whole.of = {{9, "telemetry"}, 1, 5, 0, 0};
  whole.bytes = batch;
  world.hear(whole);
  ASSERT_TRUE(world.verdict());
  EXPECT_GE(world.verdict()->reason, 0x80);
  EXPECT_EQ(world.conversation.receiver().halves(), std::vector<Half>());
  EXPECT_TRUE(world.node.logged("HF-LINK-010"));
  EXPECT_EQ(world.node.kept(false).size(), 0u);
  // With the hash of what the pieces make it is taken, once.
  const uint64_t hash = record_hash(1, {}, "t", "", bytes);
  EXPECT_EQ(world.answer(HearsPieces::piece(bytes.substr(0, 5), 0, bytes.size(), hash)),
            mqtt::Reason::kSuccess);
  EXPECT_EQ(world.answer(HearsPieces::piece(bytes.substr(0, 5), 0, bytes.size(), hash)),
            mqtt::Reason::kSuccess);
  EXPECT_EQ(world.answer(HearsPieces::piece(bytes.substr(5), 5, bytes.size(), hash)), mqtt::Reason::kSuccess);
  whole.of.hash = hash;
  world.hear(whole);
  ASSERT_TRUE(world.verdict());
  EXPECT_EQ(world.verdict()->reason, 0);
  ASSERT_EQ(world.node.kept(false).size(), 1u);
  EXPECT_EQ(world.node.kept(false).front().payload, bytes);
  EXPECT_EQ(world.channel.closed, "");
}

TEST(LargeRecords, WhatAPeerMayLeaveHereIsBounded) {
  HearsPieces world;
  for (uint64_t i = 0; i < 3 * kHalvesMax; ++i) {
    EXPECT_EQ(world.answer(HearsPieces::piece("bytes", 0, 100, 5, 1, "s" + std::to_string(i))),
              mqtt::Reason::kSuccess);
  }
  EXPECT_EQ(world.conversation.receiver().halves().size(), kHalvesMax);
  // The oldest went; a piece of it that follows is refused, so that its sender begins anew.
  EXPECT_EQ(world.answer(HearsPieces::piece("bytes", 5, 100, 5, 1, "s0")), mqtt::Reason::kUnspecifiedError);
  // More than any record here may have.
  EXPECT_EQ(world.answer(HearsPieces::piece("bytes", 0, 5 << 20, 5, 1, "huge")), kRecordTooLarge);
  world.conversation.end(world.node.base.now);
  world.conversation.forget();
  EXPECT_EQ(world.conversation.receiver().halves().size(), 0u);
}

// Nonsense about large records ends the conversation and changes nothing.
TEST(LargeRecords, BrokenChunksEndTheConversation) {
  const auto ends = [](const std::vector<Chunk>& chunks) {
    HearsPieces world;
    for (const Chunk& chunk : chunks) world.hear(chunk);
    return !world.channel.closed.empty();
  };
  Chunk whole;
  whole.kind = Chunk::Kind::kWhole;
  whole.of = {{9, "telemetry"}, 1, 5, 0, 0};
  whole.bytes = "no batch";
  Chunk given_up;
  given_up.kind = Chunk::Kind::kGivenUp;
  given_up.of = whole.of;
  Chunk verdict;
  verdict.kind = Chunk::Kind::kVerdict;
  verdict.of = whole.of;
  Chunk halves;
  EXPECT_FALSE(ends({halves}));
  EXPECT_TRUE(ends({halves, halves}));
  EXPECT_FALSE(ends({given_up}));
  EXPECT_FALSE(ends({HearsPieces::piece("x", 0, 1), given_up}));
  EXPECT_TRUE(ends({HearsPieces::piece("x", 0, 1), whole}));
  whole.headers_size = 2;
  EXPECT_TRUE(ends({HearsPieces::piece("x", 0, 1), whole}));
  HearsPieces world;
  world.conversation.received(Kind::kChunk, "x", 99, world.node.base.now);
  EXPECT_NE(world.channel.closed, "");
}

// Two priorities of one stream, and then a parent that was put back to before the change: the order holds.
TEST(Conversation, AStreamThatChangedItsPriorityStillRewindsInOrder) {
  TwoNodes world;
  world.write(10, "telemetry", 5);
  world.wire.connect();
  world.settle();
  const auto backup = world.parent.copy();
  world.write(200, "telemetry", 5);
  world.settle();
  world.write(200, "telemetry", 0);
  world.settle();
  world.write(200, "telemetry", 7);
  world.settle();
  EXPECT_EQ(world.sender().travel().lanes().size(), 3u);
  world.wire.cut();
  world.parent.restore(backup);
  world.wire.connect();
  world.settle();
  world.expect_same();
  EXPECT_EQ(world.sender().counters().records_given_up, 0u);
}

// A parent of another identity gets what the old one had not receipted, and nothing twice.
TEST(Conversation, AnotherParentGoesOnWhereTheOldOneStopped) {
  TwoNodes world;
  world.write(50);
  world.wire.connect();
  world.settle();
  world.wire.cut();
  world.write(20);
  TestNode other{"hub2", 77};
  other.with("ship-7");
  Wire wire{world.child, other};
  wire.connect();
  settle({&world.child, &other}, {&wire});
  EXPECT_TRUE(world.child.logged("HF-LINK-006"));
  EXPECT_EQ(other.kept(false).size(), 20u);
  wire.cut();
  // Back at the first: the 20 are not there, and are named as such.
  world.write(5);
  world.wire.connect();
  world.settle();
  EXPECT_EQ(world.parent.kept(false).size(), 55u);
  EXPECT_EQ(world.sender().backlog_count(), 0u);
  EXPECT_EQ(world.sender().counters().forks, 0u);
}

// Nonsense ends the conversation and changes nothing.
TEST(Conversation, BrokenMessagesEndItAndApplyNothing) {
  struct Fake final : Channel {
    uint16_t send(Kind, Bytes, uint64_t) override { return ++id; }
    void acknowledge(uint16_t, mqtt::Reason reason, uint64_t) override { acknowledged.push_back(reason); }
    void close(const char* why) override { closed = why; }
    uint64_t message_bytes_max() const override { return 1 << 20; }
    uint16_t id = 0;
    std::vector<mqtt::Reason> acknowledged;
    std::string closed;
  };
  const auto ends = [](std::vector<std::pair<Kind, std::string>> messages) {
    TestNode node{"hub", 2};
    Conversation& conversation = node.with("ship-7");
    Fake channel;
    conversation.begin(channel, node.base.now);
    uint16_t id = 0;
    for (const auto& [kind, message] : messages) conversation.received(kind, message, ++id, node.base.now);
    conversation.pump(node.base.now);
    conversation.end(node.base.now);
    EXPECT_EQ(node.store().figures().records, 0u);
    return !channel.closed.empty();
  };
  Hello hello;
  hello.name = "ship-7";
  hello.store_id = 7;
  const std::string good = encode_hello(hello);
  EXPECT_FALSE(ends({{Kind::kHello, good}}));
  EXPECT_TRUE(ends({{Kind::kHello, "x"}}));
  EXPECT_TRUE(ends({{Kind::kBatch, good}}));
  EXPECT_TRUE(ends({{Kind::kHello, good}, {Kind::kHello, good}}));
  EXPECT_TRUE(ends({{Kind::kHello, good}, {Kind::kBatch, "x"}}));
  EXPECT_TRUE(ends({{Kind::kHello, good}, {Kind::kPairs, ""}}));
  EXPECT_TRUE(ends({{Kind::kHello, good}, {Kind::kClaim, ""}}));
  PairsMessage answer;
  answer.answer = true;
  EXPECT_TRUE(ends({{Kind::kHello, good}, {Kind::kPairs, encode_pairs(answer)}}));
  answer.single = true;
  EXPECT_TRUE(ends({{Kind::kHello, good}, {Kind::kPairs, encode_pairs(answer)}}));
  PairsMessage question;
  question.single = true;
  EXPECT_TRUE(ends({{Kind::kHello, good}, {Kind::kPairs, encode_pairs(question)}}));
  hello.features = kFeatureHashes;
  const std::string with_hashes = encode_hello(hello);
  EXPECT_FALSE(ends({{Kind::kHello, with_hashes}, {Kind::kPairs, encode_pairs(question)}}));
  EXPECT_TRUE(ends({{Kind::kHello, with_hashes},
                    {Kind::kPairs, encode_pairs(question)},
                    {Kind::kPairs, encode_pairs(question)}}));
  EXPECT_TRUE(ends({{Kind::kHello, with_hashes}, {Kind::kPairs, encode_pairs(answer)}}));
  hello.features = 0;
  hello.version_min = hello.version_max = 2;
  EXPECT_TRUE(ends({{Kind::kHello, encode_hello(hello)}}));
  hello = {};
  hello.name = "hub";
  hello.store_id = 2;  // Itself.
  EXPECT_TRUE(ends({{Kind::kHello, encode_hello(hello)}}));
}

// Goal: an alarm does not wait behind the backlog, and a flood of alarms does not stop the rest.
TEST(Conversation, UrgentFirstAndAShareForTheRest) {
  TwoNodes world;
  // Bytes that do not compress, so that both fill many batches.
  Prng noise(1);
  const auto write = [&](const char* stream, const char* text, uint8_t priority) {
    for (int i = 0; i < 3000; ++i) {
      std::string payload = text + std::to_string(i);
      while (payload.size() < 400) put_u64(payload, noise.next());
      world.child.write(stream, payload, priority);
    }
  };
  write("telemetry", "slow ", 5);
  write("alarm", "fast ", 0);
  world.child.base.run();
  world.wire.connect();
  uint64_t fast_when_slow_came = 0;
  for (int round = 0; round < 100'000; ++round) {
    world.child.step();
    world.parent.step();
    world.wire.deliver();
    for (TestNode* node : {&world.child, &world.parent})
      node->base.now.mono = node->base.now.mono + milliseconds(100);
    uint64_t fast = 0;
    uint64_t slow = 0;
    world.parent.store().for_each_stream([&](const store::StreamInfo& info) {
      (info.key.name == "alarm" ? fast : slow) = info.sequence_last;
    });
    if (slow > 0 && fast_when_slow_came == 0) fast_when_slow_came = fast;
    // How much came of the rest depends on what a round carries; the simulator's slow link measures the share.
    if (fast == 3000) {
      EXPECT_GT(slow, 30u);
      break;
    }
  }
  EXPECT_GT(fast_when_slow_came, 0u);
  world.settle();
  world.expect_same();
}

// --- Topics that the parent calls by another name.

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
  EXPECT_EQ(world.parent.with("ship-7").sender().backlog_count(), 0u);
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

enum class Restores { kNone, kChild, kParent };

// Goal: nothing is lost, and nothing stands twice unless it says that it may. Method: random writes, stalls,
// cuts, crashes and restores of one side, then peace, then the comparison.
void swarm(uint64_t seed, Restores restores) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Prng prng(seed);
  TwoNodes world(/*chunks=*/true, seed % 2 == 0 ? "sites/ship-7/" : "");
  std::map<std::string, std::string> backup =
      (restores == Restores::kChild ? world.child : world.parent).copy();
  const Bytes streams[] = {"telemetry", "alarm", "audit"};
  for (int round = 0; round < 400; ++round) {
    for (TestNode* node : {&world.child, &world.parent}) {
      if (prng.chance(1, 4)) node->stalled = !node->stalled;
      node->base.now.mono = node->base.now.mono + milliseconds(static_cast<int64_t>(prng.below(50)));
    }
    if (prng.chance(1, 2)) {
      const uint64_t which = prng.below(3);
      world.write(static_cast<int>(prng.below(20)), streams[which], static_cast<uint8_t>(which * 4));
      if (prng.chance(1, 12))
        world.write_large(2'000 + prng.below(60'000), streams[which], static_cast<uint8_t>(which * 4));
    }
    world.child.step();
    world.parent.step();
    if (!world.wire.up() && prng.chance(1, 3)) world.wire.connect();
    if (prng.chance(9, 10)) world.wire.deliver();
    if (prng.chance(1, 20)) {
      world.wire.cut();
      if (prng.chance(1, 3)) world.child.crash();
      if (prng.chance(1, 3)) world.parent.crash();
    }
    TestNode& restored = restores == Restores::kChild ? world.child : world.parent;
    if (restores != Restores::kNone && prng.chance(1, 60)) backup = restored.copy();
    if (restores != Restores::kNone && prng.chance(1, 100)) {
      world.wire.cut();
      restored.restore(backup);
    }
  }
  world.child.stalled = world.parent.stalled = false;
  world.wire.cut();
  world.write(1);
  world.wire.connect();
  world.settle();
  ASSERT_TRUE(world.child.with("^").up());
  EXPECT_TRUE(world.drained());
  if (restores != Restores::kChild) {
    world.expect_same();
    return;
  }
  std::map<std::string, int> sure;
  std::set<std::string> there;
  for (const Kept& record : world.parent.kept(false)) {
    if (!record.may_double) ++sure[record.stream + ":" + record.payload];
    there.insert(record.stream + ":" + record.payload);
  }
  for (const auto& [payload, count] : sure) EXPECT_EQ(count, 1) << payload;
  for (const Kept& record : world.child.kept(true)) {
    EXPECT_TRUE(there.contains(record.stream + ":" + record.payload)) << record.payload;
  }
}

TEST(ConversationSwarm, CutsAndCrashes) {
  for (uint64_t seed = 1; seed <= 15 && !testing::Test::HasFailure(); ++seed) swarm(seed, Restores::kNone);
}
TEST(ConversationSwarm, RestoredChildren) {
  for (uint64_t seed = 1; seed <= 15 && !testing::Test::HasFailure(); ++seed) swarm(seed, Restores::kChild);
}
TEST(ConversationSwarm, RestoredParents) {
  for (uint64_t seed = 1; seed <= 15 && !testing::Test::HasFailure(); ++seed) swarm(seed, Restores::kParent);
}

}  // namespace
}  // namespace hf::link
