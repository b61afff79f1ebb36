// Asks a running node over its admin socket.
#pragma once

#include <expected>
#include <string>

#include "holdfast/admin.h"

namespace hf::holdfast {

// Why a subcommand ends early.
struct Failure {
  int exit_code = 1;
  std::string text;
};

// One request, one answer. Not being reached is kExitUnreachable; an answer that is an error is kExitFailed.
std::expected<AdminAnswer, Failure> ask(const std::string& socket_path, const AdminRequest& request);

}  // namespace hf::holdfast
