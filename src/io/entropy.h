// Entropy from the operating system.
#pragma once

#include "base/prng.h"

namespace hf::io {

class SystemEntropy final : public Entropy {
 public:
  void fill(void* out, uint64_t size_bytes) override;
};

}  // namespace hf::io
