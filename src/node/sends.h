// What a step has for the sockets: for each connection its bytes, in order. What the node makes itself is kept here; what it passes
// on as it came is not copied but named where it lies, in an input of the step. A message to a hundred subscribers is then in
// memory once.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/connection.h"

namespace hf::node {

struct Send {
  struct Passed {
    size_t at = 0;  // It goes before bytes[at].
    Bytes bytes;    // Of an input: borrowed until the effects of the step have been carried out.
  };
  ConnectionId connection = 0;
  std::string bytes;
  std::vector<Passed> passed;  // In order.

  // visit(Bytes) in the order in which they go; none is empty.
  template <typename Visit>
  void for_each_part(Visit&& visit) const {
    size_t done = 0;
    for (const Passed& one : passed) {
      if (one.at > done) visit(Bytes(bytes).substr(done, one.at - done));
      visit(one.bytes);
      done = one.at;
    }
    if (done < bytes.size()) visit(Bytes(bytes).substr(done));
  }
  size_t size() const {
    size_t sum = 0;
    for_each_part([&](Bytes part) { sum += part.size(); });
    return sum;
  }
  std::string joined() const {
    std::string all;
    for_each_part([&](Bytes part) { all.append(part); });
    return all;
  }
};

// A list whose elements keep their memory from one step to the next, within bounds.
class Sends {
 public:
  Send& add(ConnectionId connection) {
    if (count_ == all_.size()) all_.emplace_back();
    Send& send = all_[count_++];
    send.connection = connection;
    return send;
  }
  bool empty() const { return count_ == 0; }
  size_t size() const { return count_; }
  Send& operator[](size_t index) { return all_[index]; }
  Send* begin() { return all_.data(); }
  Send* end() { return all_.data() + count_; }
  void clear() {
    size_t kept_bytes = 0;
    for (Send& send : *this) {
      kept_bytes += send.bytes.capacity() + send.passed.capacity() * sizeof(Send::Passed);
      send.bytes.clear();
      send.passed.clear();
      if (kept_bytes <= kKeptBytes) continue;
      release_memory(send.bytes);
      send.passed.shrink_to_fit();
    }
    count_ = 0;
    if (all_.size() > kKeptCount) {
      all_.resize(kKeptCount);
      all_.shrink_to_fit();
    }
  }

 private:
  static constexpr size_t kKeptBytes = 2 << 20;
  static constexpr size_t kKeptCount = 1024;

  std::vector<Send> all_;
  size_t count_ = 0;  // In use; those behind are empty and wait.
};

}  // namespace hf::node
