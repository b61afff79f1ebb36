// The core thread: everything that happens becomes one step of the core, and what the step wants is carried
// out.
//
//     wait (epoll)  ->  read up to 64 KiB of each ready socket, collect finished disk jobs  ->
//     core.step(inputs)
//                   ->  jobs to the storage threads, bytes to the sockets, closes, dials  ->  wait
//
// One step handles all that arrived, and a connection gets one write a step, however many packets that are.
// Level triggered: a socket that is not read to its end is simply ready again in the next turn, which keeps
// turns short and connections equal.
//
// Bounds: 64 KiB a connection and turn, 1 MiB a turn; 64 accepted connections a listener and turn;
// `connections_max`; while a connection has more than `unsent_pause_bytes` to send it is not read, above
// `unsent_close_bytes` it is closed. While the disk is far behind (Effects::pause_reading,
// StorageThreads::congested) no connection is read.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/address.h"
#include "io/clock.h"
#include "io/file_descriptor.h"
#include "io/login_thread.h"
#include "io/resolver.h"
#include "io/storage_threads.h"
#include "io/wakeup.h"
#include "node/node.h"

namespace hf::io {

// What the loop drives: a node, or in tests something smaller. See node::Node for what each means.
class Core {
 public:
  virtual ~Core() = default;
  virtual void step(std::span<node::Input> inputs, const Now& now, node::Effects& out) = 0;
  virtual std::optional<Instant> next_deadline() const = 0;
  virtual void shut_down(const Now& now) = 0;
  virtual bool stopped() const = 0;
};

struct AdminReply {
  ConnectionId connection = 0;
  std::string line;  // Without its newline.
};

// Answers requests of operators: a connection to the unix socket whose first byte is '{' sends one JSON
// object a line. Called between steps on the core thread; a step follows each request, so that what it did to
// the core takes effect.
class AdminHandler {
 public:
  virtual ~AdminHandler() = default;
  // Answers into *replies now, or later from after_step().
  virtual void request(ConnectionId connection, Bytes line, const Now& now,
                       std::vector<AdminReply>* replies) = 0;
  // `disk_answered`: a disk job was among the inputs of that step. Returns whether it asked the core for
  // something that takes another step.
  virtual bool after_step(const Now& now, bool disk_answered, std::vector<AdminReply>* replies) = 0;
  // Nobody waits for its answers any more.
  virtual void closed(ConnectionId connection) = 0;
};

using LogSink = std::function<void(const char* event, const std::string& text)>;

struct EventLoopOptions {
  size_t connections_max = 10'000;
  size_t unsent_pause_bytes = 8 << 20;
  size_t unsent_close_bytes = 64 << 20;
  Duration close_timeout = seconds(5);       // For what was sent before a Close to leave.
  Duration first_byte_timeout = seconds(5);  // On the unix socket, which waits to learn who speaks.
  Duration dial_timeout = seconds(5);        // Looking the name up included.
  Duration stop_timeout = seconds(10);       // From the signal to the end, finished or not.
  Duration inline_commit_max =
      microseconds(400);  // A commit runs on the core thread if the last took less; 0: never.
  // Called at least this often while the loop turns and the disk answers.
  Duration heartbeat_interval = seconds(0);  // 0: never.
  std::function<void()> heartbeat;
};

// Makes SIGTERM, SIGINT and SIGHUP wait for the loop, in this thread and those it starts later, and ignores SIGPIPE.
// First thing in main().
void take_signals();
// As many open files as the hard limit allows; returns how many that are.
size_t raise_file_limit();

class EventLoop {
 public:
  // All outlive the loop. `storage` may be null if the core makes no jobs, `admin` if there is nobody to ask.
  EventLoop(Core& core, std::shared_ptr<Wakeup> wakeup, StorageThreads* storage, Clock& clock,
            AdminHandler* admin, LogSink log, EventLoopOptions options = {});
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // The error is a sentence for the operator.
  std::expected<void, std::string> listen_tcp(const std::string& address);
  std::expected<void, std::string> listen_unix(const std::string& path);
  // Where it listens, in the order of the calls, with the port that the system chose for port 0.
  std::vector<std::string> addresses() const;

  // Until SIGTERM, SIGINT, SIGHUP or stop(), and then until the core has stopped. False if it did not stop in time.
  bool run();
  // From any thread, also before run(): ends it as SIGTERM does.
  void stop();

 private:
  enum class Kind : uint8_t {
    kUndecided,  // On the unix socket, before its first byte.
    kMqtt,       // The core knows it.
    kAdmin,
    kClosing,  // Sends what is left, then reads until the peer closes too.
  };

