// Any line as an admin request, and as an answer. The node is locked, so that no store is needed: what is tried here is the
// reading.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "holdfast/admin.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf;
  const Bytes line(reinterpret_cast<const char*>(data), size);
  holdfast::StatusView view;
  view.locked = "fuzz.";
  holdfast::Admin admin(nullptr, view);
  std::vector<io::AdminReply> replies;
  admin.request(1, line, {}, &replies);
  if (replies.size() != 1 || !holdfast::decode_answer(replies[0].line)) std::abort();
  (void)holdfast::decode_answer(line);
  return 0;
}
