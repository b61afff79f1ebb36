// The clocks of the machine, as the `Now` that every step is given.
#pragma once

#include "base/prng.h"
#include "base/time.h"

namespace hf::io {

class Clock {
 public:
  // `entropy` names the boot where the kernel does not.
  explicit Clock(Entropy& entropy);

  // Monotonic time counts while the machine sleeps (CLOCK_BOOTTIME): what was due in the night is due in the
  // morning.
  Now now();

 private:
  void look_at_quality(int64_t wall_us);

  BootId boot_;
  ClockQuality quality_ = ClockQuality::kUnknown;
  Instant quality_due_;  // When to ask the kernel again whether the clock is disciplined.
};

// "0123abcd-..." as the kernel writes a UUID, to a BootId; all zero if it is not one.
BootId parse_boot_id(std::string_view text);

}  // namespace hf::io
