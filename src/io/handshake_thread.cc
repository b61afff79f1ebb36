#include "io/handshake_thread.h"

#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

namespace hf::io {

namespace {

// Our own code throws nothing; a library may (out of memory). A connection whose chain never came back would stay for ever,
// and a process that ends is recovered from.
void run_or_abort(Handshake& handshake) {
  try {
    handshake.chain->receive(handshake.received, &handshake.core, &handshake.reply);
    release_memory(handshake.received);
  } catch (const std::exception& thrown) {
    std::fprintf(stderr, "holdfast: a handshake threw: %s\n", thrown.what());
    std::abort();
  }
}

}  // namespace

HandshakeThread::~HandshakeThread() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void HandshakeThread::submit(Handshake handshake) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(handshake));
  }
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { serve(); });
    ::pthread_setname_np(thread_.native_handle(), "hf-handshake");
  }
  work_.notify_one();
}

void HandshakeThread::take_done(std::vector<Handshake>* done) {
  if (!has_done()) return;
  std::lock_guard lock(mutex_);
  for (Handshake& handshake : done_) done->push_back(std::move(handshake));
  done_.clear();
  done_count_.store(0, std::memory_order_seq_cst);
}

void HandshakeThread::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    while (queue_.empty() && !stopping_) work_.wait(lock);
    if (stopping_) return;
    Handshake handshake = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();

    run_or_abort(handshake);

    lock.lock();
    done_.push_back(std::move(handshake));
    done_count_.store(done_.size(), std::memory_order_seq_cst);
    lock.unlock();
    wakeup_->notify();
    lock.lock();
  }
}

}  // namespace hf::io
