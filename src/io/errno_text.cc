#include "io/errno_text.h"

#include <cctype>
#include <system_error>

namespace hf::io {

std::string errno_text(int number) {
  std::string text = std::generic_category().message(number);
  // "Connection refused", but "RPC struct is bad" stays.
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

}  // namespace hf::io
