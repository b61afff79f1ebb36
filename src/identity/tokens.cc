#include "identity/tokens.h"

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "crypto/crypto.h"

namespace hf::identity {

namespace {

constexpr std::array<const char*, 3> kRoleNames = {"read", "operate", "administer"};
constexpr size_t kNameBytesMax = 64;

// Takes the first line of *text with its end. What is given has no end of line; "\r\n" is one too.
Bytes take_line(Bytes* text) {
  const size_t end = text->find('\n');
  Bytes line = text->substr(0, end);
  text->remove_prefix(end == Bytes::npos ? text->size() : end + 1);
  if (end != Bytes::npos && line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool is_nothing(Bytes line) {
  const size_t first = line.find_first_not_of(" \t");
  return first == Bytes::npos || line[first] == '#';
}

// One line that is neither blank nor a comment.
std::expected<std::pair<std::string, Token>, std::string> parse_line(Bytes line) {
  const size_t role_at = line.find(':');
  const size_t digest_at = role_at == Bytes::npos ? role_at : line.find(':', role_at + 1);
  if (digest_at == Bytes::npos)
    return std::unexpected("this is not NAME:ROLE:DIGEST; make tokens with: holdfast token add NAME");
  const Bytes name = line.substr(0, role_at);
  if (!token_name_valid(name)) {
    // It may be anything, and is not shown.
    return std::unexpected("the name before the first ':' may be 1 to 64 letters, digits, '.', '_' and '-'");
  }
  const auto role = parse_role(line.substr(role_at + 1, digest_at - role_at - 1));
  if (!role)
    return std::unexpected("`" + std::string(name) + "`: its role may be read, operate or administer");
  const Bytes digits = line.substr(digest_at + 1);
  Token token{.role = *role, .digest = from_hex(digits)};
  const bool lower = std::none_of(digits.begin(), digits.end(), [](char c) { return c >= 'A' && c <= 'F'; });
  if (token.digest.size() != crypto::kHashBytes || !lower) {
    return std::unexpected("`" + std::string(name) +
                           "`: what follows its role is not a SHA-256 of 64 hexadecimal digits; remove the "
                           "line and make another token with: holdfast token add NAME");
  }
  return std::pair(std::string(name), std::move(token));
}

}  // namespace

const char* role_name(Role role) { return kRoleNames[static_cast<size_t>(role)]; }

std::optional<Role> parse_role(Bytes name) {
  for (const Role role : {Role::kRead, Role::kOperate, Role::kAdminister}) {
    if (name == role_name(role)) return role;
  }
  return std::nullopt;
}

bool token_name_valid(Bytes name) {
  if (name.empty() || name.size() > kNameBytesMax) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

std::string token_text(Bytes random) {
  HF_ASSERT(random.size() == kTokenBytes);
  return std::string(kTokenPrefix) + to_hex(random);
}

Token make_token(Role role, Bytes text) { return {.role = role, .digest = crypto::sha256(text)}; }

std::optional<Tokens::Holder> Tokens::holder(Bytes text) const {
  const std::string digest = crypto::sha256(text);
  std::optional<Holder> found;
  // All of them, so that the time does not tell where in the list it stands.
  for (const auto& [name, token] : all_) {
    if (crypto::equal_constant_time(token.digest, digest)) found = Holder{name, token.role};
  }
  return found;
}

std::expected<Tokens, Mistakes> parse_tokens(Bytes text) {
  Mistakes mistakes;
  Tokens::Map all;
  std::map<std::string, size_t> lines;
  std::map<std::string, std::string> digests;
  for (size_t line = 1; !text.empty(); ++line) {
    const Bytes written = take_line(&text);
    if (is_nothing(written)) continue;
    auto parsed = parse_line(written);
    if (!parsed) {
      mistakes.push_back({line, std::move(parsed.error())});
      continue;
    }
    auto& [name, token] = *parsed;
    if (const auto [at, is_new] = lines.emplace(name, line); !is_new) {
      mistakes.push_back({line, "`" + name + "` stands in line " + std::to_string(at->second) +
                                    " already; remove one of them"});
      continue;
    }
    // Whose role it has would be a guess.
    if (const auto [at, is_new] = digests.emplace(token.digest, name); !is_new) {
      mistakes.push_back({line, "`" + name + "` has the token of `" + at->second + "`; remove one of them"});
      continue;
    }
    all.emplace(name, std::move(token));
  }
  if (!mistakes.empty()) return std::unexpected(std::move(mistakes));
  return Tokens(std::move(all));
}

std::string format_token(Bytes name, const Token& token) {
  return std::string(name) + ":" + role_name(token.role) + ":" + to_hex(token.digest);
}

std::string with_token(Bytes text, Bytes name, const Token& token) {
  HF_ASSERT(token_name_valid(name));
  std::string out(text);
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  return out + format_token(name, token) + "\n";
}

std::string without_token(Bytes text, Bytes name) {
  std::string out;
  const std::string begin = std::string(name) + ":";
  while (!text.empty()) {
    const Bytes before = text;
    const Bytes line = take_line(&text);
    if (line.starts_with(begin)) continue;
    out += before.substr(0, before.size() - text.size());
  }
  return out;
}

}  // namespace hf::identity
