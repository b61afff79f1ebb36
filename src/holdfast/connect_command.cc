// holdfast connect: dial the upstream now.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/target.h"

namespace hf::holdfast {

void add_connect(CLI::App& app, int* exit_code) {
  auto target = std::make_shared<Target>();
  auto output = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("connect", "Dial the upstream at once instead of when the waiting time ends");
  add_target_options(*command, target.get());
  add_output_option(*command, output.get());
  command->footer("Example:\n  holdfast connect && holdfast status");
  command->callback([target, output, exit_code] {
    const auto answer = ask(target->admin_socket(), {.command = "connect"});
    if (!answer) {
      *exit_code = report(answer.error());
      return;
    }
    std::puts(*output == "json" ? answer->json.c_str() : "Dialing; see: holdfast status");
  });
}

}  // namespace hf::holdfast
