#include "holdfast/units.h"

#include <fmt/format.h>

#include <charconv>

namespace hf::holdfast {

namespace {

struct Unit {
  std::string_view name;
  uint64_t size;
};

constexpr Unit kSizes[] = {
    {"B", 1},
    {"kB", 1'000},
    {"MB", 1'000'000},
    {"GB", 1'000'000'000},
    {"TB", 1'000'000'000'000},
    {"KiB", uint64_t{1} << 10},
    {"MiB", uint64_t{1} << 20},
    {"GiB", uint64_t{1} << 30},
    {"TiB", uint64_t{1} << 40},
};

// In milliseconds, largest first.
constexpr Unit kDurations[] = {
    {"w", 604'800'000}, {"d", 86'400'000}, {"h", 3'600'000}, {"min", 60'000}, {"s", 1'000}, {"ms", 1},
};

void skip_spaces(std::string_view* text) {
  while (!text->empty() && text->front() == ' ') text->remove_prefix(1);
}

// Letters at the front.
std::string_view take_word(std::string_view* text) {
  size_t size = 0;
  while (size < text->size() && (((*text)[size] | 0x20) >= 'a' && ((*text)[size] | 0x20) <= 'z')) ++size;
  const std::string_view word = text->substr(0, size);
  text->remove_prefix(size);
  return word;
}

std::optional<uint64_t> take_number(std::string_view* text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc()) return std::nullopt;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return number;
}

}  // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
  skip_spaces(&text);
  const auto whole = take_number(&text);
  if (!whole) return std::nullopt;
  // At most three digits behind the point: thousandths are exact in every unit that has them.
  uint64_t thousandths = 0;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    uint64_t weight = 100;
    size_t digits = 0;
    for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1), ++digits) {
      thousandths += weight * static_cast<uint64_t>(text.front() - '0');
      weight /= 10;
    }
    if (digits == 0 || digits > 3) return std::nullopt;
  }
  skip_spaces(&text);
  const std::string_view name = take_word(&text);
  skip_spaces(&text);
  if (!text.empty()) return std::nullopt;
  for (const Unit& unit : kSizes) {
    if (name != unit.name) continue;
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(*whole, unit.size, &bytes)) return std::nullopt;
    if (__builtin_add_overflow(bytes, unit.size * thousandths / 1000, &bytes)) return std::nullopt;
    return bytes;
  }
  return std::nullopt;
}

std::optional<Duration> parse_duration(std::string_view text) {
  constexpr uint64_t kMax_ms = uint64_t{200} * 365 * 86'400'000;
  uint64_t sum_ms = 0;
  const Unit* last = nullptr;
  skip_spaces(&text);
  do {
    const auto number = take_number(&text);
    if (!number) return std::nullopt;
    skip_spaces(&text);
    const std::string_view name = take_word(&text);
    skip_spaces(&text);
    const Unit* found = nullptr;
    for (const Unit& unit : kDurations) {
      if (name == unit.name) found = &unit;
    }
    if (found == nullptr || (last != nullptr && found <= last)) return std::nullopt;
    last = found;
    uint64_t part_ms = 0;
    if (__builtin_mul_overflow(*number, found->size, &part_ms)) return std::nullopt;
    if (__builtin_add_overflow(sum_ms, part_ms, &sum_ms) || sum_ms > kMax_ms) return std::nullopt;
  } while (!text.empty());
  return milliseconds(static_cast<int64_t>(sum_ms));
}

std::string format_count(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string format_size(uint64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  constexpr std::string_view kNames[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t name = 0;
  for (; value >= 999.5 && name + 1 < std::size(kNames); ++name) value /= 1000;
  return value < 99.95 ? fmt::format("{:.1f} {}", value, kNames[name])
                       : fmt::format("{:.0f} {}", value, kNames[name]);
}

std::string format_duration(Duration duration) {
  const int64_t all = duration.ns > 0 ? duration.ns / 1'000'000'000 : 0;
  const int64_t days = all / 86400;
  const int64_t hours = all / 3600 % 24;
  const int64_t minutes = all / 60 % 60;
  const int64_t rest = all % 60;
  if (days > 0)
    return hours > 0 && days < 100 ? fmt::format("{} d {} h", days, hours) : fmt::format("{} d", days);
  if (hours > 0) return minutes > 0 ? fmt::format("{} h {} min", hours, minutes) : fmt::format("{} h", hours);
  if (minutes > 0)
    return rest > 0 && minutes < 10 ? fmt::format("{} min {} s", minutes, rest)
                                    : fmt::format("{} min", minutes);
  return fmt::format("{} s", rest);
}

std::string format_days(Duration duration) {
  const int64_t all = duration.ns > 0 ? duration.ns / 1'000'000'000 : 0;
  constexpr int64_t kYears = 20;
  if (all >= kYears * 365 * 86400) return fmt::format("more than {} years", kYears);
  if (all >= 2 * 86400) return fmt::format("{} days", all / 86400);
  if (all >= 2 * 3600) return fmt::format("{} h", all / 3600);
  return fmt::format("{} min", all / 60);
}

std::string format_counted(uint64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", format_count(count), count == 1 ? one : many);
}

}  // namespace hf::holdfast
