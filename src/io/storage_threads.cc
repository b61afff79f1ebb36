#include "io/storage_threads.h"

#include <pthread.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

namespace hf::io {

namespace {

constexpr const char* kThreadNames[StorageThreads::kLaneCount] = {"hf-commit", "hf-read", "hf-background"};

uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Our own code throws nothing; a library may (out of memory). A job without an outcome would leave the store
// waiting for ever, and a process that ends is recovered from.
void run_or_abort(store::Job& job, store::Disk& disk, Entropy& entropy) {
  try {
    job.run(disk, entropy);
  } catch (const std::exception& thrown) {
    std::fprintf(stderr, "holdfast: a disk job threw: %s\n", thrown.what());
    std::abort();
  } catch (...) {
    std::fprintf(stderr, "holdfast: a disk job threw\n");
    std::abort();
  }
}

}  // namespace

StorageThreads::StorageThreads(std::array<std::unique_ptr<store::Disk>, kLaneCount> disks, Entropy& entropy,
                               Wakeup& wakeup)
    : entropy_(entropy), wakeup_(wakeup) {
  for (size_t i = 0; i < kLaneCount; ++i) {
    LaneState& lane = lanes_[i];
    lane.disk = std::move(disks[i]);
    lane.thread = std::thread([this, &lane] { serve(lane); });
    ::pthread_setname_np(lane.thread.native_handle(), kThreadNames[i]);
  }
}

StorageThreads::~StorageThreads() {
  for (LaneState& lane : lanes_) {
    {
      std::lock_guard lock(lane.mutex);
      lane.stopping = true;
    }
    lane.work.notify_one();
  }
  for (LaneState& lane : lanes_) lane.thread.join();
}

void StorageThreads::submit(std::unique_ptr<store::Job> job) {
  ++outstanding_;
  LaneState& lane = lane_of(*job);
  bool wake = false;
  {
    std::lock_guard lock(lane.mutex);
    lane.queue.push_back(std::move(job));
    wake = std::exchange(lane.waiting, false);
  }
  if (wake) lane.work.notify_one();
}

bool StorageThreads::run_inline(store::Job& job, Duration limit) {
  LaneState& lane = lane_of(job);
  {
    std::lock_guard lock(lane.mutex);
    if (lane.running || !lane.queue.empty() || lane.last > limit) return false;
    lane.running = true;
  }
  const uint64_t begun_ns = monotonic_ns();
  run_or_abort(job, *lane.disk, entropy_);
  const Duration took{static_cast<int64_t>(monotonic_ns() - begun_ns)};
  std::lock_guard lock(lane.mutex);
  lane.running = false;
  lane.last = took;
  lane.times.add(took);
  return true;
}

void StorageThreads::take_done(std::vector<std::unique_ptr<store::Job>>* done) {
  if (!has_done()) return;
  std::lock_guard lock(done_mutex_);
  outstanding_ -= done_.size();
  for (auto& job : done_) done->push_back(std::move(job));
  done_.clear();
  done_count_.store(0, std::memory_order_seq_cst);
}

bool StorageThreads::congested() {
  if (outstanding_ < kQueueMax) return false;
  for (LaneState& lane : lanes_) {
    std::lock_guard lock(lane.mutex);
    if (lane.queue.size() >= kQueueMax) return true;
  }
  return false;
}

Histogram StorageThreads::times(store::Lane lane) {
  LaneState& state = lanes_[static_cast<size_t>(lane)];
  std::lock_guard lock(state.mutex);
  return state.times;
}

void StorageThreads::serve(LaneState& lane) {
  std::unique_lock lock(lane.mutex);
  while (true) {
    while (lane.queue.empty() && !lane.stopping) {
      lane.waiting = true;
      lane.work.wait(lock);
    }
    if (lane.stopping) return;
    lane.waiting = false;
    std::unique_ptr<store::Job> job = std::move(lane.queue.front());
    lane.queue.pop_front();
    lane.running = true;
    lock.unlock();

    const uint64_t begun_ns = monotonic_ns();
    run_or_abort(*job, *lane.disk, entropy_);
    const Duration took{static_cast<int64_t>(monotonic_ns() - begun_ns)};
    // Free before it is said to be done: who hears of it may want to run the next one inline.
    lock.lock();
    lane.running = false;
    lane.last = took;
    lane.times.add(took);
    lock.unlock();
    {
      std::lock_guard done_lock(done_mutex_);
      done_.push_back(std::move(job));
      done_count_.store(done_.size(), std::memory_order_seq_cst);
    }
    wakeup_.notify();
    lock.lock();
  }
}

}  // namespace hf::io