  struct Connection {
    ConnectionId id = 0;
    FileDescriptor socket;
    Kind kind = Kind::kMqtt;
    uint32_t interest = 0;     // What epoll was asked for.
    bool stalled = false;      // Not read because it has too much to send.
    bool broken = false;       // Cannot be written to any more; what the peer sent before is still read.
    bool write_ended = false;  // kClosing: all was sent and the peer was told so.
    std::vector<std::string>
        out;  // Not yet taken by the kernel; the first `out_offset` bytes of out[0] were.
    size_t out_offset = 0;
    size_t out_bytes = 0;
    std::optional<Instant> deadline;  // kUndecided, kClosing: then it is closed.
    std::string line;                 // kAdmin: an unfinished request.
  };

  struct Listener {
    FileDescriptor socket;
    bool local = false;  // A unix socket.
    std::string path;    // Of a unix socket, to be removed at the end.
    std::string address;
  };

  struct Dialing {
    uint64_t serial = 0;
    std::string host;
    uint16_t port = 0;
    std::vector<SocketAddress> addresses;
    size_t next = 0;  // Index of the address to try next.
    FileDescriptor socket;
    Instant deadline;
    Instant attempt_deadline;
    std::string last_error;
  };

  void turn();
  void wait();
  int timeout_ms(Instant now_mono);
  void handle(const epoll_event& event);
  void handle_wakeups();
  void handle_signal();
  void expire();
  void tidy();
  void heartbeat();

  void accept_from(Listener& listener);
  Connection& add_connection(FileDescriptor socket, Kind kind);
  Connection* find(ConnectionId id);
  void update_interest(Connection& connection);
  void destroy(ConnectionId id);
  void lose(Connection& connection);  // The peer is gone: tells who needs to know and destroys it.
  void begin_close(Connection& connection);
  void end_write(Connection& connection);
  void set_deadline(Connection& connection, Instant deadline);

  void read_from(Connection& connection);
  void received(Connection& connection, Bytes bytes);
  void admin_received(Connection& connection, Bytes bytes);
  void send(Connection& connection, std::string bytes);
  bool flush(Connection& connection);
  void break_off(Connection& connection);

  void run_step();
  void carry_out();
  bool anything_ready();
  void deliver_replies();

  void start_dial(const node::Dial& dial);
  void dial_next();
  void dial_answered();
  void dial_stands();
  void dial_failed(std::string error);

  void begin_stop();
  bool finished();
  void set_paused(bool paused);
  void log(const char* event, const std::string& text) {
    if (log_) log_(event, text);
  }

  Core& core_;
  const std::shared_ptr<Wakeup> wakeup_;
  StorageThreads* const storage_;
  Clock& clock_;
  AdminHandler* const admin_;
  const LogSink log_;
  const EventLoopOptions options_;

  FileDescriptor epoll_;
  FileDescriptor signals_;
  FileDescriptor spare_;  // Given up for a moment to refuse a connection when no descriptor is left.
  Resolver resolver_;
  LoginThread logins_;
  std::vector<Listener> listeners_;
  std::unordered_map<ConnectionId, std::unique_ptr<Connection>> connections_;
  ConnectionId connection_last_ = 0;
  std::vector<ConnectionId> with_deadline_;  // Connections that may have one; few.
  std::vector<ConnectionId> unread_;         // Ready when nobody might be read.

  Now now_;
  std::vector<epoll_event> events_;
  size_t event_count_ = 0;         // Events got and not yet handled.
  std::unique_ptr<char[]> arena_;  // What was read in this turn, until the step ends.
  size_t arena_used_ = 0;
  std::vector<node::Input> inputs_;
  std::vector<std::unique_ptr<store::Job>> done_;
  std::vector<std::unique_ptr<node::LoginWork>> logins_done_;
  node::Effects effects_;
  std::vector<AdminReply> replies_;
  size_t received_since_commit_ = 0;  // Bytes; about what the next commit holds.
  size_t received_in_burst_ = 0;      // Bytes since tidy() looked.
  bool in_burst_ = false;
  Instant tidy_due_;
  bool step_due_ = false;
  bool paused_ = false;

  std::unique_ptr<Dialing> dialing_;  // The one that is out.
  uint64_t dial_serial_ = 0;

  std::atomic<bool> stop_asked_{false};
  bool stopping_ = false;
  Instant stop_deadline_;
  std::optional<Instant> linger_deadline_;
  Instant heartbeat_due_;
  Instant disk_answered_;
  Instant refusal_logged_;
};

}  // namespace hf::io
