// SUBSCRIBE, UNSUBSCRIBE and retained messages.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::Reason;
using mqtt::Version;

TEST(Subscribe, SubackOfAPersistentSessionWaitsForSync) {
  Site site;
  Client kept(site, "kept"), clean(site, "clean");
  kept.keep().connect();
  clean.connect();
  kept.subscribe("t", 1);
  clean.subscribe("t", 1);
  EXPECT_EQ(kept.take(), Lines{});
  EXPECT_EQ(clean.take(), Lines{"SUBACK #900 01"});
  EXPECT_EQ(kept.synced(), Lines{"SUBACK #900 01"});
  kept.send(mqtt::Unsubscribe{.packet_id = 7, .filters = {"t", "other"}});
  EXPECT_EQ(kept.take(), Lines{});
  EXPECT_EQ(kept.synced(), Lines{"UNSUBACK #7 00 11"});
  site.restart();
  site.broker->for_each_client([](const ClientInfo& info) { EXPECT_EQ(info.subscriptions, 0u); });
}

TEST(Subscribe, SubscriptionsOfASessionAreBounded) {
  Site site;
  site.limits.subscriptions_per_session_max = 2;
  site.restart();
  Client client(site, "c");
  client.connect();
  client.send(mqtt::Subscribe{
      .packet_id = 1,
      .entries = {{.filter = "a"}, {.filter = "b"}, {.filter = "c"}, {.filter = "a", .qos = 1}}});
  EXPECT_EQ(client.take(), Lines{"SUBACK #1 00 00 97 01"});
}

TEST(Subscribe, UnsubscribedGetsNothingMore) {
  Site site;
  Client sub(site, "sub", Version::k311), pub(site, "pub");
  sub.connect();
  sub.subscribed("t", 0);
  pub.connect();
  pub.publish("t", "x");
  sub.send(mqtt::Unsubscribe{.packet_id = 7, .filters = {"t"}});
  pub.publish("t", "y");
  EXPECT_EQ(sub.take(), (Lines{"PUBLISH q0 t 'x'", "UNSUBACK #7"}));
}

