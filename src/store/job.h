// A piece of disk work, made by the store and run outside the core: by storage threads in io/, at a random
// later instant in sim/. A job holds everything it needs and nothing of the store, so that it may run beside
// later steps.
#pragma once

#include "base/prng.h"
#include "store/disk.h"

namespace hf::store {

// Jobs of different lanes may run at the same time and finish in any order; those of one lane run in order,
// one at a time.
enum class Lane : uint8_t { kCommit, kRead, kBackground };

class Job {
 public:
  virtual ~Job() = default;
  virtual Lane lane() const = 0;
  // Does the work and keeps the outcome inside the job, for Store::complete. Called once, on any thread. The
  // disk may fail; the outcome then says so.
  virtual void run(Disk& disk, Entropy& entropy) = 0;
};

}  // namespace hf::store
