// PUBLISH in and out while everybody is there: quality of service, the gate, overlapping subscriptions,
// properties.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::PacketType;
using mqtt::Reason;
using mqtt::Version;

TEST(Publish, Qos0GoesToEveryMatchingSubscriberAtOnce) {
  Site site;
  Client sub(site, "sub"), old(site, "old", Version::k311), pub(site, "pub");
  sub.connect();
  old.connect();
  pub.connect();
  sub.subscribed("a/+", 0);
  old.subscribed("a/#", 1);
  pub.publish("a/b", "x");
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 a/b 'x'"});
  EXPECT_EQ(old.take(), Lines{"PUBLISH q0 a/b 'x'"});
  EXPECT_EQ(pub.take(), Lines{});
}

// Goal: no acknowledgement of a stored message leaves before its commit is durable.
TEST(Publish, PubackWaitsForSync) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.connect();
  sub.subscribed("t", 1);
  pub.publish("t", "x", 1, 5);
  EXPECT_EQ(pub.take(), Lines{});
  EXPECT_EQ(sub.take(), Lines{});  // Nor does the delivery.
  site.sync();
  EXPECT_EQ(pub.take(), Lines{"PUBACK #5 00"});
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q1 #1 t 'x'"});
}

TEST(Publish, UnstoredMessageIsAcknowledgedAtOnce) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("t", 1);
  pub.publish("t", "x", 1, 5);
  EXPECT_EQ(pub.take(), Lines{"PUBACK #5 00"});
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q1 #1 t 'x'"});
  EXPECT_EQ(site.store->figures().records, 0u);
}

TEST(Publish, NobodyThereIsSaidWith10) {
  Site site;
  Client pub(site, "pub");
  pub.connect();
  pub.publish("t", "x", 1, 5);
  pub.publish("t", "x", 2, 6);
  EXPECT_EQ(pub.take(), (Lines{"PUBACK #5 10", "PUBREC #6 10"}));
}

// [MQTT-4.6.0-2] An acknowledgement that depends on nothing still waits behind one that does.
TEST(Publish, PubacksKeepTheOrderOfTheirPublishes) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.connect();
  sub.subscribed("stored", 1);
  pub.publish("stored", "x", 1, 5);
  pub.publish("nobody", "x", 1, 6);
  EXPECT_EQ(pub.take(), Lines{});
  EXPECT_EQ(pub.synced(), (Lines{"PUBACK #5 00", "PUBACK #6 10"}));
}

// [MQTT-4.6.0-3] [MQTT-4.6.0-4] bind clients; ours to them keep the order too, whatever each of them waits for.
TEST(Publish, AnswersOfQos2KeepTheirOrder) {
  Site site;
  Client kept(site, "kept"), pub(site, "pub");
  kept.keep().connect();
  pub.connect();
  kept.subscribed("stored", 2);
  pub.publish("nobody", "x", 2, 4);
  pub.publish("stored", "x", 2, 5);
  pub.publish("nobody", "x", 2, 6);
  pub.publish("stored", "x", 2, 7);
  EXPECT_EQ(pub.synced(), (Lines{"PUBREC #4 10", "PUBREC #5 00", "PUBREC #6 10", "PUBREC #7 00"}));
  EXPECT_EQ(kept.take(), (Lines{"PUBLISH q2 #1 stored 'x'", "PUBLISH q2 #2 stored 'x'"}));
  kept.pubrec(2);
  kept.pubrec(9);  // Of nothing: nothing to wait for.
  kept.pubrec(1);
  EXPECT_EQ(kept.synced(), (Lines{"PUBREL #2 00", "PUBREL #9 92", "PUBREL #1 00"}));
}

TEST(Publish, Qos0BypassesTheGate) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.connect();
  sub.subscribed("t", 1);
  pub.publish("t", "stored", 1, 5);
  pub.publish("t", "live");
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'live'"});
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q1 #1 t 'stored'"});
}

TEST(Publish, Qos2GoesThroughItsFourSteps) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.keep().connect();
  sub.subscribed("t", 2);
  pub.publish("t", "x", 2, 5);
  EXPECT_EQ(pub.take(), Lines{});
  site.sync();
  EXPECT_EQ(pub.take(), Lines{"PUBREC #5 00"});
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q2 #1 t 'x'"});
  pub.publish("t", "x", 2, 5);  // Again, by a client that missed PUBREC: no second delivery.
  EXPECT_EQ(pub.synced(), Lines{"PUBREC #5 00"});
  pub.pubrel(5);
  EXPECT_EQ(pub.take(), Lines{});
  EXPECT_EQ(pub.synced(), Lines{"PUBCOMP #5 00"});
  pub.pubrel(5);
  EXPECT_EQ(pub.synced(), Lines{"PUBCOMP #5 92"});
  sub.pubrec(1);
  EXPECT_EQ(sub.take(), Lines{});  // PUBREL waits for the state.
  EXPECT_EQ(sub.synced(), Lines{"PUBREL #1 00"});
  sub.pubcomp(1);
  EXPECT_EQ(sub.synced(), Lines{});
  site.broker->for_each_client(
      [](const ClientInfo& info) { EXPECT_EQ(info.inflight, 0u) << info.client_id; });
}

TEST(Publish, PubrecOfAPersistentPublisherWaitsAlsoForAnUnstoredMessage) {
  Site site;
  Client pub(site, "pub");
  pub.keep().connect();
  pub.publish("t", "x", 2, 5);
  EXPECT_EQ(pub.take(), Lines{});
  EXPECT_EQ(pub.synced(), Lines{"PUBREC #5 10"});
}

TEST(Publish, PubrecForAnUnknownIdentifierIsReleasedWith92) {
  Site site;
  Client sub(site, "sub");
  sub.connect();
  sub.pubrec(77);
  EXPECT_EQ(sub.take(), Lines{"PUBREL #77 92"});
}

