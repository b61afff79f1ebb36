// holdfast user add | passwd | rm | ls: who may log in here by name and password.
#include "holdfast/user_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "crypto/crypto.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/identity_edits.h"
#include "holdfast/password_input.h"
#include "holdfast/text.h"

namespace hf::holdfast {

namespace {

constexpr char kNoticed[] = "a node that runs takes it by itself";

struct Options {
  Target target;
  std::string config;
  std::string name;
  std::string password_file;
  bool scram = false;
  bool no_scram = false;
  uint32_t iterations = identity::kScramIterationsDefault;
  std::string output;
};

// `is_new`: add, else passwd.
std::expected<void, Failure> change_password(const Options& options, bool is_new) {
  const auto files = identity_files(options.target, options.config);
  if (!files) return std::unexpected(files.error());
  const std::string& path = files->users.path;
  NewPassword change{.name = options.name, .is_new = is_new, .iterations = options.iterations};
  if (options.scram || options.no_scram) change.scram = options.scram;
  // Before anybody types a password in vain; and once more under the lock.
  if (auto possible = check_new_password(path, change); !possible) return possible;
  auto password = read_new_password(options.password_file, options.name);
  if (!password) return std::unexpected(password.error());
  const auto scram = set_password(path, change, *password);
  crypto::wipe(&*password);
  if (!scram) return std::unexpected(scram.error());
  if (options.output == "json") {
    const nlohmann::ordered_json said = {{"name", options.name}, {"scram", *scram}, {"users", path}};
    fmt::print("{}\n", said.dump());
    return {};
  }
  fmt::print("{} {}{}; {}.\n", is_new ? "Added" : "A new password for", options.name,
             *scram ? ", who may log in with SCRAM too" : "", kNoticed);
  return {};
}

std::expected<void, Failure> remove(const Options& options) {
  const auto files = identity_files(options.target, options.config);
  if (!files) return std::unexpected(files.error());
  const std::string& path = files->users.path;
  if (auto done = remove_user(path, options.name); !done) return done;
  if (options.output == "json") {
    fmt::print("{}\n", nlohmann::ordered_json{{"name", options.name}, {"users", path}}.dump());
    return {};
  }
  fmt::print("{} is a user no more; {}.\n", options.name, kNoticed);
  return {};
}

std::expected<void, Failure> list(const Options& options) {
  const auto files = identity_files(options.target, options.config);
  if (!files) return std::unexpected(files.error());
  // `add` makes one that is named too.
  const auto users = load_users({.path = files->users.path});
  if (!users) return std::unexpected(Failure{kExitConfiguration, joined_lines(users.error())});
  if (options.output == "json") {
    fmt::print("{}\n", users_json(*users));
  } else if (users->all().empty()) {
    fmt::print("No users in {}. Add one with: holdfast user add NAME\n", files->users.path);
  } else {
    std::fputs(users_table(*users).c_str(), stdout);
  }
  return {};
}

void add_place_options(Command command, Options* options) {
  add_data_option(command, &options->target);
  add_config_option(command, &options->config);
  add_output_option(command, &options->output);
}

Command add_password_command(Command user, const char* name, const char* about, bool is_new) {
  auto options = std::make_shared<Options>();
  const Command command = user.subcommand(name, about);
  command.option("name", "NAME", &options->name, "Name of the user").required();
  command.option("--password-file", "FILE", &options->password_file,
                 "Read the password from this file (default: ask for it, or a line of standard input)");
  const Option scram =
      command.flag("--scram", &options->scram,
                   "Keep what SCRAM-SHA-256 needs as well: weaker if the file is stolen, for it can "
                   "be guessed at faster than Argon2id");
  command
      .option("--iterations", "N", &options->iterations,
              fmt::format("Of SCRAM (default {}, at least {})", identity::kScramIterationsDefault,
                          identity::kScramIterationsMin))
      .between(uint64_t{identity::kScramIterationsMin}, uint64_t{identity::kScramIterationsMax});
  if (!is_new) {
    command.flag("--no-scram", &options->no_scram, "No SCRAM any more (default: as it was)").excludes(scram);
  }
  add_place_options(command, options.get());
  command.run([options, is_new] { return report(change_password(*options, is_new)); });
  return command;
}

}  // namespace

std::string users_table(const identity::Users& users) {
  std::vector<std::vector<std::string>> rows = {{"NAME", "PASSWORD", "SCRAM"}};
  for (const auto& [name, user] : users.all()) {
    const crypto::PasswordCost& cost = user.password.cost;
    rows.push_back({name, fmt::format("argon2id m={},t={},p={}", cost.memory_kib, cost.passes, cost.lanes),
                    user.scram ? fmt::format("SHA-256 i={}", user.scram->iterations) : "-"});
  }
  return format_table(rows);
}

std::string users_json(const identity::Users& users) {
  using Json = nlohmann::ordered_json;
  Json all = Json::array();
  for (const auto& [name, user] : users.all()) {
    const crypto::PasswordCost& cost = user.password.cost;
    all.push_back(
        {{"name", name},
         {"password",
          {{"kind", "argon2id"},
           {"memory_kib", cost.memory_kib},
           {"passes", cost.passes},
           {"lanes", cost.lanes}}},
         {"scram", user.scram ? Json{{"kind", "SHA-256"}, {"iterations", user.scram->iterations}} : Json()}});
  }
  return Json{{"users", all}}.dump();
}

void add_user(Command app) {
  const Command command = app.subcommand("user", "Look after who may log in by name and password");
  command.require_subcommand();
  command.footer(
      "Works whether the node runs or not; one that runs takes a change by itself.\n"
      "Examples:\n"
      "  holdfast user add anna\n"
      "  holdfast user passwd anna\n"
      "  holdfast user ls");
  add_password_command(command, "add", "Add a user and set the password", true)
      .footer(
          "Examples:\n"
          "  holdfast user add anna\n"
          "  holdfast user add press-7 --scram < password.txt\n"
          "  holdfast user add press-7 --password-file /run/secrets/press-7");
  add_password_command(command, "passwd", "Set another password", false)
      .footer(
          "Examples:\n"
          "  holdfast user passwd anna\n"
          "  holdfast user passwd press-7 --no-scram --password-file /run/secrets/press-7");

  auto removed = std::make_shared<Options>();
  const Command rm = command.subcommand("rm", "Remove a user, who can then log in no more");
  rm.option("name", "NAME", &removed->name, "Name of the user").required();
  add_place_options(rm, removed.get());
  rm.footer("Example:\n  holdfast user rm anna");
  rm.run([removed] { return report(remove(*removed)); });

  auto listed = std::make_shared<Options>();
  const Command ls = command.subcommand("ls", "List the users, and how their passwords are kept");
  add_place_options(ls, listed.get());
  ls.footer("Example:\n  holdfast user ls -o json");
  ls.run([listed] { return report(list(*listed)); });
}

}  // namespace hf::holdfast
