// What `holdfast user ls` prints.
#pragma once

#include <string>

#include "identity/users.h"

namespace hf::holdfast {

std::string users_table(const identity::Users& users);
std::string users_json(const identity::Users& users);

}  // namespace hf::holdfast
