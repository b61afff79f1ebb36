#include "holdfast/config_check.h"

#include <fmt/format.h>

#include "holdfast/config_file.h"
#include "holdfast/identity_files.h"
#include "holdfast/units.h"

namespace hf::holdfast {

ConfigCheck check_config(const std::string& path, const std::string& data, bool own_data) {
  ConfigCheck check;
  const auto config = load_config(path);
  if (!config) {
    check.mistakes = config.error();
    return check;
  }
  const bool said_there = own_data && !config->data.empty();
  const std::string directory = said_there ? config->data : data;
  // A file alone says nothing of the directory that it is for.
  FileCheck of_files = check_files(*config, path, own_data && !said_there ? "" : directory);
  check.warnings = std::move(of_files.warnings);
  check.mistakes = std::move(of_files.mistakes);
  if (!check.mistakes.empty()) return check;
  const IdentityFiles files = identity_files(*config, directory);
  const auto users = load_users(files.users);
  const auto permissions = load_permissions(files.permissions);
  const auto tokens = load_tokens(files.tokens);
  for (const Mistakes& some :
       {users ? Mistakes() : users.error(), permissions ? Mistakes() : permissions.error(),
        tokens ? Mistakes() : tokens.error()}) {
    check.mistakes.insert(check.mistakes.end(), some.begin(), some.end());
  }
  if (!check.mistakes.empty()) return check;

  const node::Config& node = config->node;
  std::string listen;
  for (const std::string& address : config->listen) listen += (listen.empty() ? "" : ", ") + address;
  for (const ListenerConfig& listener : config->listeners)
    listen += (listen.empty() ? "" : ", ") + listener.door.address;
  check.sentences.push_back(fmt::format(
      "{} is right: node {} listens on {}, {}, {} of disk.", path, node.name,
      listen.empty() ? "nothing" : listen,
      node.upstream ? fmt::format("upstream {}:{}", node.upstream->host, node.upstream->port) : "no upstream",
      format_size(node.quota_bytes)));
  if (files.users.named || !files.users.missing()) {
    check.sentences.push_back(fmt::format("{} is right: {}.", files.users.path,
                                          format_counted(users->all().size(), "user", "users")));
  }
  if (!permissions->everything()) {
    check.sentences.push_back(fmt::format("{} is right: {}.", files.permissions.path,
                                          format_counted(permissions->entries().size(), "entry", "entries")));
  }
  if (files.tokens.named || !files.tokens.missing()) {
    check.sentences.push_back(fmt::format("{} is right: {}.", files.tokens.path,
                                          format_counted(tokens->all().size(), "token", "tokens")));
  }
  return check;
}

}  // namespace hf::holdfast
