// Appends to the logs of others, closed loop: connections with a window of unanswered messages each, so that a log can be
// compared with what a broker does for QoS 1. XADD to a Redis stream, or PUB with an acknowledgement to a stream of NATS JetStream.
// When the answer comes is up to the server's configuration (bench/README.md). The result is one line of JSON, in the words of
// load.cc.
#include <sys/epoll.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "histogram.h"
#include "holdfast/command_line.h"
#include "payload.h"
#include "slot_ring.h"
#include "system.h"

namespace hf::bench {
namespace {

using Json = nlohmann::ordered_json;

// What one server understands. Replies come in the order of the messages.
class Dialect {
 public:
  virtual ~Dialect() = default;
  // What is said first on the connection `number`, on a socket that still blocks.
  virtual void greet(int socket, uint32_t number) = 0;
  // A message of zeros, and where its payload is.
  virtual std::string message(uint32_t number, size_t payload_bytes, size_t* payload_at) = 0;
  // Takes a whole reply off; false if there is none yet.
  virtual bool take_reply(std::string_view& bytes) = 0;
};

struct Settings {
  std::string host = "127.0.0.1";
  uint16_t port = 6379;
  uint32_t connections = 1;
  uint32_t window = 100;
  size_t payload_bytes = 256;
  double warmup_s = 1;
  double duration_s = 5;
  int server_pid = 0;
};

class Redis final : public Dialect {
 public:
  void greet(int, uint32_t) override {}
  // A command is an array of bulk strings: *5 and five times $size.
  std::string message(uint32_t, size_t payload_bytes, size_t* payload_at) override {
    std::string out = "*5\r\n";
    for (const std::string& word :
         {std::string("XADD"), std::string("bench"), std::string("*"), std::string("p")}) {
      out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    }
    out += "$" + std::to_string(payload_bytes) + "\r\n";
    *payload_at = out.size();
    return out + std::string(payload_bytes, 0) + "\r\n";
  }
  // A bulk string, the new entry's identifier.
  bool take_reply(std::string_view& bytes) override {
    const size_t line_end = bytes.find("\r\n");
    if (line_end == std::string_view::npos) return false;
    size_t size = 0;
    const char* const end = bytes.data() + line_end;
    if (bytes[0] != '$' || std::from_chars(bytes.data() + 1, end, size).ptr != end) {
      fail("the server answered " + std::string(bytes.substr(0, line_end)));
    }
    const size_t whole = line_end + 2 + size + 2;
    if (bytes.size() < whole) return false;
    bytes.remove_prefix(whole);
    return true;
  }
};

class Nats final : public Dialect {
 public:
  // Subscribes to the answers, and makes the stream, which all connections share.
  void greet(int socket, uint32_t number) override {
    const std::string inbox = "answers." + std::to_string(number);
    send_all(socket, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB " + inbox + " 1\r\n");
    if (number == 0) {
      const std::string stream =
          R"({"name":"bench","subjects":["bench"],"storage":"file","retention":"limits"})";
      send_all(socket, "PUB $JS.API.STREAM.CREATE.bench " + inbox + " " + std::to_string(stream.size()) +
                           "\r\n" + stream + "\r\n");
      hear(socket, "\"created\"");
    }
    send_all(socket, "PING\r\n");
    hear(socket, "PONG\r\n");
  }
  std::string message(uint32_t number, size_t payload_bytes, size_t* payload_at) override {
    std::string out =
        "PUB bench answers." + std::to_string(number) + " " + std::to_string(payload_bytes) + "\r\n";
    *payload_at = out.size();
    return out + std::string(payload_bytes, 0) + "\r\n";
  }
  // MSG subject sid size, and JSON with the number in the stream.
  bool take_reply(std::string_view& bytes) override {
    // It gives up on who answers none of these for minutes; a run is shorter.
    constexpr std::string_view kPing = "PING\r\n";
    if (bytes.starts_with(kPing)) bytes.remove_prefix(kPing.size());
    const size_t line_end = bytes.find("\r\n");
    if (line_end == std::string_view::npos) return false;
    const std::string_view line = bytes.substr(0, line_end);
    size_t size = 0;
    const char* const end = line.data() + line.size();
    const char* const digits = line.data() + line.rfind(' ') + 1;
    if (!line.starts_with("MSG answers.") || std::from_chars(digits, end, size).ptr != end)
      fail("the server said " + std::string(line));
    const size_t whole = line_end + 2 + size + 2;
    if (bytes.size() < whole) return false;
    const std::string_view answer = bytes.substr(line_end + 2, size);
    if (answer.find("\"seq\"") == std::string_view::npos) fail("the stream answered " + std::string(answer));
    bytes.remove_prefix(whole);
    return true;
  }

 private:
  static void hear(int socket, const std::string& word) {
    std::string heard;
    char buffer[4096];
    while (heard.find(word) == std::string::npos) {
      const ssize_t got = ::recv(socket, buffer, sizeof buffer, 0);
      if (got <= 0 || heard.size() > 1 << 20) fail("the server did not say " + word + " but: " + heard);
      heard.append(buffer, static_cast<size_t>(got));
    }
  }
};

class Client {
 public:
  Client(const Settings& settings, Dialect& dialect, const Payloads& payloads, int epoll, uint32_t number,
         Histogram& latencies)
      : dialect_(dialect),
        payloads_(payloads),
        epoll_(epoll),
        number_(number),
        latencies_(latencies),
        socket_(connect_to(settings.host, settings.port, now_ns() + 10'000'000'000)),
        ring_(dialect.message(number, settings.payload_bytes, &payload_at_), settings.window),
        sent_ns_(settings.window) {
    dialect_.greet(socket_.fd(), number);
    set_nonblocking(socket_.fd());
    epoll_event event{.events = EPOLLIN, .data = {.ptr = this}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, socket_.fd(), &event) < 0) fail_errno("epoll_ctl");
  }

  void pump(uint64_t now_ns) {
    while (published_ - acked_ < sent_ns_.size() && !ring_.full()) {
      sent_ns_[published_ % sent_ns_.size()] = now_ns;
      payloads_.write(ring_.next() + payload_at_,
                      {.publisher = number_, .sequence = published_++, .sent_ns = now_ns});
    }
    const bool blocked = !ring_.flush(socket_.fd());
    if (blocked == blocked_) return;
    blocked_ = blocked;
    epoll_event event{.events = EPOLLIN | (blocked ? uint32_t{EPOLLOUT} : 0u), .data = {.ptr = this}};
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, socket_.fd(), &event) < 0) fail_errno("epoll_ctl");
  }

