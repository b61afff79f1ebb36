// holdfast: an MQTT node that keeps what it accepted. One binary for the node and for those who look after
// it.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/text.h"
#include "holdfast/version.h"

namespace hf::holdfast {
namespace {

// A first word that is no command, answered with the one that was meant.
int unknown_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return kExitOk;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == argv[1]) return kExitOk;
    names.push_back(command->get_name());
  }
  const std::string near = nearest_name(argv[1], names);
  return report(
      {kExitUsage, "no command `" + printable(argv[1]) + "`" +
                       (near.empty() ? "; see: holdfast --help" : "; did you mean `" + near + "`?")});
}

}  // namespace
}  // namespace hf::holdfast

int main(int argc, char** argv) {
  using namespace hf::holdfast;
  CLI::App app(
      "Holdfast keeps a site working while its link is down: it takes MQTT, stores it encrypted before it "
      "says\n"
      "\"accepted\", and brings everything upstream when the link returns, in order, exactly once.");
  app.name("holdfast");
  app.set_help_flag("--help", "Help; also for each command");
  app.set_version_flag("--version", std::string("holdfast ") + kVersion);
  app.require_subcommand(1);
  app.footer(
      "A node in three lines:\n"
      "  holdfast init ./data\n"
      "  holdfast run --data ./data &\n"
      "  holdfast status --data ./data\n"
      "\n"
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 no node answers, 4 it needs a hand, 78 configuration or "
      "directory in use");

  int exit_code = kExitOk;
  add_init(app, &exit_code);
  add_run(app, &exit_code);
  add_status(app, &exit_code);
  add_pub(app, &exit_code);
  add_sub(app, &exit_code);
  add_stream(app, &exit_code);
  add_client(app, &exit_code);
  add_retained(app, &exit_code);
  add_queue(app, &exit_code);
  add_node(app, &exit_code);
  add_user(app, &exit_code);
  add_token(app, &exit_code);
  add_acl(app, &exit_code);
  add_config(app, &exit_code);
  add_store(app, &exit_code);
  add_connect(app, &exit_code);
  add_claim(app, &exit_code);
  add_version(app, &exit_code);
  if (const int mistaken = unknown_command(app, argc, argv); mistaken != kExitOk) return mistaken;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Asking for help is not a mistake; everything else here is.
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return exit_code;
}
