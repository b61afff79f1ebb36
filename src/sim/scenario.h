// Scenarios: what happens in a world, and what is to come of it. Each is a function of a seed; the standing ones also sweep
// through cases (every disk operation, every cut model) and then name the case that failed, so that it can be played alone.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "sim/world.h"

namespace hf::sim {

struct Run {
  uint64_t seed = 1;
  bool aloud = false;
  // A single case of a sweep: "at=12,model=torn" on the command line.
  std::map<std::string, std::string> only;

  bool wants(const std::string& key, const std::string& value) const {
    const auto it = only.find(key);
    return it == only.end() || it->second == value;
  }
};

struct Verdict {
  std::string violation;  // Empty: all is well.
  std::string replay;     // More arguments that lead to the failing case: "--only at=12,model=torn".
  std::vector<std::string> story;
  uint64_t trace = 0xcbf29ce484222325;
  uint64_t cases = 0;
  uint64_t messages = 0;
  uint64_t deliveries = 0;
  uint64_t crashes = 0;
  Duration simulated;
  std::string note;  // A figure worth printing.

  bool ok() const { return violation.empty(); }
  // Takes what a world came to. False if it failed; `which` says how to come back to it.
  bool add(World& world, const std::string& which = "");
  // The same for a finding outside any world.
  bool fail(const std::string& what, const std::string& which);
};

struct Scenario {
  const char* name;
  const char* about;
  bool seeds;  // Cheap, and different with each seed: worth running hundreds of times.
  Verdict (*run)(const Run& run);
};

std::span<const Scenario> scenarios();
const Scenario* find_scenario(const std::string& name);

// One for each file.
Verdict run_swarm(const Run& run);
Verdict run_three_in_a_row(const Run& run);
Verdict run_crash_sweep(const Run& run);
Verdict run_error_sweep(const Run& run);
Verdict run_birth(const Run& run);
Verdict run_restored_child(const Run& run);
Verdict run_cloned_child(const Run& run);
Verdict run_restored_hub(const Run& run);
Verdict run_slow_link(const Run& run);
Verdict run_pressure(const Run& run);
Verdict run_rot(const Run& run);
Verdict run_rot_tail(const Run& run);
Verdict run_garbage_directory(const Run& run);

// --- A hub and a site with a few clients, which most standing scenarios start from.
struct Village {
  struct Options {
    bool hub_subscriber = true;
    bool site_subscriber = true;
    uint8_t qos_max = 2;
    std::vector<std::string> down_filters = {"down/#"};
    Duration disk_delay_max = milliseconds(15);
    uint64_t quota_bytes = 64 << 20;
  };
  Village(uint64_t seed, const Options& options, bool aloud);

  World world;
  uint32_t hub = 0;
  uint32_t site = 0;
  uint32_t bulk = 0;     // Publisher at the site: large, at the highest QoS.
  uint32_t small = 0;    // Publisher at the site: small, QoS 1.
  uint32_t command = 0;  // Publisher at the hub, to the site.
  uint8_t qos_max = 2;

  // `count` messages of each, at once.
  void burst(uint32_t count, size_t bulk_bytes_max = 9000);
};

}  // namespace hf::sim
