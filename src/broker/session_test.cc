// Sessions that outlive their connection, and the node: what is owed, sent again, in which order, and when it
// ends.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::PacketType;
using mqtt::Reason;
using mqtt::Version;

TEST(Session, AwayClientGetsWhatCameMeanwhileInOrder) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 1);
  sub.disconnect();
  pub.connect();
  for (uint16_t i = 1; i <= 5; ++i) pub.publish("t", std::to_string(i), 1, i);
  pub.publish("t", "qos 0");
  site.sync();
  sub.dial();
  EXPECT_EQ(sub.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t '1'", "PUBLISH q1 #2 t '2'",
                                 "PUBLISH q1 #3 t '3'", "PUBLISH q1 #4 t '4'", "PUBLISH q1 #5 t '5'"}));
}

// [MQTT-4.3.3-11] Whoever sends PUBREL again after a reconnect did nothing wrong, and hears of nothing wrong.
TEST(Session, APubcompThatWasLostIsGivenAgain) {
  Site site;
  Client pub(site, "pub");
  pub.keep().connect();
  pub.publish("t", "x", 2, 5);
  EXPECT_EQ(pub.synced(), Lines{"PUBREC #5 10"});
  pub.pubrel(5);
  EXPECT_EQ(pub.synced(), Lines{"PUBCOMP #5 00"});
  pub.drop();
  pub.dial();
  EXPECT_EQ(pub.synced(), Lines{"CONNACK 00 present"});
  pub.pubrel(5);
  EXPECT_EQ(pub.synced(), Lines{"PUBCOMP #5 00"});
}

TEST(Session, SessionSurvivesRestartAndResendsInOrder) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 2);
  pub.connect();
  for (uint16_t i = 1; i <= 6; ++i) pub.publish("t", std::to_string(i), i % 2 == 0 ? 2 : 1, i);
  EXPECT_EQ(sub.synced().size(), 6u);
  sub.puback(1);
  sub.pubrec(2);
  EXPECT_EQ(sub.synced(), Lines{"PUBREL #2 00"});
  site.restart();
  pub.connect();
  pub.publish("t", "new", 1, 9);
  sub.dial();
  EXPECT_EQ(sub.synced(),
            (Lines{"CONNACK 00 present", "PUBREL #2 00", "PUBLISH q1 #3 t '3' dup", "PUBLISH q2 #4 t '4' dup",
                   "PUBLISH q1 #5 t '5' dup", "PUBLISH q2 #6 t '6' dup", "PUBLISH q1 #7 t 'new'"}));
  sub.pubcomp(2);
  for (const uint16_t i : std::vector<uint16_t>{4, 6}) sub.pubrec(i);
  site.sync();
  for (const uint16_t i : std::vector<uint16_t>{4, 6}) sub.pubcomp(i);
  for (const uint16_t i : std::vector<uint16_t>{3, 5, 7}) sub.puback(i);
  site.sync();
  site.broker->for_each_client([](const ClientInfo& info) {
    EXPECT_EQ(info.inflight, 0u) << info.client_id;
    EXPECT_EQ(info.owed_count, 0u) << info.client_id;
  });
}

// Goal: exactly once over a crash at each step of a QoS 2 reception.
TEST(Session, Qos2ReceptionSurvivesACrashAtEachStep) {
  for (int crash_at = 0; crash_at < 3; ++crash_at) {
    Site site;
    Client sub(site, "sub"), pub(site, "pub");
    sub.keep().connect();
    sub.subscribed("t", 2);
    pub.keep().connect();
    pub.publish("t", "x", 2, 5);
    if (crash_at > 0) {
      EXPECT_EQ(pub.synced(), Lines{"PUBREC #5 00"});
    }
    if (crash_at > 1) pub.pubrel(5);  // Its effect is lost: PUBCOMP was not seen.
    site.restart();
    pub.dial();
    site.sync();
    pub.take();
    if (crash_at < 2) {
      pub.publish("t", "x", 2, 5);
      EXPECT_EQ(pub.synced(), Lines{"PUBREC #5 00"});
    }
    pub.pubrel(5);
    EXPECT_EQ(pub.synced(), Lines{"PUBCOMP #5 00"});
    sub.dial();
    const Lines lines = sub.synced();
    ASSERT_EQ(lines.size(), 2u) << crash_at;
    EXPECT_EQ(lines[1].substr(0, 18), "PUBLISH q2 #1 t 'x") << crash_at;
  }
}

