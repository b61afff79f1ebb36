// Base64 (RFC 4648, section 4) with one spelling for each run of bytes: what is not exactly what we would have
// written ourselves is refused. So two texts that differ never stand for the same secret.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace hf {

enum class Base64Padding : bool {
  kNone,  // As the strings of password hashes have it.
  kFull,  // '=' up to a multiple of four, as everything else has it.
};

std::string to_base64(Bytes bytes, Base64Padding padding = Base64Padding::kFull);

// Nothing if `text` has a character of another alphabet, white space, too much or too little padding, or bits set
// that no byte takes.
std::optional<std::string> from_base64(Bytes text, Base64Padding padding = Base64Padding::kFull);

}  // namespace hf
