#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace hf {

void assert_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "holdfast: internal error at %s:%d: %s is not true; please report this line\n", file,
               line, expression);
  std::abort();
}

}  // namespace hf
