#include "io/posix_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace hf::io {

namespace {

// The store's own names have no slash; one that has would reach outside the directory.
bool name_valid(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
}

// The present errno as an Error.
std::unexpected<Error> fail_errno(const char* text) {
  const int number = errno;
  Code code = Code::kIo;
  if (number == ENOSPC || number == EDQUOT) code = Code::kFull;
  if (number == ENOENT) code = Code::kNotFound;
  if (number == EEXIST) code = Code::kExists;
  return fail(code, text, static_cast<uint64_t>(number));
}

constexpr const char* kBadName = "a file name with a slash, or none";
constexpr const char* kFailedBefore =
    "an earlier write or sync of this file failed, so nothing more is written to it";

Result<> write_all(int file, uint64_t offset, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return fail_errno("cannot write to a file of the store");
    }
    if (written == 0) return fail(Code::kIo, "a write to a file of the store wrote nothing", EIO);
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

// How much came: less than `size` only at the end of the file. What is no multiple of `granule` is its last piece, and what is
// behind that cannot be asked for.
Result<size_t> read_all(int file, char* out, uint64_t offset, uint64_t size, ssize_t granule = 1) {
  size_t got = 0;
  while (got < size) {
    const ssize_t count = ::pread(file, out + got, size - got, static_cast<off_t>(offset + got));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("cannot read a file of the store");
    got += static_cast<size_t>(count);
    if (count == 0 || count % granule != 0) break;
  }
  return got;
}

constexpr uint64_t kSmallRead = 64 << 10;

// No more memory than the file can fill, whatever a damaged index asks for.
uint64_t within_file(int file, uint64_t offset, uint64_t size) {
  struct stat about{};
  if (size <= kSmallRead || ::fstat(file, &about) != 0) return size;
  const auto whole = static_cast<uint64_t>(about.st_size);
  return std::min(size, whole > offset ? whole - offset : 0);
}

}  // namespace

Result<std::shared_ptr<PosixDirectory>> PosixDirectory::open(const std::string& path) {
  FileDescriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return fail_errno("cannot open the store's directory");
  return std::shared_ptr<PosixDirectory>(new PosixDirectory(std::move(directory)));
}

std::unique_ptr<PosixDisk> PosixDirectory::disk(const std::shared_ptr<PosixDirectory>& directory) {
  return std::make_unique<PosixDisk>(directory);
}

