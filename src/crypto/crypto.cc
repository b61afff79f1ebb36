#include "crypto/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/sha.h>

#include "base/assert.h"

namespace hf::crypto {

namespace {

const uint8_t* raw(Bytes bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }
uint8_t* raw(std::string& bytes) { return reinterpret_cast<uint8_t*>(bytes.data()); }

}  // namespace

Key::Key(Bytes bytes) {
  HF_ASSERT(bytes.size() == kKeyBytes);
  std::memcpy(bytes_.data(), bytes.data(), kKeyBytes);
}

Key::~Key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

bool Key::operator==(const Key& other) const { return equal_constant_time(bytes(), other.bytes()); }

// RFC 5869: extract, then one block of expand.
Key hkdf(Bytes secret, Bytes salt, Bytes info) {
  std::string pseudorandom = hmac_sha256(salt.empty() ? Bytes("\0", 1) : salt, secret);
  std::string block(info);
  block.push_back(1);
  std::string okm = hmac_sha256(pseudorandom, block);
  Key key{Bytes(okm)};
  wipe(&pseudorandom);
  wipe(&okm);
  return key;
}

std::string hmac_sha256(Bytes key, Bytes data) {
  std::string out(kHashBytes, '\0');
  unsigned size = 0;
  const uint8_t* const ok =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(data), data.size(), raw(out), &size);
  HF_ASSERT(ok != nullptr && size == kHashBytes);
  return out;
}

std::string sha256(Bytes data) {
  std::string out(kHashBytes, '\0');
  SHA256(raw(data), data.size(), raw(out));
  return out;
}

uint64_t fingerprint64(Bytes data) {
  const std::string hash = sha256(data);
  ByteReader reader(hash);
  return reader.u64be();
}

bool equal_constant_time(Bytes a, Bytes b) {
  return a.size() == b.size() && (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}

void wipe(std::string* secret) {
  // What was cut off, or moved from a short one, is still behind its end.
  secret->resize(secret->capacity());
  OPENSSL_cleanse(secret->data(), secret->size());
  secret->clear();
}

}  // namespace hf::crypto
