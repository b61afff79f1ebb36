#include <cstdio>
#include <string>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/text.h"

namespace hf::holdfast {

int report(const Failure& failure) {
  std::fflush(stdout);
  // Names from outside stand in it.
  std::fprintf(stderr, "holdfast: %s\n", printable(failure.text, /*keep_lines=*/true).c_str());
  return failure.exit_code;
}

int report(const std::expected<void, Failure>& done) { return done ? kExitOk : report(done.error()); }

}  // namespace hf::holdfast
