#include "io/file_watch.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace hf::io {

namespace {

constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB;
// Events of one call of readable(); what is left is read in the next turn.
constexpr int kReadsMax = 16;

Instant due(Instant first, Instant last) {
  return std::min(first + FileWatch::kSettleMax, last + FileWatch::kSettle);
}

}  // namespace

FileWatch::FileWatch() : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {}

void FileWatch::watch(std::vector<std::string> files, std::function<void()> changed) {
  Group& group = groups_.emplace_back();
  group.files = std::move(files);
  group.changed = std::move(changed);
  find(group);
}

void FileWatch::find(Group& group) {
  group.names.clear();
  for (const std::string& file : group.files) {
    add(group, file);
    char target[PATH_MAX];
    if (::realpath(file.c_str(), target) != nullptr && file != target) add(group, target);
  }
}

void FileWatch::add(Group& group, const std::string& path) {
  const size_t slash = path.rfind('/');
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash);
  if (directory.empty()) directory = "/";
  const int watch = ::inotify_add_watch(inotify_.get(), directory.c_str(), kEvents);
  if (watch < 0) return;  // A directory that is not there: now_all() looks again.
  group.names.emplace(watch, slash == std::string::npos ? path : path.substr(slash + 1));
  // Kubernetes swaps this link, through which all the files of a directory are seen.
  group.names.emplace(watch, "..data");
}

void FileWatch::readable(Instant now) {
  alignas(inotify_event) char buffer[8192];
  for (int i = 0; i < kReadsMax; ++i) {
    const ssize_t count = ::read(inotify_.get(), buffer, sizeof buffer);
    if (count <= 0) return;
    for (size_t at = 0; at < static_cast<size_t>(count);) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof event);
      const std::string name = event.len == 0 ? "" : buffer + at + sizeof event;
      at += sizeof event + event.len;
      const bool lost = (event.mask & IN_Q_OVERFLOW) != 0;  // Too much happened: everybody looks.
      for (Group& group : groups_) {
        if (!lost && !group.names.contains({event.wd, name})) continue;
        if (!group.first) group.first = now;
        group.last = now;
        pending_ = true;
      }
    }
  }
}

std::optional<Instant> FileWatch::deadline() const {
  std::optional<Instant> earliest;
  for (const Group& group : groups_) {
    if (!group.first) continue;
    const Instant at = due(*group.first, group.last);
    if (!earliest || at < *earliest) earliest = at;
  }
  return earliest;
}

void FileWatch::expire(Instant now) {
  for (Group& group : groups_) {
    if (!group.first || due(*group.first, group.last) > now) continue;
    group.first.reset();
    find(group);
    group.changed();
  }
  pending_ = deadline().has_value();
}

void FileWatch::now_all() {
  pending_ = false;
  for (Group& group : groups_) {
    group.first.reset();
    find(group);
    group.changed();
  }
}

}  // namespace hf::io
