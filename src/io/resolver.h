// Looks names up on a thread of its own, because the system's resolver blocks for as long as a name server is
// silent: a dead link is exactly when the core must go on.
//
// One question at a time; a newer one replaces one that was not begun. The thread cannot be interrupted, so
// it is never waited for: it owns what it touches together with this object, and ends after the answer it is
// busy with. give_up() leaves it to that, at most kLeftMax of them at a time.
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

  static constexpr long kLeftMax = 4;

  void ask(uint64_t serial, const std::string& host, uint16_t port);
  // What is being looked up is not wanted any more: the next question need not wait for it, and its answer is not told.
  void give_up();
  bool has_answer() const;
  std::optional<Resolution> take_answer();

 private:
  struct Shared;
  void start();
  void stop();
  static void serve(const std::shared_ptr<Shared>& shared);

  const std::shared_ptr<Wakeup> wakeup_;
  const std::shared_ptr<int> threads_ =
      std::make_shared<int>();  // Each thread holds it: its use count counts them.
  std::shared_ptr<Shared> shared_;
};

}  // namespace hf::io
