// What the fuzz programs of whole nodes share: a node on a disk in memory, what comes to it, and what its work has left to do.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "node/node.h"
#include "store/memory_disk.h"

namespace hf::node {

struct Machine {
  store::MemoryDisk disk;
  store::TestEntropy entropy;
  Config config;
  Effects effects;
  std::vector<Input> inputs;
  std::deque<std::string> kept;  // What inputs borrow.
  std::unique_ptr<Node> node;
  static crypto::Key key() { return crypto::Key(std::string(32, 'k')); }

  explicit Machine(std::string name, uint64_t id) : entropy(id) {
    config.name = std::move(name);
    config.quota_bytes = 32 << 20;
    config.segment_bytes_min = 64 << 10;
    config.segment_bytes_max = 1 << 20;
    HF_ASSERT(store::Store::create(disk, entropy, key(), id).has_value());
  }
  void start(const Now& now) {
    auto opened = Node::open(disk, entropy, key(), config, "here", now);
    HF_ASSERT(opened.has_value());
    node = std::move(*opened);
  }
  void receive(ConnectionId connection, std::string bytes) {
    if (bytes.empty()) return;
    kept.push_back(std::move(bytes));
    inputs.push_back(Received{connection, kept.back()});
  }
  // One step with what has come. The effects are the caller's, but for the work of the disk, which is done.
  Effects step(const Now& now) {
    std::vector<Input> taken = std::exchange(inputs, {});
    node->step(taken, now, effects);
    kept.clear();
    Effects made = std::move(effects);
    effects = Effects();
    for (std::unique_ptr<store::Job>& job : made.jobs) {
      job->run(disk, entropy);
      inputs.push_back(JobDone{std::move(job)});
    }
    made.jobs.clear();
    return made;
  }
};

}  // namespace hf::node