TEST(Session, WhatWasNotDurableWasNotAcknowledgedAndIsGone) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 1);
  pub.connect();
  pub.publish("t", "x", 1, 5);
  EXPECT_EQ(pub.take(), Lines{});
  EXPECT_EQ(sub.take(), Lines{});
  site.restart();
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
}

// Mosquitto acknowledges QoS 2 messages beyond its in-flight window and loses them.
TEST(Session, Qos2BeyondTheWindowIsDeliveredToTheLast) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.hello.properties.receive_maximum = 4;
  sub.keep().connect();
  sub.subscribed("t", 2);
  pub.keep().connect();
  constexpr int kCount = 300;
  for (uint16_t i = 1; i <= kCount; ++i) {
    pub.publish("t", std::to_string(i), 2, i);
    if (i % 50 == 0) site.sync();
    pub.pubrel(i);
  }
  site.sync();
  Lines expected, seen;
  for (int i = 1; i <= kCount; ++i) expected.push_back("'" + std::to_string(i) + "'");
  size_t open = 0;
  for (int round = 0; round < 10'000 && seen.size() < kCount; ++round) {
    for (const std::string& line : sub.synced()) {
      const size_t hash = line.find('#');
      const auto id = static_cast<uint16_t>(std::stoi(line.substr(hash + 1)));
      if (line.starts_with("PUBLISH")) {
        seen.push_back(line.substr(line.find('\'')));
        EXPECT_LE(++open, 4u);
        sub.pubrec(id);
      } else {
        sub.pubcomp(id);
        --open;
      }
    }
  }
  EXPECT_EQ(seen, expected);
}

TEST(Session, ResendingKeepsToASmallerWindow) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 1);
  pub.connect();
  for (uint16_t i = 1; i <= 5; ++i) pub.publish("t", std::to_string(i), 1, i);
  EXPECT_EQ(sub.synced().size(), 5u);
  sub.drop();
  pub.publish("t", "6", 1, 6);
  sub.hello.properties.receive_maximum = 2;
  sub.dial();
  EXPECT_EQ(sub.synced(),
            (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t '1' dup", "PUBLISH q1 #2 t '2' dup"}));
  sub.puback(2);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q1 #3 t '3' dup"});
  sub.puback(1);
  sub.puback(3);
  EXPECT_EQ(sub.synced(), (Lines{"PUBLISH q1 #4 t '4' dup", "PUBLISH q1 #5 t '5' dup"}));
  sub.puback(4);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q1 #6 t '6'"});
}

TEST(Session, FullWindowWaitsWithoutTicking) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.hello.properties.receive_maximum = 1;
  sub.keep().connect();
  sub.subscribed("t", 1);
  pub.connect();
  for (uint16_t i = 1; i <= 3; ++i) pub.publish("t", "x", 1, i);
  EXPECT_EQ(sub.synced().size(), 1u);
  EXPECT_FALSE(site.broker->next_deadline());
}

TEST(Session, LongBacklogIsDrainedWindowByWindow) {
  Site site;
  site.limits.inflight_max = 20;
  site.restart();
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 1);
  sub.drop();
  pub.connect();
  constexpr int kCount = 2000;
  for (int i = 0; i < kCount; ++i) {
    pub.publish("t", std::to_string(i) + std::string(100, '.'), 1, static_cast<uint16_t>(i + 1));
    if (i % 500 == 0) site.sync();
  }
  site.sync();
  sub.dial();
  int seen = 0;
  for (int round = 0; round < 1000 && seen < kCount; ++round) {
    Lines lines = sub.synced();
    EXPECT_LE(lines.size(), 21u);
    for (const std::string& line : lines) {
      if (!line.starts_with("PUBLISH")) continue;
      EXPECT_NE(line.find(" '" + std::to_string(seen++) + "."), std::string::npos) << line;
      sub.puback(static_cast<uint16_t>(std::stoi(line.substr(line.find('#') + 1))));
    }
  }
  EXPECT_EQ(seen, kCount);
}

