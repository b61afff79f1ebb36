#include "mqtt/topic.h"

#include <cstdint>
#include <cstring>

namespace hf::mqtt {

namespace {

// Whether `text` starts with eight bytes of which none is zero or has its top bit set.
bool starts_plain(Bytes text) {
  uint64_t word;
  if (text.size() < sizeof word) return false;
  std::memcpy(&word, text.data(), sizeof word);
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kTops = 0x8080808080808080;
  // word - kOnes borrows into the top bit of the lowest zero byte; other bytes may only be blamed along with
  // it.
  return ((word | (word - kOnes)) & kTops) == 0;
}

// The size of the well-formed sequence of two to four bytes at the front of `text`, 0 if there is none: table
// 3-7 of the Unicode Standard, which leaves out overlong forms, surrogates and everything above U+10FFFF.
size_t sequence_size(Bytes text) {
  const auto byte = [text](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto tail = [&byte](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint8_t first = byte(0);
  const uint8_t second = byte(1);
  if (first < 0xc2 || first > 0xf4 || !tail(1)) return 0;
  if (first < 0xe0) return 2;
  if (first < 0xf0) {
    if (first == 0xe0 && second < 0xa0) return 0;
    if (first == 0xed && second > 0x9f) return 0;  // U+D800 to U+DFFF.
    return tail(2) ? 3 : 0;
  }
  if (first == 0xf0 && second < 0x90) return 0;
  if (first == 0xf4 && second > 0x8f) return 0;
  return tail(2) && tail(3) ? 4 : 0;
}

}  // namespace

bool utf8_valid(Bytes text) {
  while (!text.empty()) {
    if (starts_plain(text)) {
      text.remove_prefix(8);
      continue;
    }
    const auto byte = static_cast<uint8_t>(text.front());
    if (byte == 0) return false;  // [MQTT-1.5.4-2]
    const size_t size = byte < 0x80 ? 1 : sequence_size(text);
    if (size == 0) return false;  // [MQTT-1.5.4-1]
    text.remove_prefix(size);
  }
  return true;
}

bool topic_name_valid(Bytes name) {
  if (name.empty()) return false;                  // [MQTT-4.7.3-1]
  if (name.size() > kTopicBytesMax) return false;  // [MQTT-4.7.3-3]
  size_t level_count = 1;
  bool wildcard = false;
  for (const char c : name) {
    level_count += c == '/';
    wildcard |= (c == '+') | (c == '#');
  }
  return !wildcard && level_count <= kTopicLevelsMax && utf8_valid(name);  // [MQTT-4.7.0-1] [MQTT-4.7.3-2]
}

bool topic_filter_valid(Bytes filter) {
  if (filter.size() > kTopicBytesMax || !utf8_valid(filter)) return false;
  SharedFilter shared;
  if (!parse_shared(filter, &shared) || shared.filter.empty()) return false;
  size_t level_count = 0;
  for (TopicLevels levels(shared.filter); !levels.done();) {
    const Bytes level = levels.next();
    if (++level_count > kTopicLevelsMax) return false;
    if (level.find_first_of("+#") == Bytes::npos) continue;
    if (level.size() != 1) return false;               // [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    if (level == "#" && !levels.done()) return false;  // [MQTT-4.7.1-1]
  }
  return true;
}

bool parse_shared(Bytes filter, SharedFilter* shared) {
  *shared = {};
  shared->filter = filter;
  constexpr Bytes kPrefix = "$share/";
  if (!filter.starts_with(kPrefix)) return true;

  const Bytes rest = filter.substr(kPrefix.size());
  const size_t slash = rest.find('/');
  if (slash == Bytes::npos) return false;  // [MQTT-4.8.2-2]
  const Bytes group = rest.substr(0, slash);
  if (group.empty()) return false;                             // [MQTT-4.8.2-1]
  if (group.find_first_of("+#") != Bytes::npos) return false;  // [MQTT-4.8.2-2]
  const Bytes inner = rest.substr(slash + 1);
  if (inner.empty()) return false;
  *shared = {.group = group, .filter = inner};
  return true;
}

bool topic_matches(Bytes filter, Bytes name) {
  // [MQTT-4.7.2-1]
  if (name.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'))) return false;
  TopicLevels wanted(filter);
  TopicLevels given(name);
  while (!wanted.done()) {
    const Bytes level = wanted.next();
    if (level == "#") return true;  // Also of the level above: "sport/#" matches "sport".
    if (given.done()) return false;
    const Bytes name_level = given.next();
    if (level != "+" && level != name_level) return false;  // [MQTT-4.7.3-4]
  }
  return given.done();
}

}  // namespace hf::mqtt
