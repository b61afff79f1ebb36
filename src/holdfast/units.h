// Sizes, durations and counts as people write and read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"

namespace hf::holdfast {

// "4 GiB", "500 MB", "512 B": a whole or decimal number and a unit (B; kB, MB, GB, TB; KiB, MiB, GiB, TiB).
// Nothing if it is not that or does not fit.
std::optional<uint64_t> parse_size(std::string_view text);
// "7 d", "1 h 30 min", "250 ms": whole numbers with units (ms, s, min, h, d, w), largest first.
std::optional<Duration> parse_duration(std::string_view text);

std::string format_count(uint64_t count);        // "41,220"
std::string format_size(uint64_t bytes);         // "6.1 MB": powers of 1000, as disks and links are sold.
std::string format_duration(Duration duration);  // "3 h 12 min": the two largest units; "0 s" below a second.
std::string format_days(Duration duration);      // For what is far away: "214 days", "31 h", "12 min".
// "1 message", "2 messages".
std::string format_counted(uint64_t count, std::string_view one, std::string_view many);

}  // namespace hf::holdfast
