#include "io/event_loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/assert.h"
#include "io/errno_text.h"
#include "io/listener.h"
#include "io/memory.h"
#include "io/socket_options.h"

namespace hf::io {

namespace {

constexpr size_t kReadBytesMax = 64 << 10;  // Of one connection in one turn.
// A step begins when so much is there, and more is read after it. Where many send at once, the disk then gets its next commit while
// what is behind it is still read: with one step for all, everybody's messages go into one commit, and disk and core wait in turn.
constexpr size_t kStepBytes = 128 << 10;
constexpr size_t kEventsMax = 256;
constexpr int kAcceptsMax = 64;
constexpr size_t kIovecMax = 64;
// A request may hold a topic of 65,535 bytes, each of them escaped.
constexpr size_t kAdminLineBytesMax = 512 << 10;
// At most this much came in since the last commit: this one may run inline. (As much as one connection may send in a turn; when
// nobody else has anything to say, two hand-overs between threads cost more than they hide.)
constexpr size_t kSmallBatchBytes = kReadBytesMax;
// The loop looks around this often even when nothing is due: epoll's timeout stands still while the machine
// sleeps, but the core's clock does not.
constexpr Duration kSleepMax = seconds(10);
constexpr Duration kDiskSilenceMax = seconds(60);
constexpr Duration kLinger = seconds(1);
// A burst is over when this little came in for that long.
constexpr Duration kBurstInterval = seconds(5);
constexpr size_t kBurstBytes = 1 << 20;

// What epoll gives back: a connection's identifier, or one of these.
constexpr uint64_t kTag = uint64_t{1} << 63;
constexpr uint64_t kTagWakeup = kTag | 1;
constexpr uint64_t kTagSignal = kTag | 2;
constexpr uint64_t kTagDial = kTag | 3;
constexpr uint64_t kTagFiles = kTag | 4;
constexpr uint64_t kTagNetwork = kTag | 5;
constexpr uint64_t kTagListener = kTag | 1024;  // Plus the listener's index.

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

// SIGHUP asks for the watched files to be read again.
sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

bool disk_answered_in(std::span<const node::Input> inputs) {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const node::Input& input) { return std::holds_alternative<node::JobDone>(input); });
}

std::optional<Instant> earlier(std::optional<Instant> a, std::optional<Instant> b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

}  // namespace

void take_signals() {
  const sigset_t set = our_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

size_t raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t soft = limit.rlim_cur;
  // More than this nobody needs here, and tables in the kernel grow with it.
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 1 << 20);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return soft;
  return limit.rlim_cur;
}

EventLoop::EventLoop(Core& core, std::shared_ptr<Wakeup> wakeup, StorageThreads* storage, Clock& clock,
                     AdminHandler* admin, LogSink log, EventLoopOptions options)
    : core_(core),
      wakeup_(std::move(wakeup)),
      storage_(storage),
      clock_(clock),
      admin_(admin),
      log_(std::move(log)),
      options_(std::move(options)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      dialer_(epoll_.get(), kTagDial, wakeup_),
      logins_(*wakeup_, "hf-logins"),
      say_([this](const char* event, const std::string& text) { this->log(event, text); }),
      handshakes_(*wakeup_, "hf-handshake"),
      certificate_checks_(*wakeup_, "hf-certificates"),
      events_(kEventsMax),
      arena_(std::make_unique_for_overwrite<char[]>(kArenaBytes)) {
  HF_ASSERT(epoll_.valid());
  now_ = clock_.now();
  disk_answered_ = now_.mono;

  const sigset_t set = our_signals();
  signals_ = FileDescriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  HF_ASSERT(signals_.valid());

  for (const auto& [tag, descriptor] : {std::pair{kTagWakeup, wakeup_->descriptor()},
                                        {kTagSignal, signals_.get()},
                                        {kTagFiles, files_.descriptor()}}) {
    if (descriptor < 0) continue;  // The system has no more watches: then SIGHUP tells of changes.
    epoll_event event{.events = EPOLLIN, .data = {.u64 = tag}};
    HF_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) == 0);
  }
}

