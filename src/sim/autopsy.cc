#include "sim/autopsy.h"

#include <algorithm>

#include "base/crc32c.h"
#include "link/halves.h"
#include "sim/entropy.h"

namespace hf::sim {

namespace {

void mix(uint64_t* hash, uint64_t value) { *hash = (*hash ^ value) * 0x100000001b3 + (*hash >> 47); }
void mix(uint64_t* hash, Bytes bytes) {
  mix(hash, bytes.size());
  mix(hash, uint64_t{crc32c(bytes)});
}

// Runs what the store asks of the disk until it asks no more.
void settle(store::Store& store, SimDisk& disk, SimEntropy& entropy, const Now& now) {
  for (int i = 0; i < 10'000; ++i) {
    std::unique_ptr<store::Job> job = store.take_job(now);
    if (job == nullptr) return;
    job->run(disk, entropy);
    store.complete(std::move(job), now);
  }
}

void read_stream(store::Store& store, SimDisk& disk, SimEntropy& entropy, const Now& now, store::StreamId id,
                 const store::StreamKey& key, Autopsy* out) {
  store::Position after;
  int tries = 0;
  while (true) {
    const store::Store::Fetch fetch = store.next_in_stream(id, after, 0);
    if (fetch.status == store::Store::FetchStatus::kPending && ++tries < 100) {
      settle(store, disk, entropy, now);
      continue;
    }
    if (fetch.status != store::Store::FetchStatus::kRecord) return;
    tries = 0;
    const store::Record& record = *fetch.record;
    Autopsy::Item item;
    item.stream = key;
    item.sequence = record.sequence;
    item.position = record.position;
    item.topic = std::string(record.topic);
    item.qos = record.qos;
    item.may_double = record.may_double;
    // A piece of a large record is no message, also where all of one is in it.
    if (key.name != link::kHalvesStream) item.message = read_payload(record.payload);
    item.size = record.payload.size();
    if (item.message && !item.may_double) ++out->counts[*item.message];
    if (item.message && item.may_double) out->counts.try_emplace(*item.message, 1);
    mix(&out->digest_records, record.sequence);
    mix(&out->digest_records, record.topic);
    mix(&out->digest_records, record.payload);
    after = record.position;
    out->items.push_back(std::move(item));
  }
}

}  // namespace

const Autopsy::Stream* Autopsy::find(const store::StreamKey& key) const {
  const auto it =
      std::find_if(streams.begin(), streams.end(), [&](const Stream& stream) { return stream.key == key; });
  return it == streams.end() ? nullptr : &*it;
}

std::string Autopsy::summary() const {
  std::string out;
  for (size_t i = 0; i < items.size();) {
    size_t end = i;
    while (end < items.size() && items[end].stream == items[i].stream) ++end;
    out += (out.empty() ? "" : ", ") + items[i].stream.name + "@" +
           to_hex(items[i].stream.incarnation).substr(0, 4) + " " + std::to_string(items[i].sequence) + "-" +
           std::to_string(items[end - 1].sequence) + " (" + std::to_string(end - i) + ")";
    i = end;
  }
  for (const Gap& gap : gaps) {
    out += std::string(", gap ") + store::gap_cause_name(gap.cause) + " " + gap.stream.name + " " +
           std::to_string(gap.first) + "-" + std::to_string(gap.last) + " reader " +
           std::to_string(gap.reader);
  }
  return out;
}

Result<Autopsy> examine(SimDisk disk, const crypto::Key& kek, const store::Options& options, Bytes fence,
                        const Now& now) {
  Autopsy out;
  SimEntropy entropy(now.mono.ns ^ 0x9e3779b97f4a7c15);
  disk.heal();
  HF_TRY_ASSIGN(const std::unique_ptr<store::Store> opened,
                store::Store::open(disk, entropy, kek, options, fence, now, &out.report));
  store::Store& store = *opened;
  out.incarnation = store.incarnation();
  std::map<store::StreamId, store::StreamKey> keys;
  store.for_each_stream([&](const store::StreamInfo& info) {
    keys[info.id] = info.key;
    out.streams.push_back({info.key, info.options.origin, info.sequence_last, info.options.origin.empty()});
    mix(&out.digest_records, info.key.name);
    mix(&out.digest_records, info.key.incarnation);
    mix(&out.digest_records, info.sequence_last);
  });
  // Rows as they are right after recovery, without those whose content is when and how often the store was opened.
  for (uint8_t table = 1; table <= store::kTableMax; ++table) {
    if (table == static_cast<uint8_t>(store::Table::kStore) ||
        table == static_cast<uint8_t>(store::Table::kGap))
      continue;
    store.scan(static_cast<store::Table>(table), "", [&](Bytes key, Bytes value) {
      mix(&out.digest_tables, uint64_t{table});
      mix(&out.digest_tables, key);
      mix(&out.digest_tables, value);
      ++out.row_count;
      out.row_keys.emplace(static_cast<store::Table>(table), key);
      return true;
    });
  }
  for (const auto& [id, key] : keys) read_stream(store, disk, entropy, now, id, key, &out);
  // Rot in a sealed segment is found when it is read.
  store.for_each_gap([&](const store::Gap& gap) {
    const auto key = keys.find(gap.stream);
    out.gaps.push_back(
        {key == keys.end() ? store::StreamKey{} : key->second, gap.first, gap.last, gap.cause, gap.reader});
  });
  std::sort(out.items.begin(), out.items.end(), [](const Autopsy::Item& a, const Autopsy::Item& b) {
    return std::tie(a.stream, a.position) < std::tie(b.stream, b.position);
  });
  mix(&out.digest, out.digest_tables);
  mix(&out.digest, out.digest_records);
  return out;
}

}  // namespace hf::sim
