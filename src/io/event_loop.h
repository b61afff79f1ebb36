// The core thread: everything that happens becomes one step of the core, and what the step wants is carried
// out.
//
//     wait (epoll)  ->  read up to 64 KiB of each ready socket, collect finished disk jobs  ->
//     core.step(inputs)
//                   ->  jobs to the storage threads, bytes to the sockets, closes, dials  ->  wait
//
// A step handles all that arrived, up to 128 KiB and one read more, and a connection gets one write a step, however many packets
// that are. A disk job that has finished gets a step before anything more is read.
// Level triggered: a socket that is not read to its end is simply ready again in the next turn, which keeps
// turns short and connections equal.
//
// Connections that came through a door (io/door.h) pass its filters first; the core hears of them when those stand. The
// handshakes of TLS run on a thread of their own. Other connections know nothing of this: what they send is read
// into the arena, and the core sees it there.
//
// Bounds: 64 KiB a connection and turn, 192 KiB a step; 64 accepted connections a listener and turn;
// `connections_max`; `openings_max` connections whose handshake is not finished: then doors accept nobody and the
// kernel's queue waits, unless the oldest of them has kept us waiting for `eviction_age` and is closed. While a connection
// has more than `unsent_pause_bytes` to send it is not read, above `unsent_close_bytes` it is closed. While the disk is far
// behind (Effects::pause_reading, StorageThreads::congested) no connection is read.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "io/address.h"
#include "io/certificate_check.h"
#include "io/clock.h"
#include "io/dialer.h"
#include "io/door.h"
#include "io/file_descriptor.h"
#include "io/file_watch.h"
#include "io/handshake.h"
#include "io/handshake_limits.h"
#include "io/http_service.h"
#include "io/network_watch.h"
#include "io/storage_threads.h"
#include "io/wakeup.h"
#include "io/work_thread.h"
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
  // Whether handshakes from there (identity/network.h) are bounded in their rate.
  virtual bool wary_of(const std::string& network, Instant now) const {
    (void)network, (void)now;
    return false;
  }
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
  // Whether something that it had done on a thread of its own has ended: a step is due, so that after_step() can answer. That
  // thread wakes the loop.
  virtual bool work_done() const { return false; }
  // `disk_answered`: a disk job was among the inputs of that step. Returns whether it asked the core for
  // something that takes another step.
  virtual bool after_step(const Now& now, bool disk_answered, std::vector<AdminReply>* replies) = 0;
  // Nobody waits for its answers any more.
  virtual void closed(ConnectionId connection) = 0;
};

using LogSink = std::function<void(const char* event, const std::string& text)>;

struct EventLoopOptions {
  size_t connections_max = 10'000;
  size_t openings_max = 256;
  size_t unsent_pause_bytes = 8 << 20;
  size_t unsent_close_bytes = 64 << 20;
  Duration close_timeout = seconds(5);       // For what was sent before a Close to leave.
  Duration first_byte_timeout = seconds(5);  // On the unix socket, which waits to learn who speaks.
  Duration handshake_timeout = seconds(10);  // A PROXY header and TLS together.
  Duration upgrade_timeout = seconds(5);     // WebSocket's request, after that.
  Duration eviction_age = seconds(1);
  size_t http_max = 64;                         // Connections that speak HTTP.
  Duration http_idle_timeout = seconds(30);     // Between requests, and while a response does not move.
  Duration http_request_timeout = seconds(10);  // From a request's first byte to its last.
  Duration http_answer_timeout = seconds(30);   // From there to its answer.
  Duration dial_timeout = seconds(5);           // Looking the name up included; TLS is not.
  Duration stop_timeout = seconds(10);          // From the signal to the end, finished or not.
  Duration inline_commit_max =
      microseconds(400);  // A commit runs on the core thread if the last took less; 0: never.
  // Called at least this often while the loop turns and the disk answers.
  Duration heartbeat_interval = seconds(0);  // 0: never.
  std::function<void()> heartbeat;
};

struct CertificateFigures {
  std::string listener;               // Its address; "upstream" for what the link shows.
  int64_t not_after_s = 0;            // Since 1970.
  std::optional<int64_t> crl_made_s;  // The oldest of its revocation lists; likewise.
};

// What the loop says of itself.
struct LoopFigures {
  Now now;
  size_t connections = 0;  // Of all kinds.
  size_t openings = 0;     // Unfinished handshakes.
  DoorCounters doors;
  size_t https = 0;
  HttpCounters http;
  // Held for those who have not said who they are, as far as it is the loop that holds it; the rest is the broker's
  // (broker::Counters::connect_bytes).
  uint64_t preauth_bytes = 0;
  size_t jobs_outstanding = 0;
  Duration disk_silent_for;  // While it has something to do.
  Duration paused_for;       // No client is read, because the disk is far behind.
  bool stopping = false;
  std::vector<CertificateFigures> certificates;  // Of those that are shown.
  Histogram commits;                             // How long the disk took for each.
};

