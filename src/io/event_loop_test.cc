// Goal: what happens outside arrives in the core as inputs, once and in order, and what the core wants is
// done. Method: a core that echoes or follows a script, real sockets on ports that the system chose, the loop
// on a thread of its own. Tests wait for events with a generous limit, never for time.
#include "io/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "io/event_loop_testing.h"
#include "io/listener.h"
#include "io/posix_disk.h"

namespace hf::io {
namespace {

TEST_F(EventLoopTest, EchoesOnManyConnections) {
  start();
  std::vector<Client> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(Client::tcp(address_));
  for (size_t i = 0; i < clients.size(); ++i) clients[i].send("hello " + std::to_string(i));
  for (size_t i = 0; i < clients.size(); ++i) {
    const std::string wanted = "hello " + std::to_string(i);
    EXPECT_EQ(clients[i].receive(wanted.size()), wanted);
  }
  clients.clear();
  EXPECT_TRUE(core_.wait_until(
      [](TestCore& core) { return std::count(core.diary_.begin(), core.diary_.end(), "closed") == 100; }));
  stop();
  EXPECT_TRUE(clean_);
}

// Acknowledges what it received when a disk job that was made after it is done, as the store's commits go: one job is out
// at a time, and the next one takes all that waits.
class CommittingCore final : public Core {
 public:
  class Commit final : public store::Job {
   public:
    store::Lane lane() const override { return store::Lane::kCommit; }
    void run(store::Disk& disk, Entropy&) override {
      on_core = std::this_thread::get_id() == core_thread;
      outcome = disk.write("log", 0, "x");
    }
    std::thread::id core_thread;
    bool on_core = false;
    Result<> outcome;
  };

  void step(std::span<node::Input> inputs, const Now&, node::Effects& out) override {
    for (node::Input& input : inputs) {
      if (auto* received = std::get_if<node::Received>(&input))
        waiting_[received->connection] += received->bytes;
      if (auto* done = std::get_if<node::JobDone>(&input)) {
        const auto& commit = static_cast<const Commit&>(*done->job);
        EXPECT_TRUE(commit.outcome);
        ++(commit.on_core ? inline_count : thread_count);
        for (auto& [connection, bytes] : std::exchange(committing_, {}))
          out.sends.add(connection).bytes = bytes;
        out_ = false;
      }
    }
    if (!out_ && !waiting_.empty()) {
      out_ = true;
      committing_ = std::exchange(waiting_, {});
      auto commit = std::make_unique<Commit>();
      commit->core_thread = std::this_thread::get_id();
      out.jobs.push_back(std::move(commit));
    }
  }
  std::optional<Instant> next_deadline() const override { return std::nullopt; }
  void shut_down(const Now&) override { stopping_ = true; }
  bool stopped() const override { return stopping_ && !out_; }

  uint64_t inline_count = 0;
  uint64_t thread_count = 0;

