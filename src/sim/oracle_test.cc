// The judge must condemn: each promise is broken once, by hand, and must be named; and what is allowed must pass.
#include "sim/oracle.h"

#include <gtest/gtest.h>

namespace hf::sim {
namespace {

class Judge : public ::testing::Test {
 protected:
  Judge() {
    hub = oracle.add_node("hub", std::nullopt, {});
    site = oracle.add_node("site", hub, {"down/#"});
    publisher = oracle.add_client("p", site, true);
    subscriber = oracle.add_client("s", hub, true);
    oracle.subscribed(subscriber, "#", 2, Instant{1});
  }

  MessageId send(uint8_t qos = 2, const std::string& topic = "t") {
    const MessageId id{publisher, next++};
    Prng prng(id.number);
    payloads[id] = make_payload(id, 10, prng);
    oracle.sent(id, topic, qos, false, payloads[id], Instant{100 + next});
    return id;
  }
  void deliver(MessageId id, uint8_t qos = 2, bool may_double = false, const std::string& topic = "t") {
    oracle.delivered(subscriber, topic, payloads[id], qos, false, may_double);
  }
  static Autopsy with(std::vector<MessageId> ids) {
    Autopsy out;
    uint64_t number = 0;
    for (const MessageId id : ids) {
      out.items.push_back(
          {.stream = {7, "telemetry"}, .sequence = ++number, .position = {number}, .message = id});
      ++out.counts[id];
    }
    out.incarnation = 7;
    out.streams.push_back({{7, "telemetry"}, "", number, true});
    return out;
  }
  std::string promise() const { return oracle.violation().substr(0, oracle.violation().find(':')); }

