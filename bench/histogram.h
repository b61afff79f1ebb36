// Latencies, counted in buckets of at most 1/128 of their value, so that memory does not grow with the number
// of values and every percentile is known to better than one percent (the idea of HdrHistogram).
//
//   value < 256           one bucket for each nanosecond
//   value in [2^n, 2^n+1) 128 buckets of 2^(n-7) ns
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace hf::bench {

class Histogram {
 public:
  void add(uint64_t ns) {
    ns = std::min(ns, kValueMax);
    ++buckets_[index_of(ns)];
    ++count_;
    sum_ns_ += ns;
    max_ns_ = std::max(max_ns_, ns);
  }

  uint64_t count() const { return count_; }

  // The smallest value that at least `percent` of all values do not exceed; 0 when there are none.
  uint64_t percentile_ns(double percent) const {
    if (count_ == 0) return 0;
    const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(percent / 100 * double(count_) + 0.5));
    uint64_t seen = 0;
    for (size_t index = 0; index < buckets_.size(); ++index) {
      seen += buckets_[index];
      if (seen >= wanted) return std::min(upper_edge(index), max_ns_);
    }
    return max_ns_;
  }

  // In microseconds. "curve" holds [percent, value] for plots.
  nlohmann::ordered_json to_json() const {
    nlohmann::ordered_json out;
    out["count"] = count_;
    if (count_ == 0) return out;
    out["mean_us"] = microseconds(sum_ns_ / count_);
    out["p50_us"] = microseconds(percentile_ns(50));
    out["p90_us"] = microseconds(percentile_ns(90));
    out["p99_us"] = microseconds(percentile_ns(99));
    out["p999_us"] = microseconds(percentile_ns(99.9));
    out["max_us"] = microseconds(max_ns_);
    for (const double percent : {1., 5., 10., 20., 30., 40., 50., 60., 70., 80., 90., 95., 98., 99., 99.5,
                                 99.8, 99.9, 99.95, 99.99}) {
      out["curve"].push_back({percent, microseconds(percentile_ns(percent))});
    }
    return out;
  }

 private:
  static constexpr unsigned kSubBits = 7;
  static constexpr uint64_t kValueMax = (uint64_t{1} << 40) - 1;  // 18 minutes.

  static size_t index_of(uint64_t ns) {
    if (ns < (2u << kSubBits)) return ns;
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - kSubBits - 1;
    return (size_t{shift} << kSubBits) + (ns >> shift);
  }
  static uint64_t upper_edge(size_t index) {
    if (index < (2u << kSubBits)) return index;
    const size_t shift = (index >> kSubBits) - 1;
    const uint64_t mantissa = index - (shift << kSubBits);
    return ((mantissa + 1) << shift) - 1;
  }
  static double microseconds(uint64_t ns) { return static_cast<double>(ns / 10) / 100; }

  std::array<uint64_t, (40 - kSubBits + 1) << kSubBits> buckets_{};
  uint64_t count_ = 0;
  uint64_t sum_ns_ = 0;
  uint64_t max_ns_ = 0;
};

}  // namespace hf::bench
