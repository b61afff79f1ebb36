// Runs the store's jobs: one thread for each lane, so that a read never waits behind a commit. Jobs of a lane
// run in the order they were submitted; their outcomes are collected by the core thread, which is woken if it
// sleeps.
//
// Queues: submit() never refuses, because a job the store has handed out must run; congested() says when the
// disk is so far behind that the caller should read no more from its sockets, which is where all jobs come
// from.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/histogram.h"
#include "base/prng.h"
#include "base/time.h"
#include "io/wakeup.h"
#include "store/job.h"

namespace hf::io {

class StorageThreads {
 public:
  static constexpr size_t kLaneCount = 3;
  static constexpr size_t kQueueMax = 64;  // Of one lane; see congested().

  // `disks[lane]` is used by that lane's thread alone. `entropy` and `wakeup` outlive this object.
  StorageThreads(std::array<std::unique_ptr<store::Disk>, kLaneCount> disks, Entropy& entropy,
                 Wakeup& wakeup);
  // Waits for the jobs that run; those that wait are dropped, as if the process had been killed then.
  ~StorageThreads();
  StorageThreads(const StorageThreads&) = delete;
  StorageThreads& operator=(const StorageThreads&) = delete;

  // What follows is for the core thread.

  void submit(std::unique_ptr<store::Job> job);
  // Runs the job here and now, if its lane has nothing else to do and its last job was quicker than `limit`:
  // at small load two hand-overs between threads cost as much as a sync. False: nothing was done, submit()
  // it.
  bool run_inline(store::Job& job, Duration limit);
  bool has_done() const { return done_count_.load(std::memory_order_seq_cst) != 0; }
  // Appends what has finished to *done.
  void take_done(std::vector<std::unique_ptr<store::Job>>* done);
  bool congested();
  // Submitted and not yet taken.
  size_t outstanding() const { return outstanding_; }
  // How long the jobs of a lane took: for commits that is sealing, one write and one sync.
  Histogram times(store::Lane lane);

 private:
  struct LaneState {
    std::unique_ptr<store::Disk> disk;
    std::mutex mutex;  // Guards what follows, and `disk` by way of `running`.
    std::condition_variable work;
    std::deque<std::unique_ptr<store::Job>> queue;
    bool waiting = false;  // The thread sleeps on `work`.
    bool running = false;  // A job runs, here or on the thread.
    bool stopping = false;
    Duration last{0};  // How long the last job took.
    Histogram times;
    std::thread thread;
  };

  void serve(LaneState& lane);
  LaneState& lane_of(const store::Job& job) { return lanes_[static_cast<size_t>(job.lane())]; }

  Entropy& entropy_;
  Wakeup& wakeup_;
  std::array<LaneState, kLaneCount> lanes_;
  std::mutex done_mutex_;
  std::vector<std::unique_ptr<store::Job>> done_;
  std::atomic<size_t> done_count_{0};
  size_t outstanding_ = 0;
};

}  // namespace hf::io
