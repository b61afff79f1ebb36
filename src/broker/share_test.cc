// Shared subscriptions: one member gets each message, and what becomes of it when that member goes.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::Reason;
using mqtt::Version;

// Payloads of the PUBLISHes in `lines`.
Lines payloads(const Lines& lines) {
  Lines all;
  for (const std::string& line : lines) {
    const size_t quote = line.find('\'');
    if (!line.starts_with("PUBLISH") || quote == std::string::npos) continue;
    all.push_back(line.substr(quote, line.find('\'', quote + 1) + 1 - quote));
  }
  return all;
}

// What the client is sent on the connection that it makes now.
Lines returned(Client& client) {
  client.dial();
  Lines lines = client.synced();
  EXPECT_EQ(lines.front(), "CONNACK 00 present");
  lines.erase(lines.begin());
  return lines;
}

struct Pair {
  Site site;
  Client a{site, "a"}, b{site, "b"}, pub{site, "pub"};

  explicit Pair(uint8_t qos, bool kept = true) {
    if (kept) {
      a.keep();
      b.keep();
    }
    a.connect();
    b.connect();
    pub.connect();
    a.subscribed("$share/g/t", qos);
    b.subscribed("$share/g/t", qos);
  }
  void publish(int first, int last, uint8_t qos) {
    for (int i = first; i <= last; ++i) pub.publish("t", std::to_string(i), qos, static_cast<uint16_t>(i));
    site.sync();
    pub.take();
  }
};

// Goal: whoever is found busy is asked no more until it has room, and then gets what waits. Method: 4,000 members with room for one
// message each; a group that asked everybody for each message would ask sixteen million times.
TEST(Share, BusyMembersAreNotAskedForEachMessage) {
  Site site;
  site.limits.inflight_max = 1;
  site.restart();
  std::vector<std::unique_ptr<Client>> members;
  Client pub(site, "pub");
  pub.connect();
  for (int i = 0; i < 4000; ++i) {
    members.push_back(std::make_unique<Client>(site, "m" + std::to_string(i)));
    members.back()->connect();
    members.back()->subscribe("$share/g/t", 1);
  }
  site.sync();
  for (int i = 0; i < 4000; ++i) {
    pub.publish("t", "x", 1, static_cast<uint16_t>(i + 1));
    if (i % 500 == 0) site.sync();
  }
  site.sync();
  size_t busy = 0;
  for (const auto& member : members) busy += payloads(member->take()).size();
  EXPECT_EQ(busy, 4000u);  // One each: everybody is busy now.
  pub.publish("t", "next", 1, 5000);
  site.sync();
  members[1234]->puback(1);
  EXPECT_EQ(payloads(members[1234]->synced()), Lines{"'next'"});
}

TEST(Share, MembersTakeTurns) {
  for (const uint8_t qos : {uint8_t{0}, uint8_t{1}, uint8_t{2}}) {
    Pair pair(qos);
    pair.publish(1, 4, qos);
    EXPECT_EQ(payloads(pair.a.take()), (Lines{"'1'", "'3'"})) << int{qos};
    EXPECT_EQ(payloads(pair.b.take()), (Lines{"'2'", "'4'"})) << int{qos};
  }
}

TEST(Share, GroupsAndSessionsEachGetTheirCopy) {
  Pair pair(1);
  Client other(pair.site, "other"), old(pair.site, "old", Version::k311);
  other.connect();
  other.subscribed("$share/g2/t", 1, 5);
  other.subscribed("t", 1, 6);
  old.connect();
  old.subscribed("$share/g/+", 1);  // Another filter, so another group.
  pair.publish(1, 1, 1);
  EXPECT_EQ(pair.a.take(), Lines{"PUBLISH q1 #1 t '1'"});
  EXPECT_EQ(pair.b.take(), Lines{});
  EXPECT_EQ(other.take(), (Lines{"PUBLISH q1 #1 t '1' ids 6", "PUBLISH q1 #2 t '1' ids 5"}));
  EXPECT_EQ(old.take(), Lines{"PUBLISH q1 #1 t '1'"});
}

TEST(Share, GrantedQosOfTheMemberCounts) {  // [MQTT-4.8.2-3]
  Site site;
  Client zero(site, "zero"), two(site, "two"), pub(site, "pub");
  zero.connect();
  two.connect();
  pub.connect();
  zero.subscribed("$share/g/t", 0);
  two.subscribed("$share/g/t", 2);
  for (uint16_t i = 1; i <= 4; ++i) pub.publish("t", std::to_string(i), 2, i);
  site.sync();
  EXPECT_EQ(zero.take(), (Lines{"PUBLISH q0 t '1'", "PUBLISH q0 t '3'"}));
  EXPECT_EQ(two.take(), (Lines{"PUBLISH q2 #1 t '2'", "PUBLISH q2 #2 t '4'"}));
}