TEST(Publish, RefusedByTheSubscriberIsDiscarded) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.connect();
  sub.subscribed("t", 2);
  pub.publish("t", "x", 2, 5);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q2 #1 t 'x'"});
  sub.ack(PacketType::kPubrec, 1, Reason::kQuotaExceeded);
  EXPECT_EQ(sub.synced(), Lines{});
  sub.drop();
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
}

TEST(Publish, OverlappingSubscriptionsGetOneCopyAtTheHighestQosWithAllIdentifiers) {
  Site site;
  Client stored(site, "stored"), live(site, "live"), pub(site, "pub");
  stored.keep().connect();
  live.connect();
  pub.connect();
  for (Client* client : {&stored, &live}) {
    client->subscribed("a/#", 0, 7);
    client->subscribed("a/+", 2, 8);
    client->subscribed("a/b", 1, 9);
  }
  pub.publish("a/b", "x", 2, 5);
  site.sync();
  const Lines once{"PUBLISH q2 #1 a/b 'x' ids 7,9,8"};
  EXPECT_EQ(stored.take(), once);
  EXPECT_EQ(live.take(), once);
  // And so when it waited in the log.
  stored.drop();
  pub.publish("a/b", "y", 2, 6);
  stored.dial();
  EXPECT_EQ(stored.synced(), (Lines{"CONNACK 00 present", "PUBLISH q2 #1 a/b 'x' dup ids 7,9,8",
                                    "PUBLISH q2 #2 a/b 'y' ids 7,9,8"}));
}

TEST(Publish, DeliveryIsAtTheLowerOfPublishedAndGranted) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.connect();
  sub.subscribed("two", 2);
  sub.subscribed("one", 1);
  pub.publish("two", "x", 1, 5);
  pub.publish("one", "x", 2, 6);
  EXPECT_EQ(sub.synced(), (Lines{"PUBLISH q1 #1 two 'x'", "PUBLISH q1 #2 one 'x'"}));
}

TEST(Publish, NoLocalIsNotEchoed) {
  Site site;
  Client self(site, "self"), other(site, "other");
  self.connect();
  other.connect();
  self.subscribe({.filter = "t", .qos = 1, .no_local = true});
  self.take();
  other.publish("t", "theirs");
  self.publish("t", "mine");
  self.publish("t", "mine", 1, 5);
  EXPECT_EQ(self.take(), (Lines{"PUBLISH q0 t 'theirs'", "PUBACK #5 10"}));
  // Another subscription of the same session without it still gets a copy, at its own QoS.
  self.subscribed("#", 0);
  self.publish("t", "mine", 1, 6);
  EXPECT_EQ(self.take(), (Lines{"PUBLISH q0 t 'mine'", "PUBACK #6 00"}));
}

TEST(Publish, RetainFlagStaysOnlyWhereAskedFor) {
  Site site;
  Client plain(site, "plain"), as_published(site, "as"), pub(site, "pub");
  plain.connect();
  as_published.keep().connect();
  pub.connect();
  plain.subscribed("t", 0);
  as_published.subscribe({.filter = "t", .qos = 1, .retain_as_published = true});
  site.sync();
  as_published.take();
  pub.retain("t", "x");
  pub.retain("t", "y", 1, 5);
  site.sync();
  EXPECT_EQ(plain.take(), (Lines{"PUBLISH q0 t 'x'", "PUBLISH q0 t 'y'"}));
  EXPECT_EQ(as_published.take(), (Lines{"PUBLISH q0 t 'x' retain", "PUBLISH q1 #1 t 'y' retain"}));
}

TEST(Publish, PropertiesAreCarriedThrough) {
  Site site;
  Client sub(site, "sub"), old(site, "old", Version::k311), pub(site, "pub");
  sub.connect();
  old.connect();
  pub.connect();
  sub.subscribed("t", 0);
  old.subscribed("t", 0);
  mqtt::Properties properties;
  properties.content_type = "text/plain";
  properties.response_topic = "reply";
  properties.correlation_data = "77";
  properties.payload_format_indicator = 1;
  properties.user_properties = {{"b", "1"}, {"a", "2"}, {"b", "3"}};
  pub.publish("t", "x", 0, 0, properties);
  const std::string bytes = site.host.sent[sub.id];
  EXPECT_NE(bytes.find("text/plain"), std::string::npos);
  EXPECT_NE(bytes.find("reply"), std::string::npos);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x' b=1 a=2 b=3"});
  EXPECT_EQ(old.take(), Lines{"PUBLISH q0 t 'x'"});
}

TEST(Publish, WhatOnlyTheNodeSaysIsTakenFromClientsAndTheirTimeIsReadAndPassedOn) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("t", 0);
  mqtt::Properties properties;
  properties.user_properties = {
      {"hf-time", "1700000000123"}, {"k", "v"}, {"hf-origin", "forged"}, {"hf-else", "passes"}};
  pub.publish("t", "x", 0, 0, properties);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x' hf-time=1700000000123 k=v hf-else=passes"});
  properties.user_properties = {{"hf-time", "2023-11-14T22:13:20Z"}};
  pub.publish("t", "x", 0, 0, properties);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x' hf-time=2023-11-14T22:13:20Z"});
  properties.user_properties = {{"hf-time", "yesterday"}};
  pub.publish("t", "x", 1, 9, properties);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x' hf-time=yesterday"});
  EXPECT_EQ(pub.take(), Lines{"PUBACK #9 00"});
  for (const Bytes name : {"hf-origin", "hf-seq", "hf-arrived", "hf-arrived-quality", "hf-may-double"}) {
    properties.user_properties = {{name, "forged"}};
    pub.publish("t", "x", 0, 0, properties);
    EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x'"}) << name;
  }
  EXPECT_EQ(site.broker->counters().times_invalid, 1u);
}

