// How a node comes to be known to its parent: the claim, a small text that the parent's operator hands to the
// site, and what the child makes of it. The parent's half is Registry.
//
//   claim file   lines "key: value"; '#' begins a comment line; unknown keys are passed over
//                holdfast-claim: 1
//                node: ship-7
//                parent: 9f...      (store id, 16 hexadecimal digits)
//                token: ...         (64 hexadecimal digits; used once)
//                address: hub.example:1883       (may be missing: the site's configuration has it)
//   claim        format:u8 (1), secret (sized)   the message on $hf/claim
//   row kParent 'C'   name (sized), parent:u64, token (sized), secret (sized), confirmed:u8
//
// The child draws its own secret, stores it, connects with the token and hands the secret over; once the
// parent has acknowledged that, the token is worth nothing and the secret is the password from then on. No
// step can be lost: until the acknowledgement the child tries token and secret in turn, and the parent takes
// the same secret twice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/prng.h"
#include "base/result.h"
#include "store/store.h"

namespace hf::link {

struct Claim {
  std::string node;
  uint64_t parent_store_id = 0;
  std::string token;
  std::string address;  // May be empty.
  bool operator==(const Claim&) const = default;
};

std::string encode_claim(const Claim& claim);
// kInvalid says what is wrong with the text.
Result<Claim> parse_claim(Bytes text);

// 256 random bits as 64 hexadecimal digits: tokens and secrets.
std::string draw_secret(Entropy& entropy);

std::string encode_claim_message(Bytes secret);
Result<std::string> decode_claim_message(Bytes message);

// What this node shows to its parent.
class Credentials {
 public:
  explicit Credentials(store::Store& store);

  // Takes a claim in the place of whatever was there. Holds once store.open_commit() (as it is now) is
  // durable.
  Result<> take(Bytes claim_text, Entropy& entropy);
  bool known() const { return !secret_.empty(); }
  const std::string& name() const { return name_; }
  uint64_t parent_store_id() const { return parent_store_id_; }
  const std::string& token() const { return token_; }
  const std::string& secret() const { return secret_; }
  // The parent has the secret; the token is forgotten.
  bool confirmed() const { return confirmed_; }
  void confirm();
  // Neither token nor secret leaves before this commit is durable.
  uint64_t commit() const { return commit_; }

 private:
  void put();

  store::Store& store_;
  std::string name_;
  uint64_t parent_store_id_ = 0;
  std::string token_;
  std::string secret_;
  bool confirmed_ = false;
  uint64_t commit_ = 0;
};

}  // namespace hf::link
