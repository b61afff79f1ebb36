// CONNECT, its answer, and all the ways in which a connection ends.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::PacketType;
using mqtt::Reason;
using mqtt::Version;

TEST(Connect, ConnackAnnouncesWhatIsSupported) {
  Site site;
  Client client(site, "c");
  client.dial();
  EXPECT_EQ(client.take(), Lines{"CONNACK 00"});  // A clean session waits for nothing.
  const mqtt::Properties& told = client.connack();
  EXPECT_EQ(told.receive_maximum, site.limits.receive_maximum);
  EXPECT_EQ(told.maximum_packet_size, site.limits.packet_bytes_max);
  // Absent means available.
  EXPECT_FALSE(told.shared_subscription_available);
  EXPECT_FALSE(told.wildcard_subscription_available);
  EXPECT_FALSE(told.subscription_identifier_available);
  EXPECT_FALSE(told.retain_available);
  EXPECT_FALSE(told.maximum_qos);
  EXPECT_EQ(told.topic_alias_maximum, site.limits.topic_alias_maximum);
  EXPECT_FALSE(told.server_keep_alive_s);
  EXPECT_FALSE(told.session_expiry_interval_s);
  EXPECT_FALSE(told.assigned_client_identifier);
}

TEST(Connect, ReasonStringsAreForThoseWhoAsk) {
  Site site;
  site.host.denied = {"mallory"};
  Client asks(site, "asks"), silent(site, "silent"), tight(site, "tight"), refused(site, "refused");
  for (Client* client : {&asks, &tight, &refused}) client->hello.properties.request_problem_information = 1;
  tight.hello.properties.maximum_packet_size = 22;
  refused.hello.user_name = "mallory";
  for (Client* client : {&asks, &silent, &tight}) {
    client->connect();
    client->send(client->hello);
  }
  refused.dial();
  asks.take();
  silent.take();
  EXPECT_EQ(tight.take(), (Lines{"DISCONNECT 82", "closed"}));  // [MQTT-3.14.2-3]
  refused.take();
  EXPECT_EQ(asks.reason_string, "a second CONNECT");
  EXPECT_EQ(silent.reason_string, "");
  EXPECT_EQ(tight.reason_string, "");
  EXPECT_EQ(refused.reason_string, "not admitted");
}

