#include "link/travel.h"

#include <algorithm>

#include "base/assert.h"
#include "link/rows.h"

namespace hf::link {

using store::Haste;
using store::ReaderId;
using store::StreamKey;
using store::Table;

Travel::Travel(store::Store& store, std::string peer) : store_(store), peer_(std::move(peer)) {
  const std::string prefix = reader_prefix(peer_);
  store_.scan(table_of(peer_), prefix, [&](Bytes key, Bytes value) {
    ByteReader priority(key.substr(prefix.size()));
    ByteReader reader(value);
    const Lane lane{priority.u8(), reader.varint()};
    if (priority.done() && reader.done() && store_.reader(lane.reader) != nullptr) lanes_.push_back(lane);
    return true;
  });
  if (const auto row = store_.get(table_of(peer_), memory_key(peer_))) {
    ByteReader memory(*row);
    store_id_ = memory.u64();
    goodput_ = memory.varint();
  }
}

ReaderId Travel::lane_reader(uint8_t priority) {
  const auto place = std::lower_bound(lanes_.begin(), lanes_.end(), priority,
                                      [](const Lane& lane, uint8_t wanted) { return lane.priority < wanted; });
  if (place != lanes_.end() && place->priority == priority) return place->reader;
  const ReaderId reader = store_.create_reader(true);
  std::string value;
  put_varint(value, reader);
  store_.put(table_of(peer_), reader_key(peer_, priority), value);
  lanes_.insert(place, {priority, reader});
  return reader;
}

ReaderId Travel::reader_for(store::StreamId stream) {
  const store::StreamInfo* info = store_.stream(stream);
  HF_ASSERT(info != nullptr);
  const uint8_t wanted = info->options.priority;
  const StreamKey key = open_key(info->key);
  const std::optional<uint8_t> bound = lane_of(key);
  if (bound && *bound != wanted) {
    const ReaderId reader = lane_reader(*bound);
    const store::ReaderInfo* state = store_.reader(reader);
    if (state != nullptr && state->owed_count > 0) return reader;
  }
  if (!bound || *bound != wanted) bind_lane(key, wanted);
  return lane_reader(wanted);
}

std::optional<uint8_t> Travel::lane_of(const StreamKey& travelling) const {
  const auto row = store_.get(Table::kLabel, lane_key(peer_, travelling));
  if (!row || row->size() != 1) return std::nullopt;
  return static_cast<uint8_t>(row->front());
}

void Travel::bind_lane(const StreamKey& travelling, uint8_t priority) {
  store_.put(Table::kLabel, lane_key(peer_, travelling), std::string(1, static_cast<char>(priority)));
}

bool Travel::meet(uint64_t store_id) {
  if (store_id == store_id_) return false;
  const bool other = store_id_ != 0;
  store_id_ = store_id;
  labels_.clear();
  put_memory();
  return other;
}

void Travel::remember_goodput(uint64_t goodput) {
  // A quarter more or less makes no difference to the next start.
  if (goodput > goodput_ - goodput_ / 4 && goodput < goodput_ + goodput_ / 4) return;
  goodput_ = goodput;
  put_memory();
}

void Travel::put_memory() {
  std::string value;
  put_u64(value, store_id_);
  put_varint(value, goodput_);
  store_.put(table_of(peer_), memory_key(peer_), value, Haste::kRide);
}

const std::vector<Label>& Travel::labels(const StreamKey& local) {
  const auto [found, fresh] = labels_.try_emplace(local);
  if (fresh) {
    if (const auto row = store_.get(Table::kLabel, label_key(peer_, store_id_, local))) {
      ByteReader in(*row);
      while (!in.empty()) {
        Label label;
        label.from = in.varint();
        label.incarnation = in.u64();
        label.doubtful_last = in.varint();
        if (in.ok()) found->second.push_back(label);
      }
    }
  }
  return found->second;
}

void Travel::add_label(const StreamKey& local, const Label& label) {
  labels(local);
  std::vector<Label>& list = labels_[local];
  // A fork below an earlier one replaces it: nothing travels under that label any more.
  while (!list.empty() && list.back().from >= label.from) list.pop_back();
  list.push_back(label);
  std::string value;
  for (const Label& each : list) {
    put_varint(value, each.from);
    put_u64(value, each.incarnation);
    put_varint(value, each.doubtful_last);
  }
  store_.put(Table::kLabel, label_key(peer_, store_id_, local), value);
}

StreamKey Travel::open_key(const StreamKey& local) {
  const std::vector<Label>& list = labels(local);
  return list.empty() ? local : StreamKey{list.back().incarnation, local.name};
}

void Travel::remove() {
  for (const Lane& lane : lanes_) {
    store_.remove_reader(lane.reader, store::GapCause::kSessionEnded);
    store_.erase(table_of(peer_), reader_key(peer_, lane.priority));
  }
  lanes_.clear();
  store_.erase(table_of(peer_), memory_key(peer_));
  std::vector<std::string> keys;
  for (const char tag : {'L', 'R'}) {
    std::string prefix(1, tag);
    put_sized(prefix, peer_);
    store_.scan(Table::kLabel, prefix, [&](Bytes key, Bytes) {
      keys.emplace_back(key);
      return true;
    });
  }
  for (const std::string& key : keys) store_.erase(Table::kLabel, key);
}

}  // namespace hf::link
