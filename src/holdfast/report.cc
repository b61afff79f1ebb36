#include <cstdio>
#include <string>

#include "holdfast/commands.h"
#include "holdfast/text.h"

namespace hf::holdfast {

int report(const Failure& failure) {
  std::fflush(stdout);
  // Names from outside stand in it.
  std::fprintf(stderr, "holdfast: %s\n", printable(failure.text, /*keep_lines=*/true).c_str());
  return failure.exit_code;
}

}  // namespace hf::holdfast
