// One process for a data directory: an advisory lock on DIR/lock, held as long as this object lives and given
// up by the kernel when the process ends in whatever way. The file holds the process id, for the message to
// the second comer.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "io/file_descriptor.h"

namespace hf::io {

class DirectoryLock {
 public:
  // The error is a sentence: who holds it ("... is in use by process 1234"), or what failed.
  static std::expected<std::unique_ptr<DirectoryLock>, std::string> acquire(const std::string& directory);

 private:
  explicit DirectoryLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

}  // namespace hf::io