EventLoop::~EventLoop() {
  for (const Listener& listener : listeners_) {
    if (!listener.path.empty() && listener.socket.valid()) ::unlink(listener.path.c_str());
  }
}

// --- Listening.

std::expected<void, std::string> EventLoop::listen_tcp(const std::string& address) {
  auto socket = io::listen_tcp(address);
  if (!socket) return std::unexpected(socket.error());
  const std::string text = local_address(socket->get()).text();
  add_listener({.socket = std::move(*socket), .address = text});
  return {};
}

std::expected<void, std::string> EventLoop::listen_unix(const std::string& path) {
  auto socket = io::listen_unix(path);
  if (!socket) return std::unexpected(socket.error());
  add_listener({.socket = std::move(*socket), .admin = true, .path = path, .address = path});
  return {};
}

void EventLoop::add_listener(Listener listener) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kTagListener + listeners_.size()}};
  HF_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener.socket.get(), &event) == 0);
  listeners_.push_back(std::move(listener));
}

void EventLoop::set_listening(const Listener& listener, bool listening) {
  const auto index = static_cast<uint64_t>(&listener - listeners_.data());
  epoll_event event{.events = listening ? uint32_t{EPOLLIN} : 0, .data = {.u64 = kTagListener + index}};
  HF_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listener.socket.get(), &event) == 0);
}

void EventLoop::watch_files(std::vector<std::string> files, std::function<void()> changed) {
  files_.watch(std::move(files), std::move(changed));
}

void EventLoop::watch_network() {
  network_.emplace();
  if (network_->descriptor() < 0) {
    log("HF-IO-006",
        "changes of the network cannot be watched (" + network_->error() +
            "): when it returns, the parent is dialed at the next attempt and not at once; allow this "
            "process sockets of AF_NETLINK");
    network_.reset();
    return;
  }
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kTagNetwork}};
  HF_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, network_->descriptor(), &event) == 0);
}

std::vector<std::string> EventLoop::addresses() const {
  std::vector<std::string> all;
  for (const Listener& listener : listeners_) all.push_back(listener.address);
  return all;
}

void EventLoop::accept_from(Listener& listener) {
  for (int i = 0; i < kAcceptsMax && listener.socket.valid(); ++i) {
    // Nobody has to go unless somebody waits: that is known of the first only. Epoll tells of the next.
    const bool full = listener.door && openings_.size() >= options_.openings_max;
    if (full && (i > 0 || !make_room())) return;
    FileDescriptor socket(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EMFILE && errno != ENFILE) return;
      // Nobody can be let in, but who waits unanswered would keep this listener ready for ever.
      spare_.reset();
      refuse_connection(FileDescriptor(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC)));
      continue;
    }
    if (connections_.size() >= options_.connections_max) {
      refuse_connection(std::move(socket));
      continue;
    }
    if (listener.http && !make_http_room()) continue;
    if (listener.admin) {
      Connection& connection = add_connection(std::move(socket), Kind::kUndecided);
      set_deadline(connection, now_.mono + options_.first_byte_timeout);
      continue;
    }
    if (listener.path.empty()) set_tcp_options(socket.get(), /*dialed=*/false);
    const SocketAddress peer = peer_address(socket.get());
    if (listener.door) {
      auto passage = std::make_unique<Passage>();
      passage->chain = listener.door->chain();
      passage->loopback = peer.loopback();
      passage->peer = peer.text();
      passage->http = listener.http;
      passage->tls = listener.door->tls();
      begin_opening(std::move(socket), std::move(passage));
      continue;
    }
    if (listener.http) {
      Connection& connection = add_connection(std::move(socket), Kind::kHttp);
      https_.insert(connection.id);
      begin_http(connection, {listener.http, peer.loopback(), peer.host()});
      continue;
    }
    const Connection& connection = add_connection(std::move(socket), Kind::kMqtt);
    inputs_.emplace_back(node::Connected{connection.id, peer.loopback(), peer.text(), ""});
  }
}

void EventLoop::refuse_connection(FileDescriptor socket) {
  socket.reset();
  if (!spare_.valid()) spare_ = FileDescriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (now_.mono < refusal_logged_ + seconds(10)) return;
  refusal_logged_ = now_.mono;
  log("HF-IO-001", "refused a connection: " + std::to_string(connections_.size()) +
                       " are open, which is as many as this node may have; raise its limit of open files");
}

