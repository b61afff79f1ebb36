// The keys of a store. A random master key encrypts everything through keys derived for each segment; the
// operator's key (KEK) only wraps the master, in a slot file that exists twice. docs/formats/store.md,
// "Keys".
#pragma once

#include <cstdint>

#include "base/prng.h"
#include "crypto/crypto.h"
#include "store/disk.h"

namespace hf::store {

struct Keys {
  uint64_t store_id = 0;
  uint32_t epoch = 1;  // Which master key this is; a rotation adds one.
  crypto::Key master;

  crypto::Key segment_key(uint64_t segment) const;
  // Tells a wrong key or a segment of another store from damage: AES-GCM alone cannot (it does not commit to
  // its key).
  std::string segment_check(uint64_t segment) const;  // 16 bytes.
};

inline constexpr const char* kKeySlotNames[2] = {"keys.0", "keys.1"};

std::string encode_key_slot(const Keys& keys, const crypto::Key& kek, const crypto::Nonce& nonce);
// kCorrupt (not a slot), kUnsupported (a newer format), kWrongKey (a sound slot that this KEK does not open).
Result<Keys> decode_key_slot(Bytes bytes, const crypto::Key& kek);

// Writes both slots of a new store. kExists if one is there.
Result<> create_keys(Disk& disk, Entropy& entropy, const crypto::Key& kek, uint64_t store_id);
// The first slot that opens; the other one is written again from it when it is missing or damaged. kForeign:
// no slot here.
Result<Keys> load_keys(Disk& disk, Entropy& entropy, const crypto::Key& kek);

crypto::Nonce draw_nonce(Entropy& entropy);

}  // namespace hf::store
