// What a node makes of what comes to it in one step, as its effects show.
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "link/batch.h"
#include "link/channel.h"
#include "link/claim.h"
#include "link/halves.h"
#include "link/hello.h"
#include "link/rows.h"
#include "mqtt/packet.h"
#include "node/node.h"
#include "store/memory_disk.h"

namespace hf::node {
namespace {

struct House {
  store::MemoryDisk disk;
  store::TestEntropy entropy;
  Config config;
  Now now;
  std::unique_ptr<Node> node;
  Effects effects;
  std::vector<Input> inputs;
  std::deque<std::string> said;  // What inputs borrow.
  std::map<ConnectionId, std::string> heard;
  ConnectionId connection_last = 0;

  explicit House(Config config_in = {}) : config(std::move(config_in)) {
    now.mono = {1'000'000'000};
    now.wall_us = 1'700'000'000'000'000;
    EXPECT_TRUE(store::Store::create(disk, entropy, key(), 42));
    start();
  }
  static crypto::Key key() { return crypto::Key(std::string(32, 'k')); }
  void start() {
    node.reset();
    node = std::move(*Node::open(disk, entropy, key(), config, "here", now));
    settle();
  }
  void step() {
    now.mono = now.mono + microseconds(50);
    now.wall_us += 50;
    node->step(inputs, now, effects);
    inputs.clear();
    said.clear();
    for (const Send& send : effects.sends) heard[send.connection].append(send.bytes);
  }
  // Steps until the disk has nothing left to do: what it did comes back in one step.
  void settle() {
    for (step(); !effects.jobs.empty(); step()) {
      for (auto& job : effects.jobs) {
        job->run(disk, entropy);
        inputs.emplace_back(JobDone{std::move(job)});
      }
    }
  }
  ConnectionId connect() {
    inputs.emplace_back(Connected{++connection_last, true, "127.0.0.1:1", ""});
    return connection_last;
  }
  void say(ConnectionId id, std::string bytes) {
    said.push_back(std::move(bytes));
    inputs.emplace_back(Received{id, said.back()});
  }
};

std::string encoded(const mqtt::Packet& packet) {
  std::string bytes;
  mqtt::encode(bytes, mqtt::Version::k5, packet);
  return bytes;
}

// --- Nodes that log in.

std::string as_node(Bytes name, Bytes password) {
  mqtt::Connect connect{.version = mqtt::Version::k5, .clean_start = true, .client_id = name};
  connect.user_name = name;
  connect.password = password;
  return encoded(connect);
}

std::string reserved(link::Kind kind, Bytes payload, uint16_t id) {
  std::string bytes;
  mqtt::encode_publish(bytes, mqtt::Version::k5, {.qos = 1, .topic = link::topic_of(kind), .packet_id = id},
                       payload);
  return bytes;
}

// Goal: a claim lets nobody do anything but exchange it for a secret, whatever else stands in the same bytes and however
// the connection ends.
TEST(Node, AClaimThatBreaksOffIsStillOnlyAClaim) {
  House house;
  std::string text;
  ASSERT_TRUE(house.node->node_add("site", {}, "", &text));
  house.settle();
  const std::string token = link::parse_claim(text)->token;

  link::Hello hello;
  hello.name = "site";
  hello.store_id = 7;
  link::Section section;
  section.key = {9, "telemetry"};
  section.first = section.last = 1;
  section.records.push_back({1, "t", "", "payload", 1, false, false, {}, {}, {}});
  link::BatchCodec codec;
  std::string batch;
  uint64_t plain = 0;
  codec.encode({section}, false, &batch, &plain);
  const std::string messages =
      reserved(link::Kind::kHello, link::encode_hello(hello), 1) + reserved(link::Kind::kBatch, batch, 2);
  for (const std::string& behind :
       {std::string(), std::string("\x00garbage", 8), std::string("\xe0\x00", 2)}) {
    const ConnectionId id = house.connect();
    house.say(id, as_node("site", token) + messages + behind);
    house.settle();
    EXPECT_EQ(house.node->streams().size(), 0u);
    EXPECT_EQ(house.node->store().figures().records, 0u);
    EXPECT_EQ(house.heard[id].find("$hf/"), std::string::npos) << "there is no conversation";
    house.inputs.emplace_back(Closed{id});
    house.settle();
  }
  // With the exchange before them the same messages are taken.
  const ConnectionId id = house.connect();
  house.say(id, as_node("site", token) +
                    reserved(link::Kind::kClaim, link::encode_claim_message(std::string(64, 'a')), 3) +
                    messages);
  house.settle();
  EXPECT_NE(house.heard[id].find("$hf/hello"), std::string::npos);
  EXPECT_EQ(house.node->store().figures().records, 1u);
}

// --- An upstream that is taken out of the configuration.

struct LeftOver : testing::Test {
  House house{with_upstream()};
  static Config with_upstream() {
    Config config;
    config.name = "site";
    config.upstream.emplace();
    config.upstream->host = "hub.example";
    return config;
  }
  void publish(int count) {
    const ConnectionId id = house.connect();
    house.say(
        id, encoded(mqtt::Connect{.version = mqtt::Version::k5, .clean_start = true, .client_id = "press"}));
    for (int i = 1; i <= count; ++i) {
      std::string bytes;
      mqtt::encode_publish(bytes, mqtt::Version::k5,
                           {.qos = 1, .topic = "press/state", .packet_id = static_cast<uint16_t>(i)},
                           "running");
      house.say(id, bytes);
    }
    house.settle();
  }
  void restart(bool upstream) {
    house.config.upstream = upstream ? with_upstream().upstream : std::nullopt;
    house.start();
  }
  std::vector<QueueStatus> parent() {
    bool pending = true;
    std::vector<QueueStatus> found;
    for (int tries = 0; pending && tries < 10; ++tries) {
      pending = false;
      found = house.node->queue("parent", house.now, &pending);
      house.settle();
    }
    EXPECT_FALSE(pending);
    return found;
  }
};

TEST_F(LeftOver, WhatWaitsIsShownAndSaid) {
  publish(3);
  restart(false);
  EXPECT_FALSE(house.node->status(house.now).link.configured);
  EXPECT_EQ(house.node->status(house.now).link.backlog_count, 3u);
  EXPECT_EQ(house.node->status(house.now).link.lanes.size(), 1u);
  const std::vector<QueueStatus> found = parent();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].info.name, "parent");
  EXPECT_EQ(found[0].info.owed_count, 3u);
  EXPECT_EQ(found[0].info.waits_for, broker::WaitsFor::kUpstream);
  EXPECT_TRUE(found[0].info.oldest);
  bool pending = false;
  EXPECT_EQ(house.node->queues({}, 10, house.now, &pending).rows.size(), 1u);
  publish(1);
  EXPECT_EQ(house.node->status(house.now).link.backlog_count, 3u) << "nothing new is kept for it";
}

TEST_F(LeftOver, ItGoesOnWhereItWasWhenTheUpstreamIsBack) {
  publish(3);
  restart(false);
  restart(true);
  EXPECT_EQ(house.node->status(house.now).link.backlog_count, 3u);
  EXPECT_EQ(house.node->give_up_parent().error().code, Code::kExists);
  publish(1);
  EXPECT_EQ(house.node->status(house.now).link.backlog_count, 4u);
}

TEST_F(LeftOver, WhatIsGivenUpIsOwedToNobodyAnyMore) {
  publish(3);
  restart(false);
  const auto commit = house.node->give_up_parent();
  ASSERT_TRUE(commit);
  house.settle();
  EXPECT_GE(house.node->durable_commit(), *commit);
  for (int life = 0; life < 2; ++life, restart(false)) {
    EXPECT_EQ(house.node->status(house.now).link.backlog_count, 0u);
    EXPECT_EQ(parent().size(), 0u);
    EXPECT_EQ(house.node->give_up_parent().error().code, Code::kNotFound);
  }
  uint64_t given_up = 0;
  for (const auto& gaps : house.node->status(house.now).gaps_by_cause) given_up += gaps.records;
  EXPECT_EQ(given_up, 3u) << "what is given up is counted";
  // The next parent gets what comes from then on.
  restart(true);
  publish(2);
  EXPECT_EQ(house.node->status(house.now).link.backlog_count, 2u);
}

// Goal: what came down in pieces is kept for a parent that is away, and not for one that is gone, which has it whole. Method: a
// half that the store holds before the node starts.
TEST_F(LeftOver, PiecesOfAFormerParentAreDropped) {
  const auto halves = [&](const std::function<void(store::Store&, link::Halves&)>& visit) {
    house.node.reset();
    store::Options options;
    options.quota_bytes = house.config.quota_bytes;
    auto store =
        store::Store::open(house.disk, house.entropy, House::key(), options, "here", house.now, nullptr);
    ASSERT_TRUE(store);
    link::Halves kept(**store, std::string(link::kParentName));
    visit(**store, kept);
    (*store)->boundary();
    for (auto job = (*store)->take_job(house.now); job != nullptr; job = (*store)->take_job(house.now)) {
      job->run(house.disk, house.entropy);
      (*store)->complete(std::move(job), house.now);
    }
  };
  const store::StreamKey key{9, "firmware"};
  halves([&](store::Store&, link::Halves& kept) {
    kept.begin({.key = key, .number = 1, .hash = 2, .size = 3000, .held = 0});
    kept.add(key, std::string(1000, 'x'), house.now);
  });
  restart(true);
  halves(
      [&](store::Store&, link::Halves& kept) { ASSERT_NE(kept.find(key), nullptr) << "the parent is away"; });
  restart(false);
  halves([&](store::Store& store, link::Halves& kept) {
    EXPECT_EQ(kept.find(key), nullptr);
    uint64_t owed = 0;
    for (store::ReaderId id = 1; id < 100; ++id) {
      if (const store::ReaderInfo* reader = store.reader(id)) owed += reader->owed_count;
    }
    EXPECT_EQ(owed, 0u) << "nothing keeps their space";
  });
}

}  // namespace
}  // namespace hf::node
