// The store's whole outside world: one directory of files. io/ implements it over POSIX, sim/ over memory
// with faults.
//
// What a crash may do to it, and what the store therefore counts on:
// - bytes written but not synced may be there, be missing, be torn at any 512-byte sector, in any order;
// - a created, renamed or removed name is certain only after sync_directory();
// - after a failed write or sync of a file nothing more is known of its unsynced bytes: the store never syncs
// it again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace hf::store {

class Disk {
 public:
  virtual ~Disk() = default;

  // The names of all files, sorted.
  virtual Result<std::vector<std::string>> list() = 0;
  virtual Result<uint64_t> size(const std::string& name) = 0;
  // Makes a new file of `size` zero bytes that occupy space (not holes). kExists if the name is taken, kFull
  // if there is no space; then the name does not stay behind. Neither file nor name is durable yet.
  virtual Result<> create(const std::string& name, uint64_t size) = 0;
  // Up to `size` bytes from `offset`; fewer only at the end of the file.
  virtual Result<std::string> read(const std::string& name, uint64_t offset, uint64_t size) = 0;
  // The same for what is read once and in large pieces: past the operating system's cache, where that can be.
  virtual Result<std::string> read_once(const std::string& name, uint64_t offset, uint64_t size) {
    return read(name, offset, size);
  }
  // All of `bytes` at `offset`, growing the file where needed.
  virtual Result<> write(const std::string& name, uint64_t offset, Bytes bytes) = 0;
  virtual Result<> truncate(const std::string& name, uint64_t size) = 0;
  // Returns once every byte of the file is on stable storage (fdatasync).
  virtual Result<> sync(const std::string& name) = 0;
  // write() and then sync(), as one: if it fails, nothing is known of either. Fastest where the address of the bytes, their
  // number and `offset` are multiples of kDirectBytes.
  virtual Result<> write_durably(const std::string& name, uint64_t offset, Bytes bytes) {
    if (Result<> written = write(name, offset, bytes); !written) return written;
    return sync(name);
  }
  static constexpr uint64_t kDirectBytes = 4096;
  virtual Result<> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<> remove(const std::string& name) = 0;
  virtual Result<> sync_directory() = 0;
  // What the file system would still give this process.
  virtual Result<uint64_t> free_bytes() = 0;
};

}  // namespace hf::store
