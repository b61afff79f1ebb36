// A thread for work that would hold the core thread up: shaking hands (io/handshake.h), checking passwords (node::LoginWork).
//
// The core thread hands a piece of work over, the thread calls run() on it, one after another, and the core thread, woken if it
// sleeps, takes it back. Meanwhile the piece is the thread's alone, so nothing is locked but the queue. How long the queue
// may get is the affair of who fills it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "io/wakeup.h"

namespace hf::io {

template <typename Work>
class WorkThread {
 public:
  // `wakeup` outlives this object, `name` is a literal of at most 15 characters. The thread starts with the first piece: most
  // nodes need few of them.
  WorkThread(Wakeup& wakeup, const char* name) : wakeup_(wakeup), name_(name) {}
  // Waits for the piece that runs; those that wait are dropped.
  ~WorkThread() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_one();
    thread_.join();
  }
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  // What follows is for the core thread.

  void submit(std::unique_ptr<Work> work) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
    }
    if (!thread_.joinable()) {
      thread_ = std::thread([this] { serve(); });
      ::pthread_setname_np(thread_.native_handle(), name_);
    }
    work_.notify_one();
  }
  bool has_done() const { return done_count_.load(std::memory_order_seq_cst) != 0; }
  // What has finished since the last call.
  std::vector<std::unique_ptr<Work>> take_done() {
    const std::lock_guard lock(mutex_);
    done_count_.store(0, std::memory_order_seq_cst);
    return std::exchange(done_, {});
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      std::unique_ptr<Work> work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      run_or_abort(*work);
      lock.lock();
      done_.push_back(std::move(work));
      done_count_.store(done_.size(), std::memory_order_seq_cst);
      lock.unlock();
      wakeup_.notify();
      lock.lock();
    }
  }

  // Our own code throws nothing; a library may (out of memory). Somebody would wait for ever for a piece that never came back,
  // and a process that ends is recovered from.
  void run_or_abort(Work& work) {
    try {
      work.run();
    } catch (const std::exception& thrown) {
      std::fprintf(stderr, "holdfast: the thread %s threw: %s\n", name_, thrown.what());
      std::abort();
    }
  }

  Wakeup& wakeup_;
  const char* const name_;
  std::mutex mutex_;  // Guards what follows, but for the count.
  std::condition_variable work_;
  std::deque<std::unique_ptr<Work>> queue_;
  std::vector<std::unique_ptr<Work>> done_;
  bool stopping_ = false;
  std::atomic<size_t> done_count_{0};
  std::thread thread_;
};

}  // namespace hf::io
