// holdfast version.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "holdfast/commands.h"
#include "holdfast/target.h"
#include "holdfast/version.h"

namespace hf::holdfast {

void add_version(CLI::App& app, int*) {
  auto output = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("version", "Say which version this program is");
  add_output_option(*command, output.get());
  command->footer("Example:\n  holdfast version -o json");
  command->callback([output] {
    if (*output == "json") {
      std::printf("{\"version\": \"%s\"}\n", kVersion);
    } else {
      std::printf("holdfast %s\n", kVersion);
    }
  });
}

}  // namespace hf::holdfast
