// "$SYS": what a subscriber is told at once, and later.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

TEST(SysTopics, PresentValueComesAtOnceAndChangesLater) {
  Site site;
  Client client(site, "c"), other(site, "other");
  client.connect();
  client.subscribe("$SYS/broker/clients/connected", 1, 3);
  EXPECT_EQ(client.synced(),
            (Lines{"SUBACK #900 01", "PUBLISH q0 $SYS/broker/clients/connected '1' retain ids 3"}));
  site.pass(seconds(10));
  EXPECT_EQ(client.take(), Lines{"PUBLISH q0 $SYS/broker/clients/connected '1' ids 3"});
  site.pass(seconds(10));
  EXPECT_EQ(client.take(), Lines{});  // Nothing new.
  other.connect();
  site.pass(seconds(10));
  EXPECT_EQ(client.take(), Lines{"PUBLISH q0 $SYS/broker/clients/connected '2' ids 3"});
}

TEST(SysTopics, FilterThatStandsTwiceIsAnsweredOnce) {
  Site site;
  Client client(site, "c");
  client.connect();
  mqtt::Subscribe packet{.packet_id = 1};
  for (int i = 0; i < 5000; ++i) packet.entries.push_back({.filter = "$SYS/broker/version"});
  client.send(packet);
  const Lines lines = client.synced();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines.front().ends_with(" 97"));  // There are limits to one packet.
}

TEST(SysTopics, WildcardsOfTheFirstLevelDoNotReachThem) {  // [MQTT-4.7.2-1]
  Site site;
  Client client(site, "c");
  client.connect();
  client.subscribed("#", 0);
  client.subscribed("+/broker/uptime", 0);
  site.pass(seconds(20));
  EXPECT_EQ(client.take(), Lines{});
  EXPECT_FALSE(site.broker->next_deadline());  // And nobody is woken for them.
}

TEST(SysTopics, ClientsCannotPublishThem) {
  Site site;
  Client client(site, "c");
  client.connect();
  client.publish("$SYS/broker/uptime", "x", 1);
  EXPECT_EQ(client.take(), Lines{"PUBACK #1 87"});
}

TEST(SysTopics, KeptSessionHearsThemAgainAfterARestart) {
  Site site;
  Client client(site, "c");
  client.keep().connect();
  client.subscribe("$SYS/broker/version", 0);
  EXPECT_EQ(client.synced().size(), 2u);
  site.restart();
  client.connect();
  site.pass(seconds(11));
  EXPECT_EQ(client.take().size(), 1u);
}

}  // namespace
}  // namespace hf::broker
