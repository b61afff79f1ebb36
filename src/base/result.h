// Result<T>: a value or an Error, for failures that are expected (a full disk, a rotten frame, a peer's
// mistake). An Error allocates nothing: a code, a static sentence and one number (an offset, an errno, a
// count).
#pragma once

#include <cstdint>
#include <expected>

namespace hf {

enum class Code : uint8_t {
  kInvalid,      // Bytes or arguments that break their grammar.
  kTruncated,    // Bytes end before the grammar does; more bytes may mend it.
  kTooLarge,     // Over a stated limit.
  kNotFound,     //
  kExists,       //
  kCorrupt,      // Bytes that were once right: bad checksum, bad tag.
  kWrongKey,     // Sound bytes, sealed by another key.
  kForeign,      // Belongs to another store, segment or node.
  kFull,         // No space, no quota.
  kIo,           // The disk or the network failed; `number` is errno where there is one.
  kDenied,       // Not allowed for this principal.
  kBusy,         // In use by somebody else.
  kUnsupported,  // A version or feature this build does not know.
};

// A short lower-case word for a code, for logs and JSON.
const char* code_name(Code code);

struct Error {
  Code code = Code::kInvalid;
  const char* text = "";  // Static storage; says what happened and, where it can, what to do.
  uint64_t number = 0;    // What `text` says it is.
};

template <typename T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Code code, const char* text, uint64_t number = 0) {
  return std::unexpected<Error>(Error{code, text, number});
}

}  // namespace hf

#define HF_CONCAT_INNER(a, b) a##b
#define HF_CONCAT(a, b) HF_CONCAT_INNER(a, b)

// HF_TRY(expr): returns the error of `expr` from the enclosing function, if it has one.
#define HF_TRY(expression)                                                                    \
  do {                                                                                        \
    if (auto hf_result = (expression); !hf_result) return std::unexpected(hf_result.error()); \
  } while (0)

// HF_TRY_ASSIGN(auto x, expr): the same, else binds the value.
#define HF_TRY_ASSIGN(target, expression) \
  HF_TRY_ASSIGN_INNER(HF_CONCAT(hf_try_, __LINE__), target, expression)
// NOLINTBEGIN(bugprone-macro-parentheses): a declaration and its name cannot have any.
#define HF_TRY_ASSIGN_INNER(temporary, target, expression)   \
  auto temporary = (expression);                             \
  if (!temporary) return std::unexpected(temporary.error()); \
  target = std::move(*temporary)
// NOLINTEND(bugprone-macro-parentheses)
