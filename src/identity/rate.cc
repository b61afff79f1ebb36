#include "identity/rate.h"

#include <algorithm>

namespace hf::identity {

bool Rate::take(const std::string& key, Instant now) {
  auto found = spent_until_.find(key);
  if (found == spent_until_.end()) {
    // Once in a while: else a flood of addresses would have all of them looked at for each.
    if (spent_until_.size() >= kKeysMax && swept_ + interval_ <= now) {
      swept_ = now;
      std::erase_if(spent_until_, [&](const auto& entry) { return entry.second <= now; });
    }
    if (spent_until_.size() >= kKeysMax) return true;
    found = spent_until_.emplace(key, now).first;
  }
  const Instant next = std::max(found->second, now) + interval_;
  if (next > now + seconds(1)) return false;
  found->second = next;
  return true;
}

}  // namespace hf::identity
