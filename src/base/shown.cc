#include "base/shown.h"

#include "base/assert.h"

namespace hf {

namespace {

constexpr Bytes kEllipsis = "…";

}  // namespace

std::string cut_text(Bytes text, size_t bytes_max) {
  HF_ASSERT(bytes_max >= kEllipsis.size());
  if (text.size() <= bytes_max) return std::string(text);
  size_t kept = bytes_max - kEllipsis.size();
  // Back to where a character of UTF-8 begins. What is no UTF-8 may be cut anywhere.
  for (int i = 0; i < 3 && kept > 0 && (text[kept] & 0xc0) == 0x80; ++i) --kept;
  return std::string(text.substr(0, kept)).append(kEllipsis);
}

std::string quoted_name(Bytes name) { return "'" + cut_text(name, kNameShownBytesMax) + "'"; }

}  // namespace hf
