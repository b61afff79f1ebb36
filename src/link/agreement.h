// From which number on each of our streams goes to the peer, agreed anew at the start of every conversation.
// The peer's HELLO names the last number that it holds of each, and that record's hash; nothing counts as
// receipted on a number alone.
//
//   the peer holds        and here                              so
//   n, as we saw it       the hash agrees                       go on from n + 1
//   n, more than that     record n is here, its hash agrees     n counts as receipted; go on
//   n, less than that     pair or record n agrees               the peer was restored: rewind to n; what is
//                                                               gone here is a gap, kRewound
//   nothing               it was receipted                      likewise, to the beginning
//   n                     never written, or another hash        fork: ask for the peer's pairs, and between the last
//                                                               that agrees and the next for the hashes of single
//                                                               records; label what follows the last agreed one
//   anything              the stream is under a label by now    only what the peer lost below it goes again
//   n                     not ours, and not here                we were restored, our own child will send it
//                                                               again: hold back until n comes (`ahead`)
//
// A fork of a stream of our own renews the store's incarnation: this store was restored or cloned, or its
// disk lied. Works in steps of a bounded number of records, as looking at them may need the disk. Nothing is
// written before all streams are decided.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "link/hello.h"
#include "link/pairs.h"
#include "link/travel.h"
#include "store/store.h"

namespace hf::link {

class Agreement {
 public:
  // How a travelling stream goes on. Streams that are not named start from nothing.
  struct Resumed {
    uint64_t held = 0;                // The peer has all up to here.
    store::Position position;         // Of that record here, where it is known.
    bool listed = false;              // The peer has a mark, so that numbers we leave out must be named.
    std::optional<NumberHash> ahead;  // The peer says it has up to here, which is not here yet.
  };
  // By travelling key: what was sent and not receipted when the last conversation ended, ascending.
  using Unreceipted = std::map<store::StreamKey, std::vector<Pair>>;

  // `marks` in ascending order, as HELLO has them. `hashes`: the peer tells those of single records.
  Agreement(store::Store& store, Travel& travel, Pairs& pairs, Entropy& entropy, std::vector<Mark> marks,
            const Unreceipted& unreceipted, bool hashes, const Now& now);

  enum class State : uint8_t {
    kMore,     // step() again.
    kWaiting,  // For the disk (a lane's reader is woken) or for an answer.
    kDone,
  };
  State step(uint32_t record_count_max);
  // What the peer is to be asked, since the last call.
  std::vector<PairsMessage> take_questions();
  // False: nobody asked.
  bool answer(const PairsMessage& pairs);

  // --- When done.

  const std::map<store::StreamKey, Resumed>& resumed() const { return resumed_; }
  // Lanes that begin before their low-water position.
  const std::map<uint8_t, store::Position>& rewinds() const { return rewinds_; }
  uint32_t forks() const { return forks_; }
  bool renewed() const { return renewed_; }
  struct Line {
    const char* event;
    std::string text;
  };
  const std::vector<Line>& lines() const { return lines_; }

 private:
  enum class Phase : uint8_t {
    kScanMark,
    kAsk,
    kScanPairs,
    kSearch,
    kAskHashes,
    kScanHashes,
    kMeasure,
    kDone
  };
  enum class Verdict : uint8_t { kFresh, kAgreed, kAhead, kRewound, kForked, kClosed };
  struct Check {
    store::StreamKey key;                // Travelling.
    std::vector<store::StreamId> parts;  // The streams here that travel under it, oldest first.
    bool own = false;
    uint64_t sequence_last = 0;
    std::optional<uint64_t>
        closed;  // A label took over behind this number; nothing new travels under the key.
    std::optional<NumberHash> mark;  // What the peer holds.
    std::optional<Pair> receipted;   // What we saw receipted last.
    Phase phase = Phase::kDone;
    Verdict verdict = Verdict::kFresh;
    uint64_t lost_last = 0;  // kRewound: what is gone here, from agreed + 1; 0: nothing.
    Pair agreed;             // The last that both have: zero, or a number with its hash and position here.
    std::vector<NumberHash> goals;  // What the scan compares, ascending.
    size_t goal = 0;
    size_t part = 0;  // Where the scan is.
    store::Position after;
    uint64_t differs = 0;  // The lowest number that is known not to agree.
    uint32_t searches = 0;
  };

  void begin(Check& check, const Unreceipted& unreceipted);
  State advance(Check& check, uint32_t* budget);
  // Compares goals with records until one differs, is not here, or none is left.
  State scan(Check& check, uint32_t* budget);
  State measure(Check& check);
  void decide(Check& check, Verdict verdict);
  void disagree(Check& check);
  void scanned(Check& check);
  State search(Check& check);
  // Writes what was decided, all in one group: half of it would be a lie to the next conversation.
  void finish();
  void resume(const Check& check);
  void take_back(const Check& check);
  void fork(const Check& check);
  void rewind(const Check& check, store::Position position);
  store::ReaderId waiter(const Check& check) const;
  bool listed(const store::StreamKey& key) const;

  store::Store& store_;
  Travel& travel_;
  Pairs& pairs_;
  Entropy& entropy_;
  const std::vector<Mark> marks_;
  const int64_t wall_us_;
  std::vector<Check> checks_;
  size_t done_ = 0;  // Checks before this one are done.
  bool finished_ = false;
  const bool hashes_;
  bool asking_ = false;  // For single records: of one stream at a time.
  std::vector<PairsMessage> questions_;
  std::map<store::StreamKey, Resumed> resumed_;
  std::map<uint8_t, store::Position> rewinds_;
  uint32_t forks_ = 0;
  bool renewed_ = false;
  std::vector<Line> lines_;
};

// Relabels what follows `agreed` of the streams that travel under `key`, because the peer holds something
// else there, up to `doubtful_last`. Returns the key under which it travels from now on. *renewed: the store
// has a new incarnation.
store::StreamKey fork_stream(store::Store& store, Travel& travel, Pairs& pairs, Entropy& entropy,
                             const store::StreamKey& key, uint64_t agreed, uint64_t doubtful_last,
                             const std::vector<Mark>& marks, bool* renewed);

// The streams here that travel under `key` now, oldest first.
std::vector<store::StreamId> parts_of(store::Store& store, Travel& travel, const store::StreamKey& key);

}  // namespace hf::link
