// The pace, the thinning of pairs, lanes and labels, the registry: what a conversation is made of, each by
// itself.
#include "link/pace.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "crypto/crypto.h"
#include "link/claim.h"
#include "link/link_testing.h"
#include "link/pairs.h"
#include "link/registry.h"
#include "link/travel.h"

namespace hf::link {
namespace {

// A link of a given rate and delay, with a queue of any length in front of it.
struct TestLink {
  uint64_t bytes_per_s;
  Duration delay;  // Both ways together.
  Instant free{};  // When the line is done with what it has.
  struct Way {
    uint64_t bytes;
    Instant sent;
    bool alone;
    Instant back;
  };
  std::deque<Way> under_way;

  void send(uint64_t bytes, bool alone, Instant now) {
    free = std::max(free, now) + Duration{static_cast<int64_t>(bytes * 1'000'000'000 / bytes_per_s)};
    under_way.push_back({bytes, now, alone, free + delay});
  }
};

// Drains without end; returns the longest that a byte waited behind others once `settled` has passed, and the
// bytes that came through in all.
struct Drained {
  Duration wait_max{};
  uint64_t bytes = 0;
};
Drained drain(Pace& pace, TestLink link, Duration time, Duration settled) {
  Drained drained;
  Now now;
  now.mono = {1'000'000'000};
  const Instant start = now.mono;
  while (now.mono < start + time) {
    for (uint64_t room = pace.room(true, false, now); room > 0; room = pace.room(true, false, now)) {
      if (now.mono >= start + settled) drained.wait_max = std::max(drained.wait_max, link.free - now.mono);
      const bool alone = pace.sent(room, now);
      link.send(room, alone, now.mono);
    }
    const TestLink::Way way = link.under_way.front();
    link.under_way.pop_front();
    now.mono = way.back;
    pace.receipted(way.bytes, way.sent, way.alone, now);
    drained.bytes += way.bytes;
  }
  return drained;
}

TEST(Pace, UrgentBatchLeavesBeyondAFullWindowOncePerReceipt) {
  Now now;
  now.mono = {1'000'000'000};
  Pace pace(10'000);
  std::vector<uint64_t> sent;
  for (uint64_t room = pace.room(true, false, now); room > 0; room = pace.room(true, false, now)) {
    pace.sent(room, now);
    sent.push_back(room);
  }
  EXPECT_EQ(pace.room(true, true, now), kBatchBytesMin);
  pace.sent(100, now);
  EXPECT_EQ(pace.room(true, true, now), 0u);
  const Instant then = now.mono;
  now.mono = now.mono + milliseconds(900);
  pace.receipted(sent.front(), then, true, now);
  while (const uint64_t room = pace.room(true, false, now)) pace.sent(room, now);
  EXPECT_EQ(pace.room(true, true, now), kBatchBytesMin);
}

TEST(Pace, ASlowLinkIsNeverFlooded) {
  Pace pace;
  const Drained drained = drain(pace, {2500, milliseconds(200)}, seconds(600), seconds(0));
  EXPECT_LT(drained.wait_max, milliseconds(2600));  // An alarm is at the hub within 3 s.
  EXPECT_GT(drained.bytes, 2500u * 600 * 85 / 100);
  EXPECT_NEAR(static_cast<double>(pace.goodput()), 2500, 400);
}

TEST(Pace, ReachesLoopbackSpeedInAFewRoundTrips) {
  Pace pace;
  const Drained drained = drain(pace, {500'000'000, microseconds(500)}, milliseconds(20), seconds(0));
  EXPECT_GT(pace.window(), 4u << 20);
  EXPECT_GT(drained.bytes, 3u << 20);
}

TEST(Pace, FillsALongFatLink) {
  Pace pace;
  const Drained drained = drain(pace, {1'000'000, milliseconds(600)}, seconds(60), seconds(30));
  EXPECT_GT(drained.bytes, 1'000'000u * 60 * 75 / 100);
  EXPECT_LT(drained.wait_max, seconds(3));
}

TEST(Pace, SurvivesALinkSlowerThanItsRoundTrip) {
  Pace pace;
  const Drained drained = drain(pace, {20'000, seconds(4)}, seconds(900), seconds(300));
  EXPECT_GT(drained.bytes, 20'000u * 900 / 2);
}

TEST(Pace, ForgetsNothingWhileThereIsNothingToSend) {
  Pace pace;
  drain(pace, {1'000'000, milliseconds(20)}, seconds(10), seconds(0));
  const uint64_t goodput = pace.goodput();
  EXPECT_GT(goodput, 500'000u);
  pace.begin();  // What was under way is gone.
  Now now;
  now.mono = {100'000'000'000};
  for (int i = 0; i < 1000; ++i) {
    const bool alone = pace.sent(100, now);
    const Instant sent = now.mono;
    now.mono = now.mono + milliseconds(20);
    pace.receipted(100, sent, alone, now);
  }
  EXPECT_EQ(pace.goodput(), goodput);
  EXPECT_EQ(Pace(goodput).goodput(), goodput);
  pace.silent();
  EXPECT_EQ(pace.goodput(), goodput / 2);
}

TEST(Pace, FollowsALinkThatBecomesSlow) {
  Pace pace;
  drain(pace, {1'000'000, milliseconds(20)}, seconds(10), seconds(0));
  pace.begin();
  const Drained drained = drain(pace, {10'000, milliseconds(20)}, seconds(1200), seconds(600));
  EXPECT_LT(drained.wait_max, milliseconds(2600));
}

// --- Pairs.

TEST(Pairs, ThinningKeepsTheNewestAndOneForEachDoubling) {
  std::vector<uint64_t> numbers;
  for (uint64_t i = 1; i <= 100'000; ++i) numbers.push_back(i * 3);
  const std::vector<uint64_t> gone = thinned(numbers);
  const std::set<uint64_t> lost(gone.begin(), gone.end());
  std::vector<uint64_t> kept;
  for (const uint64_t number : numbers) {
    if (!lost.contains(number)) kept.push_back(number);
  }
  EXPECT_LE(kept.size(), 64u + 20);
  EXPECT_GE(kept.size(), 64u + 10);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(kept[kept.size() - 1 - i], numbers[numbers.size() - 1 - i]);
  // Somewhere within each doubling of the distance.
  for (uint64_t distance = 256; distance < 262'144; distance *= 2) {
    EXPECT_TRUE(std::any_of(kept.begin(), kept.end(), [&](uint64_t number) {
      return numbers.back() - number >= distance && numbers.back() - number < 2 * distance;
    })) << distance;
  }
}

// Two sides that thin at different moments still share old numbers.
TEST(Pairs, TwoSidesKeepTheSame) {
  std::vector<uint64_t> left;
  std::vector<uint64_t> right;
  const auto thin = [](std::vector<uint64_t>& numbers) {
    const std::vector<uint64_t> gone = thinned(numbers);
    const std::set<uint64_t> lost(gone.begin(), gone.end());
    std::erase_if(numbers, [&](uint64_t number) { return lost.contains(number); });
  };
  for (uint64_t i = 1; i <= 5'000; ++i) {
    left.push_back(i * 7);
    right.push_back(i * 7);
    if (i % 32 == 0) thin(left);
    if (i % 45 == 0) thin(right);
  }
  std::vector<uint64_t> both;
  std::set_intersection(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(both));
  uint64_t old = 0;
  for (const uint64_t number : both) old += number < (5'000 - 64) * 7;
  EXPECT_GE(old, 4u);
}

TEST(Pairs, RowsStayBoundedAndComeBackInOrder) {
  TestStore world;
  Pairs pairs = Pairs::sent(*world.store, "hub", 1);
  const store::StreamKey key{5, "telemetry"};
  for (uint64_t i = 1; i <= 1000; ++i) pairs.put(key, {i * 10, i, {i << 20}}, store::Haste::kRide);
  pairs.put({5, "telemetry2"}, {1, 1, {}}, store::Haste::kRide);
  const std::vector<Pair> all = pairs.all(key);
  EXPECT_LE(all.size(), 64u + 20 + 32);
  EXPECT_EQ(pairs.last(key)->number, 10'000u);
  EXPECT_EQ(pairs.last(key)->position.value, uint64_t{1000} << 20);
  for (size_t i = 1; i < all.size(); ++i) EXPECT_LT(all[i - 1].number, all[i].number);
  pairs.cut(key, 9'000);
  EXPECT_LE(pairs.last(key)->number, 9'000u);
  EXPECT_GE(pairs.last(key)->number, 8'000u);
  EXPECT_FALSE(Pairs::sent(*world.store, "hub", 2).last(key));
  EXPECT_FALSE(Pairs::received(*world.store, "hub").last(key));
}

// --- Travel.

TEST(Travel, AStreamChangesItsLaneOnlyWhenTheOldOneIsEmpty) {
  TestStore world;
  store::Store& store = *world.store;
  Travel travel(store, "^");
  const store::StreamId stream = store.open_local_stream("telemetry", 5, 0);
  const store::ReaderId slow = travel.reader_for(stream);
  store::NewRecord record;
  record.stream = stream;
  record.topic = "t";
  record.audience = {};
  const std::string audience = store::encode_audience({{slow, 2, false, {}}});
  record.audience = audience;
  const store::Position position = store.append(record).position;
  world.run();
  store.open_local_stream("telemetry", 0, 0);
  EXPECT_EQ(travel.reader_for(stream), slow);
  store.rewind(slow, {});
  ASSERT_EQ(store.next(slow).record->position, position);
  store.acknowledge(slow, position);
  const store::ReaderId fast = travel.reader_for(stream);
  EXPECT_NE(fast, slow);
  ASSERT_EQ(travel.lanes().size(), 2u);
  EXPECT_EQ(travel.lanes()[0].reader, fast);
  world.run();
  world.restart();
  Travel again(*world.store, "^");
  EXPECT_EQ(again.reader_for(stream), fast);
  EXPECT_EQ(again.lanes().size(), 2u);
}

TEST(Travel, LabelsAreOfOneStoreOfThePeer) {
  TestStore world;
  Travel travel(*world.store, "hub");
  EXPECT_FALSE(travel.meet(7));
  const store::StreamKey key{1, "telemetry"};
  EXPECT_EQ(travel.open_key(key), key);
  travel.add_label(key, {51, 2, 80});
  travel.add_label(key, {61, 3, 90});
  EXPECT_EQ(travel.open_key(key).incarnation, 3u);
  EXPECT_TRUE(travel.meet(8));
  EXPECT_EQ(travel.open_key(key), key);
  world.run();
  world.restart();
  Travel again(*world.store, "hub");
  EXPECT_EQ(again.store_id(), 8u);
  EXPECT_TRUE(again.meet(7));
  ASSERT_EQ(again.labels(key).size(), 2u);
  again.add_label(key, {55, 4, 95});
  ASSERT_EQ(again.labels(key).size(), 2u);
  EXPECT_EQ(again.labels(key)[1], (Label{55, 4, 95}));
}

// --- Registry.

TEST(Registry, AClaimWorksOnceAndOnlyForOneSecret) {
  TestStore world;
  store::TestEntropy entropy(9);
  Registry registry(*world.store);
  const Result<std::string> text = registry.add("ship-7", {"cmd/ship-7/#", "all/+"}, entropy);
  ASSERT_TRUE(text);
  EXPECT_EQ(registry.add("ship-7", {}, entropy).error().code, Code::kExists);
  EXPECT_EQ(registry.add("a/b", {}, entropy).error().code, Code::kInvalid);
  EXPECT_EQ(registry.add("b", {"a/#/b"}, entropy).error().code, Code::kInvalid);
  EXPECT_EQ(registry.add("b", {"$hf/batch"}, entropy).error().code, Code::kInvalid);
  const Claim claim = *parse_claim(*text);
  EXPECT_EQ(claim.parent_store_id, world.store->store_id());

  EXPECT_EQ(registry.authenticate("ship-7", claim.token), Registry::Entry::kClaim);
  EXPECT_EQ(registry.authenticate("ship-7", ""), Registry::Entry::kRefused);
  EXPECT_EQ(registry.authenticate("ship-8", claim.token), Registry::Entry::kRefused);

  const std::string secret = draw_secret(entropy);
  const std::string other = draw_secret(entropy);
  uint64_t commit = 0;
  EXPECT_EQ(registry.exchange("ship-7", "nonsense", &commit), mqtt::Reason::kPayloadFormatInvalid);
  EXPECT_EQ(registry.exchange("ship-7", encode_claim_message(secret), &commit), mqtt::Reason::kSuccess);
  EXPECT_EQ(commit, world.store->open_commit());
  EXPECT_EQ(registry.authenticate("ship-7", claim.token), Registry::Entry::kRefused);
  EXPECT_EQ(registry.authenticate("ship-7", secret), Registry::Entry::kSecret);
  // The acknowledgement was lost: the same again is well; somebody else's is not.
  EXPECT_EQ(registry.exchange("ship-7", encode_claim_message(secret), &commit), mqtt::Reason::kSuccess);
  EXPECT_EQ(registry.exchange("ship-7", encode_claim_message(other), &commit), mqtt::Reason::kNotAuthorized);

  registry.seen("ship-7", 42);
  world.run();
  world.restart();
  Registry again(*world.store);
  EXPECT_EQ(again.authenticate("ship-7", secret), Registry::Entry::kSecret);
  EXPECT_EQ(again.authenticate("ship-7", claim.token), Registry::Entry::kRefused);
  ASSERT_NE(again.find("ship-7"), nullptr);
  EXPECT_TRUE(again.find("ship-7")->claimed());

  // A new claim leaves the old secret in force until it is used.
  const Claim fresh = *parse_claim(*again.reissue("ship-7", entropy));
  EXPECT_EQ(again.authenticate("ship-7", secret), Registry::Entry::kSecret);
  EXPECT_EQ(again.exchange("ship-7", encode_claim_message(other), &commit), mqtt::Reason::kSuccess);
  EXPECT_EQ(again.authenticate("ship-7", secret), Registry::Entry::kRefused);
  EXPECT_EQ(again.authenticate("ship-7", fresh.token), Registry::Entry::kRefused);
  EXPECT_TRUE(again.remove("ship-7"));
  EXPECT_EQ(again.authenticate("ship-7", other), Registry::Entry::kRefused);
}

TEST(Registry, SaysWhoseTopicItIs) {
  TestStore world;
  store::TestEntropy entropy;
  Registry registry(*world.store);
  ASSERT_TRUE(registry.add("b", {"cmd/b/#", "cmd/+/all", "cmd/#"}, entropy));
  ASSERT_TRUE(registry.add("a", {"cmd/+/all"}, entropy));
  const auto names = [&](Bytes topic) {
    std::string text;
    for (const Child* child : registry.children_for(topic)) text += child->name;
    return text;
  };
  EXPECT_EQ(names("cmd/x/all"), "ab");
  EXPECT_EQ(names("cmd/b/1"), "b");
  EXPECT_EQ(names("other"), "");
  ASSERT_TRUE(registry.remove("b"));
  EXPECT_EQ(names("cmd/x/all"), "a");
}

TEST(Registry, KeepsThePrefixAndSaysWhatIsWrongWithOne) {
  TestStore world;
  store::TestEntropy entropy;
  Registry registry(*world.store);
  for (const char* bad :
       {"sites/+/", "sites/#", "#", "$SYS/", "sites", "/sites/", "sites//a/", "/", "a\xff/"}) {
    const Result<std::string> added = registry.add("a", {}, entropy, {}, bad);
    ASSERT_FALSE(added) << bad;
    EXPECT_EQ(added.error().code, Code::kInvalid);
    EXPECT_TRUE(Bytes(added.error().text).starts_with("the prefix ")) << added.error().text;
  }
  EXPECT_FALSE(registry.add("a", {}, entropy, {}, std::string(255, 'a').append("/")));
  EXPECT_EQ(registry.find("a"), nullptr);
  ASSERT_TRUE(registry.add("a", {"sites/a/#", "all/#"}, entropy, {}, "sites/a/"));
  ASSERT_TRUE(registry.add("b", {"#"}, entropy));
  // A topic of which nothing would be left, or one of the child's own, is not for the child.
  const auto names = [](const Registry& asked, Bytes topic) {
    std::string text;
    for (const Child* child : asked.children_for(topic)) text += child->name;
    return text;
  };
  for (int restarts = 0; restarts < 2; ++restarts) {
    Registry again(*world.store);
    EXPECT_EQ(again.find("a")->prefix, "sites/a/");
    EXPECT_EQ(again.find("b")->prefix, "");
    EXPECT_EQ(names(again, "sites/a/cmd"), "ab");
    EXPECT_EQ(names(again, "sites/a/"), "b");
    EXPECT_EQ(names(again, "sites/a/$SYS/x"), "b");
    EXPECT_EQ(names(again, "sites/a/$hf/batch"), "b");
    EXPECT_EQ(names(again, "all/x"), "ab");
    again.seen("a", 5);
    ASSERT_TRUE(again.reissue("a", entropy));
    world.run();
    world.restart();
  }
}

TEST(Credentials, SurviveARestart) {
  TestStore world;
  store::TestEntropy entropy;
  const Claim claim{"ship-7", 77, draw_secret(entropy), ""};
  Credentials credentials(*world.store);
  EXPECT_FALSE(credentials.known());
  EXPECT_FALSE(credentials.take("nonsense", entropy));
  ASSERT_TRUE(credentials.take(encode_claim(claim), entropy));
  world.run();
  world.restart();
  Credentials again(*world.store);
  EXPECT_EQ(again.name(), "ship-7");
  EXPECT_EQ(again.token(), claim.token);
  EXPECT_EQ(again.secret(), credentials.secret());
  EXPECT_FALSE(again.confirmed());
  again.confirm();
  world.run();
  world.restart();
  Credentials last(*world.store);
  EXPECT_TRUE(last.confirmed());
  EXPECT_EQ(last.token(), "");
}

}  // namespace
}  // namespace hf::link