  Trace trace;
  Oracle oracle{trace};
  uint32_t hub = 0;
  uint32_t site = 0;
  uint32_t publisher = 0;
  uint32_t subscriber = 0;
  uint64_t next = 1;
  std::map<MessageId, std::string> payloads;
};

TEST_F(Judge, GoodHistoryPasses) {
  const MessageId one = send();
  const MessageId two = send();
  oracle.acknowledged(one, Instant{200});
  oracle.acknowledged(two, Instant{201});
  EXPECT_EQ(oracle.missing(nullptr), 2u);
  deliver(one);
  deliver(two);
  EXPECT_EQ(oracle.missing(nullptr), 0u);
  oracle.after_crash(site, with({one, two}), {});
  oracle.at_the_end(hub, with({one, two}));
  EXPECT_EQ(oracle.violation(), "");
}

TEST_F(Judge, BytesNobodySent) {
  oracle.delivered(subscriber, "t", "not a payload of ours", 1, false, false);
  EXPECT_EQ(promise(), "true");
}

TEST_F(Judge, OtherTopic) {
  deliver(send(), 2, false, "u");
  EXPECT_EQ(promise(), "true");
}

TEST_F(Judge, NoWayToTheSubscriber) {
  // A subscriber at the site is not to see what the hub does not send down.
  const uint32_t other = oracle.add_client("other", site, true);
  const uint32_t at_hub = oracle.add_client("hub-p", hub, true);
  const MessageId id{at_hub, 1};
  Prng prng(1);
  const std::string payload = make_payload(id, 0, prng);
  oracle.sent(id, "t", 1, false, payload, Instant{5});
  oracle.delivered(other, "t", payload, 1, false, false);
  EXPECT_EQ(promise(), "true");
}

TEST_F(Judge, Doubled) {
  const MessageId one = send();
  deliver(one);
  deliver(one);
  EXPECT_EQ(promise(), "once");
}

TEST_F(Judge, DoubledButSaidSoOrQos1) {
  const MessageId one = send();
  deliver(one);
  deliver(one, 2, true);
  const MessageId two = send(1);
  deliver(two, 1);
  deliver(two, 1);
  EXPECT_EQ(oracle.violation(), "");
}

TEST_F(Judge, OutOfOrder) {
  const MessageId one = send();
  const MessageId two = send();
  deliver(two);
  deliver(one);
  EXPECT_EQ(promise(), "ordered");
}

TEST_F(Judge, TopicsHaveNoOrderBetweenThem) {
  const MessageId one = send(2, "a");
  const MessageId two = send(2, "b");
  deliver(two, 2, false, "b");
  deliver(one, 2, false, "a");
  EXPECT_EQ(oracle.violation(), "");
}

TEST_F(Judge, AcknowledgedAndLost) {
  const MessageId one = send();
  const MessageId two = send();
  oracle.acknowledged(one, Instant{200});
  oracle.after_crash(site, with({two}), {});
  EXPECT_EQ(promise(), "kept");
}

TEST_F(Judge, LostUnderAGapRecord) {
  const MessageId one = send();
  const MessageId two = send();
  oracle.acknowledged(one, Instant{200});
  oracle.acknowledged(two, Instant{200});
  oracle.after_crash(site, with({one, two}), {});
  oracle.expect_damage(site);
  Autopsy found = with({one, two});
  found.items.erase(found.items.begin());
  found.counts.erase(one);
  found.gaps.push_back(
      {.stream = {7, "telemetry"}, .first = 1, .last = 1, .cause = store::GapCause::kRot, .reader = 0});
  oracle.after_crash(site, found, {});
  EXPECT_EQ(oracle.violation(), "");
}

TEST_F(Judge, GapRecordOfAnotherNumberIsNoExcuse) {
  const MessageId one = send();
  const MessageId two = send();
  oracle.acknowledged(one, Instant{200});
  oracle.after_crash(site, with({one, two}), {});
  oracle.expect_damage(site);
  Autopsy found = with({one, two});
  found.items.erase(found.items.begin());
  found.counts.erase(one);
  found.gaps.push_back(
      {.stream = {7, "telemetry"}, .first = 2, .last = 9, .cause = store::GapCause::kRot, .reader = 0});
  oracle.after_crash(site, found, {});
  EXPECT_EQ(promise(), "kept");
}

TEST_F(Judge, DeliveredAndForgotten) {
  const MessageId one = send();
  deliver(one);
  oracle.after_crash(hub, with({}), {});
  EXPECT_EQ(promise(), "settled");
}

TEST_F(Judge, ParentKnowsNumbersThatItsChildForgot) {
  Oracle::Held held{.who = "hub", .last = {{{7, "telemetry"}, 5}}};
  oracle.after_crash(site, with({send(), send()}), {held});
  EXPECT_EQ(promise(), "settled");
}

TEST_F(Judge, MissingNumber) {
  Autopsy found = with({send(), send(), send()});
  found.items.erase(found.items.begin() + 1);
  oracle.after_crash(site, found, {});
  EXPECT_EQ(promise(), "numbered");
}

TEST_F(Judge, TwoNumbersForOneMessage) {
  const MessageId one = send();
  oracle.acknowledged(one, Instant{200});
  oracle.at_the_end(hub, with({one, one}));
  EXPECT_EQ(promise(), "once");
}

TEST_F(Judge, NotAtTheHubInTheEnd) {
  const MessageId one = send();
  oracle.acknowledged(one, Instant{200});
  oracle.at_the_end(hub, with({}));
  EXPECT_EQ(promise(), "kept");
}

TEST_F(Judge, PromisedSessionIsGone) {
  EXPECT_FALSE(oracle.session_lost(subscriber));
  EXPECT_EQ(promise(), "remembered");
}

TEST_F(Judge, IdentifierUsedBeforeItsRelease) {
  const MessageId one = send();
  const MessageId two = send();
  oracle.repeated(subscriber, 4, one, payloads[one]);
  EXPECT_EQ(oracle.violation(), "");
  oracle.repeated(subscriber, 4, one, payloads[two]);
  EXPECT_EQ(promise(), "once");
}

TEST_F(Judge, WaysThroughTheTree) {
  const uint32_t other = oracle.add_node("other", hub, {"down/other/#"});
  EXPECT_TRUE(oracle.reaches(site, "t", hub));
  EXPECT_FALSE(oracle.reaches(site, "t", other));
  EXPECT_TRUE(oracle.reaches(site, "down/other/x", other));
  EXPECT_TRUE(oracle.reaches(hub, "down/x", site));
  EXPECT_FALSE(oracle.reaches(site, "$SYS/x", hub));
  // By another name.
  const uint32_t named = oracle.add_node("named", hub, {"sites/named/cmd/#", "all"}, "sites/named/");
  EXPECT_EQ(oracle.topic_at(named, "t", hub), "sites/named/t");
  EXPECT_EQ(oracle.topic_at(hub, "sites/named/cmd/x", named), "cmd/x");
  EXPECT_EQ(oracle.topic_at(hub, "all", named), "all");
  EXPECT_EQ(oracle.topic_at(site, "sites/named/cmd/x", named), "cmd/x");
  EXPECT_EQ(oracle.topic_at(named, "sites/named/cmd/x", named), "sites/named/cmd/x");
  EXPECT_FALSE(oracle.topic_at(hub, "cmd/x", named));
  EXPECT_EQ(oracle.topic_at(named, "down/other/x", other), std::nullopt);
}

}  // namespace
}  // namespace hf::sim