TEST(Publish, EventTimeFromThePayloadIsTheHostsToFind) {
  Site site;
  site.host.payload_time = 1'700'000'000'000'000;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("t", 0);
  pub.publish("t", "x");
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x' hf-time=2023-11-14T22:13:20.000000Z"});
  mqtt::Properties properties;  // Of the publisher, and nobody can read it.
  properties.user_properties = {{"hf-time", "yesterday"}};
  pub.publish("t", "x", 0, 0, properties);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x' hf-time=yesterday hf-time=2023-11-14T22:13:20.000000Z"});
}

// What a publisher says of its time is what the log has, also behind a restart, and once.
TEST(Publish, TimeThatWasSaidIsKept) {
  Site site;
  site.host.payload_time = 1'700'000'000'000'000;
  Client sub(site, "sub"), pub(site, "pub"), late(site, "late");
  sub.keep().connect();
  sub.subscribed("t", 1);
  sub.drop();
  pub.connect();
  mqtt::Properties properties;
  properties.user_properties = {{"hf-time", "1600000000000"}, {"k", "v"}};
  pub.send(mqtt::Publish{
      .qos = 1, .retain = true, .topic = "t", .packet_id = 1, .properties = properties, .payload = "x"});
  site.sync();
  site.restart();
  sub.dial();
  EXPECT_EQ(sub.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t 'x' hf-time=1600000000000 k=v"}));
  late.connect();
  late.subscribe("t", 0);
  EXPECT_EQ(late.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 t 'x' retain hf-time=1600000000000 k=v"}));
}

TEST(Publish, AcknowledgementsLeaveBeforeMessages) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 1);
  pub.connect();
  pub.publish("t", "payload", 1, 1);  // One small message and many acknowledgements, which make more bytes.
  for (uint16_t id = 2; id <= 200; ++id) pub.publish("nobody", "payload", 1, id);
  site.host.sent_to.clear();
  site.sync();
  EXPECT_EQ(site.host.sent_to, (std::vector<ConnectionId>{pub.id, sub.id}));
}

TEST(Publish, RouteStoresQos0WithoutMakingItWait) {
  Site site;
  site.host.routes = {{"meters/#", "telemetry", {}}};
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.connect();
  sub.subscribed("#", 2);
  pub.publish("meters/1", "x");
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 meters/1 'x'"});
  pub.publish("meters/1", "y", 1, 5);
  EXPECT_EQ(pub.take(), Lines{});
  EXPECT_EQ(pub.synced(), Lines{"PUBACK #5 00"});
  EXPECT_EQ(site.store->figures().records, 2u);
  // Sessions do not queue QoS 0: nothing is owed but the second.
  sub.take();
  sub.puback(1);
  site.sync();
  site.broker->for_each_client([](const ClientInfo& info) { EXPECT_EQ(info.owed_count, 0u); });
}

TEST(Publish, OneTopicIsRoutedOnceWhileNothingChanges) {
  Site site;
  Client pub(site, "pub");
  pub.connect();
  for (int i = 0; i < 10; ++i) pub.publish("t", "x");
  EXPECT_EQ(site.host.route_calls, 1);
  ++site.host.epoch;
  pub.publish("t", "x");
  EXPECT_EQ(site.host.route_calls, 2);
  pub.subscribed("other", 0);
  pub.publish("t", "x");
  EXPECT_EQ(site.host.route_calls, 3);
}

mqtt::Properties alias(uint16_t number) {
  mqtt::Properties properties;
  properties.topic_alias = number;
  return properties;
}

TEST(Publish, TopicAliasStandsForTheTopicItCameWith) {
  Site site;
  Client pub(site, "pub"), other(site, "other"), sub(site, "sub");
  pub.connect();
  other.connect();
  sub.connect();
  sub.subscribed("#", 2);
  pub.publish("first", "1", 0, 0, alias(1));
  pub.publish("", "2", 1, 1, alias(1));
  pub.publish("second", "3", 0, 0, alias(16));
  pub.publish("", "4", 0, 0, alias(16));
  pub.publish("again", "5", 0, 0, alias(1));  // It may be given anew.
  pub.publish("", "6", 0, 0, alias(1));
  pub.publish("again", "7");
  EXPECT_EQ(sub.synced(), (Lines{"PUBLISH q0 first '1'", "PUBLISH q1 #1 first '2'", "PUBLISH q0 second '3'",
                                 "PUBLISH q0 second '4'", "PUBLISH q0 again '5'", "PUBLISH q0 again '6'",
                                 "PUBLISH q0 again '7'"}));
  // [MQTT-3.3.2-7] It is good for one connection.
  other.publish("", "x", 0, 0, alias(1));
  EXPECT_EQ(other.take(), (Lines{"DISCONNECT 82", "closed"}));
}

TEST(Publish, TopicAliasBeyondTheMaximumIsAMistake) {
  Site site;
  Client pub(site, "pub"), none(site, "none");
  pub.connect();
  pub.publish("t", "x", 0, 0, alias(17));
  EXPECT_EQ(pub.take(), (Lines{"DISCONNECT 94", "closed"}));
  site.limits.topic_alias_maximum = 0;
  site.restart();
  none.connect();
  EXPECT_FALSE(none.connack().topic_alias_maximum);
  none.publish("t", "x", 0, 0, alias(1));
  EXPECT_EQ(none.take(), (Lines{"DISCONNECT 94", "closed"}));
}

