#include "io/listener.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "io/address.h"
#include "io/errno_text.h"

namespace hf::io {

namespace {

constexpr int kBacklog = 1024;

std::string cannot_listen(const std::string& address, int number, const std::string& key) {
  switch (number) {
    case EADDRINUSE:
      return "address already in use: another program listens on " + address + "; stop it or set " + key +
             " = ...";
    case EACCES:
      if (address.find('/') != std::string::npos) break;
      return "no permission to listen on " + address + ": ports below 1024 need CAP_NET_BIND_SERVICE; set " +
             key + " = ... to a higher one";
    case EADDRNOTAVAIL:
      return "cannot listen on " + address + ": this machine has no such address; set " + key + " = ...";
    default:
      break;
  }
  return "cannot listen on " + address + ": " + errno_text(number);
}

std::optional<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace

std::expected<FileDescriptor, std::string> listen_tcp(const std::string& text, const char* key) {
  const auto wanted = parse_host_port(text, /*allow_port_zero=*/true);
  if (!wanted) {
    return std::unexpected(std::string(key) + " = \"" + text +
                           "\" is not ADDRESS:PORT, such as \"127.0.0.1:1883\"");
  }
  auto address = parse_address(wanted->host, wanted->port);
  if (!address) {
    std::string error;
    const auto found = resolve_host(wanted->host, wanted->port, &error);
    if (found.empty()) return std::unexpected("cannot listen on " + text + ": " + error);
    address = found.front();
  }
  FileDescriptor socket(::socket(address->family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return std::unexpected(cannot_listen(text, errno, key));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // "[::]:1883" is IPv6 and nothing else; who wants both names both.
  if (address->family() == AF_INET6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(socket.get(), address->get(), address->size) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return std::unexpected(cannot_listen(text, errno, key));
  }
  return socket;
}

std::expected<FileDescriptor, std::string> listen_unix(const std::string& path, unsigned mode,
                                                       const char* key) {
  const std::string set = std::string("set ") + key + " = ...";
  const auto address = unix_address(path);
  if (!address) {
    return std::unexpected("the path of the socket is too long (" + std::to_string(path.size()) +
                           " bytes, at most 107): " + path + "; " + set);
  }
  if (connect_unix(path)) {
    return std::unexpected("address already in use: another program listens on " + path + "; stop it or " +
                           set);
  }
  struct stat about{};
  if (::lstat(path.c_str(), &about) == 0) {
    if (!S_ISSOCK(about.st_mode)) {
      return std::unexpected("cannot listen on " + path + ": it is a file and not a socket; " + set);
    }
    ::unlink(path.c_str());
  }
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return std::unexpected(cannot_listen(path, errno, key));
  // Before bind, which makes the file: it is never there with wider permissions.
  ::fchmod(socket.get(), mode);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
      ::listen(socket.get(), kBacklog) != 0) {
    return std::unexpected(cannot_listen(path, errno, key));
  }
  // What the process's mask took away from it.
  if (mode != 0600) ::chmod(path.c_str(), mode);
  return socket;
}

std::expected<FileDescriptor, int> connect_unix(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return std::unexpected(ENAMETOOLONG);
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return std::unexpected(errno);
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    if (errno != EINTR) return std::unexpected(errno);
  }
  return socket;
}

}  // namespace hf::io
