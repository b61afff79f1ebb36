// The files of a node that say who may do what: where they are, and reading and editing them.
//
//     DIR/users              identity/users.h;     may lie elsewhere (users = "...")
//     DIR/permissions.toml   permission_file.h;    may lie elsewhere (permissions = "...")
//     DIR/tokens             identity/tokens.h;    may lie elsewhere (tokens = "...")
//
// None has to be there. One that the configuration names has to: who names it means it to hold.
#pragma once

#include <expected>
#include <functional>
#include <string>

#include "holdfast/admin_client.h"
#include "holdfast/config_file.h"
#include "holdfast/mistakes.h"
#include "holdfast/target.h"
#include "identity/permissions.h"
#include "identity/tokens.h"
#include "identity/users.h"

namespace hf::holdfast {

struct FilePlace {
  std::string path;
  bool named = false;  // The configuration names it.

  bool missing() const;
};

struct IdentityFiles {
  FilePlace users;
  FilePlace permissions;
  FilePlace tokens;
};

// Of a configuration that load_config read.
IdentityFiles identity_files(const Config& config, const std::string& data_directory);
// For subcommands. `config_path` empty: holdfast.toml in the data directory. kExitConfiguration if it cannot be read.
std::expected<IdentityFiles, Failure> identity_files(const Target& target, const std::string& config_path);

// Nobody, if the file is missing and not named.
std::expected<identity::Users, Mistakes> load_users(const FilePlace& place);
// Everything for everybody, if the file is missing and not named.
std::expected<identity::Permissions, Mistakes> load_permissions(const FilePlace& place);

// Nobody, if the file is missing and not named.
std::expected<identity::Tokens, Mistakes> load_tokens(const FilePlace& place);

// Makes a new text of the file's text, which is right, and of what it says.
using UsersEdit =
    std::function<std::expected<std::string, Failure>(const std::string& text, const identity::Users& users)>;
// Replaces the users file by what `edit` makes of it; a missing one was empty. Whoever reads it meanwhile has the old
// file or the new one, whole, also after a crash; of two who edit it at once the second waits and sees what the first
// did. Only its owner may read it: who that was, or, of a new one, whose directory it is in.
std::expected<void, Failure> edit_users(const std::string& path, const UsersEdit& edit);
// Likewise the tokens file.
using TokensEdit = std::function<std::expected<std::string, Failure>(const std::string& text,
                                                                     const identity::Tokens& tokens)>;
std::expected<void, Failure> edit_tokens(const std::string& path, const TokensEdit& edit);

}  // namespace hf::holdfast