TEST(Session, CleanStartEndsTheOldSession) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 1);
  sub.drop();
  pub.connect();
  pub.publish("t", "x", 1, 1);
  site.sync();
  sub.hello.clean_start = true;
  sub.dial();
  EXPECT_EQ(sub.take(), Lines{});  // The end of the old one is durable before CONNACK says so.
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00"});
  pub.take();
  pub.publish("t", "y", 1, 2);
  EXPECT_EQ(pub.synced(), Lines{"PUBACK #2 10"});
  int gaps = 0;
  site.store->for_each_gap([&](const store::Gap& gap) {
    ++gaps;
    EXPECT_EQ(gap.cause, store::GapCause::kSessionEnded);
  });
  EXPECT_EQ(gaps, 1);
  site.restart();
  site.broker->for_each_client([](const ClientInfo& info) { EXPECT_EQ(info.subscriptions, 0u); });
}

TEST(Session, EndsWhenItsExpiryHasPassed) {
  Site site;
  Client sub(site, "sub");
  sub.keep(60).connect();
  site.pass(seconds(100));  // Not while it is connected.
  sub.drop();
  site.pass(seconds(59));
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
  sub.drop();
  site.pass(seconds(60));
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00"});
}

TEST(Session, ExpiryCountsOnOverARestart) {
  Site site;
  Client sub(site, "sub");
  sub.keep(60).connect();
  sub.drop();
  site.pass(seconds(20));
  site.sync();
  Client other(site, "other");  // What rides needs somebody's commit.
  other.keep(60).connect();
  site.crash();
  // Another boot: the monotonic clock starts anew, the wall clock tells what has passed.
  site.now.boot = {3, 4};
  site.now.mono = {5};
  site.now.wall_us += 30'000'000;
  site.start();
  EXPECT_EQ(site.broker->next_deadline(), Instant{5} + seconds(10));
  site.pass(seconds(11));
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00"});
  // `other` was connected at the crash: its time counts from the restart.
  other.dial();
  EXPECT_EQ(other.synced(), Lines{"CONNACK 00 present"});
}

TEST(Session, UnknownClockExpiresNothing) {
  Site site;
  site.now.quality = ClockQuality::kUnknown;
  Client sub(site, "sub");
  sub.keep(60).connect();
  sub.drop();
  site.crash();
  site.now.boot = {3, 4};
  site.now.wall_us += 3600'000'000;
  site.start();
  site.broker->tick(site.now);
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
}

TEST(Session, DisconnectMayChangeTheExpiry) {
  Site site;
  Client sub(site, "sub");
  sub.keep(60).connect();
  sub.send(mqtt::Disconnect{.properties = {.session_expiry_interval_s = 0}});
  site.sync();
  site.restart();
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00"});
  sub.send(mqtt::Disconnect{.properties = {.session_expiry_interval_s = 600}});
  site.pass(seconds(500));
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
}

TEST(Session, OldClientsAreKeptForTheDefaultTime) {
  Site site;
  Client sub(site, "sub", Version::k311);
  sub.keep().connect();
  sub.subscribed("t", 1);
  sub.disconnect();
  site.pass(seconds(7 * 86400 - 1));
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
  sub.hello.clean_start = true;
  sub.disconnect();
  sub.connect();
  sub.disconnect();
  sub.hello.clean_start = false;
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00"});
}

TEST(Session, ExpiredMessagesAreSkippedAndTheOthersSayWhatIsLeft) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 1);
  sub.drop();
  pub.connect();
  mqtt::Properties soon, later;
  soon.message_expiry_interval_s = 10;
  later.message_expiry_interval_s = 100;
  pub.publish("t", "soon", 1, 1, soon);
  pub.publish("t", "later", 1, 2, later);
  site.sync();
  site.pass(seconds(30));
  sub.dial();
  EXPECT_EQ(sub.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t 'later' expiry 70"}));
  EXPECT_EQ(site.broker->counters().expired, 1u);
  sub.puback(1);
  site.sync();
  site.broker->for_each_client([](const ClientInfo& info) { EXPECT_EQ(info.owed_count, 0u); });
}

