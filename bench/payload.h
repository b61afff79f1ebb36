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
    const char* const from = filler(stamp);
    const uint64_t mask = mask_of(stamp);
    char* const out = to + sizeof stamp;
    size_t at = 0;
    for (; at + 8 <= filler_bytes_; at += 8) put_word(out + at, word_at(from + at) ^ mask);
    for (; at < filler_bytes_; ++at) out[at] = from[at];
  }

  // False if these are not the bytes that were written.
  bool read(std::string_view payload, Stamp* stamp) const {
    if (payload.size() != sizeof *stamp + filler_bytes_) return false;
    std::memcpy(stamp, payload.data(), sizeof *stamp);
    const size_t last = filler_bytes_ / 8 * 8 - 8;
    const std::string_view rest = payload.substr(sizeof *stamp + last);
    const char* const from = filler(*stamp) + last;
    return word_at(rest.data()) == (word_at(from) ^ mask_of(*stamp)) &&
           rest.substr(8) == std::string_view(from + 8, rest.size() - 8);
  }

 private:
  // Small enough for a processor's own cache, larger than what anybody compresses at once.
  static constexpr size_t kPoolBytes = 512 << 10;

  static uint64_t word_at(const char* at) {
    uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
  }
  static void put_word(char* at, uint64_t word) { std::memcpy(at, &word, sizeof word); }

  // Two messages that come to the same place of the pool soon after each other are to be news there.
  static uint64_t mask_of(const Stamp& stamp) {
    return (stamp.publisher + 1) * 0x9e3779b97f4a7c15 ^ (stamp.sequence + 1) * 0xbf58476d1ce4e5b9;
  }

  const char* filler(const Stamp& stamp) const {
    return pool_.data() + (stamp.sequence * 0x119 + stamp.publisher * 0x4f1b) % kPoolBytes;
  }

  size_t filler_bytes_;
  std::string pool_;
};

}  // namespace hf::bench
