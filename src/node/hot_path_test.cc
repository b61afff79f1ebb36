// What a QoS 0 message may cost on its way through a node: no memory from the heap, and nothing of the store.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "mqtt/packet.h"
#include "node/node.h"
#include "store/memory_disk.h"

namespace {
std::atomic<uint64_t> allocations{0};
}  // namespace

// The sanitizers have allocators of their own.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HF_FOREIGN_ALLOCATOR
#endif
#endif

#ifndef HF_FOREIGN_ALLOCATOR
// The whole program's: counted, and otherwise as before. (Not inlined: g++-12 then sees a free() of what new gave.)
[[gnu::noinline]] void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#endif

namespace hf::node {
namespace {

struct House {
  store::MemoryDisk disk;
  store::TestEntropy entropy;
  Now now;
  std::unique_ptr<Node> node;
  Effects effects;
  std::vector<Input> inputs;
  uint64_t jobs = 0;
  ConnectionId connection_last = 0;

  House() {
    now.mono = {1'000'000'000};
    now.wall_us = 1'700'000'000'000'000;
    const crypto::Key key(std::string(32, 'k'));
    EXPECT_TRUE(store::Store::create(disk, entropy, key, 42));
    node = std::move(*Node::open(disk, entropy, key, Config(), "here", now));
    settle();
  }
  void step() {
    now.mono = now.mono + microseconds(50);
    now.wall_us += 50;
    node->step(inputs, now, effects);
    inputs.clear();
  }
  // Steps until the disk has nothing left to do.
  void settle() {
    for (step(); !effects.jobs.empty(); step()) {
      for (auto& job : effects.jobs) {
        ++jobs;
        job->run(disk, entropy);
        inputs.emplace_back(JobDone{std::move(job)});
      }
    }
  }
  ConnectionId client(Bytes name, mqtt::Version version) {
    const ConnectionId id = ++connection_last;
    inputs.emplace_back(Connected{id, true, "127.0.0.1:1", ""});
    say(id, version, mqtt::Connect{.version = version, .clean_start = true, .client_id = name});
    return id;
  }
  void say(ConnectionId id, mqtt::Version version, const mqtt::Packet& packet) {
    std::string bytes;
    mqtt::encode(bytes, version, packet);
    inputs.emplace_back(Received{id, bytes});
    settle();
  }
};

class HotPath : public testing::TestWithParam<int> {};  // How many messages come at once.

TEST_P(HotPath, Qos0TakesNoMemoryAndNothingOfTheStore) {
  House house;
  const ConnectionId publisher = house.client("publisher", mqtt::Version::k311);
  std::vector<ConnectionId> subscribers;
  for (const char* name : {"one", "two", "three"}) {
    const mqtt::Version version = *name == 't' ? mqtt::Version::k5 : mqtt::Version::k311;
    subscribers.push_back(house.client(name, version));
    house.say(subscribers.back(), version,
              mqtt::Subscribe{.packet_id = 1, .entries = {{.filter = "plant/+/temperature"}}});
  }
  std::string bytes;
  for (int i = 0; i < GetParam(); ++i) {
    mqtt::encode(
        bytes, mqtt::Version::k311,
        mqtt::Publish{.topic = "plant/7/temperature", .payload = "{\"celsius\": 21.5, \"n\": 12345678}"});
  }
  // Everybody says something once in a while; whoever waits for a deadline has it.
  const auto publish = [&] {
    house.inputs.emplace_back(Received{publisher, bytes});
    house.step();
    EXPECT_EQ(house.effects.sends.size(), subscribers.size());
    EXPECT_TRUE(house.effects.jobs.empty());
  };
  for (int i = 0; i < 100; ++i) publish();
  const uint64_t jobs = house.jobs;
  const uint64_t records = house.node->store().figures().records;
  const uint64_t commits = house.node->store().figures().commits;
  const uint64_t before = allocations.load();
  for (int i = 0; i < 1000; ++i) publish();
  EXPECT_EQ(allocations.load() - before, 0u);
  EXPECT_EQ(house.jobs, jobs);
  EXPECT_EQ(house.node->store().figures().records, records);
  EXPECT_EQ(house.node->store().figures().commits, commits);
}

INSTANTIATE_TEST_SUITE_P(Messages, HotPath, testing::Values(1, 2, 100));

}  // namespace
}  // namespace hf::node
