// What is wrong with a file, one sentence each, with the file's name and line in front:
//     holdfast.toml:7: unknown key `lisen`; did you mean `listen`?
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace hf::holdfast {

using Mistakes = std::vector<std::string>;

// Where keys stand in the file, for mistakes that are found later.
using Lines = std::map<std::string, uint32_t, std::less<>>;

// All of them, a line each.
inline std::string joined_lines(const Mistakes& mistakes) {
  std::string text;
  for (const std::string& mistake : mistakes) text += (text.empty() ? "" : "\n") + mistake;
  return text;
}

}  // namespace hf::holdfast
