// The configuration in effect, key by key, in the words of the file, and whether each stands there or is the default.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "holdfast/config_file.h"

namespace hf::holdfast {

struct ConfigValue {
  std::string key;  // "quota", "mqtt.session_expiry"
  std::string
      value;  // JSON: "4 GiB" with its quotes, false, null for "none", lists for [[route]] and [[event_time]].
  bool given = false;  // It stands in the file.
};

// In the order of docs/configuration.md. `data`: the data directory.
std::vector<ConfigValue> config_values(const Config& config, const std::string& data);

// Whether `key` is what was asked for: itself, or one of the section's. Empty: all are.
bool config_key_within(const std::string& asked, const std::string& key);
// There is none: a sentence that names the nearest.
std::string config_key_unknown(const std::string& asked);
nlohmann::ordered_json config_value_json(const ConfigValue& value);

}  // namespace hf::holdfast
