// holdfast config test | get: would this configuration be taken, and which one is in effect?
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/config_check.h"
#include "holdfast/config_file.h"
#include "holdfast/config_values.h"
#include "holdfast/exit_code.h"
#include "holdfast/target.h"
#include "holdfast/text.h"
#include "io/listener.h"

namespace hf::holdfast {

namespace {

struct GetOptions {
  Target target;
  std::string output;
  std::string key;
};

// Of the node that runs; of the file if none does.
std::expected<Json, Failure> values_of(const GetOptions& options) {
  if (io::connect_unix(options.target.admin_socket())) {
    auto connection = AdminConnection::open(options.target.admin_socket());
    if (!connection) return std::unexpected(connection.error());
    const auto answer = ask_json(*connection, {.command = "config", .key = options.key});
    if (!answer) return std::unexpected(answer.error());
    return list_of(*answer, "values");
  }
  const std::string data = options.target.data_directory();
  const auto config = load_config(data + "/holdfast.toml");
  if (!config) return std::unexpected(Failure{kExitConfiguration, joined_lines(config.error())});
  std::fprintf(stderr, "note: the node does not run; this is what it would start with\n");
  Json values = Json::array();
  for (const ConfigValue& value : config_values(*config, data)) {
    if (config_key_within(options.key, value.key)) values.push_back(config_value_json(value));
  }
  if (values.empty()) return std::unexpected(Failure{kExitFailed, config_key_unknown(options.key)});
  return values;
}

std::expected<void, Failure> get(const GetOptions& options) {
  const auto values = values_of(options);
  if (!values) return std::unexpected(values.error());
  if (options.output == "json") {
    const Json answer = {{"ok", true}, {"values", *values}};
    return print(json_printable(answer.dump(2, ' ', false, Json::error_handler_t::replace)) + "\n");
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& value : *values) rows.push_back(config_list().row(value));
  return print(TablePages(config_list().heading).add(rows));
}

// `config test` of what would not be taken.
int refuse(const Mistakes& mistakes, const std::string& output) {
  if (output == "json") {
    const Json answer = {{"ok", false}, {"mistakes", mistakes}};
    std::puts(json_printable(answer.dump(2, ' ', false, Json::error_handler_t::replace)).c_str());
    return kExitConfiguration;
  }
  for (const std::string& mistake : mistakes) std::fprintf(stderr, "%s\n", mistake.c_str());
  return kExitConfiguration;
}

void add_get(Command config) {
  auto options = std::make_shared<GetOptions>();
  const Command command =
      config.subcommand("get", "Say which values are in effect, and whether they are from the file");
  command.option("key", "KEY", &options->key,
                 "A key or a section (default: all), such as quota or mqtt.max_packet");
  add_target_options(command, &options->target);
  add_output_option(command, &options->output);
  command.footer(
      "A node takes its file when it starts: what was changed since is not in effect.\n"
      "Examples:\n"
      "  holdfast config get\n"
      "  holdfast config get quota\n"
      "  holdfast config get mqtt -o json");
  command.run([options] { return report(get(*options)); });
}

}  // namespace

void add_config(Command app) {
  struct Options {
    Target target;
    std::string file;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  const Command command = app.subcommand("config", "Look after the configuration");
  command.require_subcommand();
  add_get(command);
  const Command test = command.subcommand(
      "test", "Check a configuration file without using it, with its users, permissions and tokens");
  test.option("file", "FILE", &options->file, "The file (default holdfast.toml in the data directory)");
  add_data_option(test, &options->target);
  add_output_option(test, &options->output);
  test.footer(
      "Exit code 78: it would be refused; every mistake is named with its line.\n"
      "Examples:\n"
      "  holdfast config test\n"
      "  holdfast config test new.toml && mv new.toml /var/lib/holdfast/holdfast.toml");
  test.run([options] {
    const std::string path =
        options->file.empty() ? options->target.data_directory() + "/holdfast.toml" : options->file;
    const bool own_data = options->target.data.empty() && !options->file.empty();
    const ConfigCheck done = check_config(path, options->target.data_directory(), own_data);
    for (const std::string& warning : done.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
    if (!done.mistakes.empty()) return refuse(done.mistakes, options->output);
    if (options->output == "json") {
      std::puts("{\"ok\": true, \"mistakes\": []}");
      return kExitOk;
    }
    for (const std::string& sentence : done.sentences) fmt::print("{}\n", sentence);
    return kExitOk;
  });
}

}  // namespace hf::holdfast