TEST(Publish, EveryAliasThatWasPromisedTakesTheLongestTopic) {  // [MQTT-3.3.2-12]
  Site site;
  Client pub(site, "pub");
  pub.connect();
  for (uint16_t i = 1; i <= site.limits.topic_alias_maximum; ++i) {
    pub.publish(std::string(65'535, 'a'), "x", 0, 0, alias(i));
  }
  pub.publish("", "x", 1, 1, alias(site.limits.topic_alias_maximum));
  EXPECT_EQ(pub.take(), Lines{"PUBACK #1 10"});
}

TEST(Publish, ClientThatTakesAliasesGetsThem) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  sub.hello.properties.topic_alias_maximum = 2;
  sub.connect();
  sub.subscribed("#", 1, 7);
  pub.connect();
  for (const char* topic : {"first", "first", "t", "second", "third", "second"}) pub.publish(topic, "x");
  pub.publish("first", "y", 1);
  EXPECT_EQ(sub.synced(),
            (Lines{"PUBLISH q0 first@1 'x' ids 7", "PUBLISH q0 @1 'x' ids 7", "PUBLISH q0 t 'x' ids 7",
                   "PUBLISH q0 second@2 'x' ids 7", "PUBLISH q0 third 'x' ids 7", "PUBLISH q0 @2 'x' ids 7",
                   "PUBLISH q1 #1 @1 'y' ids 7"}));
}

// Goal: no alias arrives before the PUBLISH that says what it stands for. QoS 0 does not wait in the gate, so it may not
// build on one that does.
TEST(Publish, AliasThatWaitsInTheGateIsNotUsedByWhatDoesNot) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  sub.keep().hello.properties.topic_alias_maximum = 2;
  sub.connect();
  sub.subscribed("#", 1);
  pub.connect();
  pub.publish("topic", "1", 1, 1);
  pub.publish("topic", "2");
  pub.publish("other", "3");
  pub.publish("other", "4", 1, 2);
  EXPECT_EQ(sub.take(), (Lines{"PUBLISH q0 topic '2'", "PUBLISH q0 other@2 '3'"}));
  pub.publish("other", "5");
  EXPECT_EQ(sub.synced(), (Lines{"PUBLISH q0 @2 '5'", "PUBLISH q1 #1 topic@1 '1'", "PUBLISH q1 #2 @2 '4'"}));
  pub.publish("topic", "6");
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 @1 '6'"});
}

TEST(Publish, MessageThatFitsOnlyWithoutAnAliasGoesWithout) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  sub.hello.properties.topic_alias_maximum = 2;
  sub.hello.properties.maximum_packet_size = 100;
  sub.connect();
  sub.subscribed("#", 1);
  pub.connect();
  const std::string all(88, 'x'), less(85, 'y');
  pub.publish("topic", all, 1, 1);   // 100 bytes.
  pub.publish("topic", less, 1, 2);  // As many with the alias.
  EXPECT_EQ(sub.synced(),
            (Lines{"PUBLISH q1 #1 topic '" + all + "'", "PUBLISH q1 #2 topic@1 '" + less + "'"}));
}

TEST(Publish, Qos0MessageThatFitsOnlyWithoutAnAliasGoesWithout) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  sub.hello.properties.topic_alias_maximum = 2;
  sub.hello.properties.maximum_packet_size = 100;
  sub.connect();
  sub.subscribed("#", 0);
  pub.connect();
  const std::string all(90, 'x'), less(87, 'y');
  pub.publish("topic", all);   // 100 bytes.
  pub.publish("topic", less);  // As many with the alias.
  EXPECT_EQ(sub.take(), (Lines{"PUBLISH q0 topic '" + all + "'", "PUBLISH q0 topic@1 '" + less + "'"}));
}

TEST(Publish, MoreThanTheReceiveMaximumIsAMistake) {
  Site site;
  site.limits.receive_maximum = 2;
  site.restart();
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  pub.connect();
  EXPECT_EQ(pub.connack().receive_maximum, 2);
  sub.subscribed("t", 1);
  for (uint16_t i = 1; i <= 2; ++i) pub.publish("t", "x", 1, i);
  EXPECT_EQ(pub.synced(), (Lines{"PUBACK #1 00", "PUBACK #2 00"}));
  for (uint16_t i = 1; i <= 3; ++i) pub.publish("t", "x", 1, i);
  EXPECT_EQ(pub.take(), (Lines{"DISCONNECT 93", "closed"}));
}

TEST(Publish, ReservedTopicIsRefusedToAnybodyButANode) {
  Site site;
  site.host.nodes["ship"] = "ship-7";
  Client mqtt5(site, "five"), old(site, "old", Version::k311), node(site, "node:ship-7");
  mqtt5.connect();
  old.connect();
  mqtt5.publish("$hf/up", "x", 1, 5);
  mqtt5.publish("$SYS/uptime", "x", 2, 6);
  mqtt5.publish("$SYS/uptime", "x");
  mqtt5.subscribe("$hf/#", 1);
  EXPECT_EQ(mqtt5.take(), (Lines{"PUBACK #5 87", "PUBREC #6 87", "SUBACK #900 87"}));
  mqtt5.publish("$hf/up", "x");
  EXPECT_EQ(mqtt5.take(), (Lines{"DISCONNECT 87", "closed"}));
  old.subscribe("$hf/x", 0);
  EXPECT_EQ(old.take(), Lines{"SUBACK #900 80"});
  old.publish("$hf/up", "x", 1, 5);
  EXPECT_EQ(old.take(),
            Lines{"PUBACK #5 00"});  // It has no other way to hear of it than to be cut off again and again.

  node.hello.user_name = "ship";
  node.connect();
  node.subscribed("$hf/down/#", 1);
  node.publish("$hf/up", "batch", 1, 5);
  EXPECT_EQ(node.take(), Lines{});
  EXPECT_EQ(site.host.calls, (Lines{"connected ship-7", "$hf/up 'batch' #5"}));
  site.broker->reserved_acknowledge(node.id, 5, Reason::kSuccess, site.store->durable_commit());
  EXPECT_EQ(node.take(), Lines{"PUBACK #5 00"});
  const uint16_t packet_id = site.broker->reserved_send(node.id, "$hf/down", "batch", 0);
  EXPECT_EQ(packet_id, 1);
  EXPECT_EQ(node.take(), Lines{"PUBLISH q1 #1 $hf/down 'batch'"});
  node.puback(1);
  node.drop();
  EXPECT_EQ(site.broker->reserved_send(node.id, "$hf/down", "batch", 0), 0);
  EXPECT_EQ(site.host.calls.back(), "disconnected ship-7");
  EXPECT_EQ(site.host.calls[2], "acknowledged #1 00");
}

