// The fence: bytes that name this very directory on this very machine. A store that finds another fence than
// the one it wrote down is a copy (a restored backup, a cloned card) and takes a new incarnation, so that
// numbers it gives are never taken for those of the original.
//
// Made of what survives a reboot and does not survive a copy: the machine's identity (/etc/machine-id), the
// directory's inode, and the inode's time of birth, which no copying program can set. Device numbers are left
// out: they change when disks are found in another order, and a fence that changes by itself makes needless
// incarnations. What this cannot see, a copy of the whole block device started on the same machine identity,
// is found at HELLO by the hashes of the last records (docs/formats/link.md).
#pragma once

#include <string>

#include "base/result.h"

namespace hf::io {

// kNotFound, kIo.
Result<std::string> directory_fence(const std::string& directory);

}  // namespace hf::io
