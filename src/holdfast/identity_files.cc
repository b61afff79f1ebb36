#include "holdfast/identity_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>

#include "holdfast/exit_code.h"
#include "holdfast/permission_file.h"
#include "holdfast/read_file.h"
#include "io/errno_text.h"
#include "io/file_descriptor.h"

namespace hf::holdfast {

namespace {

constexpr size_t kUsersBytesMax = 16 << 20;
constexpr size_t kPermissionsBytesMax = 4 << 20;
constexpr size_t kTokensBytesMax = 1 << 20;

std::unexpected<Failure> failed(const std::string& what, const std::string& path) {
  return std::unexpected(
      Failure{kExitFailed, fmt::format("cannot {} {}: {}", what, path, io::errno_text(errno))});
}

Mistakes with_path(const identity::Mistakes& mistakes, const std::string& path) {
  Mistakes all;
  for (const identity::Mistake& mistake : mistakes) {
    all.push_back(fmt::format("{}:{}: {}", path, mistake.line, mistake.sentence));
  }
  return all;
}

// Where the file really is: a link to it stays a link.
std::string target_of(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path target = std::filesystem::canonical(path, ignored);
  return target.empty() ? path : target.string();
}

// Who edits is quick, also one who hashes a password. A node that waited for ever could not even be stopped.
std::expected<void, Failure> lock(const io::FileDescriptor& folder, const std::string& path) {
  constexpr int kTries = 250;
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 20'000'000};
  for (int i = 0; i < kTries; ++i) {
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK && errno != EINTR) return failed("lock", path);
    ::nanosleep(&kPause, nullptr);
  }
  return std::unexpected(
      Failure{kExitFailed, "another program holds the lock of " + path + "; nothing was changed", "busy"});
}

// Replaces the file at `path` by what `edit` makes of its text.
std::expected<void, Failure> edit_file(
    const std::string& path, size_t bytes_max,
    const std::function<std::expected<std::string, Failure>(const std::string& text)>& edit) {
  const std::string target = target_of(path);
  const std::string parent = std::filesystem::path(target).parent_path().string();
  const std::string folder_path = parent.empty() ? "." : parent;
  // The lock is on the directory: the file itself is replaced, and a lock file would stay behind.
  const io::FileDescriptor folder(::open(folder_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return failed("open", folder_path);
  if (auto locked = lock(folder, folder_path); !locked) return locked;
  std::string text;
  if (!FilePlace{.path = target}.missing()) {
    auto read = read_file(target, bytes_max);
    if (!read) return std::unexpected(Failure{kExitFailed, std::move(read.error())});
    text = std::move(*read);
  }
  const auto edited = edit(text);
  if (!edited) return std::unexpected(edited.error());
  if (auto replaced = replace_file(target, *edited, 0600); !replaced) {
    return std::unexpected(Failure{kExitFailed, std::move(replaced.error())});
  }
  return {};
}

std::unexpected<Failure> not_right(const identity::Mistakes& mistakes, const std::string& path) {
  return std::unexpected(Failure{
      kExitConfiguration, joined_lines(with_path(mistakes, path)) + "\nNothing was changed.", "corrupt"});
}

}  // namespace

bool FilePlace::missing() const {
  struct stat about{};
  return ::stat(path.c_str(), &about) != 0 && errno == ENOENT;
}

IdentityFiles identity_files(const Config& config, const std::string& data_directory) {
  IdentityFiles files;
  files.users = {.path = config.users.empty() ? data_directory + "/users" : config.users,
                 .named = !config.users.empty()};
  files.permissions = {
      .path = config.permissions.empty() ? data_directory + "/permissions.toml" : config.permissions,
      .named = !config.permissions.empty()};
  files.tokens = {.path = config.tokens.empty() ? data_directory + "/tokens" : config.tokens,
                  .named = !config.tokens.empty()};
  return files;
}

std::expected<IdentityFiles, Failure> identity_files(const Target& target, const std::string& config_path) {
  const auto config =
      load_config(config_path.empty() ? target.data_directory() + "/holdfast.toml" : config_path);
  if (!config) return std::unexpected(Failure{kExitConfiguration, joined_lines(config.error())});
  // As `run` finds it.
  const bool said_there = target.data.empty() && !config_path.empty() && !config->data.empty();
  return identity_files(*config, said_there ? config->data : target.data_directory());
}

std::expected<identity::Users, Mistakes> load_users(const FilePlace& place) {
  if (!place.named && place.missing()) return identity::Users();
  const auto text = read_file(place.path, kUsersBytesMax);
  if (!text) return std::unexpected(Mistakes{text.error()});
  auto users = identity::parse_users(*text);
  if (!users) return std::unexpected(with_path(users.error(), place.path));
  return std::move(*users);
}

std::expected<identity::Permissions, Mistakes> load_permissions(const FilePlace& place) {
  if (!place.named && place.missing()) return identity::Permissions();
  const auto text = read_file(place.path, kPermissionsBytesMax);
  if (!text) return std::unexpected(Mistakes{text.error()});
  return parse_permissions(*text, place.path);
}

std::expected<identity::Tokens, Mistakes> load_tokens(const FilePlace& place) {
  if (!place.named && place.missing()) return identity::Tokens();
  const auto text = read_file(place.path, kTokensBytesMax);
  if (!text) return std::unexpected(Mistakes{text.error()});
  auto tokens = identity::parse_tokens(*text);
  if (!tokens) return std::unexpected(with_path(tokens.error(), place.path));
  return std::move(*tokens);
}

std::expected<void, Failure> edit_users(const std::string& path, const UsersEdit& edit) {
  return edit_file(path, kUsersBytesMax, [&](const std::string& text) -> std::expected<std::string, Failure> {
    const auto users = identity::parse_users(text);
    if (!users) return not_right(users.error(), path);
    return edit(text, *users);
  });
}

std::expected<void, Failure> edit_tokens(const std::string& path, const TokensEdit& edit) {
  return edit_file(path, kTokensBytesMax,
                   [&](const std::string& text) -> std::expected<std::string, Failure> {
                     const auto tokens = identity::parse_tokens(text);
                     if (!tokens) return not_right(tokens.error(), path);
                     return edit(text, *tokens);
                   });
}

}  // namespace hf::holdfast