TEST(Session, SubscriptionsHoldFromWhereTheyWereMade) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.hello.properties.receive_maximum = 1;
  sub.keep().connect();
  sub.subscribed("t", 1, 7);
  pub.connect();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 1, 2);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q1 #1 t '1' ids 7"});
  sub.subscribe("t", 2, 8);  // What was owed before keeps its terms.
  site.sync();
  pub.publish("t", "3", 2, 3);
  sub.take();
  sub.puback(1);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q1 #2 t '2' ids 7"});
  sub.puback(2);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q2 #3 t '3' ids 8"});
}

TEST(Session, ClientThatComesAndGoesLeavesNothingBehind) {
  Site site;
  Client sub(site, "sub");
  sub.keep(1000).hello.keep_alive_s = 10;
  for (int i = 0; i < 50; ++i) {
    sub.connect();
    sub.drop();
  }
  // One timer: that of the expiry.
  EXPECT_EQ(site.broker->next_deadline(), site.now.mono + seconds(1000));
  site.pass(seconds(1000));
  EXPECT_FALSE(site.broker->next_deadline());
  int clients = 0;
  site.broker->for_each_client([&](const ClientInfo&) { ++clients; });
  EXPECT_EQ(clients, 0);
}

TEST(Session, PacketIdentifiersInUseAreNotGivenAgain) {
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.connect();
  sub.subscribed("t", 1);
  pub.connect();
  pub.publish("t", "held", 1, 1);
  EXPECT_EQ(sub.take(), Lines{"PUBLISH q1 #1 t 'held'"});
  uint16_t last = 1;
  for (int i = 0; i < 70'000; ++i) {
    pub.publish("t", "x", 1, 1);
    if (i % 1000 == 0) site.pass(milliseconds(1));  // Else it looks as if nothing of this step had left.
    const Lines lines = sub.take();
    ASSERT_EQ(lines.size(), 1u);
    const auto id = static_cast<uint16_t>(std::stoi(lines[0].substr(lines[0].find('#') + 1)));
    ASSERT_NE(id, 1);
    ASSERT_NE(id, 0);
    ASSERT_NE(id, last);  // One just freed rests for a while.
    last = id;
    sub.puback(id);
  }
}

