#include "crypto/password.h"

#include <argon2.h>
#include <openssl/evp.h>

#include <optional>

#include "base/assert.h"
#include "base/base64.h"
#include "crypto/crypto.h"

namespace hf::crypto {

namespace {

constexpr Bytes kPrefix = "$argon2id$v=19$m=";

constexpr uint32_t kMemoryKibMax = 256 << 10;
constexpr uint32_t kPassesMax = 16;
constexpr uint32_t kLanesMax = 4;
constexpr uint32_t kMemoryKibStrong = 7 << 10;

constexpr size_t kSaltBytesMin = 8;
constexpr size_t kSaltBytesMax = 64;
constexpr size_t kHashBytesMin = 16;
constexpr size_t kHashBytesMax = 64;
constexpr size_t kPasswordBytesMax = 1 << 16;

// Takes `prefix` from the front of *text, if it is there.
bool take(Bytes* text, Bytes prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

// Takes a decimal number of up to nine digits, without leading zeros.
std::optional<uint32_t> take_number(Bytes* text) {
  uint32_t value = 0;
  size_t size = 0;
  for (; size < text->size() && (*text)[size] >= '0' && (*text)[size] <= '9'; ++size) {
    if (size == 9) return std::nullopt;
    value = value * 10 + static_cast<uint32_t>((*text)[size] - '0');
  }
  if (size == 0 || (size > 1 && text->front() == '0')) return std::nullopt;
  text->remove_prefix(size);
  return value;
}

Result<> check_cost(const PasswordCost& cost) {
  if (cost.memory_kib > kMemoryKibMax)
    return fail(Code::kTooLarge, "a password hash may take 256 MiB (m=262144) at most", cost.memory_kib);
  if (cost.passes > kPassesMax)
    return fail(Code::kTooLarge, "a password hash may take 16 passes (t=16) at most", cost.passes);
  if (cost.lanes > kLanesMax)
    return fail(Code::kTooLarge, "a password hash may have 4 lanes (p=4) at most", cost.lanes);
  // RFC 9106, section 3.1.
  if (cost.passes == 0 || cost.lanes == 0 || cost.memory_kib < 8 * cost.lanes)
    return fail(Code::kInvalid, "Argon2 needs t and p of at least 1, and m of at least 8 times p");
  return {};
}

Result<> check_salt(Bytes salt) {
  if (salt.size() < kSaltBytesMin || salt.size() > kSaltBytesMax)
    return fail(Code::kInvalid, "the salt of a password hash has 8 to 64 bytes", salt.size());
  return {};
}

Result<std::string> argon2id(Bytes password, Bytes salt, const PasswordCost& cost, size_t hash_bytes) {
  if (password.size() > kPasswordBytesMax)
    return fail(Code::kTooLarge, "a password has 64 KiB at most", password.size());
  std::string hash(hash_bytes, '\0');
  // The library takes pointers that are not const, and with these flags writes through none but `out`.
  std::string password_copy(password);
  std::string salt_copy(salt);
  const auto raw = [](std::string& bytes) { return reinterpret_cast<uint8_t*>(bytes.data()); };
  argon2_context context{};
  context.out = raw(hash);
  context.outlen = static_cast<uint32_t>(hash.size());
  context.pwd = raw(password_copy);
  context.pwdlen = static_cast<uint32_t>(password_copy.size());
  context.salt = raw(salt_copy);
  context.saltlen = static_cast<uint32_t>(salt_copy.size());
  context.t_cost = cost.passes;
  context.m_cost = cost.memory_kib;
  context.lanes = cost.lanes;
  context.threads = 1;  // However many lanes: the same hash, and the library starts no threads of its own.
  context.version = ARGON2_VERSION_13;
  context.flags = ARGON2_DEFAULT_FLAGS;
  const int outcome = argon2_ctx(&context, Argon2_id);
  wipe(&password_copy);
  if (outcome == ARGON2_MEMORY_ALLOCATION_ERROR)
    return fail(Code::kFull, "there is no memory to check a password", cost.memory_kib);
  HF_ASSERT(outcome == ARGON2_OK);
  return hash;
}

}  // namespace

bool password_cost_strong(const PasswordCost& cost) {
  constexpr PasswordCost kLeast;
  return check_cost(cost) && cost.memory_kib >= kMemoryKibStrong &&
         cost.memory_kib * cost.passes >= kLeast.memory_kib * kLeast.passes;
}

Result<PasswordHash> parse_password_hash(Bytes text) {
  Bytes rest = text;
  if (!rest.starts_with('$')) return fail(Code::kInvalid, "a password hash begins with $argon2id$");
  if (!rest.starts_with("$argon2id$")) return fail(Code::kUnsupported, "only argon2id is known here");
  if (!take(&rest, kPrefix))
    return fail(Code::kUnsupported, "only version 19 of Argon2 is known: $argon2id$v=19$m=...");
  const auto memory = take_number(&rest);
  const bool passes_next = take(&rest, ",t=");
  const auto passes = take_number(&rest);
  const bool lanes_next = take(&rest, ",p=");
  const auto lanes = take_number(&rest);
  if (!memory || !passes_next || !passes || !lanes_next || !lanes || !take(&rest, "$"))
    return fail(Code::kInvalid, "a password hash is $argon2id$v=19$m=NUMBER,t=NUMBER,p=NUMBER$SALT$HASH");
  PasswordHash parsed{.cost = {.memory_kib = *memory, .passes = *passes, .lanes = *lanes}};
  HF_TRY(check_cost(parsed.cost));

  const size_t dollar = rest.find('$');
  if (dollar == Bytes::npos) return fail(Code::kInvalid, "the password hash ends before its hash");
  auto salt = from_base64(rest.substr(0, dollar), Base64Padding::kNone);
  auto hash = from_base64(rest.substr(dollar + 1), Base64Padding::kNone);
  if (!salt || !hash)
    return fail(Code::kInvalid, "salt and hash of a password hash are Base64 without padding");
  HF_TRY(check_salt(*salt));
  if (hash->size() < kHashBytesMin || hash->size() > kHashBytesMax)
    return fail(Code::kInvalid, "the hash of a password hash has 16 to 64 bytes", hash->size());
  parsed.salt = std::move(*salt);
  parsed.hash = std::move(*hash);
  return parsed;
}

std::string format_password_hash(const PasswordHash& hash) {
  return std::string(kPrefix) + std::to_string(hash.cost.memory_kib) +
         ",t=" + std::to_string(hash.cost.passes) + ",p=" + std::to_string(hash.cost.lanes) + "$" +
         to_base64(hash.salt, Base64Padding::kNone) + "$" + to_base64(hash.hash, Base64Padding::kNone);
}

Result<PasswordHash> hash_password(Bytes password, Bytes salt, const PasswordCost& cost) {
  HF_TRY(check_cost(cost));
  if (!password_cost_strong(cost))
    return fail(Code::kInvalid, "a new password hash must cost 7 MiB and as much as m=19456,t=2 at least");
  HF_TRY(check_salt(salt));
  HF_TRY_ASSIGN(std::string hash, argon2id(password, salt, cost, kHashBytes));
  return PasswordHash{.cost = cost, .salt = std::string(salt), .hash = std::move(hash)};
}

Result<> verify_password(Bytes password, const PasswordHash& kept) {
  HF_TRY(check_cost(kept.cost));
  HF_TRY(check_salt(kept.salt));
  if (kept.hash.size() < kHashBytesMin)
    return fail(Code::kInvalid, "the kept hash is too short", kept.hash.size());
  HF_TRY_ASSIGN(const std::string hash, argon2id(password, kept.salt, kept.cost, kept.hash.size()));
  if (!equal_constant_time(hash, kept.hash)) return fail(Code::kDenied, "the password is wrong");
  return {};
}

std::string pbkdf2_sha256(Bytes password, Bytes salt, uint32_t iterations) {
  HF_ASSERT(iterations >= 1 && iterations <= 1u << 30 && password.size() <= kPasswordBytesMax);
  HF_ASSERT(salt.size() <= kPasswordBytesMax);
  std::string key(kHashBytes, '\0');
  const int ok = PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                                   reinterpret_cast<const uint8_t*>(salt.data()),
                                   static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha256(),
                                   static_cast<int>(key.size()), reinterpret_cast<uint8_t*>(key.data()));
  HF_ASSERT(ok == 1);
  return key;
}

}  // namespace hf::crypto
