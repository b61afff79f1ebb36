// The sweeps: one small history, played again and again, each time with the power cut, or an error, at the next operation of
// the disk, until the history completes without reaching it. Nothing between two operations is left to chance.
#include "sim/scenario.h"

namespace hf::sim {

namespace {

// Bursts of large QoS 2 messages, so that a commit has several frames and a message's record and its packet identifier may
// stand in different ones; packet identifiers that are used again at once; traffic both ways. The network is much faster
// than the disk: what leaves too early arrives before the cut.
void live(Village& village) {
  for (int i = 0; i < 4 && !village.world.failed(); ++i) {
    village.burst(i == 2 ? 8 : 3);
    village.world.run_for(milliseconds(i == 1 ? 600 : 120));
  }
  village.world.run_for(milliseconds(1500));
}

const char* victim_name(uint32_t victim) { return victim == 0 ? "hub" : "site"; }

// Recovery that is itself cut, again and again, ends where an undisturbed one ends.
bool recovery_is_idempotent(World& world, uint32_t machine, Prng& prng, std::string* why) {
  const SimDisk before = world.backup(machine);
  const auto look = [&](SimDisk disk) {
    disk.cut_after(0);
    return examine(disk, world.kek(machine), world.store_options(machine), world.fence(machine),
                   world.now_at(machine));
  };
  const Result<Autopsy> calm = look(before);
  if (!calm) {
    *why = "the store does not open";
    return false;
  }
  SimDisk disk = before;
  for (int depth = 0; depth < 3; ++depth) {
    disk.cut_after(1 + prng.below(6));
    SimEntropy entropy(prng.next());
    store::OpenReport report;
    (void)store::Store::open(disk, entropy, world.kek(machine), world.store_options(machine),
                             world.fence(machine), world.now_at(machine), &report);
    disk.power_cut(kCutModels[prng.below(kCutModels.size())]);
  }
  const Result<Autopsy> rough = look(disk);
  if (!rough) {
    *why = "the store does not open after crashes in recovery";
    return false;
  }
  if (calm->digest_records != rough->digest_records || calm->items.size() != rough->items.size()) {
    *why = "after crashes in recovery the store has " + std::to_string(rough->items.size()) +
           " records, not " + std::to_string(calm->items.size());
    return false;
  }
  if (calm->digest_tables != rough->digest_tables) {
    *why = "after crashes in recovery the tables differ (" + std::to_string(rough->row_count) + " rows, " +
           std::to_string(calm->row_count) + " without)";
    return false;
  }
  return true;
}

}  // namespace

Verdict run_crash_sweep(const Run& run) {
  Verdict verdict;
  Prng prng(run.seed);
  for (uint32_t victim = 1; victim <= 1; --victim) {  // The site, then the hub.
    for (const CutModel model : kCutModels) {
      if (!run.wants("victim", victim_name(victim)) || !run.wants("model", cut_model_name(model))) continue;
      for (uint64_t k = 1;; ++k) {
        if (!run.wants("at", std::to_string(k))) {
          if (k > 100'000) break;
          continue;
        }
        Village village(run.seed, {}, run.aloud);
        World& world = village.world;
        if (world.set_up()) {
          world.set_cut_model(victim, model);
          world.disk(victim).cut_after(k);
          live(village);
          const bool reached = world.figures().power_cuts > 0;
          std::string why;
          Prng own(run.seed * 1'000'003 + k);
          if (reached && !world.failed() && world.running(victim) &&
              !recovery_is_idempotent(world, victim, own, &why)) {
            world.oracle().violate("idempotent", "%s: %s", victim_name(victim), why.c_str());
          }
          world.finish(seconds(120));
          if (!reached && !world.failed()) {
            verdict.add(world);
            break;
          }
        }
        const std::string which = std::string("victim=") + victim_name(victim) +
                                  ",model=" + cut_model_name(model) + ",at=" + std::to_string(k);
        if (!verdict.add(world, which)) return verdict;
        if (run.only.contains("at")) break;
      }
    }
    if (victim == 0) break;
  }
  return verdict;
}

Verdict run_error_sweep(const Run& run) {
  Verdict verdict;
  struct Kind {
    const char* name;
    Error error;
    uint32_t operations;
  };
  const auto bit = Injection::bit;
  const Kind kinds[] = {
      {"io", {Code::kIo, "injected: input/output error", 5}, Injection::kAll},
      {"full",
       {Code::kFull, "injected: no space left", 28},
       bit(Operation::kCreate) | bit(Operation::kWrite) | bit(Operation::kTruncate)},
  };
  for (const Kind& kind : kinds) {
    for (const bool forever : {false, true}) {
      if (!run.wants("error", kind.name) || !run.wants("forever", forever ? "yes" : "no")) continue;
      for (uint64_t n = 1;; ++n) {
        if (!run.wants("at", std::to_string(n))) {
          if (n > 100'000) break;
          continue;
        }
        Village village(run.seed, {}, run.aloud);
        World& world = village.world;
        bool reached = true;
        world.oracle().expect_evictions(village.site);  // A disk that fails may count as full.
        if (world.set_up()) {
          world.disk(village.site)
              .inject({.at = n, .forever = forever, .operations = kind.operations, .error = kind.error});
          live(village);
          reached = world.disk(village.site).failures() > 0;
          // A crash on top: what is in memory alone shows itself.
          if (!world.failed() && n % 2 == 0) {
            world.disk(village.site).heal();
            world.power_cut(village.site, CutModel::kLost, false, milliseconds(200));
          }
          world.finish(seconds(200));
        }
        const std::string which = std::string("error=") + kind.name + ",forever=" + (forever ? "yes" : "no") +
                                  ",at=" + std::to_string(n);
        if (!verdict.add(world, which)) return verdict;
        if (!reached || run.only.contains("at")) break;
      }
    }
  }
  return verdict;
}

Verdict run_birth(const Run& run) {
  Verdict verdict;
  for (const CutModel model : kCutModels) {
    if (!run.wants("model", cut_model_name(model))) continue;
    for (uint64_t k = 1;; ++k) {
      if (!run.wants("at", std::to_string(k))) {
        if (k > 100'000) break;
        continue;
      }
      World world(run.seed + k);
      world.trace().set_aloud(run.aloud);
      MachineOptions options;
      options.name = "site";
      options.config = small_config();
      const uint32_t site = world.add_machine(options);
      const uint32_t publisher = world.add_client(site, {.client_id = "p"});
      SimClient::Options subscriber;
      subscriber.client_id = "s";
      subscriber.subscriptions = {{"#", 2}};
      world.add_client(site, subscriber);
      world.set_cut_model(site, model);
      world.disk(site).cut_after(k);
      world.power_on(site);
      world.run_for(seconds(3));
      world.client(publisher).publish("first", 2, false, 100, world.now());
      world.serve(publisher);
      world.run_for(seconds(1));
      const bool reached = world.figures().power_cuts + world.figures().recovery_cuts > 0;
      world.finish(seconds(60));
      if (!verdict.add(world, std::string("model=") + cut_model_name(model) + ",at=" + std::to_string(k)))
        return verdict;
      if (!reached || run.only.contains("at")) break;
    }
  }
  return verdict;
}

}  // namespace hf::sim
