// How often an address may begin a handshake of TLS. A signature costs a millisecond and more, on one thread for all, so whoever has
// failed of late, and everybody while the door is full or the core is wary, gets so many a second; who is well behaved notices
// nothing. (How many go on at once is bounded elsewhere: EventLoopOptions::openings_max.)
//
// An address of IPv6 counts as its network: identity/network.h.
#pragma once

#include <string>

#include "identity/once.h"
#include "identity/rate.h"

namespace hf::io {

class HandshakeLimits {
 public:
  static constexpr uint32_t kPerSecond = 10;
  static constexpr Duration kRemembered = seconds(60);

  // One from there ended without standing.
  void failed(const std::string& network, Instant now) {
    if (failed_.may(network, now)) failed_.take(network, now);
  }
  // Whether one more from there may begin. `wary`: whatever else there is to bound it.
  bool admit(const std::string& network, bool wary, Instant now) {
    return (!wary && failed_.may(network, now)) || rate_.take(network, now);
  }

 private:
  identity::Once failed_{kRemembered};
  identity::Rate rate_{kPerSecond};
};

}  // namespace hf::io
