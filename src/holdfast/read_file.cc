#include "holdfast/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "io/errno_text.h"
#include "io/file_descriptor.h"

namespace hf::holdfast {

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
  io::FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file.valid()) return std::unexpected("cannot make " + path + ": " + io::errno_text(errno));
  while (!bytes.empty()) {
    const ssize_t count = ::write(file.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return std::unexpected("cannot write " + path + ": " + io::errno_text(errno));
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  if (::fsync(file.get()) != 0) return std::unexpected("cannot sync " + path + ": " + io::errno_text(errno));
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const io::FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || ::fsync(directory.get()) != 0) {
    return std::unexpected("cannot sync " + folder + ": " + io::errno_text(errno));
  }
  return {};
}

}  // namespace hf::holdfast