  void on_ready(std::vector<char>& buffer, bool measuring) {
    const ssize_t got = ::recv(socket_.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got == 0) fail("the server closed the connection");
    if (got < 0 && errno != EAGAIN) fail_errno("receive");
    if (got < 0) return;
    const uint64_t now = now_ns();
    rest_.append(buffer.data(), static_cast<size_t>(got));
    std::string_view bytes = rest_;
    while (dialect_.take_reply(bytes)) {
      if (measuring) latencies_.add(now - sent_ns_[acked_ % sent_ns_.size()]);
      ++acked_;
    }
    rest_.erase(0, rest_.size() - bytes.size());
  }

  uint64_t published() const { return published_; }
  uint64_t acked() const { return acked_; }

 private:
  Dialect& dialect_;
  const Payloads& payloads_;
  const int epoll_;
  const uint32_t number_;
  Histogram& latencies_;
  Socket socket_;
  size_t payload_at_ = 0;
  SlotRing ring_;
  std::vector<uint64_t> sent_ns_;  // Replies come in order: a ring.
  std::string rest_;
  uint64_t published_ = 0;
  uint64_t acked_ = 0;
  bool blocked_ = false;
};

Json measure(const Settings& settings, Dialect& dialect) {
  const Payloads payloads(settings.payload_bytes);
  const auto latencies = std::make_unique<Histogram>();
  const Socket epoll(epoll_create1(EPOLL_CLOEXEC));
  std::vector<char> buffer(256 << 10);
  std::vector<std::unique_ptr<Client>> clients;
  clients.reserve(settings.connections);
  for (uint32_t number = 0; number < settings.connections; ++number) {
    clients.push_back(std::make_unique<Client>(settings, dialect, payloads, epoll.fd(), number, *latencies));
  }
  const auto acked = [&] {
    uint64_t sum = 0;
    for (const auto& client : clients) sum += client->acked();
    return sum;
  };
  const auto run_until = [&](uint64_t end_ns, bool measuring) {
    while (now_ns() < end_ns) {
      const uint64_t now = now_ns();
      for (auto& client : clients) client->pump(now);
      epoll_event events[64];
      const int count = epoll_wait(epoll.fd(), events, 64, 10);
      for (int index = 0; index < count; ++index) {
        static_cast<Client*>(events[index].data.ptr)->on_ready(buffer, measuring);
      }
    }
  };

  run_until(now_ns() + seconds_to_ns(settings.warmup_s), false);
  const uint64_t begin_ns = now_ns();
  const uint64_t acked_before = acked();
  const double own_before_s = own_cpu_s();
  const double server_before_s = process_cpu_s(settings.server_pid);
  run_until(begin_ns + seconds_to_ns(settings.duration_s), true);
  const double elapsed_s = static_cast<double>(now_ns() - begin_ns) * 1e-9;

  Json out;
  out["payload_bytes"] = settings.payload_bytes;
  out["publishers"] = settings.connections;
  out["window"] = settings.window;
  out["duration_s"] = elapsed_s;
  out["acked_per_s"] = static_cast<uint64_t>(static_cast<double>(acked() - acked_before) / elapsed_s);
  out["ack"] = latencies->to_json();
  out["generator_cpu"] = (own_cpu_s() - own_before_s) / elapsed_s;
  if (settings.server_pid > 0) {
    out["server_cpu"] = (process_cpu_s(settings.server_pid) - server_before_s) / elapsed_s;
  }
  return out;
}

int main_checked(int argc, char** argv) {
  Settings settings;
  std::string server;
  holdfast::CommandLine app("log_load", "Appends to a log, measured; the result is one line of JSON.");
  app.option("server", "SERVER", &server, "").required().one_of({"redis", "nats"});
  app.option("--host", "ADDRESS", &settings.host, "IPv4 address").show_default();
  app.option("--port", "PORT", &settings.port, "").required();
  app.option("--connections", "N", &settings.connections, "").between(1, 10000).show_default();
  app.option("--window", "N", &settings.window, "messages in flight for each connection")
      .between(1, 65535)
      .show_default();
  app.option("--payload", "N", &settings.payload_bytes, "bytes")
      .between(kPayloadBytesMin, kPayloadBytesMax)
      .show_default();
  app.option("--warmup", "S", &settings.warmup_s, "seconds that do not count").show_default();
  app.option("--seconds", "S", &settings.duration_s, "seconds that count").show_default();
  app.option("--server-pid", "PID", &settings.server_pid, "process whose processor time is counted");
  app.run([&] {
    std::unique_ptr<Dialect> dialect;
    if (server == "nats") {
      dialect = std::make_unique<Nats>();
    } else {
      dialect = std::make_unique<Redis>();
    }
    std::puts(measure(settings, *dialect).dump().c_str());
    return 0;
  });
  return app.parse(argc, argv);
}

}  // namespace
}  // namespace hf::bench

int main(int argc, char** argv) {
  try {
    return hf::bench::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "log_load: %s\n", error.what());
    return 1;
  }
}
