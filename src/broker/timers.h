// The broker's deadlines in one ordered set. Each owner has at most one of each kind and keeps when it is
// due, so that a client that comes and goes leaves nothing behind.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <set>

#include "base/time.h"

namespace hf::broker {

struct Timer {
  enum class Kind : uint8_t {
    kConnection,  // CONNECT or the next sign of life is due; `id` is the connection.
    kWill,        // The will delay ends; `id` is the session's number, like below.
    kSession,     // The session expires.
    kRetained,    // Retained messages for which there was no space are tried again.
    kSys,         // Status topics; `id` is 0, like below.
    kWills,       // Wills for which there was no space are tried again.
    kOwed,        // What the session is owed, and is away for, may have expired.
    kLease,       // The session has been away for so long that its leases at QoS 1 go to others.
  };
  Instant at;
  Kind kind = Kind::kConnection;
  uint64_t id = 0;
  friend auto operator<=>(const Timer&, const Timer&) = default;
};

class Timers {
 public:
  // `armed` belongs to the owner and says when its timer is due, if it is.
  void arm(Timer::Kind kind, uint64_t id, Instant at, std::optional<Instant>* armed) {
    disarm(kind, id, armed);
    timers_.insert({at, kind, id});
    *armed = at;
  }
  void disarm(Timer::Kind kind, uint64_t id, std::optional<Instant>* armed) {
    if (!*armed) return;
    timers_.erase({**armed, kind, id});
    armed->reset();
  }
  // Removes the first that is due; its owner then resets its `armed`.
  std::optional<Timer> take_due(Instant now) {
    if (timers_.empty() || timers_.begin()->at > now) return std::nullopt;
    const Timer timer = *timers_.begin();
    timers_.erase(timers_.begin());
    return timer;
  }
  std::optional<Instant> next() const {
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->at;
  }

 private:
  std::set<Timer> timers_;
};

}  // namespace hf::broker
