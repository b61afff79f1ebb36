// Who a client is: verdicts that come later, enhanced authentication, whose session it is; and what it may do, also when
// that changes.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::Reason;
using mqtt::Version;

mqtt::Packet auth(Reason reason, Bytes data, Bytes method = "RIDDLE") {
  mqtt::Disconnect packet{.type = mqtt::PacketType::kAuth, .reason = reason};
  packet.properties.authentication_method = method;
  packet.properties.authentication_data = data;
  return packet;
}
mqtt::Packet answer(Bytes data) { return auth(Reason::kContinueAuthentication, data); }

TEST(Authenticate, WhatFollowsConnectWaitsForTheVerdict) {
  Site site;
  site.host.pending = {"slow"};
  Client client(site, "c"), sub(site, "sub");
  sub.connect();
  sub.subscribed("#", 0);
  client.hello.user_name = "slow";
  client.dial();
  client.publish("t", "1");
  std::string bytes;
  mqtt::encode(bytes, Version::k5, mqtt::Publish{.topic = "t", .payload = "2"});
  mqtt::encode(bytes, Version::k5, mqtt::Publish{.topic = "t", .payload = "3"});
  client.send_bytes(Bytes(bytes).substr(0, 7));
  client.send_bytes(Bytes(bytes).substr(7));
  EXPECT_EQ(client.take(), Lines{});
  EXPECT_EQ(sub.take(), Lines{});
  site.broker->authenticated(client.id, {.principal = {Principal::Kind::kClient, "slow"}}, site.now);
  EXPECT_EQ(client.take(), Lines{"CONNACK 00"});
  EXPECT_EQ(sub.take(), (Lines{"PUBLISH q0 t '1'", "PUBLISH q0 t '2'", "PUBLISH q0 t '3'"}));
  client.publish("t", "4");
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 t '4'"});
}

TEST(Authenticate, LaterRefusalIsARefusal) {
  Site site;
  site.host.pending = {"slow"};
  Client five(site, "five"), old(site, "old", Version::k311);
  five.hello.user_name = "slow";
  old.hello.user_name = "slow";
  five.dial();
  old.dial();
  five.publish("t", "1");
  for (const ConnectionId id : {five.id, old.id}) {
    site.broker->authenticated(id, {.reason = Reason::kBadUserNameOrPassword}, site.now);
  }
  EXPECT_EQ(five.take(), (Lines{"CONNACK 86", "closed"}));
  EXPECT_EQ(old.take(), (Lines{"CONNACK 04", "closed"}));
  EXPECT_EQ(site.broker->counters().publishes_received[0], 0u);
}

TEST(Authenticate, WhatIsKeptMeanwhileIsBounded) {
  Site site;
  site.host.pending = {"slow"};
  Client client(site, "c");
  client.hello.user_name = "slow";
  client.dial();
  const std::string chunk(64 << 10, 'x');
  for (int i = 0; i < 3; ++i) client.send_bytes(chunk);
  EXPECT_EQ(client.take(), Lines{});
  client.send_bytes(chunk);
  EXPECT_EQ(client.take(), Lines{"closed"});
  site.broker->authenticated(client.id, {}, site.now);  // Nobody is there any more.
}

// Many small packets: none of them moves what lies behind it.
TEST(Authenticate, WhatWaitedBehindTheVerdictCostsOnceItsBytes) {
  Site site;
  site.host.pending = {"slow"};
  Client client(site, "c");
  client.hello.user_name = "slow";
  client.dial();
  constexpr uint16_t kPackets = 1000;
  for (uint16_t i = 1; i <= kPackets; ++i) client.publish("t", "x", 1, i);
  site.broker->authenticated(client.id, {.principal = {Principal::Kind::kClient, "slow"}}, site.now);
  EXPECT_EQ(client.synced().size(), 1u + kPackets);
  const std::vector<const char*>& at = site.host.payloads_at;
  ASSERT_EQ(at.size(), kPackets);
  size_t moved = 0;
  for (size_t i = 1; i < at.size(); ++i) moved += at[i] - at[i - 1] == at[1] - at[0] ? 0 : 1;
  EXPECT_GT(at[1], at[0]);
  EXPECT_EQ(moved, 0u);
  client.publish("t", "x", 1, 1);
  EXPECT_EQ(client.synced(), Lines{"PUBACK #1 10"});
}

