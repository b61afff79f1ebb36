// The sending half of a conversation: takes what the peer is owed from its lanes, packs it into batches, and
// gives it up when the receipt comes, never before.
//
//   start(): Agreement finds from where each stream goes on  ->  lanes rewind to their low-water position
//   pump():  lane -> records -> sections -> Channel::send        as far as the pace allows
//   receipt(): the store's readers move on and the pairs are written, with the next commit
//
// Which lane: the lowest priority number that has something; of every ten bytes one is for the lanes behind
// it, in turn, so that a flood of the urgent does not stop the rest.
//
// A record that is larger than a batch goes in pieces (large.cc): one at a time in each lane, its pieces between the
// batches of whatever else the lane holds. Only its own stream waits for it. It is read again for each piece, so
// that what is in memory is a position.
//
// In a lane what was taken and has not left is in the order of the log: first what is stashed, then what goes on again, then
// what the store has next. What waits behind a large record is of streams of which nothing in those comes before it.
//
// Invariant: a record is acknowledged at the store only when the peer is known to hold it (its receipt, or
// its mark with the right hash), or when nobody can want it any more (expired, too large for the peer: then a
// gap record says so).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "link/agreement.h"
#include "link/batch.h"
#include "link/channel.h"
#include "link/chunk.h"
#include "link/host.h"
#include "link/pace.h"
#include "link/packing.h"
#include "link/pairs.h"
#include "link/travel.h"

namespace hf::link {

struct SenderCounters {
  uint64_t sent_bytes = 0;          // Batches as they travel.
  uint64_t sent_plain_bytes = 0;    // Before compression.
  uint64_t sent_payload_bytes = 0;  // The records' own bytes in them.
  uint64_t batches_sent = 0;
  uint64_t records_sent = 0;
  uint64_t records_receipted = 0;
  uint64_t records_held = 0;  // The peer had them already: known by number and hash, not sent.
  uint64_t records_expired = 0;
  uint64_t records_given_up = 0;  // Too large for the peer.
  uint64_t batches_refused = 0;
  uint64_t forks = 0;
  uint64_t pieces_sent = 0;  // Of records that are larger than a batch.
  uint64_t pieces_held = 0;  // Bytes of pieces that the peer had already when a record was begun.
};

class Sender {
 public:
  Sender(store::Store& store, Host& host, Entropy& entropy, std::string peer, std::string prefix = {});
  ~Sender();

  Travel& travel() { return travel_; }
  const Travel& travel() const { return travel_; }

  // The peer said HELLO. `peer_name` is for people.
  // `features`: those that both sides have.
  void start(Channel& channel, const Hello& hello, uint64_t features, const Now& now);
  // The conversation is over; what is under way counts as not sent.
  void stop();
  // An answer to a question for pairs. False: nobody asked.
  bool pairs(const PairsMessage& message);
  // What the peer holds of large records; what became of one. False: it should not have said so.
  bool halves(const std::vector<Half>& halves);
  bool verdict(const Chunk& chunk, const Now& now);
  // The peer acknowledged message `id`. False if it is none of ours.
  bool receipt(uint16_t id, mqtt::Reason reason, const Now& now);
  // One of store.take_woken(); false if the reader is not of this peer.
  bool woken(store::ReaderId reader);
  void unsent(uint64_t bytes) { unsent_bytes_ = bytes; }
  // Sends what may be sent now. Bounded: wants_more() says that there is more to do at once.
  void pump(const Now& now);
  bool wants_more() const { return more_; }
  std::optional<Instant> next_deadline() const;

  // The streams are agreed, and records may flow.
  bool flowing() const { return channel_ != nullptr && agreement_ == nullptr; }
  // A receipt is owed to us; the peer is taken for dead when it showed no sign of life for as long as
  // patience().
  bool awaiting() const { return !flights_.empty(); }
  Duration patience() const;
  void silent() { pace_.silent(); }

  const SenderCounters& counters() const { return counters_; }
  const Pace& pace() const { return pace_; }

