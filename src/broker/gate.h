// The gate of a connection: bytes that may not leave before the commit they depend on is durable.
//
// One growing buffer, cut into runs (commit, end). Bytes leave in the order in which they came, so a run that
// depends on nothing waits behind one that does; that keeps acknowledgements in the order of their PUBLISHes
// [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4] and deliveries in theirs [MQTT-4.6.0-5] [MQTT-4.6.0-6].
//
// Invariant: the commits of the runs ascend; `release(d)` gives exactly the bytes before the first run beyond
// `d`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"

namespace hf::broker {

class Gate {
 public:
  bool empty() const { return first_ == runs_.size(); }
  size_t size() const { return bytes_.size() - sent_; }
  // What the last of the bytes wait for; 0 when empty.
  uint64_t commit() const { return empty() ? 0 : runs_.back().commit; }

  // Whether the first of the bytes end an exchange of the client's, which then begins another.
  bool gives_credits() const { return !empty() && runs_[first_].credits > 0; }

  // The buffer to append to: what is appended before close() leaves once `commit` is durable and all before
  // it has left.
  std::string& open(uint64_t commit) {
    open_commit_ = commit;
    return bytes_;
  }
  // `credits` is handed back by the release() that lets these bytes go.
  void close(uint32_t credits = 0) {
    if (empty() || runs_.back().commit < open_commit_) {
      runs_.push_back({open_commit_, bytes_.size(), credits});
      return;
    }
    // It depends on no more than what it waits behind.
    runs_.back().end = bytes_.size();
    runs_.back().credits += credits;
  }

  // Calls send(Bytes) at most once with all that may leave; returns the credits of it.
  template <typename Send>
  uint32_t release(uint64_t durable_commit, Send&& send) {
    uint32_t credits = 0;
    size_t end = sent_;
    while (!empty() && runs_[first_].commit <= durable_commit) {
      end = runs_[first_].end;
      credits += runs_[first_].credits;
      ++first_;
    }
    if (end == sent_) return credits;
    send(Bytes(bytes_).substr(sent_, end - sent_));
    sent_ = end;
    if (empty()) {
      HF_ASSERT(sent_ == bytes_.size());
      reset();
    } else if (sent_ > bytes_.size() / 2) {
      compact();
    }
    return credits;
  }

 private:
  struct Run {
    uint64_t commit;
    size_t end;  // Offset in bytes_.
    uint32_t credits;
  };
  static constexpr size_t kKeptBytes = 256 << 10;  // Of an empty gate.

  void reset() {
    if (bytes_.capacity() > kKeptBytes) release_memory(bytes_);
    bytes_.clear();
    runs_.clear();
    first_ = 0;
    sent_ = 0;
  }
  void compact() {
    bytes_.erase(0, sent_);
    runs_.erase(runs_.begin(), runs_.begin() + static_cast<ptrdiff_t>(first_));
    for (Run& run : runs_) run.end -= sent_;
    first_ = 0;
    sent_ = 0;
  }

  std::string bytes_;
  std::vector<Run> runs_;
  size_t first_ = 0;  // Of runs_ that are not released.
  size_t sent_ = 0;   // Of bytes_.
  uint64_t open_commit_ = 0;
};

}  // namespace hf::broker
