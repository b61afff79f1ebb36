// store::Disk over one directory of a POSIX file system.
//
// A PosixDirectory is the directory; each thread that works in it has a PosixDisk of its own. They share what
// must be known to all of them: which descriptors are kept open (a file that one thread removes is held open
// by none, else its space would not come back), and which files have failed.
//
// Invariant: after a write or a sync of a file failed, no PosixDisk of this directory writes or syncs a file
// of that name again, until it is removed or made anew. The kernel marks pages clean after a failed
// writeback, so a second fdatasync of the same bytes would say "durable" of bytes that are lost
// (docs/formats/store.md, "A failed write or sync").
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "io/file_descriptor.h"
#include "store/disk.h"

namespace hf::io {

class PosixDisk;

class PosixDirectory {
 public:
  // The directory exists. kNotFound, kIo (`number` is errno).
  static Result<std::shared_ptr<PosixDirectory>> open(const std::string& path);

  // A view of this directory for one thread.
  static std::unique_ptr<PosixDisk> disk(const std::shared_ptr<PosixDirectory>& directory);

 private:
  friend class PosixDisk;

  // A descriptor that one PosixDisk keeps from one call to the next. Only that disk's thread opens and uses
  // it; any thread may close it when it is not in use.
  struct Slot {
    std::string name;
    FileDescriptor file;
    bool in_use = false;
    bool doomed = false;  // To be closed as soon as it is no longer in use.
  };

  explicit PosixDirectory(FileDescriptor directory) : directory_(std::move(directory)) {}

  // A descriptor of `name`, kept in `slot` from now on; in use until give_back().
  Result<int> borrow(Slot& slot, const std::string& name, int flags);
  void give_back(Slot& slot, bool keep);
  // The name means another file from now on, or none.
  void forget(const std::string& name);
  void mark_failed(const std::string& name);
  bool has_failed(const std::string& name);

  const FileDescriptor directory_;
  std::mutex mutex_;  // Guards what follows.
  std::vector<Slot*> slots_;
  std::set<std::string> failed_;
  uint64_t forgotten_count_ = 0;
};

// Not for two threads at once.
class PosixDisk final : public store::Disk {
 public:
  explicit PosixDisk(std::shared_ptr<PosixDirectory> directory);
  ~PosixDisk() override;
  PosixDisk(const PosixDisk&) = delete;
  PosixDisk& operator=(const PosixDisk&) = delete;

  Result<std::vector<std::string>> list() override;
  Result<uint64_t> size(const std::string& name) override;
  Result<> create(const std::string& name, uint64_t size) override;
  Result<std::string> read(const std::string& name, uint64_t offset, uint64_t size) override;
  Result<std::string> read_once(const std::string& name, uint64_t offset, uint64_t size) override;
  Result<> write(const std::string& name, uint64_t offset, Bytes bytes) override;
  Result<> truncate(const std::string& name, uint64_t size) override;
  Result<> sync(const std::string& name) override;
  // Past the page cache and with its own sync, where file system and bytes allow.
  Result<> write_durably(const std::string& name, uint64_t offset, Bytes bytes) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<> remove(const std::string& name) override;
  Result<> sync_directory() override;
  Result<uint64_t> free_bytes() override;

 private:
  Result<> fill_with_zeros(int file, uint64_t size);

  const std::shared_ptr<PosixDirectory> directory_;
  PosixDirectory::Slot read_slot_;
  PosixDirectory::Slot direct_read_slot_;
  PosixDirectory::Slot write_slot_;
  PosixDirectory::Slot direct_slot_;
  bool direct_ = true;  // As far as is known, this file system can.
};

}  // namespace hf::io
