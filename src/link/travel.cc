#include "link/travel.h"

#include <algorithm>

#include "base/assert.h"
#include "link/hello.h"
#include "link/prefix.h"
#include "link/rows.h"

namespace hf::link {

using store::Haste;
using store::ReaderId;
using store::StreamKey;
using store::Table;

namespace {

constexpr size_t kChangesMax = 16;

std::optional<Course> parse_course(Bytes row) {
  ByteReader in(row);
  Course course;
  course.priority = in.u8();
  while (!in.empty()) {
    Course::Change change;
    change.from = in.u8();
    change.at.value = in.varint();
    course.changes.push_back(change);
  }
  if (!in.ok()) return std::nullopt;
  return course;
}

}  // namespace

Travel::Travel(store::Store& store, std::string peer, std::string topic_prefix)
    : store_(store), peer_(std::move(peer)), prefix_(std::move(topic_prefix)) {
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

uint64_t Travel::hash_of(const store::Record& record) const {
  return record_hash(record.sequence, record.arrival, travelling_topic(prefix_, record.topic), record.headers,
                     record.payload);
}

ReaderId Travel::lane_reader(uint8_t priority) {
  const auto place =
      std::lower_bound(lanes_.begin(), lanes_.end(), priority,
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
  Course course = course_of(key).value_or(Course{{}, wanted});
  if (course.priority != wanted) {
    const ReaderId old = lane_reader(course.priority);
    const store::ReaderInfo* state = store_.reader(old);
    // Both may be too pessimistic for a while, the count after a rewind, the other after a restart.
    const bool nothing_owed = state->owed_count == 0 || store_.caught_up(old);
    if (!nothing_owed || state->low_water < state->cursor) return old;
    course.changes.push_back({course.priority, state->cursor});
    if (course.changes.size() > kChangesMax) course.changes.erase(course.changes.begin());
    course.priority = wanted;
    put_course(key, course);
  } else if (!course_of(key)) {
    put_course(key, course);
  }
  return lane_reader(wanted);
}

std::optional<Course> Travel::course_of(const StreamKey& travelling) const {
  const auto row = store_.get(Table::kLabel, lane_key(peer_, travelling));
  return row ? parse_course(*row) : std::nullopt;
}

void Travel::put_course(const StreamKey& travelling, const Course& course) {
  std::string row;
  put_u8(row, course.priority);
  for (const Course::Change& change : course.changes) {
    put_u8(row, change.from);
    put_varint(row, change.at.value);
  }
  store_.put(Table::kLabel, lane_key(peer_, travelling), row);
}

std::vector<Barrier> Travel::barriers() const {
  std::vector<Barrier> barriers;
  store_.scan(Table::kLabel, lane_prefix(peer_), [&](Bytes, Bytes row) {
    const std::optional<Course> course = parse_course(row);
    for (size_t i = 0; course && i < course->changes.size(); ++i) {
      const uint8_t to = i + 1 < course->changes.size() ? course->changes[i + 1].from : course->priority;
      barriers.push_back({to, course->changes[i].from, course->changes[i].at});
    }
    return true;
  });
  return barriers;
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

Travel::Owed Travel::owed() const {
  Owed owed;
  for (const Lane& lane : lanes_) {
    const store::ReaderInfo* reader = store_.reader(lane.reader);
    if (reader == nullptr) continue;
    owed.count += reader->owed_count;
    owed.bytes += reader->owed_bytes;
  }
  return owed;
}

void Travel::give_up() {
  for (const Lane& lane : lanes_) store_.give_up(lane.reader, store::GapCause::kDropped);
}

void Travel::remove() {
  for (const Lane& lane : lanes_) {
    store_.remove_reader(lane.reader, store::GapCause::kSessionEnded);
    store_.erase(table_of(peer_), reader_key(peer_, lane.priority));
  }
  lanes_.clear();
  store_.erase(table_of(peer_), memory_key(peer_));
  std::vector<std::string> keys;
  for (const std::string& prefix : {label_prefix(peer_), lane_prefix(peer_)}) {
    store_.scan(Table::kLabel, prefix, [&](Bytes key, Bytes) {
      keys.emplace_back(key);
      return true;
    });
  }
  for (const std::string& key : keys) store_.erase(Table::kLabel, key);
}

}  // namespace hf::link
