#include "holdfast/log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/shown.h"
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

// The same pipe or terminal, opened once more so that writing to it never waits. (O_NONBLOCK on what we were given would hold
// for all who share it; and poll() promises room for a byte only at a terminal, and nothing where others write too.) A file
// has no need of it and must not have it, since a second opening has a place of its own in it; a socket cannot be opened, and has
// MSG_DONTWAIT.
io::FileDescriptor opened_again(int file) {
  struct stat about{};
  if (::fstat(file, &about) != 0 || !(S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode))) return {};
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  return io::FileDescriptor(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

// How much of `text`, in which nothing but quotes and backslashes needs an escape, has room as a string of JSON.
size_t fitting(std::string_view text, size_t room) {
  size_t taken = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    taken += text[i] == '"' || text[i] == '\\' ? 2 : 1;
    if (taken > room) return i;
  }
  return text.size();
}

}  // namespace

std::string format_log_line(LogFormat format, const std::string& time, const std::string& event,
                            const std::string& text) {
  // What is not UTF-8 is escaped here, so that a line is always JSON.
  const std::string shown = printable(text);
  if (format == LogFormat::kText) {
    const std::string head = (time.empty() ? "" : time + " ") + event + " ";
    return head + cut_text(shown, kLogLineBytesMax - head.size() - 1) + "\n";
  }
  const std::string head =
      "{\"time\":" + json_quoted(time) + ",\"event\":" + json_quoted(event) + ",\"text\":";
  const std::string end = "}\n";
  const size_t room = kLogLineBytesMax - head.size() - 2 - end.size();
  return head + json_quoted(cut_text(shown, fitting(shown, room))) + end;
}

Log::Log(int file)
    : file_(file), own_(opened_again(file)), with_time_(std::getenv("JOURNAL_STREAM") == nullptr) {}

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
  const bool with_time = with_time_ || format_ == LogFormat::kJson;
  const std::string time = with_time ? format_utc(clock_us(CLOCK_REALTIME)) : "";
  if (dropped_ > 0 &&
      put(format_log_line(format_, time, "HF-LOG-001",
                          std::to_string(dropped_) + " lines were dropped: nobody read them in time"))) {
    dropped_ = 0;
  }
  if (dropped_ > 0 || !put(format_log_line(format_, time, event, text))) ++dropped_;
}

bool Log::put(const std::string& line) {
  rest_.erase(0, take(rest_));
  if (!rest_.empty()) return false;
  const size_t taken = take(line);
  if (taken == 0) return false;
  rest_ = line.substr(taken);
  return true;
}

size_t Log::take(std::string_view bytes) {
  if (bytes.empty()) return 0;
  ssize_t count = -1;
  if (own_.valid()) {
    count = ::write(own_.get(), bytes.data(), bytes.size());
  } else {
    count = ::send(file_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == ENOTSOCK) {
      pollfd ready{file_, POLLOUT, 0};
      if (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0)
        count = ::write(file_, bytes.data(), bytes.size());
    }
  }
  return count > 0 ? static_cast<size_t>(count) : 0;
}

}  // namespace hf::holdfast
