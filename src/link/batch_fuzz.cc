// Any bytes as a batch: refused or decoded, never anything else; and what was decoded encodes to what decodes
// the same.
#include <cstdlib>

#include "link/batch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static hf::link::BatchCodec codec;
  static hf::link::BatchCodec again;
  const auto sections = codec.decode({reinterpret_cast<const char*>(data), size});
  if (!sections) return 0;
  std::string bytes;
  uint64_t plain_size = 0;
  again.encode(*sections, (size & 1) != 0, &bytes, &plain_size);
  const auto back = again.decode(bytes);
  if (!back || *back != *sections) std::abort();
  return 0;
}
