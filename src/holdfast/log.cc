#include "holdfast/log.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

#include "base/time.h"
#include "holdfast/text.h"

namespace hf::holdfast {

namespace {

constexpr int64_t kWindowMs = 10'000;
constexpr uint64_t kLinesMax = 10;

int64_t clock_us(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace

std::string format_log_line(LogFormat format, const std::string& time, const std::string& event,
                            const std::string& text) {
  if (format == LogFormat::kText)
    return (time.empty() ? "" : time + " ") + event + " " + printable(text) + "\n";
  // What is not UTF-8 is escaped before, so that a line is always JSON.
  return "{\"time\":" + json_quoted(time) + ",\"event\":" + json_quoted(event) +
         ",\"text\":" + json_quoted(printable(text)) + "}\n";
}

Log::Log() : with_time_(std::getenv("JOURNAL_STREAM") == nullptr) {}

void Log::line(const char* event, const std::string& text) {
  const int64_t now_ms = clock_us(CLOCK_MONOTONIC) / 1000;
  Window& window = windows_[event];
  if (now_ms - window.begun_ms >= kWindowMs) {
    summarise(event, window);
    window = {now_ms, 0};
  }
  if (++window.count > kLinesMax) return;
  write(event, text);
}

void Log::settle() {
  const int64_t now_ms = clock_us(CLOCK_MONOTONIC) / 1000;
  std::erase_if(windows_, [&](const auto& entry) {
    if (now_ms - entry.second.begun_ms < kWindowMs) return false;
    summarise(entry.first, entry.second);
    return true;
  });
}

void Log::summarise(const std::string& event, const Window& window) {
  if (window.count > kLinesMax) write(event, "and " + std::to_string(window.count - kLinesMax) + " more");
}

void Log::write(const std::string& event, const std::string& text) {
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) {
    ++dropped_;
    return;
  }
  std::string whole;
  const bool with_time = with_time_ || format_ == LogFormat::kJson;
  const std::string time = with_time ? format_utc(clock_us(CLOCK_REALTIME)) : "";
  if (dropped_ > 0) {
    whole += format_log_line(format_, time, "HF-LOG-001",
                             std::to_string(dropped_) + " lines were dropped: nobody read them in time");
    dropped_ = 0;
  }
  whole += format_log_line(format_, time, event, text);
  (void)!::write(STDERR_FILENO, whole.data(), whole.size());
}

}  // namespace hf::holdfast
