// The device's own time, where it stands in a JSON payload (configuration: [[event_time]]).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "node/config.h"

namespace hf::node {

// Microseconds since 1970 UTC from the field, or nothing: no JSON, no such field, not a time. Digits behind
// the microsecond are cut; a number is read as decimal text, never as floating point.
std::optional<int64_t> event_time_in(Bytes payload, const EventTimeField& field);

// A decimal number of units ("1594598424.5023336", "-1", "1.5e3") as microseconds. False if it is none or out
// of range.
bool scale_to_us(Bytes number, EventTimeField::Unit unit, int64_t* us);

}  // namespace hf::node
