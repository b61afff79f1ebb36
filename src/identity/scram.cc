#include "identity/scram.h"

#include <algorithm>
#include <optional>

#include "base/assert.h"
#include "base/base64.h"
#include "crypto/crypto.h"
#include "crypto/password.h"
#include "identity/users.h"
#include "mqtt/topic.h"

namespace hf::identity {

namespace {

constexpr Bytes kMechanism = "SCRAM-SHA-256$";
constexpr size_t kMessageBytesMax = 2048;
constexpr size_t kNonceBytesMax = 512;
constexpr size_t kSaltBytesMin = 8;
constexpr size_t kSaltBytesMax = 64;

// Takes what stands before the first `end` of *text, and `end`; nothing if there is none.
std::optional<Bytes> take_until(Bytes* text, char end) {
  const size_t at = text->find(end);
  if (at == Bytes::npos) return std::nullopt;
  const Bytes taken = text->substr(0, at);
  text->remove_prefix(at + 1);
  return taken;
}

// The next attribute of a message: "n=anna" up to the next ',' or the end, whose name must be `name`. A comma that
// nothing follows is a mistake.
std::optional<Bytes> take_attribute(Bytes* text, char name) {
  const size_t comma = text->find(',');
  const Bytes attribute = text->substr(0, comma);
  if (attribute.size() < 2 || attribute[0] != name || attribute[1] != '=') return std::nullopt;
  if (comma != Bytes::npos && comma + 1 == text->size()) return std::nullopt;
  text->remove_prefix(comma == Bytes::npos ? text->size() : comma + 1);
  return attribute.substr(2);
}

// Extensions that nobody needs to know: a letter, '=', and something without ',' (RFC 5802, section 7).
bool extensions_valid(Bytes text) {
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const Bytes one = text.substr(0, comma);
    const bool letter =
        !one.empty() && ((one[0] >= 'a' && one[0] <= 'z') || (one[0] >= 'A' && one[0] <= 'Z'));
    if (!letter || one[0] == 'm' || one.size() < 3 || one[1] != '=') return false;
    if (comma == Bytes::npos) return true;
    text.remove_prefix(comma + 1);
    if (text.empty()) return false;
  }
  return true;
}

// "=2C" is ',' and "=3D" is '='; another '=' is a mistake (RFC 5802, section 5.1).
std::optional<std::string> decode_name(Bytes text) {
  std::string name;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '=') {
      name += text[i];
    } else if (text.substr(i).starts_with("=2C")) {
      name += ',';
      i += 2;
    } else if (text.substr(i).starts_with("=3D")) {
      name += '=';
      i += 2;
    } else {
      return std::nullopt;
    }
  }
  if (name.empty() || !mqtt::utf8_valid(name)) return std::nullopt;
  return name;
}

bool nonce_valid(Bytes nonce) {
  return !nonce.empty() && nonce.size() <= kNonceBytesMax &&
         std::all_of(nonce.begin(), nonce.end(), [](char c) { return c > 0x20 && c < 0x7f && c != ','; });
}

std::optional<uint32_t> parse_number(Bytes text) {
  if (text.empty() || text.size() > 9 || text.front() == '0') return std::nullopt;
  uint32_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint32_t>(c - '0');
  }
  return value;
}

// A password that every client prepares in the same way, near enough: no control characters, which SASLprep forbids.
bool password_plain(Bytes password) {
  return !password.empty() && mqtt::utf8_valid(password) &&
         std::all_of(password.begin(), password.end(),
                     [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != 0x7f; });
}

std::string exclusive_or(Bytes a, Bytes b) {
  HF_ASSERT(a.size() == b.size());
  std::string out(a);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(out[i] ^ b[i]);
  return out;
}

// What a name that nobody has seems to have.
ScramVerifier invented(const Users& users, Bytes secret, Bytes name) {
  const auto derived = [&](Bytes what) {
    std::string input(what);
    input += '\0';
    input += name;
    return crypto::hmac_sha256(secret, input);
  };
  std::string salt = derived("salt") + derived("more salt");
  salt.resize(users.scram_salt_bytes());
  return {.iterations = users.scram_iterations(),
          .salt = std::move(salt),
          .stored_key = derived("stored key"),
          .server_key = derived("server key")};
}

