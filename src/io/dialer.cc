#include "io/dialer.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "io/errno_text.h"
#include "io/socket_options.h"

namespace hf::io {

void Dialer::start(const node::Dial& dial, Instant now, Duration timeout) {
  outcome_.reset();
  dialing_ = std::make_unique<Dialing>();
  dialing_->serial = ++serial_;
  dialing_->host = dial.host;
  dialing_->port = dial.port;
  dialing_->deadline = now + timeout;
  dialing_->attempt_deadline = dialing_->deadline;
  if (const auto address = parse_address(dial.host, dial.port)) {
    dialing_->addresses.push_back(*address);
    next(now);
  } else {
    resolver_.ask(dialing_->serial, dial.host, dial.port);
  }
}

void Dialer::network_changed(Instant now, Duration timeout) {
  // Only once: where the network never rests, no dial would ever have its time.
  if (dialing_ && dialing_->begun_again) return;
  resolver_.give_up();
  if (!dialing_) return;
  const node::Dial again{dialing_->host, dialing_->port};
  start(again, now, timeout);
  if (dialing_) dialing_->begun_again = true;
}

// Tries addresses in their order; each may take its share of the time that is left.
void Dialer::next(Instant now) {
  while (dialing_->next < dialing_->addresses.size()) {
    const auto left = static_cast<int64_t>(dialing_->addresses.size() - dialing_->next);
    const SocketAddress& address = dialing_->addresses[dialing_->next++];
    dialing_->socket =
        FileDescriptor(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!dialing_->socket.valid()) {
      dialing_->last_error = errno_text(errno);
      continue;
    }
    set_tcp_options(dialing_->socket.get(), /*dialed=*/true);
    if (::connect(dialing_->socket.get(), address.get(), address.size) == 0) return stands();
    if (errno != EINPROGRESS) {
      dialing_->last_error = errno_text(errno);
      continue;
    }
    dialing_->attempt_deadline = now + (dialing_->deadline - now) / left;
    epoll_event event{.events = EPOLLOUT, .data = {.u64 = tag_}};
    HF_ASSERT(::epoll_ctl(epoll_, EPOLL_CTL_ADD, dialing_->socket.get(), &event) == 0);
    return;
  }
  failed(dialing_->last_error);
}

void Dialer::answered(Instant now) {
  if (!dialing_ || !dialing_->socket.valid()) return;
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(dialing_->socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error == 0) {
    ::epoll_ctl(epoll_, EPOLL_CTL_DEL, dialing_->socket.get(), nullptr);
    return stands();
  }
  dialing_->last_error = errno_text(error);
  next(now);
}

void Dialer::collect(Instant now) {
  auto answer = resolver_.take_answer();
  if (!answer || !dialing_ || dialing_->serial != answer->serial) return;
  if (answer->addresses.empty()) return failed(std::move(answer->error));
  dialing_->addresses = std::move(answer->addresses);
  next(now);
}

std::optional<Instant> Dialer::deadline() const {
  if (!dialing_) return std::nullopt;
  return dialing_->attempt_deadline;
}

void Dialer::expire(Instant now) {
  if (!dialing_ || dialing_->attempt_deadline > now) return;
  if (!dialing_->socket.valid()) return failed("cannot look up " + dialing_->host + ": no answer in time");
  dialing_->last_error = errno_text(ETIMEDOUT);
  if (dialing_->deadline <= now) dialing_->next = dialing_->addresses.size();
  dialing_->socket.reset();
  next(now);
}

void Dialer::stands() {
  outcome_ = Outcome{std::move(dialing_->socket), "", dialing_->host};
  dialing_.reset();
}

void Dialer::failed(std::string error) {
  outcome_ = Outcome{FileDescriptor(), std::move(error), dialing_->host};
  dialing_.reset();
}

}  // namespace hf::io
