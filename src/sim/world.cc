#include "sim/world.h"

#include <algorithm>

#include "base/assert.h"

namespace hf::sim {

namespace {

constexpr uint64_t kStepsASecondMax = 100'000;
constexpr uint64_t kOpenOperationsMax = 200'000;
constexpr uint64_t kPendingBytesMax = 32 << 20;
constexpr uint64_t kUnsentBytesMax = 8 << 20;

const char* input_name(const node::Input& input) {
  constexpr const char* kNames[] = {"connected", "received", "closed",     "unsent",
                                    "dialed",    "job done", "login done", "network changed"};
  static_assert(std::size(kNames) == std::variant_size_v<node::Input>);
  return kNames[input.index()];
}

}  // namespace

// --- Clock.

Now Clock::now(Instant truth) const {
  const int64_t elapsed = (truth - booted_at).ns;
  Now out;
  out.mono.ns = mono_begin_ns + static_cast<uint64_t>(elapsed + elapsed * drift_ppm / 1'000'000);
  out.boot = boot;
  if (set) {
    out.wall_us = kWorldBeginUs + static_cast<int64_t>(truth.ns / 1000) + wall_offset_us;
    out.quality = ClockQuality::kNtp;
  } else {
    out.wall_us = static_cast<int64_t>(out.mono.ns / 1000);
    out.quality = ClockQuality::kUnknown;
  }
  return out;
}

Instant Clock::when(Instant mono) const {
  if (mono.ns <= mono_begin_ns) return booted_at;
  const int64_t span = static_cast<int64_t>(mono.ns - mono_begin_ns);
  const int64_t rate = 1'000'000 + drift_ppm;
  Instant out = booted_at + Duration{span / rate * 1'000'000 + span % rate * 1'000'000 / rate};
  // Integer division is not its own inverse: step to the first instant that is late enough.
  while (now(out).mono < mono) out = out + microseconds(1);
  return out;
}

node::Config small_config() {
  node::Config config;
  config.quota_bytes = 64 << 20;
  // Records that nobody is owed stay, also those stamped 1970: the oracle wants to see them at the end.
  config.retention_s = 4'000'000'000;
  config.segment_bytes_min = 128 << 10;
  config.segment_bytes_max = 256 << 10;
  return config;
}

// --- Building.

World::World(uint64_t seed) : oracle_(trace_), prng_(seed), network_(seed ^ 0x6e6574776f726b) {}
World::~World() = default;

uint32_t World::add_machine(MachineOptions options) {
  const auto number = static_cast<uint32_t>(machines_.size());
  auto machine = std::make_unique<Machine>(prng_.next());
  machine->options = std::move(options);
  MachineOptions& own = machine->options;
  machine->host = network_.add_host(own.name);
  machine_of_host_[machine->host] = number;
  machine->kek = crypto::Key(std::string(crypto::kKeyBytes, static_cast<char>('A' + number)));
  machine->fence = "fence of " + own.name;
  machine->clock.drift_ppm = own.drift_ppm;
  machine->clock.set = own.clock_set;
  own.config.name = own.name;
  if (own.parent) {
    if (!own.config.upstream) own.config.upstream.emplace();
    own.config.upstream->host = machines_[*own.parent]->options.name;
  }
  HF_ASSERT(oracle_.add_node(own.name, own.parent, own.down_filters, own.prefix) == number);
  machines_.push_back(std::move(machine));
  return number;
}

uint32_t World::add_client(uint32_t machine, SimClient::Options options) {
  const uint32_t number = oracle_.add_client(options.client_id, machine, options.persistent);
  HF_ASSERT(number == clients_.size());
  ClientSeat seat;
  seat.host = network_.add_host(options.client_id);
  seat.machine = machine;
  seat.client = std::make_unique<SimClient>(std::move(options), number, oracle_, trace_, prng_.next());
  client_of_host_[seat.host] = number;
  clients_.push_back(std::move(seat));
  return number;
}

bool World::set_up() {
  for (uint32_t i = 0; i < machine_count(); ++i) power_on(i);
  for (uint32_t i = 0; i < machine_count() && !failed(); ++i) {
    Machine& machine = *machines_[i];
    if (!machine.options.parent) continue;
    Machine& parent = *machines_[*machine.options.parent];
    std::string claim;
    const Result<uint64_t> added = parent.node->node_add(machine.options.name, machine.options.down_filters,
                                                         machine.options.prefix, &claim);
    if (!added) {
      oracle_.violate("set up", "%s refuses to register %s: %s", parent.options.name.c_str(),
                      machine.options.name.c_str(), added.error().text);
      return false;
    }
    want_step(*machine.options.parent);
    run_to(seconds(10), [&] { return parent.node->durable_commit() >= *added; }, milliseconds(1));
    const Result<uint64_t> claimed = machine.node->claim(claim);
    if (!claimed) {
      oracle_.violate("set up", "%s does not take its claim: %s", machine.options.name.c_str(),
                      claimed.error().text);
      return false;
    }
    want_step(i);
    run_to(seconds(10), [&] { return machine.node->durable_commit() >= *claimed; }, milliseconds(1));
    (void)machine.node->connect_now(machine.clock.now(now_));
    want_step(i);
  }
  const bool ready = run_to(
      seconds(60),
      [&] {
        for (uint32_t i = 0; i < machine_count(); ++i) {
          const Machine& machine = *machines_[i];
          if (machine.options.parent && !machine.node->status(machine.clock.now(now_)).link.up) return false;
        }
        return std::all_of(clients_.begin(), clients_.end(), [](const ClientSeat& seat) {
          return seat.client->connected() && seat.client->subscribed();
        });
      },
      milliseconds(10));
  if (!ready && !failed())
    oracle_.violate("set up", "links and clients are not all connected after a minute");
  if (!failed()) trace_.say("the world is set up");
  return ready && !failed();
}

store::Options World::store_options(uint32_t machine) const {
  const node::Config& config = machines_[machine]->options.config;
  store::Options options;
  options.quota_bytes = config.quota_bytes;
  options.retention_s = config.retention_s;
  options.segment_bytes_min = config.segment_bytes_min;
  options.segment_bytes_max = config.segment_bytes_max;
  return options;
}

// --- Faults.

void World::go_dark(uint32_t number, bool silent, std::optional<Duration> off) {
  Machine& machine = *machines_[number];
  note_forks(number);
  ++machine.life;
  machine.off = true;
  machine.node.reset();
  machine.done.clear();
  for (Lane& lane : machine.lanes) lane = {};
  machine.inbox.clear();
  machine.inbox_bytes.clear();
  machine.step_at.reset();
  machine.paused_until.reset();
  machine.dialing = 0;
  network_.set_listening(machine.host, false);
  network_.set_reading(machine.host, true, now_);
  network_.vanish(machine.host, silent, now_);
  if (off) {
    const uint64_t life = machine.life;
    after(*off, [this, number, life] {
      if (machines_[number]->life == life && machines_[number]->off) power_on(number);
    });
  }
}

void World::power_cut(uint32_t number, CutModel model, bool middle, std::optional<Duration> off) {
  Machine& machine = *machines_[number];
  if (machine.off) return;
  bool in_job = false;
  if (middle) {
    for (Lane& lane : machine.lanes) {
      if (lane.waiting.empty() || in_job) continue;
      machine.disk.cut_after(1 + prng_.below(4));
      lane.waiting.front()->run(machine.disk, machine.entropy);
      in_job = true;
    }
  }
  trace_.say("%s: POWER CUT (%s%s)", machine.options.name.c_str(), cut_model_name(model),
             in_job ? ", in a disk job" : "");
  ++figures_.power_cuts;
  go_dark(number, true, off);
  machine.disk.power_cut(model);
  machine.clock.boot = {};  // The next boot draws its own.
  judge_crash(number);
}

void World::disk_died(uint32_t number) {
  Machine& machine = *machines_[number];
  trace_.say("%s: POWER CUT (%s) at change %llu of the disk", machine.options.name.c_str(),
             cut_model_name(machine.cut_model), static_cast<unsigned long long>(machine.disk.changes()));
  ++figures_.power_cuts;
  go_dark(number, true, machine.cut_off);
  machine.disk.power_cut(machine.cut_model);
  machine.clock.boot = {};
  judge_crash(number);
}

void World::kill(uint32_t number, std::optional<Duration> off) {
  Machine& machine = *machines_[number];
  if (machine.off) return;
  trace_.say("%s: killed", machine.options.name.c_str());
  ++figures_.kills;
  go_dark(number, false, off);
  machine.disk.revive();
  judge_crash(number);
}

void World::pause(uint32_t number, Duration duration) {
  Machine& machine = *machines_[number];
  if (machine.off || machine.paused_until) return;
  trace_.say("%s: stands still for %lld ms", machine.options.name.c_str(),
             static_cast<long long>(to_ms(duration)));
  machine.paused_until = now_ + duration;
  network_.set_reading(machine.host, false, now_);
  const uint64_t life = machine.life;
  after(duration, [this, number, life] {
    Machine& paused = *machines_[number];
    if (paused.life != life) return;
    paused.paused_until.reset();
    network_.set_reading(paused.host, true, now_);
    want_step(number);
  });
}

void World::step_clock(uint32_t number, int64_t by_us) {
  Machine& machine = *machines_[number];
  trace_.say("%s: clock steps by %lld ms", machine.options.name.c_str(),
             static_cast<long long>(by_us / 1000));
  machine.clock.wall_offset_us += by_us;
  want_step(number);
}

void World::set_clock(uint32_t number) {
  Machine& machine = *machines_[number];
  if (machine.clock.set) return;
  trace_.say("%s: learns the time", machine.options.name.c_str());
  machine.clock.set = true;
  want_step(number);
}

void World::block(uint32_t a, uint32_t b, bool there, bool back) {
  trace_.say("path %s %s%s%s %s blocked", machines_[a]->options.name.c_str(), back ? "<" : "", "-",
             there ? ">" : "", machines_[b]->options.name.c_str());
  if (there) network_.block(host(a), host(b), true, now_);
  if (back) network_.block(host(b), host(a), true, now_);
}

void World::unblock_all() {
  for (uint32_t a = 0; a < machine_count(); ++a) {
    for (uint32_t b = 0; b < machine_count(); ++b) network_.block(host(a), host(b), false, now_);
  }
}

void World::change_network(uint32_t number) {
  trace_.say("%s: its network changes", machines_[number]->options.name.c_str());
  if (machines_[number]->node != nullptr) input(number, node::NetworkChanged{});
}

void World::heal() {
  trace_.say("all faults end");
  unblock_all();
  for (uint32_t i = 0; i < machine_count(); ++i) {
    Machine& machine = *machines_[i];
    machine.disk.heal();
    machine.disk.set_capacity(0);
    machine.disk.cut_after(0);
    machine.recoveries_to_crash = 0;
    set_clock(i);
    if (machine.node != nullptr &&
        machine.node->status(machine.clock.now(now_)).mode == store::Mode::kStorageFailed) {
      kill(i, milliseconds(100));
    }
    if (machine.off) power_on(i);
  }
  for (ClientSeat& seat : clients_) {
    seat.client->set_enabled(true, now_);
    serve_client(seat.client->number());
  }
}

// --- Starting.

Result<std::unique_ptr<node::Node>> World::open_node(Machine& machine) {
  const Now now = machine.clock.now(now_);
  ++figures_.opens;
  auto opened = node::Node::open(machine.disk, machine.entropy, machine.kek, machine.options.config,
                                 machine.fence, now);
  if (opened || machine.created || opened.error().code != Code::kForeign || machine.disk.dead())
    return opened;
  HF_TRY(store::Store::create(machine.disk, machine.entropy, machine.kek, prng_.next() | 1));
  return node::Node::open(machine.disk, machine.entropy, machine.kek, machine.options.config, machine.fence,
                          now);
}

void World::power_on(uint32_t number) {
  Machine& machine = *machines_[number];
  if (!machine.off) return;
  if (machine.clock.boot == BootId{}) {  // A boot, not only a process.
    machine.clock.boot.high = prng_.next();
    machine.clock.boot.low = prng_.next();
    machine.clock.booted_at = now_;
    machine.clock.mono_begin_ns = seconds(1).ns + prng_.below(20'000'000'000);
  }
  start_node(number);
}

void World::start_node(uint32_t number) {
  Machine& machine = *machines_[number];
  if (machine.recoveries_to_crash > 0) {
    --machine.recoveries_to_crash;
    machine.disk.cut_after(1 + prng_.below(8));
  }
  const uint64_t operations_before = machine.disk.operations();
  const uint64_t failures_before = machine.disk.failures();
  Result<std::unique_ptr<node::Node>> opened = open_node(machine);
  trace_.mix(machine.disk.digest());
  const uint64_t life = ++machine.life;
  const auto again = [this, number, life](Duration delay) {
    after(delay, [this, number, life] {
      if (machines_[number]->life == life && machines_[number]->off) power_on(number);
    });
  };
  if (machine.disk.dead()) {
    const CutModel model =
        machine.recoveries_to_crash > 0 ? kCutModels[prng_.below(kCutModels.size())] : machine.cut_model;
    trace_.say("%s: POWER CUT (%s) in recovery", machine.options.name.c_str(), cut_model_name(model));
    ++figures_.recovery_cuts;
    if (opened) opened->reset();
    machine.disk.power_cut(model);
    machine.clock.boot = {};
    judge_crash(number);
    again(milliseconds(200));
    return;
  }
  if (machine.disk.operations() - operations_before > kOpenOperationsMax) {
    oracle_.violate("starts", "%s needed %llu disk operations to start", machine.options.name.c_str(),
                    static_cast<unsigned long long>(machine.disk.operations() - operations_before));
    return;
  }
  if (!opened) {
    trace_.say("%s: does not start: %s (%s)", machine.options.name.c_str(), opened.error().text,
               code_name(opened.error().code));
    if (machine.disk.failures() == failures_before) {
      oracle_.violate("starts", "%s does not start: %s (%s, %llu)", machine.options.name.c_str(),
                      opened.error().text, code_name(opened.error().code),
                      static_cast<unsigned long long>(opened.error().number));
      return;
    }
    again(seconds(1));  // As systemd would.
    return;
  }
  machine.node = std::move(*opened);
  machine.created = true;
  machine.off = false;
  network_.set_listening(machine.host, true);
  const store::OpenReport recovery = machine.node->status(machine.clock.now(now_)).recovery;
  trace_.say("%s: runs: %u segments (%u scanned), commit %llu%s%s", machine.options.name.c_str(),
             recovery.segments, recovery.segments_scanned,
             static_cast<unsigned long long>(recovery.commit_last), recovery.tail_cut ? ", tail cut" : "",
             recovery.frames_rotten > 0 ? ", rot" : "");
  want_step(number);
}

// --- Judging.

void World::note_forks(uint32_t number) {
  Machine& machine = *machines_[number];
  if (machine.node == nullptr) return;
  const uint64_t forks = machine.node->status(machine.clock.now(now_)).link.forks;
  forks_seen_ += forks;
  if (forks > 0 && !forks_expected_) {
    oracle_.violate("numbered", "%s found a fork, and nothing in this world was restored or cloned",
                    machine.options.name.c_str());
  }
}

Result<Autopsy> World::examine_disk(uint32_t number, CutModel model) const {
  const Machine& machine = *machines_[number];
  SimDisk copy = machine.disk;
  copy.heal();
  copy.set_capacity(0);
  copy.power_cut(model);
  return examine(copy, machine.kek, store_options(number), machine.fence, machine.clock.now(now_));
}

void World::judge_crash(uint32_t number) {
  const Machine& machine = *machines_[number];
  if (!examine_crashes_ || !machine.created || failed()) return;
  SimDisk copy = machine.disk;
  copy.heal();
  copy.set_capacity(0);
  copy.cut_after(0);
  const Result<Autopsy> found =
      examine(copy, machine.kek, store_options(number), machine.fence, machine.clock.now(now_));
  if (!found) {
    oracle_.violate("starts", "the store of %s does not open after the crash: %s (%s)",
                    machine.options.name.c_str(), found.error().text, code_name(found.error().code));
    return;
  }
  trace_.say("%s: its disk holds commits to %llu%s%s: %s", machine.options.name.c_str(),
             static_cast<unsigned long long>(found->report.commit_last),
             found->report.tail_cut ? ", tail cut" : "", found->report.frames_rotten > 0 ? ", rot" : "",
             found->summary().c_str());
  if (oracle_.evicts(number)) {  // What it gave up has to be elsewhere.
    for (uint32_t peer = 0; peer < machine_count(); ++peer) {
      if (peer == number || !machines_[peer]->created) continue;
      if (const Result<Autopsy> other = examine_disk(peer, CutModel::kLost))
        oracle_.remember_places(peer, *other);
    }
  }
  std::vector<Oracle::Held> held;
  for (uint32_t peer = 0; peer < machine_count(); ++peer) {
    const Machine& other = *machines_[peer];
    if (other.node == nullptr) continue;
    if (machine.options.parent != peer && other.options.parent != number) continue;
    Oracle::Held entry;
    entry.who = other.options.name;
    other.node->store().for_each_stream([&](const store::StreamInfo& info) {
      const Autopsy::Stream* own = found->find(info.key);
      if (info.key.incarnation == found->incarnation || (own != nullptr && own->own))
        entry.last[info.key] = info.sequence_last;
    });
    held.push_back(std::move(entry));
  }
  oracle_.after_crash(number, *found, held);
}

void World::check_caps(uint32_t number) {
  const Machine& machine = *machines_[number];
  const uint64_t pending = machine.node->store().pending_bytes();
  if (pending > kPendingBytesMax) {
    oracle_.violate("bounded", "%s holds %llu bytes that wait for the disk", machine.options.name.c_str(),
                    static_cast<unsigned long long>(pending));
  }
  // Keys and indexes lie beside the quota, and a rewrite has its new file before the old ones go.
  const node::Config& config = machine.options.config;
  const uint64_t most =
      config.quota_bytes + config.quota_bytes / 8 + std::max<uint64_t>(config.segment_bytes_max, 4 << 20);
  if (machine.disk.used_bytes() > most) {
    oracle_.violate("bounded", "%s uses %llu bytes of disk, with a quota of %llu",
                    machine.options.name.c_str(), static_cast<unsigned long long>(machine.disk.used_bytes()),
                    static_cast<unsigned long long>(config.quota_bytes));
  }
}

bool World::converged(std::string* why) const {
  for (const auto& machine : machines_) {
    if (machine->node == nullptr) {
      *why = machine->options.name + " does not run";
      return false;
    }
  }
  for (const ClientSeat& seat : clients_) {
    if (seat.client->outgoing() > 0) {
      *why = seat.client->name() + " has " + std::to_string(seat.client->outgoing()) + " messages to bring" +
             (seat.client->connected() ? "" : ", and no connection");
      return false;
    }
  }
  std::string examples;
  if (const size_t missing = const_cast<Oracle&>(oracle_).missing(&examples); missing > 0) {
    *why = std::to_string(missing) + " deliveries or acknowledgements are missing: " + examples;
    return false;
  }
  for (const auto& machine : machines_) {
    const node::Status status = machine->node->status(machine->clock.now(now_));
    const bool up = status.link.up || links_may_be_down_;
    if (machine->options.parent && (!up || status.link.backlog_count > 0)) {
      *why = machine->options.name + "'s link is " +
             (status.link.up ? "up" : "down (" + status.link.last_error + ")") + ", with a backlog of " +
             std::to_string(status.link.backlog_count);
      return false;
    }
    for (const node::NodeStatus& child : machine->node->nodes()) {
      if (child.backlog_count > 0) {
        *why = machine->options.name + " owes " + std::to_string(child.backlog_count) + " records to " +
               child.name;
        return false;
      }
    }
    bool owes = false;
    const store::Store& store = machine->node->store();
    store.scan(store::Table::kReader, "", [&](Bytes key, Bytes) {
      const store::ReaderId id = ByteReader(key).u64be();
      const store::ReaderInfo* reader = store.reader(id);
      if (reader == nullptr || reader->owed_count == 0) return true;
      owes = true;
      *why = machine->options.name + " owes " + std::to_string(reader->owed_count) +
             " records to its reader " + std::to_string(id) + " (" + (store.caught_up(id) ? "" : "not ") +
             "caught up, low water " + std::to_string(reader->low_water.commit()) + "." +
             std::to_string(reader->low_water.index()) + ", cursor " +
             std::to_string(reader->cursor.commit()) + "." + std::to_string(reader->cursor.index()) + ")";
      return false;
    });
    if (owes) return false;
  }
  return true;
}

void World::finish(Duration bound) {
  if (failed()) return;
  heal();
  // What was given up for space under gap records is no longer waited for.
  for (uint32_t i = 0; i < machine_count(); ++i) {
    if (const Result<Autopsy> found = examine_disk(i, CutModel::kLost)) oracle_.remember_places(i, *found);
  }
  for (uint32_t i = 0; i < machine_count(); ++i) {
    if (!oracle_.evicts(i)) continue;
    if (const Result<Autopsy> found = examine_disk(i, CutModel::kLost))
      oracle_.accept_named_losses(i, *found);
  }
  std::string why;
  const Instant healed = now_;
  if (!run_to(bound, [&] { return converged(&why); }, seconds(1)) && !failed()) {
    for (const auto& machine : machines_) {
      if (machine->node == nullptr) continue;
      const node::Status status = machine->node->status(machine->clock.now(now_));
      trace_.say(
          "%s: mode %s, %llu of %llu bytes, %u segments, commit %llu durable, %llu bytes wait for the disk",
          machine->options.name.c_str(), store::mode_name(status.mode),
          static_cast<unsigned long long>(status.store.file_bytes),
          static_cast<unsigned long long>(status.store.quota_bytes), status.store.segment_count,
          static_cast<unsigned long long>(machine->node->durable_commit()),
          static_cast<unsigned long long>(machine->node->store().pending_bytes()));
    }
    oracle_.violate("drained", "%lld s after the faults ended: %s",
                    static_cast<long long>((now_ - healed).ns / 1'000'000'000), why.c_str());
  }
  if (failed()) return;
  trace_.say("converged after %lld s", static_cast<long long>((now_ - healed).ns / 1'000'000'000));
  for (uint32_t i = 0; i < machine_count() && !failed(); ++i) {
    note_forks(i);
    const Result<Autopsy> found = examine_disk(i, CutModel::kLost);
    if (!found) {
      oracle_.violate("starts", "the store of %s does not open at the end: %s",
                      machines_[i]->options.name.c_str(), found.error().text);
      return;
    }
    trace_.mix(found->digest);
    oracle_.at_the_end(i, *found);
  }
}

// --- Disks as a whole.

SimDisk World::backup(uint32_t number) const {
  SimDisk copy = machines_[number]->disk;
  copy.power_cut(CutModel::kLost);
  return copy;
}

void World::replace_disk(uint32_t number, const SimDisk& disk) {
  Machine& machine = *machines_[number];
  HF_ASSERT(machine.off);
  machine.disk = disk;
  machine.created = true;
  machine.clock.boot = {};
}

// --- Running.

void World::at(Instant when, std::function<void()> what) {
  tasks_[{std::max(when, now_).ns, task_next_++}] = std::move(what);
}

std::optional<Instant> World::next_event() const {
  std::optional<Instant> next = network_.next();
  const auto sooner = [&](std::optional<Instant> at) {
    if (at && (!next || *at < *next)) next = at;
  };
  if (!tasks_.empty()) sooner(Instant{tasks_.begin()->first.first});
  for (const ClientSeat& seat : clients_) sooner(seat.client->next_deadline());
  for (const auto& machine : machines_) {
    if (machine->node != nullptr && !machine->paused_until) sooner(machine->step_at);
  }
  return next;
}

void World::run_until(Instant end) {
  while (!failed()) {
    const std::optional<Instant> next = next_event();
    if (!next || *next > end) break;
    now_ = std::max(now_, *next);
    trace_.set_now(now_);
    turn();
  }
  now_ = std::max(now_, end);
  trace_.set_now(now_);
}

bool World::run_to(Duration bound, const std::function<bool()>& done, Duration every) {
  const Instant end = now_ + bound;
  while (!failed()) {
    if (done()) return true;
    if (now_ >= end) return false;
    run_until(std::min(end, now_ + every));
  }
  return false;
}

// Everything that is due at `now_`: the network, tasks, clients, nodes.
void World::turn() {
  std::vector<SimNetwork::Event> events;
  network_.advance(now_, &events);
  for (SimNetwork::Event& event : events) on_network(event);
  while (!tasks_.empty() && tasks_.begin()->first.first <= now_.ns) {
    const std::function<void()> task = std::move(tasks_.begin()->second);
    tasks_.erase(tasks_.begin());
    task();
  }
  for (uint32_t i = 0; i < clients_.size(); ++i) {
    const std::optional<Instant> at = clients_[i].client->next_deadline();
    if (at && *at <= now_) {
      clients_[i].client->tick(now_);
      serve_client(i);
    }
  }
  for (uint32_t i = 0; i < machines_.size(); ++i) {
    const Machine& machine = *machines_[i];
    if (machine.node != nullptr && !machine.paused_until && machine.step_at && *machine.step_at <= now_)
      step(i);
  }
}

void World::on_network(SimNetwork::Event& event) {
  using Kind = SimNetwork::Event::Kind;
  trace_.mix(static_cast<uint64_t>(event.kind) << 32 | event.host);
  trace_.mix(event.connection);
  trace_.mix(event.bytes);
  trace_.mix(now_.ns);

  if (const auto client = client_of_host_.find(event.host); client != client_of_host_.end()) {
    ClientSeat& seat = clients_[client->second];
    switch (event.kind) {
      case Kind::kDialed:
        if (event.connection != seat.dialing) return;
        seat.connection = event.connection;
        seat.dialing = 0;
        seat.client->dialed(true, now_);
        break;
      case Kind::kRefused:
        if (event.connection != seat.dialing) return;
        seat.dialing = 0;
        seat.client->dialed(false, now_);
        break;
      case Kind::kBytes:
        if (event.connection != seat.connection) return;
        seat.client->received(event.bytes, now_);
        break;
      case Kind::kClosed:
        if (event.connection != seat.connection) return;
        seat.connection = 0;
        seat.client->closed(now_);
        break;
      case Kind::kAccepted:
      case Kind::kUnsent:
        return;
    }
    serve_client(client->second);
    return;
  }

  const uint32_t number = machine_of_host_.at(event.host);
  Machine& machine = *machines_[number];
  if (machine.node == nullptr) return;
  switch (event.kind) {
    case Kind::kAccepted: {
      // The clients of a world stand beside their node; what comes from another machine is a node.
      const bool loopback = !machine_of_host_.contains(network_.peer_of(event.connection));
      input(number, node::Connected{.connection = event.connection, .loopback = loopback});
      return;
    }
    case Kind::kDialed:
    case Kind::kRefused: {
      if (event.connection != machine.dialing) {
        if (event.kind == Kind::kDialed) network_.close(event.connection, now_);
        return;
      }
      machine.dialing = 0;
      node::Dialed dialed;
      if (event.kind == Kind::kDialed) dialed.connection = event.connection;
      if (event.kind == Kind::kRefused) dialed.error = event.bytes;
      input(number, dialed);
      return;
    }
    case Kind::kBytes:
      machine.inbox_bytes.push_back(std::move(event.bytes));
      input(number, node::Received{.connection = event.connection, .bytes = machine.inbox_bytes.back()});
      return;
    case Kind::kClosed:
      input(number, node::Closed{.connection = event.connection});
      return;
    case Kind::kUnsent:
      input(number, node::Unsent{.connection = event.connection, .bytes = event.unsent});
      return;
  }
}

void World::input(uint32_t number, node::Input input) {
  machines_[number]->inbox.push_back(std::move(input));
  want_step(number);
}

// Several things that arrive together are one step.
void World::want_step(uint32_t number) {
  Machine& machine = *machines_[number];
  const Instant at = now_ + microseconds(static_cast<int64_t>(prng_.below(200)));
  if (!machine.step_at || at < *machine.step_at) machine.step_at = at;
}

void World::step(uint32_t number) {
  Machine& machine = *machines_[number];
  machine.step_at.reset();
  std::vector<node::Input> inputs = std::move(machine.inbox);
  std::deque<std::string> bytes = std::move(machine.inbox_bytes);
  machine.inbox.clear();
  machine.inbox_bytes.clear();

  ++figures_.steps;
  if (now_ >= second_begin_ + seconds(1)) {
    second_begin_ = now_;
    steps_this_second_ = 0;
  }
  if (++steps_this_second_ > kStepsASecondMax) {
    const std::optional<Instant> of_store = machine.node->store().next_deadline();
    const bool store_spins = of_store && *of_store <= machine.clock.now(now_).mono;
    oracle_.violate("drained", "%s was stepped %llu times in a second: %s has a deadline in the past",
                    machine.options.name.c_str(), static_cast<unsigned long long>(steps_this_second_),
                    store_spins ? "its store" : "its broker or link");
    return;
  }
  trace_.mix(uint64_t{number} << 32 | inputs.size());
  trace_.mix(now_.ns);
  for (const node::Input& one : inputs) trace_.mix(Bytes(input_name(one)));

  const Now now = machine.clock.now(now_);
  node::Effects effects;
  machine.node->step(inputs, now, effects);
  apply(number, effects);
  if (machine.node == nullptr) return;
  check_caps(number);
  if (look_) look_(number);
  if (const std::optional<Instant> deadline = machine.node->next_deadline()) {
    const Instant at = *deadline <= now.mono ? now_ + microseconds(1) : machine.clock.when(*deadline);
    if (!machine.step_at || at < *machine.step_at) machine.step_at = std::max(at, now_);
  }
}

void World::apply(uint32_t number, node::Effects& effects) {
  Machine& machine = *machines_[number];
  for (const node::LogLine& line : effects.log) {
    trace_.say("%s: %s %s", machine.options.name.c_str(), line.event, line.text.c_str());
    if (hear_) hear_(number, line);
  }
  for (const node::Send& send : effects.sends) {
    const std::string bytes = send.joined();
    trace_.mix(send.connection);
    trace_.mix(bytes);
    const uint64_t unsent = network_.send(send.connection, bytes, now_);
    if (unsent > kUnsentBytesMax) {
      oracle_.violate("bounded", "%s has %llu unsent bytes on one connection", machine.options.name.c_str(),
                      static_cast<unsigned long long>(unsent));
    }
    if (unsent > 0) input(number, node::Unsent{.connection = send.connection, .bytes = unsent});
  }
  for (const node::Close& close : effects.closes) {
    trace_.mix(close.connection);
    network_.close(close.connection, now_);
  }
  if (effects.dial) {
    trace_.mix(effects.dial->host);
    std::optional<HostId> target;
    for (const auto& other : machines_) {
      if (other->options.name == effects.dial->host) target = other->host;
    }
    if (target) {
      machine.dialing = network_.dial(machine.host, *target, now_);
    } else {
      input(number, node::Dialed{.error = "no such host"});
    }
  }
  HF_ASSERT(effects.logins.empty());  // Nobody here has a password.
  for (std::unique_ptr<store::Job>& job : effects.jobs) {
    const auto lane = static_cast<size_t>(job->lane());
    trace_.mix(uint64_t{lane});
    machine.lanes[lane].waiting.push_back(std::move(job));
    run_lane(number, lane);
  }
  network_.set_reading(machine.host, !effects.pause_reading, now_);
}

// --- Disk jobs.

Duration World::job_delay(const Machine& machine) {
  const DiskTimes& times = machine.options.disk_times;
  const bool slow = prng_.chance(times.slow_per_mille, 1000);
  return Duration{static_cast<int64_t>(
      prng_.below(static_cast<uint64_t>((slow ? times.slow_max : times.delay_max).ns) + 1))};
}

void World::run_lane(uint32_t number, size_t lane) {
  Machine& machine = *machines_[number];
  if (machine.lanes[lane].busy || machine.lanes[lane].waiting.empty()) return;
  machine.lanes[lane].busy = true;
  const uint64_t life = machine.life;
  after(job_delay(machine), [this, number, lane, life] { run_job(number, lane, life); });
}

void World::run_job(uint32_t number, size_t lane_number, uint64_t life) {
  Machine& machine = *machines_[number];
  if (machine.life != life) return;
  if (machine.paused_until) {
    at(*machine.paused_until, [this, number, lane_number, life] { run_job(number, lane_number, life); });
    return;
  }
  Lane& lane = machine.lanes[lane_number];
  std::unique_ptr<store::Job> job = std::move(lane.waiting.front());
  lane.waiting.pop_front();
  ++figures_.jobs;
  job->run(machine.disk, machine.entropy);
  trace_.mix(machine.disk.digest());
  if (machine.disk.dead()) {
    job.reset();
    disk_died(number);
    return;
  }
  lane.busy = false;
  const Instant heard = std::max(now_ + job_delay(machine), lane.heard_last);
  lane.heard_last = heard;
  const uint64_t id = job_next_++;
  machine.done[id] = std::move(job);
  at(heard, [this, number, id, life] {
    Machine& owner = *machines_[number];
    if (owner.life != life) return;
    const auto done = owner.done.find(id);
    input(number, node::JobDone{.job = std::move(done->second)});
    owner.done.erase(done);
  });
  run_lane(number, lane_number);
}

// --- Clients.

void World::serve_client(uint32_t number) {
  ClientSeat& seat = clients_[number];
  const SimClient::Output output = seat.client->take_output();
  if (!output.bytes.empty() && seat.connection != 0) network_.send(seat.connection, output.bytes, now_);
  if (output.close) {
    if (seat.connection != 0) network_.close(seat.connection, now_);
    if (seat.dialing != 0) network_.close(seat.dialing, now_);
    seat.connection = 0;
    seat.dialing = 0;
  }
  if (output.dial) seat.dialing = network_.dial(seat.host, host(seat.machine), now_);
}

}  // namespace hf::sim