TEST(Share, NoRetainedMessagesAndNoNoLocal) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  pub.retain("t", "kept");
  sub.connect();
  sub.subscribed("$share/g/t", 1);
  EXPECT_EQ(sub.synced(), Lines{});
  sub.subscribe(mqtt::SubscribeEntry{.filter = "$share/g/t", .qos = 1, .no_local = true});
  EXPECT_EQ(sub.synced(), (Lines{"DISCONNECT 82", "closed"}));  // [MQTT-3.8.3-4]
}

TEST(Share, InvalidNamesAreMalformed) {  // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
  for (const char* filter : {"$share//t", "$share/g", "$share/g/", "$share/+/t", "$share/a#/t"}) {
    Site site;
    Client client(site, "c");
    client.connect();
    client.subscribe(filter, 1);
    EXPECT_EQ(client.take().back(), "closed") << filter;
  }
}

TEST(Share, NothingIsLeasedToAMemberThatIsAway) {
  Pair pair(1);
  pair.a.drop();
  pair.publish(1, 3, 1);
  EXPECT_EQ(payloads(pair.b.take()), (Lines{"'1'", "'2'", "'3'"}));
  pair.b.drop();
  pair.publish(4, 5, 1);
  EXPECT_EQ(payloads(returned(pair.a)), (Lines{"'4'", "'5'"}));
}

TEST(Share, WindowOfOneMemberSendsTheRestToTheOther) {
  Site site;
  Client a(site, "a"), b(site, "b"), pub(site, "pub");
  a.hello.properties.receive_maximum = 1;
  b.hello.properties.receive_maximum = 2;
  a.connect();
  b.connect();
  pub.connect();
  a.subscribed("$share/g/t", 1);
  b.subscribed("$share/g/t", 1);
  for (uint16_t i = 1; i <= 5; ++i) pub.publish("t", std::to_string(i), 1, i);
  EXPECT_EQ(payloads(a.synced()), Lines{"'1'"});
  EXPECT_EQ(payloads(b.take()), (Lines{"'2'", "'3'"}));
  b.puback(1);
  EXPECT_EQ(payloads(b.synced()), Lines{"'4'"});
  a.puback(1);
  EXPECT_EQ(payloads(a.synced()), Lines{"'5'"});
}

TEST(Share, LeasesOfAMemberThatStaysAwayGoToAnother) {
  Pair pair(1);
  pair.publish(1, 4, 1);
  EXPECT_EQ(payloads(pair.a.take()), (Lines{"'1'", "'3'"}));
  EXPECT_EQ(payloads(pair.b.take()), (Lines{"'2'", "'4'"}));
  pair.a.drop();
  pair.site.pass(seconds(29));
  EXPECT_EQ(pair.b.synced(), Lines{});
  pair.site.pass(seconds(2));
  EXPECT_EQ(payloads(pair.b.synced()), (Lines{"'1'", "'3'"}));
  EXPECT_EQ(returned(pair.a), Lines{});  // They are not its own any more.
}

TEST(Share, MemberThatReturnsInTimeGetsItsLeasesAgain) {
  Pair pair(1);
  pair.publish(1, 2, 1);
  pair.a.take();
  pair.a.drop();
  pair.site.pass(seconds(10));
  EXPECT_EQ(returned(pair.a), Lines{"PUBLISH q1 #1 t '1' dup"});
  pair.site.pass(seconds(60));
  pair.b.take();
  EXPECT_EQ(pair.b.synced(), Lines{});
}

TEST(Share, EndOfACleanSessionReturnsItsLeasesAtOnce) {
  Pair pair(1, /*kept=*/false);
  pair.publish(1, 2, 1);
  pair.a.take();
  pair.b.take();
  pair.a.drop();
  EXPECT_EQ(pair.b.synced(), Lines{"PUBLISH q1 #2 t '1'"});
}

TEST(Share, LeaseThatReturnsBeforeItsRecordIsDurableIsNotLost) {
  Pair pair(1, /*kept=*/false);
  pair.pub.publish("t", "1", 1, 1);  // Nothing is synced yet.
  pair.a.drop();
  EXPECT_EQ(pair.b.take(), Lines{});
  EXPECT_EQ(pair.b.synced(), Lines{"PUBLISH q1 #1 t '1'"});
}

