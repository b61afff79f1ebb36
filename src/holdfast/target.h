// Which node a subcommand talks to, and how it answers: options that many subcommands share.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace hf::holdfast {

inline constexpr char kDataDefault[] = "/var/lib/holdfast";

struct Target {
  std::string data;    // --data DIR, or HOLDFAST_DATA; empty: the default.
  std::string socket;  // --socket PATH

  std::string data_directory() const { return data.empty() ? kDataDefault : data; }
  // --socket, or what the configuration in the data directory says, or admin.sock there.
  std::string admin_socket() const;
};

void add_data_option(CLI::App& command, Target* target);
// --config FILE
void add_config_option(CLI::App& command, std::string* config);
void add_target_options(CLI::App& command, Target* target);
// -o table|json
void add_output_option(CLI::App& command, std::string* output);

}  // namespace hf::holdfast
