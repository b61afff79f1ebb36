// Tells when the network of this machine may carry where it did not before: a link came up, an address or a route came, or an
// address went. Whoever waits for a better network, or stands on an address that is gone, need not wait for a timer.
//
// The kernel says so itself (rtnetlink(7)). What it says is not believed in detail: a change is only a reason to look again.
// Changes come in swarms (a link, its address, three routes), and where containers come and go they never end. So it is told
// once they were quiet for kSettle, or kSettleMax after the first, and never more often than every kInterval.
//
// No clock of its own and no thread: descriptor() says when there is something to read, deadline() when to look again.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/time.h"
#include "io/file_descriptor.h"

namespace hf::io {

class NetworkWatch {
 public:
  static constexpr Duration kSettle = milliseconds(100);
  static constexpr Duration kSettleMax = milliseconds(400);
  static constexpr Duration kInterval = seconds(1);

  NetworkWatch();

  // Negative where this process may not ask the kernel (a sandbox without AF_NETLINK); then error() says why, and nothing is
  // ever told.
  int descriptor() const { return netlink_.get(); }
  const std::string& error() const { return error_; }
  // Reads what happened.
  void readable(Instant now);
  // The same, of messages that were read already: a datagram of netlink(7).
  void take(Bytes messages, Instant now);
  // Something has to be told yet: only then deadline() and expire() have anything to do.
  bool pending() const { return first_.has_value(); }
  std::optional<Instant> deadline() const;
  // True: now is the time to look.
  bool expire(Instant now);

 private:
  void changed(Instant now);

  FileDescriptor netlink_;
  std::string error_;
  std::optional<Instant> first_;  // Of the changes that were not told yet.
  Instant last_;
  std::optional<Instant> told_;
};

}  // namespace hf::io
