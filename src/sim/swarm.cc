// The swarm: a random tree of nodes, random clients and messages, and faults whose rates are drawn anew for each seed, many
// of them zero, so that some seeds meet one kind of fault often and others many kinds together. Then peace: the faults stop
// and within bounded time every backlog must be gone and everything be where it belongs.
#include <algorithm>

#include "sim/scenario.h"

namespace hf::sim {

namespace {

enum class Shape : uint8_t { kHubAndSite, kHubAndTwoSites, kThreeInARow };

// Mean time between two faults of a kind; 0: never in this seed.
struct FaultRates {
  Duration power_cut;
  Duration kill;
  Duration pause;
  Duration partition;
  Duration one_way;
  Duration reset;
  Duration black_hole;
  Duration client_leaves;
  Duration disk_errors;
  Duration disk_full;
  Duration clock_step;
  Duration network_change;
};

// Draws stand in statements of their own: the order in which a call's arguments are evaluated is the compiler's, and the same
// seed must tell the same history with any.
class Swarm {
 public:
  Swarm(uint64_t seed, std::optional<Shape> shape, bool aloud) : world(seed), prng_(world.prng()) {
    world.trace().set_aloud(aloud);
    build(shape.value_or(static_cast<Shape>(prng_.below(3))));
  }

  void run() {
    if (!world.set_up()) return;
    span_ = seconds(15) + Duration{static_cast<int64_t>(prng_.below(30'000'000'000))};
    end_ = world.now() + span_;
    draw_rates();
    for (const Publisher& publisher : publishers_) schedule_publish(publisher);
    schedule_faults();
    world.run_until(end_);
    world.finish(seconds(400));
  }

  World world;

 private:
  struct Publisher {
    uint32_t client = 0;
    std::vector<std::string> topics;  // The QoS of a topic stands in its name: "q1".
    Duration mean;                    // Between two messages.
    size_t large_per_mille = 0;
  };

  Duration up_to(Duration most) {
    return Duration{static_cast<int64_t>(prng_.below(static_cast<uint64_t>(most.ns) + 1))};
  }

  void build(Shape shape) {
    const bool fast_disk = prng_.chance(1, 3);
    const auto machine = [&](const char* name, std::optional<uint32_t> parent,
                             std::vector<std::string> down) {
      // Half of them are called by a prefix at their parent, and reached by it.
      std::string prefix;
      if (parent && prng_.chance(1, 2)) {
        prefix = std::string("sites/") + name + "/";
        down.push_back(prefix + "cmd/#");
        if (std::string(name) == "fleet") down.push_back(prefix + "sites/ship-1/cmd/#");
      }
      MachineOptions options;
      options.name = name;
      options.parent = parent;
      options.down_filters = std::move(down);
      options.prefix = prefix;
      options.config = small_config();
      options.config.segment_bytes_min = uint64_t{64 << 10} << prng_.below(3);
      options.config.segment_bytes_max = options.config.segment_bytes_min << prng_.below(2);
      if (options.config.segment_bytes_max < 128 << 10) options.config.segment_bytes_max = 128 << 10;
      if (prng_.chance(1, 2))
        options.config.routes = {{.filter = "alarm/#", .stream = "alarms", .priority = 0},
                                 {.filter = "bulk/#", .stream = "bulk", .priority = 9}};
      options.disk_times.delay_max =
          fast_disk ? microseconds(300) : milliseconds(static_cast<int64_t>(1 + prng_.below(40)));
      options.disk_times.slow_per_mille = static_cast<uint32_t>(prng_.below(30));
      if (prng_.chance(1, 3)) options.drift_ppm = static_cast<int64_t>(prng_.below(1001)) - 500;
      options.clock_set = !prng_.chance(1, 4);
      return world.add_machine(std::move(options));
    };
    const uint32_t hub = machine("company", std::nullopt, {});
    if (shape == Shape::kThreeInARow) {
      const uint32_t fleet = machine("fleet", hub, {"down/fleet/#", "down/ship-1/#"});
      machine("ship-1", fleet, {"down/ship-1/#"});
    } else {
      machine("ship-1", hub, {"down/ship-1/#"});
      if (shape == Shape::kHubAndTwoSites) machine("ship-2", hub, {"down/ship-2/#", "down/ship-1/q1/shared"});
    }

    // Paths between machines: from a good line to a poor one.
    PathOptions path;
    path.latency_max = milliseconds(static_cast<int64_t>(1 + prng_.below(prng_.chance(1, 3) ? 600 : 30)));
    path.latency_min = path.latency_max / 4;
    if (prng_.chance(1, 4)) path.bytes_per_s = 20'000 + prng_.below(200'000);
    if (path.bytes_per_s > 0) path.chunk_bytes_max = 1460;
    for (uint32_t a = 0; a < world.machine_count(); ++a) {
      for (uint32_t b = 0; b < a; ++b) world.network().set_path(world.host(a), world.host(b), path);
    }

    for (uint32_t at = 0; at < world.machine_count(); ++at) add_clients(at);
  }

  SimClient::Options client_options(const std::string& name) {
    SimClient::Options options;
    options.client_id = name;
    options.version = prng_.chance(1, 2) ? mqtt::Version::k5 : mqtt::Version::k311;
    options.receive_maximum = static_cast<uint16_t>(1 + prng_.below(20));
    options.window = static_cast<uint32_t>(1 + prng_.below(16));
    options.acknowledge_max =
        prng_.chance(1, 2) ? Duration{} : milliseconds(static_cast<int64_t>(prng_.below(300)));
    options.redial_max = milliseconds(static_cast<int64_t>(100 + prng_.below(2000)));
    return options;
  }

  void add_clients(uint32_t at) {
    const std::string& place = world.options(at).name;
    const uint64_t publishers = 1 + prng_.below(2);
    for (uint64_t i = 0; i < publishers; ++i) {
      Publisher publisher;
      const std::string name = place + "-p" + std::to_string(i);
      publisher.client = world.add_client(at, client_options(name));
      const char* kinds[] = {"data/", "alarm/", "bulk/"};
      for (int qos = 0; qos <= 2; ++qos) {
        if (qos == 0 && prng_.chance(1, 2)) continue;
        publisher.topics.push_back(kinds[prng_.below(3)] + name + "/q" + std::to_string(qos));
      }
      if (prng_.chance(1, 2)) {
        const char* ships[] = {"fleet", "ship-1", "ship-2"};
        const std::string ship = ships[prng_.below(3)];
        const std::string qos = std::to_string(1 + prng_.below(2));
        publisher.topics.push_back("down/" + ship + "/q" + qos + "/" + name);
      }
      if (prng_.chance(1, 2)) {
        const char* places[] = {"fleet", "ship-1", "ship-2", "fleet/sites/ship-1"};
        const std::string to = places[prng_.below(4)];
        publisher.topics.push_back("sites/" + to + "/cmd/q" + std::to_string(1 + prng_.below(2)) + "/" +
                                   name);
      }
      publisher.mean = milliseconds(static_cast<int64_t>(100 + prng_.below(1200)));
      publisher.large_per_mille = prng_.chance(1, 2) ? prng_.below(200) : 0;
      publishers_.push_back(std::move(publisher));
    }
    const uint64_t subscribers = 1 + prng_.below(2);
    for (uint64_t i = 0; i < subscribers; ++i) {
      SimClient::Options options = client_options(place + "-s" + std::to_string(i));
      options.persistent = i == 0 || prng_.chance(2, 3);
      options.subscriptions = {{"#", static_cast<uint8_t>(1 + prng_.below(2))}};
      if (prng_.chance(1, 3)) options.subscriptions = {{"alarm/#", 1}, {"data/+/q2", 2}, {"down/#", 2}};
      if (prng_.chance(1, 4)) options.subscriptions.push_back({"+/+/q1", 1});  // Overlaps.
      world.add_client(at, std::move(options));
    }
    if (prng_.chance(1, 3)) add_workers(at);
  }

  // Two or three that take turns at one shared subscription; the first one stays.
  void add_workers(uint32_t at) {
    const uint64_t workers = 2 + prng_.below(2);
    bool all_stay = true;
    std::vector<SimClient::Options> group;
    for (uint64_t i = 0; i < workers; ++i) {
      SimClient::Options options = client_options(world.options(at).name + "-w" + std::to_string(i));
      options.persistent = i == 0 || prng_.chance(2, 3);
      all_stay = all_stay && options.persistent;
      group.push_back(std::move(options));
    }
    // What was leased at QoS 2 to a session that ends is given up.
    const auto qos = static_cast<uint8_t>(all_stay ? 1 + prng_.below(2) : 1);
    uint32_t first = 0;
    for (size_t i = 0; i < group.size(); ++i) {
      group[i].subscriptions = {{"$share/workers/#", qos}};
      const uint32_t client = world.add_client(at, std::move(group[i]));
      if (i == 0) {
        first = client;
      } else {
        world.oracle().share(first, client);
      }
    }
  }

  void draw_rates() {
    const auto rate = [&](int64_t mean_ms) {
      return prng_.chance(1, 2) ? Duration{}
                                : milliseconds(mean_ms / 2 + static_cast<int64_t>(prng_.below(mean_ms)));
    };
    rates_ = {.power_cut = rate(9'000),
              .kill = rate(12'000),
              .pause = rate(15'000),
              .partition = rate(10'000),
              .one_way = rate(20'000),
              .reset = rate(4'000),
              .black_hole = rate(15'000),
              .client_leaves = rate(4'000),
              .disk_errors = prng_.chance(1, 3) ? rate(15'000) : Duration{},
              .disk_full = prng_.chance(1, 3) ? rate(15'000) : Duration{},
              .clock_step = rate(15'000),
              .network_change = rate(6'000)};
  }

  void schedule_publish(const Publisher& publisher) {
    world.after(up_to(publisher.mean * 2), [this, publisher] {
      if (world.now() >= end_) return;
      const std::string& topic = publisher.topics[prng_.below(publisher.topics.size())];
      const auto qos = static_cast<uint8_t>(topic[topic.find("/q") + 2] - '0');
      const uint64_t count = prng_.chance(1, 8) ? 1 + prng_.below(8) : 1;
      for (uint64_t i = 0; i < count; ++i) {
        const bool large = prng_.chance(publisher.large_per_mille, 1000);
        world
            .client(publisher.client)
            // More than a batch on most of these paths: such a record travels in pieces.
            .publish(topic, qos, false, prng_.below(large ? 30'000 : 300), world.now());
      }
      world.serve(publisher.client);
      schedule_publish(publisher);
    });
  }

  void every(Duration mean, void (Swarm::*fault)()) {
    if (mean.ns == 0) return;
    world.after(up_to(mean * 2), [this, mean, fault] {
      if (world.now() >= end_) return;
      (this->*fault)();
      every(mean, fault);
    });
  }

  void schedule_faults() {
    every(rates_.power_cut, &Swarm::power_cut);
    every(rates_.kill, &Swarm::kill);
    every(rates_.pause, &Swarm::pause);
    every(rates_.partition, &Swarm::partition);
    every(rates_.one_way, &Swarm::one_way);
    every(rates_.reset, &Swarm::reset);
    every(rates_.black_hole, &Swarm::black_hole);
    every(rates_.client_leaves, &Swarm::client_leaves);
    every(rates_.disk_errors, &Swarm::disk_errors);
    every(rates_.disk_full, &Swarm::disk_full);
    every(rates_.clock_step, &Swarm::clock_step);
    every(rates_.network_change, &Swarm::network_change);
    for (uint32_t i = 0; i < world.machine_count(); ++i) {
      world.after(up_to(span_), [this, i] { world.set_clock(i); });
    }
  }

  uint32_t any_machine() { return static_cast<uint32_t>(prng_.below(world.machine_count())); }

  void power_cut() {
    const uint32_t machine = any_machine();
    if (prng_.chance(1, 3)) world.crash_recoveries(machine, static_cast<uint32_t>(1 + prng_.below(3)));
    const CutModel model = kCutModels[prng_.below(kCutModels.size())];
    world.set_cut_model(machine, model);
    const bool middle = prng_.chance(1, 2);
    world.power_cut(machine, model, middle,
                    milliseconds(100) + up_to(prng_.chance(1, 4) ? seconds(12) : seconds(1)));
  }

  void kill() {
    const uint32_t machine = any_machine();
    world.kill(machine, milliseconds(50) + up_to(seconds(2)));
  }

  void pause() {
    const uint32_t machine = any_machine();
    world.pause(machine, milliseconds(100) + up_to(prng_.chance(1, 4) ? seconds(20) : seconds(2)));
  }

  // A machine with a parent, and the parent.
  std::optional<std::pair<uint32_t, uint32_t>> any_link() {
    const uint32_t child = any_machine();
    if (!world.options(child).parent) return std::nullopt;
    return std::pair(child, *world.options(child).parent);
  }

  void cut_path(bool there, bool back) {
    const auto link = any_link();
    if (!link) return;
    world.block(link->first, link->second, there, back);
    world.after(milliseconds(200) + up_to(prng_.chance(1, 4) ? seconds(30) : seconds(5)), [this] {
      world.trace().say("all paths are free");
      world.unblock_all();
    });
  }
  void partition() { cut_path(true, true); }
  void network_change() { world.change_network(any_machine()); }
  void one_way() {
    const bool there = prng_.chance(1, 2);
    cut_path(there, !there);
  }

  std::optional<ConnectionId> any_connection() {
    const std::vector<ConnectionId> all = world.network().of(world.host(any_machine()));
    if (all.empty()) return std::nullopt;
    return all[prng_.below(all.size())];
  }
  void reset() {
    if (const auto connection = any_connection()) {
      world.trace().say("connection %llu is reset", static_cast<unsigned long long>(*connection));
      world.network().reset(*connection, world.now());
    }
  }
  void black_hole() {
    if (const auto connection = any_connection()) {
      world.trace().say("connection %llu falls into a black hole",
                        static_cast<unsigned long long>(*connection));
      world.network().black_hole(*connection);
    }
  }

  void client_leaves() {
    const auto client = static_cast<uint32_t>(prng_.below(world.client_count()));
    const bool politely = prng_.chance(1, 2);
    world.client(client).leave(politely, up_to(prng_.chance(1, 3) ? seconds(10) : milliseconds(300)),
                               world.now());
    world.serve(client);
  }

  void disk_errors() {
    const uint32_t machine = any_machine();
    world.trace().say("%s: the disk fails at times", world.options(machine).name.c_str());
    const auto some = [&] { return static_cast<uint32_t>(prng_.chance(1, 2) ? prng_.below(200'000) : 0); };
    DiskRates rates;
    // What cannot be read twice in a row is taken for rotten, as a bad sector would be.
    rates.read = some() / 20;
    if (rates.read > 0) world.oracle().expect_damage(machine);
    rates.write = some();
    rates.sync = some();
    rates.names = some();
    world.disk(machine).set_rates(rates);
    world.after(up_to(seconds(3)), [this, machine] { world.disk(machine).set_rates({}); });
  }

  void disk_full() {
    const uint32_t machine = any_machine();
    SimDisk& disk = world.disk(machine);
    world.trace().say("%s: the disk is nearly full", world.options(machine).name.c_str());
    disk.set_capacity(disk.used_bytes() + prng_.below(300'000));
    world.oracle().expect_evictions(machine);
    world.after(up_to(seconds(6)), [this, machine] { world.disk(machine).set_capacity(0); });
  }

  void clock_step() {
    const uint32_t machine = any_machine();
    const int64_t hours = static_cast<int64_t>(prng_.below(3)) - 1;
    world.step_clock(machine,
                     hours * 3'600'000'000 + static_cast<int64_t>(prng_.below(60'000'000)) - 30'000'000);
  }

  Prng& prng_;
  Duration span_;
  Instant end_;
  FaultRates rates_;
  std::vector<Publisher> publishers_;
};

Verdict run_with(const Run& run, std::optional<Shape> shape) {
  Verdict verdict;
  Swarm swarm(run.seed, shape, run.aloud);
  swarm.run();
  verdict.add(swarm.world);
  return verdict;
}

}  // namespace

Verdict run_swarm(const Run& run) { return run_with(run, std::nullopt); }
Verdict run_three_in_a_row(const Run& run) { return run_with(run, Shape::kThreeInARow); }

}  // namespace hf::sim
