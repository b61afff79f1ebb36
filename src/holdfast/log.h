// The node's log: lines on standard error, one event each, with a stable identifier to search for.
//
//     2026-11-20T09:45:42.123Z HF-LINK-003 connection refused; next attempt in 2 s
//
// Under systemd the journal has the time already, so it is left out. An event that repeats is written at most
// ten times in ten seconds; then one line says how many were left out. A reader that does not read holds
// nothing up: lines that standard error does not take at once are dropped, and counted.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace hf::holdfast {

class Log {
 public:
  Log();
  void line(const char* event, const std::string& text);

 private:
  struct Window {
    int64_t begun_ms = 0;
    uint64_t count = 0;
  };
  void write(const std::string& line);

  bool with_time_ = true;
  std::map<std::string, Window> windows_;
  uint64_t dropped_ = 0;
};

}  // namespace hf::holdfast
