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
// ten times in ten seconds; then one line says how many were left out. A reader that does not read holds
// nothing up: lines that standard error does not take at once are dropped, and counted.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace hf::holdfast {

enum class LogFormat : uint8_t { kText, kJson };

// One line, its end included. `time` empty: it is left out.
std::string format_log_line(LogFormat format, const std::string& time, const std::string& event,
                            const std::string& text);

class Log {
 public:
  Log();
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

  LogFormat format_ = LogFormat::kText;
  bool with_time_ = true;
  std::map<std::string, Window> windows_;
  uint64_t dropped_ = 0;
};

}  // namespace hf::holdfast
