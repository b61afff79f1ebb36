// How often something is done by each of many, bounded by the second: by an address, of connections and handshakes.
//
// Invariant: no more than kKeysMax keys. Who finds no room is not bounded here: with so many addresses within a second one more is
// no gain, and nobody is kept out by the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace hf::identity {

class Rate {
 public:
  static constexpr size_t kKeysMax = 4096;

  // So many at once, and then so many a second.
  explicit Rate(uint32_t per_second) : interval_{seconds(1).ns / per_second} {}

  // Whether one more of `key` is within the rate; if so it is counted.
  bool take(const std::string& key, Instant now);

 private:
  const Duration interval_;
  std::map<std::string, Instant, std::less<>>
      spent_until_;  // Behind now by all that was taken and has not come back.
  Instant swept_;
};

}  // namespace hf::identity
