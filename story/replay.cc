// A device of the story: publishes a file of recorded messages at QoS 2 and keeps the promise of QoS 2 across
// broken connections.
//
//   replay --port PORT --id CLIENT --topic TOPIC --file FILE [--host ADDRESS] [--window COUNT]
//
// FILE has one message a line: when it is due in milliseconds since the start, a tab, the payload (to the end
// of the line). The messages wait in this program until they are due; what has left is kept by libmosquitto
// until it is acknowledged to the end (PUBCOMP): together its outgoing store. The session is not clean, and
// the program ends with 0 only when everything is acknowledged. It writes a line of JSON every fifth of a
// second, so that others can watch.
//
// What is relied on in libmosquitto (read in the source of 2.0.11, which Debian 12 has):
//   It keeps each message from mosquitto_publish() to PUBCOMP in one list, in order, across reconnects. After
//   CONNACK it sends again, in the list's order, PUBLISH (with DUP) for what has no PUBREC yet and PUBREL for
//   the rest. QoS 2 asks no more of a sender, but it takes a broker that still has the session: so we look at
//   "session present".
// And what is gone around:
//   on_connect is called before those are sent again. A message published in it, or between the connection and
//   CONNACK, would overtake older ones. We publish between calls of mosquitto_loop(), once CONNACK was seen.
//   A reconnect takes room in its window also for messages that are only queued: if nothing was in flight and
//   the queue is as long as the window, nothing moves any more. It gets no more than its window has room for.
//   mosquitto_publish() may return an error of the connection with the message in the list already, to be sent
//   after the next connection. Publishing it again would double it: such an error counts as handed over.
//   mosquitto_loop_forever() gives up on some errors and waits whole seconds. We reconnect ourselves.
//   Packet identifiers go round without a look at those in use: sound while the window is below 65,535.
//   With MQTT 5 its own window gives way to the broker's receive maximum. 3.1.1 has all that is needed here.
// As a receiver of QoS 2 it does not recognise a PUBLISH that comes again after a broken connection (its issues
// 1450 and 1751). The story's collector stays connected for that reason.
#include <mosquitto.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kReconnectEvery{100};
constexpr milliseconds kTellEvery{200};
constexpr int kWaitMax_ms = 50;
constexpr int kKeepAlive_s = 10;

volatile std::sig_atomic_t stop_asked = 0;

struct Message {
  milliseconds due;
  std::string payload;
};

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  std::string id;
  std::string topic;
  std::string file;
  int window = 100;
};

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "replay: %s\n", why.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (i + 1 == argc) die("no value after " + std::string(name));
    const char* const value = argv[++i];
    if (name == "--host") {
      options.host = value;
    } else if (name == "--port") {
      options.port = std::atoi(value);
    } else if (name == "--id") {
      options.id = value;
    } else if (name == "--topic") {
      options.topic = value;
    } else if (name == "--file") {
      options.file = value;
    } else if (name == "--window") {
      options.window = std::atoi(value);
    } else {
      die("unknown option " + std::string(name));
    }
  }
  if (options.port <= 0 || options.id.empty() || options.topic.empty() || options.file.empty()) {
    die("--port, --id, --topic and --file are needed");
  }
  if (options.window < 1 || options.window > 1000) die("--window is 1 to 1000");
  return options;
}

std::vector<Message> read_messages(const std::string& path) {
  std::ifstream file(path);
  if (!file) die("cannot read " + path);
  std::vector<Message> messages;
  for (std::string line; std::getline(file, line);) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) die(path + ": a line without a tab");
    messages.push_back({milliseconds(std::atoll(line.c_str())), line.substr(tab + 1)});
  }
  if (messages.empty()) die(path + ": no messages");
  return messages;
}

