// The nodes that are registered below this one: who they are, and which topics go down to them.
//
//   row kNode 'N' name:  format:u8 (1, or 2 with a prefix), token hash (sized: 32 bytes, or none once used),
//                        secret hash (sized: likewise), last seen (svarint, wall microseconds; 0: never),
//                        filter count (varint), filter (sized) ..., [prefix (sized)]
//
// Of tokens and secrets only the SHA-256 is kept: both are 256 random bits, so nothing slower is needed. A
// token is void in the same commit that makes its secret valid, and never valid again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/result.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "store/store.h"

namespace hf::link {

struct Child {
  std::string name;
  std::vector<std::string> down_filters;  // Of topics as they are called here.
  std::string prefix;                     // Of its topics here (prefix.h); for as long as it is registered.
  std::string token_hash;                 // Empty: the claim was used, or there is none.
  std::string secret_hash;                // Empty: never claimed.
  int64_t last_seen_wall_us = 0;
  bool claimed() const { return !secret_hash.empty(); }
};

class Registry {
 public:
  explicit Registry(store::Store& store);

  // Registers a child and returns its claim, the only time that the token is there to see. kExists; kInvalid:
  // the name, a filter or the prefix. Holds once store.open_commit() (as it is now) is durable.
  Result<std::string> add(Bytes name, const std::vector<std::string>& down_filters, Entropy& entropy,
                          Bytes address = {}, Bytes prefix = {});
  // A new claim for a node that lost its secret (its disk was replaced); the old secret goes on until the
  // claim is used.
  Result<std::string> reissue(Bytes name, Entropy& entropy, Bytes address = {});
  // Its readers are another matter: Conversation::forget(). kNotFound.
  Result<> remove(Bytes name);

  enum class Entry : uint8_t {
    kRefused,
    kSecret,  // A node: its conversation may begin.
    kClaim,   // A claim that was not used yet: only $hf/claim is allowed, see exchange().
  };
  // In constant time for a given name.
  Entry authenticate(Bytes name, Bytes password) const;
  // The message on $hf/claim: makes the secret in it valid and the token void. The acknowledgement (the
  // reason returned) leaves once *commit is durable, and then the conversation may begin.
  mqtt::Reason exchange(Bytes name, Bytes message, uint64_t* commit);
  // Rides with the next commit.
  void seen(Bytes name, int64_t wall_us);

  const Child* find(Bytes name) const;
  size_t count() const { return children_.size(); }
  // By name.
  void for_each(const std::function<void(const Child&)>& visit) const;
  // The children one of whose filters matches the topic, by name; without those to whom it could not be told.
  std::vector<const Child*> children_for(Bytes topic) const;

 private:
  void put(const Child& child, store::Haste haste);
  std::string claim(Child& child, Entropy& entropy, Bytes address);

  store::Store& store_;
  std::map<std::string, Child, std::less<>> children_;
  mqtt::FilterTree<std::string> filters_;  // Filter -> name.
};

}  // namespace hf::link
