// The way out of a connection that sends the same packet again and again with a few bytes changed. The
// packets lie ready in a ring of equal slots, so a message costs a few stores and no encoding; what is filled
// leaves with one system call. Short control packets may go in between, never inside a slot.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "system.h"

namespace hf::bench {

class SlotRing {
 public:
  SlotRing(const std::string& packet, size_t slots)
      : packet_bytes_(packet.size()), ring_bytes_(packet.size() * slots) {
    ring_.reserve(ring_bytes_);
    for (size_t slot = 0; slot < slots; ++slot) ring_ += packet;
  }

  bool full() const { return filled_ - sent_ + packet_bytes_ > ring_bytes_; }
  bool all_sent() const { return filled_ == sent_ && control_.empty(); }

  // The next packet, to be changed in place. Only when not full().
  char* next() {
    char* packet = ring_.data() + filled_ % ring_bytes_;
    filled_ += packet_bytes_;
    return packet;
  }
  std::string& control() { return control_; }

  // Sends what is there; true when nothing is left, false when the socket takes no more for now.
  bool flush(int fd) {
    while (!all_sent()) {
      std::array<iovec, 4> parts{};
      size_t count = 0;
      const auto add = [&](char* from, size_t size) {
        if (size > 0) parts[count++] = {from, size};
      };
      // The rest of a packet that is under way, then control, then the other packets, which may go round the
      // end.
      const size_t begun =
          std::min<size_t>((packet_bytes_ - sent_ % packet_bytes_) % packet_bytes_, filled_ - sent_);
      const size_t start = sent_ % ring_bytes_;
      add(ring_.data() + start, begun);
      add(control_.data(), control_.size());
      const size_t from = (sent_ + begun) % ring_bytes_;
      const size_t rest = filled_ - sent_ - begun;
      const size_t straight = std::min(rest, ring_bytes_ - from);
      add(ring_.data() + from, straight);
      add(ring_.data(), rest - straight);

      msghdr message{};
      message.msg_iov = parts.data();
      message.msg_iovlen = count;
      const ssize_t result = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (result < 0) {
        if (errno == EAGAIN) return false;
        fail_errno("send");
      }
      auto gone = static_cast<size_t>(result);
      const size_t of_begun = std::min(gone, begun);
      gone -= of_begun;
      sent_ += of_begun;
      const size_t of_control = std::min(gone, control_.size());
      gone -= of_control;
      control_.erase(0, of_control);
      sent_ += gone;
    }
    return true;
  }

 private:
  const size_t packet_bytes_;
  const size_t ring_bytes_;
  std::string ring_;
  std::string control_;
  uint64_t filled_ = 0;  // Bytes, since the beginning.
  uint64_t sent_ = 0;
};

}  // namespace hf::bench