TEST(Session, WhatCameWhileAnOldClientWasAwayIsKeptForIt) {  // [MQTT-3.1.2-4] [MQTT-3.1.2-5] of 3.1.1
  Site site;
  Client sub(site, "sub", Version::k311), pub(site, "pub", Version::k311);
  sub.keep().connect();
  sub.subscribed("t", 2);
  sub.disconnect();
  pub.connect();
  for (uint16_t i = 1; i <= 2; ++i) pub.publish("t", std::to_string(i), static_cast<uint8_t>(i), i);
  site.sync();
  sub.dial();
  EXPECT_EQ(sub.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t '1'", "PUBLISH q2 #2 t '2'"}));
}

TEST(Session, ExpiryDoesNotTouchWhatWasSent) {  // [MQTT-4.3.3-7] [MQTT-4.3.3-13]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 2);
  pub.connect();
  mqtt::Properties soon;
  soon.message_expiry_interval_s = 10;
  pub.publish("t", "x", 2, 1, soon);
  EXPECT_EQ(sub.synced(), Lines{"PUBLISH q2 #1 t 'x' expiry 10"});
  EXPECT_EQ(pub.take(), Lines{"PUBREC #1 00"});
  sub.drop();
  site.pass(seconds(30));
  sub.dial();
  EXPECT_EQ(sub.synced(), (Lines{"CONNACK 00 present", "PUBLISH q2 #1 t 'x' dup expiry 0"}));
  pub.pubrel(1);
  EXPECT_EQ(pub.synced(), Lines{"PUBCOMP #1 00"});
  sub.pubrec(1);
  EXPECT_EQ(sub.synced(), Lines{"PUBREL #1 00"});
}

TEST(Session, NothingIsSentAgainWhileConnected) {  // [MQTT-4.4.0-1]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 2);
  pub.connect();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  EXPECT_EQ(sub.synced().size(), 2u);
  sub.pubrec(2);
  EXPECT_EQ(sub.synced(), Lines{"PUBREL #2 00"});
  for (int i = 0; i < 100; ++i) site.pass(seconds(60));
  EXPECT_EQ(sub.synced(), Lines{});
}

TEST(Session, RefusedDeliveryIsNotSentAgain) {  // [MQTT-4.4.0-2]
  Site site;
  Client sub(site, "sub"), pub(site, "pub");
  sub.keep().connect();
  sub.subscribed("t", 2);
  pub.connect();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  EXPECT_EQ(sub.synced().size(), 2u);
  sub.ack(PacketType::kPuback, 1, Reason::kQuotaExceeded);
  sub.ack(PacketType::kPubrec, 2, Reason::kNotAuthorized);
  sub.drop();
  sub.dial();
  EXPECT_EQ(sub.synced(), Lines{"CONNACK 00 present"});
}

// An identifier may be given again while an older one of the same run is still open: after a crash the newer delivery has it.
TEST(Resend, AnIdentifierGivenAgainBelongsToTheNewerMessage) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  sub.keep().connect();
  sub.subscribed("t", 1);
  size_t sent = 0;
  const auto publish = [&](int count) {
    std::string bytes;  // In one go, so that they share a row.
    for (int i = 0; i < count; ++i, ++sent) {
      const std::string payload = std::to_string(sent);
      mqtt::encode(
          bytes, mqtt::Version::k5,
          mqtt::Publish{
              .qos = 1, .topic = "t", .packet_id = static_cast<uint16_t>(1 + sent), .payload = payload});
    }
    pub.send_bytes(bytes);
    site.sync();
    pub.take();
  };
  publish(4);
  ASSERT_EQ(sub.take().size(), 4u);
  for (uint16_t id = 2; id <= 4; ++id) sub.puback(id);  // The first one never.
  uint16_t last = 4;
  for (int i = 0; i < 200; ++i) {  // Until the identifiers have gone round.
    publish(1);
    const std::string line = sub.take().back();
    last = static_cast<uint16_t>(std::stoi(line.substr(line.find('#') + 1)));
    if (last == 3 && i > 40) break;
    sub.puback(last);
  }
  ASSERT_EQ(last, 3);
  site.sync();
  site.restart();
  Client again(site, "sub");
  again.keep().dial();
  std::string all;
  for (const std::string& line : again.synced()) all += line + "; ";
  EXPECT_NE(all.find("#3 t '" + std::to_string(sent - 1) + "' dup"), std::string::npos) << all;
}

// A site with a session that is away, and what the store holds for it.
struct Absent {
  Site site;
  Client sub{site, "sub"}, pub{site, "pub"};

  Absent() {
    sub.keep(UINT32_MAX).connect();
    sub.subscribed("t", 1);
    pub.connect();
    sub.drop();
  }
  void publish(Bytes payload, uint32_t expiry_s = 0) {
    mqtt::Properties properties;
    if (expiry_s > 0) properties.message_expiry_interval_s = expiry_s;
    pub.publish("t", payload, 1, 1, properties);
    site.sync();
  }
  void pass(int64_t time_s) {
    site.pass(seconds(time_s));
    for (int i = 0; i < 20; ++i) {
      site.sync();
      site.pass(milliseconds(1));
    }
  }
  uint64_t owed() const { return site.store->reader(1)->owed_count; }
  Lines back() {
    sub.dial();
    Lines lines = sub.synced();
    lines.erase(lines.begin());
    return lines;
  }
};

TEST(Session, WhatExpiresWhileItIsAwayIsOwedNoLonger) {  // [MQTT-3.3.2-5]
  for (const bool restart : {false, true}) {
    Absent absent;
    absent.publish("first", 100);
    absent.publish("second", 200);
    absent.publish("third", 5000);
    if (restart) absent.site.restart();
    absent.pass(130);
    EXPECT_EQ(absent.owed(), 2u) << restart;
    absent.pass(300);
    EXPECT_EQ(absent.owed(), 1u) << restart;
    EXPECT_EQ(absent.site.broker->counters().expired, 2u) << restart;
    absent.site.restart();
    EXPECT_EQ(absent.owed(), 1u) << restart;
    EXPECT_EQ(absent.back(), Lines{"PUBLISH q1 #1 t 'third' expiry 4570"}) << restart;
  }
}

