// Randomness of the core. `Prng` is deterministic and fit for jitter and simulation, never for keys. Key
// material, nonces and incarnations come through `Entropy`, which io/ fills from the operating system and
// sim/ from its seed.
#pragma once

#include <cstdint>

namespace hf {

// xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64.
class Prng {
 public:
  explicit Prng(uint64_t seed);

  uint64_t next();
  // Uniform in [0, bound); bound > 0. (Lemire, 2019, without the rejection step: the bias is below 2^-32 for
  // the bounds used here.)
  uint64_t below(uint64_t bound);
  // True with probability numerator / denominator.
  bool chance(uint64_t numerator, uint64_t denominator) { return below(denominator) < numerator; }

 private:
  uint64_t state_[4];
};

// Where secrets come from. Implementations must be safe to call from any thread.
class Entropy {
 public:
  virtual ~Entropy() = default;
  virtual void fill(void* out, uint64_t size_bytes) = 0;

  uint64_t u64() {
    uint64_t value = 0;
    fill(&value, sizeof value);
    return value;
  }
};

}  // namespace hf
