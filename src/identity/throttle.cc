#include "identity/throttle.h"

#include <algorithm>

namespace hf::identity {

std::optional<Instant> Throttle::waits(Bytes key, Instant now) const {
  const auto found = accounts_.find(key);
  const bool shares = found == accounts_.end() && accounts_.size() >= kKeysMax;
  if (found == accounts_.end() && !shares) return std::nullopt;
  const Instant until = shares ? others_.until : found->second.until;
  if (until <= now) return std::nullopt;
  return until;
}

bool Throttle::remembers(Bytes key, Instant now) const {
  const auto found = accounts_.find(key);
  return found != accounts_.end() && now <= found->second.until + most_;
}

bool Throttle::early(Bytes key, Instant now) {
  const auto found = accounts_.find(key);
  Account& account = found == accounts_.end() ? others_ : found->second;
  if (account.early > now) return false;
  account.early = now + kEarlyEvery;
  return true;
}

void Throttle::failed(const std::string& key, Instant now) {
  if (accounts_.size() >= kKeysMax) {
    // Only those that would begin anew: the others still count.
    std::erase_if(accounts_, [&](const auto& entry) { return now > entry.second.until + most_; });
  }
  const bool shares = accounts_.size() >= kKeysMax && !accounts_.contains(key);
  Account& account = shares ? others_ : accounts_[key];
  if (account.failures > 0 && now > account.until + most_) account.failures = 0;
  ++account.failures;
  account.until = now;
  if (account.failures <= kFreeFailures) return;
  const uint32_t doublings = std::min<uint32_t>(account.failures - kFreeFailures - 1, 20);
  account.until = now + std::min(most_, milliseconds(int64_t{1000} << doublings));
}

}  // namespace hf::identity