TEST(Session, WhatLastsHoldsWhatIsBehindIt) {
  Absent absent;
  absent.publish("lasts");
  absent.publish("expires", 100);
  absent.pass(1000);
  EXPECT_EQ(absent.owed(), 2u);
  EXPECT_EQ(absent.back(), Lines{"PUBLISH q1 #1 t 'lasts'"});
}

// What was sent is sent again, expired or not.
TEST(Session, WhatWasSentBeforeItWentDoesNotExpire) {  // [MQTT-4.3.3-7]
  Absent absent;
  absent.sub.dial();
  absent.sub.synced();
  absent.publish("sent", 100);
  EXPECT_EQ(absent.sub.take().size(), 1u);
  absent.sub.drop();
  absent.publish("not sent", 100);
  absent.pass(1000);
  EXPECT_EQ(absent.back().size(), 1u);
}

// Goal: a session leaves no timer behind, however its looks at the disk and new messages meet. Method: while the disk is asked for the
// first of what it is owed, more comes; then the session ends, and its times pass.
TEST(Session, LookingAtWhatItIsOwedLeavesNoTimerBehind) {
  Absent absent;
  mqtt::Properties properties;
  properties.message_expiry_interval_s = 100;
  for (uint16_t i = 1; i <= 600; ++i) absent.pub.publish("t", "expires", 1, i, properties);
  absent.site.sync();
  absent.site.restart();
  absent.pub.connect();
  absent.site.pass(seconds(200));
  EXPECT_EQ(absent.site.broker->counters().expired, 0u);  // The disk is being asked.
  absent.publish("comes meanwhile", 1000);
  EXPECT_EQ(absent.owed(), 345u);
  EXPECT_EQ(absent.site.broker->counters().expired, 256u);
  absent.site.broker->end_client("sub", true, absent.site.now);
  absent.site.sync();
  EXPECT_EQ(absent.site.broker->next_deadline(), std::nullopt);
}

