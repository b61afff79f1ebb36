// The node's log: lines on standard error, one event each, with a stable identifier to search for
// (docs/events.md).
//
//     2026-11-20T09:45:42.123Z HF-LINK-003 connection refused; next attempt in 2 s
//
// or, as JSON for programs that collect logs:
//
//     {"time":"2026-11-20T09:45:42.123Z","event":"HF-LINK-003","text":"connection refused; next attempt in 2 s"}
//
// Under systemd the journal has the time already, so text leaves it out. An event that repeats is written at most
// ten times in ten seconds; then one line says how many were left out.
//
// Invariants: a line has at most kLogLineBytesMax bytes, whatever it speaks of, so that a pipe takes it whole or not at
// all. A reader that does not read holds nothing up: lines that standard error does not take at once are dropped, and counted.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "io/file_descriptor.h"

namespace hf::holdfast {

enum class LogFormat : uint8_t { kText, kJson };

// PIPE_BUF: up to here pipe(7) writes as one piece. Escapes and the line's end are included.
inline constexpr size_t kLogLineBytesMax = 4096;

// One line, its end included; too long a text is cut. `time` empty: it is left out.
std::string format_log_line(LogFormat format, const std::string& time, const std::string& event,
                            const std::string& text);

class Log {
 public:
  explicit Log(int file = STDERR_FILENO);
  void set_format(LogFormat format) { format_ = format; }
  void line(const char* event, const std::string& text);
  // Says what was left out of events that have stopped repeating. Now and then.
  void settle();

 private:
  struct Window {
    int64_t begun_ms = 0;
    uint64_t count = 0;
  };
  void summarise(const std::string& event, const Window& window);
  void write(const std::string& event, const std::string& text);
  // False: the line was not taken, and is gone.
  bool put(const std::string& line);
  size_t take(std::string_view bytes);

  const int file_;
  const io::FileDescriptor own_;  // See log.cc; invalid: there is only file_.
  LogFormat format_ = LogFormat::kText;
  bool with_time_ = true;
  std::map<std::string, Window> windows_;
  uint64_t dropped_ = 0;
  std::string rest_;  // Of a line that a terminal or socket took a part of: it goes before the next.
};

}  // namespace hf::holdfast
