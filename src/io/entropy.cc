#include "io/entropy.h"

#include <sys/random.h>

#include <cerrno>

#include "base/assert.h"

namespace hf::io {

void SystemEntropy::fill(void* out, uint64_t size_bytes) {
  auto* at = static_cast<char*>(out);
  while (size_bytes > 0) {
    // Blocks only until the kernel's generator was seeded once after boot; never gives predictable bytes.
    const ssize_t got = ::getrandom(at, size_bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    HF_ASSERT(got > 0);  // A key or a nonce made of anything else would be worse than no process.
    at += got;
    size_bytes -= static_cast<uint64_t>(got);
  }
}

}  // namespace hf::io
