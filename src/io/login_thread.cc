#include "io/login_thread.h"

#include <pthread.h>

#include <utility>

namespace hf::io {

LoginThread::~LoginThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void LoginThread::submit(std::unique_ptr<node::LoginWork> work) {
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { serve(); });
    ::pthread_setname_np(thread_.native_handle(), "logins");
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  work_.notify_one();
}

void LoginThread::take_done(std::vector<std::unique_ptr<node::LoginWork>>* done) {
  const std::lock_guard lock(mutex_);
  for (auto& work : done_) done->push_back(std::move(work));
  done_.clear();
  done_count_.store(0, std::memory_order_seq_cst);
}

void LoginThread::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    std::unique_ptr<node::LoginWork> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work->run();
    lock.lock();
    done_.push_back(std::move(work));
    done_count_.store(done_.size(), std::memory_order_seq_cst);
    wakeup_.notify();
  }
}

}  // namespace hf::io
