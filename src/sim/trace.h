// What happened in a world, twice: as a hash over everything, so that two runs of a seed can be compared in one number, and
// as a story of the last things worth telling, so that a failure can be read.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace hf::sim {

class Trace {
 public:
  Trace() { current_ = this; }
  ~Trace() {
    if (current_ == this) current_ = nullptr;
  }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  // The world that was made last, for who has to tell its story when an assertion fails in it.
  static const Trace* current() { return current_; }

  // Every event and effect goes in here: what it was, and its numbers and bytes.
  void mix(uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3 + (hash_ >> 47); }
  void mix(Bytes bytes);

  // A line of the story (and of the hash). printf's format.
  void say(const char* format, ...) __attribute__((format(printf, 2, 3)));
  void set_now(Instant now) { now_ = now; }
  // Lines appear on standard error as they are told.
  void set_aloud(bool aloud) { aloud_ = aloud; }

  uint64_t hash() const { return hash_; }
  const std::deque<std::string>& story() const { return story_; }

 private:
  static constexpr size_t kLinesMax = 400;
  static inline const Trace* current_ = nullptr;
  uint64_t hash_ = 0xcbf29ce484222325;
  Instant now_;
  bool aloud_ = false;
  std::deque<std::string> story_;
};

}  // namespace hf::sim
