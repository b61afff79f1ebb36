// What two nodes have agreed on, stream by stream: pairs (number, hash of that record). The receiver writes
// one with every batch it commits, the sender one with every receipt; the sender's also knows where the
// record stands in its log. With them two sides find the last record that both have, after one of them was
// restored, cloned, or lied to by its disk.
//
// Kept are the last 64 of each stream, and of the older ones one for each doubling of the distance to the
// newest. Which one is decided by the number alone (the one whose hash of the number has most trailing
// zeros), so that both sides, thinning at different moments, keep the same.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"

namespace hf::link {

struct Pair {
  uint64_t number = 0;
  uint64_t hash = 0;
  store::Position position;  // The sender's alone.
  bool operator==(const Pair&) const = default;
};

// Which of `numbers` (ascending) are to be given up.
std::vector<uint64_t> thinned(const std::vector<uint64_t>& numbers);

class Pairs {
 public:
  // Of what we receive from a peer.
  static Pairs received(store::Store& store, const std::string& peer);
  // Of what a peer's store has receipted.
  static Pairs sent(store::Store& store, const std::string& peer, uint64_t store_id);

  void put(const store::StreamKey& key, const Pair& pair, store::Haste haste);
  // In ascending order.
  std::vector<Pair> all(const store::StreamKey& key) const;
  std::optional<Pair> last(const store::StreamKey& key) const;
  // Erases what lies above `number`: it is not agreed any more.
  void cut(const store::StreamKey& key, uint64_t number);

 private:
  Pairs(store::Store& store, std::string prefix, bool positions)
      : store_(&store), prefix_(std::move(prefix)), positions_(positions) {}
  std::string prefix(const store::StreamKey& key) const;
  void thin(const store::StreamKey& key);

  store::Store* store_;
  std::string prefix_;
  bool positions_;
  std::map<store::StreamKey, uint32_t> fresh_;  // Put since the last thinning.
};

}  // namespace hf::link
