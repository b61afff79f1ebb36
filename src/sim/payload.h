// What the simulated publishers send. A payload names its sender, its number and itself, so that whoever finds one, in a
// delivery or on a disk, knows all there is to know:
//
//     "hfs1" | u32 publisher | u64 number | filler | u32 CRC-32C of all before
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/prng.h"

namespace hf::sim {

// A message of the world: who sent it, and which of theirs it is (from 1, over all their topics).
struct MessageId {
  uint32_t publisher = 0;
  uint64_t number = 0;
  friend constexpr auto operator<=>(const MessageId&, const MessageId&) = default;
};

inline constexpr size_t kPayloadBytesMin = 20;

inline std::string make_payload(MessageId id, size_t filler_bytes, Prng& prng) {
  std::string out = "hfs1";
  put_u32(out, id.publisher);
  put_u64(out, id.number);
  // Half of it compresses, half does not.
  for (size_t i = 0; i < filler_bytes; ++i) {
    out.push_back(i % 2 == 0 ? 'x' : static_cast<char>(prng.next()));
  }
  put_u32(out, crc32c(out));
  return out;
}

// Nothing if nobody could have sent these bytes.
inline std::optional<MessageId> read_payload(Bytes payload) {
  if (payload.size() < kPayloadBytesMin || payload.substr(0, 4) != "hfs1") return std::nullopt;
  ByteReader tail(payload.substr(payload.size() - 4));
  if (tail.u32() != crc32c(payload.substr(0, payload.size() - 4))) return std::nullopt;
  ByteReader in(payload.substr(4));
  MessageId id;
  id.publisher = in.u32();
  id.number = in.u64();
  return id;
}

}  // namespace hf::sim
