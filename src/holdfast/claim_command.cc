// holdfast claim: gives a running node the claim with which its upstream knows it.
#include <memory>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"

namespace hf::holdfast {

void add_claim(Command app) {
  struct Options {
    Target target;
    std::string file;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  const Command command = app.subcommand("claim", "Give a running node a claim file from its upstream");
  command.option("file", "FILE", &options->file, "Claim file (holdfast node add or renew, at the hub)")
      .required();
  add_target_options(command, &options->target);
  add_output_option(command, &options->output);
  command.footer("Example:\n  holdfast claim ship-7.claim --data ./ship && holdfast status --data ./ship");
  command.run([options] {
    const auto text = read_file(options->file, 64 << 10);
    if (!text) return report(Failure{kExitFailed, text.error()});
    return print_answer(options->target, {.command = "claim", .claim = *text}, options->output,
                        "The claim was taken; see: holdfast status\n");
  });
}

}  // namespace hf::holdfast