TEST(Authenticate, ConnectThatCameInPiecesCountsOnce) {
  Site site;
  site.host.pending = {"slow"};
  Client client(site, "c");
  const std::string large(60'000, 'x');
  client.hello.user_name = "slow";
  client.hello.password = large;
  client.will("t", large);
  std::string connect;
  mqtt::encode(connect, Version::k5, client.hello);
  client.id = ++site.connection_last;
  site.broker->connected(client.id, site.now);
  client.send_bytes(Bytes(connect).substr(0, 1000));
  client.send_bytes(Bytes(connect).substr(1000));
  const size_t left = (256 << 10) - connect.size();
  client.send_bytes(std::string(left, 'x'));
  EXPECT_EQ(client.take(), Lines{});
  client.send_bytes("x");
  EXPECT_EQ(client.take(), Lines{"closed"});
  EXPECT_EQ(site.broker->counters().of(Limit::kConnectBytes), 1u);
}

TEST(Authenticate, VerdictThatNeverComesEndsTheConnection) {
  Site site;
  site.host.pending = {"slow"};
  Client client(site, "c");
  client.hello.user_name = "slow";
  client.dial();
  site.pass(seconds(29));
  EXPECT_EQ(client.take(), Lines{});
  site.pass(seconds(2));
  EXPECT_EQ(client.take(), Lines{"closed"});
}

TEST(Authenticate, ExchangeEndsInConnack) {  // [MQTT-4.12.0-1] to [MQTT-4.12.0-5]
  Site site;
  Client client(site, "c");
  client.hello.properties.authentication_method = "RIDDLE";
  client.dial();
  EXPECT_EQ(client.take(), Lines{"AUTH 18 'who?'"});
  client.send(answer("hm"));
  EXPECT_EQ(client.take(), Lines{"AUTH 18 'well?'"});
  client.send(answer("I am kim"));
  EXPECT_EQ(client.take(), Lines{"CONNACK 00"});
  EXPECT_EQ(client.method, "RIDDLE");
  EXPECT_EQ(client.method_data, "hello");
  site.broker->for_each_client([](const ClientInfo& info) { EXPECT_EQ(info.user, "kim"); });
}

TEST(Authenticate, ExchangeThatFailsIsRefused) {
  Site site;
  Client wrong(site, "a"), other(site, "b"), eager(site, "c"), gone(site, "d"), again(site, "e");
  for (Client* client : {&wrong, &other, &eager, &gone, &again}) {
    client->hello.properties.authentication_method = "RIDDLE";
    client->dial();
    client->take();
  }
  wrong.send(answer("guess"));
  EXPECT_EQ(wrong.take(), (Lines{"CONNACK 87", "closed"}));
  other.send(auth(Reason::kContinueAuthentication, "I am kim", "OTHER"));
  EXPECT_EQ(other.take(), Lines{"closed"});
  eager.publish("t", "x");
  EXPECT_EQ(eager.take(), Lines{"closed"});
  gone.disconnect();
  EXPECT_EQ(gone.take(), Lines{"closed"});
  again.send(auth(Reason::kReauthenticate, "I am kim"));
  EXPECT_EQ(again.take(), Lines{"closed"});
  EXPECT_EQ(site.broker->counters().connections, 0u);
}

TEST(Authenticate, ClientMayAuthenticateAgain) {  // [MQTT-4.12.1-1]
  Site site;
  Client client(site, "c"), plain(site, "plain");
  client.hello.properties.authentication_method = "RIDDLE";
  client.dial();
  client.send(answer("I am kim"));
  client.take();
  client.send(auth(Reason::kReauthenticate, ""));
  client.subscribe("t", 0);  // It goes on meanwhile.
  EXPECT_EQ(client.take(), (Lines{"AUTH 18 'still who?'", "SUBACK #900 00"}));
  client.send(answer("I am kim"));
  EXPECT_EQ(client.take(), Lines{"AUTH 00 'hello'"});
  client.send(auth(Reason::kReauthenticate, ""));
  client.send(answer("I am sam"));  // Nobody becomes somebody else.
  EXPECT_EQ(client.take(), (Lines{"AUTH 18 'still who?'", "DISCONNECT 87", "closed"}));
  plain.connect();
  plain.send(auth(Reason::kReauthenticate, ""));
  EXPECT_EQ(plain.take(), (Lines{"DISCONNECT 82", "closed"}));
}

// [MQTT-3.15.2-2] [MQTT-3.15.2-3] [MQTT-4.12.0-5]
TEST(Authenticate, AuthHasNothingButTheMethodAndData) {
  Site site;
  Client client(site, "c");
  client.hello.properties.authentication_method = "RIDDLE";
  client.hello.properties.request_problem_information = 1;
  client.dial();
  const std::string bytes = site.host.sent[client.id];
  mqtt::Framed framed;
  mqtt::DecodeError error;
  mqtt::Packet packet;
  ASSERT_EQ(mqtt::frame_next(bytes, 1 << 20, &framed, &error), mqtt::FrameStatus::kWhole);
  ASSERT_TRUE(mqtt::decode(framed, Version::k5, mqtt::Sender::kServer, &packet, &error));
  mqtt::Properties expected;
  expected.authentication_method = "RIDDLE";
  expected.authentication_data = "who?";
  EXPECT_TRUE(std::get<mqtt::Disconnect>(packet).properties == expected);
}

TEST(Authenticate, NobodyIsAskedWhoNamedNoMethod) {  // [MQTT-4.12.0-6] [MQTT-4.12.0-7]
  Site site;
  Client client(site, "c");
  client.connect();
  EXPECT_EQ(client.method, "");
  client.send(answer("I am kim"));
  EXPECT_EQ(client.take(), (Lines{"DISCONNECT 82", "closed"}));
}

TEST(Authenticate, MethodIsThatOfConnectToTheEnd) {  // [MQTT-4.12.1-1]
  Site site;
  Client client(site, "c");
  client.hello.properties.authentication_method = "RIDDLE";
  client.dial();
  client.send(answer("I am kim"));
  EXPECT_EQ(client.take(), (Lines{"AUTH 18 'who?'", "CONNACK 00"}));
  client.send(auth(Reason::kReauthenticate, "", "OTHER"));
  EXPECT_EQ(client.take(), (Lines{"DISCONNECT 82", "closed"}));
}

TEST(Authenticate, IdentifierOfAnotherUserIsRejectedInTheWordsOf311) {  // [MQTT-3.1.3-9] of 3.1.1
  Site site;
  Client ann(site, "c", Version::k311), bob(site, "c", Version::k311);
  ann.hello.user_name = "ann";
  bob.hello.user_name = "bob";
  ann.keep().connect();
  bob.dial();
  EXPECT_EQ(bob.take(), (Lines{"CONNACK 02", "closed"}));
  EXPECT_EQ(ann.take(), Lines{});
}

TEST(Authenticate, SessionBelongsToItsUser) {
  Site site;
  Client ann(site, "c"), bob(site, "c"), nobody(site, "c");
  nobody.keep().connect();
  nobody.drop();
  ann.keep();
  ann.hello.user_name = "ann";
  ann.dial();  // What nobody owns may be taken.
  EXPECT_EQ(ann.synced(), Lines{"CONNACK 00 present"});
  site.restart();
  bob.hello.user_name = "bob";
  bob.dial();
  nobody.dial();
  EXPECT_EQ(bob.synced(), (Lines{"CONNACK 85", "closed"}));
  EXPECT_EQ(nobody.synced(), (Lines{"CONNACK 85", "closed"}));
  ann.dial();
  EXPECT_EQ(ann.synced(), Lines{"CONNACK 00 present"});
}

TEST(Authenticate, NodeIsNotKeptOutByASessionOfItsName) {
  Site site;
  site.host.nodes = {{"ship", "ship-7"}};
  Client squatter(site, "ship-7"), node(site, "ship-7");
  squatter.hello.user_name = "bob";
  squatter.keep().connect();
  squatter.drop();
  node.hello.user_name = "ship";
  node.dial();
  EXPECT_EQ(node.synced(), Lines{"CONNACK 00"});
}

// --- Rights.

struct Limited {
  Site site;
  Client ann{site, "ann"}, pub{site, "pub"};

  explicit Limited(TestRights rights) {
    site.host.rights_of["ann"] = std::move(rights);
    ann.hello.user_name = "ann";
    ann.keep().connect();
    pub.connect();
  }
  void change(TestRights rights) {
    site.host.rights_of["ann"] = std::move(rights);
    site.broker->identities_changed(site.now);
  }
};

TestRights rights(std::vector<std::string> publishes, std::vector<std::string> subscribes = {},
                  std::vector<std::string> receives = {}, std::vector<std::string> retains = {}) {
  TestRights made;
  made.publishes = std::move(publishes);
  made.subscribes = std::move(subscribes);
  made.receives = std::move(receives);
  made.retains = std::move(retains);
  return made;
}

TEST(Rights, PublishAndRetainAreApart) {
  Limited limited(rights({"a/#"}, {}, {}, {"a/kept"}));
  limited.ann.publish("b", "x", 1, 1);
  limited.ann.publish("a/b", "x", 1, 2);
  limited.ann.retain("a/b", "x", 1, 3);
  limited.ann.retain("a/kept", "x", 1, 4);
  EXPECT_EQ(limited.ann.synced(), (Lines{"PUBACK #1 87", "PUBACK #2 10", "PUBACK #3 87", "PUBACK #4 10"}));
  limited.ann.publish("b", "x");  // QoS 0 is dropped, and counted.
  EXPECT_EQ(limited.site.broker->counters().not_authorized, 3u);
}

TEST(Rights, DeniedSubscribeIsAnsweredInSuback) {
  Limited limited(rights({}, {"a/#", "b/#"}, {"#"}));
  Client old(limited.site, "old", Version::k311);
  old.hello.user_name = "ann";
  old.connect();
  limited.ann.send(mqtt::Subscribe{.packet_id = 1,
                                   .entries = {{.filter = "a/#", .qos = 1},
                                               {.filter = "#", .qos = 1},
                                               {.filter = "$share/g/b/#", .qos = 1},
                                               {.filter = "$share/g/c", .qos = 1}}});
  old.send(
      mqtt::Subscribe{.packet_id = 1, .entries = {{.filter = "a/#", .qos = 1}, {.filter = "#", .qos = 1}}});
  EXPECT_EQ(limited.ann.synced(), Lines{"SUBACK #1 01 87 01 87"});
  EXPECT_EQ(old.take(), Lines{"SUBACK #1 01 80"});
}

TEST(Rights, DeliveryNeedsTheRightToReceive) {
  Limited limited(rights({}, {"#", "$share/g/#"}, {"a/#"}));
  limited.ann.subscribed("#", 1);
  limited.pub.publish("a", "1", 1, 1);
  limited.pub.publish("b", "2", 1, 2);
  limited.pub.publish("b", "3");
  EXPECT_EQ(limited.ann.synced(), Lines{"PUBLISH q1 #1 a '1'"});
}

TEST(Rights, RevokedRightHoldsForWhatWaitsInTheLog) {
  Limited limited(rights({}, {"#"}, {"#"}));
  limited.ann.subscribed("#", 2);
  limited.pub.publish("a", "0", 2, 1);
  EXPECT_EQ(limited.ann.synced(), Lines{"PUBLISH q2 #1 a '0'"});
  limited.ann.drop();
  limited.pub.publish("a", "1", 1, 2);
  limited.pub.publish("b", "2", 1, 3);
  limited.site.sync();
  limited.change(rights({}, {"#"}, {"b"}));
  limited.ann.dial();
  // Neither what was owed nor what was under way.
  EXPECT_EQ(limited.ann.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #2 b '2'"}));
  limited.pub.publish("a", "3", 1, 4);
  EXPECT_EQ(limited.ann.synced(), Lines{});
  limited.change(rights({}, {"#"}, {"#"}));  // And given again.
  limited.pub.publish("a", "4", 1, 5);
  EXPECT_EQ(limited.ann.synced(), Lines{"PUBLISH q1 #3 a '4'"});
}

TEST(Rights, RetainedMessageOfSomebodyWhoLostTheRightIsNotGiven) {
  Limited limited(rights({"#"}, {}, {}, {"#"}));
  limited.ann.retain("a", "x", 1, 1);
  limited.ann.retain("b", "y", 1, 2);
  limited.site.sync();
  limited.change(rights({"b"}, {}, {}, {"b"}));
  limited.site.restart();
  Client sub(limited.site, "sub");
  sub.connect();
  sub.subscribe("#", 0);
  EXPECT_EQ(sub.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 b 'y' retain"}));
}

TEST(Rights, RetainedMessagesAreGivenByTheSubscribersRight) {
  Limited limited(rights({}, {"#"}, {"a"}));
  limited.pub.retain("a", "x");
  limited.pub.retain("b", "y");
  limited.ann.subscribe("#", 0);
  EXPECT_EQ(limited.ann.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 a 'x' retain"}));
}

TEST(Rights, WillNeedsTheRightAtConnectAndWhenItIsDue) {
  Site site;
  site.host.rights_of["ann"] = rights({"bye"});
  Client ann(site, "ann"), denied(site, "denied"), kept(site, "kept"), sub(site, "sub");
  sub.connect();
  sub.subscribed("#", 0);
  for (Client* client : {&ann, &denied, &kept}) client->hello.user_name = "ann";
  denied.will("other", "x").dial();
  kept.will("bye", "x", 0, 0, true).dial();
  EXPECT_EQ(denied.take(), (Lines{"CONNACK 87", "closed"}));
  EXPECT_EQ(kept.take(), (Lines{"CONNACK 87", "closed"}));
  ann.will("bye", "1").connect();
  ann.drop();
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 bye '1'"});
  ann.connect();
  site.host.rights_of["ann"] = rights({});
  site.broker->identities_changed(site.now);
  ann.drop();
  EXPECT_EQ(sub.synced(), Lines{});
}

TEST(Rights, WillOfACrashIsJudgedByTheUserItWasOf) {
  Site site;
  site.host.rights_of["ann"] = rights({"bye"});
  Client ann(site, "ann"), sub(site, "sub");
  ann.hello.user_name = "ann";
  ann.will("bye", "1", 1).connect();
  sub.keep().connect();
  sub.subscribed("#", 1);
  site.host.rights_of["ann"] = rights({});
  site.restart();
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
}

// What is kept of a user says how he came, over a restart too: one by a password is gone when he is removed from the list, one
// whom a certificate named never was in it.
TEST(Rights, WhatIsKeptOfARemovedUserIsJudgedByHowHeCame) {
  Site site;
  site.host.with_certificate = {"press"};
  Client ann(site, "ann"), press(site, "press"), pub(site, "pub"), sub(site, "sub");
  pub.connect();
  for (Client* client : {&ann, &press}) {
    client->hello.user_name = client->name;
    client->keep().will(client == &ann ? "bye/ann" : "bye/press", "1", 1).connect();
    client->subscribed("news", 1);
    client->retain("kept/" + client->name, "x", 1);
    client->synced();
  }
  sub.keep().connect();
  sub.subscribed("bye/#", 1);
  ann.drop();
  press.drop();
  EXPECT_EQ(sub.synced(), (Lines{"PUBLISH q1 #1 bye/ann '1'", "PUBLISH q1 #2 bye/press '1'"}));
  sub.puback(1);
  sub.puback(2);
  ann.connect();
  press.connect();
  pub.publish("news", "2", 1);
  EXPECT_EQ(ann.synced().size(), 1u);
  site.sync();
  site.host.gone = {"ann", "press"};
  site.restart();
  sub.dial();
  EXPECT_EQ(sub.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 bye/press '1'"}));
  sub.subscribe("kept/#", 0);
  EXPECT_EQ(sub.synced(), (Lines{"SUBACK #900 00", "PUBLISH q0 kept/press 'x' retain"}));
  for (Client* client : {&ann, &press}) {
    client->hello.will.reset();
    client->dial();
  }
  EXPECT_EQ(ann.synced(), Lines{"CONNACK 00 present"});
  EXPECT_EQ(press.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 news '2' dup"}));
}

TEST(Rights, RemovedUserIsDisconnected) {
  Limited limited(rights({"#"}));
  limited.site.host.denied = {"ann"};
  limited.site.broker->identities_changed(limited.site.now);
  EXPECT_EQ(limited.ann.take(), (Lines{"DISCONNECT 87", "closed"}));
  EXPECT_EQ(limited.pub.take(), Lines{});
  EXPECT_TRUE(limited.site.host.logged.back().starts_with("HF-MQTT-013"));
}

TEST(Rights, ChangeCostsNothingUntilSomebodyIsLookedAt) {
  Site site;
  site.host.rights_of["ann"] = rights({}, {"wanted", "other"}, {"#"});
  for (int i = 0; i < 200; ++i) {
    Client away(site, "away" + std::to_string(i));
    away.hello.user_name = "ann";
    away.keep().connect();
    away.subscribed(i < 2 ? "wanted" : "other", 1);
    away.drop();
  }
  Client pub(site, "pub");
  pub.connect();
  site.host.rights_of["ann"] = rights({}, {"wanted", "other"}, {"other"});
  const size_t before = site.host.rights_calls;
  site.broker->identities_changed(site.now);
  EXPECT_EQ(site.host.rights_calls, before);
  pub.publish("wanted", "x", 1);
  EXPECT_EQ(pub.synced(), Lines{"PUBACK #1 10"});  // Nobody may have it any more.
  EXPECT_EQ(site.host.rights_calls, before + 3);   // Those two, and who published.
}

TEST(Rights, LeaseOfAMemberWhoLostTheRightGoesToAnother) {
  Site site;
  Client ann(site, "ann"), bob(site, "bob"), pub(site, "pub");
  ann.hello.user_name = "ann";
  site.host.rights_of["ann"] = rights({}, {"#"}, {"#"});
  ann.keep().connect();
  pub.connect();
  ann.subscribed("$share/g/#", 1);
  pub.publish("a", "kept", 1);
  EXPECT_EQ(ann.synced(), Lines{"PUBLISH q1 #1 a 'kept'"});
  ann.drop();
  bob.keep().connect();
  bob.subscribed("$share/g/#", 1);
  site.host.rights_of["ann"] = rights({}, {"#"}, {"other"});
  site.broker->identities_changed(site.now);
  ann.dial();
  EXPECT_EQ(ann.synced(), Lines{"CONNACK 00 present"});
  EXPECT_EQ(bob.synced(), Lines{"PUBLISH q1 #1 a 'kept'"});
  bob.puback(1);
  site.sync();
  site.pass(seconds(15));  // What the group's rows say is durable too.
  site.sync();
  site.restart();  // It is nobody's any more.
  bob.dial();
  EXPECT_EQ(bob.synced(), Lines{"CONNACK 00 present"});
}

TEST(Rights, MessageForABusyMemberIsNotGivenAwayByOneWithoutTheRight) {
  Site site;
  site.host.rights_of["ann"] = rights({}, {"#"}, {"a"});
  Client ann(site, "ann"), bob(site, "bob"), pub(site, "pub");
  ann.hello.user_name = "ann";
  bob.hello.properties.receive_maximum = 1;
  ann.connect();
  bob.connect();
  pub.connect();
  ann.subscribed("$share/g/#", 1);
  bob.subscribed("$share/g/#", 1);
  for (uint16_t i = 1; i <= 3; ++i) pub.publish("b", std::to_string(i), 1, i);
  EXPECT_EQ(bob.synced(), Lines{"PUBLISH q1 #1 b '1'"});
  for (uint16_t i = 1; i <= 2; ++i) {
    bob.puback(i);
    EXPECT_EQ(bob.synced(),
              Lines{"PUBLISH q1 #" + std::to_string(i + 1) + " b '" + std::to_string(i + 1) + "'"});
  }
  EXPECT_EQ(ann.take(), Lines{});
}

TEST(Rights, StatusTopicsAreGivenByTheRight) {
  Limited limited(rights({}, {"$SYS/#"}, {"$SYS/broker/version"}));
  limited.ann.subscribe("$SYS/#", 0);
  const Lines lines = limited.ann.synced();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines.front().starts_with("PUBLISH q0 $SYS/broker/version"));  // SUBACK waits for the disk.
}

TEST(Rights, MemberWithoutTheRightIsPassedOver) {
  Site site;
  site.host.rights_of["ann"] = rights({}, {"#"}, {"a"});
  Client ann(site, "ann"), bob(site, "bob"), pub(site, "pub");
  ann.hello.user_name = "ann";
  ann.connect();
  bob.connect();
  pub.connect();
  ann.subscribed("$share/g/#", 1);
  bob.subscribed("$share/g/#", 1);
  for (uint16_t i = 1; i <= 3; ++i) pub.publish("b", "x", 1, i);
  site.sync();
  EXPECT_EQ(ann.take(), Lines{});
  EXPECT_EQ(bob.take().size(), 3u);
}

}  // namespace
}  // namespace hf::broker
