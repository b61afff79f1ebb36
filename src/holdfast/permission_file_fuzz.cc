// Any bytes as a permissions file: permissions or sentences, never a crash; and what came of it answers.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "holdfast/permission_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf;
  const auto permissions =
      holdfast::parse_permissions({reinterpret_cast<const char*>(data), size}, "fuzz.toml");
  if (!permissions) {
    if (permissions.error().empty()) std::abort();
    for (const std::string& mistake : permissions.error()) {
      if (!mistake.starts_with("fuzz.toml:")) std::abort();
    }
    return 0;
  }
  if (permissions->everything()) std::abort();
  for (const identity::Action action : identity::kActions) {
    if (permissions->explain("anna", "press-7", action, "a/b").sentence.empty()) std::abort();
  }
  return 0;
}
