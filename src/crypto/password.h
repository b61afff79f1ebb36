// Passwords that are kept: Argon2id (RFC 9106) for a login by name and password, and PBKDF2 for SCRAM.
//
// A kept password is a string of the Password Hashing Competition's form, which names its own cost:
//
//     $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>     salt and hash in Base64 without padding
//
// It comes from a file that somebody may have got wrong, so its cost has limits: no line of a file makes one login
// take the memory or the minutes of the whole node. Salts are arguments; no randomness is drawn here.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace hf::crypto {

inline constexpr size_t kSaltBytes = 16;  // Of the salts that we draw (RFC 9106, section 3.1).

// What one attempt costs. The default takes 19 MiB and two passes, the least that OWASP's Password Storage Cheat
// Sheet advises and what a small machine can spare.
struct PasswordCost {
  uint32_t memory_kib = 19 << 10;
  uint32_t passes = 2;
  uint32_t lanes = 1;
  friend bool operator==(const PasswordCost&, const PasswordCost&) = default;
};

// Whether a new password may be kept at this cost: at least 7 MiB, and memory times passes not below the default's.
bool password_cost_strong(const PasswordCost& cost);

struct PasswordHash {
  PasswordCost cost;
  std::string salt;
  std::string hash;
  friend bool operator==(const PasswordHash&, const PasswordHash&) = default;
};

// Exactly the form above: this version, the parameters in this order and without leading zeros, a salt of 8 to 64
// bytes and a hash of 16 to 64. kInvalid otherwise; kUnsupported for another algorithm or version; kTooLarge above
// 256 MiB, 16 passes or 4 lanes.
Result<PasswordHash> parse_password_hash(Bytes text);
std::string format_password_hash(const PasswordHash& hash);

// Takes tens of milliseconds and the memory of `cost`, so it is no work for the core thread. kInvalid for a cost that
// is not strong or a salt that parse_password_hash would refuse; kFull without the memory.
Result<PasswordHash> hash_password(Bytes password, Bytes salt, const PasswordCost& cost = {});

// Success is the right password, and nothing else is: kDenied for a wrong one, kFull without the memory. As costly as
// hash_password.
Result<> verify_password(Bytes password, const PasswordHash& kept);

// RFC 8018, section 5.2, with HMAC-SHA-256, 32 bytes out; `iterations` is at least 1.
std::string pbkdf2_sha256(Bytes password, Bytes salt, uint32_t iterations);

}  // namespace hf::crypto
