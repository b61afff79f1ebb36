// Whether a configuration would be taken, with its users, permissions and tokens: for `config test` and for who asks over HTTP.
#pragma once

#include <string>
#include <vector>

#include "holdfast/mistakes.h"

namespace hf::holdfast {

struct ConfigCheck {
  Mistakes mistakes;  // None: it would be taken.
  std::vector<std::string> warnings;
  std::vector<std::string> sentences;  // Of what is right, for people; if all is.
};
// `data`: where the files are that it does not name; `own_data`: unless the configuration says where.
ConfigCheck check_config(const std::string& path, const std::string& data, bool own_data);

}  // namespace hf::holdfast
