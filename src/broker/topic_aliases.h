// Topic aliases of a connection (MQTT 5.0, section 3.3.2.3.4): numbers that stand for topic names, each side its own.
//
// Invariant: neither side holds more names than were agreed on in CONNECT and CONNACK. Each that we promise may cost us 64 KiB.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hf::broker {

// Names that the client has given numbers to.
class InboundAliases {
 public:
  enum class Outcome : uint8_t { kOk, kOutOfRange, kUnmapped };

  // The topic of a PUBLISH with `alias`: *topic is remembered, or if it is empty, filled in (until the next call).
  // kOutOfRange: over `maximum` [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-9]; kUnmapped: it stands for nothing (3.3.4). All
  // others are taken [MQTT-3.3.2-12].
  Outcome resolve(uint16_t alias, uint16_t maximum, Bytes* topic) {
    if (alias == 0 || alias > maximum) return Outcome::kOutOfRange;
    if (topic->empty()) {
      if (alias > topics_.size() || topics_[alias - 1u].empty()) return Outcome::kUnmapped;
      *topic = topics_[alias - 1u];
      return Outcome::kOk;
    }
    if (topics_.size() < alias) topics_.resize(alias);
    topics_[alias - 1u].assign(*topic);
    return Outcome::kOk;
  }

 private:
  std::vector<std::string> topics_;  // By alias, from 1.
};

// Names that we have given numbers to: the first ones that were sent. Those that come when all numbers are given are sent as
// they are, so that a change of topics costs no more than having no aliases.
class OutboundAliases {
 public:
  void set_maximum(uint16_t maximum) { maximum_ = maximum; }
  bool enabled() const { return maximum_ > 0; }

  // 0: it has none.
  uint16_t find(Bytes topic) const {
    const auto found = aliases_.find(topic);
    return found == aliases_.end() ? uint16_t{0} : found->second;
  }
  // The number that add() would give it; 0: none is left, or it is not worth one.
  uint16_t next(Bytes topic) const {
    const bool room = aliases_.size() < maximum_ && aliases_.size() < kCountMax;
    if (!room || topic.size() < kTopicBytesMin || bytes_ + topic.size() > kBytesMax) return 0;
    return static_cast<uint16_t>(aliases_.size() + 1);
  }
  // next() was not 0 [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]. `waits`: the PUBLISH that says so has not left yet.
  void add(Bytes topic, bool waits) {
    bytes_ += topic.size();
    const auto alias = static_cast<uint16_t>(aliases_.size() + 1);
    aliases_.emplace(topic, alias);
    if (waits) waiting_.insert(alias);
  }
  // Whether only what waits behind that PUBLISH may use it.
  bool waits(uint16_t alias) const { return waiting_.contains(alias); }
  void all_left() { waiting_.clear(); }

 private:
  static constexpr size_t kTopicBytesMin = 4;  // The property itself takes three bytes.
  static constexpr size_t kCountMax = 256;
  static constexpr size_t kBytesMax = 64 << 10;

  std::map<std::string, uint16_t, std::less<>> aliases_;
  std::set<uint16_t> waiting_;
  size_t bytes_ = 0;
  uint16_t maximum_ = 0;
};

}  // namespace hf::broker
