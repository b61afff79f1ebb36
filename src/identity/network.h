// Whose an address is. A site of IPv6 is given 2^64 addresses or more and may use another for each attempt, so what is counted
// by address is counted by its first 64 bits; an address of IPv4 stands for itself, also where it is written as one of IPv6.
#pragma once

#include <string>

#include "base/bytes.h"

namespace hf::identity {

// "192.0.2.1" -> the same, "[2001:db8:0:1::5]" -> "2001:db8:0:1::/64", "::ffff:192.0.2.1" -> "192.0.2.1"; what is neither, as it
// is.
std::string network_of(Bytes address);

}  // namespace hf::identity