TEST(Publish, FullStoreRefusesWithAReasonAndLetsQos0Pass) {
  Site site;
  Client keeper(site, "keeper"), live(site, "live"), pub(site, "pub"), old(site, "old", Version::k311);
  keeper.keep().connect();
  live.connect();
  pub.connect();
  old.connect();
  keeper.subscribed("big", 1);
  live.subscribed("big", 0);
  const std::string big(700 << 10, 'x');  // A quarter of the largest segment is 1 MiB; the quota fills.
  keeper.drop();
  uint16_t id = 0;
  Lines answer;
  while (id < 200) {
    pub.publish("big", big, 1, ++id);
    answer = pub.synced();
    live.take();
    if (answer != Lines{"PUBACK #" + std::to_string(id) + " 00"}) break;
  }
  EXPECT_EQ(answer, Lines{"PUBACK #" + std::to_string(id) + " 97"});
  old.publish("big", big, 1, 1);
  EXPECT_EQ(old.take(), Lines{"closed"});
  site.pass(milliseconds(1));  // What went out in an earlier step has left.
  pub.publish("big", "small");
  EXPECT_EQ(live.take(), Lines{"PUBLISH q0 big 'small'"});
}

// Goal: a store that has failed acknowledges nothing, keeps nothing, and says so; what needs no disk goes on.
TEST(Publish, FailedStorageRefusesQos1AndLetsQos0Pass) {
  Site site;
  site.host.routes = {{"t", "s", {}}};
  Client kept(site, "kept"), pub(site, "pub"), old(site, "old", Version::k311);
  kept.keep().connect();
  kept.subscribed("t", 1);
  pub.connect();
  old.connect();
  site.disk.broken = true;
  pub.publish("t", "x", 1, 1);
  for (int i = 0; i < 10 && site.store->mode() != store::Mode::kStorageFailed; ++i) {
    site.sync();
    site.pass(seconds(2));  // The store may wait for a spare segment.
  }
  ASSERT_EQ(site.store->mode(), store::Mode::kStorageFailed);
  // Both wait for a commit that will never come.
  EXPECT_EQ(pub.take(), (Lines{"DISCONNECT 83", "closed"}));
  EXPECT_EQ(kept.take(), (Lines{"DISCONNECT 83", "closed"}));

  Client late(site, "late"), other(site, "other"), keeper(site, "keeper", Version::k311);
  late.keep().dial();
  EXPECT_EQ(late.take(), Lines{"CONNACK 00"});
  EXPECT_EQ(late.connack().session_expiry_interval_s, 0u);
  late.subscribe("t", 2);
  EXPECT_EQ(late.take(), Lines{"SUBACK #900 00"});
  keeper.keep().dial();
  EXPECT_EQ(keeper.take(), (Lines{"CONNACK 03", "closed"}));
  other.connect();
  other.publish("t", "x", 1, 1);
  other.publish("t", "x", 2, 2);
  other.publish("t", "live");
  EXPECT_EQ(other.take(), (Lines{"PUBACK #1 97", "PUBREC #2 97"}));
  EXPECT_EQ(late.take(), Lines{"PUBLISH q0 t 'live'"});
  old.publish("t", "x", 1, 1);
  EXPECT_EQ(old.take(), Lines{"closed"});
  // The kept session is on the disk as it was.
  site.disk.broken = false;
  site.restart();
  kept.dial();
  EXPECT_EQ(kept.synced().front(), "CONNACK 00 present");
}

// A length in more bytes than it needs is refused in 5.0 and taken in 3.1.1, whatever came before; it is not passed on.
TEST(Publish, SameTopicAgainMaySayItsLengthTooLongIn311) {  // [MQTT-1.5.5-1]
  Site site;
  Client sub(site, "sub", Version::k311), old(site, "old", Version::k311), five(site, "five");
  sub.connect();
  sub.subscribed("t", 0);
  old.connect();
  five.connect();
  old.publish("t", "x");
  old.publish("t", "y");
  old.send_bytes(Bytes("\x30\x84\0\0\1tz", 7));
  EXPECT_EQ(site.host.sent[sub.id].size(), 3 * 6u);
  EXPECT_EQ(sub.take(), (Lines{"PUBLISH q0 t 'x'", "PUBLISH q0 t 'y'", "PUBLISH q0 t 'z'"}));
  five.publish("t", "x");
  five.send_bytes(Bytes("\x30\x85\0\0\1t\0z", 8));
  EXPECT_EQ(five.take(), (Lines{"DISCONNECT 81", "closed"}));
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t 'x'"});
}

TEST(Publish, UnstoredMessagesOfASlowCleanSessionAreBounded) {
  Site site;
  site.limits.clean_session_queue_bytes_max = 10'000;
  site.restart();
  Client slow(site, "slow"), pub(site, "pub");
  slow.hello.properties.receive_maximum = 2;
  slow.connect();
  pub.connect();
  slow.subscribed("t", 1);
  for (int i = 0; i < 5; ++i) pub.publish("t", std::to_string(i), 1, 5);
  EXPECT_EQ(slow.take(), (Lines{"PUBLISH q1 #1 t '0'", "PUBLISH q1 #2 t '1'"}));
  slow.puback(1);
  slow.puback(2);
  EXPECT_EQ(slow.take(), (Lines{"PUBLISH q1 #3 t '2'", "PUBLISH q1 #4 t '3'"}));
  for (int i = 0; i < 100; ++i) pub.publish("t", std::string(100, 'x'), 1, 5);
  EXPECT_EQ(slow.take(), (Lines{"DISCONNECT 97", "closed"}));
  EXPECT_EQ(site.broker->counters().slow_disconnected, 1u);
}

