// What a node makes of what comes to it in one step, as its effects show.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "link/batch.h"
#include "link/channel.h"
#include "link/claim.h"
#include "link/hello.h"
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

}  // namespace
}  // namespace hf::node
