// What the operating system says of an error, in the form our sentences use it: "connection refused".
#pragma once

#include <string>

namespace hf::io {

std::string errno_text(int number);

}  // namespace hf::io
