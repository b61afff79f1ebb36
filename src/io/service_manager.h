// Talks to systemd when it started us (Type=notify): readiness, a status line, and the watchdog
// (sd_notify(3)).
#pragma once

#include <string>

#include "base/time.h"
#include "io/file_descriptor.h"

namespace hf::io {

class ServiceManager {
 public:
  // Reads NOTIFY_SOCKET and WATCHDOG_USEC; without them everything here does nothing.
  ServiceManager();
  // Lines of NAME=value. Never waits.
  void notify(const std::string& lines);
  // How long systemd waits for WATCHDOG=1 before it restarts us; zero: it does not wait.
  Duration watchdog_interval() const { return watchdog_interval_; }

 private:
  FileDescriptor socket_;
  Duration watchdog_interval_{0};
};

}  // namespace hf::io
