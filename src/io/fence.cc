#include "io/fence.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"
#include "io/file_descriptor.h"

namespace hf::io {

Result<std::string> directory_fence(const std::string& directory) {
  struct statx about{};
  if (::statx(AT_FDCWD, directory.c_str(), 0, STATX_INO | STATX_BTIME, &about) != 0) {
    const int number = errno;
    return fail(number == ENOENT ? Code::kNotFound : Code::kIo, "cannot look at the store's directory",
                static_cast<uint64_t>(number));
  }
  std::string machine;
  if (const FileDescriptor file(::open("/etc/machine-id", O_RDONLY | O_CLOEXEC)); file.valid()) {
    char text[64];
    const ssize_t size = ::read(file.get(), text, sizeof text);
    if (size > 0) machine.assign(text, static_cast<size_t>(size));
    while (!machine.empty() && machine.back() == '\n') machine.pop_back();
  }
  std::string fence;
  put_u8(fence, 1);  // Version of this composition.
  put_sized(fence, machine);
  put_u64(fence, about.stx_ino);
  // Not every file system knows it (NFS); zero is as constant as anything.
  const bool born = (about.stx_mask & STATX_BTIME) != 0;
  put_u64(fence, born ? static_cast<uint64_t>(about.stx_btime.tv_sec) : 0);
  put_u32(fence, born ? about.stx_btime.tv_nsec : 0);
  return fence;
}

}  // namespace hf::io
