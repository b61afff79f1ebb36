#include "identity/once.h"

namespace hf::identity {

bool Once::may(Bytes key, Instant now) const {
  const auto found = taken_.find(key);
  return found == taken_.end() || found->second + period_ <= now;
}

void Once::take(const std::string& key, Instant now) {
  while (!by_time_.empty() && (by_time_.front().first + period_ <= now || by_time_.size() >= kKeysMax)) {
    const auto found = taken_.find(by_time_.front().second);
    if (found != taken_.end() && found->second == by_time_.front().first) taken_.erase(found);
    by_time_.pop_front();
  }
  taken_[key] = now;
  by_time_.emplace_back(now, key);
}

void Once::give_back(Bytes key) {
  if (const auto found = taken_.find(key); found != taken_.end()) taken_.erase(found);
}

}  // namespace hf::identity
