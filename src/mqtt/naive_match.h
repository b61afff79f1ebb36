// For tests: matching as section 4.7 tells it, slow and plainly right, and random topics of few letters,
// which match often.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/prng.h"

namespace hf::mqtt {

inline std::vector<std::string> split_levels(Bytes topic) {
  std::vector<std::string> levels(1);
  for (const char c : topic) {
    if (c == '/') {
      levels.emplace_back();
    } else {
      levels.back() += c;
    }
  }
  return levels;
}

inline bool naive_match(Bytes filter, Bytes name) {
  const std::vector<std::string> wanted = split_levels(filter);
  const std::vector<std::string> given = split_levels(name);
  if (given[0].starts_with('$') && (wanted[0] == "+" || wanted[0] == "#")) return false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == "#") return given.size() >= i;  // The parent level counts.
    if (i >= given.size()) return false;
    if (wanted[i] != "+" && wanted[i] != given[i]) return false;
  }
  return wanted.size() == given.size();
}

inline std::string random_level(Prng& prng) {
  static constexpr const char* kLevels[] = {"a", "b", "c", "", "$s"};
  return kLevels[prng.below(5)];
}

inline std::string random_name(Prng& prng, uint64_t levels_max) {
  std::string name = random_level(prng);
  for (uint64_t i = prng.below(levels_max); i > 0; --i) name += "/" + random_level(prng);
  return name.empty() ? "a" : name;
}

inline std::string random_filter(Prng& prng, uint64_t levels_max) {
  const auto level = [&prng] { return prng.chance(1, 3) ? "+" : random_level(prng); };
  if (prng.chance(1, 20)) return "#";
  std::string filter = level();
  for (uint64_t i = prng.below(levels_max); i > 0; --i) filter += "/" + level();
  if (prng.chance(1, 4)) filter += "/#";
  return filter.empty() ? "+" : filter;
}

}  // namespace hf::mqtt
