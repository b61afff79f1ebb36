// What can be done to the users and tokens files: the same for the subcommands and for who asks over HTTP. Each reads, checks
// and replaces the file under its lock (identity_files.h); a Failure's text says what to do, and nothing has changed then.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "holdfast/identity_files.h"

namespace hf::holdfast {

struct NewPassword {
  std::string name;
  bool is_new = true;         // The user is added; else it is there and gets another password.
  std::optional<bool> scram;  // Nothing: as it was; of a new one: no.
  uint32_t iterations = identity::kScramIterationsDefault;
};
// Whether `change` is possible now, before anybody types a password in vain.
std::expected<void, Failure> check_new_password(const std::string& users_path, const NewPassword& change);
// Whether SCRAM is kept. Takes tens of milliseconds and megabytes, on purpose.
std::expected<bool, Failure> set_password(const std::string& users_path, const NewPassword& change,
                                          const std::string& password);
std::expected<void, Failure> remove_user(const std::string& users_path, const std::string& name);

// The token, which is kept nowhere: wipe it when it is said.
std::expected<std::string, Failure> add_token(const std::string& tokens_path, const std::string& name,
                                              identity::Role role);
std::expected<void, Failure> remove_token(const std::string& tokens_path, const std::string& name);

}  // namespace hf::holdfast
