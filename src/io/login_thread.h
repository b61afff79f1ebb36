// Checks passwords, one after another, away from the core thread: each costs tens of milliseconds and 19 MiB on purpose.
// What has been checked is collected by the core thread, which is woken if it sleeps.
//
// The queue is bounded by who fills it (node::Logins).
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "io/wakeup.h"
#include "node/node.h"

namespace hf::io {

class LoginThread {
 public:
  // `wakeup` outlives this object. The thread starts with the first password: most nodes are asked rarely.
  explicit LoginThread(Wakeup& wakeup) : wakeup_(wakeup) {}
  // Waits for the check that runs; those that wait are dropped.
  ~LoginThread();
  LoginThread(const LoginThread&) = delete;
  LoginThread& operator=(const LoginThread&) = delete;

  // What follows is for the core thread.
  void submit(std::unique_ptr<node::LoginWork> work);
  bool has_done() const { return done_count_.load(std::memory_order_seq_cst) != 0; }
  // Appends what has finished to *done.
  void take_done(std::vector<std::unique_ptr<node::LoginWork>>* done);

 private:
  void serve();

  Wakeup& wakeup_;
  std::mutex mutex_;  // Guards what follows, but for the count.
  std::condition_variable work_;
  std::deque<std::unique_ptr<node::LoginWork>> queue_;
  std::vector<std::unique_ptr<node::LoginWork>> done_;
  bool stopping_ = false;
  std::atomic<size_t> done_count_{0};
  std::thread thread_;
};

}  // namespace hf::io