 private:
  // A stream as the peer sees it, for one conversation.
  struct Out {
    store::StreamKey key;
    uint64_t held = 0;  // The peer has all up to here, verified or receipted.
    store::Position held_position;
    uint64_t last_sent = 0;  // Also what is under way.
    store::Position last_position;
    bool started = false;  // The peer expects last_sent + 1 next.
    std::optional<NumberHash> ahead;
    std::vector<store::Position> waiting;  // Up to `ahead`: taken, neither sent nor given up.
    std::optional<uint8_t> blocked;        // By a large record in the lane of this priority.
  };
  // The way of a run of numbers of one stream here.
  struct Way {
    store::StreamId stream = 0;
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t doubtful_last = 0;
    Out* out = nullptr;
  };
  struct End {  // Of a section.
    Out* out = nullptr;
    store::StreamId stream = 0;
    Pair pair;
  };
  // A record that goes in pieces.
  struct Large {
    Out* out = nullptr;
    store::Position position;
    Half half;             // `held` is what has left. Size 0: it was not looked at yet.
    bool pending = false;  // Its bytes come from the disk.
    bool whole = false;    // All of it has left; the verdict is to come.
    uint64_t shrink = 16;  // As below, of its own bytes.
    End end;               // Once whole.
  };
  struct Road {  // A lane while the conversation lasts.
    Lane lane;
    bool ready = true;                      // The store may have something.
    bool drained = false;                   // And nothing is on its way from the disk.
    std::deque<store::Store::Fetch> stash;  // Taken and not sent yet.
    Packing packing;
    std::unique_ptr<Large> large;
    bool large_turn = true;  // Its piece goes before a batch of the others.
    std::deque<store::Position>
        behind;  // Taken, and left until `large` is through: its stream goes no further.
    std::deque<store::Position> again;  // Those that may go on: they come before whatever next() has.
    bool readable() const { return ready && (!again.empty() || behind.size() < kBehindMax); }
    bool large_may_go() const { return large && !large->pending && !large->whole; }
    bool has() const { return readable() || !stash.empty() || large_may_go(); }
    // The first that was taken and has not left.
    std::optional<store::Position> first_left() const;
  };
  static constexpr size_t kBehindMax = 1 << 16;
  struct Flight {
    uint16_t id = 0;
    store::ReaderId reader = 0;
    uint8_t priority = 0;
    Instant sent;
    bool alone = false;
    uint64_t bytes = 0;
    uint64_t records = 0;
    std::vector<store::Position> positions;
    std::vector<End> ends;
    std::optional<Half> piece;  // It is one, up to `held`, or the whole: no record is receipted by it.
  };
  struct Draft {
    std::vector<Section> sections;
    std::vector<End> ends;
    uint64_t payload_bytes = 0;
    uint64_t cost_bytes = 0;
    uint64_t records = 0;
    size_t runs = 0;
    size_t taken = 0;  // Of the records it was made of; the rest does not fit.
  };
  enum class Sent : uint8_t { kYes, kNothing, kStop };
  struct Expired {
    store::StreamId stream = 0;
    uint64_t first = 0;
    uint64_t last = 0;
  };

  void agree(const Now& now);
  void flow();
  void lay_roads();
  Road* road_of(uint8_t priority);
  // Whether the road's next record must wait for another lane, in which its stream was before.
  bool barred(const Road& road, store::Position position);
  Road* choose();
  Sent send_from(Road& road, uint64_t room, const Now& now);
  Sent send_batch(Road& road, uint64_t room, const Now& now);
  void account(const Road& road, uint64_t bytes);
  std::optional<store::Store::Fetch> take(Road& road);
  void collect(Road& road, uint64_t plain_bytes_max, std::vector<store::Store::Fetch>* records,
               const Now& now);
  // Decides about one record as it comes from the store: true if it is to be sent.
  bool wanted(Road& road, const store::Store::Fetch& fetch, const Now& now);
  void draft(const Road& road, std::span<const store::Store::Fetch> records, Draft* draft, const Now& now);
  // Names the numbers between `after` and the record.
  void name_absent(const Road& road, const Pair& after, uint64_t first, const store::Record& record,
                   std::vector<AbsentRun>* runs);
  void stash(Road& road, std::vector<store::Store::Fetch>* records, size_t keep);
  Way& way_of(store::StreamId stream, uint64_t sequence);
  Out& out_of(const store::StreamKey& key);
  bool held_back(Road& road, Out& out, const store::Store::Fetch& fetch);
  void give_up(const Road& road, const store::Record& record, const char* why, const Now& now);
  void flush_expired(const Road& road, const Now& now);
  void refused(Flight& flight, mqtt::Reason reason, const Now& now);

  // --- large.cc
  bool is_large(const store::Record& record) const;
  void block(Road& road, Out& out, const store::Record& record);
  Sent send_piece(Road& road, uint64_t room, const Now& now);
  Sent send_whole(Road& road, const store::Store::Fetch& fetch, const Now& now);
  // The lane's large record is done with, one way or another.
  void unblock(Road& road);
  void tell_given_up(const Half& half);
  void forget_halves();
  void close(const char* why);

  store::Store& store_;
  Host& host_;
  Entropy& entropy_;
  const std::string peer_;
  Travel travel_;
  std::optional<Pairs> pairs_;
  BatchCodec codec_;
  Pace pace_;
  SenderCounters counters_;

  Channel* channel_ = nullptr;
  bool closing_ = false;
  bool compress_ = false;
  std::unique_ptr<Agreement> agreement_;
  Agreement::Unreceipted unreceipted_;  // Of the conversation before.
  std::vector<Mark> marks_;
  uint64_t labels_commit_ = 0;  // Nothing leaves before this is durable: it holds labels.
  std::map<store::StreamKey, Out> outs_;
  Way way_;  // The last one looked up.
  std::vector<Road> roads_;
  std::vector<Barrier> barriers_;
  std::deque<Flight> flights_;
  std::vector<Expired> expired_;
  std::map<store::StreamId, std::vector<store::Gap>>
      gaps_;  // Looked up once a batch, when a number is absent.
  bool gaps_known_ = false;
  ChunkCodec chunk_codec_;
  bool chunks_ = false;        // The peer takes records in pieces,
  bool halves_known_ = false;  // and has said what it holds of such.
  std::map<store::StreamKey, Half> halves_;
  std::set<std::pair<store::ReaderId, store::Position>>
      given_up_;  // They may be handed out again after a rewind.
  uint64_t unsent_bytes_ = 0;
  uint64_t share_debt_ = 0;  // What the lanes behind are owed, times nine.
  uint8_t share_last_ = 0;   // Whose turn was last.
  uint64_t shrink_ = 16;     // Plain bytes for 16 bytes on the wire.
  bool more_ = false;
  std::optional<Instant> rest_until_;  // The peer refused: nothing is sent, and then all again.
  Duration rest_{};
};

}  // namespace hf::link
