#include "link/claim.h"

#include "crypto/crypto.h"
#include "link/rows.h"

namespace hf::link {

namespace {

constexpr uint8_t kFormat = 1;
constexpr Bytes kRow = "C";
constexpr size_t kSecretDigits = 64;

Bytes trimmed(Bytes text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool secret_sound(Bytes secret) { return secret.size() == kSecretDigits && !from_hex(secret).empty(); }

}  // namespace

std::string encode_claim(const Claim& claim) {
  std::string text =
      "# A claim for a Holdfast node: whoever has it can become this node, once. Give it to the site with\n"
      "# `holdfast init DIR --claim FILE`, and keep it secret until then.\n"
      "holdfast-claim: 1\n";
  text += "node: " + claim.node + "\n";
  text += "parent: " + to_hex(claim.parent_store_id) + "\n";
  text += "token: " + claim.token + "\n";
  if (!claim.address.empty()) text += "address: " + claim.address + "\n";
  return text;
}

Result<Claim> parse_claim(Bytes text) {
  Claim claim;
  bool version = false;
  bool parent = false;
  if (text.size() > 64 << 10) return fail(Code::kTooLarge, "this is no claim: it is too large");
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const Bytes line = trimmed(text.substr(0, end));
    text.remove_prefix(end == Bytes::npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    const size_t colon = line.find(':');
    if (colon == Bytes::npos) return fail(Code::kInvalid, "this is no claim: a line is not \"key: value\"");
    const Bytes key = trimmed(line.substr(0, colon));
    const Bytes value = trimmed(line.substr(colon + 1));
    if (key == "holdfast-claim") {
      if (value != "1") return fail(Code::kUnsupported, "the claim is of a later version: upgrade this node");
      version = true;
    } else if (!version) {
      return fail(Code::kInvalid, "this is no claim: it does not begin with \"holdfast-claim: 1\"");
    } else if (key == "node") {
      claim.node = value;
    } else if (key == "parent") {
      const std::string bytes = from_hex(value);
      if (bytes.size() != 8) return fail(Code::kInvalid, "the claim's \"parent\" is not a store id");
      claim.parent_store_id = ByteReader(bytes).u64be();
      parent = true;
    } else if (key == "token") {
      claim.token = value;
    } else if (key == "address") {
      claim.address = value;
    }
  }
  if (!version) return fail(Code::kInvalid, "this is no claim: it does not begin with \"holdfast-claim: 1\"");
  if (!node_name_valid(claim.node)) return fail(Code::kInvalid, "the claim has no valid \"node\"");
  if (!parent) return fail(Code::kInvalid, "the claim has no \"parent\"");
  if (!secret_sound(claim.token)) return fail(Code::kInvalid, "the claim has no valid \"token\"");
  return claim;
}

std::string draw_secret(Entropy& entropy) {
  std::string bytes(kSecretDigits / 2, '\0');
  entropy.fill(bytes.data(), bytes.size());
  std::string secret = to_hex(Bytes(bytes));
  crypto::wipe(&bytes);
  return secret;
}

std::string encode_claim_message(Bytes secret) {
  std::string message;
  put_u8(message, kFormat);
  put_sized(message, secret);
  return message;
}

Result<std::string> decode_claim_message(Bytes message) {
  ByteReader in(message);
  if (const uint8_t format = in.u8(); in.ok() && format != kFormat) {
    return fail(Code::kUnsupported, "a claim of an unknown format", format);
  }
  const Bytes secret = in.sized();
  if (!in.done() || !secret_sound(secret)) return fail(Code::kInvalid, "a claim without a sound secret");
  return std::string(secret);
}

Credentials::Credentials(store::Store& store) : store_(store) {
  const auto row = store_.get(store::Table::kParent, kRow);
  if (!row) return;
  ByteReader in(*row);
  name_ = in.sized();
  parent_store_id_ = in.u64();
  token_ = in.sized();
  secret_ = in.sized();
  confirmed_ = in.u8() != 0;
  if (!in.done()) secret_.clear();
}

Result<> Credentials::take(Bytes claim_text, Entropy& entropy) {
  HF_TRY_ASSIGN(const Claim claim, parse_claim(claim_text));
  name_ = claim.node;
  parent_store_id_ = claim.parent_store_id;
  token_ = claim.token;
  secret_ = draw_secret(entropy);
  confirmed_ = false;
  put();
  return {};
}

void Credentials::confirm() {
  confirmed_ = true;
  crypto::wipe(&token_);
  token_.clear();
  put();
}

void Credentials::put() {
  std::string row;
  put_sized(row, name_);
  put_u64(row, parent_store_id_);
  put_sized(row, token_);
  put_sized(row, secret_);
  put_u8(row, confirmed_ ? 1 : 0);
  store_.put(store::Table::kParent, kRow, row);
  commit_ = store_.open_commit();
}

}  // namespace hf::link
