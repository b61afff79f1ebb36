#include "identity/users.h"

#include <tuple>
#include <utility>

#include "base/assert.h"
#include "mqtt/topic.h"

namespace hf::identity {

namespace {

constexpr Bytes kByteOrderMark = "\xef\xbb\xbf";

bool has_control_character(Bytes text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<uint8_t>(text[i]);
    if (c < 0x20 || c == 0x7f) return true;
    // U+0080 to U+009F.
    if (c == 0xc2 && i + 1 < text.size() && static_cast<uint8_t>(text[i + 1]) < 0xa0) return true;
  }
  return false;
}

bool is_blank(Bytes line) { return line.find_first_not_of(" \t") == Bytes::npos; }

bool is_comment(Bytes line) {
  const size_t first = line.find_first_not_of(" \t");
  return first != Bytes::npos && line[first] == '#';
}

// Takes the first line of *text with its end. What is given has no end of line; "\r\n" is one too.
Bytes take_line(Bytes* text) {
  const size_t end = text->find('\n');
  Bytes line = text->substr(0, end);
  text->remove_prefix(end == Bytes::npos ? text->size() : end + 1);
  if (end != Bytes::npos && line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// The value that occurs most often; of several the least.
template <typename Value>
Value most_common(const std::map<Value, size_t>& counts, Value otherwise) {
  size_t most = 0;
  for (const auto& [value, count] : counts) {
    if (count <= most) continue;
    most = count;
    otherwise = value;
  }
  return otherwise;
}

std::string quoted(Bytes name) { return "`" + std::string(name) + "`"; }

// One line that is neither blank nor a comment.
std::expected<std::pair<std::string, User>, std::string> parse_line(Bytes line) {
  const size_t colon = line.find(':');
  if (colon == Bytes::npos) {
    return std::unexpected("this is not NAME:PASSWORD HASH; add users with: holdfast user add NAME");
  }
  const Bytes name = line.substr(0, colon);
  if (!user_name_valid(name)) {
    // It may be anything, and is not shown.
    return std::unexpected(
        "the name before the first ':' may be 1 to 128 bytes of UTF-8, without control characters, ':', '/', "
        "'+', '#', a space "
        "at an end or '$' at the front, and not \"*\"");
  }
  Bytes rest = line.substr(colon + 1);
  const size_t end = rest.find(':');  // No password hash has one.
  User user;
  auto password = crypto::parse_password_hash(rest.substr(0, end));
  if (!password) {
    return std::unexpected(quoted(name) + ": " + password.error().text +
                           "; remove the line and add the user with: holdfast user add NAME");
  }
  user.password = std::move(*password);
  if (end != Bytes::npos) {
    auto scram = parse_scram_verifier(rest.substr(end + 1));
    if (!scram) {
      return std::unexpected(quoted(name) + ": " + scram.error().text +
                             "; remove the line and add the user with: holdfast user add --scram NAME");
    }
    user.scram = std::move(*scram);
  }
  return std::pair(std::string(name), std::move(user));
}

// Whether `line` is this user's, in a text that is right.
bool is_line_of(Bytes line, Bytes name) {
  return !is_comment(line) && line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':';
}

// `text` with the line of `name` replaced, or left out if `replacement` is empty. *found says whether there was one.
std::string replaced(Bytes text, Bytes name, Bytes replacement, bool* found) {
  std::string out;
  out.reserve(text.size() + replacement.size() + 2);
  *found = false;
  while (!text.empty()) {
    const Bytes before = text;
    const Bytes line = take_line(&text);
    const Bytes whole = before.substr(0, before.size() - text.size());
    if (!is_line_of(line, name)) {
      out += whole;
      continue;
    }
    *found = true;
    if (replacement.empty()) continue;
    out += replacement;
    out += whole.substr(line.size());  // Its end of line, as it was.
  }
  return out;
}

}  // namespace

bool user_name_valid(Bytes name) {
  if (name.empty() || name.size() > kUserNameBytesMax || name == "*") return false;
  if (name.find_first_of(":/+#") != Bytes::npos || name.starts_with('$')) return false;
  if (name.starts_with(' ') || name.ends_with(' ') || name.starts_with(kByteOrderMark)) return false;
  return mqtt::utf8_valid(name) && !has_control_character(name);
}

Result<> PasswordCheck::run(Bytes password) const {
  const auto right = crypto::verify_password(password, kept_);
  if (right && !known_) return fail(Code::kDenied, "the password is wrong");
  return right;
}

Users::Users(std::map<std::string, User, std::less<>> all) : all_(std::move(all)) {
  std::map<std::pair<uint32_t, size_t>, size_t> scrams;
  std::map<std::pair<uint32_t, std::pair<uint32_t, uint32_t>>, size_t> costs;
  for (const auto& [name, user] : all_) {
    const crypto::PasswordCost& cost = user.password.cost;
    ++costs[{cost.memory_kib, {cost.passes, cost.lanes}}];
    if (user.scram) ++scrams[{user.scram->iterations, user.scram->salt.size()}];
  }
  const auto cost = most_common(costs, {cost_.memory_kib, {cost_.passes, cost_.lanes}});
  cost_ = {.memory_kib = cost.first, .passes = cost.second.first, .lanes = cost.second.second};
  std::tie(scram_iterations_, scram_salt_bytes_) =
      most_common(scrams, std::pair(scram_iterations_, scram_salt_bytes_));
}

const User* Users::find(Bytes name) const {
  const auto found = all_.find(name);
  return found == all_.end() ? nullptr : &found->second;
}

PasswordCheck Users::check(Bytes name) const {
  if (const User* user = find(name)) return {user->password, true};
  // No password hashes to this: it has the cost of one and says no.
  return {crypto::PasswordHash{
              .cost = cost_, .salt = std::string(crypto::kSaltBytes, '\0'), .hash = std::string(32, '\0')},
          false};
}

std::expected<Users, Mistakes> parse_users(Bytes text) {
  Mistakes mistakes;
  if (text.starts_with(kByteOrderMark)) {
    mistakes.push_back({1, "the file begins with a byte order mark; save it as UTF-8 without one"});
    text.remove_prefix(kByteOrderMark.size());
  }
  struct Seen {
    User user;
    size_t line = 0;
  };
  std::map<std::string, Seen, std::less<>> seen;
  for (size_t line = 1; !text.empty(); ++line) {
    const Bytes written = take_line(&text);
    if (is_blank(written) || is_comment(written)) continue;
    auto parsed = parse_line(written);
    if (!parsed) {
      mistakes.push_back({line, std::move(parsed.error())});
      continue;
    }
    const auto [at, is_new] =
        seen.try_emplace(std::move(parsed->first), Seen{std::move(parsed->second), line});
    if (!is_new) {
      mistakes.push_back({line, quoted(at->first) + " stands in line " + std::to_string(at->second.line) +
                                    " already; remove one of them"});
    }
  }
  if (!mistakes.empty()) return std::unexpected(std::move(mistakes));
  std::map<std::string, User, std::less<>> all;
  for (auto& [name, one] : seen) all.emplace_hint(all.end(), name, std::move(one.user));
  return Users(std::move(all));
}

std::string format_user(Bytes name, const User& user) {
  std::string line = std::string(name) + ":" + crypto::format_password_hash(user.password);
  if (user.scram) line += ":" + format_scram_verifier(*user.scram);
  return line;
}

std::string with_user(Bytes text, Bytes name, const User& user) {
  HF_ASSERT(user_name_valid(name));
  bool found = false;
  const std::string line = format_user(name, user);
  std::string out = replaced(text, name, line, &found);
  if (found) return out;
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  return out + line + "\n";
}

std::string without_user(Bytes text, Bytes name) {
  bool found = false;
  return replaced(text, name, "", &found);
}

}  // namespace hf::identity
