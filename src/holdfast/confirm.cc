#include "holdfast/confirm.h"

#include <unistd.h>

#include <cstdio>

#include "holdfast/exit_code.h"

namespace hf::holdfast {

std::expected<void, Failure> confirm(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  if (::isatty(STDIN_FILENO) != 1) {
    return std::unexpected(
        Failure{kExitUsage, "nobody is here to be asked; nothing was changed. Say --yes if it is meant"});
  }
  std::fputs("Go on? [y/N] ", stderr);
  char line[16] = {};
  const bool read = std::fgets(line, sizeof line, stdin) != nullptr;
  if (read && (line[0] == 'y' || line[0] == 'Y')) return {};
  return std::unexpected(Failure{kExitFailed, "nothing was changed"});
}

}  // namespace hf::holdfast