// --- The connection table.

EventLoop::Connection& EventLoop::add_connection(FileDescriptor socket, Kind kind) {
  auto connection = std::make_unique<Connection>();
  connection->id = ++connection_last_;
  connection->kind = kind;
  connection->socket = std::move(socket);
  connection->interest = EPOLLIN;
  epoll_event event{.events = EPOLLIN, .data = {.u64 = connection->id}};
  HF_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection->socket.get(), &event) == 0);
  return *(connections_[connection->id] = std::move(connection));
}

EventLoop::Connection* EventLoop::find(ConnectionId id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

void EventLoop::update_interest(Connection& connection) {
  uint32_t wanted = 0;
  bool readable = connection.kind != Kind::kMqtt || !connection.stalled;
  if (connection.passage && connection.passage->away()) readable = false;
  if (connection.kind == Kind::kHttp)
    readable = !connection.http->busy && !connection.http->due && connection.out_bytes == 0;
  if (readable && paused_ && connection.kind == Kind::kMqtt) {
    // Whatever else kept it from being read before: when the pause ends somebody has to think of it.
    readable = false;
    if (!std::exchange(connection.unread, true)) unread_.push_back(connection.id);
  }
  if (readable) wanted |= EPOLLIN;
  if (connection.out_bytes > 0) wanted |= EPOLLOUT;
  if (wanted == connection.interest) return;
  connection.interest = wanted;
  epoll_event event{.events = wanted, .data = {.u64 = connection.id}};
  HF_ASSERT(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.socket.get(), &event) == 0);
}

void EventLoop::set_deadline(Connection& connection, Instant deadline) {
  if (!connection.deadline) with_deadline_.push_back(connection.id);
  connection.deadline = deadline;
}

void EventLoop::destroy(ConnectionId id) {
  https_.erase(id);
  connections_.erase(id);
}

