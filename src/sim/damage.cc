// Disks that lie, lose and fill up: rot in the middle and at the end of a log, directories nobody wrote, and a disk that is
// too small for what has to wait.
#include <algorithm>

#include "sim/scenario.h"

namespace hf::sim {

namespace {

Result<Autopsy> look(const World& world, uint32_t machine, SimDisk disk) {
  disk.cut_after(0);
  disk.heal();
  return examine(disk, world.kek(machine), world.store_options(machine), world.fence(machine),
                 world.now_at(machine));
}

Village::Options lonely() {
  Village::Options options;
  options.disk_delay_max = milliseconds(2);
  options.site_subscriber = false;
  options.down_filters = {};
  options.qos_max = 1;
  return options;
}

// What one flipped byte may cost: the records of one frame, each named by a gap record.
std::string judge_rot(const Autopsy& sound, const Autopsy& found) {
  std::vector<const Autopsy::Item*> lost;
  for (const Autopsy::Item& item : sound.items) {
    const bool there = std::any_of(found.items.begin(), found.items.end(), [&](const Autopsy::Item& other) {
      return other.stream == item.stream && other.sequence == item.sequence && other.message == item.message;
    });
    if (!there) lost.push_back(&item);
  }
  uint64_t lost_bytes = 0;
  store::Position first{~uint64_t{0}};
  store::Position last;
  for (const Autopsy::Item* item : lost) {
    const bool named = std::any_of(found.gaps.begin(), found.gaps.end(), [&](const Autopsy::Gap& gap) {
      if (gap.stream.name.empty())
        return gap.first <= item->position.value && item->position.value <= gap.last;
      return gap.stream == item->stream && gap.first <= item->sequence && item->sequence <= gap.last;
    });
    if (!named) {
      return "number " + std::to_string(item->sequence) + " of " + item->stream.name +
             " is gone, and no gap record names it";
    }
    lost_bytes += item->size;
    first = std::min(first, item->position);
    last = std::max(last, item->position);
  }
  // Frames close at 16 KiB; the record that fills one may go over by its own size.
  if (lost_bytes > 16'384 + 10'000) return std::to_string(lost.size()) + " records are gone for one byte";
  for (const Autopsy::Item& item : found.items) {
    if (!lost.empty() && first < item.position && item.position < last &&
        std::none_of(
            lost.begin(), lost.end(),
            [&](const Autopsy::Item* one) { return one->position == item.position; })) {
      return "what is gone is not one run of records";
    }
  }
  return "";
}

// Rows that were there before the last commit are there after it was cut: it is one commit that is taken back.
std::string judge_rows(const Autopsy& before, const Autopsy& found) {
  for (const auto& [table, key] : before.row_keys) {
    const bool keeps = table == store::Table::kSession || table == store::Table::kParent ||
                       table == store::Table::kNode || table == store::Table::kReader ||
                       table == store::Table::kSubscription;
    if (keeps && !found.row_keys.contains({table, key})) {
      return std::string("the tail was cut, and with it an old row of table ") + store::table_name(table);
    }
  }
  return "";
}

// A site with some hundred records in several segments and nobody to give them to.
void fill(Village& village, int bursts) {
  World& world = village.world;
  world.block(village.site, village.hub, true, true);
  for (int i = 0; i < bursts && !world.failed(); ++i) {
    village.burst(4, 1500);
    world.run_for(milliseconds(60));
  }
}

constexpr int kRotBursts = 30;
// So long nothing happens that the mark is written that says: all of this is durable.
constexpr Duration kRotPause = seconds(12);

// The whole way: the node runs on the rotten disk, takes more, and everything that is left reaches the hub.
void live_with_rot(Village& village, const std::string& name, uint64_t offset, uint8_t mask) {
  World& world = village.world;
  Oracle& oracle = world.oracle();
  if (!world.set_up()) return;
  fill(village, kRotBursts);
  world.run_for(kRotPause);
  if (const Result<Autopsy> known = world.examine_disk(village.site, CutModel::kLost)) {
    oracle.remember_places(village.site, *known);
  }
  oracle.expect_damage(village.site);
  // Marks and identifiers of a commit that rots or is cut are older again.
  oracle.excuse([](MessageId, Message& message) { message.may_double_at = ~0u; });
  world.expect_forks();
  world.power_cut(village.site, CutModel::kLost, false, std::nullopt);
  world.disk(village.site).flip(name, offset, mask);
  if (const Result<Autopsy> rotten = world.examine_disk(village.site, CutModel::kLost)) {
    oracle.accept_named_losses(village.site, *rotten);
  }
  world.power_on(village.site);
  village.burst(3, 1500);
  world.run_for(seconds(1));
  world.finish(seconds(200));
}

}  // namespace

Verdict run_rot(const Run& run) {
  Verdict verdict;
  Village village(run.seed, lonely(), run.aloud);
  World& world = village.world;
  if (!world.set_up()) {
    verdict.add(world);
    return verdict;
  }
  fill(village, kRotBursts);
  const Result<Autopsy> before = world.examine_disk(village.site, CutModel::kLost);
  world.run_for(kRotPause);
  const SimDisk base = world.backup(village.site);
  const Result<Autopsy> sound = look(world, village.site, base);
  if (!sound || !before) {
    verdict.fail("starts: the sound store does not open", "");
    return verdict;
  }
  uint64_t bytes = 0;
  for (const std::string& name : base.durable_names())
    bytes += base.durable(name)->used_pages().size() * kPageBytes;
  const uint64_t stride = std::max<uint64_t>(1, bytes / 1500) | 1;
  uint64_t position = run.seed % stride;
  uint64_t passed = 0;
  uint64_t rows_lost = 0;
  for (const std::string& name : base.durable_names()) {
    const Image& image = *base.durable(name);
    // What stands in a sealed segment stands in its index as well, and the other way round.
    const bool twice =
        !name.ends_with(".seg") || base.durable(name.substr(0, name.size() - 3) + "idx") != nullptr;
    for (const uint64_t page : image.used_pages()) {
      const uint64_t begin = page * kPageBytes;
      const uint64_t size = std::min(kPageBytes, image.size() - begin);
      for (; position < passed + size; position += stride) {
        const uint64_t offset = begin + (position - passed);
        const auto mask = static_cast<uint8_t>(1u << (position % 8));
        const std::string which = "file=" + name + ",at=" + std::to_string(offset);
        if (!run.wants("file", name) || !run.wants("at", std::to_string(offset))) continue;
        SimDisk disk = base;
        disk.flip(name, offset, mask);
        const Result<Autopsy> found = look(world, village.site, disk);
        ++verdict.cases;
        std::string what =
            found ? judge_rot(*sound, *found) : std::string("the store does not open: ") + found.error().text;
        const bool rows_same = found && found->digest_tables == sound->digest_tables;
        if (what.empty() && found->report.tail_cut) what = judge_rows(*before, *found);
        if (what.empty() && !rows_same && twice) what = "rows differ that stand in an index as well";
        if (!what.empty()) {
          verdict.fail("kept: byte " + std::to_string(offset) + " of " + name + " flipped: " + what, which);
          return verdict;
        }
        rows_lost += rows_same ? 0 : 1;
        if (!rows_same || (verdict.cases % 97 != 1 && run.only.empty())) continue;
        Village other(run.seed, lonely(), run.aloud);
        live_with_rot(other, name, offset, mask);
        if (!verdict.add(other.world, which)) return verdict;
      }
      passed += size;
    }
  }
  verdict.note = std::to_string(rows_lost) + " flips cost rows of the active segment";
  verdict.add(world);
  return verdict;
}

// The last commit of a log cannot be told from a torn one when it rots: it is cut, and said so. By then its records may have
// been forwarded. The store cannot know their numbers any more; the hub does, and a fork under a new label follows, so that
// none of them means two records.
Verdict run_rot_tail(const Run& run) {
  Verdict verdict;
  Village::Options options = lonely();
  Village village(run.seed, options, run.aloud);
  World& world = village.world;
  world.expect_forks();
  if (world.set_up()) {
    Prng& prng = world.prng();
    for (int i = 0; i < 3; ++i) {
      village.burst(2, 400);
      world.run_for(milliseconds(static_cast<int64_t>(100 + prng.below(400))));
    }
    const Result<Autopsy> known = world.examine_disk(village.site, CutModel::kLost);
    if (known) world.oracle().remember_places(village.site, *known);
    const bool forwarded = prng.chance(3, 4);
    if (!forwarded) world.block(village.site, village.hub, true, true);
    // Acknowledged, and on its way to the hub; and then nothing else happens at the site.
    world.client(village.bulk).publish("bulk/0", 1, false, 200, world.now());
    world.client(village.small).publish("small/a", 1, false, 20, world.now());
    world.serve(village.bulk);
    world.serve(village.small);
    world.run_for(milliseconds(static_cast<int64_t>(80 + prng.below(200))));
    world.oracle().expect_damage(village.site);
    world.set_examine_crashes(false);
    world.power_cut(village.site, CutModel::kKept, false, std::nullopt);
    SimDisk& disk = world.disk(village.site);
    if (!disk.synced_last().empty()) {
      const SimDisk::Place place = disk.synced_last()[prng.below(disk.synced_last().size())];
      if (const Image* image = disk.durable(place.name)) {
        // Not in the zeros that fill its last page.
        const std::string bytes = image->read(place.offset, place.size);
        const uint64_t offset = place.offset + prng.below(bytes.find_last_not_of('\0') + 1);
        world.trace().say("a byte of the last commit rots (%s, %llu)", place.name.c_str(),
                          static_cast<unsigned long long>(offset));
        disk.flip(place.name, offset, 0x10);
      }
    }
    const Result<Autopsy> rotten = world.examine_disk(village.site, CutModel::kLost);
    if (!rotten) {
      world.oracle().violate("starts", "the store does not open after its last commit rotted: %s",
                             rotten.error().text);
    } else {
      world.trace().say("recovery: %s, %u frames rotten, commit %llu; %s",
                        rotten->report.tail_cut ? "tail cut" : "nothing cut", rotten->report.frames_rotten,
                        static_cast<unsigned long long>(rotten->report.commit_last),
                        rotten->summary().c_str());
      world.oracle().accept_named_losses(village.site, *rotten);
      // Rows of that commit are older again: what came down may come down again.
      world.oracle().excuse(
          [&](MessageId, Message& message) { message.may_double_at |= 1u << village.site; });
    }
    world.unblock_all();
    world.power_on(village.site);
    world.client(village.bulk).publish("bulk/0", 1, false, 100, world.now());
    world.client(village.small).publish("small/a", 1, false, 20, world.now());
    world.serve(village.bulk);
    world.serve(village.small);
    world.run_for(seconds(1));
    village.burst(3, 400);
    world.run_for(seconds(1));
    world.finish(seconds(200));
  }
  verdict.add(world);
  return verdict;
}

namespace {

// Does something to the directory that no crash does.
std::string vandalise(SimDisk& disk, const SimDisk& older, Prng& prng) {
  const std::vector<std::string> names = disk.durable_names();
  const auto random_bytes = [&](uint64_t size) {
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(prng.next());
    return out;
  };
  if (names.empty() || prng.chance(1, 10)) {
    const char* kNames[] = {"0000000000000001.seg",
                            "ffffffffffffffff.seg",
                            "0000000000000002.idx",
                            "keys.0",
                            "keys.1",
                            "lost+found",
                            "x"};
    const std::string name = kNames[prng.below(std::size(kNames))];
    disk.plant_file(name, prng.chance(1, 4) ? "" : random_bytes(prng.below(20'000)));
    return "garbage in " + name;
  }
  const std::string& name = names[prng.below(names.size())];
  std::string bytes = disk.durable(name)->read(0, disk.durable(name)->size());
  const auto page_of = [&](size_t size) { return prng.below(size / kPageBytes + 1) * kPageBytes; };
  switch (prng.below(9)) {
    case 0:
      bytes.resize(prng.below(bytes.size() + 1));
      break;
    case 1:
      for (uint64_t i = 0; i < 40 && !bytes.empty(); ++i) {
        bytes[prng.below(bytes.size())] ^= static_cast<char>(1 << prng.below(8));
      }
      break;
    case 2:
    case 3:
    case 4: {
      const uint64_t from = page_of(bytes.size());
      const uint64_t to = page_of(bytes.size());
      const std::string page = bytes.substr(std::min<size_t>(from, bytes.size()), kPageBytes);
      const std::string other = bytes.substr(std::min<size_t>(to, bytes.size()), kPageBytes);
      const uint64_t kind = prng.below(4);
      for (size_t i = 0; i < page.size() && to + i < bytes.size(); ++i)
        bytes[to + i] = kind == 0 ? '\0' : page[i];
      if (kind == 2) {
        for (size_t i = 0; i < other.size() && from + i < bytes.size(); ++i) bytes[from + i] = other[i];
      }
      if (kind == 3) bytes += page;
      break;
    }
    case 5:
      disk.take_file(name);
      return name + " removed";
    case 6: {
      const std::string& target = names[prng.below(names.size())];
      disk.plant_file(target, bytes);
      return name + " copied over " + target;
    }
    case 7: {
      const std::vector<std::string> old = older.durable_names();
      if (old.empty()) return "nothing";
      const std::string& stale = old[prng.below(old.size())];
      disk.plant_file(stale, older.durable(stale)->read(0, older.durable(stale)->size()));
      return "an older " + stale;
    }
    default:
      bytes = random_bytes(std::min<uint64_t>(bytes.size(), 50'000));
      break;
  }
  disk.plant_file(name, bytes);
  return name + " changed";
}

}  // namespace

Verdict run_garbage_directory(const Run& run) {
  Verdict verdict;
  Village village(run.seed, lonely(), run.aloud);
  World& world = village.world;
  if (!world.set_up()) {
    verdict.add(world);
    return verdict;
  }
  fill(village, 6);
  world.run_for(kRotPause);
  const SimDisk older = world.backup(village.site);
  village.burst(20, 3000);
  world.run_for(seconds(2));
  const SimDisk base = world.backup(village.site);

  for (uint64_t n = 0; n < 40; ++n) {
    Prng prng(run.seed * 1'000 + n);
    if (!run.wants("case", std::to_string(n))) continue;
    const std::string which = "case=" + std::to_string(n);
    SimDisk disk = prng.chance(1, 8) ? SimDisk(n) : base;
    std::string story;
    for (uint64_t i = 1 + prng.below(5); i > 0; --i) story += vandalise(disk, older, prng) + "; ";

    const Now now = world.now_at(village.site);
    SimEntropy entropy(prng.next());
    const uint64_t before = disk.operations();
    auto opened = node::Node::open(disk, entropy, world.kek(village.site), world.options(village.site).config,
                                   world.fence(village.site), now);
    ++verdict.cases;
    if (disk.operations() - before > 50'000) {
      verdict.fail("starts: " + story + "and opening took " + std::to_string(disk.operations() - before) +
                       " operations",
                   which);
      return verdict;
    }
    if (!opened) {
      const Code code = opened.error().code;
      // Runs as `locked`, or says that a newer version wrote this.
      if (code == Code::kWrongKey || code == Code::kForeign || code == Code::kUnsupported) continue;
      verdict.fail("starts: " + story + "and the node does not start: " + opened.error().text + " (" +
                       code_name(code) + ")",
                   which);
      return verdict;
    }
    // It runs: a second of steps, with its disk jobs done at once.
    node::Node& node = **opened;
    std::vector<node::Input> inputs;
    node::Effects effects;
    for (int step = 0; step < 200; ++step) {
      Now later = now;
      later.mono = later.mono + milliseconds(5 * step);
      effects.clear();
      node.step(inputs, later, effects);
      inputs.clear();
      for (std::unique_ptr<store::Job>& job : effects.jobs) {
        job->run(disk, entropy);
        inputs.push_back(node::JobDone{.job = std::move(job)});
      }
      if (effects.dial) inputs.push_back(node::Dialed{.error = "refused"});
    }
  }
  verdict.add(world);
  return verdict;
}

Verdict run_pressure(const Run& run) {
  Verdict verdict;
  Village::Options options = lonely();
  options.qos_max = 2;
  options.quota_bytes = 3 << 20;
  Village village(run.seed, options, run.aloud);
  World& world = village.world;
  world.oracle().expect_evictions(village.site);
  world.oracle().expect_evictions(village.hub);
  world.set_examine_crashes(true);
  if (world.set_up()) {
    Prng& prng = world.prng();
    uint64_t named = 0;
    const auto take_stock = [&] {
      if (world.failed()) return;
      const Result<Autopsy> found = world.examine_disk(village.site, CutModel::kLost);
      if (!found) {
        world.oracle().violate("starts", "the store of the site does not open: %s", found.error().text);
        return;
      }
      named += world.oracle().accept_named_losses(village.site, *found);
      world.oracle().remember_places(village.site, *found);
      if (const Result<Autopsy> above = world.examine_disk(village.hub, CutModel::kLost)) {
        world.oracle().remember_places(village.hub, *above);
      }
    };
    const bool crash = prng.chance(1, 2);
    for (int round = 0; round < 2 && !world.failed(); ++round) {
      world.block(village.site, village.hub, true, true);
      for (int i = 0; i < 40 && !world.failed(); ++i) {
        for (int j = 0; j < 5; ++j) {
          world.client(village.bulk)
              .publish("bulk/" + std::to_string(j % 2), 2, false, 6'000 + prng.below(20'000), world.now());
        }
        world.client(village.small).publish("small/a", 1, false, 50, world.now());
        world.serve(village.bulk);
        world.serve(village.small);
        world.run_for(milliseconds(300));
        take_stock();
        if (crash && i % 13 == 7 && !world.failed()) {
          world.power_cut(village.site, CutModel::kTorn, true, milliseconds(300));
          world.run_for(seconds(2));
        }
      }
      world.unblock_all();
      world.run_for(seconds(20));
      take_stock();
    }
    // What was given up for space stays named until the end.
    world.heal();
    for (int i = 0; i < 100 && !world.failed(); ++i) {
      std::string why;
      world.run_for(seconds(2));
      take_stock();
      if (world.converged(&why)) break;
    }
    world.finish(seconds(60));
    verdict.note = std::to_string(named) + " given up under gap records";
  }
  verdict.add(world);
  return verdict;
}

}  // namespace hf::sim
