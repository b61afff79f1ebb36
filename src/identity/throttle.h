// Slows down those who guess: passwords, proofs and tokens, by whatever they are counted by (an address, a name).
//
// A few failures are free; then each doubles the time in which nothing is tried, up to `most`, and never for ever: who has been
// quiet for that long beyond it begins anew.
//
// Where strangers' failures count too (a name), who is meant must not be kept out by them: early() lets one try a second through
// while the key waits, for those whom the caller has a reason to trust a little more.
//
// Invariant: no more than kKeysMax keys and one account that all further ones share, so that filling the table opens nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace hf::identity {

class Throttle {
 public:
  static constexpr uint32_t kFreeFailures = 3;
  static constexpr size_t kKeysMax = 4096;
  static constexpr Duration kEarlyEvery = seconds(1);

  explicit Throttle(Duration most) : most_(most) {}

  // Until when nothing of `key` is to be tried; nothing: it may try.
  std::optional<Instant> waits(Bytes key, Instant now) const;
  // Whether it has failed and not been quiet since for long enough to begin anew.
  bool remembers(Bytes key, Instant now) const;
  void failed(const std::string& key, Instant now);
  // Of a key that waits: whether one more may try nevertheless; then that was the one.
  bool early(Bytes key, Instant now);
  void succeeded(const std::string& key) { accounts_.erase(key); }

 private:
  struct Account {
    uint32_t failures = 0;
    Instant until;
    Instant early;  // Since when one more may.
  };

  const Duration most_;
  std::map<std::string, Account, std::less<>> accounts_;
  Account others_;  // Of keys that found no room.
};

}  // namespace hf::identity
