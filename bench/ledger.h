// What one subscriber has seen of what the publishers numbered, and from it what was lost, doubled or
// disordered.
//
// Every publisher numbers its messages 0, 1, 2 ... A number above the next expected one opens a gap; a number
// that fills a gap came out of order; any other number below the next was here before. Gaps that stay open
// are losses.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>
#include <vector>

namespace hf::bench {

class Ledger {
 public:
  explicit Ledger(size_t publishers) : accounts_(publishers) {}

  void take(uint32_t publisher, uint64_t sequence) {
    if (publisher >= accounts_.size()) {
      ++foreign_;
      return;
    }
    ++taken_;
    Account& account = accounts_[publisher];
    if (sequence == account.next) {
      ++account.next;
      return;
    }
    if (sequence > account.next) {
      account.gaps.emplace(account.next, sequence);
      account.next = sequence + 1;
    } else if (account.fill(sequence)) {
      ++disordered_;
    } else {
      ++doubled_;
    }
  }
  // A message of another run, for instance one that a session kept.
  void take_foreign() { ++foreign_; }

  uint64_t taken() const { return taken_; }  // Doubled ones included.
  uint64_t unique() const { return taken_ - doubled_; }
  uint64_t doubled() const { return doubled_; }
  uint64_t disordered() const { return disordered_; }
  uint64_t foreign() const { return foreign_; }

  // Of `sent` messages of this publisher, those that never came.
  uint64_t lost(size_t publisher, uint64_t sent) const {
    const Account& account = accounts_[publisher];
    uint64_t lost = sent > account.next ? sent - account.next : 0;
    for (const auto& [first, end] : account.gaps) lost += end - first;
    return lost;
  }

 private:
  struct Account {
    uint64_t next = 0;
    std::map<uint64_t, uint64_t> gaps;  // First missing number -> first that is there again.

    bool fill(uint64_t sequence) {
      auto gap = gaps.upper_bound(sequence);
      if (gap == gaps.begin()) return false;
      gap = std::prev(gap);
      const auto [first, end] = *gap;
      if (sequence >= end) return false;
      gaps.erase(gap);
      if (first < sequence) gaps.emplace(first, sequence);
      if (sequence + 1 < end) gaps.emplace(sequence + 1, end);
      return true;
    }
  };

  std::vector<Account> accounts_;
  uint64_t taken_ = 0;
  uint64_t doubled_ = 0;
  uint64_t disordered_ = 0;
  uint64_t foreign_ = 0;
};

}  // namespace hf::bench
