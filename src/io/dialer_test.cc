// Goal: a dial that went out in a network which is another one now begins again, once. Method: a listener whose queue is full, so
// that nothing ever answers; time is an argument.
#include "io/dialer.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <thread>

namespace hf::io {
namespace {

class DialerTest : public testing::Test {
 protected:
  DialerTest()
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        dialer_(epoll_.get(), 1, std::make_shared<Wakeup>()) {
    const auto any = parse_address("127.0.0.1", 0);
    EXPECT_EQ(::bind(listener_.get(), any->get(), any->size), 0);
    EXPECT_EQ(::listen(listener_.get(), 0), 0);
    full_ = local_address(listener_.get());
    for (int i = 0; i < 4; ++i) {
      fillers_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      (void)::connect(fillers_.back().get(), full_.get(), full_.size);
    }
  }

  FileDescriptor listener_;
  SocketAddress full_;
  std::vector<FileDescriptor> fillers_;
  FileDescriptor epoll_;
  Dialer dialer_;
  Instant now_ = Instant{0} + seconds(100);
};

TEST_F(DialerTest, BeginsAgainOnceWhenTheNetworkChanges) {
  dialer_.start({"127.0.0.1", full_.port()}, now_, seconds(5));
  EXPECT_EQ(*dialer_.deadline(), now_ + seconds(5));
  now_ = now_ + seconds(2);
  dialer_.network_changed(now_, seconds(5));
  EXPECT_EQ(*dialer_.deadline(), now_ + seconds(5));
  now_ = now_ + seconds(2);
  dialer_.network_changed(now_, seconds(5));
  EXPECT_EQ(*dialer_.deadline(), now_ + seconds(3));
  dialer_.expire(*dialer_.deadline());
  const auto outcome = dialer_.take_outcome();
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->error, "connection timed out");
  EXPECT_EQ(outcome->host, "127.0.0.1");
}

TEST_F(DialerTest, WithNothingOutAChangeStartsNothing) {
  dialer_.network_changed(now_, seconds(5));
  EXPECT_TRUE(dialer_.idle());
  EXPECT_FALSE(dialer_.deadline());
}

// Nobody waits for the answer that was given up, and the next question gets its own.
TEST(ResolverTest, GivesUpAndAnswersTheNext) {
  const auto wakeup = std::make_shared<Wakeup>();
  Resolver resolver(wakeup);
  for (uint64_t serial = 1; serial <= 50; ++serial) {
    resolver.ask(serial, "localhost", 1883);
    if (serial < 50) resolver.give_up();
  }
  std::optional<Resolution> answer;
  while (!answer || answer->serial != 50) {
    while (!resolver.has_answer()) std::this_thread::yield();
    answer = resolver.take_answer();
  }
  EXPECT_FALSE(answer->addresses.empty());
}

}  // namespace
}  // namespace hf::io