 private:
  std::map<ConnectionId, std::string> waiting_;
  std::map<ConnectionId, std::string> committing_;
  bool out_ = false;
  bool stopping_ = false;
};

TEST_F(EventLoopTest, AnswersWhenTheDiskHas) {
  for (const Duration inline_commit_max : {seconds(10), Duration{0}}) {
    const auto directory = *PosixDirectory::open(temporary_.path());
    CommittingCore core;
    StorageThreads storage(
        {PosixDirectory::disk(directory), PosixDirectory::disk(directory), PosixDirectory::disk(directory)},
        entropy_, *wakeup_);
    EventLoop loop(core, wakeup_, &storage, clock_, nullptr, nullptr,
                   {.inline_commit_max = inline_commit_max});
    ASSERT_TRUE(loop.listen_tcp("127.0.0.1:0"));
    std::thread thread([&] { EXPECT_TRUE(loop.run()); });
    {
      // One at a time, and many at once: both kinds of commit, and both kinds of waiting.
      Client one = Client::tcp(loop.addresses()[0]);
      for (int i = 0; i < 200; ++i) {
        one.send("small");
        EXPECT_EQ(one.receive(5), "small");
      }
      std::vector<Client> many;
      for (int i = 0; i < 20; ++i) many.push_back(Client::tcp(loop.addresses()[0]));
      for (int i = 0; i < 20; ++i) {
        for (Client& client : many) client.send(std::string(3000, 'x'));
        for (Client& client : many) EXPECT_EQ(client.receive(3000).size(), 3000u);
      }
    }
    loop.stop();
    thread.join();
    if (inline_commit_max == Duration{0}) {
      EXPECT_EQ(core.inline_count, 0u);
    } else {
      EXPECT_GE(core.inline_count, 100u);
    }
    EXPECT_GT(core.thread_count + core.inline_count, 200u);
  }
}

TEST_F(EventLoopTest, KeepsWhatTheSocketDoesNotTake) {
  core_.echo = false;
  start();
  Client client = Client::tcp(address_);
  ASSERT_TRUE(core_.saw("connected"));
  std::string large(16 << 20, 'a');
  for (size_t i = 0; i < large.size(); i += 1000) large[i] = static_cast<char>('a' + i / 1000 % 26);
  const ConnectionId id = core_.connections_[0];
  // Two effects: the second one has to wait behind the first.
  core_.act(*loop_, *wakeup_,
            [&](node::Effects& out) { out.sends.add(id).bytes = large.substr(0, 9 << 20); });
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.sends.add(id).bytes = large.substr(9 << 20); });
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return !core.unsent_.empty(); }));
  EXPECT_EQ(client.receive(large.size()), large);
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.unsent_.back() == 0; }));
  EXPECT_GT(core_.unsent_.front(), 0u);
}

// What is passed on lies in the loop's own arena, which the next turn overwrites.
TEST_F(EventLoopTest, KeepsACopyOfWhatWasPassedOnAndNotTaken) {
  start();
  Client client = Client::tcp(address_);
  ASSERT_TRUE(core_.saw("connected"));
  const ConnectionId id = core_.connections_[0];
  std::string expected;
  std::string borrowed;
  constexpr int kRounds = 40;
  int rounds = 0;
  for (int round = 0; round <= kRounds; ++round) {
    core_.act(*loop_, *wakeup_, [&](node::Effects& out) {
      borrowed.assign(1 << 20, static_cast<char>('a' + rounds % 26));
      if (rounds++ == kRounds) return;
      node::Send& send = out.sends.add(id);
      send.bytes = "own" + std::to_string(rounds) + ".end";
      send.passed = {{0, Bytes(borrowed).substr(0, 1000)}, {3, Bytes(borrowed).substr(1000)}};
      expected += send.joined();
    });
    ASSERT_TRUE(core_.wait_until([&](TestCore&) { return rounds > round; }));
  }
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return !core.unsent_.empty(); }));
  EXPECT_TRUE(client.receive(expected.size()) == expected);
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.unsent_.back() == 0; }));
}

// More parts than one call to the kernel takes.
TEST_F(EventLoopTest, SendsManyPartsInOrder) {
  start();
  Client client = Client::tcp(address_);
  ASSERT_TRUE(core_.saw("connected"));
  const ConnectionId id = core_.connections_[0];
  const std::string borrowed = "<passed on>";
  std::string expected;
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) {
    node::Send& send = out.sends.add(id);
    for (int i = 0; i < 500; ++i) {
      send.bytes += std::to_string(i);
      send.passed.push_back({send.bytes.size(), borrowed});
    }
    send.bytes += "last";
    expected = send.joined();
  });
  ASSERT_TRUE(core_.wait_until([&](TestCore&) { return !expected.empty(); }));
  EXPECT_EQ(client.receive(expected.size()), expected);
}

TEST_F(EventLoopTest, ClosesAfterWhatWasSent) {
  core_.echo = false;
  start();
  Client client = Client::tcp(address_);
  ASSERT_TRUE(core_.saw("connected"));
  const ConnectionId id = core_.connections_[0];
  client.send("unread bytes must not turn the close into a reset");
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) {
    out.sends.add(id).bytes = std::string(4 << 20, 'x');
    out.closes.push_back({id});
  });
  EXPECT_EQ(client.receive(4 << 20).size(), size_t{4} << 20);
  EXPECT_TRUE(client.at_end());
  client.close();
  stop();
  EXPECT_EQ(std::count(core_.diary_.begin(), core_.diary_.end(), "closed"),
            0);  // Its own close is no news to it.
}

