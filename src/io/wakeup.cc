#include "io/wakeup.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "base/assert.h"

namespace hf::io {

Wakeup::Wakeup() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { HF_ASSERT(event_.valid()); }

void Wakeup::drain() {
  uint64_t count = 0;
  (void)!::read(event_.get(), &count, sizeof count);
}

void Wakeup::notify() {
  if (!sleeping_.exchange(false, std::memory_order_seq_cst)) return;
  const uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

}  // namespace hf::io