// Makes SIGTERM, SIGINT and SIGHUP wait for the loop, in this thread and those it starts later, and ignores SIGPIPE.
// First thing in main().
void take_signals();
// As many open files as the hard limit allows; returns how many that are.
size_t raise_file_limit();

// Its connections are streams of bytes, in order and whole [MQTT-4.2.0-1].
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
  std::expected<void, std::string> open_door(const DoorOptions& options);
  // Dials use TLS from now on.
  std::expected<void, std::string> dial_with_tls(const TlsClientFiles& files);
  // Tells the core when the network changes, and closes what was dialed when its address is gone from this machine.
  void watch_network();
  // Calls `changed` between turns when one of the files changes, and at SIGHUP.
  void watch_files(std::vector<std::string> files, std::function<void()> changed);
  // Who answers behind doors that speak HTTP; before the first of them is opened. It outlives the loop.
  void serve_http(HttpHandler& handler) { http_ = &handler; }
  // Where it listens, in the order of the calls, with the port that the system chose for port 0.
  std::vector<std::string> addresses() const;

  // Until SIGTERM, SIGINT or stop(), and then until the core has stopped. False if it did not stop in time.
  bool run();
  // From any thread, also before run(): ends it as SIGTERM does.
  void stop();

  const DoorCounters& door_counters() const { return door_counters_; }
  // On the core thread.
  LoopFigures figures();

 private:
  static constexpr size_t kArenaBytes = 192 << 10;  // Of all connections in one step.

  enum class Kind : uint8_t {
    kUndecided,  // On the unix socket, before its first byte.
    kOpening,    // Has not passed its door yet; the core does not know it.
    kMqtt,       // The core knows it.
    kAdmin,
    kHttp,
    kClosing,  // Sends what is left, then reads until the peer closes too.
  };

  // Of a connection that speaks HTTP.
  struct HttpConversation {
    HttpReader reader;
    HttpCaller caller;
    Instant waits_since;     // For a request.
    bool busy = false;       // A request is being answered.
    bool due = false;        // It is in http_due_.
    bool head_only = false;  // Of the request that is being answered.
    bool keep_alive = true;  // Likewise.
  };

  struct Connection {
    ConnectionId id = 0;
    FileDescriptor socket;
    Kind kind = Kind::kMqtt;
    uint32_t interest = 0;     // What epoll was asked for.
    bool stalled = false;      // Not read because it has too much to send.
    bool unread = false;       // It is in unread_.
    bool broken = false;       // Cannot be written to any more; what the peer sent before is still read.
    bool write_ended = false;  // kClosing: all was sent and the peer was told so.
    std::vector<std::string>
        out;  // Not yet taken by the kernel; the first `out_offset` bytes of out[0] were.
    size_t out_offset = 0;
    size_t out_bytes = 0;
    std::optional<Instant> deadline;         // kUndecided, kClosing: then it is closed.
    std::string line;                        // kAdmin: an unfinished request.
    std::unique_ptr<Passage> passage;        // Null: what the socket says is what the core gets.
    std::unique_ptr<HttpConversation> http;  // kHttp, and kClosing after that.
  };

  struct Listener {
    FileDescriptor socket;
    bool admin = false;  // The unix socket of operators.
    std::string path;    // Of a unix socket, to be removed at the end.
    std::string address;
    std::unique_ptr<Door> door;            // Null: straight to the core.
    std::shared_ptr<const HttpDoor> http;  // Null: MQTT.
  };

  void turn();
  void wait();
  int timeout_ms(Instant now_mono);
  void handle(const epoll_event& event);
  void handle_wakeups();
  void take_disk_done();
  void handle_signal();
  void expire();
  void tidy();
  void heartbeat();

  void add_listener(Listener listener);
  void accept_from(Listener& listener);
  void refuse_connection(FileDescriptor socket);
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
  void send(Connection& connection, std::string&& bytes);
  void send(Connection& connection, node::Send& effect);
  // Through the filters: part after part goes to `give`, which hands each to its argument.
  template <typename Give>
  void send_filtered(Connection& connection, Give&& give);
  void write(Connection& connection, std::string&& bytes);
  void write_parts(Connection& connection, const node::Send& effect);
  // What the kernel has not taken of it yet: all but the first `taken` bytes.
  void keep_unsent(Connection& connection, std::string&& bytes, size_t taken);
  bool flush(Connection& connection);
  void break_off(Connection& connection);

  void run_step();
  void carry_out();
  bool anything_ready();
  void deliver_replies();

  void take_dialed();
  void network_changed();

  // Doors: event_loop_doors.cc.
  Connection& begin_opening(FileDescriptor socket, std::unique_ptr<Passage> passage);
  void begin_dialed_opening(FileDescriptor socket, const std::string& host);
  void through_filters(Connection& connection, Bytes wire);
  void filtered(Connection& connection, Bytes core);
  void take_handshakes();
  void reload_door(TlsSource& source);
  void take_certificate_checks();
  void welcome(Connection& connection);
  // Whether it may make work for the handshake thread now.
  bool may_shake_hands(const Passage& passage);
  void blame(const Passage& passage);
  void turn_away(Connection& connection, const std::string& why);
  // Before its handshake was done; `counter` counts it.
  void lose_opening(Connection& connection, uint64_t& counter, const std::string& why);
  void forget_opening(Connection& connection, const std::string& why);
  void hang_up(Connection& connection);
  void deliver(ConnectionId id, Bytes core);
  void send_replies();
  Connection* evictable();
  bool make_room();
  std::optional<Instant> doors_deadline();
  void set_doors_shut(bool shut);
  void set_listening(const Listener& listener, bool listening);

  // HTTP: event_loop_http.cc.
  bool make_http_room();
  void forget_request(const Connection& connection);
  void begin_http(Connection& connection, HttpCaller caller);
  void http_received(Connection& connection, Bytes bytes);
  void serve_http(Connection& connection);
  void serve_http_due();
  void respond(Connection& connection, const HttpResponse& response);
  void http_go_on(Connection& connection);
  void refuse_http(Connection& connection, const HttpMistake& mistake);
  void http_flushed(Connection& connection);
  bool expire_http(Connection& connection);

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
  Dialer dialer_;
  // Each password costs tens of milliseconds and 19 MiB on purpose; node::Logins bounds the queue.
  WorkThread<node::LoginWork> logins_;
  std::vector<Listener> listeners_;
  std::unordered_map<ConnectionId, std::unique_ptr<Connection>> connections_;
  ConnectionId connection_last_ = 0;
  std::vector<ConnectionId> with_deadline_;  // Connections that may have one; few.
  std::vector<ConnectionId> unread_;         // Those whom the pause alone keeps from being read.

  const TlsSource::Say say_;  // log(), for those who get no more of us.
  std::unique_ptr<TlsSource> dial_tls_;
  std::string dial_server_name_;
  WorkThread<Handshake> handshakes_;
  WorkThread<CertificateCheck> certificate_checks_;
  std::set<ConnectionId> openings_;  // kOpening, but for the one that was dialed. Older ones first.
  std::vector<ConnectionId> owing_;  // Those whose filters have a reply for the wire.
  std::string filtered_;             // What filters gave in this call.
  bool doors_shut_ = false;
  DoorCounters door_counters_;
  HandshakeLimits handshake_limits_;
  FileWatch files_;
  std::optional<NetworkWatch> network_;  // Null: nobody dials.
  ConnectionId dialed_ = 0;              // The last one that we dialed, opening or open or gone.

  HttpHandler* http_ = nullptr;
  std::set<ConnectionId> https_;  // Those that speak HTTP or will once their chain stands. Older ones first.
  std::vector<ConnectionId> http_due_;  // Those with a request that was read already; each is there once.
  std::vector<HttpReply> http_replies_;
  HttpCounters http_counters_;

  Now now_;
  std::vector<epoll_event> events_;
  size_t event_count_ = 0;         // Events got and not yet handled.
  std::unique_ptr<char[]> arena_;  // What was read in this turn, until the step ends.
  size_t arena_used_ = 0;
  std::vector<node::Input> inputs_;
  std::vector<std::unique_ptr<store::Job>> done_;
  node::Effects effects_;
  std::vector<AdminReply> replies_;
  size_t received_since_commit_ = 0;  // Bytes; about what the next commit holds.
  size_t received_in_burst_ = 0;      // Bytes since tidy() looked.
  bool in_burst_ = false;
  Instant tidy_due_;
  bool step_due_ = false;
  bool paused_ = false;
  Instant paused_since_;

  std::atomic<bool> stop_asked_{false};
  bool stopping_ = false;
  Instant stop_deadline_;
  std::optional<Instant> linger_deadline_;
  Instant heartbeat_due_;
  Instant disk_answered_;
  Instant refusal_logged_;
};

}  // namespace hf::io