TEST_F(EventLoopTest, ClosesWhoDoesNotReadInTime) {
  core_.echo = false;
  start({.close_timeout = milliseconds(50)});
  Client client = Client::tcp(address_);
  ASSERT_TRUE(core_.saw("connected"));
  const ConnectionId id = core_.connections_[0];
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) {
    out.sends.add(id).bytes = std::string(32 << 20, 'x');
    out.closes.push_back({id});
  });
  // The loop lets go of it: a probe sees the connection reset or ended without the client having read
  // anything.
  pollfd event{client.get(), POLLHUP | POLLERR | POLLRDHUP, 0};
  EXPECT_EQ(::poll(&event, 1, 10'000), 1);
}

TEST_F(EventLoopTest, PausesReading) {
  core_.echo = false;
  start();
  Client client = Client::tcp(address_);
  ASSERT_TRUE(core_.saw("connected"));
  core_.act(*loop_, *wakeup_, [](node::Effects& out) { out.pause_reading = true; });
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.actions_.empty(); }));
  client.send("waits");
  // Another step that keeps the pause: what was sent has not come in.
  core_.act(*loop_, *wakeup_, [](node::Effects& out) { out.pause_reading = true; });
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.actions_.empty(); }));
  EXPECT_TRUE(core_.wait_until([](TestCore& core) { return core.bytes_.empty(); }));
  core_.act(*loop_, *wakeup_, [](node::Effects&) {});
  EXPECT_TRUE(core_.wait_until([](TestCore& core) { return !core.bytes_.empty(); }));
}

TEST_F(EventLoopTest, StalledThatDrainsDuringAPauseIsReadAfterIt) {
  core_.echo = false;
  start({.unsent_pause_bytes = 1 << 20});
  Client client = Client::tcp(address_);
  ASSERT_TRUE(core_.saw("connected"));
  const ConnectionId id = core_.connections_[0];
  constexpr size_t kBytes = 24 << 20;  // More than the kernel holds, and than it may have unsent.
  core_.act(*loop_, *wakeup_,
            [&](node::Effects& out) { out.sends.add(id).bytes = std::string(kBytes, 'x'); });
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return !core.unsent_.empty(); }));
  ASSERT_GT(core_.unsent_.back(), size_t{1} << 20);
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { core_.pauses = out.pause_reading = true; });
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.pauses; }));
  EXPECT_EQ(client.receive(kBytes).size(), kBytes);
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.unsent_.back() == 0; }));
  client.send("waits");
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { core_.pauses = out.pause_reading = false; });
  EXPECT_TRUE(core_.wait_until([&](TestCore& core) { return core.bytes_[id] == "waits"; }));
}

TEST_F(EventLoopTest, DialsAndTells) {
  core_.echo = false;
  start();
  auto listener = listen_tcp("127.0.0.1:0");
  ASSERT_TRUE(listener);
  ::fcntl(listener->get(), F_SETFL, 0);  // Blocking.
  const uint16_t port = local_address(listener->get()).port();
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.dial = node::Dial{"localhost", port}; });
  ASSERT_TRUE(core_.saw("dialed"));
  Client server(FileDescriptor(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC)));
  const ConnectionId id = core_.connections_.back();
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.sends.add(id).bytes = "from the core"; });
  EXPECT_EQ(server.receive(13), "from the core");
  server.send("to the core");
  EXPECT_TRUE(core_.wait_until([&](TestCore& core) { return core.bytes_[id] == "to the core"; }));
  server.close();
  EXPECT_TRUE(core_.saw("closed"));

  listener->reset();
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.dial = node::Dial{"127.0.0.1", port}; });
  EXPECT_TRUE(core_.saw("not dialed: connection refused"));
}

TEST_F(EventLoopTest, ADialThatHearsNothingEnds) {
  start({.dial_timeout = milliseconds(50)});
  // A listener that accepts nothing, its queue filled up: the connection never stands and is never refused.
  FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto any = parse_address("127.0.0.1", 0);
  ASSERT_EQ(::bind(listener.get(), any->get(), any->size), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  const SocketAddress full = local_address(listener.get());
  std::vector<FileDescriptor> fillers;
  for (int i = 0; i < 4; ++i) {
    fillers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)::connect(fillers.back().get(), full.get(), full.size);
  }
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.dial = node::Dial{"127.0.0.1", full.port()}; });
  EXPECT_TRUE(core_.saw("not dialed: connection timed out"));
}

