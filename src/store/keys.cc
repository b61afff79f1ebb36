#include "store/keys.h"

#include "base/crc32c.h"
#include "store/segment.h"

namespace hf::store {

namespace {

constexpr Bytes kMagic("HFKEYS\0\0", 8);
constexpr uint16_t kFormat = 1;
constexpr uint8_t kSlotKeyFile = 1;
constexpr size_t kClearBytes = 8 + 2 + 1 + 1 + 4 + 8;  // Up to the nonce.
constexpr size_t kSlotBytes = kClearBytes + crypto::kNonceBytes + crypto::kKeyBytes + crypto::kTagBytes + 4;

// The slot is there whole or not at all, and durable when this returns.
Result<> write_slot(Disk& disk, const std::string& name, Bytes bytes) {
  const std::string temporary = name + ".tmp";
  (void)disk.remove(temporary);
  HF_TRY(disk.create(temporary, 0));
  HF_TRY(disk.write(temporary, 0, bytes));
  HF_TRY(disk.sync(temporary));
  HF_TRY(disk.rename(temporary, name));
  return disk.sync_directory();
}

}  // namespace

crypto::Key Keys::segment_key(uint64_t segment) const {
  std::string salt;
  put_u64(salt, store_id);
  std::string info("holdfast segment");
  put_u32(info, epoch);
  put_u64(info, segment);
  return crypto::hkdf(master.bytes(), salt, info);
}

std::string Keys::segment_check(uint64_t segment) const {
  std::string data("holdfast segment check");
  put_u64(data, store_id);
  put_u64(data, segment);
  return crypto::hmac_sha256(master.bytes(), data).substr(0, 16);
}

crypto::Nonce draw_nonce(Entropy& entropy) {
  crypto::Nonce nonce;
  entropy.fill(nonce.data(), nonce.size());
  return nonce;
}

std::string encode_key_slot(const Keys& keys, const crypto::Key& kek, const crypto::Nonce& nonce) {
  std::string out(kMagic);
  put_u16(out, kFormat);
  put_u8(out, kSlotKeyFile);
  put_u8(out, 0);
  put_u32(out, keys.epoch);
  put_u64(out, keys.store_id);
  const std::string associated = out;
  out.append(reinterpret_cast<const char*>(nonce.data()), nonce.size());
  crypto::Aead(kek).seal(nonce, associated, keys.master.bytes(), &out);
  put_u32(out, crc32c(out));
  return out;
}

Result<Keys> decode_key_slot(Bytes bytes, const crypto::Key& kek) {
  if (bytes.size() < kSlotBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return fail(Code::kCorrupt, "not a key slot", bytes.size());
  }
  // The last four bytes are the checksum in any format: damage is told from a newer format.
  ByteReader tail(bytes.substr(bytes.size() - 4));
  if (tail.u32() != crc32c(bytes.substr(0, bytes.size() - 4))) {
    return fail(Code::kCorrupt, "the key slot's checksum does not hold");
  }
  ByteReader in(bytes.substr(kMagic.size()));
  const uint16_t format = in.u16();
  if (format != kFormat)
    return fail(Code::kUnsupported, "the key slot has a format this build does not know", format);
  if (bytes.size() != kSlotBytes) return fail(Code::kCorrupt, "a key slot of the wrong size", bytes.size());
  if (in.u8() != kSlotKeyFile) return fail(Code::kUnsupported, "a kind of key slot this build does not know");
  in.u8();
  Keys keys;
  keys.epoch = in.u32();
  keys.store_id = in.u64();
  crypto::Nonce nonce;
  std::memcpy(nonce.data(), in.bytes(nonce.size()).data(), nonce.size());
  std::string master;
  if (!crypto::Aead(kek).open(nonce, bytes.substr(0, kClearBytes),
                              in.bytes(crypto::kKeyBytes + crypto::kTagBytes), &master)) {
    return fail(Code::kWrongKey, "this key does not open the store");
  }
  keys.master = crypto::Key(master);
  crypto::wipe(&master);
  return keys;
}

Result<> create_keys(Disk& disk, Entropy& entropy, const crypto::Key& kek, uint64_t store_id) {
  // What an interrupted creation left (a slot that is not whole, and never a segment) is written over;
  // anything else is a store, whoever's key opens it.
  HF_TRY_ASSIGN(const std::vector<std::string> names, disk.list());
  for (const std::string& name : names) {
    uint64_t segment = 0;
    bool index = false;
    if (parse_segment_name(name, &segment, &index)) return fail(Code::kExists, "a store is here already");
  }
  for (const char* name : kKeySlotNames) {
    const Result<std::string> bytes = disk.read(name, 0, 4096);
    if (bytes) {
      const Result<Keys> slot = decode_key_slot(*bytes, kek);
      if (slot || slot.error().code != Code::kCorrupt) return fail(Code::kExists, "a store is here already");
      HF_TRY(disk.remove(name));
    }
  }
  Keys keys;
  keys.store_id = store_id;
  std::string master(crypto::kKeyBytes, '\0');
  entropy.fill(master.data(), master.size());
  keys.master = crypto::Key(master);
  crypto::wipe(&master);
  for (const char* name : kKeySlotNames) {
    HF_TRY(write_slot(disk, name, encode_key_slot(keys, kek, draw_nonce(entropy))));
  }
  return {};
}

Result<Keys> load_keys(Disk& disk, Entropy& entropy, const crypto::Key& kek) {
  Error worst{Code::kForeign, "there is no store in this directory; make one with `holdfast init`", 0};
  bool missing[2] = {};  // Or damaged: not somebody else's.
  Result<Keys> keys = std::unexpected(worst);
  for (int i = 0; i < 2; ++i) {
    Result<std::string> bytes = disk.read(kKeySlotNames[i], 0, 4096);
    if (!bytes) {
      missing[i] = bytes.error().code == Code::kNotFound;
      if (!missing[i]) worst = bytes.error();
      continue;
    }
    Result<Keys> slot = decode_key_slot(*bytes, kek);
    missing[i] = !slot && slot.error().code == Code::kCorrupt;
    if (!slot) {
      // A sound slot under another key says more than a damaged one.
      if (worst.code != Code::kWrongKey) worst = slot.error();
    } else if (!keys) {
      keys = std::move(slot);
    }
  }
  if (!keys && worst.code == Code::kCorrupt) {
    return fail(Code::kForeign, "both key files are damaged; put back keys.0 or keys.1 from a copy");
  }
  if (!keys) return std::unexpected(worst);
  for (int i = 0; i < 2; ++i) {
    if (!missing[i]) continue;
    // A failure here costs only the second copy; the next start tries again.
    (void)write_slot(disk, kKeySlotNames[i], encode_key_slot(*keys, kek, draw_nonce(entropy)));
  }
  return keys;
}

}  // namespace hf::store
