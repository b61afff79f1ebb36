#include "base/planted_bugs.h"

#include "base/assert.h"

namespace hf {

namespace {

constexpr const char* kNames[kPlantedBugCount] = {
    "none",
    "ack-before-sync",
    "deliver-before-durable",
    "delete-before-receipt",
    "reuse-numbers-after-cut-tail",
    "apply-half-a-commit",
    "trust-number-without-hash",
    "truncate-at-rot",
    "forget-directory-sync",
    "pubcomp-before-state",
    "forward-before-durable",
};

}  // namespace

const char* planted_bug_name(PlantedBug bug) {
  const int index = static_cast<int>(bug);
  HF_ASSERT(index < kPlantedBugCount);
  return kNames[index];
}

std::optional<PlantedBug> find_planted_bug(std::string_view name) {
  for (int index = 0; index < kPlantedBugCount; ++index) {
    if (name == kNames[index]) return static_cast<PlantedBug>(index);
  }
  return std::nullopt;
}

#if defined(HF_PLANTED_BUGS)

namespace {
PlantedBug chosen = PlantedBug::kNone;
}  // namespace

bool planted(PlantedBug bug) { return bug == chosen; }
void plant(PlantedBug bug) { chosen = bug; }

#endif

}  // namespace hf