// Goal: what is worth nothing keeps nothing out. Method: a disk that is full of what expired is full no more.
TEST(Session, WhatHasExpiredMakesRoom) {
  Absent absent;
  const std::string large(500'000, 'x');
  mqtt::Properties properties;
  properties.message_expiry_interval_s = 600;
  size_t taken = 0;
  for (; taken < 1000; ++taken) {
    absent.pub.publish("t", large, 1, 1, properties);
    if (absent.pub.synced() != Lines{"PUBACK #1 00"}) break;
  }
  ASSERT_LT(taken, 1000u);
  absent.pass(700);
  for (int i = 0; i < 30; ++i) absent.pass(1);
  EXPECT_EQ(absent.owed(), 0u);
  absent.pub.publish("t", large, 1, 1, properties);
  EXPECT_EQ(absent.pub.synced(), Lines{"PUBACK #1 00"});
}

// A client that publishes to itself and acknowledges what it has not got yet uses an identifier twice in one turn. What of it is
// open stands in the row of the turn, whose positions ascend.
TEST(Session, AcknowledgingAheadSpoilsNoRow) {
  Site site;
  Client self(site, "self");
  self.keep().connect();
  self.subscribed("t", 1);
  std::string bytes;
  for (uint16_t i = 1; i <= 40; ++i) {
    mqtt::encode(bytes, mqtt::Version::k5,
                 mqtt::Publish{.qos = 1, .topic = "t", .packet_id = i, .payload = "message"});
    if (i <= 32 && i != 5)
      mqtt::encode(bytes, mqtt::Version::k5, mqtt::Ack{.type = mqtt::PacketType::kPuback, .packet_id = i});
  }
  self.send_bytes(bytes);
  site.sync();
  self.take();
  site.restart();
  self.dial();
  size_t again = 0;
  for (const std::string& line : self.synced()) again += line.ends_with("dup") ? 1 : 0;
  EXPECT_EQ(again, 9u);  // The fifth, and those behind the 32nd.
}

TEST(Session, AcknowledgementOfTheWrongKindIsAMistake) {
  struct Wrong {
    uint8_t qos;
    mqtt::PacketType type;
  };
  for (const Wrong& wrong : {Wrong{1, mqtt::PacketType::kPubrec}, Wrong{1, mqtt::PacketType::kPubcomp},
                             Wrong{2, mqtt::PacketType::kPuback}, Wrong{2, mqtt::PacketType::kPubcomp}}) {
    Site site;
    Client sub(site, "sub"), pub(site, "pub");
    sub.connect();
    sub.subscribed("t", 2);
    pub.connect();
    pub.publish("t", "x", wrong.qos);
    sub.synced();
    sub.ack(wrong.type, 1);
    EXPECT_EQ(sub.take(), (Lines{"DISCONNECT 82", "closed"})) << int{wrong.qos};
  }
}

// A site where a session may be owed 100,000 bytes, and a publisher of messages of 9,000.
struct BoundedSite : Site {
  Client pub{*this, "pub"};
  const std::string payload = std::string(9'000, 'x');
  uint16_t id_last = 0;

  BoundedSite() {
    limits.session_owed_bytes_max = 100'000;
    restart();
    pub.connect();
  }
  // One after the other, each durable. All were wanted by somebody.
  void publish(Bytes topic, int count) {
    for (int i = 0; i < count; ++i) {
      pub.publish(topic, payload, 1, ++id_last);
      sync();
      const Lines lines = pub.take();
      EXPECT_NE(std::find(lines.begin(), lines.end(), "PUBACK #" + std::to_string(id_last) + " 00"),
                lines.end());
      pass(milliseconds(1));
      sync();
    }
  }
  bool wanted(Bytes topic) {
    pub.publish(topic, "", 1, ++id_last);
    sync();
    return pub.take() != Lines{"PUBACK #" + std::to_string(id_last) + " 10"};
  }
  uint64_t ended() { return broker->counters().of(Limit::kSessionQueue); }
  uint64_t gaps() { return store->gap_sum(store::GapCause::kSessionEnded).gaps; }
};

// Goal: whoever is subscribed to much and takes nothing does not fill the store. Method: one is away, one does not acknowledge, one
// is owed little.
TEST(SessionQueue, EndsASessionThatIsOwedMoreThanItMay) {
  BoundedSite site;
  Client away(site, "away"), silent(site, "silent"), modest(site, "modest");
  site.pub.subscribed("last/words", 1);
  away.will("last/words", "of away", 0, 3600);
  for (Client* client : {&away, &silent, &modest}) {
    client->hello.properties.receive_maximum = 1;
    client->keep().connect();
    client->subscribed(client == &modest ? "t/little" : "t/#", 1);
  }
  away.drop();
  modest.drop();
  site.publish("t/little", 1);
  site.publish("t/much", 10);
  EXPECT_EQ(site.ended(), 0u);
  site.publish("t/much", 1);
  EXPECT_EQ(site.ended(), 1u);
  site.publish("t/much", 1);  // One is on its way to the silent one, and does not count.
  EXPECT_EQ(site.ended(), 2u);
  EXPECT_EQ(silent.take(),
            (Lines{"PUBLISH q1 #1 t/little '" + site.payload + "'", "DISCONNECT 97", "closed"}));
  EXPECT_EQ(site.gaps(), 2u);
  EXPECT_FALSE(site.wanted("t/much"));
  EXPECT_EQ(std::count_if(site.host.logged.begin(), site.host.logged.end(),
                          [](const std::string& line) { return line.starts_with("HF-MQTT-015"); }),
            1);  // A second each.
  site.restart();
  away.hello.will.reset();
  away.dial();
  EXPECT_EQ(away.synced(), Lines{"CONNACK 00"});  // No session is present.
  modest.dial();
  EXPECT_EQ(modest.synced(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 t/little '" + site.payload + "'"}));
}

TEST(SessionQueue, WillOfASessionThatEndsIsPublished) {
  BoundedSite site;
  Client away(site, "away");
  away.will("last/words", "of away", 0, 3600).keep().connect();
  away.subscribed("t", 1);
  away.drop();
  site.pub.subscribed("last/words", 0);
  site.publish("t", 11);
  EXPECT_EQ(site.pub.take(), Lines{});
  site.pub.publish("t", site.payload, 1, 99);
  site.pass(milliseconds(1));
  EXPECT_EQ(site.pub.synced(), (Lines{"PUBLISH q0 last/words 'of away'", "PUBACK #99 00"}));
}

TEST(SessionQueue, EndsAClientOfTheOldVersionAndOneWithoutState) {
  BoundedSite site;
  site.host.routes = {{"t", "s", {}}};
  site.limits.inflight_max = 1;
  site.restart();
  site.pub.connect();
  Client old(site, "old", Version::k311), clean(site, "clean");
  old.keep().connect();
  old.subscribed("t", 1);
  clean.connect();
  clean.subscribed("t", 1);
  site.publish("t", 13);
  const Lines first = {"PUBLISH q1 #1 t '" + site.payload + "'"};
  EXPECT_EQ(old.take(), (Lines{first[0], "closed"}));
  EXPECT_EQ(clean.take(), (Lines{first[0], "DISCONNECT 97", "closed"}));
  EXPECT_EQ(site.ended(), 2u);
  EXPECT_EQ(site.gaps(), 1u);  // What is without state was promised nothing.
}

TEST(SessionQueue, EndsTheMembersOfAShareGroupThatNobodyServes) {
  BoundedSite site;
  Client first(site, "first"), second(site, "second");
  for (Client* client : {&first, &second}) {
    client->keep().connect();
    client->subscribed("$share/g/t", 1);
    client->subscribed("other", 1);
    client->drop();
  }
  site.publish("t", 12);
  EXPECT_EQ(site.ended(), 2u);
  EXPECT_FALSE(site.wanted("t"));
  EXPECT_FALSE(site.wanted("other"));
  EXPECT_EQ(site.store->gap_sum(store::GapCause::kSessionEnded).records, 12u);
}

TEST(SessionQueue, LetsGoOfWhoCaughtUpInTime) {
  BoundedSite site;
  Client client(site, "c");
  client.hello.properties.receive_maximum = 20;
  client.keep().connect();
  client.subscribed("t", 1);
  client.drop();
  site.publish("t", 11);
  client.dial();  // All of it is on its way to it.
  EXPECT_EQ(client.synced().size(), 12u);
  site.publish("t", 3);
  EXPECT_EQ(site.ended(), 0u);
  EXPECT_EQ(client.take().size(), 3u);
}

TEST(SessionQueue, EndsOneWhoseConnackWaits) {
  BoundedSite site;
  Client client(site, "c");
  client.keep().connect();
  client.subscribed("t", 1);
  client.drop();
  site.publish("t", 11);
  client.dial();
  for (uint16_t id = 100; id < 103; ++id) site.pub.publish("t", site.payload, 1, id);
  site.pass(milliseconds(1));
  EXPECT_EQ(client.synced(), Lines{"closed"});  // No DISCONNECT before CONNACK.
  EXPECT_EQ(site.ended(), 1u);
  client.dial();
  EXPECT_EQ(client.synced(), Lines{"CONNACK 00"});
}

// A step ends a few, since each may have a thousand rows to erase.
TEST(SessionQueue, EndsManyInTurnAlsoAfterARestart) {
  BoundedSite site;
  for (int i = 0; i < 40; ++i) {
    Client client(site, "c" + std::to_string(i));
    client.keep().connect();
    client.subscribed("t", 1);
    client.drop();
  }
  site.publish("t", 11);
  site.restart();
  site.pub.connect();
  site.pub.publish("t", site.payload, 1, 99);
  site.pub.publish("t", site.payload, 1, 100);
  for (const uint64_t ended : {16u, 32u, 40u, 40u}) {
    const std::optional<Instant> due = site.broker->next_deadline();
    EXPECT_EQ(due && *due <= Instant{site.now.mono.ns + 1}, ended != site.ended()) << ended;
    site.pass(milliseconds(1));
    EXPECT_EQ(site.ended(), ended);
  }
  site.sync();
  EXPECT_EQ(site.gaps(), 40u);
  EXPECT_EQ(site.store->figures().owed_count, 0u);
}

}  // namespace
}  // namespace hf::broker
