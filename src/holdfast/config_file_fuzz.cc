// Any bytes as a configuration file: a configuration or sentences, never a crash.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "holdfast/config_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = hf::holdfast::parse_config({reinterpret_cast<const char*>(data), size}, "fuzz.toml");
  if (!config) {
    if (config.error().empty()) std::abort();
    for (const std::string& mistake : config.error()) {
      if (!mistake.starts_with("fuzz.toml:")) std::abort();
    }
  }
  return 0;
}
