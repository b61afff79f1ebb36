// Records that are larger than a batch: in pieces, over wires that are cut between any two of them.
#include <gtest/gtest.h>

#include <utility>

#include "link/conversation.h"
#include "link/two_nodes_testing.h"

namespace hf::link {
namespace {

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

}  // namespace
}  // namespace hf::link
