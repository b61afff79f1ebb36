// The payload of a measured message.
//
//   run: u32, publisher: u32, sequence: u64, sent: u64 ns of CLOCK_MONOTONIC, filler       (little-endian)
//
// The filler is random and differs from one message to the next, so that compression gains nothing anywhere;
// where it comes from follows from publisher and sequence, so that the receiver can check its end.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>

namespace hf::bench {

struct Stamp {
  uint32_t run = 0;
  uint32_t publisher = 0;
  uint64_t sequence = 0;
  uint64_t sent_ns = 0;
};
static_assert(sizeof(Stamp) == 24);

inline constexpr size_t kPayloadBytesMin = sizeof(Stamp) + 8;
inline constexpr size_t kPayloadBytesMax = 64 << 10;

class Payloads {
 public:
  explicit Payloads(size_t size)
      : filler_bytes_(size - sizeof(Stamp)), pool_(kPoolBytes + kPayloadBytesMax, 0) {
    std::mt19937_64 random(20240229);
    for (size_t at = 0; at + sizeof(uint64_t) <= pool_.size(); at += sizeof(uint64_t)) {
      const uint64_t word = random();
      std::memcpy(pool_.data() + at, &word, sizeof word);
    }
  }

  void write(char* to, const Stamp& stamp) const {
    std::memcpy(to, &stamp, sizeof stamp);
    std::memcpy(to + sizeof stamp, filler(stamp), filler_bytes_);
  }

  // False if these are not the bytes that were written.
  bool read(std::string_view payload, Stamp* stamp) const {
    if (payload.size() != sizeof *stamp + filler_bytes_) return false;
    std::memcpy(stamp, payload.data(), sizeof *stamp);
    return std::memcmp(payload.data() + payload.size() - 8, filler(*stamp) + filler_bytes_ - 8, 8) == 0;
  }

 private:
  // Small enough for a processor's own cache, larger than what anybody compresses at once.
  static constexpr size_t kPoolBytes = 512 << 10;

  const char* filler(const Stamp& stamp) const {
    return pool_.data() + (stamp.sequence * 0x119 + stamp.publisher * 0x4f1b) % kPoolBytes;
  }

  size_t filler_bytes_;
  std::string pool_;
};

}  // namespace hf::bench
