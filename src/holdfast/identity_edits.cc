#include "holdfast/identity_edits.h"

#include <fmt/format.h>

#include <vector>

#include "crypto/crypto.h"
#include "holdfast/data_directory.h"
#include "holdfast/exit_code.h"
#include "holdfast/text.h"
#include "io/entropy.h"

namespace hf::holdfast {

namespace {

std::unexpected<Failure> refuse(Code code, std::string text) {
  return std::unexpected(
      Failure{code == Code::kInvalid ? kExitUsage : kExitFailed, std::move(text), code_name(code)});
}

template <typename Map>
std::unexpected<Failure> not_there(const char* kind, const Map& all, const std::string& name,
                                   const std::string& path) {
  std::vector<std::string> names;
  for (const auto& [each, entry] : all) names.push_back(each);
  const std::string near = nearest_name(name, names);
  return refuse(Code::kNotFound, fmt::format("no {} {} in {}; {}", kind, printable(name), path,
                                             near.empty() ? fmt::format("see: holdfast {} ls", kind)
                                                          : "did you mean `" + near + "`?"));
}

std::expected<void, Failure> check_user_name(const std::string& name) {
  if (identity::user_name_valid(name)) return {};
  return refuse(
      Code::kInvalid,
      fmt::format("\"{}\" cannot be a user's name: 1 to 128 bytes of UTF-8, without control characters, "
                  "':', '/', '+', '#', a space at an end or '$' at the front, and not \"*\"",
                  printable(name)));
}

std::expected<void, Failure> check(const identity::Users& users, const NewPassword& change,
                                   const std::string& path) {
  const bool there = users.find(change.name) != nullptr;
  if (change.is_new && there) {
    return refuse(Code::kExists,
                  fmt::format("there is a user {} already; for another password: holdfast user passwd {}",
                              change.name, change.name));
  }
  if (!change.is_new && !there) return not_there("user", users.all(), change.name, path);
  return {};
}

std::string random_bytes(size_t count) {
  io::SystemEntropy entropy;
  std::string bytes(count, '\0');
  entropy.fill(bytes.data(), bytes.size());
  return bytes;
}

std::expected<identity::User, Failure> make_user(const std::string& password, bool scram,
                                                 uint32_t iterations) {
  identity::User user;
  auto hash = crypto::hash_password(password, random_bytes(crypto::kSaltBytes));
  if (!hash) return refuse(hash.error().code, error_text(hash.error()));
  user.password = std::move(*hash);
  if (!scram) return user;
  auto verifier = identity::make_scram_verifier(password, random_bytes(crypto::kSaltBytes), iterations);
  if (!verifier) return refuse(verifier.error().code, error_text(verifier.error()));
  user.scram = std::move(*verifier);
  return user;
}

}  // namespace

std::expected<void, Failure> check_new_password(const std::string& users_path, const NewPassword& change) {
  if (auto valid = check_user_name(change.name); !valid) return valid;
  const auto users = load_users({.path = users_path});
  if (!users)
    return std::unexpected(
        Failure{kExitConfiguration, joined_lines(users.error()) + "\nNothing was changed."});
  return check(*users, change, users_path);
}

std::expected<bool, Failure> set_password(const std::string& users_path, const NewPassword& change,
                                          const std::string& password) {
  if (auto valid = check_user_name(change.name); !valid) return std::unexpected(valid.error());
  bool scram = false;
  const auto done = edit_users(
      users_path,
      [&](const std::string& text, const identity::Users& users) -> std::expected<std::string, Failure> {
        if (auto possible = check(users, change, users_path); !possible)
          return std::unexpected(possible.error());
        // An old verifier would let the old password in for ever.
        const identity::User* const old = users.find(change.name);
        scram = change.scram.value_or(old != nullptr && old->scram.has_value());
        const auto user = make_user(password, scram, change.iterations);
        if (!user) return std::unexpected(user.error());
        return identity::with_user(text, change.name, *user);
      });
  if (!done) return std::unexpected(done.error());
  return scram;
}

std::expected<void, Failure> remove_user(const std::string& users_path, const std::string& name) {
  return edit_users(
      users_path,
      [&](const std::string& text, const identity::Users& users) -> std::expected<std::string, Failure> {
        if (users.find(name) == nullptr) return not_there("user", users.all(), name, users_path);
        return identity::without_user(text, name);
      });
}

std::expected<std::string, Failure> add_token(const std::string& tokens_path, const std::string& name,
                                              identity::Role role) {
  if (!identity::token_name_valid(name)) {
    return refuse(Code::kInvalid,
                  fmt::format("\"{}\" cannot be a token's name: 1 to 64 letters, digits, '.', '_' and '-'",
                              printable(name)));
  }
  std::string random = random_bytes(identity::kTokenBytes);
  std::string token = identity::token_text(random);
  crypto::wipe(&random);
  const auto done = edit_tokens(
      tokens_path,
      [&](const std::string& file, const identity::Tokens& tokens) -> std::expected<std::string, Failure> {
        if (tokens.all().contains(name)) {
          return refuse(Code::kExists,
                        fmt::format("there is a token {0} already; for another one: holdfast token rm "
                                    "{0}, and add it again",
                                    name));
        }
        return identity::with_token(file, name, identity::make_token(role, token));
      });
  if (done) return token;
  crypto::wipe(&token);
  return std::unexpected(done.error());
}

std::expected<void, Failure> remove_token(const std::string& tokens_path, const std::string& name) {
  return edit_tokens(
      tokens_path,
      [&](const std::string& file, const identity::Tokens& tokens) -> std::expected<std::string, Failure> {
        if (!tokens.all().contains(name)) return not_there("token", tokens.all(), name, tokens_path);
        return identity::without_token(file, name);
      });
}

}  // namespace hf::holdfast
