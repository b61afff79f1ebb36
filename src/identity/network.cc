#include "identity/network.h"

#include <array>
#include <cstdint>
#include <optional>

namespace hf::identity {

namespace {

using Groups = std::array<uint16_t, 8>;

std::optional<uint32_t> parse_v4(Bytes text) {
  uint32_t address = 0;
  for (int i = 0; i < 4; ++i) {
    const size_t dot = text.find('.');
    const Bytes part = text.substr(0, dot);
    if (part.empty() || part.size() > 3 || (i < 3) != (dot != Bytes::npos)) return std::nullopt;
    uint32_t value = 0;
    for (const char c : part) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + static_cast<uint32_t>(c - '0');
    }
    if (value > 255) return std::nullopt;
    address = address << 8 | value;
    text.remove_prefix(dot == Bytes::npos ? text.size() : dot + 1);
  }
  return address;
}

std::optional<uint16_t> parse_group(Bytes text) {
  if (text.empty() || text.size() > 4) return std::nullopt;
  uint16_t value = 0;
  for (const char c : text) {
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    if (digit < 0) return std::nullopt;
    value = static_cast<uint16_t>(value << 4 | digit);
  }
  return value;
}

// Groups with ':' between them, the last two perhaps as an address of IPv4. The number of groups; nothing if it is not that.
std::optional<size_t> parse_groups(Bytes text, Groups* groups, size_t at) {
  const size_t first = at;
  while (!text.empty()) {
    const size_t colon = text.find(':');
    const Bytes part = text.substr(0, colon);
    if (colon == Bytes::npos && part.find('.') != Bytes::npos) {
      const auto v4 = parse_v4(part);
      if (!v4 || at + 2 > groups->size()) return std::nullopt;
      (*groups)[at++] = static_cast<uint16_t>(*v4 >> 16);
      (*groups)[at++] = static_cast<uint16_t>(*v4);
      break;
    }
    const auto group = parse_group(part);
    if (!group || at == groups->size()) return std::nullopt;
    (*groups)[at++] = *group;
    if (colon == Bytes::npos) break;
    text.remove_prefix(colon + 1);
    if (text.empty()) return std::nullopt;
  }
  return at - first;
}

std::optional<Groups> parse_v6(Bytes text) {
  Groups groups{};
  const size_t gap = text.find("::");
  const Bytes front = text.substr(0, gap);
  const auto before = parse_groups(front, &groups, 0);
  if (!before) return std::nullopt;
  if (gap == Bytes::npos) return *before == groups.size() ? std::optional(groups) : std::nullopt;
  Groups behind{};
  const auto after = parse_groups(text.substr(gap + 2), &behind, 0);
  if (!after || *before + *after >= groups.size()) return std::nullopt;
  for (size_t i = 0; i < *after; ++i) groups[groups.size() - *after + i] = behind[i];
  return groups;
}

std::string hexadecimal(uint16_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (int shift = 12; shift >= 0; shift -= 4) {
    const int digit = value >> shift & 15;
    if (digit != 0 || !text.empty() || shift == 0) text += kDigits[digit];
  }
  return text;
}

}  // namespace

std::string network_of(Bytes address) {
  Bytes text = address;
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
  text = text.substr(0, text.find('%'));  // "fe80::1%eth0"
  const auto groups = text.find(':') != Bytes::npos ? parse_v6(text) : std::nullopt;
  if (!groups) return std::string(address);
  const Groups& all = *groups;
  if (all[0] == 0 && all[1] == 0 && all[2] == 0 && all[3] == 0 && all[4] == 0 && all[5] == 0xffff) {
    std::string v4;
    for (const int byte : {all[6] >> 8, all[6] & 255, all[7] >> 8, all[7] & 255})
      v4 += (v4.empty() ? "" : ".") + std::to_string(byte);
    return v4;
  }
  std::string network;
  for (size_t i = 0; i < 4; ++i) network += hexadecimal(all[i]) + ":";
  return network + ":/64";
}

}  // namespace hf::identity
