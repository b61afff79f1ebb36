// One deterministic process in which machines, clients, a network, disks and clocks run from one seed.
//
//     event queue (simulated time) -> network, timers, disk jobs, faults -> Node::step / SimClient -> effects -> queue
//
// A machine is what a node runs on: a disk, a clock, storage threads, a place in the network. The node in it comes and goes
// with crashes; the disk and the clock stay. Disk jobs run in the three lanes the store names: in order within a lane, at
// random later instants, out of order between lanes, so that reads overtake writes. A job that runs when the power goes is
// cut in its middle.
//
// Everything random comes from the seed, and every event and effect goes into the trace's hash: one seed, one history.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "node/node.h"
#include "sim/autopsy.h"
#include "sim/entropy.h"
#include "sim/oracle.h"
#include "sim/sim_client.h"
#include "sim/sim_disk.h"
#include "sim/sim_network.h"
#include "sim/trace.h"

namespace hf::sim {

// 2026-01-01T00:00:00Z: the true time when a world begins.
inline constexpr int64_t kWorldBeginUs = 1'767'225'600'000'000;

// A machine's clock. Monotonic time runs at its own rate from each boot; wall time is what the machine believes.
struct Clock {
  BootId boot;
  Instant booted_at;  // True time.
  uint64_t mono_begin_ns = 0;
  int64_t drift_ppm = 0;
  bool set = true;  // False: it knows nothing and counts from 1970.
  int64_t wall_offset_us = 0;

  Now now(Instant truth) const;
  // The earliest true time at which monotonic time is at least `mono`.
  Instant when(Instant mono) const;
};

struct DiskTimes {
  Duration delay_max = milliseconds(5);  // Of each job, from 0; and again until its outcome is heard.
  uint32_t slow_per_mille = 10;          // Jobs that take up to `slow_max` instead.
  Duration slow_max = milliseconds(800);
};

struct MachineOptions {
  std::string name;
  std::optional<uint32_t> parent;
  std::vector<std::string> down_filters;  // What the parent is to send down to it.
  std::string prefix;                     // Of its topics at the parent.
  node::Config config;                    // Name and upstream are filled in.
  DiskTimes disk_times;
  int64_t drift_ppm = 0;
  bool clock_set = true;
};

// Small enough that segments roll, indexes are written and old ones are rewritten within a few hundred records.
node::Config small_config();

class World {
 public:
  explicit World(uint64_t seed);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // --- Building. Numbers count from 0.

  uint32_t add_machine(MachineOptions options);
  uint32_t add_client(uint32_t machine, SimClient::Options options);
  // Starts every machine, registers children at their parents, connects links and clients: a world in working order, without
  // any fault. False (and a violation) if that does not come about in a simulated minute.
  bool set_up();

  // --- Faults.

  // `middle`: if a disk job is waiting, the cut comes in the middle of it. The machine comes back after `off`; nothing: it
  // stays off.
  void power_cut(uint32_t machine, CutModel model, bool middle, std::optional<Duration> off);
  void kill(uint32_t machine, std::optional<Duration> off);
  void power_on(uint32_t machine);
  // The process stands still (SIGSTOP); its sockets do not.
  void pause(uint32_t machine, Duration duration);
  void step_clock(uint32_t machine, int64_t by_us);
  void set_clock(uint32_t machine);  // A machine that knew nothing learns the time.
  // The next `count` recoveries are cut as well, each somewhere in its first operations.
  void crash_recoveries(uint32_t machine, uint32_t count) { machines_[machine]->recoveries_to_crash = count; }
  // How a cut that the disk itself makes (cut_after) ends.
  void set_cut_model(uint32_t machine, CutModel model) { machines_[machine]->cut_model = model; }
  void block(uint32_t a, uint32_t b, bool there, bool back);
  void unblock_all();
  // The machine's kernel says that its network changed, whether that means anything or not.
  void change_network(uint32_t machine);
  // All faults end: paths, disks, clocks; every machine runs.
  void heal();

  // --- Disks as a whole: backups and clones.

  // The disk as a backup would find it: everything synced so far.
  SimDisk backup(uint32_t machine) const;
  // Puts another disk into a machine that is off.
  void replace_disk(uint32_t machine, const SimDisk& disk);
  void set_fence(uint32_t machine, std::string fence) { machines_[machine]->fence = std::move(fence); }
  void set_kek(uint32_t machine, const crypto::Key& kek) { machines_[machine]->kek = kek; }
  const std::string& fence(uint32_t machine) const { return machines_[machine]->fence; }
  const crypto::Key& kek(uint32_t machine) const { return machines_[machine]->kek; }

  // --- Running.

