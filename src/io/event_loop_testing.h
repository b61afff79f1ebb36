// For tests of the event loop: a core that keeps a diary, a client, and the loop on a thread of its own.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "io/entropy.h"
#include "io/event_loop.h"
#include "io/temporary_directory_testing.h"

namespace hf::io {

// Keeps a diary of its inputs and answers with effects that the test prepared, or with an echo.
class TestCore final : public Core {
 public:
  void step(std::span<node::Input> inputs, const Now& now, node::Effects& out) override {
    std::lock_guard lock(mutex_);
    ++steps_;
    for (node::Input& input : inputs) {
      if (auto* received = std::get_if<node::Received>(&input)) {
        bytes_[received->connection] += received->bytes;
        if (echo) out.sends.add(received->connection).bytes = std::string(received->bytes);
      } else if (auto* connected = std::get_if<node::Connected>(&input)) {
        connections_.push_back(connected->connection);
        diary_.push_back("connected" + std::string(connected->loopback ? "" : " from far"));
        connected_.push_back(*connected);
      } else if (std::get_if<node::Closed>(&input) != nullptr) {
        diary_.push_back("closed");
      } else if (auto* unsent = std::get_if<node::Unsent>(&input)) {
        unsent_.push_back(unsent->bytes);
      } else if (auto* dialed = std::get_if<node::Dialed>(&input)) {
        diary_.push_back(dialed->connection != 0 ? "dialed" : "not dialed: " + dialed->error);
        if (dialed->connection != 0) connections_.push_back(dialed->connection);
      } else if (std::holds_alternative<node::NetworkChanged>(input)) {
        diary_.push_back("network changed");
      }
    }
    out.pause_reading = pauses;
    for (auto& action : std::exchange(actions_, {})) action(out);
    if (shutting_down_ && stops) stopped_ = true;
    last_step_ = now.mono;
    changed_.notify_all();
  }
  std::optional<Instant> next_deadline() const override {
    std::lock_guard lock(mutex_);
    if (!actions_.empty()) return Instant{0};
    return std::nullopt;
  }
  void shut_down(const Now&) override { shutting_down_ = true; }
  bool stopped() const override { return stopped_; }

  // Has `action` fill the effects of a step that comes soon.
  void act(EventLoop& loop, Wakeup& wakeup, std::function<void(node::Effects&)> action) {
    (void)loop;
    std::lock_guard lock(mutex_);
    actions_.push_back(std::move(action));
    wakeup.notify();
  }
  template <typename Condition>
  bool wait_until(Condition&& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return condition(*this); });
  }
  bool saw(const std::string& entry) {
    return wait_until([&](TestCore& core) {
      return std::find(core.diary_.begin(), core.diary_.end(), entry) != core.diary_.end();
    });
  }

  bool echo = true;
  bool stops = true;
  bool pauses = false;  // After each step; set it from an action.
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> diary_;
  std::vector<ConnectionId> connections_;
  std::vector<node::Connected> connected_;
  std::map<ConnectionId, std::string> bytes_;
  std::vector<uint64_t> unsent_;
  std::vector<std::function<void(node::Effects&)>> actions_;
  uint64_t steps_ = 0;
  Instant last_step_;

 private:
  bool shutting_down_ = false;
  bool stopped_ = false;
};

class TestAdmin final : public AdminHandler {
 public:
  void request(ConnectionId connection, Bytes line, const Now&, std::vector<AdminReply>* replies) override {
    if (line.find("later") == Bytes::npos) {
      replies->push_back({connection, "now " + std::string(line)});
    } else {
      later_.push_back({connection, "later " + std::string(line)});
    }
  }
  bool after_step(const Now&, bool, std::vector<AdminReply>* replies) override {
    for (AdminReply& reply : std::exchange(later_, {})) replies->push_back(std::move(reply));
    return false;
  }
  void closed(ConnectionId) override {}

 private:
  std::vector<AdminReply> later_;
};

