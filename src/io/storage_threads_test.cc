// Goal: jobs of a lane run in order and one at a time, lanes do not wait for each other, every outcome
// arrives, and a loop that sleeps is woken. Method: jobs that note their turn; lanes held up by a latch
// instead of by time.
#include "io/storage_threads.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <latch>
#include <map>

#include "io/entropy.h"

namespace hf::io {
namespace {

class TestJob final : public store::Job {
 public:
  TestJob(store::Lane lane, int its_number, std::latch* wait_for = nullptr)
      : number(its_number), lane_(lane), wait_for_(wait_for) {}
  store::Lane lane() const override { return lane_; }
  void run(store::Disk&, Entropy&) override {
    if (wait_for_ != nullptr) wait_for_->wait();
    thread = std::this_thread::get_id();
  }
  const int number;
  std::thread::id thread;

 private:
  const store::Lane lane_;
  std::latch* const wait_for_;
};

// The jobs above touch no disk.
class NoDisk final : public store::Disk {
 public:
  Result<std::vector<std::string>> list() override { return fail(Code::kIo, ""); }
  Result<uint64_t> size(const std::string&) override { return fail(Code::kIo, ""); }
  Result<> create(const std::string&, uint64_t) override { return fail(Code::kIo, ""); }
  Result<std::string> read(const std::string&, uint64_t, uint64_t) override { return fail(Code::kIo, ""); }
  Result<> write(const std::string&, uint64_t, Bytes) override { return fail(Code::kIo, ""); }
  Result<> truncate(const std::string&, uint64_t) override { return fail(Code::kIo, ""); }
  Result<> sync(const std::string&) override { return fail(Code::kIo, ""); }
  Result<> rename(const std::string&, const std::string&) override { return fail(Code::kIo, ""); }
  Result<> remove(const std::string&) override { return fail(Code::kIo, ""); }
  Result<> sync_directory() override { return fail(Code::kIo, ""); }
  Result<uint64_t> free_bytes() override { return fail(Code::kIo, ""); }
};

class StorageThreadsTest : public testing::Test {
 protected:
  StorageThreadsTest()
      : threads_({std::make_unique<NoDisk>(), std::make_unique<NoDisk>(), std::make_unique<NoDisk>()},
                 entropy_, wakeup_) {}

  // Sleeps and wakes as the event loop does until `count` outcomes are there.
  std::vector<std::unique_ptr<store::Job>> wait_for(size_t count) {
    std::vector<std::unique_ptr<store::Job>> done;
    while (done.size() < count) {
      wakeup_.about_to_sleep();
      if (!threads_.has_done()) {
        pollfd event{wakeup_.descriptor(), POLLIN, 0};
        if (::poll(&event, 1, 10'000) == 0) {
          ADD_FAILURE() << "not woken";
          break;
        }
        wakeup_.drain();
      }
      wakeup_.awake();
      threads_.take_done(&done);
    }
    return done;
  }

  SystemEntropy entropy_;
  Wakeup wakeup_;
  std::latch hold_{1};  // Outlives the threads: a job may still be in its wait() when a test returns.
  StorageThreads threads_;
};

TEST_F(StorageThreadsTest, JobsOfALaneFinishInOrder) {
  constexpr int kCount = 5'000;
  std::map<store::Lane, int> next;
  std::map<store::Lane, std::thread::id> thread;
  int submitted = 0;
  int seen = 0;
  std::vector<std::unique_ptr<store::Job>> done;
  while (seen < kCount) {
    // Few at a time, so that the threads and this one fall asleep and wake up often.
    for (int i = 0; i < 3 && submitted < kCount; ++i, ++submitted) {
      threads_.submit(std::make_unique<TestJob>(static_cast<store::Lane>(submitted % 3), submitted));
    }
    for (const auto& job : wait_for(1)) {
      const auto& test_job = static_cast<const TestJob&>(*job);
      const store::Lane lane = job->lane();
      if (next.contains(lane)) {
        EXPECT_EQ(test_job.number, next[lane] + 3);
        EXPECT_EQ(test_job.thread, thread[lane]);
      }
      next[lane] = test_job.number;
      thread[lane] = test_job.thread;
      ++seen;
    }
  }
  EXPECT_EQ(threads_.outstanding(), 0u);
}

TEST_F(StorageThreadsTest, LanesDoNotWaitForEachOther) {
  threads_.submit(std::make_unique<TestJob>(store::Lane::kCommit, 1, &hold_));
  threads_.submit(std::make_unique<TestJob>(store::Lane::kRead, 2));
  const auto first = wait_for(1);
  EXPECT_EQ(static_cast<const TestJob&>(*first[0]).number, 2);
  hold_.count_down();
  EXPECT_EQ(static_cast<const TestJob&>(*wait_for(1)[0]).number, 1);
}

TEST_F(StorageThreadsTest, SaysWhenTheDiskIsFarBehind) {
  // One job more may have left the queue to be run.
  for (size_t i = 0; i < StorageThreads::kQueueMax + 1; ++i) {
    if (i < StorageThreads::kQueueMax) {
      EXPECT_FALSE(threads_.congested());
    }
    threads_.submit(std::make_unique<TestJob>(store::Lane::kCommit, 0, &hold_));
  }
  EXPECT_TRUE(threads_.congested());
  hold_.count_down();
  wait_for(StorageThreads::kQueueMax + 1);
  EXPECT_FALSE(threads_.congested());
}

TEST_F(StorageThreadsTest, RunsInlineOnlyWhenTheLaneIsIdleAndQuick) {
  TestJob quick(store::Lane::kCommit, 1);
  EXPECT_TRUE(threads_.run_inline(quick, seconds(10)));
  EXPECT_EQ(quick.thread, std::this_thread::get_id());

  TestJob not_now(store::Lane::kCommit, 2);
  EXPECT_FALSE(threads_.run_inline(not_now, Duration{-1}));  // Nothing is that quick.
  threads_.submit(std::make_unique<TestJob>(store::Lane::kCommit, 3, &hold_));
  EXPECT_FALSE(threads_.run_inline(not_now, seconds(10)));
  hold_.count_down();
  wait_for(1);
  EXPECT_TRUE(threads_.run_inline(not_now, seconds(10)));
}

TEST_F(StorageThreadsTest, EndsWithJobsWaiting) {
  threads_.submit(std::make_unique<TestJob>(store::Lane::kBackground, 1, &hold_));
  for (int i = 0; i < 10; ++i)
    threads_.submit(std::make_unique<TestJob>(store::Lane::kBackground, 2, &hold_));
  hold_.count_down();
}

}  // namespace
}  // namespace hf::io
