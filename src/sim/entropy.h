// Secrets from a seed: each machine of a world draws its own.
#pragma once

#include <cstring>

#include "base/prng.h"

namespace hf::sim {

class SimEntropy final : public Entropy {
 public:
  explicit SimEntropy(uint64_t seed) : prng_(seed) {}

  void fill(void* out, uint64_t size_bytes) override {
    char* to = static_cast<char*>(out);
    while (size_bytes > 0) {
      const uint64_t value = prng_.next();
      const uint64_t part = size_bytes < sizeof value ? size_bytes : sizeof value;
      std::memcpy(to, &value, part);
      to += part;
      size_bytes -= part;
    }
  }

 private:
  Prng prng_;
};

}  // namespace hf::sim
