// holdfast config test | get: would this configuration be taken, and which one is in effect?
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

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

void add_get(CLI::App& config, int* exit_code) {
  auto options = std::make_shared<GetOptions>();
  CLI::App* command =
      config.add_subcommand("get", "Say which values are in effect, and whether they are from the file");
  command
      ->add_option("key", options->key, "A key or a section (default: all), such as quota or mqtt.max_packet")
      ->type_name("KEY");
  add_target_options(*command, &options->target);
  add_output_option(*command, &options->output);
  command->footer(
      "A node takes its file when it starts: what was changed since is not in effect.\n"
      "Examples:\n"
      "  holdfast config get\n"
      "  holdfast config get quota\n"
      "  holdfast config get mqtt -o json");
  command->callback([options, exit_code] {
    const auto done = get(*options);
    *exit_code = done ? kExitOk : report(done.error());
  });
}

}  // namespace

void add_config(CLI::App& app, int* exit_code) {
  struct Options {
    Target target;
    std::string file;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("config", "Look after the configuration");
  command->require_subcommand(1);
  add_get(*command, exit_code);
  CLI::App* test = command->add_subcommand(
      "test", "Check a configuration file without using it, with its users, permissions and tokens");
  test->add_option("file", options->file, "The file (default holdfast.toml in the data directory)")
      ->type_name("FILE");
  add_data_option(*test, &options->target);
  add_output_option(*test, &options->output);
  test->footer(
      "Exit code 78: it would be refused; every mistake is named with its line.\n"
      "Examples:\n"
      "  holdfast config test\n"
      "  holdfast config test new.toml && mv new.toml /var/lib/holdfast/holdfast.toml");
  test->callback([options, exit_code] {
    const std::string path =
        options->file.empty() ? options->target.data_directory() + "/holdfast.toml" : options->file;
    const bool own_data = options->target.data.empty() && !options->file.empty();
    const ConfigCheck done = check_config(path, options->target.data_directory(), own_data);
    for (const std::string& warning : done.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
    if (!done.mistakes.empty()) {
      *exit_code = refuse(done.mistakes, options->output);
      return;
    }
    if (options->output == "json") {
      std::puts("{\"ok\": true, \"mistakes\": []}");
      return;
    }
    for (const std::string& sentence : done.sentences) fmt::print("{}\n", sentence);
  });
}

}  // namespace hf::holdfast
