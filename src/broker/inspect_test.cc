// What an operator looks at: pages that are bounded and whole together, why somebody waits, and the end of a client by hand.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::Reason;
using mqtt::Version;

// All pages of `count` rows, and how many there were.
template <typename Row, typename Ask, typename Name>
Lines all_pages(const Ask& ask, const Name& name, int* pages) {
  Lines lines;
  std::string after;
  for (*pages = 1;; ++*pages) {
    const Page<Row> page = ask(after);
    for (const Row& row : page.rows) lines.push_back(name(row));
    if (!page.next) return lines;
    after = *page.next;
  }
}

struct Queues {
  Site site;
  Client pub{site, "pub"};
  Queues() { pub.connect(); }

  void publish(Bytes topic, int count) {
    for (int i = 1; i <= count; ++i) pub.publish(topic, std::to_string(i), 1, static_cast<uint16_t>(i));
    site.sync();
    pub.take();
  }
  QueueInfo session(Bytes name) {
    bool pending = false;
    const auto queue = site.broker->session_queue(name, site.now, &pending);
    EXPECT_TRUE(queue.has_value());
    EXPECT_FALSE(pending);
    return queue.value_or(QueueInfo());
  }
};

TEST(Inspect, ClientsComeInPagesByIdentifier) {
  Site site;
  std::vector<std::unique_ptr<Client>> clients;
  for (const char* name : {"d", "b", "a", "e", "c"}) {
    clients.push_back(std::make_unique<Client>(site, name));
    clients.back()->keep().connect();
  }
  clients[0]->drop();
  site.sync();
  site.pass(seconds(60));
  int pages = 0;
  const auto ask = [&](Bytes after) { return site.broker->clients(after, 2, site.now); };
  const auto name = [](const ClientInfo& info) {
    EXPECT_EQ(info.since, seconds(60));
    return info.client_id + (info.connected ? " online" : " away");
  };
  EXPECT_EQ(all_pages<ClientInfo>(ask, name, &pages),
            (Lines{"a online", "b online", "c online", "d away", "e online"}));
  EXPECT_EQ(pages, 3);
}

TEST(Inspect, APageIsBoundedByWhatWasLookedAt) {
  Site site;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < kLookedAtMax + 10; ++i) {
    clients.push_back(std::make_unique<Client>(site, "c" + std::to_string(i), Version::k311));
    clients.back()->dial();
  }
  site.sync();
  bool pending = false;
  const Page<QueueInfo> page = site.broker->session_queues({}, 100, site.now, &pending);
  EXPECT_TRUE(page.rows.empty());
  ASSERT_TRUE(page.next.has_value());
  EXPECT_FALSE(site.broker->session_queues(*page.next, 100, site.now, &pending).next.has_value());
  EXPECT_FALSE(pending);
}

TEST(Inspect, SubscriptionsOfAClientOrForATopic) {
  Site site;
  TestRights rights;
  rights.subscribes = {"a/#"};
  rights.receives = {"a/open"};
  site.host.rights_of["kim"] = rights;
  Client a(site, "a"), b(site, "b"), c(site, "c");
  a.connect();
  b.hello.user_name = "kim";
  b.connect();
  c.keep().connect();
  a.subscribed("a/+", 0, 7);
  a.subscribed("x", 1);
  b.subscribed("a/#", 1);
  c.subscribed("$share/g/a/b", 2);
  c.drop();
  int pages = 0;
  const auto name = [](const SubscriptionInfo& info) {
    return info.client_id + " " + info.filter + (info.connected ? "" : " away") +
           (info.allowed ? "" : " denied");
  };
  const auto ask = [&](Bytes client, Bytes topic) {
    return all_pages<SubscriptionInfo>(
        [&](Bytes after) { return site.broker->subscriptions(client, topic, after, 1); }, name, &pages);
  };
  EXPECT_EQ(ask("", ""), (Lines{"a a/+", "a x", "b a/#", "c $share/g/a/b away"}));
  EXPECT_EQ(ask("a", ""), (Lines{"a a/+", "a x"}));
  EXPECT_EQ(ask("nobody", ""), Lines{});
  EXPECT_EQ(ask("", "a/b"), (Lines{"a a/+", "b a/# denied", "c $share/g/a/b away"}));
  EXPECT_EQ(ask("", "a/open"), (Lines{"a a/+", "b a/#"}));
}

TEST(Inspect, RetainedMessagesAreShownAndRemovedForGood) {
  Site site;
  Client a(site, "a");
  a.connect();
  for (const char* topic : {"r/1", "r/2", "r/3", "s"}) a.retain(topic, "four", 1);
  site.sync();
  site.pass(seconds(5));
  int pages = 0;
  const auto name = [](const RetainedInfo& info) {
    EXPECT_EQ(info.age, seconds(5));
    return info.topic + " " + std::to_string(info.payload_bytes) + " " + info.publisher;
  };
  const auto ask = [&](Bytes filter) {
    return all_pages<RetainedInfo>(
        [&](Bytes after) { return site.broker->retained(filter, after, 2, site.now); }, name, &pages);
  };
  EXPECT_EQ(ask("#"), (Lines{"r/1 4 a", "r/2 4 a", "r/3 4 a", "s 4 a"}));
  EXPECT_EQ(ask("s"), Lines{"s 4 a"});
  EXPECT_EQ(ask("r/2/x"), Lines{});
  EXPECT_EQ(site.broker->remove_retained("r/+", {}, 2, site.now).rows.size(), 2u);
  EXPECT_EQ(ask("#"), (Lines{"r/3 4 a", "s 4 a"}));
  site.sync();
  site.restart();
  EXPECT_EQ(ask("r/#").size(), 1u);
}