// Stored and unstored messages of one publisher stay in order for a clean session whose window is full: the
// route takes one topic, the other is not stored.
TEST(Publish, StoredAndUnstoredMessagesKeepTheirOrder) {
  Site site;
  site.host.routes = {{"stored", "s", {}}};
  Client slow(site, "slow"), pub(site, "pub");
  slow.hello.properties.receive_maximum = 1;
  slow.connect();
  pub.connect();
  slow.subscribed("#", 1);
  for (int i = 0; i < 8; ++i) {
    pub.publish(i % 3 == 1 ? "stored" : "live", std::to_string(i), 1, static_cast<uint16_t>(i + 1));
    if (i == 4) site.sync();
  }
  site.sync();
  Lines payloads;
  for (uint16_t packet_id = 1; packet_id <= 8; ++packet_id) {
    const Lines lines = slow.synced();
    ASSERT_EQ(lines.size(), 1u) << packet_id;
    payloads.push_back(lines[0].substr(lines[0].find('\'')));
    slow.puback(packet_id);
  }
  EXPECT_EQ(payloads, (Lines{"'0'", "'1'", "'2'", "'3'", "'4'", "'5'", "'6'", "'7'"}));
}

TEST(Publish, Qos0ToASlowReaderIsDroppedAndCounted) {
  Site site;
  Client slow(site, "slow"), pub(site, "pub");
  slow.connect();
  pub.connect();
  slow.subscribed("t", 0);
  site.broker->unsent(slow.id, site.limits.unsent_bytes_max + 1, site.now);
  pub.publish("t", "x");
  EXPECT_EQ(slow.take(), Lines{});
  EXPECT_EQ(site.broker->counters().qos0_dropped, 1u);
  site.broker->unsent(slow.id, 0, site.now);
  pub.publish("t", "y");
  EXPECT_EQ(slow.take(), Lines{"PUBLISH q0 t 'y'"});
}

TEST(Publish, MessageTooLargeForAClientIsDiscardedForItAlone) {
  Site site;
  Client small(site, "small"), other(site, "other"), pub(site, "pub");
  small.hello.properties.maximum_packet_size = 100;
  small.keep().connect();
  other.connect();
  pub.connect();
  small.subscribed("t", 1);
  other.subscribed("t", 1);
  const std::string large(200, 'x');
  pub.publish("t", large, 1, 5);
  pub.publish("t", large, 0);
  pub.publish("t", "fits", 1, 6);
  site.sync();
  EXPECT_EQ(small.take(), Lines{"PUBLISH q1 #1 t 'fits'"});
  EXPECT_EQ(other.take().size(), 3u);
  small.puback(1);
  site.sync();
  site.broker->for_each_client([](const ClientInfo& info) {
    if (info.client_id == "small") {
      EXPECT_EQ(info.owed_count, 0u);
    }
  });
}

TEST(Publish, RecordFromALinkTellsItsOrigin) {
  Site site;
  Client sub(site, "sub"), late(site, "late"), pub(site, "pub");
  sub.connect();
  sub.subscribed("#", 1);
  const store::StreamId stream = site.store->open_stream(
      {0xabcd, "telemetry"}, {.priority = 5, .time_to_live_s = 0, .origin = "ship-7"});
  store::NewRecord record;
  record.stream = stream;
  record.sequence = 41;
  record.topic = "engine/rpm";
  record.payload = "900";
  record.qos = 1;
  record.retain = true;
  record.may_double = true;
  record.arrival = {
      .wall_us = 1'700'000'000'000'000, .mono_ns = 5, .quality = ClockQuality::kRtc, .boot = {9, 9}};
  record.event_us = 1'700'000'000'500'000;
  const auto appended = site.broker->ingest(record, {Source::Kind::kChild, "ship-7"}, site.now);
  EXPECT_EQ(appended.sequence, 41u);
  EXPECT_EQ(sub.take(), Lines{});
  const std::string origin =
      "hf-origin=ship-7 hf-seq=000000000000abcd:telemetry:41 hf-arrived=2023-11-14T22:13:20.000000Z "
      "hf-arrived-quality=rtc hf-may-double=1";
  EXPECT_EQ(sub.synced(),
            Lines{"PUBLISH q1 #1 engine/rpm '900' hf-time=2023-11-14T22:13:20.500000Z " + origin});
  late.connect();
  late.subscribe("engine/#", 0);
  EXPECT_EQ(late.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 engine/rpm '900' retain " + origin +
                                                        " hf-time=2023-11-14T22:13:20.500000Z"}));
}

// Goal: a batch of a link costs a session that is kept one row for all that is now in flight to it.
TEST(Publish, BatchOfALinkIsOneRowOfDeliveries) {
  Site site;
  Client sub(site, "sub");
  sub.keep().connect();
  sub.subscribed("#", 1);
  store::NewRecord record;
  record.stream = site.store->open_stream({0xabcd, "telemetry"}, {.origin = "ship-7"});
  record.topic = "engine/rpm";
  record.qos = 1;
  site.broker->together(site.now, [&] {
    for (int i = 0; i < 50; ++i) site.broker->ingest(record, {Source::Kind::kChild, "ship-7"}, site.now);
  });
  EXPECT_EQ(sub.synced().size(), 50u);
  size_t rows = 0;
  site.store->scan(store::Table::kOutboundRun, {}, [&](Bytes, Bytes) { return ++rows > 0; });
  EXPECT_EQ(rows, 1u);
  site.restart();
  sub.dial();
  EXPECT_EQ(sub.synced().size(), 51u);  // CONNACK, and all of them again.
}

// Goal: identifiers that are never released cost a bounded memory. Method: a client of 3.1.1, which has no receive maximum.
TEST(Publish, IdentifiersThatAreNeverReleasedAreBounded) {
  Site site;
  site.limits.inbound_ids_max = 100;
  site.restart();
  Client old(site, "old", Version::k311);
  old.keep().connect();
  for (uint16_t id = 1; id <= 100; ++id) old.publish("t", "x", 2, id);
  EXPECT_EQ(old.synced().size(), 100u);
  old.publish("t", "x", 2, 100);  // Not a new one.
  EXPECT_EQ(old.synced(), Lines{"PUBREC #100 00"});
  old.publish("t", "x", 2, 101);
  EXPECT_EQ(old.synced(), Lines{"closed"});
  EXPECT_EQ(site.broker->counters().of(Limit::kInboundIds), 1u);
}