void EventLoop::lose(Connection& connection) {
  if (connection.kind == Kind::kOpening) {
    blame(*connection.passage);
    return lose_opening(connection, door_counters_.failed, "the connection ended during the handshake");
  }
  if (connection.kind == Kind::kMqtt) inputs_.emplace_back(node::Closed{connection.id});
  if (connection.kind == Kind::kAdmin && admin_ != nullptr) admin_->closed(connection.id);
  if (connection.kind == Kind::kHttp) forget_request(connection);
  if (connection.out_bytes > 0) {
    // A peer that does not read: a reset, so that the kernel does not go on keeping the bytes for it either.
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(connection.socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  destroy(connection.id);
}

void EventLoop::begin_close(Connection& connection) {
  if (connection.kind == Kind::kClosing) return;
  if (connection.broken) return destroy(connection.id);
  if (connection.passage) connection.passage->chain->finish(&connection.passage->reply);
  hang_up(connection);
}

// What is left to be sent leaves, nothing that comes is looked at, and that was it.
void EventLoop::hang_up(Connection& connection) {
  const ConnectionId id = connection.id;
  connection.kind = Kind::kClosing;
  set_deadline(connection, now_.mono + options_.close_timeout);
  if (connection.passage) {
    write(connection, std::exchange(connection.passage->reply, {}));
    if (find(id) == nullptr) return;
    if (connection.broken) return destroy(id);
  }
  if (connection.out_bytes == 0) return end_write(connection);
  update_interest(connection);
}

// close() with unread bytes in the socket makes the kernel reset the connection, and a reset may overtake
// what was sent (the reason in a DISCONNECT). So only our direction ends, and the peer gets a moment to end
// its own.
void EventLoop::end_write(Connection& connection) {
  if (connection.write_ended) return;
  connection.write_ended = true;
  if (::shutdown(connection.socket.get(), SHUT_WR) != 0) return destroy(connection.id);
  set_deadline(connection, std::min(*connection.deadline, now_.mono + kLinger));
  update_interest(connection);
}

void EventLoop::set_paused(bool paused) {
  if (paused_ == paused) return;
  paused_ = paused;
  paused_since_ = now_.mono;
  if (paused) return;  // Each ready connection is taken out as it comes up.
  for (const ConnectionId id : std::exchange(unread_, {})) {
    Connection* const connection = find(id);
    if (connection == nullptr) continue;
    connection->unread = false;
    update_interest(*connection);
  }
}

// --- Reading.

void EventLoop::read_from(Connection& connection) {
  if (arena_used_ >= kStepBytes) {
    const ConnectionId id = connection.id;
    run_step();
    if (find(id) == nullptr) return;
  }
  char* const at = arena_.get() + arena_used_;
  const ssize_t count = ::recv(connection.socket.get(), at, kReadBytesMax, 0);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return lose(connection);
  }
  if (count == 0) return lose(connection);
  const Bytes bytes(at, static_cast<size_t>(count));
  if (connection.passage && connection.kind != Kind::kClosing) return through_filters(connection, bytes);
  received(connection, bytes);
}

void EventLoop::received(Connection& connection, Bytes bytes) {
  if (connection.kind == Kind::kUndecided) {
    connection.deadline.reset();
    constexpr char kConnectByte = 0x10;
    if (bytes.front() == kConnectByte) {
      connection.kind = Kind::kMqtt;
      inputs_.emplace_back(node::Connected{connection.id, /*loopback=*/true, "unix", ""});
    } else if (bytes.front() == '{' && admin_ != nullptr) {
      connection.kind = Kind::kAdmin;
    } else {
      return destroy(connection.id);
    }
  }
  switch (connection.kind) {
    case Kind::kMqtt:
      arena_used_ += bytes.size();
      inputs_.emplace_back(node::Received{connection.id, bytes});
      return;
    case Kind::kAdmin:
      return admin_received(connection, bytes);
    case Kind::kHttp:
      return http_received(connection, bytes);
    case Kind::kUndecided:
    case Kind::kOpening:
    case Kind::kClosing:
      return;
  }
}

void EventLoop::admin_received(Connection& connection, Bytes bytes) {
  connection.line.append(bytes);
  size_t begin = 0;
  for (size_t end = connection.line.find('\n'); end != std::string::npos;
       end = connection.line.find('\n', begin)) {
    const Bytes line = Bytes(connection.line).substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    admin_->request(connection.id, line, now_, &replies_);
    step_due_ = true;
  }
  connection.line.erase(0, begin);
  if (connection.line.size() > kAdminLineBytesMax) return lose(connection);
  deliver_replies();
}

void EventLoop::deliver_replies() {
  for (AdminReply& reply : std::exchange(replies_, {})) {
    Connection* connection = find(reply.connection);
    if (connection != nullptr && connection->kind == Kind::kHttp) {
      respond(*connection, http_->admin_answered(reply.connection, reply.line));
      continue;
    }
    if (connection == nullptr || connection->kind != Kind::kAdmin) continue;
    reply.line += '\n';
    send(*connection, std::move(reply.line));
  }
}

// --- Writing.

void EventLoop::send(Connection& connection, std::string&& bytes) {
  if (!connection.passage) return write(connection, std::move(bytes));
  send_filtered(connection, [&](auto&& take) { take(Bytes(bytes)); });
}

void EventLoop::send(Connection& connection, node::Send& effect) {
  if (connection.passage) {
    return send_filtered(connection, [&](auto&& take) { effect.for_each_part(take); });
  }
  if (effect.passed.empty()) return write(connection, std::move(effect.bytes));
  write_parts(connection, effect);
}

template <typename Give>
void EventLoop::send_filtered(Connection& connection, Give&& give) {
  Passage& passage = *connection.passage;
  std::string wire = std::exchange(passage.reply, {});
  give([&](Bytes part) { passage.chain->send(part, &wire); });
  if (passage.chain->state() == Filter::State::kFailed) return break_off(connection);
  write(connection, std::move(wire));
}

// A full socket is left alone until epoll says that it has room.
void EventLoop::write(Connection& connection, std::string&& bytes) {
  if (connection.broken || bytes.empty()) return;
  ssize_t count = 0;
  if (connection.out_bytes == 0) {
    count = ::send(connection.socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count == static_cast<ssize_t>(bytes.size())) return;
    if (count < 0 && errno != EAGAIN && errno != EINTR) return break_off(connection);
  }
  keep_unsent(connection, std::move(bytes), static_cast<size_t>(std::max<ssize_t>(count, 0)));
}

// From where the parts lie. What the kernel does not take at once is copied: by the next turn something else lies there.
void EventLoop::write_parts(Connection& connection, const node::Send& effect) {
  if (connection.broken) return;
  iovec parts[kIovecMax];
  size_t part_count = 0;
  size_t size = 0;
  effect.for_each_part([&](Bytes part) {
    size += part.size();
    if (part_count < kIovecMax) parts[part_count++] = {const_cast<char*>(part.data()), part.size()};
  });
  ssize_t count = 0;
  if (connection.out_bytes == 0) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = part_count;
    count = ::sendmsg(connection.socket.get(), &message, MSG_NOSIGNAL);
    if (count == static_cast<ssize_t>(size)) return;
    if (count < 0 && errno != EAGAIN && errno != EINTR) return break_off(connection);
  }
  const auto taken = static_cast<size_t>(std::max<ssize_t>(count, 0));
  std::string rest;
  rest.reserve(size - taken);
  size_t skip = taken;
  effect.for_each_part([&](Bytes part) {
    const size_t skipped = std::min(skip, part.size());
    skip -= skipped;
    rest.append(part.substr(skipped));
  });
  keep_unsent(connection, std::move(rest), 0);
}

