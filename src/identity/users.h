// The users file: who may log in, one line each. A text that people and programs edit.
//
//     # comment
//     anna:$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
//     press-7:$argon2id$...:SCRAM-SHA-256$15000:<salt>$<StoredKey>:<ServerKey>
//
// It is taken as a whole or not at all: a line that is not exactly so becomes a mistake and never a login. Nobody has
// a password in plain text, an empty one or none.
#pragma once

#include <cstddef>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/password.h"
#include "identity/scram.h"

namespace hf::identity {

inline constexpr size_t kUserNameBytesMax = 128;

// 1 to 128 bytes of UTF-8 without control characters, ':', '/', '+' and '#'; no space at either end, no '$' at the
// front; not "*", which means everybody where permissions are given. So a name is always one level of a topic.
bool user_name_valid(Bytes name);

struct Mistake {
  size_t line = 0;
  std::string sentence;
  friend bool operator==(const Mistake&, const Mistake&) = default;
};
using Mistakes = std::vector<Mistake>;

struct User {
  crypto::PasswordHash password;
  std::optional<ScramVerifier> scram;
  friend bool operator==(const User&, const User&) = default;
};

// A login by name and password: what to compare with. A name that nobody has costs as much as one that somebody has,
// so that neither the answer nor its time tells. Holds all it needs; run it on another thread.
class PasswordCheck {
 public:
  // Success, or kDenied; kFull without the memory for it.
  Result<> run(Bytes password) const;

 private:
  friend class Users;
  PasswordCheck(crypto::PasswordHash kept, bool known) : kept_(std::move(kept)), known_(known) {}
  crypto::PasswordHash kept_;
  bool known_ = false;
};

class Users {
 public:
  Users() = default;  // Nobody.
  explicit Users(std::map<std::string, User, std::less<>> all);

  const User* find(Bytes name) const;
  PasswordCheck check(Bytes name) const;

  const std::map<std::string, User, std::less<>>& all() const { return all_; }
  // Iterations and salt size that most SCRAM verifiers here have: what a name that nobody has seems to have.
  uint32_t scram_iterations() const { return scram_iterations_; }
  size_t scram_salt_bytes() const { return scram_salt_bytes_; }

 private:
  std::map<std::string, User, std::less<>> all_;
  crypto::PasswordCost cost_;  // That most passwords here have.
  uint32_t scram_iterations_ = kScramIterationsDefault;
  size_t scram_salt_bytes_ = crypto::kSaltBytes;
};

std::expected<Users, Mistakes> parse_users(Bytes text);

// "anna:$argon2id$..." without an end of line.
std::string format_user(Bytes name, const User& user);

// The text with this user's line replaced where it stands, or added at the end; with it removed. All other lines stay
// byte for byte. `text` is right (parse_users), and so is the name.
std::string with_user(Bytes text, Bytes name, const User& user);
std::string without_user(Bytes text, Bytes name);

}  // namespace hf::identity
