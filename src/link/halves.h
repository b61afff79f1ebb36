// What is here of records that come from one peer in pieces. The pieces are records of this node's own stream
// `$halves`, owed to a reader that each such record has for itself: so the log keeps them, however long the rest
// takes and whatever restarts, and memory holds a row for each record that is not whole, never its bytes. When
// the reader goes, so does what was kept for it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "link/chunk.h"
#include "store/store.h"

namespace hf::link {

// Of this node's own: no route can name it, and no list shows it.
inline constexpr Bytes kHalvesStream = "$halves";
inline bool of_halves(const store::StreamInfo& info) {
  return info.options.origin.empty() && info.key.name == kHalvesStream;
}

class Halves {
 public:
  // `peer`: a registered name, or kParentName.
  Halves(store::Store& store, std::string peer);

  std::vector<Half> all() const;
  const Half* find(const store::StreamKey& key) const;
  // What all() says holds once this commit is durable.
  uint64_t commit() const { return commit_; }

  // Begins anew with none of it, in the place of what was there of this stream. The oldest of too many goes.
  void begin(const Half& half);
  // The next bytes of the one that was begun.
  void add(const store::StreamKey& key, Bytes bytes, const Now& now);
  void drop(const store::StreamKey& key);
  void drop_all();

  // --- Reading one back, from its begin on.
  void rewind(const store::StreamKey& key);
  enum class Read : uint8_t { kBytes, kPending, kEnd };  // kPending: the reader is woken.
  // Appends the next piece to *out.
  Read read(const store::StreamKey& key, std::string* out);
  bool is_reader(store::ReaderId reader) const;

 private:
  struct Kept {
    Half half;
    store::ReaderId reader = 0;
    uint64_t commit = 0;  // Of its last piece.
  };
  void put(const Kept& kept);

  store::Store& store_;
  const std::string peer_;
  std::map<store::StreamKey, Kept> kept_;
  uint64_t commit_ = 0;
};

}  // namespace hf::link
