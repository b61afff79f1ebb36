#include "io/clock.h"

#include <fcntl.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "io/file_descriptor.h"

namespace hf::io {

namespace {

// A clock that shows less than this has not been set since the battery was empty. 2026-01-01.
constexpr int64_t kFloorUs = 1'767'225'600'000'000;
constexpr Duration kQualityInterval = seconds(10);

}  // namespace

BootId parse_boot_id(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (c != '-' && c != '\n') digits.push_back(c);
  }
  const std::string bytes = from_hex(digits);
  if (bytes.size() != 16) return {};
  ByteReader in(bytes);
  BootId boot;
  boot.high = in.u64();
  boot.low = in.u64();
  return boot;
}

Clock::Clock(Entropy& entropy) {
  const FileDescriptor file(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  char text[64];
  const ssize_t size = file.valid() ? ::read(file.get(), text, sizeof text) : 0;
  if (size > 0) boot_ = parse_boot_id({text, static_cast<size_t>(size)});
  if (boot_ == BootId{}) boot_ = {entropy.u64(), entropy.u64()};
}

void Clock::look_at_quality(int64_t wall_us) {
  if (wall_us < kFloorUs) {
    quality_ = ClockQuality::kUnknown;
    return;
  }
  timex state{};  // modes = 0: only reads.
  const int answer = ::adjtimex(&state);
  const bool disciplined = answer >= 0 && answer != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
  quality_ = disciplined ? ClockQuality::kNtp : ClockQuality::kRtc;
}

Now Clock::now() {
  timespec mono{};
  timespec wall{};
  ::clock_gettime(CLOCK_BOOTTIME, &mono);
  ::clock_gettime(CLOCK_REALTIME, &wall);
  Now now;
  now.mono.ns = static_cast<uint64_t>(mono.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(mono.tv_nsec);
  now.wall_us = static_cast<int64_t>(wall.tv_sec) * 1'000'000 + wall.tv_nsec / 1000;
  if (now.mono >= quality_due_) {
    look_at_quality(now.wall_us);
    quality_due_ = now.mono + kQualityInterval;
  }
  now.quality = quality_;
  now.boot = boot_;
  return now;
}

}  // namespace hf::io
