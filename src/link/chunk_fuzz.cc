// Any bytes as a chunk, with the checksum that belongs to them: refused or decoded, never anything else; and what
// was decoded encodes to what decodes the same.
#include <cstdlib>

#include "base/crc32c.h"
#include "link/chunk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static hf::link::ChunkCodec codec;
  static hf::link::ChunkCodec again;
  std::string message(reinterpret_cast<const char*>(data), size);
  (void)codec.decode(message);
  hf::put_u32(message, hf::crc32c(message));
  const auto chunk = codec.decode(message);
  if (!chunk) return 0;
  const std::string bytes = again.encode(*chunk, (size & 1) != 0);
  const auto back = again.decode(bytes);
  if (!back || *back != *chunk) std::abort();
  return 0;
}
