// Any bytes in any two pieces: the same outcome as in one, and never more held than a header may have.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "io/proxy_filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const hf::Bytes bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t cut = std::min<size_t>(data[0], bytes.size());
  hf::io::ProxyFilter whole;
  hf::io::ProxyFilter pieces;
  std::string core_whole;
  std::string core_pieces;
  std::string reply;
  whole.receive(bytes, &core_whole, &reply);
  pieces.receive(bytes.substr(0, cut), &core_pieces, &reply);
  pieces.receive(bytes.substr(cut), &core_pieces, &reply);
  if (whole.state() != pieces.state() || core_whole != core_pieces || !reply.empty()) std::abort();
  if (whole.state() == hf::io::Filter::State::kFailed && whole.failure().empty()) std::abort();
  return 0;
}
