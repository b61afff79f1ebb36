// The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677): a login that shows neither the password to the node nor,
// to who stole the users file, anything that logs in.
//
//     client-first   n,,n=anna,r=<nonce>                       "y" for "n" is taken too
//     server-first   r=<nonce><ours>,s=<salt>,i=<iterations>
//     client-final   c=<gs2 header>,r=<nonce><ours>,p=<proof>
//     server-final   v=<signature>
//
// There is no channel binding: "p=" is refused, and a client that could do it ("y") was not told that we could.
// Names and passwords are compared as they are written: SASLprep (RFC 4013) is not applied, which makes no difference
// to printable ASCII; two ways to compose the same accented letter are two passwords.
//
// A name that nobody has gets a salt that is made from a secret and the name, the same each time, and is refused in
// the same step as a wrong password. So names cannot be tried out.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace hf::identity {

class Users;

inline constexpr uint32_t kScramIterationsMin = 4096;  // RFC 7677, section 4.
inline constexpr uint32_t kScramIterationsMax = 1'000'000;
inline constexpr uint32_t kScramIterationsDefault = 15'000;

// What is kept of a password for SCRAM. Written as PostgreSQL writes it, after RFC 5803:
//
//     SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>      in Base64
//
// Weaker than Argon2id if the file is stolen: guessing costs iterations, not memory.
struct ScramVerifier {
  uint32_t iterations = 0;
  std::string salt;
  std::string stored_key;
  std::string server_key;
  friend bool operator==(const ScramVerifier&, const ScramVerifier&) = default;
};

Result<ScramVerifier> parse_scram_verifier(Bytes text);
std::string format_scram_verifier(const ScramVerifier& verifier);
// kInvalid for a password that is empty, not UTF-8 or has control characters, which clients prepare in different
// ways; for a salt that has not 8 to 64 bytes; for iterations outside of the limits above.
Result<ScramVerifier> make_scram_verifier(Bytes password, Bytes salt, uint32_t iterations);

// One login. first(), then last(); anything else fails. An error ends it: kDenied for a wrong name or password,
// kUnsupported for what we do not do, kInvalid for a message that breaks its grammar.
class ScramLogin {
 public:
  // `nonce` is drawn anew for each login: 18 random bytes in Base64 or more. Printable ASCII without ','.
  explicit ScramLogin(std::string nonce) : nonce_(std::move(nonce)) {}

  // Takes client-first, gives server-first. `users` is needed during this call only, so that the file may change
  // meanwhile. `secret` makes the salts of names that nobody has: one for the life of a node, known to nobody.
  Result<std::string> first(Bytes message, const Users& users, Bytes secret);
  // Takes client-final, gives server-final, which goes out with the acceptance.
  Result<std::string> last(Bytes message);

  bool succeeded() const { return state_ == State::kSucceeded; }
  // What the client calls itself; proven only once it succeeded. Empty before first().
  const std::string& name() const { return name_; }

 private:
  enum class State : uint8_t { kStarted, kChallenged, kSucceeded, kFailed };

  Result<std::string> challenge(Bytes message, const Users& users, Bytes secret);
  Result<std::string> judge(Bytes message);

  State state_ = State::kStarted;
  std::string nonce_;  // After first() the client's part stands before it.
  std::string gs2_header_;
  std::string name_;
  std::string conversation_;  // AuthMessage of RFC 5802, section 3, as far as it is known.
  ScramVerifier verifier_;
  bool known_ = false;
};

}  // namespace hf::identity
