// Time as an argument. The core never asks a clock: every step is told what time it is, once, and that time
// stands still until the step ends. `Instant` orders and times out; wall time is data (stamps, expiry,
// display).
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace hf {

// A span of monotonic time, in nanoseconds.
struct Duration {
  int64_t ns = 0;
  friend constexpr auto operator<=>(Duration, Duration) = default;
  friend constexpr Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
  friend constexpr Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
  friend constexpr Duration operator*(Duration a, int64_t factor) { return {a.ns * factor}; }
  friend constexpr Duration operator/(Duration a, int64_t divisor) { return {a.ns / divisor}; }
};

constexpr Duration microseconds(int64_t count) { return {count * 1'000}; }
constexpr Duration milliseconds(int64_t count) { return {count * 1'000'000}; }
constexpr Duration seconds(int64_t count) { return {count * 1'000'000'000}; }
constexpr int64_t to_ms(Duration d) { return d.ns / 1'000'000; }

// A point of monotonic time since boot, in nanoseconds. Never compared between boots.
struct Instant {
  uint64_t ns = 0;
  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant a, Duration b) { return {a.ns + static_cast<uint64_t>(b.ns)}; }
  friend constexpr Duration operator-(Instant a, Instant b) { return {static_cast<int64_t>(a.ns - b.ns)}; }
};

// How far a wall clock may be believed; larger is better.
enum class ClockQuality : uint8_t {
  kUnknown = 0,
  kFloor = 1,
  kRtc = 2,
  kOperator = 3,
  kParent = 4,
  kNtp = 5,
  kGnss = 6
};
const char* clock_quality_name(ClockQuality quality);

// A boot of a machine: 128 random bits that the operating system draws anew at each start.
struct BootId {
  uint64_t high = 0;
  uint64_t low = 0;
  friend constexpr auto operator<=>(const BootId&, const BootId&) = default;
};

// What time it is, as far as the node knows. Constant for the step that it is given to.
struct Now {
  Instant mono;
  int64_t wall_us = 0;  // Microseconds since 1970-01-01 UTC, as believed.
  ClockQuality quality = ClockQuality::kUnknown;
  BootId boot;
};

// RFC 3339 in UTC with 3 or 6 digits of fraction, "2026-11-20T09:45:42.123Z"; years outside 0 to 9999 as
// "@<microseconds>us".
std::string format_utc(int64_t wall_us, int digits = 3);
// The inverse, for any number of fraction digits (cut to microseconds), 'T' or a space, and 'Z' only. False
// if not so.
bool parse_utc(std::string_view text, int64_t* wall_us);

}  // namespace hf