TEST(Publish, RetainedMessageOfALinkThatFindsNoSpaceTakesTheOldOneAway) {
  Site site;
  site.limits.retained_bytes_max = 4096;
  site.restart();
  const store::StreamId stream =
      site.store->open_stream({0xabcd, "telemetry"}, {.priority = 5, .origin = "ship-7"});
  store::NewRecord record{
      .stream = stream, .sequence = 1, .topic = "a", .payload = "old", .qos = 1, .retain = true};
  site.broker->ingest(record, {Source::Kind::kChild, "ship-7"}, site.now);
  const std::string large(5000, 'x');
  record.sequence = 2;
  record.payload = large;
  site.broker->ingest(record, {Source::Kind::kChild, "ship-7"}, site.now);
  Client late(site, "late");
  late.connect();
  late.subscribe("a", 0);
  EXPECT_EQ(late.synced(), Lines{"SUBACK #900 00"});  // "old" would be a lie.
}

TEST(Publish, DupIsNotPassedOn) {  // [MQTT-3.3.1-3]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("t", 2);
  pub.send(mqtt::Publish{.dup = true, .qos = 1, .topic = "t", .packet_id = 5, .payload = "x"});
  pub.send(mqtt::Publish{.dup = true, .qos = 2, .topic = "t", .packet_id = 6, .payload = "y"});
  EXPECT_EQ(sub.take(), (Lines{"PUBLISH q1 #1 t 'x'", "PUBLISH q2 #2 t 'y'"}));
}

TEST(Publish, AcknowledgedIdentifierIsNewWhateverDupSays) {  // [MQTT-4.3.2-5]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("t", 1);
  for (const bool dup : {false, true, false}) {
    pub.send(mqtt::Publish{.dup = dup, .qos = 1, .topic = "t", .packet_id = 5, .payload = "x"});
    EXPECT_EQ(pub.take(), Lines{"PUBACK #5 00"});
    EXPECT_EQ(sub.take().size(), 1u);
  }
}

TEST(Publish, RefusedOrReleasedQos2IdentifierIsNew) {  // [MQTT-4.3.3-9] [MQTT-4.3.3-12]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("t", 2);
  pub.publish("$SYS/x", "x", 2, 5);
  EXPECT_EQ(pub.take(), Lines{"PUBREC #5 87"});
  for (uint16_t round = 1; round <= 2; ++round) {
    pub.publish("t", "x", 2, 5);
    EXPECT_EQ(pub.take(), Lines{"PUBREC #5 00"});
    EXPECT_EQ(sub.take(), Lines{"PUBLISH q2 #" + std::to_string(round) + " t 'x'"});
    pub.pubrel(5);
    EXPECT_EQ(pub.take(), Lines{"PUBCOMP #5 00"});
  }
}

TEST(Publish, EveryTopicAliasUpToTheMaximumIsTaken) {  // [MQTT-3.3.2-12]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  pub.connect();
  sub.subscribed("#", 0);
  const uint16_t most = *pub.connack().topic_alias_maximum;
  Lines expected;
  for (uint16_t i = 1; i <= most; ++i) pub.publish("topic/" + std::to_string(i), "x", 0, 0, alias(i));
  EXPECT_EQ(sub.take().size(), most);
  for (uint16_t i = most; i >= 1; --i) {
    pub.publish("", "y", 0, 0, alias(i));
    expected.push_back("PUBLISH q0 topic/" + std::to_string(i) + " 'y'");
  }
  EXPECT_EQ(sub.take(), expected);
  EXPECT_EQ(pub.take(), Lines{});
}

TEST(Publish, FullWindowHoldsNothingUpButPublishes) {  // [MQTT-3.3.4-10] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
  Site site;
  Client slow(site, "slow"), pub(site, "pub");
  slow.hello.properties.receive_maximum = 1;
  slow.connect();
  pub.connect();
  slow.subscribed("t", 2);
  pub.publish("t", "1", 2, 5);
  pub.publish("t", "2", 2, 6);
  EXPECT_EQ(slow.take(), Lines{"PUBLISH q2 #1 t '1'"});
  slow.send(mqtt::Ping{});
  slow.subscribe("other", 0);
  slow.publish("nobody", "x", 1, 7);
  pub.publish("t", "3");  // QoS 0 has no window.
  slow.pubrec(1);
  EXPECT_EQ(slow.take(),
            (Lines{"PINGRESP", "SUBACK #900 00", "PUBACK #7 10", "PUBLISH q0 t '3'", "PUBREL #1 00"}));
  slow.pubcomp(1);
  EXPECT_EQ(slow.take(), Lines{"PUBLISH q2 #2 t '2'"});
}

