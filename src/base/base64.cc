#include "base/base64.h"

#include <cstdint>

namespace hf {

namespace {

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The six bits of a digit, or -1. Arithmetic and no table, so that the bytes of a secret choose no cache line.
int digit_value(char c) {
  const auto within = [c](char first, char last) { return c >= first && c <= last; };
  if (within('A', 'Z')) return c - 'A';
  if (within('a', 'z')) return c - 'a' + 26;
  if (within('0', '9')) return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

}  // namespace

std::string to_base64(Bytes bytes, Base64Padding padding) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  uint32_t bits = 0;
  int count = 0;  // Of bits that are not written yet.
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<uint8_t>(c);
    count += 8;
    while (count >= 6) {
      count -= 6;
      out += kDigits[bits >> count & 63];
    }
  }
  if (count > 0) out += kDigits[bits << (6 - count) & 63];
  while (padding == Base64Padding::kFull && out.size() % 4 != 0) out += '=';
  return out;
}

std::optional<std::string> from_base64(Bytes text, Base64Padding padding) {
  if (padding == Base64Padding::kFull) {
    if (text.size() % 4 != 0) return std::nullopt;
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = digit_value(c);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 255);
  }
  if ((bits & ((1u << count) - 1)) != 0) return std::nullopt;  // RFC 4648, section 3.5.
  return out;
}

}  // namespace hf
