#include "holdfast/target.h"

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

void add_data_option(Command command, Target* target) {
  command
      .option("--data", "DIR", &target->data,
              std::string("Data directory of the node (default ") + kDataDefault + ")")
      .environment("HOLDFAST_DATA");
}

void add_config_option(Command command, std::string* config) {
  command.option("--config", "FILE", config,
                 "Configuration file (default holdfast.toml in the data directory)");
}

void add_target_options(Command command, Target* target) {
  add_data_option(command, target);
  command.option("--socket", "PATH", &target->socket,
                 "Admin socket of the node (default admin.sock in the data directory)");
}

void add_output_option(Command command, std::string* output) {
  *output = "table";
  command.option("-o,--output", "FORMAT", output, "How to answer: table or json").one_of({"table", "json"});
}

}  // namespace hf::holdfast
