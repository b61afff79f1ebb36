#include "store/keys.h"

#include "base/crc32c.h"

namespace hf::store {

namespace {

constexpr Bytes kMagic("HFKEYS\0\0", 8);
constexpr uint16_t kFormat = 1;
constexpr uint8_t kSlotKeyFile = 1;
constexpr size_t kClearBytes = 8 + 2 + 1 + 1 + 4 + 8;  // Up to the nonce.
constexpr size_t kSlotBytes = kClearBytes + crypto::kNonceBytes + crypto::kKeyBytes + crypto::kTagBytes + 4;

Result<> write_new_file(Disk& disk, const std::string& name, Bytes bytes) {
  HF_TRY(disk.create(name, bytes.size()));
  HF_TRY(disk.write(name, 0, bytes));
  return disk.sync(name);
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
  ByteReader in(bytes.substr(kMagic.size()));
  const uint16_t format = in.u16();
  if (format != kFormat)
    return fail(Code::kUnsupported, "the key slot has a format this build does not know", format);
  if (bytes.size() != kSlotBytes) return fail(Code::kCorrupt, "a key slot of the wrong size", bytes.size());
  ByteReader tail(bytes.substr(kSlotBytes - 4));
  if (tail.u32() != crc32c(bytes.substr(0, kSlotBytes - 4))) {
    return fail(Code::kCorrupt, "the key slot's checksum does not hold");
  }
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
  for (const char* name : kKeySlotNames) {
    if (disk.size(name)) return fail(Code::kExists, "a store is here already");
  }
  Keys keys;
  keys.store_id = store_id;
  std::string master(crypto::kKeyBytes, '\0');
  entropy.fill(master.data(), master.size());
  keys.master = crypto::Key(master);
  crypto::wipe(&master);
  for (const char* name : kKeySlotNames) {
    HF_TRY(write_new_file(disk, name, encode_key_slot(keys, kek, draw_nonce(entropy))));
    // Each slot's name is durable before the next is begun: there is never a moment without one whole slot.
    HF_TRY(disk.sync_directory());
  }
  return {};
}

Result<Keys> load_keys(Disk& disk, Entropy& entropy, const crypto::Key& kek) {
  Error worst{Code::kForeign, "there is no store in this directory; make one with `holdfast init`", 0};
  bool whole[2] = {};
  Result<Keys> keys = std::unexpected(worst);
  for (int i = 0; i < 2; ++i) {
    Result<std::string> bytes = disk.read(kKeySlotNames[i], 0, 4096);
    if (!bytes) {
      if (bytes.error().code != Code::kNotFound) worst = bytes.error();
      continue;
    }
    Result<Keys> slot = decode_key_slot(*bytes, kek);
    whole[i] = slot.has_value();
    if (!slot) {
      // A sound slot under another key says more than a damaged one.
      if (worst.code != Code::kWrongKey) worst = slot.error();
    } else if (!keys) {
      keys = std::move(slot);
    }
  }
  if (!keys) return std::unexpected(worst);
  for (int i = 0; i < 2; ++i) {
    if (whole[i]) continue;
    // A failure here costs only the second copy; the next start tries again.
    const std::string temporary = std::string(kKeySlotNames[i]) + ".tmp";
    (void)disk.remove(temporary);
    if (write_new_file(disk, temporary, encode_key_slot(*keys, kek, draw_nonce(entropy))) &&
        disk.rename(temporary, kKeySlotNames[i])) {
      (void)disk.sync_directory();
    }
  }
  return keys;
}

}  // namespace hf::store
