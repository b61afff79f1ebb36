// holdfast token add | rm | ls: which programs may ask this node over HTTP, and for what.
#include "holdfast/token_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "crypto/crypto.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/identity_edits.h"
#include "holdfast/text.h"

namespace hf::holdfast {

namespace {

constexpr char kNoticed[] = "a node that runs takes it by itself";

struct Options {
  Target target;
  std::string config;
  std::string name;
  std::string role;
  std::string output;
};

std::expected<void, Failure> add(const Options& options) {
  const auto files = identity_files(options.target, options.config);
  if (!files) return std::unexpected(files.error());
  const identity::Role role = *identity::parse_role(options.role);
  auto token = add_token(files->tokens.path, options.name, role);
  if (!token) return std::unexpected(token.error());
  std::string& text = *token;
  if (options.output == "json") {
    const nlohmann::ordered_json said = {
        {"name", options.name}, {"role", identity::role_name(role)}, {"token", text}};
    fmt::print("{}\n", said.dump());
    crypto::wipe(&text);
    return {};
  }
  // The token alone on standard output, so that it can go into a file or a variable.
  fmt::print("{}\n", text);
  std::fflush(stdout);
  fmt::print(stderr,
             "Added {}, which may {}; {}. The token is not kept and not shown again; send it as\n"
             "  Authorization: Bearer TOKEN\n",
             options.name, identity::role_name(role), kNoticed);
  crypto::wipe(&text);
  return {};
}

std::expected<void, Failure> remove(const Options& options) {
  const auto files = identity_files(options.target, options.config);
  if (!files) return std::unexpected(files.error());
  const std::string& path = files->tokens.path;
  if (auto done = remove_token(path, options.name); !done) return done;
  if (options.output == "json") {
    fmt::print("{}\n", nlohmann::ordered_json{{"name", options.name}, {"tokens", path}}.dump());
    return {};
  }
  fmt::print("The token {} is good no more; {}.\n", options.name, kNoticed);
  return {};
}

std::expected<void, Failure> list(const Options& options) {
  const auto files = identity_files(options.target, options.config);
  if (!files) return std::unexpected(files.error());
  // `add` makes one that is named too.
  const auto tokens = load_tokens({.path = files->tokens.path});
  if (!tokens) return std::unexpected(Failure{kExitConfiguration, joined_lines(tokens.error())});
  if (options.output == "json") {
    fmt::print("{}\n", tokens_json(*tokens));
  } else if (tokens->all().empty()) {
    fmt::print("No tokens in {}. Add one with: holdfast token add NAME --role read\n", files->tokens.path);
  } else {
    std::fputs(tokens_table(*tokens).c_str(), stdout);
  }
  return {};
}

void add_place_options(Command command, Options* options) {
  add_data_option(command, &options->target);
  add_config_option(command, &options->config);
  add_output_option(command, &options->output);
}

}  // namespace

std::string tokens_table(const identity::Tokens& tokens) {
  std::vector<std::vector<std::string>> rows = {{"NAME", "ROLE"}};
  for (const auto& [name, token] : tokens.all()) rows.push_back({name, identity::role_name(token.role)});
  return format_table(rows);
}

std::string tokens_json(const identity::Tokens& tokens) {
  using Json = nlohmann::ordered_json;
  Json all = Json::array();
  for (const auto& [name, token] : tokens.all())
    all.push_back({{"name", name}, {"role", identity::role_name(token.role)}});
  return Json{{"tokens", all}}.dump();
}

void add_token(Command app) {
  const Command command = app.subcommand("token", "Look after which programs may ask over HTTP");
  command.require_subcommand();
  command.footer(
      "Works whether the node runs or not; one that runs takes a change by itself.\n"
      "Examples:\n"
      "  holdfast token add prometheus --role read\n"
      "  holdfast token ls");

  auto added = std::make_shared<Options>();
  const Command adding = command.subcommand("add", "Make a token and print it, once");
  adding.option("name", "NAME", &added->name, "Who will have it").required();
  adding
      .option("--role", "ROLE", &added->role,
              "read: look, at messages too; operate: also dial, publish, end clients and their sessions, and "
              "remove retained messages; administer: everything")
      .required()
      .one_of({"read", "operate", "administer"});
  add_place_options(adding, added.get());
  adding.footer(
      "Examples:\n"
      "  holdfast token add prometheus --role read > /etc/prometheus/holdfast.token\n"
      "  holdfast token add deploy --role administer");
  adding.run([added] { return report(add(*added)); });

  auto removed = std::make_shared<Options>();
  const Command rm = command.subcommand("rm", "Remove a token, which is then good no more");
  rm.option("name", "NAME", &removed->name, "Name of the token").required();
  add_place_options(rm, removed.get());
  rm.footer("Example:\n  holdfast token rm prometheus");
  rm.run([removed] { return report(remove(*removed)); });

  auto listed = std::make_shared<Options>();
  const Command ls = command.subcommand("ls", "List the tokens and what they are good for");
  add_place_options(ls, listed.get());
  ls.footer("Example:\n  holdfast token ls -o json");
  ls.run([listed] { return report(list(*listed)); });
}

}  // namespace hf::holdfast
