// Asking before something is lost.
#pragma once

#include <expected>
#include <string>

#include "holdfast/admin_client.h"

namespace hf::holdfast {

// Says on standard error what will happen, and asks whoever sits at the terminal. No is a Failure; that nobody sits there, too:
// it names --yes.
std::expected<void, Failure> confirm(const std::string& what);

}  // namespace hf::holdfast
