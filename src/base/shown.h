// What came from outside, as part of a sentence for people. Names and topics have up to 64 KiB, and whoever sends them
// chooses what is in them: a line of the log, or a column, must not be as long as a stranger likes.
#pragma once

#include <string>

#include "base/bytes.h"

namespace hf {

// Of a name that is shown.
inline constexpr size_t kNameShownBytesMax = 128;

// At most `bytes_max` (three or more) of a text: where it is longer it is cut between two characters, and ends with "…".
std::string cut_text(Bytes text, size_t bytes_max);

// "'anna'": a name in a sentence, cut.
std::string quoted_name(Bytes name);

}  // namespace hf