TEST_F(EventLoopTest, TheUnixSocketServesBoth) {
  start();
  struct stat about{};
  ASSERT_EQ(::stat((temporary_ / "sock").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);

  Client admin(std::move(*connect_unix(temporary_ / "sock")));
  admin.send("{\"command\":\"sta");
  admin.send("tus\"}\n{\"later\":1}\n");
  const std::string wanted = "now {\"command\":\"status\"}\nlater {\"later\":1}\n";
  EXPECT_EQ(admin.receive(wanted.size()), wanted);

  Client mqtt(std::move(*connect_unix(temporary_ / "sock")));
  mqtt.send("\x10stands for CONNECT");
  EXPECT_EQ(mqtt.receive(19), "\x10stands for CONNECT");
  EXPECT_TRUE(core_.saw("connected"));

  Client neither(std::move(*connect_unix(temporary_ / "sock")));
  neither.send("GET / HTTP/1.0\r\n");
  EXPECT_TRUE(neither.at_end());
}

TEST_F(EventLoopTest, SilenceOnTheUnixSocketEnds) {
  start({.first_byte_timeout = milliseconds(20)});
  Client silent(std::move(*connect_unix(temporary_ / "sock")));
  EXPECT_TRUE(silent.at_end());
}

TEST_F(EventLoopTest, RefusesMoreThanItMayHave) {
  start({.connections_max = 2});
  Client first = Client::tcp(address_);
  Client second = Client::tcp(address_);
  first.send("1");
  EXPECT_EQ(first.receive(1), "1");
  second.send("2");
  EXPECT_EQ(second.receive(1), "2");
  EXPECT_TRUE(Client::tcp(address_).at_end());
  first.close();
  ASSERT_TRUE(core_.saw("closed"));
  Client third = Client::tcp(address_);
  third.send("3");
  EXPECT_EQ(third.receive(1), "3");
}

TEST_F(EventLoopTest, ReadsMoreThanOneTurnHolds) {
  core_.echo = false;
  start();
  constexpr size_t kSize = 1 << 20;
  std::vector<Client> clients;
  std::vector<std::thread> senders;
  for (int i = 0; i < 24; ++i) clients.push_back(Client::tcp(address_));
  for (Client& client : clients) senders.emplace_back([&client] { client.send(std::string(kSize, 'x')); });
  for (std::thread& sender : senders) sender.join();
  EXPECT_TRUE(core_.wait_until([&](TestCore& core) {
    size_t sum = 0;
    for (const auto& [id, bytes] : core.bytes_) sum += bytes.size();
    return sum == clients.size() * kSize;
  }));
}

TEST_F(EventLoopTest, GivesUpOnACoreThatDoesNotStop) {
  core_.stops = false;
  start({.stop_timeout = milliseconds(50)});
  stop();
  EXPECT_FALSE(clean_);
}

TEST_F(EventLoopTest, ABusyPortIsExplained) {
  start();
  EventLoop second(core_, wakeup_, nullptr, clock_, nullptr, nullptr);
  EXPECT_EQ(second.listen_tcp(address_).error(), "address already in use: another program listens on " +
                                                     address_ + "; stop it or set listen = ...");
  EXPECT_EQ(second.listen_unix(temporary_ / "sock").error(),
            "address already in use: another program listens on " + (temporary_ / "sock") +
                "; stop it or set admin_socket = ...");
  EXPECT_NE(second.listen_tcp("nonsense").error().find("is not ADDRESS:PORT"), std::string::npos);
}

TEST_F(EventLoopTest, ADeadProcessSocketIsReplaced) {
  {
    auto dead = listen_unix(temporary_ / "sock");
  }  // Closed without being removed.
  start();
  Client admin(std::move(*connect_unix(temporary_ / "sock")));
  admin.send("{}\n");
  EXPECT_EQ(admin.receive(7), "now {}\n");
}

}  // namespace
}  // namespace hf::io
