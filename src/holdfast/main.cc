// holdfast: an MQTT node that keeps what it accepted. One binary for the node and for those who look after
// it.
#include <algorithm>
#include <string>
#include <vector>

#include "holdfast/command_line.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/text.h"
#include "holdfast/version.h"

namespace hf::holdfast {
namespace {

// A first word that is no command, answered with the one that was meant.
int unknown_command(const std::vector<std::string>& names, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || std::ranges::find(names, argv[1]) != names.end()) return kExitOk;
  const std::string near = nearest_name(argv[1], names);
  return report(
      {kExitUsage, "no command `" + printable(argv[1]) + "`" +
                       (near.empty() ? "; see: holdfast --help" : "; did you mean `" + near + "`?")});
}

}  // namespace
}  // namespace hf::holdfast

int main(int argc, char** argv) {
  using namespace hf::holdfast;
  CommandLine app(
      "holdfast",
      "Holdfast keeps a site working while its link is down: it takes MQTT, stores it encrypted before it "
      "says\n"
      "\"accepted\", and brings everything upstream when the link returns, in order, exactly once.");
  app.version(std::string("holdfast ") + kVersion);
  app.require_subcommand();
  app.footer(
      "A node in three lines:\n"
      "  holdfast init ./data\n"
      "  holdfast run --data ./data &\n"
      "  holdfast status --data ./data\n"
      "\n"
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 no node answers, 4 it needs a hand, 78 configuration or "
      "directory in use");

  add_init(app);
  add_run(app);
  add_status(app);
  add_pub(app);
  add_sub(app);
  add_stream(app);
  add_client(app);
  add_retained(app);
  add_queue(app);
  add_node(app);
  add_user(app);
  add_token(app);
  add_acl(app);
  add_config(app);
  add_store(app);
  add_connect(app);
  add_claim(app);
  add_version(app);
  if (const int mistaken = unknown_command(app.subcommand_names(), argc, argv); mistaken != kExitOk)
    return mistaken;
  return app.parse(argc, argv);
}
