// Makes the one connection that the core asks for: looks the name up, tries the addresses in their order, each for its
// share of the time. When the network changes meanwhile it begins again, once: what was asked and said in the old network may
// never be answered.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "io/address.h"
#include "io/file_descriptor.h"
#include "io/resolver.h"
#include "node/node.h"

namespace hf::io {

class Dialer {
 public:
  // While a socket waits for its answer it is in `epoll` for EPOLLOUT, with `tag`.
  Dialer(int epoll, uint64_t tag, std::shared_ptr<Wakeup> wakeup)
      : epoll_(epoll), tag_(tag), resolver_(std::move(wakeup)) {}

  struct Outcome {
    FileDescriptor socket;  // Connected; or not valid, and why.
    std::string error;
    std::string host;  // Whom it was for.
  };

  // In the place of one that is still out.
  void start(const node::Dial& dial, Instant now, Duration timeout);
  void network_changed(Instant now, Duration timeout);
  // The socket has an answer for us.
  void answered(Instant now);
  bool has_answer() const { return resolver_.has_answer(); }
  // The name may have been found.
  void collect(Instant now);
  std::optional<Instant> deadline() const;
  void expire(Instant now);
  // Nothing is out, so none of the above has anything to do.
  bool idle() const { return dialing_ == nullptr && !outcome_; }
  // Look after each of the above.
  std::optional<Outcome> take_outcome() { return std::exchange(outcome_, std::nullopt); }

 private:
  struct Dialing {
    uint64_t serial = 0;
    std::string host;
    uint16_t port = 0;
    std::vector<SocketAddress> addresses;
    size_t next = 0;  // Index of the address to try next.
    FileDescriptor socket;
    Instant deadline;
    bool begun_again = false;
    Instant attempt_deadline;
    std::string last_error;
  };
  void next(Instant now);
  void stands();
  void failed(std::string error);

  const int epoll_;
  const uint64_t tag_;
  Resolver resolver_;
  std::unique_ptr<Dialing> dialing_;  // The one that is out.
  uint64_t serial_ = 0;
  std::optional<Outcome> outcome_;
};

}  // namespace hf::io
