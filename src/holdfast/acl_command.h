// What `holdfast acl test` says.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "identity/permissions.h"

namespace hf::holdfast {

struct AclAnswer {
  identity::Action action = identity::Action::kPublish;
  bool allowed = false;
  std::string why;  // "permissions.toml:7: `publish` has ...", or a sentence alone.
  size_t line = 0;  // Of the list that decided; 0: none did.
};

struct AclQuestion {
  std::string user;
  std::string client;
  std::string topic;
  std::optional<identity::Action> action;  // Not said: all that can be asked of this topic.
};

// The error says what is wrong with the topic. `path` stands before a line.
std::expected<std::vector<AclAnswer>, std::string> acl_answers(const identity::Permissions& permissions,
                                                               const AclQuestion& question,
                                                               const std::string& path);
std::string acl_table(const std::vector<AclAnswer>& answers);
std::string acl_json(const AclQuestion& question, const std::vector<AclAnswer>& answers);

}  // namespace hf::holdfast
