// holdfast status: one sentence, then the figures.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/target.h"

namespace hf::holdfast {

void add_status(CLI::App& app, int* exit_code) {
  struct Options {
    Target target;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("status", "Say how the node is: one sentence, then the figures");
  add_target_options(*command, &options->target);
  add_output_option(*command, &options->output);
  command->footer(
      "Exit code 4: it answers, but needs a hand (storage, space, key).\n"
      "Examples:\n"
      "  holdfast status\n"
      "  holdfast status -o json | jq .link.backlog_count");
  command->callback([options, exit_code] {
    const bool text = options->output == "table";
    const auto answer = ask(options->target.admin_socket(), {.command = "status", .text = text});
    if (!answer) {
      *exit_code = report(answer.error());
      return;
    }
    std::fputs(text ? answer->text.c_str() : (answer->json + "\n").c_str(), stdout);
    *exit_code = answer->needs_a_hand ? kExitDegraded : kExitOk;
  });
}

}  // namespace hf::holdfast