void EventLoop::keep_unsent(Connection& connection, std::string&& bytes, size_t taken) {
  if (connection.out_bytes == 0) connection.out_offset = taken;
  connection.out_bytes += bytes.size() - taken;
  connection.out.push_back(std::move(bytes));
  if (connection.out_bytes > options_.unsent_close_bytes) {
    log("HF-IO-002", "closed a connection that did not read: " + std::to_string(connection.out_bytes) +
                         " bytes waited for it");
    return lose(connection);
  }
  if (connection.out_bytes > options_.unsent_pause_bytes) connection.stalled = true;
  update_interest(connection);
  if (connection.kind == Kind::kMqtt) inputs_.emplace_back(node::Unsent{connection.id, connection.out_bytes});
}

// The connection cannot be written to any more. What the peer sent before that (a DISCONNECT, say) is still read, and the end
// of it is the end of the connection.
void EventLoop::break_off(Connection& connection) {
  connection.broken = true;
  connection.out.clear();
  connection.out_offset = 0;
  connection.out_bytes = 0;
  connection.stalled = false;
  update_interest(connection);
  set_deadline(connection, now_.mono + options_.close_timeout);
}

// One write of as much as the kernel takes; false if the connection broke.
bool EventLoop::flush(Connection& connection) {
  iovec parts[kIovecMax];
  size_t part_count = 0;
  for (; part_count < std::min(connection.out.size(), kIovecMax); ++part_count) {
    std::string& part = connection.out[part_count];
    const size_t skip = part_count == 0 ? connection.out_offset : 0;
    parts[part_count] = {part.data() + skip, part.size() - skip};
  }
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = part_count;
  const ssize_t count = ::sendmsg(connection.socket.get(), &message, MSG_NOSIGNAL);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return true;
    break_off(connection);
    return false;
  }
  connection.out_bytes -= static_cast<size_t>(count);
  size_t done = connection.out_offset + static_cast<size_t>(count);
  size_t whole = 0;
  while (whole < connection.out.size() && done >= connection.out[whole].size())
    done -= connection.out[whole++].size();
  connection.out.erase(connection.out.begin(), connection.out.begin() + static_cast<ptrdiff_t>(whole));
  connection.out_offset = done;
  if (connection.out.empty()) connection.out.shrink_to_fit();  // Most connections never wait.
  return true;
}

// --- Steps.