const Error kMalformedFirst = {Code::kInvalid, "the client's first SCRAM message is malformed"};
const Error kMalformedLast = {Code::kInvalid, "the client's last SCRAM message is malformed"};

}  // namespace

Result<ScramVerifier> parse_scram_verifier(Bytes text) {
  if (!text.starts_with(kMechanism))
    return fail(Code::kUnsupported, "a SCRAM verifier begins with SCRAM-SHA-256$");
  text.remove_prefix(kMechanism.size());
  const auto iterations_text = take_until(&text, ':');
  const auto salt_text = take_until(&text, '$');
  const auto stored_text = take_until(&text, ':');
  if (!iterations_text || !salt_text || !stored_text)
    return fail(Code::kInvalid, "a SCRAM verifier is SCRAM-SHA-256$ITERATIONS:SALT$STORED KEY:SERVER KEY");
  const auto iterations = parse_number(*iterations_text);
  if (!iterations || *iterations < kScramIterationsMin || *iterations > kScramIterationsMax)
    return fail(Code::kInvalid, "a SCRAM verifier has 4096 to 1000000 iterations");
  auto salt = from_base64(*salt_text);
  auto stored_key = from_base64(*stored_text);
  auto server_key = from_base64(text);
  if (!salt || !stored_key || !server_key)
    return fail(Code::kInvalid, "salt and keys of a SCRAM verifier are Base64");
  if (salt->size() < kSaltBytesMin || salt->size() > kSaltBytesMax)
    return fail(Code::kInvalid, "the salt of a SCRAM verifier has 8 to 64 bytes", salt->size());
  if (stored_key->size() != crypto::kHashBytes || server_key->size() != crypto::kHashBytes)
    return fail(Code::kInvalid, "the keys of a SCRAM verifier have 32 bytes");
  return ScramVerifier{.iterations = *iterations,
                       .salt = std::move(*salt),
                       .stored_key = std::move(*stored_key),
                       .server_key = std::move(*server_key)};
}

std::string format_scram_verifier(const ScramVerifier& verifier) {
  return std::string(kMechanism) + std::to_string(verifier.iterations) + ":" + to_base64(verifier.salt) +
         "$" + to_base64(verifier.stored_key) + ":" + to_base64(verifier.server_key);
}

Result<ScramVerifier> make_scram_verifier(Bytes password, Bytes salt, uint32_t iterations) {
  if (!password_plain(password))
    return fail(Code::kInvalid, "a password for SCRAM is UTF-8 without control characters, and not empty");
  if (password.size() > 1024) return fail(Code::kTooLarge, "a password for SCRAM has 1024 bytes at most");
  if (salt.size() < kSaltBytesMin || salt.size() > kSaltBytesMax)
    return fail(Code::kInvalid, "the salt of a SCRAM verifier has 8 to 64 bytes", salt.size());
  if (iterations < kScramIterationsMin || iterations > kScramIterationsMax)
    return fail(Code::kInvalid, "a SCRAM verifier has 4096 to 1000000 iterations", iterations);
  // RFC 5802, section 3: SaltedPassword, ClientKey, StoredKey, ServerKey.
  std::string salted = crypto::pbkdf2_sha256(password, salt, iterations);
  std::string client_key = crypto::hmac_sha256(salted, "Client Key");
  ScramVerifier verifier{.iterations = iterations,
                         .salt = std::string(salt),
                         .stored_key = crypto::sha256(client_key),
                         .server_key = crypto::hmac_sha256(salted, "Server Key")};
  crypto::wipe(&salted);
  crypto::wipe(&client_key);
  return verifier;
}

Result<std::string> ScramLogin::first(Bytes message, const Users& users, Bytes secret) {
  if (state_ != State::kStarted) {
    state_ = State::kFailed;
    return fail(Code::kInvalid, "a SCRAM message came out of turn");
  }
  auto answer = challenge(message, users, secret);
  state_ = answer ? State::kChallenged : State::kFailed;
  return answer;
}

Result<std::string> ScramLogin::last(Bytes message) {
  if (state_ != State::kChallenged) {
    state_ = State::kFailed;
    return fail(Code::kInvalid, "a SCRAM message came out of turn");
  }
  auto answer = judge(message);
  state_ = answer ? State::kSucceeded : State::kFailed;
  return answer;
}

