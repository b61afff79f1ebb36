// How long something took, counted in fixed buckets: adding is a few comparisons and allocates nothing, so it may be done where
// every microsecond counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace hf {

class Histogram {
 public:
  // Upper bounds, inclusive. From a fast SSD's sync to a disk that is dying.
  static constexpr std::array<Duration, 15> kBounds = {
      microseconds(100), microseconds(250), microseconds(500), milliseconds(1),    milliseconds(2),
      milliseconds(5),   milliseconds(10),  milliseconds(25),  milliseconds(50),   milliseconds(100),
      milliseconds(250), milliseconds(500), seconds(1),        milliseconds(2500), seconds(10)};

  void add(Duration took, uint64_t count = 1) {
    size_t bucket = 0;
    while (bucket < kBounds.size() && took > kBounds[bucket]) ++bucket;
    counts_[bucket] += count;
    count_ += count;
    sum_ns_ += static_cast<uint64_t>(took.ns) * count;
  }

  // How many took at most kBounds[bucket] and more than the bound before it; the last one is for longer than any.
  uint64_t in(size_t bucket) const { return counts_[bucket]; }
  uint64_t count() const { return count_; }
  uint64_t sum_ns() const { return sum_ns_; }

 private:
  std::array<uint64_t, kBounds.size() + 1> counts_{};
  uint64_t count_ = 0;
  uint64_t sum_ns_ = 0;
};

}  // namespace hf