void EventLoop::run_step() {
  take_disk_done();
  received_since_commit_ += arena_used_;
  received_in_burst_ += arena_used_;
  const bool disk_answered = disk_answered_in(inputs_);
  effects_.clear();
  core_.step(inputs_, now_, effects_);
  inputs_.clear();
  arena_used_ = 0;
  step_due_ = false;
  carry_out();
  if (admin_ != nullptr) {
    if (admin_->after_step(now_, disk_answered, &replies_)) step_due_ = true;
    deliver_replies();
  }
}

// Whether a turn now would find something to do, or this one has more. Keeps what epoll said for that turn.
bool EventLoop::anything_ready() {
  if (event_count_ == 0) {
    const int count = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), 0);
    event_count_ = static_cast<size_t>(std::max(count, 0));
  }
  return event_count_ > 0 || !inputs_.empty();
}

void EventLoop::carry_out() {
  // The disk first: it works while the sockets are written.
  std::unique_ptr<store::Job> inline_job;
  for (auto& job : effects_.jobs) {
    HF_ASSERT(storage_ != nullptr);
    if (storage_->outstanding() == 0) disk_answered_ = now_.mono;  // Its silence begins now.
    const bool commit = job->lane() == store::Lane::kCommit;
    const bool small =
        std::exchange(received_since_commit_, commit ? 0 : received_since_commit_) <= kSmallBatchBytes;
    if (commit && small && effects_.jobs.size() == 1 && storage_->outstanding() == 0 &&
        options_.inline_commit_max > Duration{0}) {
      inline_job = std::move(job);
    } else {
      storage_->submit(std::move(job));
    }
  }
  for (auto& work : effects_.logins) logins_.submit(std::move(work));
  for (node::Send& effect : effects_.sends) {
    Connection* connection = find(effect.connection);
    if (connection != nullptr && connection->kind == Kind::kMqtt) send(*connection, effect);
  }
  for (const node::Close& effect : effects_.closes) {
    if (Connection* connection = find(effect.connection)) begin_close(*connection);
  }
  if (effects_.dial) {
    dialer_.start(*effects_.dial, now_.mono, options_.dial_timeout);
    take_dialed();
  }
  for (const node::LogLine& line : effects_.log) log(line.event, line.text);
  set_paused(effects_.pause_reading || (storage_ != nullptr && storage_->congested()));

  if (inline_job) {
    if (!anything_ready() && storage_->run_inline(*inline_job, options_.inline_commit_max)) {
      disk_answered_ = now_.mono;
      inputs_.emplace_back(node::JobDone{std::move(inline_job)});
    } else {
      storage_->submit(std::move(inline_job));
    }
  }
}

// --- Dialing.

void EventLoop::take_dialed() {
  auto outcome = dialer_.take_outcome();
  if (!outcome) return;
  if (!outcome->socket.valid()) {
    inputs_.emplace_back(node::Dialed{0, std::move(outcome->error)});
  } else if (dial_tls_) {
    begin_dialed_opening(std::move(outcome->socket), outcome->host);
  } else {
    const Connection& connection = add_connection(std::move(outcome->socket), Kind::kMqtt);
    dialed_ = connection.id;
    inputs_.emplace_back(node::Dialed{connection.id, ""});
  }
}

// What stands on an address that is gone will never be answered again. What stands on one that is still here may live, even
// if the route changed: its keep alive knows.
void EventLoop::network_changed() {
  Connection* const connection = find(dialed_);
  if (connection != nullptr && connection->kind != Kind::kClosing) {
    const SocketAddress own = local_address(connection->socket.get());
    if (!address_is_here(own)) {
      log("HF-IO-005",
          "closed the connection to the parent: its address, " + own.host() + ", is gone from this machine");
      lose(*connection);
    }
  }
  dialer_.network_changed(now_.mono, options_.dial_timeout);
  take_dialed();
  inputs_.emplace_back(node::NetworkChanged{});
}

// --- The turn.

bool EventLoop::run() {
  while (!finished()) turn();
  return core_.stopped();
}

void EventLoop::stop() {
  stop_asked_.store(true, std::memory_order_seq_cst);
  wakeup_->notify();
}

