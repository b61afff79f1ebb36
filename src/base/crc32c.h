// CRC-32C (Castagnoli), the checksum of frame headers and of files that are not sealed by a key.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace hf {

// The CRC of `bytes` following bytes whose CRC was `seed` (0 at the start). crc32c("123456789") = 0xe3069283.
uint32_t crc32c(Bytes bytes, uint32_t seed = 0);

}  // namespace hf
