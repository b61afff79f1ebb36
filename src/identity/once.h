// Lets each key do something once in a while: so that many keys together may do it often, but no one of them.
//
// Invariant: no more than kKeysMax keys are remembered; then the oldest is forgotten, so that filling the table keeps nobody out.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/time.h"

namespace hf::identity {

class Once {
 public:
  static constexpr size_t kKeysMax = 4096;

  explicit Once(Duration period) : period_(period) {}

  bool may(Bytes key, Instant now) const;
  // It does: that was it, for the period.
  void take(const std::string& key, Instant now);
  // It may again at once.
  void give_back(Bytes key);

 private:
  const Duration period_;
  std::map<std::string, Instant, std::less<>> taken_;  // When.
  std::deque<std::pair<Instant, std::string>>
      by_time_;  // The same, oldest first, and some that were given back.
};

}  // namespace hf::identity
