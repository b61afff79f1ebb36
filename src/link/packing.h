// Whether the next batch of a lane is worth an attempt at compressing it. On a fast link the attempt is most of what a batch
// costs, and bytes that are images, encrypted or compressed already hardly get smaller; so while they do not, one batch in eight
// tells whether that has changed. On a slow link every byte is worth an attempt.
#pragma once

#include <cstdint>

namespace hf::link {

class Packing {
 public:
  static constexpr uint64_t kFastBytesPerS = 4 << 20;
  static constexpr uint32_t kTriedOneIn = 8;

  // `goodput` of the link, bytes a second. Asked once for each batch.
  bool worth_trying(uint64_t goodput) {
    if (!dense_ || goodput < kFastBytesPerS) return true;
    passed_over_ = (passed_over_ + 1) % kTriedOneIn;
    return passed_over_ == 0;
  }

  // What an attempt made of so many bytes.
  void tried(uint64_t plain_bytes, uint64_t packed_bytes) {
    dense_ = packed_bytes > plain_bytes - plain_bytes / 8;
  }

 private:
  bool dense_ = false;  // The last attempt gained less than an eighth.
  uint32_t passed_over_ = 0;
};

}  // namespace hf::link
