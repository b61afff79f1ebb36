#include <cstdio>
#include <string>

#include "holdfast/commands.h"

namespace hf::holdfast {

int report(const Failure& failure) {
  std::fflush(stdout);
  std::fprintf(stderr, "holdfast: %s\n", failure.text.c_str());
  return failure.exit_code;
}

}  // namespace hf::holdfast