Result<int> PosixDirectory::borrow(Slot& slot, const std::string& name, int flags) {
  uint64_t forgotten_before = 0;
  {
    std::lock_guard lock(mutex_);
    HF_ASSERT(!slot.in_use);
    if (slot.file.valid() && slot.name == name) {
      slot.in_use = true;
      return slot.file.get();
    }
    forgotten_before = forgotten_count_;
  }
  FileDescriptor file(::openat(directory_.get(), name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return fail_errno("cannot open a file of the store");

  std::lock_guard lock(mutex_);
  std::swap(slot.file, file);  // The old one closes on return.
  slot.name = name;
  slot.in_use = true;
  // A name that was removed while it was being opened: good for this call, not to be kept.
  slot.doomed = forgotten_count_ != forgotten_before;
  return slot.file.get();
}

void PosixDirectory::give_back(Slot& slot, bool keep) {
  FileDescriptor closing;
  std::lock_guard lock(mutex_);
  slot.in_use = false;
  if (slot.doomed || !keep) closing = std::move(slot.file);
  slot.doomed = false;
}

void PosixDirectory::forget(const std::string& name) {
  std::vector<FileDescriptor> closing;
  std::lock_guard lock(mutex_);
  ++forgotten_count_;
  failed_.erase(name);
  for (Slot* slot : slots_) {
    if (slot->name != name) continue;
    if (slot->in_use) {
      slot->doomed = true;
    } else {
      closing.push_back(std::move(slot->file));
    }
  }
}

void PosixDirectory::mark_failed(const std::string& name) {
  std::lock_guard lock(mutex_);
  failed_.insert(name);
}

bool PosixDirectory::has_failed(const std::string& name) {
  std::lock_guard lock(mutex_);
  return failed_.contains(name);
}

PosixDisk::PosixDisk(std::shared_ptr<PosixDirectory> directory) : directory_(std::move(directory)) {
  std::lock_guard lock(directory_->mutex_);
  for (PosixDirectory::Slot* slot : {&read_slot_, &direct_read_slot_, &write_slot_, &direct_slot_})
    directory_->slots_.push_back(slot);
}

PosixDisk::~PosixDisk() {
  std::lock_guard lock(directory_->mutex_);
  for (PosixDirectory::Slot* slot : {&read_slot_, &direct_read_slot_, &write_slot_, &direct_slot_})
    std::erase(directory_->slots_, slot);
}

Result<std::vector<std::string>> PosixDisk::list() {
  // A descriptor of its own: readdir moves the file position, which dup() would share.
  const int file = ::openat(directory_->directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return fail_errno("cannot list the store's directory");
  DIR* entries = ::fdopendir(file);
  if (entries == nullptr) {
    ::close(file);
    return fail_errno("cannot list the store's directory");
  }
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = ::readdir(entries);
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    bool regular = entry->d_type == DT_REG;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat about{};
      regular = ::fstatat(file, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(about.st_mode);
    }
    if (regular) names.push_back(name);
  }
  const int number = errno;
  ::closedir(entries);
  if (number != 0) return fail(Code::kIo, "cannot list the store's directory", static_cast<uint64_t>(number));
  std::sort(names.begin(), names.end());
  return names;
}

Result<uint64_t> PosixDisk::size(const std::string& name) {
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  struct stat about{};
  if (::fstatat(directory_->directory_.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail_errno("cannot look at a file of the store");
  }
  return static_cast<uint64_t>(about.st_size);
}

Result<> PosixDisk::fill_with_zeros(int file, uint64_t size) {
  if (size == 0) return {};
  // Asks for the space first: a full disk is noticed before anything is written, and the extents are large.
  // But what fallocate gives is marked "unwritten", and each later write would have to clear that mark in the
  // journal; so the zeros are written too.
  if (::fallocate(file, 0, 0, static_cast<off_t>(size)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS &&
      errno != EINTR) {
    return fail_errno("no space for a new file of the store");
  }
  // Past the page cache, where there is such a way: the zeros are not worth a copy, nor the pages that they would push out, and
  // each part is with the device before the next one begins, so a commit never waits behind more than that.
  constexpr uint64_t kStep = 512 << 10;
  struct alignas(4096) Zeros {
    char bytes[kStep];
  };
  static Zeros zeros{};  // Not const: then all of them would stand in the program's file, and in memory.
  const int flags = ::fcntl(file, F_GETFL);
  bool direct = size % 4096 == 0 && ::fcntl(file, F_SETFL, flags | O_DIRECT) == 0;
  Result<> written;
  for (uint64_t offset = 0; offset < size && written; offset += kStep) {
    const Bytes part(zeros.bytes, std::min(kStep, size - offset));
    written = write_all(file, offset, part);
    if (direct && !written && written.error().number == EINVAL) {
      direct = ::fcntl(file, F_SETFL, flags) != 0;
      written = write_all(file, offset, part);
    }
    if (direct) continue;
    (void)::sync_file_range(file, static_cast<off_t>(offset), static_cast<off_t>(part.size()),
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  }
  (void)::fcntl(file, F_SETFL, flags);
  return written;
}

Result<> PosixDisk::create(const std::string& name, uint64_t size) {
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  FileDescriptor file(::openat(directory_->directory_.get(), name.c_str(),
                               O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return fail_errno("cannot create a file of the store");
  directory_->forget(name);
  if (const auto filled = fill_with_zeros(file.get(), size); !filled) {
    file.reset();
    (void)::unlinkat(directory_->directory_.get(), name.c_str(), 0);
    return std::unexpected(filled.error());
  }
  return {};
}

Result<std::string> PosixDisk::read(const std::string& name, uint64_t offset, uint64_t size) {
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  const auto file = directory_->borrow(read_slot_, name, O_RDONLY);
  if (!file) return std::unexpected(file.error());

  size = within_file(*file, offset, size);
  std::string bytes;
  Result<size_t> got;
  bytes.resize_and_overwrite(size, [&](char* out, size_t /*room: g++-12 offers more than was asked for*/) {
    got = read_all(*file, out, offset, size);
    return got.value_or(0);
  });
  directory_->give_back(read_slot_, got.has_value());
  if (!got) return std::unexpected(got.error());
  return bytes;
}

// What is read once is not found again in the page cache, and its pages there cost more than the reading. (The store asks for the
// next piece before it is done with this one.) If this way does not give all of it, the other one decides what is there.
Result<std::string> PosixDisk::read_once(const std::string& name, uint64_t offset, uint64_t size) {
  if (!direct_ || size < kSmallRead) return read(name, offset, size);
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  const auto file = directory_->borrow(direct_read_slot_, name, O_RDONLY | O_DIRECT);
  direct_ = file || file.error().number != EINVAL;
  if (!file) return read(name, offset, size);
  const uint64_t wanted = within_file(*file, offset, size);
  const uint64_t start = offset / kDirectBytes * kDirectBytes;
  const uint64_t skip = offset - start;
  const uint64_t whole = (skip + wanted + kDirectBytes - 1) / kDirectBytes * kDirectBytes;
  std::string bytes;
  Result<size_t> got;
  bytes.resize_and_overwrite(whole + kDirectBytes, [&](char* out, size_t /*room*/) {
    const uint64_t lead = (kDirectBytes - reinterpret_cast<uintptr_t>(out) % kDirectBytes) % kDirectBytes;
    got = read_all(*file, out + lead, start, whole, 512);
    const size_t there = got ? std::min(wanted, *got - std::min(*got, skip)) : 0;
    std::memmove(out, out + lead + skip, there);
    return there;
  });
  directory_->give_back(direct_read_slot_, got.has_value());
  direct_ = got || got.error().number != EINVAL;
  return bytes.size() == wanted ? bytes : read(name, offset, size);
}

Result<> PosixDisk::write(const std::string& name, uint64_t offset, Bytes bytes) {
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  if (directory_->has_failed(name)) return fail(Code::kIo, kFailedBefore);
  const auto file = directory_->borrow(write_slot_, name, O_RDWR | O_CREAT);
  if (!file) return std::unexpected(file.error());
  const auto written = write_all(*file, offset, bytes);
  if (!written) directory_->mark_failed(name);
  directory_->give_back(write_slot_, written.has_value());
  return written;
}

Result<> PosixDisk::truncate(const std::string& name, uint64_t size) {
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  if (directory_->has_failed(name)) return fail(Code::kIo, kFailedBefore);
  const auto file = directory_->borrow(write_slot_, name, O_RDWR);
  if (!file) return std::unexpected(file.error());
  Result<> outcome;
  while (::ftruncate(*file, static_cast<off_t>(size)) != 0) {
    if (errno == EINTR) continue;
    outcome = fail_errno("cannot cut a file of the store");
    break;
  }
  directory_->give_back(write_slot_, outcome.has_value());
  return outcome;
}

Result<> PosixDisk::sync(const std::string& name) {
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  if (directory_->has_failed(name)) return fail(Code::kIo, kFailedBefore);
  const auto file = directory_->borrow(write_slot_, name, O_RDWR);
  if (!file) return std::unexpected(file.error());
  Result<> outcome;
  // Once, also after EINTR: who knows what the kernel has done with the pages by then.
  if (::fdatasync(*file) != 0) {
    outcome = fail_errno("cannot sync a file of the store");
    directory_->mark_failed(name);
  }
  directory_->give_back(write_slot_, outcome.has_value());
  return outcome;
}

// The page cache would cost a commit a copy and the kernel's search for what is dirty, and nobody reads from there what was
// just written: the store has it in memory.
Result<> PosixDisk::write_durably(const std::string& name, uint64_t offset, Bytes bytes) {
  const bool fits = (reinterpret_cast<uintptr_t>(bytes.data()) | offset | bytes.size()) % kDirectBytes == 0 &&
                    !bytes.empty();
  if (!direct_ || !fits) return Disk::write_durably(name, offset, bytes);
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  if (directory_->has_failed(name)) return fail(Code::kIo, kFailedBefore);
  const auto file = directory_->borrow(direct_slot_, name, O_RDWR | O_DIRECT | O_DSYNC);
  if (!file && file.error().number != EINVAL) return std::unexpected(file.error());
  const Result<> written = file ? write_all(*file, offset, bytes) : std::unexpected(file.error());
  if (file) directory_->give_back(direct_slot_, written.has_value());
  if (!written && written.error().number == EINVAL) {
    direct_ = false;  // Nothing was written: another file system's way of saying no.
    return Disk::write_durably(name, offset, bytes);
  }
  if (!written) directory_->mark_failed(name);
  return written;
}

Result<> PosixDisk::rename(const std::string& from, const std::string& to) {
  if (!name_valid(from) || !name_valid(to)) return fail(Code::kInvalid, kBadName);
  const int directory = directory_->directory_.get();
  const bool failed_before = directory_->has_failed(from);
  if (::renameat(directory, from.c_str(), directory, to.c_str()) != 0) {
    return fail_errno("cannot rename a file of the store");
  }
  directory_->forget(from);
  directory_->forget(to);
  if (failed_before) directory_->mark_failed(to);
  return {};
}

Result<> PosixDisk::remove(const std::string& name) {
  if (!name_valid(name)) return fail(Code::kInvalid, kBadName);
  if (::unlinkat(directory_->directory_.get(), name.c_str(), 0) != 0) {
    return fail_errno("cannot remove a file of the store");
  }
  directory_->forget(name);
  return {};
}

Result<> PosixDisk::sync_directory() {
  if (::fsync(directory_->directory_.get()) != 0) return fail_errno("cannot sync the store's directory");
  return {};
}

Result<uint64_t> PosixDisk::free_bytes() {
  struct statvfs about{};
  if (::fstatvfs(directory_->directory_.get(), &about) != 0) {
    return fail_errno("cannot ask the file system for its free space");
  }
  // What is left to ordinary users: the blocks reserved for root are there to rescue the machine with, even
  // from root.
  return static_cast<uint64_t>(about.f_bavail) * static_cast<uint64_t>(about.f_frsize);
}

}  // namespace hf::io
