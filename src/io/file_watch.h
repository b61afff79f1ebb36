// Tells when files changed: certificates, users, permissions. Who wants to know names a group of files and is told no more than
// that something in it changed; reading them again, and deciding whether what they say is good, is its own affair.
//
// Directories are watched and not the files: programs that write a file anew put another one in its place. A symbolic link's
// target is watched as well (certbot, Kubernetes). Several files are seldom replaced in one moment, so a group is told when
// it was quiet for kSettle, or kSettleMax after the first change.
//
// No clock of its own and no thread: descriptor() says when there is something to read, deadline() when to look again.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "io/file_descriptor.h"

namespace hf::io {

class FileWatch {
 public:
  static constexpr Duration kSettle = milliseconds(100);
  static constexpr Duration kSettleMax = seconds(1);

  FileWatch();

  // `changed` is called from expire() and from now_all(). Files that are not there yet may come.
  void watch(std::vector<std::string> files, std::function<void()> changed);

  // Negative where the system has no more of them (fs.inotify.max_user_instances): then only now_all() tells.
  int descriptor() const { return inotify_.get(); }
  // Reads what happened.
  void readable(Instant now);
  // Somebody has to be told yet: only then deadline() and expire() have anything to do.
  bool pending() const { return pending_; }
  std::optional<Instant> deadline() const;
  // Tells those whose time has come.
  void expire(Instant now);
  // Tells everybody at once: the operator asked for it.
  void now_all();

 private:
  struct Group {
    std::vector<std::string> files;
    std::set<std::pair<int, std::string>> names;  // The directory's watch, and the file's name in it.
    std::function<void()> changed;
    std::optional<Instant> first;  // Of the changes that were not told yet.
    Instant last;
  };
  // Directories may have been replaced, and links may point elsewhere.
  void find(Group& group);
  void add(Group& group, const std::string& path);

  FileDescriptor inotify_;
  std::vector<Group> groups_;
  bool pending_ = false;
};

}  // namespace hf::io
