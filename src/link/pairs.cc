#include "link/pairs.h"

#include <algorithm>
#include <bit>

#include "link/rows.h"

namespace hf::link {

namespace {

using store::Haste;
using store::Table;

constexpr size_t kNewestCount = 64;
constexpr uint32_t kThinEvery = 32;

// The higher, the longer a number is kept.
int rank(uint64_t number) {
  uint64_t z = number * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93;
  return std::countr_zero(z ^ (z >> 32));
}

}  // namespace

std::vector<uint64_t> thinned(const std::vector<uint64_t>& numbers) {
  std::vector<uint64_t> gone;
  if (numbers.size() <= kNewestCount) return gone;
  const uint64_t newest = numbers.back();
  std::optional<uint64_t> kept;
  int bucket = -1;
  for (size_t i = numbers.size() - kNewestCount; i-- > 0;) {
    const uint64_t number = numbers[i];
    const auto distance = static_cast<int>(std::bit_width(newest - number));
    if (distance != bucket) {
      bucket = distance;
      kept = number;
    } else if (rank(number) > rank(*kept)) {
      gone.push_back(*kept);
      kept = number;
    } else {
      gone.push_back(number);
    }
  }
  std::sort(gone.begin(), gone.end());
  return gone;
}

Pairs Pairs::received(store::Store& store, const std::string& peer) {
  std::string prefix = "r";
  put_sized(prefix, peer);
  return Pairs(store, std::move(prefix), false);
}

Pairs Pairs::sent(store::Store& store, const std::string& peer, uint64_t store_id) {
  std::string prefix = "s";
  put_sized(prefix, peer);
  put_u64be(prefix, store_id);
  return Pairs(store, std::move(prefix), true);
}

std::string Pairs::prefix(const store::StreamKey& key) const {
  std::string prefix = prefix_;
  put_u64be(prefix, key.incarnation);
  put_sized(prefix, key.name);
  return prefix;
}

void Pairs::put(const store::StreamKey& key, const Pair& pair, Haste haste) {
  std::string row = prefix(key);
  put_u64be(row, pair.number);
  std::string value;
  put_u64(value, pair.hash);
  if (positions_) put_varint(value, pair.position.value);
  store_->put(Table::kPair, row, value, haste);
  if (++fresh_[key] >= kThinEvery) thin(key);
}

std::vector<Pair> Pairs::all(const store::StreamKey& key) const {
  std::vector<Pair> pairs;
  const std::string start = prefix(key);
  store_->scan(Table::kPair, start, [&](Bytes row, Bytes value) {
    ByteReader number(row.substr(start.size()));
    ByteReader rest(value);
    Pair pair;
    pair.number = number.u64be();
    pair.hash = rest.u64();
    if (positions_) pair.position.value = rest.varint();
    if (number.done() && rest.ok()) pairs.push_back(pair);
    return true;
  });
  return pairs;
}

std::optional<Pair> Pairs::last(const store::StreamKey& key) const {
  const std::vector<Pair> pairs = all(key);
  if (pairs.empty()) return std::nullopt;
  return pairs.back();
}

void Pairs::cut(const store::StreamKey& key, uint64_t number) {
  for (const Pair& pair : all(key)) {
    if (pair.number <= number) continue;
    std::string row = prefix(key);
    put_u64be(row, pair.number);
    store_->erase(Table::kPair, row);
  }
}

void Pairs::thin(const store::StreamKey& key) {
  fresh_.erase(key);
  std::vector<uint64_t> numbers;
  for (const Pair& pair : all(key)) numbers.push_back(pair.number);
  for (const uint64_t number : thinned(numbers)) {
    std::string row = prefix(key);
    put_u64be(row, number);
    store_->erase(Table::kPair, row, Haste::kRide);
  }
}

}  // namespace hf::link
