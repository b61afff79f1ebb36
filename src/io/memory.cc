#include "io/memory.h"

#include <cstdlib>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace hf::io {

void keep_freed_memory() {
#if defined(__GLIBC__)
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ::mallopt(M_TOP_PAD, 1 << 20);
  // Setting any of these ends glibc's own adaptation of this one, so it is set too; larger blocks are rare here.
  ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
#endif
}

void give_back_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace hf::io
