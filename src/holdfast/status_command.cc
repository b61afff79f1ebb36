// holdfast status: one sentence, then the figures.
#include <cstdio>
#include <memory>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/target.h"

namespace hf::holdfast {

void add_status(Command app) {
  struct Options {
    Target target;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  const Command command = app.subcommand("status", "Say how the node is: one sentence, then the figures");
  add_target_options(command, &options->target);
  add_output_option(command, &options->output);
  command.footer(
      "Exit code 4: it answers, but needs a hand (storage, space, key).\n"
      "Examples:\n"
      "  holdfast status\n"
      "  holdfast status -o json | jq .link.backlog_count");
  command.run([options] {
    const bool text = options->output == "table";
    const auto answer = ask(options->target.admin_socket(), {.command = "status", .text = text});
    if (!answer) return report(answer.error());
    std::fputs(text ? answer->text.c_str() : (answer->json + "\n").c_str(), stdout);
    return answer->needs_a_hand ? kExitDegraded : kExitOk;
  });
}

}  // namespace hf::holdfast
