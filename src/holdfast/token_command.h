// What `holdfast token ls` prints.
#pragma once

#include <string>

#include "identity/tokens.h"

namespace hf::holdfast {

std::string tokens_table(const identity::Tokens& tokens);
std::string tokens_json(const identity::Tokens& tokens);

}  // namespace hf::holdfast
