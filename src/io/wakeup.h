// Wakes the event loop from another thread, and only if it sleeps: a system call for each finished disk job
// would cost more than the job's hand-over.
//
// The loop:      about_to_sleep(), look at all queues once more, sleep on descriptor() if they are empty,
// awake(). Other threads: put something into a queue, announce that in a sequentially consistent atomic,
// notify().
//
// Both sides write one atomic and then read the other's, all sequentially consistent, so at least one of them
// sees the other: either the loop finds the queue not empty, or the thread finds the loop sleeping (Dekker's
// argument).
#pragma once

#include <atomic>

#include "io/file_descriptor.h"

namespace hf::io {

class Wakeup {
 public:
  Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  int descriptor() const { return event_.get(); }  // Readable after notify().
  void about_to_sleep() { sleeping_.store(true, std::memory_order_seq_cst); }
  void awake() { sleeping_.store(false, std::memory_order_relaxed); }
  void drain();  // Makes descriptor() unreadable again.
  void notify();

 private:
  FileDescriptor event_;
  std::atomic<bool> sleeping_{false};
};

}  // namespace hf::io