TEST(Share, Qos2StaysWithItsMemberAndIsGivenUpWithItsSession) {  // [MQTT-4.8.2-4] [MQTT-4.8.2-5]
  Pair pair(2);
  pair.publish(1, 4, 2);
  pair.a.take();
  pair.b.take();
  pair.a.pubrec(1);  // '1' has arrived; '3' may have.
  pair.a.synced();
  pair.a.drop();
  pair.site.pass(seconds(600));
  EXPECT_EQ(pair.b.synced(), Lines{});
  EXPECT_EQ(returned(pair.a), (Lines{"PUBREL #1 00", "PUBLISH q2 #2 t '3' dup"}));
  pair.a.drop();
  pair.site.pass(seconds(4000));  // The session expires.
  EXPECT_EQ(pair.b.synced(), Lines{});
  size_t gaps = 0;
  pair.site.store->for_each_gap([&](const store::Gap& gap) {
    EXPECT_EQ(gap.cause, store::GapCause::kSessionEnded);
    if (gap.stream == 0 && gap.first == gap.last) ++gaps;
  });
  EXPECT_EQ(gaps, 1u);
}

// A message that is leased out of the log is durable already. That it was leased has to be too, or a crash gives it to another.
TEST(Share, Qos2OfACleanSessionIsNotGivenAgainAfterACrash) {  // [MQTT-4.8.2-5]
  Site site;
  Client kept(site, "kept"), clean(site, "clean"), pub(site, "pub");
  kept.keep().connect();
  kept.subscribed("$share/g/t", 2);
  kept.drop();
  clean.hello.properties.receive_maximum = 1;
  clean.connect();
  clean.subscribed("$share/g/t", 2);
  pub.connect();
  pub.publish("t", "1", 2, 1);
  pub.publish("t", "2", 2, 2);
  EXPECT_EQ(clean.synced(), Lines{"PUBLISH q2 #1 t '1'"});
  clean.pubrec(1);
  EXPECT_EQ(clean.synced(), Lines{"PUBREL #1 00"});
  clean.pubcomp(1);  // There is room for the second one. The power goes in the moment in which it has left.
  for (int jobs = 0; clean.take() != Lines{"PUBLISH q2 #2 t '2'"}; ++jobs) {
    ASSERT_LT(jobs, 3);
    site.store->boundary();
    auto job = site.store->take_job(site.now);
    ASSERT_NE(job, nullptr);
    job->run(site.disk, site.entropy);
    site.store->complete(std::move(job), site.now);
    site.broker->durable(site.now);
  }
  site.restart();
  kept.dial();
  EXPECT_EQ(kept.synced(), Lines{"CONNACK 00 present"});
}

TEST(Share, LeasesToCleanSessionsLeaveNothingInMemory) {
  Pair pair(1, /*kept=*/false);
  pair.publish(1, 2, 1);
  pair.a.puback(1);
  pair.b.puback(1);
  pair.site.sync();
  const auto taken = [](Client& client) {
    for (const std::string& line : client.take()) {
      if (line.starts_with("PUBLISH q1 #")) client.puback(static_cast<uint16_t>(std::stoul(line.substr(12))));
    }
  };
  taken(pair.a);
  taken(pair.b);
  pair.publish(3, 3, 1);
  const uint64_t before = pair.site.store->figures().row_bytes;
  for (int i = 10; i < 3000; ++i) {
    pair.publish(i, i, 1);
    taken(pair.a);
    taken(pair.b);
  }
  pair.publish(3000, 3000, 1);
  EXPECT_LT(pair.site.store->figures().row_bytes, before + 2000);
}

TEST(Share, NegativeAcknowledgementDiscards) {  // [MQTT-4.8.2-6]
  Pair pair(2);
  pair.publish(1, 1, 1);
  pair.publish(2, 2, 2);
  pair.a.take();
  pair.b.take();
  pair.a.ack(mqtt::PacketType::kPuback, 1, Reason::kQuotaExceeded);
  pair.b.ack(mqtt::PacketType::kPubrec, 1, Reason::kNotAuthorized);
  pair.a.drop();
  pair.b.drop();
  pair.site.pass(seconds(60));
  EXPECT_EQ(returned(pair.a), Lines{});
  EXPECT_EQ(returned(pair.b), Lines{});
}