void EventLoop::turn() {
  wait();
  now_ = clock_.now();
  handle_wakeups();
  // What became durable leaves before anything else is read, and the disk gets what waited for it.
  if (disk_answered_in(inputs_)) run_step();
  for (size_t i = 0; i < event_count_; ++i) handle(events_[i]);
  event_count_ = 0;
  serve_http_due();
  expire();
  const auto due = core_.next_deadline();
  if (!inputs_.empty() || step_due_ || (due && *due <= now_.mono)) run_step();
  if (!owing_.empty()) send_replies();
  tidy();
  heartbeat();
}

void EventLoop::wait() {
  if (event_count_ > 0) return;
  int timeout = timeout_ms(clock_.now().mono);
  if (timeout > 0) {
    wakeup_->about_to_sleep();
    const bool work = (storage_ != nullptr && storage_->has_done()) || dialer_.has_answer() ||
                      logins_.has_done() || handshakes_.has_done() || certificate_checks_.has_done() ||
                      (admin_ != nullptr && admin_->work_done()) ||
                      stop_asked_.load(std::memory_order_seq_cst);
    if (work) timeout = 0;
  }
  const int count = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout);
  event_count_ = static_cast<size_t>(std::max(count, 0));
  wakeup_->awake();
}

int EventLoop::timeout_ms(Instant now_mono) {
  if (!inputs_.empty() || step_due_ || !http_due_.empty()) return 0;
  if (storage_ != nullptr && storage_->has_done()) return 0;
  if (handshakes_.has_done() || certificate_checks_.has_done()) return 0;
  std::optional<Instant> due = core_.next_deadline();
  if (!dialer_.idle()) due = earlier(due, dialer_.deadline());
  if (files_.pending()) due = earlier(due, files_.deadline());
  if (network_ && network_->pending()) due = earlier(due, network_->deadline());
  if (doors_shut_) due = earlier(due, doors_deadline());
  for (const ConnectionId id : with_deadline_) {
    if (const Connection* connection = find(id)) due = earlier(due, connection->deadline);
  }
  if (stopping_) due = earlier(due, earlier(stop_deadline_, linger_deadline_));
  if (options_.heartbeat_interval > Duration{0}) due = earlier(due, heartbeat_due_);
  if (in_burst_ || received_in_burst_ >= kBurstBytes) due = earlier(due, tidy_due_);

  const Instant latest = now_mono + kSleepMax;
  const Instant until = due ? std::min(*due, latest) : latest;
  if (until <= now_mono) return 0;
  return static_cast<int>(((until - now_mono).ns + 999'999) / 1'000'000);
}

// Also right before a step, so that it knows all there is to know.
void EventLoop::take_disk_done() {
  if (storage_ == nullptr || !storage_->has_done()) return;
  storage_->take_done(&done_);
  for (auto& job : done_) inputs_.emplace_back(node::JobDone{std::move(job)});
  done_.clear();
  disk_answered_ = now_.mono;
}

void EventLoop::handle_wakeups() {
  take_disk_done();
  if (logins_.has_done()) {
    for (auto& work : logins_.take_done()) inputs_.emplace_back(node::LoginDone{std::move(work)});
  }
  if (dialer_.has_answer()) {
    dialer_.collect(now_.mono);
    take_dialed();
  }
  if (admin_ != nullptr && admin_->work_done()) step_due_ = true;
  if (handshakes_.has_done()) take_handshakes();
  if (certificate_checks_.has_done()) take_certificate_checks();
  if (stop_asked_.exchange(false, std::memory_order_seq_cst)) begin_stop();
}

void EventLoop::handle(const epoll_event& event) {
  const uint64_t tag = event.data.u64;
  if (tag == kTagWakeup) return wakeup_->drain();
  if (tag == kTagSignal) return handle_signal();
  if (tag == kTagFiles) return files_.readable(now_.mono);
  if (tag == kTagNetwork) return network_->readable(now_.mono);
  if (tag == kTagDial) {
    dialer_.answered(now_.mono);
    return take_dialed();
  }
  if (tag >= kTagListener) return accept_from(listeners_[tag - kTagListener]);

  Connection* connection = find(tag);
  if (connection == nullptr) return;  // Gone earlier in this turn.
  if ((event.events & EPOLLOUT) != 0 && connection->out_bytes > 0 && flush(*connection)) {
    if (connection->out_bytes < options_.unsent_pause_bytes / 2) connection->stalled = false;
    update_interest(*connection);
    if (connection->kind == Kind::kMqtt) inputs_.emplace_back(node::Unsent{tag, connection->out_bytes});
    if (connection->kind == Kind::kHttp) http_flushed(*connection);
    if (connection->kind == Kind::kClosing && connection->out_bytes == 0) end_write(*connection);
    connection = find(tag);
    if (connection == nullptr) return;
  }
  const bool ended = (event.events & (EPOLLHUP | EPOLLERR)) != 0;
  if ((event.events & EPOLLIN) == 0 && !ended) return;
  if (ended && connection->passage && connection->passage->away()) return lose(*connection);
  update_interest(*connection);
  // A connection that has ended is read to its end even during a pause: epoll would not stop to report it,
  // and what it still holds is little.
  if ((connection->interest & EPOLLIN) != 0 || ended) read_from(*connection);
}

void EventLoop::expire() {
  if (!dialer_.idle()) {
    dialer_.expire(now_.mono);
    take_dialed();
  }
  if (files_.pending()) files_.expire(now_.mono);
  if (network_ && network_->expire(now_.mono)) network_changed();
  if (doors_shut_ && (openings_.size() < options_.openings_max || evictable() != nullptr))
    set_doors_shut(false);
  if (with_deadline_.empty()) return;
  std::erase_if(with_deadline_, [this](ConnectionId id) {
    Connection* connection = find(id);
    if (connection == nullptr || !connection->deadline) return true;
    if (*connection->deadline > now_.mono) return false;
    if (connection->kind == Kind::kHttp) return expire_http(*connection);
    if (connection->kind == Kind::kOpening) {
      blame(*connection->passage);
      lose_opening(*connection, door_counters_.timed_out, "the handshake took too long");
    } else {
      lose(*connection);
    }
    return true;
  });
}

// After a burst the memory it took goes back.
void EventLoop::tidy() {
  if (now_.mono < tidy_due_) return;
  tidy_due_ = now_.mono + kBurstInterval;
  const bool burst = std::exchange(received_in_burst_, 0) >= kBurstBytes;
  if (std::exchange(in_burst_, burst) && !burst) {
    effects_.sends = node::Sends();
    give_back_memory();
  }
}

void EventLoop::heartbeat() {
  if (options_.heartbeat_interval == Duration{0} || now_.mono < heartbeat_due_) return;
  heartbeat_due_ = now_.mono + options_.heartbeat_interval;
  const bool disk_silent =
      storage_ != nullptr && storage_->outstanding() > 0 && now_.mono - disk_answered_ > kDiskSilenceMax;
  if (!disk_silent) options_.heartbeat();
}

// --- The end.

void EventLoop::handle_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGHUP) {
      log("HF-IO-004", "SIGHUP: certificates and other watched files are read again");
      files_.now_all();
    } else if (stopping_) {
      stop_deadline_ = now_.mono;  // Asked twice: at once.
    } else {
      begin_stop();
    }
  }
}

void EventLoop::begin_stop() {
  if (stopping_) return;
  stopping_ = true;
  stop_deadline_ = now_.mono + options_.stop_timeout;
  // Who asks for status while the node stops still gets an answer; new clients do not.
  for (Listener& listener : listeners_) {
    if (listener.admin || !listener.socket.valid()) continue;
    if (!listener.path.empty()) ::unlink(listener.path.c_str());
    listener.socket.reset();
  }
  // Who is still at the door is a new client too.
  for (const ConnectionId id : std::exchange(openings_, {})) destroy(id);
  core_.shut_down(now_);
  step_due_ = true;
}

bool EventLoop::finished() {
  if (!stopping_) return false;
  if (now_.mono >= stop_deadline_) return true;
  if (!core_.stopped()) return false;
  if (!linger_deadline_) linger_deadline_ = now_.mono + kLinger;
  if (now_.mono >= *linger_deadline_) return true;
  return std::none_of(connections_.begin(), connections_.end(),
                      [](const auto& entry) { return entry.second->out_bytes > 0; });
}

}  // namespace hf::io
