// Backups that come back and machines that were cloned: a store that does not know what it said before. Numbers are given
// again, marks are behind, and only hashes tell.
#include "sim/scenario.h"

namespace hf::sim {

namespace {

bool quiet(World& world) {
  std::string why;
  if (world.run_to(seconds(60), [&] { return world.converged(&why); })) return true;
  if (!world.failed()) world.oracle().violate("drained", "before anything went wrong: %s", why.c_str());
  return false;
}

void bursts(Village& village, int count, Duration pause) {
  for (int i = 0; i < count && !village.world.failed(); ++i) {
    village.burst(3, 2000);
    village.world.run_for(pause);
  }
}

// Whether the copy lies in another directory of another machine, as far as the store can tell.
void move_if(World& world, uint32_t machine, bool moved) {
  if (moved) world.set_fence(machine, world.fence(machine) + ", restored elsewhere");
}

Village::Options gentle() {
  Village::Options options;
  options.disk_delay_max = milliseconds(4);
  return options;
}

}  // namespace

Verdict run_restored_child(const Run& run) {
  Verdict verdict;
  Village village(run.seed, gentle(), run.aloud);
  World& world = village.world;
  world.expect_forks();
  const bool moved = run.seed % 4 == 3;  // Most backups come back to the same machine: only hashes tell.
  const bool rough = run.seed % 2 == 1;  // In the middle of things.
  if (world.set_up()) {
    bursts(village, 3, milliseconds(200));
    quiet(world);
    world.run_for(seconds(12));
    const SimDisk backup = world.backup(village.site);
    const Instant backed_up = world.now();
    world.trace().say("backup of the site");

    bursts(village, 2 + static_cast<int>(run.seed % 3), milliseconds(200));
    if (!rough) quiet(world);
    world.oracle().expect_rollback(village.site);
    world.oracle().excuse([&](MessageId, Message& message) {
      if (message.sent_at < backed_up) return;
      // The site forgets these; the hub may have them. What comes down comes down again.
      message.may_be_lost = message.node == village.site;
      message.may_double_at |= 1u << village.site;
      // Its publisher does not know whether the site has it, and sends it again to a site that does not know it.
      if (!message.completed && !(message.qos == 1 && message.acknowledged_at)) message.may_double_at = ~0u;
    });
    world.set_examine_crashes(false);
    world.power_cut(village.site, CutModel::kLost, false, std::nullopt);
    world.trace().say("the site is put back to its backup%s", moved ? ", on another machine" : "");
    world.replace_disk(village.site, backup);
    move_if(world, village.site, moved);
    for (uint32_t client = 0; client < world.client_count(); ++client) world.client(client).forget_inbound();
    world.set_examine_crashes(true);
    // The site takes new messages before its link is up: numbers that the hub knows are given again.
    world.block(village.site, village.hub, true, true);
    world.power_on(village.site);
    world.run_for(seconds(1));
    bursts(village, 2, milliseconds(300));
    world.unblock_all();
    bursts(village, 2, milliseconds(300));
    world.finish(seconds(300));
    verdict.note = std::to_string(world.forks_seen()) + " forks";
  }
  verdict.add(world);
  return verdict;
}

Verdict run_cloned_child(const Run& run) {
  Verdict verdict;
  Village::Options options = gentle();
  options.down_filters = {};        // Who gets what comes down is a matter of luck with two of one name.
  options.site_subscriber = false;  // The clone would keep a session whose client never comes.
  Village village(run.seed, options, run.aloud);
  World& world = village.world;
  world.expect_forks();
  world.links_may_be_down();
  if (world.set_up()) {
    bursts(village, 2, milliseconds(200));
    quiet(world);
    world.run_for(seconds(12));

    world.trace().say("the site is cloned");
    MachineOptions machine = world.options(village.site);
    machine.name = "clone";
    const uint32_t clone = world.add_machine(machine);
    SimClient::Options client;
    client.redial_max = milliseconds(300);
    client.client_id = "clone-bulk";
    const uint32_t publisher = world.add_client(clone, client);
    world.set_kek(clone, world.kek(village.site));
    world.set_fence(clone, world.fence(village.site));
    move_if(world, clone, run.seed % 3 == 2);
    world.replace_disk(clone, world.backup(village.site));
    world.oracle().expect_rollback(village.site);
    world.oracle().expect_rollback(clone);
    world.power_on(clone);

    // Now the one, now the other has the line.
    for (int turn = 0; turn < 6 && !world.failed(); ++turn) {
      world.unblock_all();
      const bool both = turn % 3 == 2;
      if (!both) world.block(turn % 2 == 0 ? village.site : clone, village.hub, true, true);
      for (int i = 0; i < 4; ++i) {
        village.burst(1, 500);
        world.client(publisher).publish("bulk/clone", 2, false, world.prng().below(500), world.now());
        world.client(publisher).publish("small/clone", 1, false, world.prng().below(50), world.now());
        world.serve(publisher);
        world.run_for(milliseconds(900));
      }
    }
    world.finish(seconds(400));
    verdict.note = std::to_string(world.forks_seen()) + " forks";
  }
  verdict.add(world);
  return verdict;
}

Verdict run_restored_hub(const Run& run) {
  Verdict verdict;
  Village village(run.seed, gentle(), run.aloud);
  World& world = village.world;
  world.expect_forks();
  const bool moved = run.seed % 4 == 3;
  const bool rough = run.seed % 2 == 1;
  if (world.set_up()) {
    bursts(village, 3, milliseconds(200));
    quiet(world);
    world.run_for(seconds(12));
    const SimDisk backup = world.backup(village.hub);
    const Instant backed_up = world.now();
    world.trace().say("backup of the hub");

    bursts(village, 2 + static_cast<int>(run.seed % 3), milliseconds(200));
    if (!rough) quiet(world);
    world.oracle().expect_rollback(village.hub);
    world.oracle().expect_rollback(village.site);
    world.oracle().excuse([&](MessageId, Message& message) {
      if (message.sent_at < backed_up) return;
      // What was handed in at the hub itself is gone with it. What the site sent up it still has, and sends again: the hub
      // and its subscribers see it a second time. What the hub sent down under numbers it forgot may come again.
      message.may_be_lost = message.node == village.hub;
      message.may_double_at = ~0u;
    });
    world.set_examine_crashes(false);
    world.power_cut(village.hub, CutModel::kLost, false, std::nullopt);
    world.trace().say("the hub is put back to its backup%s", moved ? ", on another machine" : "");
    world.replace_disk(village.hub, backup);
    move_if(world, village.hub, moved);
    for (uint32_t client = 0; client < world.client_count(); ++client) world.client(client).forget_inbound();
    world.set_examine_crashes(true);
    world.block(village.site, village.hub, true, true);
    world.power_on(village.hub);
    world.run_for(seconds(1));
    bursts(village, 2, milliseconds(300));
    world.unblock_all();
    bursts(village, 2, milliseconds(300));
    world.finish(seconds(300));
    verdict.note = std::to_string(world.forks_seen()) + " forks";
  }
  verdict.add(world);
  return verdict;
}

}  // namespace hf::sim
