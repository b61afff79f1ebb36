#include "link/halves.h"

#include <algorithm>

#include "base/assert.h"
#include "link/rows.h"

namespace hf::link {

using store::Store;
using store::StreamKey;

namespace {

constexpr uint8_t kPriority = 9;

}  // namespace

Halves::Halves(Store& store, std::string peer) : store_(store), peer_(std::move(peer)) {
  const std::string prefix = half_prefix(peer_);
  store_.scan(table_of(peer_), prefix, [&](Bytes key, Bytes value) {
    ByteReader in(value);
    Kept kept;
    kept.half.number = in.varint();
    kept.half.hash = in.u64();
    kept.half.size = in.varint();
    kept.half.held = in.varint();
    kept.reader = in.varint();
    const bool sound = parse_stream(key.substr(prefix.size()), &kept.half.key) && in.done() &&
                       store_.reader(kept.reader) != nullptr;
    if (sound) kept_[kept.half.key] = kept;
    return true;
  });
}

std::vector<Half> Halves::all() const {
  std::vector<Half> all;
  for (const auto& [key, kept] : kept_) all.push_back(kept.half);
  return all;
}

const Half* Halves::find(const StreamKey& key) const {
  const auto found = kept_.find(key);
  return found == kept_.end() ? nullptr : &found->second.half;
}

void Halves::put(const Kept& kept) {
  std::string row;
  put_varint(row, kept.half.number);
  put_u64(row, kept.half.hash);
  put_varint(row, kept.half.size);
  put_varint(row, kept.half.held);
  put_varint(row, kept.reader);
  store_.put(table_of(peer_), half_key(peer_, kept.half.key), row);
  commit_ = store_.open_commit();
}

void Halves::begin(const Half& half) {
  drop(half.key);
  if (kept_.size() >= kHalvesMax) {
    // Readers are numbered as they are made.
    const auto oldest = std::min_element(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) {
      return a.second.reader < b.second.reader;
    });
    const StreamKey key = oldest->first;
    drop(key);
  }
  Kept& kept = kept_[half.key];
  kept.half = half;
  kept.half.held = 0;
  kept.reader = store_.create_reader(true);
  put(kept);
}

void Halves::add(const StreamKey& key, Bytes bytes, const Now& now) {
  const auto found = kept_.find(key);
  HF_ASSERT(found != kept_.end());
  Kept& kept = found->second;
  const std::string audience = store::encode_audience({{kept.reader, 1, false, {}}});
  store::NewRecord record;
  record.stream = store_.open_local_stream(kHalvesStream, kPriority, 0);
  record.topic = kHalvesStream;
  record.payload = bytes;
  record.qos = 1;
  record.arrival = store::arrival_of(now);
  record.audience = audience;
  store_.append(record);
  kept.half.held += bytes.size();
  kept.commit = store_.open_commit();
  put(kept);
}

void Halves::drop(const StreamKey& key) {
  const auto found = kept_.find(key);
  if (found == kept_.end()) return;
  store_.remove_reader(found->second.reader, std::nullopt);
  store_.erase(table_of(peer_), half_key(peer_, key));
  commit_ = store_.open_commit();
  kept_.erase(found);
}

void Halves::drop_all() {
  while (!kept_.empty()) {
    const StreamKey key = kept_.begin()->first;
    drop(key);
  }
}

void Halves::rewind(const StreamKey& key) {
  const auto found = kept_.find(key);
  if (found == kept_.end()) return;
  // Nothing is ever acknowledged, so this is where it begins.
  const store::ReaderInfo* reader = store_.reader(found->second.reader);
  store_.rewind(found->second.reader, reader->low_water);
}

Halves::Read Halves::read(const StreamKey& key, std::string* out) {
  const auto found = kept_.find(key);
  if (found == kept_.end()) return Read::kEnd;
  const Store::Fetch fetch = store_.next(found->second.reader);
  switch (fetch.status) {
    case Store::FetchStatus::kRecord:
      out->append(fetch.record->payload);
      return Read::kBytes;
    case Store::FetchStatus::kPending:
      return Read::kPending;
    case Store::FetchStatus::kNone:
      return found->second.commit > store_.durable_commit() ? Read::kPending : Read::kEnd;
    case Store::FetchStatus::kGone:
      break;
  }
  return Read::kEnd;
}

bool Halves::is_reader(store::ReaderId reader) const {
  return std::any_of(kept_.begin(), kept_.end(),
                     [&](const auto& kept) { return kept.second.reader == reader; });
}

}  // namespace hf::link