TEST(Share, LeasesOutliveUnsubscribe) {
  Pair pair(1);
  pair.publish(1, 2, 1);
  EXPECT_EQ(pair.a.take(), Lines{"PUBLISH q1 #1 t '1'"});
  pair.b.take();
  pair.b.puback(1);
  pair.a.send(mqtt::Unsubscribe{.packet_id = 7, .filters = {"$share/g/t"}});
  pair.b.send(mqtt::Unsubscribe{.packet_id = 7, .filters = {"$share/g/t"}});
  EXPECT_EQ(pair.a.synced(), Lines{"UNSUBACK #7 00"});
  pair.publish(3, 3, 1);
  pair.site.restart();
  EXPECT_EQ(returned(pair.a), Lines{"PUBLISH q1 #1 t '1' dup"});
  pair.a.puback(1);
  pair.site.sync();
  // Nobody needs the group now: it leaves nothing behind.
  size_t rows = 0;
  pair.site.store->scan(store::Table::kShareGroup, {}, [&](Bytes, Bytes) { return ++rows > 0; });
  EXPECT_EQ(rows, 0u);
}

TEST(Share, GroupSurvivesACrashWithWhatWasLeasedAndWhatWaits) {
  Pair pair(2);
  pair.publish(1, 2, 1);
  pair.publish(3, 4, 2);
  pair.a.take();
  pair.b.take();
  pair.b.puback(1);
  pair.site.sync();
  pair.a.drop();
  pair.b.drop();
  pair.publish(5, 5, 1);
  pair.site.restart();
  EXPECT_EQ(returned(pair.a),
            (Lines{"PUBLISH q1 #1 t '1' dup", "PUBLISH q2 #2 t '3' dup", "PUBLISH q1 #3 t '5'"}));
  // Its acknowledgement of '2' rode with no commit that is durable: it is sent again.
  Lines again = payloads(returned(pair.b));
  EXPECT_EQ(again.back(), "'4'");
  // A member that does not return: its message at QoS 1 goes to the other.
  pair.a.drop();
  pair.site.pass(seconds(31));
  again = payloads(pair.b.synced());
  EXPECT_EQ(again, (Lines{"'1'", "'5'"}));
}

TEST(Share, WhatACleanMemberHadAndWhatCameBackSurviveACrash) {
  for (const bool twice : {false, true}) {
    Site site;
    Client kept(site, "kept"), clean(site, "clean"), pub(site, "pub");
    kept.keep().connect();
    clean.connect();
    pub.connect();
    kept.subscribed("$share/g/t", 2);
    clean.subscribed("$share/g/t", 2);
    for (uint16_t i = 1; i <= 4; ++i) pub.publish("t", std::to_string(i), i > 2 ? 2 : 1, i);
    site.sync();
    EXPECT_EQ(payloads(kept.take()), (Lines{"'1'", "'3'"}));
    EXPECT_EQ(payloads(clean.take()), (Lines{"'2'", "'4'"}));
    kept.puback(1);
    kept.pubrec(2);
    kept.pubcomp(2);
    kept.drop();
    if (twice) clean.drop();  // What it had comes back, and nobody is there to take it.
    pub.publish("other", "x", 1, 9);
    site.sync();
    site.restart();
    // '4' is given up, and said so: it may have arrived.
    size_t gaps = 0;
    site.store->for_each_gap(
        [&](const store::Gap& gap) { gaps += gap.stream == 0 && gap.first == gap.last; });
    EXPECT_EQ(gaps, 1u);
    Lines again = payloads(returned(kept));
    EXPECT_NE(std::find(again.begin(), again.end(), "'2'"), again.end()) << twice;
    EXPECT_EQ(std::find(again.begin(), again.end(), "'3'"), again.end()) << twice;
    EXPECT_EQ(std::find(again.begin(), again.end(), "'4'"), again.end()) << twice;
  }
}

TEST(Share, GroupOfCleanSessionsEndsWithThem) {
  Pair pair(1, /*kept=*/false);
  pair.a.disconnect();
  pair.b.disconnect();
  pair.publish(1, 1, 1);
  pair.site.sync();
  size_t rows = 0;
  pair.site.store->scan(store::Table::kShareGroup, {}, [&](Bytes, Bytes) { return ++rows > 0; });
  EXPECT_EQ(rows, 0u);
  Client late(pair.site, "late");
  late.connect();
  late.subscribed("$share/g/t", 1);
  EXPECT_EQ(late.synced(), Lines{});
}

TEST(Share, ExpiredMessagesAreNotLeased) {
  Pair pair(1);
  pair.a.drop();
  pair.b.drop();
  mqtt::Properties expiry;
  expiry.message_expiry_interval_s = 5;
  pair.pub.publish("t", "late", 1, 1, expiry);
  pair.publish(2, 2, 1);
  pair.site.pass(seconds(6));
  EXPECT_EQ(payloads(returned(pair.b)), Lines{"'2'"});
}

}  // namespace
}  // namespace hf::broker
