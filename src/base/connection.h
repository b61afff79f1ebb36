// The name of a transport connection. io/ and sim/ count upwards and never use one twice, so a late event for
// a connection that is gone is an ordinary miss.
#pragma once

#include <cstdint>

namespace hf {

using ConnectionId = uint64_t;  // 0 names none.

}  // namespace hf
