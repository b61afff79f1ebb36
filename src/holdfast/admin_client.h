// Asks a running node over its admin socket.
#pragma once

#include <expected>
#include <string>

#include "holdfast/admin.h"
#include "io/file_descriptor.h"

namespace hf::holdfast {

// Why a subcommand ends early.
struct Failure {
  int exit_code = 1;
  std::string text;
};

// Waits two seconds for a node that was started just now. The error is errno's.
std::expected<io::FileDescriptor, int> connect_to_node(const std::string& socket_path);

// One request, one answer. Not being reached is kExitUnreachable; an answer that is an error is kExitFailed.
std::expected<AdminAnswer, Failure> ask(const std::string& socket_path, const AdminRequest& request);

}  // namespace hf::holdfast
