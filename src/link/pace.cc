#include "link/pace.h"

#include <algorithm>

#include "base/assert.h"

namespace hf::link {

namespace {

constexpr uint64_t kGoodputMin = 256;
constexpr uint64_t kGoodputMax = uint64_t{1} << 30;
constexpr Duration kWindowTime = seconds(2);
constexpr Duration kRoundTripMax = seconds(60);
constexpr Duration kMeasureTime = milliseconds(1);
constexpr Duration kRunDryTime = seconds(30);
constexpr uint64_t kSecondNs = 1'000'000'000;

}  // namespace

Pace::Pace(uint64_t goodput)
    : goodput_(goodput == 0 ? kGoodputStart : std::clamp(goodput, kGoodputMin, kGoodputMax)) {}

void Pace::begin() {
  outstanding_ = 0;
  receipted_bytes_ = 0;
  receipted_when_sent_.clear();
  held_back_ = false;
  overdrawn_ = false;
}

Duration Pace::round_trip() const {
  Duration least{};
  for (const Duration trip : round_trips_) {
    if (trip.ns > 0 && (least.ns == 0 || trip < least)) least = trip;
  }
  return least;
}

Duration Pace::expected() const {
  return round_trip() + Duration{static_cast<int64_t>(outstanding_ * kSecondNs / goodput_)};
}

uint64_t Pace::window() const {
  const Duration time = std::max(kWindowTime, round_trip() * 2);
  // goodput <= 2^30 and time <= 120 s: milliseconds keep the product within 64 bits.
  const uint64_t bytes = goodput_ * static_cast<uint64_t>(to_ms(time)) / 1000;
  return std::clamp(bytes, kWindowBytesMin, kWindowBytesMax);
}

uint64_t Pace::batch() const { return std::clamp(goodput_, kBatchBytesMin, kBatchBytesMax); }

uint64_t Pace::room(bool wanted, bool urgent, const Now& now) {
  if (outstanding_ == 0) return batch();
  const bool run_dry = now.mono - alone_last_ > kRunDryTime;
  const uint64_t left = window() - std::min(window(), outstanding_);
  if (!run_dry && left >= batch() / 2) return std::min(left, batch());
  if (wanted && !run_dry) held_back_ = true;
  if (wanted && urgent && !overdrawn_) {
    overdrawn_ = true;
    return kBatchBytesMin;
  }
  return 0;
}

bool Pace::sent(uint64_t bytes, const Now& now) {
  const bool alone = outstanding_ == 0;
  if (alone) {
    alone_last_ = now.mono;
    held_back_ = false;
  }
  receipted_when_sent_.push_back(receipted_bytes_);
  outstanding_ += bytes;
  return alone;
}

void Pace::receipted(uint64_t bytes, Instant sent, bool alone, const Now& now) {
  HF_ASSERT(bytes <= outstanding_);
  outstanding_ -= bytes;
  receipted_bytes_ += bytes;
  overdrawn_ = false;
  HF_ASSERT(!receipted_when_sent_.empty());
  const uint64_t meanwhile = receipted_bytes_ - receipted_when_sent_.front();
  receipted_when_sent_.pop_front();
  const Duration way = now.mono - sent;
  if (alone) {
    // Without the time that its own bytes took; but that is only what we believe of the link, so no more than a quarter.
    const Duration own{static_cast<int64_t>(bytes * kSecondNs / goodput_)};
    const Duration trip = std::max(way - own, Duration{way.ns / 4 * 3});
    round_trips_[round_trip_next_++ % round_trips_.size()] =
        std::clamp(trip, microseconds(100), kRoundTripMax);
  }
  measured(meanwhile * kSecondNs / static_cast<uint64_t>(std::max(way, kMeasureTime).ns));
  held_back_ = false;
}

void Pace::measured(uint64_t sample) {
  sample = std::clamp(sample, kGoodputMin, kGoodputMax);
  if (sample > goodput_) {
    goodput_ += (sample - goodput_ + 1) / 2;
  } else if (held_back_) {
    goodput_ -= (goodput_ - sample) / 4;
  }
}

void Pace::silent() { goodput_ = std::max(kGoodputMin, goodput_ / 2); }

}  // namespace hf::link