// "/now" is answered at once, "/later" by way of the TestAdmin, with what was asked.
class TestHttp final : public HttpHandler {
 public:
  explicit TestHttp(TestAdmin& admin) : admin_(admin) {}
  bool request(ConnectionId connection, const HttpCaller& caller, const HttpRequest& request, const Now& now,
               std::vector<HttpReply>* replies) override {
    if (request.path == "/later") {
      std::vector<AdminReply> none;
      admin_.request(connection, "later " + request.body, now, &none);
      return true;
    }
    if (request.path == "/who") {
      replies->push_back(
          {connection, {.type = "text/plain", .body = caller.address + (caller.loopback ? " here" : "")}});
      return false;
    }
    HttpResponse response{.type = "text/plain", .body = request.path + request.body};
    if (request.path == "/large") response.body.assign(8 << 20, 'l');
    replies->push_back({connection, std::move(response)});
    return false;
  }
  HttpResponse admin_answered(ConnectionId, const std::string& line) override {
    return {.type = "text/plain", .body = line};
  }
  void closed(ConnectionId) override {}

 private:
  TestAdmin& admin_;
};

class Client {
 public:
  explicit Client(FileDescriptor socket) : socket_(std::move(socket)) {}
  static Client tcp(const std::string& address) {
    const auto at = parse_host_port(address);
    const auto to = parse_address(at->host, at->port);
    FileDescriptor socket(::socket(to->family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket.get(), to->get(), to->size), 0);
    return Client(std::move(socket));
  }
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
  }
  // At most `size` bytes; fewer if the peer closes.
  std::string receive(size_t size) {
    std::string all;
    while (all.size() < size) {
      char bytes[65536];
      pollfd event{socket_.get(), POLLIN, 0};
      if (::poll(&event, 1, 10'000) != 1) break;
      const ssize_t count = ::recv(socket_.get(), bytes, std::min(sizeof bytes, size - all.size()), 0);
      if (count <= 0) break;
      all.append(bytes, static_cast<size_t>(count));
    }
    return all;
  }
  bool at_end() { return receive(1).empty(); }
  int get() const { return socket_.get(); }
  void close() { socket_.reset(); }

 private:
  FileDescriptor socket_;
};

class EventLoopTest : public testing::Test {
 protected:
  EventLoopTest() : wakeup_(std::make_shared<Wakeup>()), clock_(entropy_) {}
  ~EventLoopTest() override { stop(); }

  void start(EventLoopOptions options = {}) {
    loop_ = std::make_unique<EventLoop>(
        core_, wakeup_, nullptr, clock_, &admin_,
        [this](const char* event, const std::string& text) {
          std::lock_guard lock(core_.mutex_);
          log_ += event + (" " + text) + "\n";
          core_.changed_.notify_all();
        },
        std::move(options));
    loop_->serve_http(http_);
    ASSERT_TRUE(loop_->listen_tcp("127.0.0.1:0"));
    ASSERT_TRUE(loop_->listen_unix(temporary_ / "sock"));
    address_ = loop_->addresses()[0];
    for (const DoorOptions& door : doors_) {
      const auto opened = loop_->open_door(door);
      ASSERT_TRUE(opened) << opened.error();
    }
    if (dial_tls_) {
      ASSERT_TRUE(loop_->dial_with_tls(*dial_tls_));
    }
    thread_ = std::thread([this] { clean_ = loop_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
  }

  // Of the n-th door.
  std::string door(size_t index) const { return loop_->addresses()[2 + index]; }
  bool logged(const std::string& part) {
    return core_.wait_until([&](TestCore&) { return log_.find(part) != std::string::npos; });
  }

  TemporaryDirectory temporary_;
  std::vector<DoorOptions> doors_;  // Opened by start().
  std::optional<TlsClientFiles> dial_tls_;
  std::string log_;  // Under the core's lock.
  SystemEntropy entropy_;
  std::shared_ptr<Wakeup> wakeup_;
  Clock clock_;
  TestCore core_;
  TestAdmin admin_;
  TestHttp http_{admin_};
  std::unique_ptr<EventLoop> loop_;
  std::string address_;
  std::thread thread_;
  bool clean_ = false;
};

}  // namespace hf::io
