// Fuzzes the plaintext of indexes: what decodes encodes to bytes that decode to the same again, and names no
// frame that it does not hold.
//
// Grammar of an input: the plaintext (segment_index.h).
#include <cstdint>

#include "base/assert.h"
#include "store/segment_index.h"

namespace hf::store {
namespace {

void visit(const SegmentIndex& index) {
  const size_t frames = index.directory.frames.size();
  for (const auto& [reader, shares] : index.directory.readers) {
    for (const Share& share : shares) HF_ASSERT(share.frame < frames);
  }
  for (const auto& [stream, use] : index.directory.streams) {
    HF_ASSERT(stream == use.definition.id);
    for (const Share& share : use.shares) HF_ASSERT(share.frame < frames);
  }
  for (const IndexedRow& row : index.rows) HF_ASSERT(table_name(row.table)[0] != 'u');
  HF_ASSERT(index.directory.memory_bytes() > 0);
  HF_ASSERT(index.directory.frame_after({}) <= frames);
}

}  // namespace
}  // namespace hf::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf::store;
  // From a buffer of its own size, so that the sanitizer sees a read past the end.
  const std::string plain(reinterpret_cast<const char*>(data), size);
  const hf::Result<SegmentIndex> index = decode_index(plain);
  if (!index) return 0;
  visit(*index);
  const std::string bytes = encode_index(*index);
  const hf::Result<SegmentIndex> again = decode_index(bytes);
  HF_ASSERT(again.has_value());
  HF_ASSERT(encode_index(*again) == bytes);
  return 0;
}
