#include "io/network_watch.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "io/errno_text.h"

namespace hf::io {

namespace {

constexpr uint32_t kGroups =
    RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
// Datagrams of one call of readable(); what is left is read in the next turn.
constexpr int kReadsMax = 16;
constexpr size_t kDatagramBytesMax = 32 << 10;

template <typename Body>
std::optional<Body> body_of(Bytes payload) {
  if (payload.size() < sizeof(Body)) return std::nullopt;
  Body body;
  payload.copy(reinterpret_cast<char*>(&body), sizeof body);
  return body;
}

// Whether something can be reached after this message that could not be before, or an address has gone.
bool matters(uint16_t type, Bytes payload) {
  switch (type) {
    case RTM_NEWLINK: {
      const auto link = body_of<ifinfomsg>(payload);
      return link && (link->ifi_flags & IFF_RUNNING) != 0 && (link->ifi_flags & IFF_LOOPBACK) == 0;
    }
    case RTM_NEWADDR: {
      // An IPv6 address is tentative first, and nothing can be sent from it; the kernel tells again when it is good.
      const auto address = body_of<ifaddrmsg>(payload);
      return address && (address->ifa_flags & IFA_F_TENTATIVE) == 0 && address->ifa_scope != RT_SCOPE_HOST;
    }
    case RTM_DELADDR:
      return true;
    case RTM_NEWROUTE: {
      // The kernel notes routes to its own addresses too.
      const auto route = body_of<rtmsg>(payload);
      return route && route->rtm_type == RTN_UNICAST && route->rtm_table != RT_TABLE_LOCAL &&
             (route->rtm_flags & RTM_F_CLONED) == 0;
    }
    default:
      return false;
  }
}

}  // namespace

NetworkWatch::NetworkWatch()
    : netlink_(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE)) {
  sockaddr_nl groups{};
  groups.nl_family = AF_NETLINK;
  groups.nl_groups = kGroups;
  if (!netlink_.valid()) {
    error_ = errno_text(errno);
  } else if (::bind(netlink_.get(), reinterpret_cast<const sockaddr*>(&groups), sizeof groups) != 0) {
    error_ = errno_text(errno);
    netlink_.reset();
  }
}

void NetworkWatch::readable(Instant now) {
  alignas(nlmsghdr) char buffer[kDatagramBytesMax];
  for (int i = 0; i < kReadsMax; ++i) {
    sockaddr_nl from{};
    socklen_t from_size = sizeof from;
    const ssize_t count =
        ::recvfrom(netlink_.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (count < 0 && errno == ENOBUFS) {  // More happened than the socket holds.
      changed(now);
      continue;
    }
    if (count <= 0) return;
    if (from.nl_pid != 0) continue;  // Not the kernel.
    take(Bytes(buffer, static_cast<size_t>(count)), now);
  }
}

void NetworkWatch::take(Bytes messages, Instant now) {
  while (messages.size() >= sizeof(nlmsghdr)) {
    nlmsghdr head;
    messages.copy(reinterpret_cast<char*>(&head), sizeof head);
    if (head.nlmsg_len < sizeof head || head.nlmsg_len > messages.size()) return;
    if (matters(head.nlmsg_type, messages.substr(sizeof head, head.nlmsg_len - sizeof head))) changed(now);
    messages.remove_prefix(std::min<size_t>(NLMSG_ALIGN(head.nlmsg_len), messages.size()));
  }
}

void NetworkWatch::changed(Instant now) {
  if (!first_) first_ = now;
  last_ = now;
}

std::optional<Instant> NetworkWatch::deadline() const {
  if (!first_) return std::nullopt;
  const Instant settled = std::min(*first_ + kSettleMax, last_ + kSettle);
  return told_ ? std::max(settled, *told_ + kInterval) : settled;
}

bool NetworkWatch::expire(Instant now) {
  if (!first_ || *deadline() > now) return false;
  first_.reset();
  told_ = now;
  return true;
}

}  // namespace hf::io
