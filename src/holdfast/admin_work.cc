#include "holdfast/admin_work.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "crypto/crypto.h"
#include "holdfast/acl_command.h"
#include "holdfast/config_check.h"
#include "holdfast/exit_code.h"
#include "holdfast/identity_edits.h"
#include "holdfast/inspect_json.h"
#include "holdfast/password_input.h"
#include "holdfast/token_command.h"
#include "holdfast/user_command.h"

namespace hf::holdfast {

namespace {

constexpr std::array kCommands = {"users",     "user-add", "user-passwd", "user-rm",    "tokens",
                                  "token-add", "token-rm", "acl-test",    "config-test"};

std::string refusal(const std::string& code, const std::string& sentence) {
  return dump({{"ok", false}, {"code", code}, {"error", sentence}});
}
std::string refusal(const Failure& failure) { return refusal(failure.code, failure.text); }
// Of a file that is not right.
std::string refusal(const Mistakes& mistakes) { return refusal("corrupt", joined_lines(mistakes)); }

// What a subcommand prints, as an answer.
std::string answer_of(const AdminRequest& request, const std::string& printed, const std::string& text) {
  Json json = {{"ok", true}};
  json.update(Json::parse(printed, nullptr, /*allow_exceptions=*/false));
  if (request.text) json["text"] = text;
  return dump(json);
}

}  // namespace

bool is_admin_work(const std::string& command) {
  return std::find(kCommands.begin(), kCommands.end(), command) != kCommands.end();
}

AdminWork::~AdminWork() {
  crypto::wipe(&request_.password);
  crypto::wipe(&line_);  // It may hold a token.
}

void AdminWork::run() {
  line_ = answer();
  crypto::wipe(&request_.password);
}

std::string AdminWork::answer() {
  const std::string& command = request_.command;
  const IdentityFiles& files = files_.identity;
  if (command == "users") {
    // `user add` makes one that is named too.
    const auto users = load_users({.path = files.users.path});
    return users ? answer_of(request_, users_json(*users), users_table(*users)) : refusal(users.error());
  }
  if (command == "user-add" || command == "user-passwd") return change_password();
  if (command == "user-rm") {
    const auto done = remove_user(files.users.path, request_.name);
    return done ? dump({{"ok", true}, {"name", request_.name}}) : refusal(done.error());
  }
  if (command == "tokens") {
    const auto tokens = load_tokens({.path = files.tokens.path});
    return tokens ? answer_of(request_, tokens_json(*tokens), tokens_table(*tokens))
                  : refusal(tokens.error());
  }
  if (command == "token-add") return add_token();
  if (command == "token-rm") {
    const auto done = remove_token(files.tokens.path, request_.name);
    return done ? dump({{"ok", true}, {"name", request_.name}}) : refusal(done.error());
  }
  return command == "acl-test" ? test_acl() : test_config();
}

std::string AdminWork::change_password() {
  NewPassword change{
      .name = request_.name, .is_new = request_.command == "user-add", .scram = request_.scram};
  if (request_.iterations != 0) {
    if (request_.iterations < identity::kScramIterationsMin ||
        request_.iterations > identity::kScramIterationsMax) {
      return refusal("invalid", "`iterations` of SCRAM are " + std::to_string(identity::kScramIterationsMin) +
                                    " to " + std::to_string(identity::kScramIterationsMax));
    }
    change.iterations = static_cast<uint32_t>(request_.iterations);
  }
  auto password = password_of(request_.password, "`password`");
  if (!password) return refusal("invalid", password.error().text);
  const auto scram = set_password(files_.identity.users.path, change, *password);
  crypto::wipe(&*password);
  if (!scram) return refusal(scram.error());
  return dump({{"ok", true}, {"name", request_.name}, {"scram", *scram}});
}

std::string AdminWork::add_token() {
  const auto role = identity::parse_role(request_.role);
  if (!role) return refusal("invalid", "`role` is read, operate or administer");
  auto token = holdfast::add_token(files_.identity.tokens.path, request_.name, *role);
  if (!token) return refusal(token.error());
  std::string line =
      dump({{"ok", true}, {"name", request_.name}, {"role", identity::role_name(*role)}, {"token", *token}});
  crypto::wipe(&*token);
  return line;
}

std::string AdminWork::test_acl() const {
  AclQuestion question{
      .user = request_.user, .client = request_.client, .topic = request_.topic, .action = {}};
  for (const identity::Action action : identity::kActions) {
    if (request_.action == identity::action_name(action)) question.action = action;
  }
  if (!request_.action.empty() && !question.action)
    return refusal("invalid", "`action` is publish, retain, subscribe or receive");
  const FilePlace& place = files_.identity.permissions;
  const auto permissions = load_permissions(place);
  if (!permissions) return refusal(permissions.error());
  const auto answers = acl_answers(*permissions, question, place.path);
  if (!answers) return refusal("invalid", answers.error());
  return answer_of(request_, acl_json(question, *answers), acl_table(*answers));
}

std::string AdminWork::test_config() const {
  const ConfigCheck check = check_config(files_.config, files_.data, /*own_data=*/false);
  return dump({{"ok", true},
               {"file", files_.config},
               {"right", check.mistakes.empty()},
               {"mistakes", check.mistakes},
               {"warnings", check.warnings}});
}

}  // namespace hf::holdfast
