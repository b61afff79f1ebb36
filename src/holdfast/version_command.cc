// holdfast version.
#include <cstdio>
#include <memory>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/target.h"
#include "holdfast/version.h"

namespace hf::holdfast {

void add_version(Command app) {
  auto output = std::make_shared<std::string>();
  const Command command = app.subcommand("version", "Say which version this program is");
  add_output_option(command, output.get());
  command.footer("Example:\n  holdfast version -o json");
  command.run([output] {
    if (*output == "json") {
      std::printf("{\"version\": \"%s\"}\n", kVersion);
    } else {
      std::printf("holdfast %s\n", kVersion);
    }
    return kExitOk;
  });
}

}  // namespace hf::holdfast
