#include "link/registry.h"

#include <algorithm>

#include "crypto/crypto.h"
#include "link/claim.h"
#include "link/prefix.h"
#include "link/rows.h"
#include "mqtt/topic.h"

namespace hf::link {

using store::Haste;
using store::Table;

namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kFormatPrefix = 2;

std::string row_key(Bytes name) { return "N" + std::string(name); }

bool filter_sound(Bytes filter) {
  return mqtt::topic_filter_valid(filter) && !filter.starts_with("$share/") &&
         !mqtt::reserved_to_nodes(filter);
}

}  // namespace

Registry::Registry(store::Store& store) : store_(store) {
  store_.scan(Table::kNode, "N", [&](Bytes key, Bytes value) {
    ByteReader in(value);
    Child child;
    child.name = key.substr(1);
    const uint8_t format = in.u8();
    child.token_hash = in.sized();
    child.secret_hash = in.sized();
    child.last_seen_wall_us = in.svarint();
    const uint64_t count = in.varint();
    for (uint64_t i = 0; i < count && in.ok(); ++i) child.down_filters.emplace_back(in.sized());
    if (format == kFormatPrefix) child.prefix = in.sized();
    if (format == 0 || format > kFormatPrefix || !in.done()) return true;
    for (const std::string& filter : child.down_filters) filters_.insert(filter, child.name);
    children_.emplace(child.name, std::move(child));
    return true;
  });
}

void Registry::put(const Child& child, Haste haste) {
  std::string row;
  put_u8(row, child.prefix.empty() ? kFormat : kFormatPrefix);
  put_sized(row, child.token_hash);
  put_sized(row, child.secret_hash);
  put_svarint(row, child.last_seen_wall_us);
  put_varint(row, child.down_filters.size());
  for (const std::string& filter : child.down_filters) put_sized(row, filter);
  if (!child.prefix.empty()) put_sized(row, child.prefix);
  store_.put(Table::kNode, row_key(child.name), row, haste);
}

std::string Registry::claim(Child& child, Entropy& entropy, Bytes address) {
  Claim claim;
  claim.node = child.name;
  claim.parent_store_id = store_.store_id();
  claim.token = draw_secret(entropy);
  claim.address = address;
  child.token_hash = crypto::sha256(claim.token);
  put(child, Haste::kCommit);
  std::string text = encode_claim(claim);
  crypto::wipe(&claim.token);
  return text;
}

Result<std::string> Registry::add(Bytes name, const std::vector<std::string>& down_filters, Entropy& entropy,
                                  Bytes address, Bytes prefix) {
  if (!node_name_valid(name)) {
    return fail(Code::kInvalid,
                "a node's name is 1 to 64 letters, digits, '-', '_' and '.', not starting with '.'");
  }
  if (children_.contains(name)) return fail(Code::kExists, "a node of this name is registered already");
  for (const std::string& filter : down_filters) {
    if (!filter_sound(filter))
      return fail(Code::kInvalid, "a filter of the node is not a valid topic filter");
  }
  HF_TRY(check_prefix(prefix));
  Child& child = children_[std::string(name)];
  child.name = name;
  child.prefix = prefix;
  child.down_filters = down_filters;
  for (const std::string& filter : down_filters) filters_.insert(filter, child.name);
  return claim(child, entropy, address);
}

Result<std::string> Registry::reissue(Bytes name, Entropy& entropy, Bytes address) {
  const auto found = children_.find(name);
  if (found == children_.end()) return fail(Code::kNotFound, "no node of this name is registered");
  return claim(found->second, entropy, address);
}

Result<> Registry::remove(Bytes name) {
  const auto found = children_.find(name);
  if (found == children_.end()) return fail(Code::kNotFound, "no node of this name is registered");
  for (const std::string& filter : found->second.down_filters) filters_.erase(filter, found->second.name);
  children_.erase(found);
  store_.erase(Table::kNode, row_key(name));
  return {};
}

Registry::Entry Registry::authenticate(Bytes name, Bytes password) const {
  const std::string hash = crypto::sha256(password);
  const auto found = children_.find(name);
  if (found == children_.end()) return Entry::kRefused;
  const std::string none(crypto::kHashBytes, '\0');
  const auto is = [&](const std::string& known) {
    return crypto::equal_constant_time(hash, known.empty() ? none : known) && !known.empty();
  };
  const bool secret = is(found->second.secret_hash);
  const bool token = is(found->second.token_hash);
  return secret ? Entry::kSecret : token ? Entry::kClaim : Entry::kRefused;
}

mqtt::Reason Registry::exchange(Bytes name, Bytes message, uint64_t* commit) {
  *commit = 0;
  const Result<std::string> secret = decode_claim_message(message);
  if (!secret) return mqtt::Reason::kPayloadFormatInvalid;
  const auto found = children_.find(name);
  if (found == children_.end()) return mqtt::Reason::kNotAuthorized;
  Child& child = found->second;
  const std::string hash = crypto::sha256(*secret);
  if (child.token_hash.empty()) {
    // Used already, by this very secret (its acknowledgement was lost) or by somebody else's.
    const bool same = !child.secret_hash.empty() && crypto::equal_constant_time(hash, child.secret_hash);
    if (!same) return mqtt::Reason::kNotAuthorized;
  }
  child.secret_hash = hash;
  child.token_hash.clear();
  put(child, Haste::kCommit);
  *commit = store_.open_commit();
  return mqtt::Reason::kSuccess;
}

void Registry::seen(Bytes name, int64_t wall_us) {
  const auto found = children_.find(name);
  if (found == children_.end()) return;
  found->second.last_seen_wall_us = wall_us;
  put(found->second, Haste::kRide);
}

const Child* Registry::find(Bytes name) const {
  const auto found = children_.find(name);
  return found == children_.end() ? nullptr : &found->second;
}

void Registry::for_each(const std::function<void(const Child&)>& visit) const {
  for (const auto& [name, child] : children_) visit(child);
}

std::vector<const Child*> Registry::children_for(Bytes topic) const {
  std::vector<const Child*> children;
  filters_.match(topic, [&](const std::string& name) {
    const Child* child = find(name);
    if (topic_travels(child->prefix, topic)) children.push_back(child);
  });
  std::sort(children.begin(), children.end(),
            [](const Child* a, const Child* b) { return a->name < b->name; });
  children.erase(std::unique(children.begin(), children.end()), children.end());
  return children;
}

}  // namespace hf::link
