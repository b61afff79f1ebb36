// holdfast config test: would this configuration be taken?
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "holdfast/commands.h"
#include "holdfast/config_file.h"
#include "holdfast/exit_code.h"
#include "holdfast/identity_files.h"
#include "holdfast/target.h"
#include "holdfast/units.h"

namespace hf::holdfast {

void add_config(CLI::App& app, int* exit_code) {
  struct Options {
    Target target;
    std::string file;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("config", "Look after the configuration");
  command->require_subcommand(1);
  CLI::App* test = command->add_subcommand(
      "test", "Check a configuration file without using it, with its users and permissions");
  test->add_option("file", options->file, "The file (default holdfast.toml in the data directory)")
      ->type_name("FILE");
  add_data_option(*test, &options->target);
  test->footer(
      "Exit code 78: it would be refused; every mistake is named with its line.\n"
      "Examples:\n"
      "  holdfast config test\n"
      "  holdfast config test new.toml && mv new.toml /var/lib/holdfast/holdfast.toml");
  test->callback([options, exit_code] {
    const std::string path =
        options->file.empty() ? options->target.data_directory() + "/holdfast.toml" : options->file;
    const auto config = load_config(path);
    const FileCheck check = config ? check_files(*config, path) : FileCheck{config.error(), {}};
    for (const std::string& warning : check.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
    for (const std::string& mistake : check.mistakes) std::fprintf(stderr, "%s\n", mistake.c_str());
    if (!check.mistakes.empty()) {
      *exit_code = kExitConfiguration;
      return;
    }
    const bool said_there = options->target.data.empty() && !options->file.empty() && !config->data.empty();
    const IdentityFiles files =
        identity_files(*config, said_there ? config->data : options->target.data_directory());
    const auto users = load_users(files.users);
    const auto permissions = load_permissions(files.permissions);
    if (!users || !permissions) {
      for (const Mistakes& mistakes :
           {users ? Mistakes() : users.error(), permissions ? Mistakes() : permissions.error()}) {
        for (const std::string& mistake : mistakes) std::fprintf(stderr, "%s\n", mistake.c_str());
      }
      *exit_code = kExitConfiguration;
      return;
    }
    const node::Config& node = config->node;
    std::string listen;
    for (const std::string& address : config->listen) listen += (listen.empty() ? "" : ", ") + address;
    for (const ListenerConfig& listener : config->listeners)
      listen += (listen.empty() ? "" : ", ") + listener.door.address;
    fmt::print("{} is right: node {} listens on {}, {}, {} of disk.\n", path, node.name,
               listen.empty() ? "nothing" : listen,
               node.upstream ? fmt::format("upstream {}:{}", node.upstream->host, node.upstream->port)
                             : "no upstream",
               format_size(node.quota_bytes));
    if (files.users.named || !files.users.missing()) {
      fmt::print("{} is right: {} user{}.\n", files.users.path, users->all().size(),
                 users->all().size() == 1 ? "" : "s");
    }
    if (!permissions->everything()) {
      const size_t count = permissions->entries().size();
      fmt::print("{} is right: {} {}.\n", files.permissions.path, count, count == 1 ? "entry" : "entries");
    }
  });
}

}  // namespace hf::holdfast
