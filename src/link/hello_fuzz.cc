// Any bytes as each of the small messages: refused or decoded; and what was decoded comes back the same.
#include <cstdlib>

#include "link/claim.h"
#include "link/hello.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const hf::Bytes bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      if (const auto hello = hf::link::decode_hello(bytes)) {
        const auto back = hf::link::decode_hello(hf::link::encode_hello(*hello));
        if (!back || *back != *hello) std::abort();
      }
      break;
    case 1:
      if (const auto pairs = hf::link::decode_pairs(bytes)) {
        const auto back = hf::link::decode_pairs(hf::link::encode_pairs(*pairs));
        if (!back || *back != *pairs) std::abort();
      }
      break;
    case 2:
      if (const auto claim = hf::link::parse_claim(bytes)) {
        const auto back = hf::link::parse_claim(hf::link::encode_claim(*claim));
        if (!back || *back != *claim) std::abort();
      }
      break;
    case 3:
      if (const auto secret = hf::link::decode_claim_message(bytes)) {
        if (hf::link::encode_claim_message(*secret) != bytes) std::abort();
      }
      break;
  }
  return 0;
}
