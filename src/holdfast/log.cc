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

Log::Log() : with_time_(std::getenv("JOURNAL_STREAM") == nullptr) {}

void Log::line(const char* event, const std::string& text) {
  const int64_t now_ms = clock_us(CLOCK_MONOTONIC) / 1000;
  Window& window = windows_[event];
  if (now_ms - window.begun_ms >= kWindowMs) {
    if (window.count > kLinesMax) {
      write(std::string(event) + " " + std::to_string(window.count - kLinesMax) +
            " more lines like this were left out");
    }
    window = {now_ms, 0};
  }
  if (++window.count > kLinesMax) return;
  write(std::string(event) + " " + printable(text));
}

void Log::write(const std::string& line) {
  pollfd event{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&event, 1, 0) != 1 || (event.revents & POLLOUT) == 0) {
    ++dropped_;
    return;
  }
  std::string whole;
  const std::string time = with_time_ ? format_utc(clock_us(CLOCK_REALTIME)) + " " : "";
  if (dropped_ > 0) {
    whole +=
        time + "HF-LOG-001 " + std::to_string(dropped_) + " lines were dropped: nobody read them in time\n";
    dropped_ = 0;
  }
  whole += time + line + "\n";
  (void)!::write(STDERR_FILENO, whole.data(), whole.size());
}

}  // namespace hf::holdfast
