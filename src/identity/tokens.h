// The tokens file: who may ask a node over HTTP, one line each. A text that people and programs edit.
//
//     # comment
//     prometheus:read:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//
// NAME:ROLE:DIGEST, the digest being SHA-256 of the token in 64 hexadecimal digits. A token is 256 random bits, so that a plain
// digest keeps it: there is nothing to guess at. It is taken as a whole or not at all, as the users file (identity/users.h).
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "identity/users.h"

namespace hf::identity {

inline constexpr size_t kTokenBytes = 32;
inline constexpr Bytes kTokenPrefix = "hft_";  // By which those who look for leaked secrets know one.

// Each may do what those before it may.
enum class Role : uint8_t {
  kRead,        // Look, at messages too.
  kOperate,     // And act on links, clients and messages; docs/http.md has the whole table.
  kAdminister,  // And everything.
};
const char* role_name(Role role);
std::optional<Role> parse_role(Bytes name);

// 1 to 64 of letters, digits, '.', '_' and '-'.
bool token_name_valid(Bytes name);
// What is given out, "hft_" and 64 hexadecimal digits; `random` has kTokenBytes.
std::string token_text(Bytes random);

struct Token {
  Role role = Role::kRead;
  std::string digest;  // 32 bytes.
  friend bool operator==(const Token&, const Token&) = default;
};
// What the file keeps of what was given out.
Token make_token(Role role, Bytes text);

class Tokens {
 public:
  using Map = std::map<std::string, Token, std::less<>>;
  struct Holder {
    std::string name;
    Role role = Role::kRead;
  };

  Tokens() = default;  // Nobody.
  explicit Tokens(Map all) : all_(std::move(all)) {}

  // Whose it is. Takes as long whatever is wrong with it.
  std::optional<Holder> holder(Bytes text) const;
  const Map& all() const { return all_; }

 private:
  Map all_;
};

std::expected<Tokens, Mistakes> parse_tokens(Bytes text);

// "NAME:ROLE:DIGEST" without an end of line.
std::string format_token(Bytes name, const Token& token);
// The text with this line at its end; without the line of `name`. All other lines stay byte for byte.
std::string with_token(Bytes text, Bytes name, const Token& token);
std::string without_token(Bytes text, Bytes name);

}  // namespace hf::identity