// Goal: none of the answers whose size a client may have limited grows by what it can do without.
TEST(Publish, AnswersHaveNeitherReasonStringNorUserProperty) {
  Site site;
  site.host.nodes["ship"] = "ship-7";
  Client client(site, "c"), pub(site, "pub");
  client.hello.properties.request_problem_information = 1;
  client.connect();
  pub.connect();
  client.subscribe("t", 2);
  client.subscribe("$hf/x", 0);
  client.send(mqtt::Unsubscribe{.packet_id = 7, .filters = {"no"}});
  client.publish("$SYS/x", "x", 1, 1);
  client.publish("$SYS/x", "x", 2, 2);
  client.publish("t", "x", 2, 3);
  client.pubrel(3);
  client.pubrel(4);
  client.pubrec(1);
  client.pubrec(5);
  const std::string bytes = site.host.sent[client.id];
  size_t answers = 0;
  for (Bytes rest = bytes; !rest.empty();) {
    mqtt::Framed framed;
    mqtt::DecodeError error;
    mqtt::Packet packet;
    ASSERT_EQ(mqtt::frame_next(rest, 1 << 20, &framed, &error), mqtt::FrameStatus::kWhole);
    ASSERT_TRUE(mqtt::decode(framed, Version::k5, mqtt::Sender::kServer, &packet, &error));
    rest.remove_prefix(framed.size);
    const auto* ack = std::get_if<mqtt::Ack>(&packet);
    const auto* suback = std::get_if<mqtt::SubAck>(&packet);
    if (ack == nullptr && suback == nullptr) continue;
    ++answers;
    EXPECT_TRUE((ack != nullptr ? ack->properties : suback->properties) == mqtt::Properties())
        << line_of(packet);
  }
  EXPECT_EQ(answers, 10u);
}

// Goal: what a publisher says of a message comes to each subscriber as it was said, at once, out of the log, after a restart,
// and as a retained message.
TEST(Publish, PropertiesComeAsTheyWereSent) {
  Site site;
  Client live(site, "live"), kept(site, "kept"), late(site, "late"), pub(site, "pub");
  live.connect();
  kept.keep().connect();
  pub.connect();
  live.subscribed("t", 1);
  kept.subscribed("t", 1);
  kept.drop();
  mqtt::Properties properties;
  properties.payload_format_indicator = 1;
  properties.content_type = "text/plain; \xef\xbb\xbf";
  properties.response_topic = "reply/to";
  properties.correlation_data = Bytes("\0\xff\x01", 3);
  properties.user_properties = {{"b", "1"}, {"a", "2"}, {"b", "1"}, {"", ""}};
  pub.send(mqtt::Publish{
      .qos = 1, .retain = true, .topic = "t", .packet_id = 1, .properties = properties, .payload = "x"});
  site.sync();
  const auto check = [&](Client& client) {
    const std::string bytes = site.host.sent[client.id];
    bool seen = false;
    for (Bytes rest = bytes; !rest.empty();) {
      mqtt::Framed framed;
      mqtt::DecodeError error;
      mqtt::Packet packet;
      ASSERT_EQ(mqtt::frame_next(rest, 1 << 20, &framed, &error), mqtt::FrameStatus::kWhole);
      ASSERT_TRUE(mqtt::decode(framed, Version::k5, mqtt::Sender::kServer, &packet, &error));
      rest.remove_prefix(framed.size);
      const auto* publish = std::get_if<mqtt::Publish>(&packet);
      if (publish == nullptr) continue;
      seen = true;
      EXPECT_TRUE(publish->properties == properties) << client.name;
    }
    EXPECT_TRUE(seen) << client.name;
  };
  check(live);
  site.restart();
  kept.dial();
  site.sync();
  check(kept);
  late.connect();
  late.subscribe("t", 0);
  site.sync();
  check(late);
}

// Goal: the operator's message goes where a client's would, is answered for when it is durable, and needs nobody's rights.
// Method: clients without a name may do nothing here; the one who listens has a name.
TEST(Publish, TheOperatorPublishesByNobodysRights) {
  Site site;
  site.host.rights_of[""] = TestRights();
  Client client(site, "c");
  client.hello.user_name = "bob";
  client.keep().connect();
  client.subscribed("a/#", 1);

  const auto published = site.broker->publish({.topic = "a/1",
                                               .payload = "x",
                                               .content_type = "t",
                                               .expiry_s = 60,
                                               .user_properties = {{"k", "v"}, {"hf-seq", "forged"}}},
                                              site.now);
  ASSERT_TRUE(published);
  EXPECT_TRUE(published->wanted);
  EXPECT_GT(published->commit, site.store->durable_commit());
  EXPECT_EQ(client.take(), Lines{});
  site.sync();
  EXPECT_GE(site.store->durable_commit(), published->commit);
  EXPECT_EQ(client.take(), Lines{"PUBLISH q1 #1 a/1 'x' expiry 60 k=v"});

  // What it retains is given out too, also after a restart.
  ASSERT_TRUE(site.broker->publish({.retain = true, .topic = "b", .payload = "kept"}, site.now));
  site.sync();
  site.restart();
  Client late(site, "late");
  late.hello.user_name = "bob";
  late.connect();
  late.subscribe("b", 0);
  site.sync();
  EXPECT_EQ(late.take(), (Lines{"SUBACK #900 00", "PUBLISH q0 b 'kept' retain"}));

  const auto unwanted = site.broker->publish({.topic = "nobody", .payload = "x"}, site.now);
  ASSERT_TRUE(unwanted);
  EXPECT_FALSE(unwanted->wanted);
  EXPECT_EQ(unwanted->commit, 0u);
}

TEST(Publish, TheOperatorIsToldWhyNot) {
  Site site;
  site.limits.packet_bytes_max = 1000;
  site.limits.retained_bytes_max = 100;
  site.restart();
  Client client(site, "c");
  client.connect();
  client.subscribed("#", 1);
  const auto why = [&](const Publication& message) {
    const auto published = site.broker->publish(message, site.now);
    return published ? std::string("ok") : code_name(published.error().code);
  };
  EXPECT_EQ(why({.topic = "$SYS/x", .payload = "x"}), "denied");
  EXPECT_EQ(why({.topic = "$hf/x", .payload = "x"}), "denied");
  EXPECT_EQ(why({.topic = "a", .payload = std::string(1001, 'x')}), "too-large");
  EXPECT_EQ(why({.retain = true, .topic = "a", .payload = std::string(500, 'x')}), "full");
  site.sync();
  EXPECT_EQ(client.take(), Lines{});
  EXPECT_EQ(site.broker->counters().publishes_refused, 4u);
  EXPECT_EQ(why({.topic = "a", .payload = "x"}), "ok");
}

}  // namespace
}  // namespace hf::broker
