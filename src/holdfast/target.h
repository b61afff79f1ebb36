// Which node a subcommand talks to, and how it answers: options that many subcommands share.
#pragma once

#include <string>

#include "holdfast/command_line.h"

namespace hf::holdfast {

inline constexpr char kDataDefault[] = "/var/lib/holdfast";

struct Target {
  std::string data;    // --data DIR, or HOLDFAST_DATA; empty: the default.
  std::string socket;  // --socket PATH

  std::string data_directory() const { return data.empty() ? kDataDefault : data; }
  // --socket, or what the configuration in the data directory says, or admin.sock there.
  std::string admin_socket() const;
};

void add_data_option(Command command, Target* target);
// --config FILE
void add_config_option(Command command, std::string* config);
void add_target_options(Command command, Target* target);
// -o table|json
void add_output_option(Command command, std::string* output);

}  // namespace hf::holdfast
