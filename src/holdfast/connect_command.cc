// holdfast connect: dial the upstream now.
#include <memory>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"

namespace hf::holdfast {

void add_connect(Command app) {
  auto target = std::make_shared<Target>();
  auto output = std::make_shared<std::string>();
  const Command command =
      app.subcommand("connect", "Dial the upstream at once instead of when the waiting time ends");
  add_target_options(command, target.get());
  add_output_option(command, output.get());
  command.footer("Example:\n  holdfast connect && holdfast status");
  command.run([target, output] {
    return print_answer(*target, {.command = "connect"}, *output, "Dialing; see: holdfast status\n");
  });
}

}  // namespace hf::holdfast
