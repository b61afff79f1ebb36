#include "sim/scenario.h"

namespace hf::sim {

namespace {

constexpr Scenario kScenarios[] = {
    {"swarm", "random tree, clients and faults; then peace, and everything arrives", true, run_swarm},
    {"three-in-a-row", "the same with ship, fleet and company in a row", true, run_three_in_a_row},
    {"crash-sweep", "the power goes at every disk operation, under every model", false, run_crash_sweep},
    {"error-sweep", "every disk operation fails, once and for ever, with EIO and ENOSPC", false,
     run_error_sweep},
    {"birth", "the power goes at every disk operation of a first start", false, run_birth},
    {"restored-child", "a site is put back to a backup", true, run_restored_child},
    {"cloned-child", "two copies of one site report to one hub", true, run_cloned_child},
    {"restored-hub", "the hub is put back to a backup", true, run_restored_hub},
    {"pressure", "the link is down and the disk too small", true, run_pressure},
    {"rot", "bytes of a store flip, one at a time", false, run_rot},
    {"rot-tail", "the last commit rots after it was acknowledged and forwarded", true, run_rot_tail},
    {"garbage-directory", "a node starts on whatever is in its directory", true, run_garbage_directory},
    {"slow-link", "an alarm behind 100,000 records on 20 kbit/s", false, run_slow_link},
};

}  // namespace

std::span<const Scenario> scenarios() { return kScenarios; }

const Scenario* find_scenario(const std::string& name) {
  for (const Scenario& scenario : kScenarios) {
    if (name == scenario.name) return &scenario;
  }
  return nullptr;
}

bool Verdict::add(World& world, const std::string& which) {
  ++cases;
  trace = (trace ^ world.trace().hash()) * 0x100000001b3;
  messages += world.oracle().message_count();
  deliveries += world.oracle().deliveries();
  crashes += world.figures().power_cuts + world.figures().kills + world.figures().recovery_cuts;
  simulated = simulated + (world.now() - Instant{});
  if (!world.failed()) return true;
  violation = world.oracle().violation();
  story.assign(world.trace().story().begin(), world.trace().story().end());
  if (!which.empty()) replay = "--only " + which;
  return false;
}

bool Verdict::fail(const std::string& what, const std::string& which) {
  violation = what;
  if (!which.empty()) replay = "--only " + which;
  return false;
}

Village::Village(uint64_t seed, const Options& options, bool aloud) : world(seed), qos_max(options.qos_max) {
  world.trace().set_aloud(aloud);
  MachineOptions machine;
  machine.config = small_config();
  machine.config.quota_bytes = options.quota_bytes;
  machine.disk_times = {.delay_max = options.disk_delay_max, .slow_per_mille = 0, .slow_max = {}};
  machine.name = "hub";
  hub = world.add_machine(machine);
  machine.name = "site";
  machine.parent = hub;
  machine.down_filters = options.down_filters;
  site = world.add_machine(machine);

  SimClient::Options client;
  client.redial_max = milliseconds(300);
  client.client_id = "bulk";
  bulk = world.add_client(site, client);
  client.client_id = "small";
  client.version = mqtt::Version::k311;
  small = world.add_client(site, client);
  client.client_id = "command";
  command = world.add_client(hub, client);
  client.acknowledge_max = milliseconds(5);
  client.subscriptions = {{"#", options.qos_max}};
  client.version = mqtt::Version::k5;
  if (options.hub_subscriber) {
    client.client_id = "office";
    world.add_client(hub, client);
  }
  if (options.site_subscriber) {
    client.client_id = "panel";
    world.add_client(site, client);
  }
}

void Village::burst(uint32_t count, size_t bulk_bytes_max) {
  Prng& prng = world.prng();
  for (uint32_t i = 0; i < count; ++i) {
    world.client(bulk).publish("bulk/" + std::to_string(i % 2), qos_max, false, prng.below(bulk_bytes_max),
                               world.now());
    world.client(small).publish("small/a", 1, false, prng.below(60), world.now());
    if (i % 2 == 0)
      world.client(command).publish("down/command", qos_max, false, prng.below(200), world.now());
  }
  for (const uint32_t client : {bulk, small, command}) world.serve(client);
}

}  // namespace hf::sim
