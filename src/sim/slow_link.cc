// Twenty kilobits a second, a hundred thousand records of low priority in the queue, and then an alarm. The alarm is to reach
// the hub within three seconds, and the queue must not stand still for it. Beside it travels a record of half a megabyte that
// comes before the queue: it takes minutes, and neither the alarm nor the queue waits for it.
#include <algorithm>

#include "sim/scenario.h"

namespace hf::sim {

Verdict run_slow_link(const Run& run) {
  constexpr uint32_t kQueued = 100'000;
  constexpr int kAlarms = 20;
  constexpr size_t kImageBytes = 500'000;
  Verdict verdict;
  World world(run.seed);
  world.trace().set_aloud(run.aloud);
  const std::vector<node::Route> routes = {{.filter = "alarm/#", .stream = "alarms", .priority = 0},
                                           {.filter = "image/#", .stream = "images", .priority = 4},
                                           {.filter = "#", .stream = "telemetry", .priority = 9}};
  MachineOptions machine;
  machine.config.routes = routes;
  machine.disk_times = {.delay_max = milliseconds(5), .slow_per_mille = 0, .slow_max = {}};
  machine.name = "hub";
  const uint32_t hub = world.add_machine(machine);
  machine.name = "site";
  machine.parent = hub;
  const uint32_t site = world.add_machine(machine);
  PathOptions path;
  path.latency_min = milliseconds(150);
  path.latency_max = milliseconds(250);
  path.bytes_per_s = 2'500;
  path.chunk_bytes_max = 1'460;
  path.on_the_way_bytes_max = 4'096;  // TCP_NOTSENT_LOWAT and a modest congestion window.
  path.socket_buffer_bytes = 4'096;
  world.network().set_path(world.host(hub), world.host(site), path);
  SimClient::Options client;
  client.window = 1'000;
  client.client_id = "sensor";
  const uint32_t sensor = world.add_client(site, client);
  client.client_id = "guard";
  const uint32_t guard = world.add_client(site, client);
  client.client_id = "office";
  client.receive_maximum = 1'000;
  client.subscriptions = {{"#", 1}};
  const uint32_t office = world.add_client(hub, client);
  if (!world.set_up()) {
    verdict.add(world);
    return verdict;
  }
  world.block(site, hub, true, true);
  for (uint32_t i = 0; i < kQueued && !world.failed(); i += 2'000) {
    for (uint32_t j = 0; j < 2'000; ++j) world.client(sensor).publish("t/1", 1, false, 60, world.now());
    world.serve(sensor);
    world.run_to(seconds(60), [&] { return world.client(sensor).outgoing() == 0; });
  }
  world.unblock_all();
  world.trace().say("the link is back, %u records behind", kQueued);
  world.run_to(seconds(120), [&] { return world.node(site)->status(world.now_at(site)).link.up; });
  world.run_for(seconds(60));  // At full flow.

  const MessageId image = world.client(guard).publish("image/1", 1, false, kImageBytes, world.now());
  const Instant image_sent = world.now();
  std::optional<Duration> image_took;
  world.serve(guard);
  Duration worst;
  for (int i = 0; i < kAlarms && !world.failed(); ++i) {
    const uint64_t before = world.node(site)->status(world.now_at(site)).link.records_receipted;
    const Instant sent = world.now();
    const MessageId alarm = world.client(guard).publish("alarm/fire", 1, false, 40, world.now());
    world.serve(guard);
    if (!world.run_to(
            seconds(60), [&] { return world.oracle().count(office, alarm) > 0; }, milliseconds(10))) {
      if (!world.failed()) world.oracle().violate("prompt", "alarm %d did not arrive in a minute", i);
      break;
    }
    worst = std::max(worst, world.now() - sent);
    if (!image_took && world.oracle().count(office, image) > 0) image_took = world.now() - image_sent;
    const node::LinkStatus link = world.node(site)->status(world.now_at(site)).link;
    world.trace().say(
        "alarm %d took %lld ms; %llu records receipted, %llu behind, goodput %llu bytes/s, %llu bytes "
        "delivered",
        i, static_cast<long long>(to_ms(world.now() - sent)),
        static_cast<unsigned long long>(link.records_receipted),
        static_cast<unsigned long long>(link.backlog_count),
        static_cast<unsigned long long>(link.goodput_bytes_s),
        static_cast<unsigned long long>(world.network().delivered_bytes(world.host(site), world.host(hub))));
    const Duration pause = milliseconds(static_cast<int64_t>(world.prng().below(60'000)));
    world.run_until(sent + seconds(60) + pause);
    if (world.node(site)->status(world.now_at(site)).link.records_receipted < before + 10) {
      world.oracle().violate("prompt", "the queue stood still for a minute beside alarm %d", i);
    }
  }
  if (!image_took && !world.failed())
    world.oracle().violate("prompt", "the large record did not arrive beside %d alarms", kAlarms);
  const uint64_t receipted =
      world.node(site) == nullptr ? 0 : world.node(site)->status(world.now_at(site)).link.records_receipted;
  char note[120];
  std::snprintf(
      note, sizeof note, "worst alarm %lld.%03lld s, %llu records receipted, %llu bytes on the wire",
      static_cast<long long>(to_ms(worst) / 1000), static_cast<long long>(to_ms(worst) % 1000),
      static_cast<unsigned long long>(receipted),
      static_cast<unsigned long long>(world.network().delivered_bytes(world.host(site), world.host(hub))));
  verdict.note = note;
  if (worst > seconds(3))
    world.oracle().violate("prompt", "an alarm took %lld ms to the hub",
                           static_cast<long long>(to_ms(worst)));
  verdict.add(world);
  return verdict;
}

}  // namespace hf::sim