TEST(Connect, ServerKeepAliveIsToldToWhoAsksForLonger) {
  Site site;
  site.limits.keep_alive_max_s = 60;
  site.restart();
  Client none(site, "none"), longer(site, "longer"), shorter(site, "shorter");
  longer.hello.keep_alive_s = 61;
  shorter.hello.keep_alive_s = 60;
  none.connect();
  longer.connect();
  shorter.connect();
  EXPECT_EQ(none.connack().server_keep_alive_s, 60);
  EXPECT_EQ(longer.connack().server_keep_alive_s, 60);
  EXPECT_FALSE(shorter.connack().server_keep_alive_s);
  site.pass(milliseconds(90'001));  // It is what counts [MQTT-3.2.2-21].
  EXPECT_EQ(none.take(), (Lines{"DISCONNECT 8d", "closed"}));
}

TEST(Connect, SessionExpiryIsCappedAndTold) {
  Site site;
  site.limits.session_expiry_max_s = 100;
  site.restart();
  Client client(site, "c");
  client.keep(UINT32_MAX).connect();
  EXPECT_EQ(client.connack().session_expiry_interval_s, 100u);
  client.drop();
  site.pass(seconds(101));
  site.sync();
  Client again(site, "c");
  again.keep().dial();
  EXPECT_EQ(again.synced(), Lines{"CONNACK 00"});
}

TEST(Connect, ResponseInformationForThoseWhoAsk) {
  Site site;
  Client asks(site, "asks"), silent(site, "silent"), wild(site, "a/+");
  asks.hello.properties.request_response_information = 1;
  silent.hello.properties.request_response_information = 0;
  wild.hello.properties.request_response_information = 1;
  asks.connect();
  silent.connect();
  wild.connect();
  EXPECT_EQ(asks.response_information, "response/asks");
  EXPECT_EQ(silent.response_information, "");
  EXPECT_EQ(wild.response_information, "");
}

TEST(Connect, NodeThatMovedSendsItsClientsThere) {
  Site site;
  site.limits.server_moved = "new.example:8883";
  site.restart();
  Client five(site, "five"), old(site, "old", Version::k311);
  five.dial();
  old.dial();
  EXPECT_EQ(five.take(), (Lines{"CONNACK 9d", "closed"}));
  EXPECT_EQ(five.server_reference, "new.example:8883");
  EXPECT_EQ(old.take(), (Lines{"CONNACK 03", "closed"}));
}

TEST(Connect, ConnackOfAPersistentSessionWaitsForSync) {
  Site site;
  Client client(site, "c");
  client.keep().dial();
  // What follows CONNECT is served, but nothing overtakes CONNACK.
  client.send(mqtt::Ping{});
  client.subscribe("t", 0);
  client.publish("t", "x");
  EXPECT_EQ(client.take(), Lines{});
  EXPECT_EQ(client.synced(), (Lines{"CONNACK 00", "PINGRESP", "SUBACK #900 00", "PUBLISH q0 t 'x'"}));
}

TEST(Connect, ClientWithoutIdentifierGetsOne) {
  Site site;
  Client five(site, ""), old(site, "", Version::k311), kept(site, "", Version::k311);
  five.connect();
  EXPECT_EQ(five.assigned.size(), 19u);
  old.connect();
  kept.keep().dial();
  EXPECT_EQ(kept.take(), (Lines{"CONNACK 02", "closed"}));
  int clients = 0;
  site.broker->for_each_client([&](const ClientInfo& info) {
    ++clients;
    EXPECT_FALSE(info.client_id.empty());
  });
  EXPECT_EQ(clients, 2);
}

TEST(Connect, RefusalIsToldInTheClientsVersion) {
  Site site;
  site.host.denied = {"mallory"};
  Client five(site, "a"), old(site, "b", Version::k311), method(site, "c");
  five.hello.user_name = "mallory";
  old.hello.user_name = "mallory";
  method.hello.properties.authentication_method = "SCRAM-SHA-1";
  five.dial();
  old.dial();
  method.dial();
  EXPECT_EQ(five.take(), (Lines{"CONNACK 86", "closed"}));
  EXPECT_EQ(old.take(), (Lines{"CONNACK 04", "closed"}));
  EXPECT_EQ(method.take(), (Lines{"CONNACK 8c", "closed"}));
  EXPECT_EQ(site.broker->counters().connects_refused, 3u);
  EXPECT_EQ(site.broker->counters().connections, 0u);
}

TEST(Connect, OldAndFutureVersionsAreRefused) {
  Site site;
  Client client(site, "c", Version::k311);
  client.id = ++site.connection_last;
  site.broker->connected(client.id, site.now);
  client.send_bytes(Bytes("\x10\x0f\0\6MQIsdp\3\2\0\0\0\1c", 17));
  EXPECT_EQ(client.take(), (Lines{"CONNACK 01", "closed"}));
  Client future(site, "c");
  future.id = ++site.connection_last;
  site.broker->connected(future.id, site.now);
  future.send_bytes(Bytes("\x10\x0e\0\4MQTT\6\2\0\0\0\0\1c", 16));
  EXPECT_EQ(future.take(), (Lines{"CONNACK 84", "closed"}));
}

TEST(Connect, FirstPacketIsConnectAndThereIsNoSecond) {
  Site site;
  Client eager(site, "a"), twice(site, "b");
  eager.id = ++site.connection_last;
  site.broker->connected(eager.id, site.now);
  eager.send_bytes("\xc0");  // Not even the rest of PINGREQ is waited for.
  EXPECT_EQ(eager.take(), Lines{"closed"});
  twice.connect();
  twice.send(twice.hello);
  EXPECT_EQ(twice.take(), (Lines{"DISCONNECT 82", "closed"}));
}

TEST(Connect, MalformedConnectOfVersion5IsToldWhy) {
  Site site;
  Client client(site, "c");
  client.id = ++site.connection_last;
  site.broker->connected(client.id, site.now);
  client.send_bytes(Bytes("\x10\x0e\0\4MQTT\5\3\0\0\0\0\1c", 16));  // The reserved flag is set.
  EXPECT_EQ(client.take(), (Lines{"CONNACK 81", "closed"}));
}

TEST(Connect, LargestPartsOfAConnectFitAndMoreIsToldSo) {
  Site site;
  Client large(site, "large"), huge(site, "huge"), old(site, "old", Version::k311);
  const std::string most(65'535, 'x');
  large.will("t", most).dial();
  EXPECT_EQ(large.synced(), Lines{"CONNACK 00"});
  for (Client* client : {&huge, &old}) {
    client->hello.user_name = client->hello.password = most;
    client->will(most, most);
    client->hello.client_id = most;
  }
  huge.dial();
  old.dial();
  EXPECT_EQ(huge.take(), (Lines{"CONNACK 95", "closed"}));
  EXPECT_EQ(old.take(), Lines{"closed"});
}

TEST(Connect, ConnectComesInTimeOrNever) {
  Site site;
  const ConnectionId id = 99;
  site.broker->connected(id, site.now);
  EXPECT_EQ(site.broker->next_deadline(), site.now.mono + site.limits.connect_timeout);
  site.pass(site.limits.connect_timeout);
  EXPECT_TRUE(site.host.closed.contains(id));
  EXPECT_FALSE(site.broker->next_deadline());
}

TEST(Connect, PacketMayComeInPieces) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  sub.connect();
  sub.subscribed("#", 0);
  std::string bytes;
  mqtt::encode(bytes, Version::k5, pub.hello);
  mqtt::encode(bytes, Version::k5, mqtt::Publish{.topic = "t", .payload = "x"});
  mqtt::encode(bytes, Version::k5, mqtt::Publish{.topic = "t", .payload = "y"});
  for (size_t first = 0; first <= bytes.size(); ++first) {
    pub.id = ++site.connection_last;
    site.broker->connected(pub.id, site.now);
    pub.send_bytes(Bytes(bytes).substr(0, first));
    pub.send_bytes(Bytes(bytes).substr(first));
    EXPECT_EQ(pub.take(), Lines{"CONNACK 00"}) << first;
    EXPECT_EQ(sub.take(), (Lines{"PUBLISH q0 t 'x'", "PUBLISH q0 t 'y'"})) << first;
    pub.drop();
  }
  pub.id = ++site.connection_last;
  site.broker->connected(pub.id, site.now);
  for (const char& c : bytes) pub.send_bytes(Bytes(&c, 1));
  EXPECT_EQ(sub.take().size(), 2u);
}

TEST(Connect, MalformedPacketClosesItsConnectionAlone) {
  Site site;
  Client bad(site, "bad"), good(site, "good");
  good.connect();
  good.subscribed("t", 0);
  for (const auto& [bytes, reason] : std::vector<std::pair<std::string, std::string>>{
           {std::string("\x36\x05\0\1t\0\1", 7), "81"},         // QoS 3.
           {std::string("\x30\xff\xff\xff\xff\x01", 6), "81"},  // A length of five bytes.
           {std::string("\x30\xff\xff\xff\x7f", 5), "95"},      // Too large, before it is here.
           {std::string("\x20\x03\0\0\0", 5), "82"},            // CONNACK from a client.
           {std::string("\x32\x06\0\1t\0\0\0", 8), "82"},       // Packet identifier 0.
           {std::string("\x82\x07\0\1\0\0\1t\x03", 9), "82"},   // SUBSCRIBE at QoS 3.
           {std::string("\xf0\x00", 2), "82"},                  // AUTH.
       }) {
    bad.connect();
    bad.send_bytes(bytes);
    EXPECT_EQ(bad.take(), (Lines{"DISCONNECT " + reason, "closed"})) << to_hex(bytes);
    good.publish("t", "x");
    EXPECT_EQ(good.take(), Lines{"PUBLISH q0 t 'x'"});
  }
}

TEST(Connect, BytesBehindTheEndAreNotRead) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  sub.subscribed("t", 0);
  pub.connect();
  std::string bytes;
  mqtt::encode(bytes, Version::k5, mqtt::Disconnect{});
  mqtt::encode(bytes, Version::k5, mqtt::Publish{.topic = "t", .payload = "x"});
  pub.send_bytes(bytes);
  EXPECT_EQ(pub.take(), Lines{"closed"});
  EXPECT_EQ(sub.take(), Lines{});
}

TEST(Connect, WhoLeavesAtOnceIsAnsweredBeforeTheConnectionCloses) {
  Site site;
  Client client(site, "c");
  client.keep();
  client.dial();
  client.subscribe("t", 1);
  client.publish("t", "x", 1, 7);
  client.publish("t", "y", 2, 8);
  client.disconnect();
  EXPECT_EQ(client.take(), Lines{});  // All of it depends on the disk.
  client.publish("t", "z", 1, 9);     // Behind the end: not read.
  EXPECT_EQ(client.synced(),
            (Lines{"CONNACK 00", "SUBACK #900 01", "PUBACK #7 00", "PUBREC #8 00", "closed"}));
  site.sync();
  Client again(site, "c");
  again.keep().dial();
  EXPECT_EQ(again.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t 'x'", "PUBLISH q1 #2 t 'y'"}));
}

TEST(Connect, WhoLeavesIsGoneAtOnceForAllOthers) {
  Site site;
  site.host.routes = {{"t", "s", {}}};
  Client sub(site, "sub"), client(site, "c");
  sub.connect();
  sub.subscribed("last/words", 0);
  client.will("last/words", "bye").connect();
  client.publish("t", "x", 1, 7);
  client.disconnect(Reason::kDisconnectWithWill);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q0 last/words 'bye'"});
  Client next(site, "c");
  next.dial();  // Takes nothing over: nobody is there.
  EXPECT_EQ(client.synced(), (Lines{"PUBACK #7 00", "closed"}));
  EXPECT_EQ(next.take(), Lines{"CONNACK 00"});
}

TEST(Connect, WhoLeavesIsNotWaitedForOnceTheStorageHasFailedOrThePeerIsGone) {
  Site site;
  site.host.routes = {{"t", "s", {}}};
  Client first(site, "first"), second(site, "second");
  first.connect();
  second.connect();
  first.publish("t", "x", 1, 7);
  first.disconnect();
  second.publish("t", "x", 1, 7);
  second.disconnect();
  second.drop();
  site.disk.broken = true;
  for (int i = 0; i < 10 && site.store->mode() != store::Mode::kStorageFailed; ++i) {
    site.sync();
    site.pass(seconds(2));  // The store may wait for a spare segment.
  }
  ASSERT_EQ(site.store->mode(), store::Mode::kStorageFailed);
  EXPECT_EQ(first.take(), Lines{"closed"});
  EXPECT_EQ(second.take(), Lines{});  // Its end came from the other side.
}

TEST(Connect, TakeOverClosesTheOldConnectionWith8E) {
  Site site;
  Client first(site, "same"), second(site, "same"), third(site, "same", Version::k311), pub(site, "pub");
  pub.connect();
  first.keep().connect();
  first.subscribed("t", 1);
  pub.publish("t", "x", 1, 5);
  EXPECT_EQ(first.synced(), Lines{"PUBLISH q1 #1 t 'x'"});
  second.keep().dial();
  EXPECT_EQ(first.take(), (Lines{"DISCONNECT 8e", "closed"}));
  EXPECT_EQ(second.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t 'x' dup"}));
  third.keep().dial();
  EXPECT_EQ(second.take(), (Lines{"DISCONNECT 8e", "closed"}));
  EXPECT_EQ(third.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t 'x' dup"}));
  EXPECT_EQ(site.broker->counters().connections, 2u);
}

// Goal: nobody is told that there is no session while a crash would bring the old one back. Method: a clean start ends a kept
// session, and another one takes over before that is on the disk.
TEST(Connect, CleanSessionIsToldOnceTheOldOneIsGoneForGood) {
  Site site;
  Client kept(site, "c");
  kept.keep().connect();
  kept.subscribed("t", 1);
  Client first(site, "c"), second(site, "c");
  first.dial();
  second.dial();
  EXPECT_EQ(second.take(), Lines{});
  EXPECT_EQ(second.synced(), Lines{"CONNACK 00"});
  site.restart();
  kept.dial();
  EXPECT_EQ(kept.synced(), Lines{"CONNACK 00"});
}

TEST(Connect, TakeOverOfACleanSessionLeavesNothing) {
  Site site;
  Client first(site, "same"), second(site, "same");
  first.connect();
  first.subscribed("t", 1);
  second.keep().dial();
  EXPECT_EQ(first.take(), (Lines{"DISCONNECT 8e", "closed"}));
  EXPECT_EQ(second.synced(), Lines{"CONNACK 00"});
  second.publish("t", "x", 1, 1);
  EXPECT_EQ(second.synced(), Lines{"PUBACK #1 10"});
}

TEST(Connect, ClientDoesNotTakeOverANode) {
  Site site;
  site.host.nodes["ship"] = "ship-7";
  Client node(site, "node:ship-7"), again(site, "node:ship-7"), thief(site, "node:ship-7");
  node.hello.user_name = "ship";
  again.hello.user_name = "ship";
  node.connect();
  thief.dial();
  EXPECT_EQ(thief.take(), (Lines{"CONNACK 85", "closed"}));
  again.connect();
  EXPECT_EQ(node.take(), (Lines{"DISCONNECT 8e", "closed"}));
  EXPECT_EQ(site.host.calls, (Lines{"connected ship-7", "disconnected ship-7", "connected ship-7"}));
}

TEST(Connect, SilenceOfOneAndAHalfKeepAlivesEndsTheConnection) {
  Site site;
  Client client(site, "c"), old(site, "o", Version::k311), never(site, "n");
  client.hello.keep_alive_s = 10;
  old.hello.keep_alive_s = 10;
  client.connect();
  old.connect();
  never.connect();
  site.pass(seconds(14));
  client.send(mqtt::Ping{});
  EXPECT_EQ(client.take(), Lines{"PINGRESP"});
  site.pass(seconds(1));
  EXPECT_EQ(old.take(), Lines{"closed"});
  EXPECT_EQ(client.take(), Lines{});
  site.pass(seconds(13));
  EXPECT_EQ(client.take(), Lines{});
  site.pass(seconds(1));
  EXPECT_EQ(client.take(), (Lines{"DISCONNECT 8d", "closed"}));
  site.pass(seconds(100'000));
  EXPECT_EQ(never.take(), Lines{});
}

TEST(Connect, DisconnectMayNotInventASessionExpiry) {
  Site site;
  Client client(site, "c");
  client.connect();
  client.send(mqtt::Disconnect{.properties = {.session_expiry_interval_s = 60}});
  EXPECT_EQ(client.take(), (Lines{"DISCONNECT 82", "closed"}));
}

TEST(Connect, BytesBeforeConnectAreBoundedInTotal) {
  Site site;
  // CONNECTs of 64 KiB that never end: the node keeps 8 MiB of them, no more.
  const std::string start = std::string("\x10\xf0\xff\x03", 4) + std::string(65'000, '\0');
  for (ConnectionId id = 1; id <= 200; ++id) {
    site.broker->connected(id, site.now);
    site.broker->received(id, start, site.now);
  }
  EXPECT_EQ(site.host.closed.size(), 200 - (8 << 20) / start.size());
  for (ConnectionId id = 1; id <= 200; ++id) site.broker->closed(id, site.now);
  site.broker->connected(201, site.now);
  site.broker->received(201, start, site.now);
  EXPECT_FALSE(site.host.closed.contains(201));
}

TEST(Connect, UserPropertiesAreBounded) {
  Site site;
  Client client(site, "client");
  client.hello.properties.user_properties.assign(16, {"name", "value"});
  client.connect();
  client.hello.properties.user_properties.assign(17, {"name", "value"});
  client.dial();
  EXPECT_EQ(client.synced(), (Lines{"CONNACK 97", "closed"}));
  EXPECT_EQ(site.broker->counters().of(Limit::kConnectProperties), 1u);
}

TEST(Connect, BytesBeforeConnectOfOneAddressLeaveRoomForOthers) {
  Site site;
  const std::string start = std::string("\x10\xf0\xff\x03", 4) + std::string(65'000, '\0');
  for (ConnectionId id = 1; id <= 200; ++id) {
    site.broker->connected(id, site.now, "198.51.100.1");
    site.broker->received(id, start, site.now);
  }
  EXPECT_EQ(site.host.closed.size(), 200 - (2 << 20) / start.size());
  EXPECT_EQ(site.broker->counters().of(Limit::kConnectBytes), site.host.closed.size());
  site.broker->connected(201, site.now, "192.0.2.1");
  site.broker->received(201, start, site.now);
  EXPECT_FALSE(site.host.closed.contains(201));
  for (ConnectionId id = 1; id <= 200; ++id) site.broker->closed(id, site.now);
  site.broker->connected(202, site.now, "198.51.100.1");
  site.broker->received(202, start, site.now);
  EXPECT_FALSE(site.host.closed.contains(202));
}

TEST(Connect, BytesOfAPacketThatNeverEndsAreNoSignOfLife) {  // [MQTT-3.1.2-22]
  Site site;
  Client slow(site, "slow");
  slow.hello.keep_alive_s = 10;
  slow.connect();
  slow.send_bytes(Bytes("\x30\x7f", 2));
  for (int i = 0; i < 14; ++i) {
    site.pass(seconds(1));
    slow.send_bytes("\1");
  }
  EXPECT_EQ(slow.take(), Lines{});
  site.pass(seconds(1));
  EXPECT_EQ(slow.take(), (Lines{"DISCONNECT 8d", "closed"}));
}

TEST(Connect, LargePacketOnASlowLineIsASignOfLife) {
  Site site;
  Client slow(site, "slow"), sub(site, "sub");
  slow.hello.keep_alive_s = 10;
  slow.connect();
  sub.connect();
  sub.subscribed("t", 0);
  std::string bytes;
  mqtt::encode_publish(bytes, Version::k5, {.topic = "t"}, std::string(30'000, 'x'));
  Bytes rest = bytes;
  while (!rest.empty()) {
    slow.send_bytes(rest.substr(0, 5000));
    rest.remove_prefix(std::min<size_t>(rest.size(), 5000));
    site.pass(seconds(14));
  }
  EXPECT_EQ(slow.take(), Lines{});
  EXPECT_EQ(sub.take().size(), 1u);
}

TEST(Connect, KeepAliveStandsStillWhileNothingIsRead) {
  Site site;
  Client client(site, "client");
  client.hello.keep_alive_s = 10;
  client.connect();
  const ConnectionId fresh = ++site.connection_last;
  site.broker->connected(fresh, site.now);
  site.pass(seconds(4));
  site.broker->reading(true, site.now);  // The disk is behind, for a long time.
  site.pass(seconds(100));
  site.broker->reading(false, site.now);
  site.pass(seconds(4));  // What waited in the socket has not come yet.
  EXPECT_EQ(client.take(), Lines{});
  EXPECT_FALSE(site.host.closed.contains(fresh));
  site.pass(seconds(12));
  EXPECT_EQ(client.take(), (Lines{"DISCONNECT 8d", "closed"}));
  EXPECT_TRUE(site.host.closed.contains(fresh));
}

TEST(Connect, ShutDownSaysGoodbyeAndForgetsNothing) {
  Site site;
  Client kept(site, "kept"), clean(site, "clean");
  kept.keep().connect();
  kept.subscribed("t", 1);
  clean.connect();
  site.broker->shut_down(site.now);
  EXPECT_EQ(kept.take(), (Lines{"DISCONNECT 8b", "closed"}));
  EXPECT_EQ(clean.take(), (Lines{"DISCONNECT 8b", "closed"}));
  site.store->shut_down();
  site.sync();
  site.restart();
  kept.dial();
  EXPECT_EQ(kept.synced(), Lines{"CONNACK 00 present"});
}

TEST(Connect, RefusedConnectIsTheLastThatIsRead) {  // [MQTT-3.1.4-6]
  Site site;
  site.host.denied = {"mallory"};
  Client sub(site, "sub"), five(site, "five"), old(site, "old", Version::k311);
  sub.connect();
  sub.subscribed("#", 0);
  for (Client* client : {&five, &old}) {
    client->hello.user_name = "mallory";
    std::string bytes;
    mqtt::encode(bytes, client->hello.version, client->hello);
    mqtt::encode(bytes, client->hello.version, mqtt::Publish{.topic = "t", .payload = "x"});
    client->id = ++site.connection_last;
    site.broker->connected(client->id, site.now);
    client->send_bytes(bytes);
  }
  EXPECT_EQ(five.take(), (Lines{"CONNACK 86", "closed"}));
  EXPECT_EQ(old.take(), (Lines{"CONNACK 04", "closed"}));
  EXPECT_EQ(sub.take(), Lines{});
}

TEST(Connect, MalformedConnectOf311IsNotAnswered) {  // [MQTT-3.1.4-1] of 3.1.1
  Site site;
  Client client(site, "c", Version::k311);
  client.id = ++site.connection_last;
  site.broker->connected(client.id, site.now);
  client.send_bytes(Bytes("\x10\x0d\0\4MQTT\4\3\0\0\0\1c", 15));  // The reserved flag is set.
  EXPECT_EQ(client.take(), Lines{"closed"});
}

TEST(Connect, IdentifiersThatTheStandardPromisesAreTaken) {  // [MQTT-3.1.3-5]
  Site site;
  const std::string all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (const Version version : {Version::k311, Version::k5}) {
    for (size_t at = 0; at < all.size(); at += 23) {
      Client client(site, all.substr(at, 23), version);
      client.connect();
      client.disconnect();
    }
    Client one(site, "Z", version);
    one.connect();
  }
}

TEST(Connect, AssignedIdentifierIsNobodyElsesAndCanBeUsed) {  // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
  Site site;
  Client first(site, ""), second(site, "");
  first.keep().connect();
  second.keep().connect();
  EXPECT_NE(first.assigned, second.assigned);
  first.drop();
  Client again(site, first.assigned);
  again.keep().dial();
  EXPECT_EQ(again.synced(), Lines{"CONNACK 00 present"});
  EXPECT_EQ(again.assigned, "");
}

TEST(Connect, SessionPresentIsForAnAcceptedResumptionAlone) {  // [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.2.2-6]
  for (const Version version : {Version::k311, Version::k5}) {
    Site site;
    Client client(site, "c", version);
    client.keep().dial();
    EXPECT_EQ(client.synced(), Lines{"CONNACK 00"});
    client.drop();
    client.dial();
    EXPECT_EQ(client.synced(), Lines{"CONNACK 00 present"});
    client.drop();
    site.host.denied = {"mallory"};
    client.hello.user_name = "mallory";
    client.dial();
    EXPECT_EQ(client.synced(), (Lines{version == Version::k5 ? "CONNACK 86" : "CONNACK 04", "closed"}));
    client.hello.user_name.reset();
    client.hello.clean_start = true;
    client.dial();
    EXPECT_EQ(client.synced(), Lines{"CONNACK 00"});
  }
}

TEST(Connect, ClientThatCannotTakeConnackIsLeft) {  // [MQTT-3.1.2-24]
  Site site;
  Client tight(site, "tight"), tighter(site, "tighter");
  tight.hello.properties.maximum_packet_size = 16;
  tighter.hello.properties.maximum_packet_size = 15;
  tight.connect();
  tighter.dial();
  EXPECT_EQ(tighter.take(), Lines{"closed"});
}

// [MQTT-3.2.2-19], and no user property anywhere [MQTT-3.2.2-20] [MQTT-3.14.2-4].
TEST(Connect, RefusalTooLargeForItsReasonStringComesWithout) {
  Site site;
  site.host.denied = {"mallory"};
  Client wide(site, "wide"), tight(site, "tight"), tighter(site, "tighter"), twice(site, "twice");
  for (Client* client : {&wide, &tight, &tighter, &twice}) {
    client->hello.properties.request_problem_information = 1;
  }
  for (Client* client : {&wide, &tight, &tighter}) client->hello.user_name = "mallory";
  wide.hello.properties.maximum_packet_size = 20;  // Five bytes, three, and "not admitted".
  tight.hello.properties.maximum_packet_size = 19;
  tighter.hello.properties.maximum_packet_size = 4;
  twice.connect();
  twice.send(twice.hello);
  for (Client* client : {&wide, &tight, &tighter}) client->dial();
  for (const Client* client : {&wide, &tight, &twice}) {
    const std::string bytes = site.host.sent[client->id];
    mqtt::Framed framed;
    mqtt::DecodeError error;
    mqtt::Packet packet;
    ASSERT_EQ(mqtt::frame_next(bytes, 1 << 20, &framed, &error), mqtt::FrameStatus::kWhole);
    ASSERT_TRUE(mqtt::decode(framed, Version::k5, mqtt::Sender::kServer, &packet, &error));
    const auto* connack = std::get_if<mqtt::Connack>(&packet);
    const auto& properties =
        connack != nullptr ? connack->properties : std::get<mqtt::Disconnect>(packet).properties;
    EXPECT_TRUE(properties.user_properties.empty()) << client->name;
  }
  EXPECT_EQ(wide.take(), (Lines{"CONNACK 86", "closed"}));
  EXPECT_EQ(tight.take(), (Lines{"CONNACK 86", "closed"}));
  EXPECT_EQ(tighter.take(), Lines{"closed"});
  EXPECT_EQ(wide.reason_string, "not admitted");
  EXPECT_EQ(tight.reason_string, "");
}

TEST(Connect, SecondConnectOf311EndsTheConnection) {  // [MQTT-3.1.0-2]
  Site site;
  Client client(site, "c", Version::k311);
  client.connect();
  client.send(client.hello);
  EXPECT_EQ(client.take(), Lines{"closed"});
}

TEST(Connect, BreachOf311EndsItsConnectionWithoutAWord) {  // [MQTT-4.8.0-1] of 3.1.1
  Site site;
  Client bad(site, "bad", Version::k311), good(site, "good", Version::k311);
  good.connect();
  for (const std::string& bytes : {std::string("\x36\x05\0\1t\0\1", 7),      // QoS 3.
                                   std::string("\x20\x02\0\0", 4),           // CONNACK from a client.
                                   std::string("\x32\x05\0\1t\0\0", 7),      // Packet identifier 0.
                                   std::string("\x82\x06\0\1\0\1t\x03", 8),  // SUBSCRIBE at QoS 3.
                                   std::string("\x80\x06\0\1\0\1t\0", 8),    // Its flags.
                                   std::string("\xf0\x00", 2)}) {            // AUTH.
    bad.connect();
    bad.send_bytes(bytes);
    EXPECT_EQ(bad.take(), Lines{"closed"}) << to_hex(bytes);
  }
  good.send(mqtt::Ping{});
  EXPECT_EQ(good.take(), Lines{"PINGRESP"});
}

TEST(Connect, LogSaysWhoWasRefusedAndFromWhere) {
  Site site;
  site.host.denied.insert("mallory");
  for (ConnectionId id = 1; id <= 5; ++id) site.host.addresses[id] = "192.0.2." + std::to_string(id);
  const auto last_line = [&] {
    site.pass(seconds(2));
    return site.host.logged.empty() ? "" : site.host.logged.back();
  };
  Client guesses(site, "pump"), unnamed(site, "fan"), proves(site, "gate"), breaks(site, "lamp"),
      silent(site, "");
  guesses.hello.user_name = "mallory";
  guesses.dial();
  EXPECT_EQ(
      last_line(),
      "HF-MQTT-001 CONNECT of 'pump' (user 'mallory', from 192.0.2.1) refused: Bad User Name or Password: "
      "not admitted");
  unnamed.hello.properties.authentication_method = "NONE";
  unnamed.dial();
  EXPECT_EQ(last_line(),
            "HF-MQTT-001 CONNECT of 'fan' (from 192.0.2.2) refused: Bad authentication method: not admitted");
  proves.hello.properties.authentication_method = "RIDDLE";
  proves.dial();
  mqtt::Disconnect answer{.type = mqtt::PacketType::kAuth, .reason = Reason::kContinueAuthentication};
  answer.properties.authentication_method = "RIDDLE";
  answer.properties.authentication_data = "I was eve";
  proves.send(answer);
  EXPECT_EQ(
      last_line(),
      "HF-MQTT-001 CONNECT of 'gate' (user 'eve', from 192.0.2.3) refused: Not authorized: not admitted");
  breaks.hello.user_name = "anna";
  breaks.connect();
  breaks.send_bytes("\xff\xff\xff\xff\xff");
  EXPECT_TRUE(last_line().starts_with("HF-MQTT-002 'lamp' (user 'anna', from 192.0.2.4) is disconnected: "));
  silent.id = ++site.connection_last;
  site.broker->connected(silent.id, site.now);
  silent.send_bytes("GET / HTTP/1.1");
  EXPECT_TRUE(last_line().starts_with("HF-MQTT-002 a new connection (from 192.0.2.5) is disconnected: "));
}

TEST(Connect, NamesInTheLogAreCut) {
  Site site;
  site.host.rights_of["anna"];  // None.
  std::string long_name;
  for (int i = 0; i < 30'000; ++i) long_name += "ü";
  Client refused(site, long_name), allowed(site, long_name + "2");
  refused.hello.user_name = "mallory";
  site.host.denied.insert("mallory");
  refused.dial();
  allowed.hello.user_name = "anna";
  allowed.connect();
  allowed.publish(std::string(60'000, 't'), "x", 1);
  site.pass(seconds(2));
  allowed.subscribe(std::string(60'000, 'f'), 1);
  site.pass(seconds(2));
  allowed.send_bytes("\xff\xff\xff\xff\xff");
  ASSERT_EQ(site.host.logged.size(), 4u);
  for (const std::string& line : site.host.logged) {
    EXPECT_LT(line.size(), 500u) << line;
    EXPECT_NE(line.find("…'"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace hf::broker
