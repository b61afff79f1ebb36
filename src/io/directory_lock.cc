#include "io/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "io/errno_text.h"

namespace hf::io {

std::expected<std::unique_ptr<DirectoryLock>, std::string> DirectoryLock::acquire(
    const std::string& directory) {
  const std::string path = directory + "/lock";
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return std::unexpected("cannot open " + path + ": " + errno_text(errno));

  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return std::unexpected("cannot lock " + path + ": " + errno_text(errno));
    char text[32];
    const ssize_t size = ::pread(file.get(), text, sizeof text, 0);
    std::string owner(text, size > 0 ? static_cast<size_t>(size) : 0);
    while (!owner.empty() && owner.back() == '\n') owner.pop_back();
    return std::unexpected(directory + " is in use by " +
                           (owner.empty() ? "another process" : "process " + owner));
  }
  // For people only; that it was written is not worth an error.
  const std::string owner = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file.get(), 0) == 0) (void)!::pwrite(file.get(), owner.data(), owner.size(), 0);
  return std::unique_ptr<DirectoryLock>(new DirectoryLock(std::move(file)));
}

}  // namespace hf::io
