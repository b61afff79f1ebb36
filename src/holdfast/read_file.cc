#include "holdfast/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/errno_text.h"
#include "io/file_descriptor.h"

namespace hf::holdfast {

namespace {

std::unexpected<std::string> failed(const char* what, const std::string& path) {
  return std::unexpected(std::string("cannot ") + what + " " + path + ": " + io::errno_text(errno));
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// And makes them durable.
std::expected<void, std::string> write_all(const io::FileDescriptor& file, std::string_view bytes,
                                           const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return failed("write", path);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  if (::fsync(file.get()) != 0) return failed("sync", path);
  return {};
}

}  // namespace

std::expected<std::string, std::string> read_file(const std::string& path, size_t size_max) {
  const io::FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::unexpected("cannot read " + path + ": " + io::errno_text(errno));
  std::string bytes;
  char part[4096];
  while (true) {
    const ssize_t count = ::read(file.get(), part, sizeof part);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected("cannot read " + path + ": " + io::errno_text(errno));
    if (count == 0) return bytes;
    bytes.append(part, static_cast<size_t>(count));
    if (bytes.size() > size_max) {
      return std::unexpected(path + " is larger than " + std::to_string(size_max) +
                             " bytes; is it the right file?");
    }
  }
}

std::expected<void, std::string> write_new_file(const std::string& path, std::string_view bytes,
                                                unsigned mode) {
  const io::FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file.valid()) return failed("make", path);
  if (auto written = write_all(file, bytes, path); !written) return written;
  const std::string folder = folder_of(path);
  const io::FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0) return failed("sync", folder);
  return {};
}

std::expected<void, std::string> replace_file(const std::string& path, std::string_view bytes,
                                              unsigned mode) {
  const std::string folder = folder_of(path);
  const io::FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat owner{};
  if (!directory.valid() || (::stat(path.c_str(), &owner) != 0 && ::fstat(directory.get(), &owner) != 0)) {
    return failed("open", folder);
  }
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  const io::FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file.valid()) return failed("make", temporary);
  const auto give_up = [&temporary](std::expected<void, std::string> why) {
    ::unlink(temporary.c_str());
    return why;
  };
  if (auto written = write_all(file, bytes, temporary); !written) return give_up(written);
  // Root edits what belongs to the node's account. Nobody else can give a file away, and the node could not read one
  // that is not its own. By its number and not by its name: the account may change what the name stands for.
  struct stat ours{};
  if (::fstat(file.get(), &ours) != 0) return give_up(failed("look at", temporary));
  if ((owner.st_uid != ours.st_uid || owner.st_gid != ours.st_gid) &&
      ::fchown(file.get(), owner.st_uid, owner.st_gid) != 0 && owner.st_uid != ours.st_uid) {
    return give_up(failed("keep the owner of", path));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up(failed("replace", path));
  if (::fsync(directory.get()) != 0) return failed("sync", folder);
  return {};
}

}  // namespace hf::holdfast