class Device {
 public:
  Device(const Options& options, const std::vector<Message>& messages)
      : options_(options), messages_(messages), client_(mosquitto_new(options.id.c_str(), false, this)) {
    if (client_ == nullptr) die("mosquitto_new failed");
    mosquitto_int_option(client_, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311);
    mosquitto_int_option(client_, MOSQ_OPT_SEND_MAXIMUM, options.window);
    mosquitto_int_option(client_, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_connect_with_flags_callback_set(client_, [](mosquitto*, void* self, int code, int flags) {
      static_cast<Device*>(self)->connected(code, flags);
    });
    mosquitto_publish_callback_set(
        client_, [](mosquitto*, void* self, int) { ++static_cast<Device*>(self)->acknowledged_; });
  }
  ~Device() { mosquitto_destroy(client_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // True if every message was acknowledged.
  bool run() {
    started_ = Clock::now();
    while (!done() && stop_asked == 0) {
      if (!socket_open_ && !dial()) {
        tell_now_and_then();
        usleep(static_cast<useconds_t>(std::chrono::microseconds(kReconnectEvery).count()));
        continue;
      }
      if (accepted_) hand_over();
      if (mosquitto_loop(client_, wait_ms(), 1) != MOSQ_ERR_SUCCESS) {
        accepted_ = false;
        socket_open_ = false;
      }
      tell_now_and_then();
    }
    if (accepted_) mosquitto_disconnect(client_);
    tell();
    return done();
  }

 private:
  bool done() const { return acknowledged_ == messages_.size(); }

  // Opens a connection and sends CONNECT.
  bool dial() {
    const int code = dialed_ ? mosquitto_reconnect(client_)
                             : mosquitto_connect(client_, options_.host.c_str(), options_.port, kKeepAlive_s);
    dialed_ = true;
    socket_open_ = code == MOSQ_ERR_SUCCESS;
    return socket_open_;
  }

  void connected(int code, int flags) {
    if (code != 0) return;  // mosquitto_loop() says so too.
    accepted_ = true;
    const bool session_present = (flags & 1) != 0;
    if (connects_ > 0 && !session_present) ++sessions_lost_;
    ++connects_;
  }

  size_t due() const {
    const auto now = Clock::now() - started_;
    while (due_ < messages_.size() && messages_[due_].due <= now) ++due_;
    return due_;
  }

  void hand_over() {
    while (published_ < due() && published_ - acknowledged_ < static_cast<size_t>(options_.window)) {
      const std::string& payload = messages_[published_].payload;
      const int code = mosquitto_publish(client_, nullptr, options_.topic.c_str(),
                                         static_cast<int>(payload.size()), payload.data(), 2, false);
      switch (code) {
        case MOSQ_ERR_SUCCESS:
          ++published_;
          break;
        case MOSQ_ERR_NO_CONN:
        case MOSQ_ERR_CONN_LOST:
        case MOSQ_ERR_ERRNO:
          ++published_;  // In its list all the same: see above.
          return;
        default:
          die(std::string("mosquitto_publish: ") + mosquitto_strerror(code));
      }
    }
  }

  // How long mosquitto_loop() may wait for the broker: not past the next message, if there is room for it.
  int wait_ms() const {
    if (!accepted_ || published_ == messages_.size() ||
        published_ - acknowledged_ >= static_cast<size_t>(options_.window)) {
      return kWaitMax_ms;
    }
    const auto left = messages_[published_].due - (Clock::now() - started_);
    const auto left_ms = std::chrono::ceil<milliseconds>(left).count();
    return left_ms < 0 ? 0 : left_ms > kWaitMax_ms ? kWaitMax_ms : static_cast<int>(left_ms);
  }

  void tell_now_and_then() {
    if (Clock::now() - told_ >= kTellEvery) tell();
  }
  void tell() {
    told_ = Clock::now();
    std::printf(
        "{\"id\":\"%s\",\"total\":%zu,\"due\":%zu,\"published\":%zu,\"acknowledged\":%zu,\"connected\":%s,"
        "\"connects\":%zu,\"sessions_lost\":%zu}\n",
        options_.id.c_str(), messages_.size(), due(), published_, acknowledged_, accepted_ ? "true" : "false",
        connects_, sessions_lost_);
    std::fflush(stdout);
  }

  const Options& options_;
  const std::vector<Message>& messages_;
  mosquitto* const client_;
  Clock::time_point started_;
  Clock::time_point told_;
  mutable size_t due_ = 0;   // The first messages_[0 .. due_) are due.
  size_t published_ = 0;     // Handed over to libmosquitto.
  size_t acknowledged_ = 0;  // Until PUBCOMP.
  size_t connects_ = 0;
  size_t sessions_lost_ = 0;  // The broker did not know us any more: it broke its word.
  bool dialed_ = false;
  bool socket_open_ = false;
  bool accepted_ = false;  // CONNACK was there.
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const std::vector<Message> messages = read_messages(options.file);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGTERM, [](int) { stop_asked = 1; });
  std::signal(SIGINT, SIG_IGN);  // Ctrl-C at the terminal is for the story, which ends us itself.
  mosquitto_lib_init();
  const bool all = Device(options, messages).run();
  mosquitto_lib_cleanup();
  return all ? 0 : 1;
}