TEST(Subscribe, DeliveryUnderWayOutlivesUnsubscribe) {  // [MQTT-3.10.4-2] [MQTT-3.10.4-3]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 2);
  pub.connect();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  EXPECT_EQ(sub.synced().size(), 2u);
  sub.send(mqtt::Unsubscribe{.packet_id = 7, .filters = {"t"}});
  EXPECT_EQ(sub.synced(), Lines{"UNSUBACK #7 00"});
  pub.publish("t", "3", 1, 3);
  sub.pubrec(2);
  EXPECT_EQ(sub.synced(), Lines{"PUBREL #2 00"});
  sub.drop();
  sub.dial();
  EXPECT_EQ(sub.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t '1' dup", "PUBREL #2 00"}));
}

TEST(Subscribe, FiltersAreComparedCharacterByCharacter) {  // [MQTT-3.10.4-1] [MQTT-4.7.3-4]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("a/b", 0);
  sub.send(mqtt::Unsubscribe{.packet_id = 7, .filters = {"a/+", "#", "A/b", "a/b/", "a//b"}});
  EXPECT_EQ(sub.take(), Lines{"UNSUBACK #7 11 11 11 11 11"});
  for (const char* topic : {"A/b", "a/b/", "a//b", "a/b"}) pub.publish(topic, "x");
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 a/b 'x'"});
}

TEST(Retained, LastMessageGreetsANewSubscriberBehindSuback) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub"), kept(site, "kept");
  pub.connect();
  pub.retain("a/b", "old", 1, 1);
  pub.retain("a/b", "new", 1, 2);
  pub.retain("a/c", "zero");
  pub.retain("abc", "other");
  EXPECT_EQ(pub.take(), Lines{});  // The row is to be durable.
  EXPECT_EQ(pub.synced(), (Lines{"PUBACK #1 10", "PUBACK #2 10"}));
  sub.connect();
  sub.subscribe("a/#", 0);
  EXPECT_EQ(sub.take(),
            (Lines{"SUBACK #900 00", "PUBLISH q0 a/b 'new' retain", "PUBLISH q0 a/c 'zero' retain"}));
  kept.keep().connect();
  kept.subscribe("a/+", 2, 7);
  EXPECT_EQ(kept.take(), Lines{});
  site.sync();
  Lines lines = kept.take();
  std::sort(lines.begin() + 1, lines.end());
  EXPECT_EQ(lines, (Lines{"SUBACK #900 02", "PUBLISH q0 a/c 'zero' retain ids 7",
                          "PUBLISH q1 #1 a/b 'new' retain ids 7"}));
  // What is owed survives.
  site.restart();
  kept.dial();
  EXPECT_EQ(kept.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 a/b 'new' dup retain ids 7"}));
}

TEST(Retained, SurvivesRestartAndIsDeletedByAnEmptyPayload) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  pub.retain("t", "x", 1, 1);
  site.sync();
  site.restart();
  pub.connect();
  sub.connect();
  sub.subscribe("t", 0);
  EXPECT_EQ(sub.take(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'x' retain"}));
  pub.retain("t", "", 1, 2);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t ''"});
  EXPECT_EQ(pub.take(), Lines{});
  EXPECT_EQ(pub.synced(), Lines{"PUBACK #2 00"});
  pub.retain("nothing", "", 1, 3);  // No row, no commit to wait for.
  EXPECT_EQ(pub.take(), Lines{"PUBACK #3 10"});
  site.restart();
  sub.connect();
  sub.subscribe("t", 0);
  EXPECT_EQ(sub.synced(), Lines{"SUBACK #900 00"});
}

TEST(Retained, PlainMessageLeavesItAlone) {  // [MQTT-3.3.1-8]
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  pub.retain("t", "kept");
  pub.publish("t", "plain", 1, 1);
  pub.publish("t", "");
  pub.publish("u", "plain");
  sub.connect();
  sub.subscribe("#", 0);
  EXPECT_EQ(sub.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'kept' retain"}));
}

TEST(Retained, OutlivesTheSessionOfItsPublisher) {  // [MQTT-3.1.2-7] of 3.1.1
  for (const Version version : {Version::k311, Version::k5}) {
    Site site;
    Client pub(site, "pub", version), again(site, "pub", version), sub(site, "sub", version);
    pub.connect();
    pub.retain("t", "kept", 1);
    site.sync();
    pub.disconnect();
    again.connect();  // A clean session in its place.
    sub.connect();
    sub.subscribe("t", 0);
    EXPECT_EQ(sub.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'kept' retain"}));
  }
}

TEST(Retained, HandlingIsAsAskedFor) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  pub.retain("t", "x");
  sub.connect();
  sub.subscribe({.filter = "t", .retain_handling = 2});
  EXPECT_EQ(sub.take(), Lines{"SUBACK #900 00"});
  sub.subscribe({.filter = "t", .retain_handling = 1});
  EXPECT_EQ(sub.take(), Lines{"SUBACK #900 00"});
  sub.subscribe({.filter = "+", .retain_handling = 1});
  EXPECT_EQ(sub.take(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'x' retain"}));
  sub.subscribe({.filter = "t", .retain_handling = 0});
  EXPECT_EQ(sub.take(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'x' retain"}));
}

TEST(Retained, ComesAgainToAnOldClientThatSubscribesAgain) {  // [MQTT-3.8.4-3] of 3.1.1
  Site site;
  Client pub(site, "pub", Version::k311), sub(site, "sub", Version::k311);
  pub.connect();
  pub.retain("t", "kept", 1, 1);
  site.sync();
  sub.connect();
  sub.subscribe("t", 0);
  EXPECT_EQ(sub.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'kept' retain"}));
  sub.subscribe("t", 1);
  EXPECT_EQ(sub.synced(), (Lines{"SUBACK #900 01", "PUBLISH q1 #1 t 'kept' retain"}));
  pub.publish("t", "new", 1, 2);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q1 #2 t 'new'"});  // Once: it was replaced.
}

TEST(Retained, NoLocalHoldsForRetainedMessagesToo) {
  Site site;
  Client self(site, "self");
  self.connect();
  self.retain("t", "mine");
  self.subscribe({.filter = "t", .no_local = true});
  EXPECT_EQ(self.take(), Lines{"SUBACK #900 00"});
}

TEST(Retained, ExpiresAndSaysWhatIsLeft) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  mqtt::Publish packet{.retain = true, .topic = "t", .payload = "x"};
  packet.properties.message_expiry_interval_s = 60;
  pub.send(packet);
  site.pass(seconds(20));
  sub.connect();
  sub.subscribe("t", 0);
  EXPECT_EQ(sub.take(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'x' retain expiry 40"}));
  site.pass(seconds(40));
  sub.subscribe("t", 0);
  EXPECT_EQ(sub.take(), Lines{"SUBACK #900 00"});
}

TEST(Retained, BytesAreBoundedAndTheOldValueStays) {
  Site site;
  site.limits.retained_bytes_max = 1000;
  site.restart();
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  sub.connect();
  pub.retain("t", "small", 1, 1);
  pub.retain("t", std::string(2000, 'x'), 1, 2);
  EXPECT_EQ(pub.synced(), (Lines{"PUBACK #1 10", "PUBACK #2 97"}));
  sub.subscribe("t", 0);
  EXPECT_EQ(sub.take(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'small' retain"}));
  pub.retain("t", std::string(2000, 'x'), 1, 3);
  EXPECT_EQ(sub.take(), Lines{});
}

// [MQTT-3.3.1-5], and [MQTT-3.3.1-7] of 3.1.1: at QoS 0 there is no answer, so the publisher counts on it.
TEST(Retained, Qos0MessageThatDoesNotFitTakesTheOldOneWithIt) {
  Site site;
  site.limits.retained_bytes_max = 1000;
  site.restart();
  Client pub(site, "pub"), live(site, "live"), late(site, "late");
  pub.connect();
  live.connect();
  pub.retain("t", "small", 1, 1);
  live.subscribe({.filter = "t", .retain_handling = 2});
  live.synced();
  pub.retain("t", std::string(2000, 'x'));
  EXPECT_EQ(live.take(), Lines{"PUBLISH q0 t '" + std::string(2000, 'x') + "'"});
  late.connect();
  late.subscribe("t", 0);
  EXPECT_EQ(late.synced(), Lines{"SUBACK #900 00"});
  pub.retain("other", "x", 1, 2);  // What rides needs somebody's commit.
  site.sync();
  site.restart();
  late.connect();
  late.subscribe("t", 0);
  EXPECT_EQ(late.synced(), Lines{"SUBACK #900 00"});
}

TEST(Retained, ManyReachASlowSubscriberAsItTakesThem) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  constexpr int kCount = 6000;
  for (int i = 0; i < kCount; ++i) {
    pub.retain("t/" + std::to_string(i), std::string(200, 'x'));
    if (i % 100 == 0) site.sync();
  }
  sub.connect();
  sub.subscribe("t/#", 0);
  size_t seen = 0;
  for (int round = 0; round < 1000 && seen < kCount; ++round) {
    const Lines lines = sub.take();
    EXPECT_LE(lines.size(), 1500u);  // A quarter of the limit of unsent bytes.
    seen += lines.size() - (round == 0 ? 1 : 0);
    if (seen == kCount) break;
    ASSERT_TRUE(site.broker->next_deadline());
    site.pass(*site.broker->next_deadline() - site.now.mono);
  }
  EXPECT_EQ(seen, static_cast<size_t>(kCount));
  EXPECT_EQ(site.broker->counters().qos0_dropped, 0u);
}

// Passes the steps that the broker asks for; how many it took until `client` got something, at most `most`.
size_t steps_until_it_gets_something(Site& site, Client& client, size_t most) {
  for (size_t steps = 0; steps < most; ++steps) {
    if (!client.synced().empty()) return steps;
    EXPECT_TRUE(site.broker->next_deadline());
    site.pass(*site.broker->next_deadline() - site.now.mono);
  }
  return most;
}

// Goal: a search holds nobody up, however much there is to be looked at. Method: the only message it finds lies behind ten thousand
// others.
TEST(Retained, SearchLooksAtABoundedNumberOfMessagesAStep) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  for (int i = 0; i < 10'000; ++i) pub.retain("t/a" + std::to_string(i), "x");
  pub.retain("z/1", "found");
  site.sync();
  sub.connect();
  sub.subscribed("+/1", 0);
  const size_t steps = steps_until_it_gets_something(site, sub, 10);
  EXPECT_GE(steps, 2u);
  EXPECT_LE(steps, 4u);
}

// Goal: nobody's search keeps another from its own, nor from a topic by its name. Method: one client searches forty thousand messages
// for each of a hundred filters and finds nothing, and asks again all the time.
TEST(Retained, ASearchThatFindsNothingDoesNotHoldUpOthers) {
  Site site;
  Client pub(site, "pub"), searcher(site, "searcher"), one(site, "one"), other(site, "other");
  pub.connect();
  for (int i = 0; i < 40'000; ++i) pub.retain("t/a" + std::to_string(i), "x");
  pub.retain("x/1", "found");
  site.sync();
  std::vector<std::string> filters;
  for (int i = 0; i < 100; ++i) filters.push_back("+/nothing/" + std::to_string(i));
  mqtt::Subscribe packet{.packet_id = 900};
  for (const std::string& filter : filters) packet.entries.push_back({.filter = filter});
  searcher.connect();
  searcher.send(packet);
  searcher.synced();
  one.connect();
  one.subscribe("x/1", 0);
  EXPECT_EQ(one.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 x/1 'found' retain"}));
  other.connect();
  other.subscribe("x/+", 0);
  other.synced();
  size_t steps = 0;
  for (; steps < 20 && other.take().empty(); ++steps) {
    searcher.send(packet);
    site.sync();
    ASSERT_TRUE(site.broker->next_deadline());
    site.pass(*site.broker->next_deadline() - site.now.mono);
    site.sync();
  }
  EXPECT_LE(steps, 3u);
}

// Who hears that there is no such message any more may build on it.
TEST(Retained, SecondErasureWaitsForTheFirst) {
  Site site;
  Client a(site, "a"), b(site, "b"), late(site, "late");
  a.connect();
  b.connect();
  a.retain("t", "x", 1, 1);
  EXPECT_EQ(a.synced(), Lines{"PUBACK #1 10"});
  a.retain("t", "");
  b.retain("t", "", 1, 1);
  EXPECT_EQ(b.take(), Lines{});
  EXPECT_EQ(b.synced(), Lines{"PUBACK #1 10"});
  site.restart();
  late.connect();
  late.subscribed("t", 0);
}

TEST(Retained, SubscribingAgainWithoutAskingForThemChangesHowTheRestComes) {  // [MQTT-3.8.4-3]
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  for (int i = 0; i < 10'000; ++i) pub.retain("t/a" + std::to_string(i), "x");
  pub.retain("z/1", "found");
  site.sync();
  sub.connect();
  sub.subscribed("+/1", 0, 5);
  sub.subscribe({.filter = "+/1", .retain_handling = 2}, 6);
  EXPECT_EQ(sub.synced(), Lines{"SUBACK #900 00"});
  Lines lines;
  for (int i = 0; i < 10 && lines.empty(); ++i) {
    site.pass(milliseconds(1));
    lines = sub.synced();
  }
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0], "PUBLISH q0 z/1 'found' retain ids 6");
}

// A session that is kept is owed what its SUBSCRIBE asked for, whatever happens in between; nothing of that waits as a copy.
TEST(Retained, OwedAboveQos0AcrossConnectionsAndARestart) {
  Site site;
  Client pub(site, "pub");
  pub.connect();
  for (int i = 0; i < 9; ++i) pub.retain("t/" + std::to_string(i), "x", 1, static_cast<uint16_t>(i + 1));
  site.sync();
  Client sub(site, "sub");
  sub.keep().hello.properties.receive_maximum = 2;
  sub.connect();
  sub.subscribe("t/#", 1);
  EXPECT_EQ(sub.synced(),
            (Lines{"SUBACK #900 01", "PUBLISH q1 #1 t/0 'x' retain", "PUBLISH q1 #2 t/1 'x' retain"}));
  const uint64_t records = site.store->figures().records;
  EXPECT_EQ(records, 2u);
  sub.puback(1);
  EXPECT_EQ(sub.synced(), (Lines{"PUBLISH q1 #3 t/2 'x' retain"}));
  sub.drop();
  Client again(site, "sub");
  again.keep().hello.properties.receive_maximum = 100;
  again.dial();
  EXPECT_EQ(again.synced().size(), 9u);  // CONNACK, 2 again, 6 for the first time.
  for (uint16_t id = 2; id <= 9; ++id) again.puback(id);
  EXPECT_EQ(again.synced(), Lines{});

  again.subscribe("t/#", 1);
  ASSERT_EQ(again.synced().size(), 10u);
  site.restart();
  Client kept(site, "sub");
  kept.keep().dial();
  size_t fresh = 0;
  for (const std::string& line : kept.synced()) fresh += line.find("dup") == std::string::npos ? 1 : 0;
  EXPECT_LE(fresh, 10u);  // The search may have to begin anew, but ends.
  site.pass(seconds(1));
  EXPECT_EQ(kept.synced(), Lines{});
}

TEST(Retained, UnsubscribeEndsWhatIsStillToCome) {  // [MQTT-3.10.4-2]
  Site site;
  Client pub(site, "pub");
  pub.connect();
  for (int i = 0; i < 9; ++i) pub.retain("t/" + std::to_string(i), "x", 1, static_cast<uint16_t>(i + 1));
  site.sync();
  Client sub(site, "sub");
  sub.hello.properties.receive_maximum = 2;
  sub.connect();
  sub.subscribe("t/#", 1);
  ASSERT_EQ(sub.synced().size(), 3u);
  sub.send(mqtt::Unsubscribe{.packet_id = 901, .filters = {"t/#"}});
  sub.puback(1);
  sub.puback(2);
  EXPECT_EQ(sub.synced(), (Lines{"UNSUBACK #901 00"}));
}

// Goal: a SUBSCRIBE costs what it asks for once, and a long search lets others have their turn.
TEST(Retained, RepeatedFiltersAreOneSearch) {
  Site site;
  Client pub(site, "pub");
  pub.connect();
  for (int i = 0; i < 6000; ++i) pub.retain("t/" + std::to_string(i), "x");
  site.sync();
  Client sub(site, "sub");
  sub.connect();
  mqtt::Subscribe packet{.packet_id = 900};
  for (int i = 0; i < 1000; ++i) packet.entries.push_back({.filter = "+/5999", .qos = 0});
  sub.send(packet);
  Lines lines = sub.synced();
  EXPECT_EQ(lines.size(), 1u);  // SUBACK; the search has not come to the end.
  for (int i = 0; i < 3; ++i) site.pass(milliseconds(1));
  lines = sub.take();
  EXPECT_EQ(lines, (Lines{"PUBLISH q0 t/5999 'x' retain"}));
}

TEST(Limits, WhatStaysBehindOfClientsIsBounded) {
  Site site;
  const std::string level(60'000, 'x');
  size_t refused = 0;
  size_t connect_refused = 0;
  for (int c = 0; c < 60; ++c) {
    Client client(site, "client" + std::to_string(c));
    client.keep().dial();
    if (client.synced().front().substr(0, 10) != "CONNACK 00") {
      ++connect_refused;
      continue;
    }
    for (int i = 0; i < 10; ++i) {
      const std::string filter = std::to_string(c * 10 + i) + level;
      client.subscribe(filter, 1);
      refused += client.synced() == Lines{"SUBACK #900 97"} ? 1 : 0;
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_LT(refused, 590u);
  EXPECT_EQ(connect_refused, 0u);  // What is small finds its place.
  EXPECT_LT(site.store->figures().file_bytes, site.options.quota_bytes);
  Client publisher(site, "publisher");
  publisher.connect();
  publisher.publish("t", "x", 1);
  EXPECT_EQ(publisher.synced(), (Lines{"PUBACK #1 10"}));
}

}  // namespace
}  // namespace hf::broker
