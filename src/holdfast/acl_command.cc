// holdfast acl test: may they, and why?
#include "holdfast/acl_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/identity_files.h"
#include "holdfast/inspect_json.h"
#include "holdfast/text.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

using identity::Action;

// What no permission gives to a client, whoever it is: the broker refuses it before it asks for rights. Empty: nothing against it.
std::string refused_to_all(Action action, Bytes topic) {
  if (mqtt::reserved_to_nodes(topic)) return "topics that begin with $hf/ are for registered nodes";
  const bool publishes = action == Action::kPublish || action == Action::kRetain;
  return publishes && topic.starts_with('$') ? "topics that begin with $ are the node's own" : "";
}

struct Options {
  Target target;
  std::string config;
  AclQuestion question;
  std::string action;
  std::string output;
};

std::expected<int, Failure> test(const Options& options) {
  const auto files = identity_files(options.target, options.config);
  if (!files) return std::unexpected(files.error());
  const auto permissions = load_permissions(files->permissions);
  if (!permissions) return std::unexpected(Failure{kExitConfiguration, joined_lines(permissions.error())});
  AclQuestion question = options.question;
  for (const Action action : identity::kActions) {
    if (options.action == identity::action_name(action)) question.action = action;
  }
  const auto answers = acl_answers(*permissions, question, files->permissions.path);
  if (!answers) return std::unexpected(Failure{kExitUsage, answers.error()});
  if (options.output == "json") {
    fmt::print("{}\n", acl_json(question, *answers));
  } else {
    std::fputs(acl_table(*answers).c_str(), stdout);
  }
  // Whoever is asked about may not be there at all: worth a word, but permissions are given to certificates too.
  if (const auto users = load_users(files->users);
      users && !question.user.empty() && users->find(question.user) == nullptr) {
    std::fprintf(stderr, "note: there is no user %s in %s\n", printable(question.user).c_str(),
                 files->users.path.c_str());
  }
  return question.action && !answers->front().allowed ? kExitFailed : kExitOk;
}

}  // namespace

std::expected<std::vector<AclAnswer>, std::string> acl_answers(const identity::Permissions& permissions,
                                                               const AclQuestion& question,
                                                               const std::string& path) {
  mqtt::SharedFilter shared;
  const bool filter_valid =
      mqtt::topic_filter_valid(question.topic) && mqtt::parse_shared(question.topic, &shared);
  const bool name_valid = mqtt::topic_name_valid(question.topic);
  std::vector<AclAnswer> answers;
  for (const Action action : identity::kActions) {
    if (question.action && *question.action != action) continue;
    const bool is_filter = action == Action::kSubscribe;
    if (!(is_filter ? filter_valid : name_valid)) {
      if (!question.action) continue;
      return std::unexpected(fmt::format("\"{}\" is not a topic {}", printable(question.topic),
                                         is_filter ? "filter"
                                         : filter_valid
                                             ? "name: it has wildcards, which only a subscription may have"
                                             : "name"));
    }
    const Bytes topic = is_filter ? shared.filter : Bytes(question.topic);
    if (std::string why = refused_to_all(action, topic); !why.empty()) {
      answers.push_back({.action = action, .allowed = false, .why = std::move(why)});
      continue;
    }
    const identity::Explanation said = permissions.explain(question.user, question.client, action, topic);
    AclAnswer answer{.action = action, .allowed = said.allowed, .why = said.sentence};
    if (said.entry) {
      const auto& lines = permissions.entries()[*said.entry].lines;
      if (const auto at = lines.find(said.key); at != lines.end()) answer.line = at->second;
      answer.why = fmt::format("{}:{}: {}", path, answer.line, said.sentence);
    }
    answers.push_back(std::move(answer));
  }
  if (answers.empty()) {
    return std::unexpected(
        fmt::format("\"{}\" is neither a topic name nor a topic filter", printable(question.topic)));
  }
  return answers;
}

std::string acl_table(const std::vector<AclAnswer>& answers) {
  std::vector<std::vector<std::string>> rows = {{"ACTION", "ANSWER", "WHY"}};
  for (const AclAnswer& answer : answers) {
    rows.push_back({identity::action_name(answer.action), answer.allowed ? "allowed" : "denied", answer.why});
  }
  return format_table(rows);
}

std::string acl_json(const AclQuestion& question, const std::vector<AclAnswer>& answers) {
  Json all = Json::array();
  for (const AclAnswer& answer : answers) {
    all.push_back({{"action", identity::action_name(answer.action)},
                   {"allowed", answer.allowed},
                   {"why", answer.why},
                   {"line", answer.line == 0 ? Json() : Json(answer.line)}});
  }
  const Json said = {
      {"user", question.user}, {"client", question.client}, {"topic", question.topic}, {"answers", all}};
  return dump(said);
}

void add_acl(Command app) {
  const Command command = app.subcommand("acl", "Ask the permissions file");
  command.require_subcommand();
  auto options = std::make_shared<Options>();
  const Command test_command = command.subcommand("test", "Say whether a user may do something, and why");
  test_command
      .option("user", "USER", &options->question.user, "Name of the user; \"\" is a client without a name")
      .required();
  test_command
      .option("topic", "TOPIC", &options->question.topic,
              "Topic; with wildcards it can be subscribed to only")
      .required();
  test_command.option("--client", "ID", &options->question.client, "Client identifier, which %c stands for");
  test_command
      .option("--action", "ACTION", &options->action, "publish, retain, subscribe or receive (default: all)")
      .one_of({"publish", "retain", "subscribe", "receive"});
  add_data_option(test_command, &options->target);
  add_config_option(test_command, &options->config);
  add_output_option(test_command, &options->output);
  test_command.footer(
      "Exit code with --action: 0 allowed, 1 denied.\n"
      "Examples:\n"
      "  holdfast acl test anna sites/anna/door\n"
      "  holdfast acl test anna 'news/#' --action subscribe\n"
      "  holdfast acl test '' public/x --client kiosk-1 -o json");
  test_command.run([options] {
    const auto done = test(*options);
    return done ? *done : report(done.error());
  });
}

}  // namespace hf::holdfast