Result<std::string> ScramLogin::challenge(Bytes message, const Users& users, Bytes secret) {
  HF_ASSERT(nonce_.size() >= 16 && nonce_valid(nonce_));
  const auto malformed = [] { return std::unexpected(kMalformedFirst); };
  if (message.size() > kMessageBytesMax) return malformed();
  Bytes rest = message;

  // gs2-header = gs2-cbind-flag "," [ authzid ] ","
  const auto binding = take_until(&rest, ',');
  const auto authorized = take_until(&rest, ',');
  if (!binding || !authorized) return malformed();
  if (binding->starts_with("p=")) return fail(Code::kUnsupported, "channel binding is not supported");
  if (*binding != "n" && *binding != "y") return malformed();
  const Bytes bare = rest;
  gs2_header_ = message.substr(0, message.size() - bare.size());

  // client-first-message-bare = [ "m=" ... "," ] "n=" saslname "," "r=" c-nonce [ "," extensions ]
  if (rest.starts_with("m=")) return fail(Code::kUnsupported, "a SCRAM extension that must be known is not");
  const auto name_text = take_attribute(&rest, 'n');
  const auto client_nonce = take_attribute(&rest, 'r');
  if (!name_text || !client_nonce || !nonce_valid(*client_nonce) || !extensions_valid(rest))
    return malformed();
  auto name = decode_name(*name_text);
  if (!name) return malformed();
  if (!authorized->empty()) {
    // Acting for somebody else is not a thing here; saying one's own name twice harms nobody.
    if (!authorized->starts_with("a=")) return malformed();
    const auto other = decode_name(authorized->substr(2));
    if (!other) return malformed();
    if (*other != *name) return fail(Code::kUnsupported, "nobody can log in for somebody else");
  }
  name_ = std::move(*name);

  const User* user = users.find(name_);
  known_ = user != nullptr && user->scram.has_value();
  // Made for everybody, so that it takes the same time.
  verifier_ = invented(users, secret, name_);
  if (known_) verifier_ = *user->scram;

  nonce_ = std::string(*client_nonce) + nonce_;
  std::string answer =
      "r=" + nonce_ + ",s=" + to_base64(verifier_.salt) + ",i=" + std::to_string(verifier_.iterations);
  conversation_ = std::string(bare) + "," + answer + ",";
  return answer;
}

Result<std::string> ScramLogin::judge(Bytes message) {
  const auto malformed = [] { return std::unexpected(kMalformedLast); };
  if (message.size() > kMessageBytesMax) return malformed();
  // client-final-message = client-final-message-without-proof "," "p=" proof; neither of the others has ",p=" in it.
  const size_t proof_at = message.rfind(",p=");
  if (proof_at == Bytes::npos) return malformed();
  const auto proof = from_base64(message.substr(proof_at + 3));
  const Bytes without_proof = message.substr(0, proof_at);
  Bytes rest = without_proof;
  const auto binding_text = take_attribute(&rest, 'c');
  const auto nonce = take_attribute(&rest, 'r');
  if (!proof || proof->size() != crypto::kHashBytes || !binding_text || !nonce || !extensions_valid(rest))
    return malformed();
  const auto binding = from_base64(*binding_text);
  if (!binding) return malformed();
  if (*binding != gs2_header_) return fail(Code::kDenied, "the SCRAM header changed on the way");
  if (!crypto::equal_constant_time(*nonce, nonce_)) return fail(Code::kDenied, "the SCRAM nonce is not ours");

  // RFC 5802, section 3: ClientKey := ClientProof XOR HMAC(StoredKey, AuthMessage); its hash must be StoredKey.
  conversation_ += without_proof;
  const std::string signature = crypto::hmac_sha256(verifier_.stored_key, conversation_);
  std::string client_key = exclusive_or(*proof, signature);
  const bool right = crypto::equal_constant_time(crypto::sha256(client_key), verifier_.stored_key);
  crypto::wipe(&client_key);
  std::string answer = "v=" + to_base64(crypto::hmac_sha256(verifier_.server_key, conversation_));
  if (!right || !known_) return fail(Code::kDenied, "the name or the password is wrong");
  return answer;
}

}  // namespace hf::identity
