#include "holdfast/target.h"

#include <CLI/CLI.hpp>

#include "holdfast/config_file.h"

namespace hf::holdfast {

std::string Target::admin_socket() const {
  if (!socket.empty()) return socket;
  if (const auto config = load_config(data_directory() + "/holdfast.toml");
      config && !config->admin_socket.empty()) {
    return config->admin_socket;
  }
  return data_directory() + "/admin.sock";
}

void add_data_option(CLI::App& command, Target* target) {
  command
      .add_option("--data", target->data,
                  std::string("Data directory of the node (default ") + kDataDefault + ")")
      ->envname("HOLDFAST_DATA")
      ->type_name("DIR");
}

void add_config_option(CLI::App& command, std::string* config) {
  command.add_option("--config", *config, "Configuration file (default holdfast.toml in the data directory)")
      ->type_name("FILE");
}

void add_target_options(CLI::App& command, Target* target) {
  add_data_option(command, target);
  command
      .add_option("--socket", target->socket,
                  "Admin socket of the node (default admin.sock in the data directory)")
      ->type_name("PATH");
}

void add_output_option(CLI::App& command, std::string* output) {
  *output = "table";
  command.add_option("-o,--output", *output, "How to answer: table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("FORMAT");
}

}  // namespace hf::holdfast