  void at(Instant when, std::function<void()> what);
  void after(Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  void run_until(Instant end);
  void run_for(Duration duration) { run_until(now_ + duration); }
  // Runs until `done` holds, asked every `every`, for at most `bound`. Whether it came to hold.
  bool run_to(Duration bound, const std::function<bool()>& done, Duration every = milliseconds(100));
  // Every backlog is nothing and every subscriber has everything.
  bool converged(std::string* why) const;
  // Heals, demands convergence within `bound`, then looks into every store.
  void finish(Duration bound);
  bool failed() const { return oracle_.failed(); }

  // --- Looking.

  Instant now() const { return now_; }
  Now now_at(uint32_t machine) const { return machines_[machine]->clock.now(now_); }
  Oracle& oracle() { return oracle_; }
  Trace& trace() { return trace_; }
  Prng& prng() { return prng_; }
  SimNetwork& network() { return network_; }
  SimDisk& disk(uint32_t machine) { return machines_[machine]->disk; }
  node::Node* node(uint32_t machine) { return machines_[machine]->node.get(); }
  DiskTimes& disk_times(uint32_t machine) { return machines_[machine]->options.disk_times; }
  HostId host(uint32_t machine) const { return machines_[machine]->host; }
  SimClient& client(uint32_t client) { return *clients_[client].client; }
  // Carries out what a client wants after something was asked of it from outside.
  void serve(uint32_t client) { serve_client(client); }
  HostId client_host(uint32_t client) const { return clients_[client].host; }
  uint32_t machine_count() const { return static_cast<uint32_t>(machines_.size()); }
  uint32_t client_count() const { return static_cast<uint32_t>(clients_.size()); }
  const MachineOptions& options(uint32_t machine) const { return machines_[machine]->options; }
  bool running(uint32_t machine) const { return machines_[machine]->node != nullptr; }
  // Every line the node logs: for scenarios that wait for one.
  void on_log(std::function<void(uint32_t machine, const node::LogLine&)> hear) { hear_ = std::move(hear); }
  // Called after each step of a node.
  void on_step(std::function<void(uint32_t machine)> look) { look_ = std::move(look); }
  store::Options store_options(uint32_t machine) const;
  // What recovery would find on the disk now, after `model`.
  Result<Autopsy> examine_disk(uint32_t machine, CutModel model) const;

  // Off in worlds with restored or cloned machines.
  void expect_forks() { forks_expected_ = true; }
  // Converged is also who has a link that is down, if it owes nothing: two clones cannot both be connected.
  void links_may_be_down() { links_may_be_down_ = true; }
  uint64_t forks_seen() const { return forks_seen_; }
  // Off where the crash alone is the subject, for speed.
  void set_examine_crashes(bool examine) { examine_crashes_ = examine; }

  struct Figures {
    uint64_t steps = 0;
    uint64_t power_cuts = 0;
    uint64_t kills = 0;
    uint64_t recovery_cuts = 0;
    uint64_t opens = 0;
    uint64_t jobs = 0;
  };
  const Figures& figures() const { return figures_; }

 private:
  struct Lane {
    std::deque<std::unique_ptr<store::Job>> waiting;
    bool busy = false;
    Instant heard_last;  // Outcomes of one lane are heard in order.
  };
  struct Machine {
    explicit Machine(uint64_t seed) : disk(seed), entropy(seed + 1) {}
    MachineOptions options;
    HostId host = 0;
    SimDisk disk;
    SimEntropy entropy;
    crypto::Key kek;
    std::string fence;
    Clock clock;
    bool created = false;  // Its store was opened once.
    uint64_t life = 0;     // Counts crashes: what an earlier life scheduled is void.
    std::unique_ptr<node::Node> node;
    std::optional<Instant> paused_until;
    std::vector<node::Input> inbox;
    std::deque<std::string> inbox_bytes;
    std::optional<Instant> step_at;
    std::array<Lane, 3> lanes;
    std::map<uint64_t, std::unique_ptr<store::Job>> done;  // Outcomes not yet heard.
    ConnectionId dialing = 0;
    bool off = true;
    uint32_t recoveries_to_crash = 0;
    CutModel cut_model = CutModel::kLost;
    Duration cut_off = milliseconds(500);
    uint64_t failures_at_open = 0;
  };
  struct ClientSeat {
    std::unique_ptr<SimClient> client;
    HostId host = 0;
    uint32_t machine = 0;
    ConnectionId connection = 0;
    ConnectionId dialing = 0;
  };

  std::optional<Instant> next_event() const;
  void turn();
  void on_network(SimNetwork::Event& event);
  void step(uint32_t machine);
  void apply(uint32_t machine, node::Effects& effects);
  void input(uint32_t machine, node::Input input);
  void want_step(uint32_t machine);
  void run_lane(uint32_t machine, size_t lane);
  void run_job(uint32_t machine, size_t lane, uint64_t life);
  Duration job_delay(const Machine& machine);
  void go_dark(uint32_t machine, bool silent, std::optional<Duration> off);
  void disk_died(uint32_t machine);
  void judge_crash(uint32_t machine);
  void note_forks(uint32_t machine);
  void check_caps(uint32_t machine);
  void start_node(uint32_t machine);
  Result<std::unique_ptr<node::Node>> open_node(Machine& machine);
  void serve_client(uint32_t client);

  Trace trace_;
  Oracle oracle_;
  Prng prng_;
  SimNetwork network_;
  Instant now_;
  std::vector<std::unique_ptr<Machine>> machines_;
  std::vector<ClientSeat> clients_;
  std::map<HostId, uint32_t> machine_of_host_;
  std::map<HostId, uint32_t> client_of_host_;
  std::map<std::pair<uint64_t, uint64_t>, std::function<void()>> tasks_;
  uint64_t task_next_ = 0;
  uint64_t job_next_ = 1;
  Instant second_begin_;
  uint64_t steps_this_second_ = 0;
  bool forks_expected_ = false;
  bool links_may_be_down_ = false;
  uint64_t forks_seen_ = 0;
  bool examine_crashes_ = true;
  Figures figures_;
  std::function<void(uint32_t, const node::LogLine&)> hear_;
  std::function<void(uint32_t)> look_;
};

}  // namespace hf::sim
