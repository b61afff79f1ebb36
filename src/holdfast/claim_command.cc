// holdfast claim: gives a running node the claim with which its upstream knows it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"
#include "holdfast/target.h"

namespace hf::holdfast {

void add_claim(CLI::App& app, int* exit_code) {
  struct Options {
    Target target;
    std::string file;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("claim", "Give a running node a claim file from its upstream");
  command->add_option("file", options->file, "Claim file (holdfast node add or renew, at the hub)")
      ->required()
      ->type_name("FILE");
  add_target_options(*command, &options->target);
  add_output_option(*command, &options->output);
  command->footer("Example:\n  holdfast claim ship-7.claim --data ./ship && holdfast status --data ./ship");
  command->callback([options, exit_code] {
    const auto text = read_file(options->file, 64 << 10);
    if (!text) {
      *exit_code = report({kExitFailed, text.error()});
      return;
    }
    const auto answer = ask(options->target.admin_socket(), {.command = "claim", .claim = *text});
    if (!answer) {
      *exit_code = report(answer.error());
      return;
    }
    std::puts(options->output == "json" ? answer->json.c_str() : "The claim was taken; see: holdfast status");
  });
}

}  // namespace hf::holdfast
