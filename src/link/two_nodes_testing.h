// Two real nodes with a wire between them, for the stories of conversation_test.cc and its neighbours.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "base/prng.h"
#include "link/link_testing.h"

namespace hf::link {

// What the parent must hold of a child called `name` when all of it is through.
inline std::vector<Kept> as_received(std::vector<Kept> records, const std::string& name) {
  for (Kept& record : records) record.origin = record.origin.empty() ? name : name + "/" + record.origin;
  return records;
}

// Names what differs.
inline void expect_equal(const std::vector<Kept>& held, const std::vector<Kept>& wanted) {
  std::vector<Kept> missing;
  std::vector<Kept> surplus;
  std::set_difference(wanted.begin(), wanted.end(), held.begin(), held.end(), std::back_inserter(missing));
  std::set_difference(held.begin(), held.end(), wanted.begin(), wanted.end(), std::back_inserter(surplus));
  EXPECT_EQ(missing, std::vector<Kept>());
  EXPECT_EQ(surplus, std::vector<Kept>());
}

struct TwoNodes {
  TestNode child{"ship-7", 1};
  TestNode parent{"hub", 2};
  Wire wire{child, parent};
  int written = 0;

  // Without `chunks` the child is of an earlier version.
  // `prefix`: of the child's topics at the parent.
  explicit TwoNodes(bool chunks = true, const std::string& prefix = {}) {
    parent.settings.prefix = prefix;
    child.settings.chunks = child.settings.hashes = chunks;
    child.with(std::string(kParentName));
    parent.with("ship-7");
  }
  void write(int count, Bytes stream = "telemetry", uint8_t priority = 5) {
    for (int i = 0; i < count; ++i) child.write(stream, "r" + std::to_string(++written), priority);
  }
  // Of bytes that do not compress.
  void write_large(size_t size, Bytes stream = "telemetry", uint8_t priority = 5,
                   std::optional<uint32_t> expiry_s = {}) {
    Prng noise(static_cast<uint64_t>(++written));
    std::string payload = "large" + std::to_string(written);
    while (payload.size() < size) payload.push_back(static_cast<char>(noise.next()));
    child.write(stream, payload, priority, "t", 0, expiry_s);
  }
  // What is at the parent of records that are not whole.
  std::vector<Half> halves() { return parent.with("ship-7").receiver().halves(); }
  // Steps and messages, one round at a time, until `done`.
  template <typename Done>
  bool rounds(int most, Done&& done, Duration tick = milliseconds(1)) {
    for (int i = 0; i < most; ++i) {
      if (done()) return true;
      for (TestNode* node : {&child, &parent}) {
        node->step();
        node->base.now.mono = node->base.now.mono + tick;
        node->base.now.wall_us += tick.ns / 1000;
      }
      wire.deliver();
    }
    return done();
  }
  void settle() { link::settle({&child, &parent}, {&wire}); }
  const Sender& sender() { return child.with(std::string(kParentName)).sender(); }
  const Receiver& receiver() { return parent.with("ship-7").receiver(); }
  // Everything was handed out and receipted. (The figures of the store may say for a while that there is
  // more.)
  bool drained() {
    for (const Lane& lane : sender().travel().lanes()) {
      const store::ReaderInfo* reader = child.store().reader(lane.reader);
      if (reader->low_water < reader->cursor) return false;
      if (child.store().next(lane.reader).status != store::Store::FetchStatus::kNone) return false;
    }
    return true;
  }
  void expect_same() {
    expect_equal(parent.kept(false), as_received(child.kept(true), "ship-7"));
    EXPECT_TRUE(drained());
  }
};

// Who dies when the wire is cut.
enum class Crash { kNobody, kChild, kParent, kBoth };

}  // namespace hf::link
