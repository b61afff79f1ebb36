// Any text as a tokens file: what is taken says again what it said.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "identity/tokens.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf;
  const Bytes text(reinterpret_cast<const char*>(data), size);
  const auto tokens = identity::parse_tokens(text);
  if (!tokens) {
    if (tokens.error().empty()) std::abort();
    return 0;
  }
  std::string again;
  for (const auto& [name, token] : tokens->all()) again += identity::format_token(name, token) + "\n";
  const auto second = identity::parse_tokens(again);
  if (!second || second->all() != tokens->all()) std::abort();
  for (const auto& [name, token] : tokens->all()) {
    const auto without = identity::parse_tokens(identity::without_token(text, name));
    if (!without || without->all().size() + 1 != tokens->all().size()) std::abort();
  }
  return 0;
}
