// The configuration file: one TOML file, every key with a default. docs/configuration.md describes the keys.
//
// A file that is not right is refused as a whole, with every mistake that was found, one sentence each:
//     holdfast.toml:7: unknown key `lisen`; did you mean `listen`?
// A node that ran with half of what was meant would fail later and far away.
#pragma once

#include <expected>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "holdfast/mistakes.h"
#include "io/door.h"
#include "node/config.h"

namespace hf::holdfast {

struct ListenerConfig {
  io::DoorOptions door;
  Lines lines;
};

struct Config {
  node::Config node;
  std::string data;  // Empty: not said.
  std::vector<std::string> listen{"127.0.0.1:1883"};
  std::vector<ListenerConfig> listeners;
  std::optional<io::TlsClientFiles> upstream_tls;
  Lines upstream_lines;
  // Of these and those below load_config puts the configuration file's directory before a relative one.
  std::string admin_socket;  // Empty: admin.sock in the data directory.
  std::string key;           // Empty: key in the data directory.
  // The users file and the permissions file (identity_files.h). Empty: not said, users and permissions.toml in the data
  // directory.
  std::string users;
  std::string permissions;
  std::string tokens;  // Likewise: tokens.
  bool log_json = false;
  Lines lines;                  // Of what stands at the top.
  std::set<std::string> given;  // The keys that the file has: "quota", "mqtt.max_packet", "route".
};

// All that may stand in the file, as in `given`.
std::vector<std::string> known_config_keys();

// `name` stands before the line number in messages.
std::expected<Config, Mistakes> parse_config(std::string_view text, const std::string& name);
// A file that cannot be read is a mistake too. Paths of other files are taken from the file's directory on.
std::expected<Config, Mistakes> load_config(const std::string& path);

// What the files that it names are good for, and whether its socket can be: mistakes with their lines, and warnings for people.
struct FileCheck {
  Mistakes mistakes;
  std::vector<std::string> warnings;
};
// `data`: the data directory, for what lies there by default; empty: not known.
FileCheck check_files(const Config& config, const std::string& name, const std::string& data = {});

// A node's name is also part of topics and file names: 1 to 64 of letters, digits, '.', '_' and '-'.
bool node_name_valid(std::string_view name);

// What `init` writes.
std::string config_template(const std::string& node_name, const std::string& key_path);

}  // namespace hf::holdfast
