// HF_ASSERT: a statement about our own code that holds in release builds too. A failed assert prints where
// and aborts: the log on disk is always recoverable, a process that goes on with a broken invariant is not.
// Bytes that came from outside never reach an assert (docs/design/core.md, "Errors").
#pragma once

namespace hf {

[[noreturn]] void assert_failed(const char* expression, const char* file, int line);

}  // namespace hf

#define HF_ASSERT(expression) \
  (static_cast<bool>(expression) ? void(0) : ::hf::assert_failed(#expression, __FILE__, __LINE__))
