#include "io/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace hf::io {

namespace {

void set_option(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

}  // namespace

void set_tcp_options(int socket, bool dialed) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  if (!dialed) {
    // Clients have MQTT's keep alive; this is for those that set it to zero and vanish.
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 120);
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 30);
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 4);
    return;
  }
  // A link that died without a word is noticed in half a minute, whether it was busy or idle.
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
  // What the network has not taken waits here and not in the kernel, so that an alarm need not stand behind
  // it.
  set_option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 32 << 10);
}

}  // namespace hf::io
