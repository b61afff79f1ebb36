// The cryptography Holdfast uses, as pure functions over OpenSSL 3: AES-256-GCM, HKDF-SHA-256, HMAC and
// SHA-256. Nothing here draws randomness: keys and nonces are arguments.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace hf::crypto {

inline constexpr size_t kKeyBytes = 32;
inline constexpr size_t kNonceBytes = 12;
inline constexpr size_t kTagBytes = 16;
inline constexpr size_t kHashBytes = 32;

// A 256-bit secret, wiped when it goes.
class Key {
 public:
  Key() = default;
  explicit Key(Bytes bytes);  // Exactly kKeyBytes; asserted.
  Key(const Key&) = default;
  Key& operator=(const Key&) = default;
  ~Key();

  Bytes bytes() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  bool operator==(const Key& other) const;  // In constant time.

 private:
  std::array<uint8_t, kKeyBytes> bytes_{};
};

using Nonce = std::array<uint8_t, kNonceBytes>;

// AES-256-GCM under one key. Not for two threads at once. The key schedule is set once; a message costs a
// nonce.
class Aead {
 public:
  explicit Aead(const Key& key);
  ~Aead();
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  // Appends ciphertext (as long as `plain`) and the 16-byte tag to *out.
  void seal(const Nonce& nonce, Bytes associated, Bytes plain, std::string* out);
  // Replaces *plain by the plaintext of `sealed` (ciphertext and tag). kCorrupt if the tag does not hold;
  // *plain is then empty.
  Result<> open(const Nonce& nonce, Bytes associated, Bytes sealed, std::string* plain);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// RFC 5869 with SHA-256, 32 bytes out.
Key hkdf(Bytes secret, Bytes salt, Bytes info);
std::string hmac_sha256(Bytes key, Bytes data);
std::string sha256(Bytes data);
// The first eight bytes of SHA-256, as a number: the fingerprint of a record.
uint64_t fingerprint64(Bytes data);
bool equal_constant_time(Bytes a, Bytes b);
void wipe(std::string* secret);

}  // namespace hf::crypto
