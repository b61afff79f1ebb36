#include "io/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace hf::io {

ServiceManager::ServiceManager() {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string_view name(path);
  if (name.empty() || name.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name.front() == '@') address.sun_path[0] = '\0';  // Abstract.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid() || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return;
  socket_ = std::move(socket);

  const char* const watchdog = std::getenv("WATCHDOG_USEC");
  if (watchdog == nullptr) return;
  int64_t interval_us = 0;
  const std::string_view digits(watchdog);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), interval_us);
  if (error == std::errc() && end == digits.data() + digits.size() && interval_us > 0) {
    watchdog_interval_ = microseconds(interval_us);
  }
}

void ServiceManager::notify(const std::string& lines) {
  if (socket_.valid()) (void)::send(socket_.get(), lines.data(), lines.size(), MSG_NOSIGNAL);
}

}  // namespace hf::io