TEST(Inspect, WhyAClientThatIsAwayDoesNotGetIt) {
  Queues queues;
  Client a(queues.site, "a");
  a.keep().connect();
  EXPECT_EQ(queues.session("a").waits_for, WaitsFor::kNothing);
  a.subscribed("t", 1);
  a.drop();
  queues.publish("t", 3);
  queues.site.pass(seconds(90));
  const QueueInfo info = queues.session("a");
  EXPECT_EQ(info.waits_for, WaitsFor::kClient);
  EXPECT_EQ(info.owed_count, 3u);
  EXPECT_EQ(info.since, seconds(90));
  EXPECT_EQ(info.oldest, seconds(90));
  bool pending = false;
  const Page<QueueInfo> page = queues.site.broker->session_queues({}, 10, queues.site.now, &pending);
  ASSERT_EQ(page.rows.size(), 1u);
  EXPECT_EQ(page.rows[0].name, "a");
}

TEST(Inspect, WhyAClientThatIsThereDoesNotGetIt) {
  Queues queues;
  Client a(queues.site, "a");
  a.hello.properties.receive_maximum = 2;
  a.keep().connect();
  a.subscribed("t", 1);
  queues.pub.publish("t", "0", 1, 9);
  // Sent, and in the gate: it may not leave before it is durable.
  EXPECT_EQ(queues.session("a").waits_for, WaitsFor::kDisk);
  queues.site.sync();
  EXPECT_EQ(queues.session("a").waits_for, WaitsFor::kAcknowledgement);
  queues.publish("t", 4);
  queues.site.pass(seconds(30));
  QueueInfo info = queues.session("a");
  EXPECT_EQ(info.waits_for, WaitsFor::kWindow);
  EXPECT_EQ(info.inflight, 2u);
  EXPECT_EQ(info.window, 2u);
  EXPECT_EQ(info.owed_count, 5u);
  EXPECT_EQ(info.since, seconds(30));
  a.puback(1);
  EXPECT_EQ(queues.session("a").since, Duration{});
  queues.site.broker->unsent(a.id, 10 << 20, queues.site.now);
  a.puback(2);
  a.puback(3);
  EXPECT_EQ(queues.session("a").waits_for, WaitsFor::kNetwork);
}

TEST(Inspect, WhyAShareGroupDoesNotGetIt) {
  Queues queues;
  Client a(queues.site, "a"), b(queues.site, "b");
  a.keep().connect();
  b.keep().connect();
  a.subscribed("$share/g/t", 1);
  b.subscribed("$share/g/t", 1);
  a.drop();
  b.drop();
  queues.publish("t", 3);
  bool pending = false;
  const Page<QueueInfo> page = queues.site.broker->group_queues({}, 10, queues.site.now, &pending);
  ASSERT_EQ(page.rows.size(), 1u);
  EXPECT_EQ(page.rows[0].name, "g/t");
  EXPECT_EQ(page.rows[0].waits_for, WaitsFor::kClient);
  EXPECT_EQ(page.rows[0].members, 2u);
  EXPECT_EQ(page.rows[0].owed_count, 3u);
  EXPECT_FALSE(queues.site.broker->group_queue("g/x", queues.site.now, &pending).has_value());
}

// The oldest that is owed may be on the disk alone.
TEST(Inspect, TheOldestIsReadFromTheDisk) {
  Site site;
  site.options.tail_cache_bytes = 1;
  site.restart();
  Client a(site, "a"), pub(site, "pub");
  a.keep().connect();
  a.subscribed("t", 1);
  a.drop();
  pub.connect();
  pub.publish("t", "1", 1);
  site.sync();
  site.restart();
  site.pass(seconds(7));
  bool pending = false;
  Page<QueueInfo> page = site.broker->session_queues({}, 10, site.now, &pending);
  if (pending) {
    EXPECT_TRUE(page.rows.empty());
    site.sync();
    pending = false;
    page = site.broker->session_queues({}, 10, site.now, &pending);
  }
  EXPECT_FALSE(pending);
  ASSERT_EQ(page.rows.size(), 1u);
  EXPECT_EQ(page.rows[0].oldest, seconds(7));
}

TEST(Inspect, AKickedClientIsToldAndItsSessionStays) {
  Site site;
  Client a(site, "a");
  a.keep().connect();
  a.subscribed("t", 1);
  EXPECT_EQ(site.broker->end_client("a", false, site.now), 0u);
  EXPECT_EQ(a.synced(), (Lines{"DISCONNECT 98", "closed"}));
  EXPECT_EQ(site.broker->client("a", site.now)->subscriptions.size(), 1u);
  a.dial();
  EXPECT_EQ(a.synced(), Lines{"CONNACK 00 present"});
}

TEST(Inspect, AForgottenClientLosesAllForGood) {
  Site site;
  Client a(site, "a"), pub(site, "pub"), watch(site, "watch");
  a.will("gone", "a", 1, /*delay_s=*/600).keep().connect();
  a.subscribed("t", 1);
  watch.connect();
  watch.subscribed("gone", 1);
  a.drop();
  pub.connect();
  pub.publish("t", "1", 1);
  site.sync();
  const uint64_t commit = site.broker->end_client("a", true, site.now);
  EXPECT_GT(commit, site.store->durable_commit());
  EXPECT_EQ(watch.synced(), Lines{"PUBLISH q1 #1 gone 'a'"});  // At the session's end, whatever its delay.
  EXPECT_LE(commit, site.store->durable_commit());
  EXPECT_FALSE(site.broker->client("a", site.now).has_value());
  site.restart();
  a.dial();
  EXPECT_EQ(a.synced(), Lines{"CONNACK 00"});
  EXPECT_EQ(site.broker->end_client("nobody", true, site.now), 0u);
}

}  // namespace
}  // namespace hf::broker
