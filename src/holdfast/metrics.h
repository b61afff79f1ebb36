// What a node says of itself to Prometheus, in its text format 0.0.4. No client identifier and no topic is ever a label: the
// number of series depends on the configuration alone.
#pragma once

#include <string>

#include "holdfast/status_text.h"
#include "io/event_loop.h"

namespace hf::holdfast {

// Tokens that were refused over HTTP, since the start.
struct TokenFailures {
  uint64_t missing = 0;
  uint64_t wrong = 0;
  uint64_t throttled = 0;
  uint64_t role = 0;  // Good ones, for something else.
};

std::string metrics_text(const StatusView& view, const io::LoopFigures& loop, const TokenFailures& tokens);

}  // namespace hf::holdfast
