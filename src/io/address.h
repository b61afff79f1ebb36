// Addresses as people write them: "127.0.0.1:1883", "[::1]:1883", "hub.example:1883".
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hf::io {

struct HostPort {
  std::string host;  // Without brackets.
  uint16_t port = 0;
  bool operator==(const HostPort&) const = default;
};

// "host:port", with brackets around an IPv6 address. Nothing if it is not that; port 0 only if
// `allow_port_zero`.
std::optional<HostPort> parse_host_port(std::string_view text, bool allow_port_zero = false);
std::string format_host_port(std::string_view host, uint16_t port);

// A socket address of any family that we use.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  // 127.0.0.0/8, ::1, or a unix socket.
  bool loopback() const;
  uint16_t port() const;
  std::string text() const;  // "127.0.0.1:1883"; "unix" for a unix socket.
  std::string host() const;  // The same without the port.
};

// An address written in figures; asks no name server.
std::optional<SocketAddress> parse_address(const std::string& host, uint16_t port);
SocketAddress peer_address(int socket);
SocketAddress local_address(int socket);
// Whether one of the interfaces of this machine has it now. True if that cannot be found out.
bool address_is_here(const SocketAddress& address);

// Whether a host as written in a configuration can only mean this machine: a loopback address or "localhost".
bool host_is_loopback(const std::string& host);

// Asks the system's resolver, which may take many seconds: not on the core thread. Empty: *error says why.
std::vector<SocketAddress> resolve_host(const std::string& host, uint16_t port, std::string* error);

}  // namespace hf::io
