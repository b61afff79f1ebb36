// Frames that were committed or read lately, within a budget, first in first out.
//
// A frame comes as its plaintext and is parsed when somebody wants its records, which makes it half as large again, or ten times
// as large where records are small. What that takes has a quarter of the budget for itself: when it is used up, those that were
// parsed first, and that nobody holds, go back to their plaintext. So a reader that comes from behind never pushes out the frames
// that it is about to want.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "store/frame.h"

namespace hf::store {

// A frame by where it stands. (Its number in a directory may change when the directory is built anew.)
struct FrameRef {
  uint64_t segment = 0;
  uint64_t offset = 0;
  friend auto operator<=>(const FrameRef&, const FrameRef&) = default;
};

class FrameCache {
 public:
  explicit FrameCache(uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  // `first` as for Frame::parse(). Nothing happens if it is here already.
  void add(FrameRef ref, std::string plain, Position first);
  // Null if it is not here, or its content breaks its grammar (contains() tells which).
  std::shared_ptr<const Frame> find(FrameRef ref);
  bool contains(FrameRef ref) const { return entries_.contains(ref); }

  uint64_t bytes() const { return plain_bytes_ + parsed_bytes_; }
  // Of frames as they come.
  uint64_t plain_budget_bytes() const { return budget_bytes_ - budget_bytes_ / 4; }

 private:
  struct Entry {
    std::string plain;  // Empty while it is parsed, or cannot be.
    Position first;
    std::shared_ptr<const Frame> frame;
    bool broken = false;
    uint64_t plain_bytes = 0;
    uint64_t parsed_bytes = 0;             // Beside that.
    std::list<FrameRef>::iterator parsed;  // In parsed_, while it is parsed.
  };

  void unparse(Entry& entry);
  // The last one stays, however large.
  void trim_plain();
  void trim_parsed();

  uint64_t budget_bytes_;
  uint64_t plain_bytes_ = 0;
  uint64_t parsed_bytes_ = 0;
  std::map<FrameRef, Entry> entries_;
  std::deque<FrameRef> order_;
  std::list<FrameRef> parsed_;  // By when they were.
};

}  // namespace hf::store
