// Looks names up on a thread of its own, because the system's resolver blocks for as long as a name server is
// silent: a dead link is exactly when the core must go on.
//
// One question at a time; a newer one replaces one that was not begun. The thread cannot be interrupted, so
// it is never waited for: it owns what it touches together with this object, and ends after the answer it is
// busy with.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/address.h"
#include "io/wakeup.h"

namespace hf::io {

struct Resolution {
  uint64_t serial = 0;
  std::vector<SocketAddress> addresses;
  std::string error;  // When there are none.
};

class Resolver {
 public:
  explicit Resolver(std::shared_ptr<Wakeup> wakeup);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void ask(uint64_t serial, const std::string& host, uint16_t port);
  bool has_answer() const;
  std::optional<Resolution> take_answer();

 private:
  struct Shared;
  static void serve(const std::shared_ptr<Shared>& shared);
  std::shared_ptr<Shared> shared_;
};

}  // namespace hf::io
