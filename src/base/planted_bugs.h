// Bugs put in on purpose, so that the simulator can show that it finds them. Each breaks one promise of the
// design at the line that keeps it. Only a build with HF_PLANTED_BUGS has them; everywhere else `planted` is
// the constant false and the compiler removes the branch.
//
// The chosen bug is the one global of the project: it exists in the simulator's build alone, is set before
// the world starts and never changes in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace hf {

enum class PlantedBug : uint8_t {
  kNone,
  kAckBeforeSync,             // broker: PUBACK and PUBREC leave before their commit is durable.
  kDeliverBeforeDurable,      // broker: QoS 1 and 2 deliveries leave before their commit is durable.
  kDeleteBeforeReceipt,       // link: a record sent is given up before its receipt.
  kReuseNumbersAfterCutTail,  // store: numbers of a cut tail are given again.
  kApplyHalfACommit,          // store: recovery applies a last commit that is not whole.
  kTrustNumberWithoutHash,    // link: HELLO believes a number whose hash differs.
  kTruncateAtRot,             // store: recovery cuts the log at a rotten frame instead of passing it.
  kForgetDirectorySync,       // store: a new segment's name is not synced.
  kPubcompBeforeState,        // broker: PUBREL and PUBCOMP leave before the state they speak of is durable.
  kForwardBeforeDurable,      // link: records go up before they are durable here.
};
inline constexpr int kPlantedBugCount = 11;

// "ack-before-sync"; "none" for kNone.
const char* planted_bug_name(PlantedBug bug);
// The inverse; nothing for a name that is none of these.
std::optional<PlantedBug> find_planted_bug(std::string_view name);

#if defined(HF_PLANTED_BUGS)
bool planted(PlantedBug bug);
void plant(PlantedBug bug);
#else
constexpr bool planted(PlantedBug) { return false; }
#endif

}  // namespace hf
