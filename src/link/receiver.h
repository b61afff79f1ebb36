// The receiving half of a conversation: checks a batch as a whole, and appends its records together with the
// marks that say how far each stream is held here. All of it is one atomic group of the open batch; the
// receipt is due when that is durable.
//
// Numbers up to the mark are repeats and are passed over. The first new one follows the mark, or the batch is
// refused and nothing of it is applied. A stream keeps the key that its origin gave it, unless another peer
// brought that key here first, or it is one of our own incarnation: then it is kept under a key of its own, so that no
// peer can write into what came from elsewhere, nor into what will be ours. Two keys of a peer are never one stream.
//
// A record that is larger than a batch comes in pieces (chunk.h). They are kept in the log (Halves) until the
// last one is here; then they are read back, put together, checked against the record's hash, and what comes of
// it is applied as a batch is: with its mark, once.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "link/batch.h"
#include "link/chunk.h"
#include "link/halves.h"
#include "link/hello.h"
#include "link/host.h"
#include "link/pairs.h"
#include "mqtt/packet.h"
#include "store/store.h"

namespace hf::link {

struct ReceiverCounters {
  uint64_t received_bytes = 0;  // Batches as they travel.
  uint64_t records_received = 0;
  uint64_t repeats_ignored = 0;
  uint64_t absent_named = 0;  // Numbers that the peer said do not come, whatever the cause.
  uint64_t batches_refused = 0;
  uint64_t pieces_received = 0;
  uint64_t records_assembled = 0;
};

class Receiver {
 public:
  // `peer`: a registered name, or kParentName.
  // `prefix`: of the peer's topics here (prefix.h).
  Receiver(store::Store& store, Host& host, std::string peer, std::string prefix = {});

  // How far each stream of the peer is held here, for HELLO.
  std::vector<Mark> marks();
  // What HELLO and answers say holds once this commit is durable.
  uint64_t commit() const { return std::max(commit_, halves_.commit()); }
  // Records of which the peer has brought only a part.
  std::vector<Half> halves() const { return halves_.all(); }
  std::string answer(const store::StreamKey& key) const;
  // A question for the hashes of single records. False: the one before is not answered yet.
  bool asked(const PairsMessage& question);
  // Its answer, once the records were read. Bounded, like pump().
  std::optional<PairsMessage> hashes();

  struct Outcome {
    mqtt::Reason reason = mqtt::Reason::kSuccess;  // Acknowledge with this...
    uint64_t commit = 0;                           // ... once this is durable.
    const char* broken = nullptr;  // The peer breaks the protocol: close, nothing was applied.
    bool decided = false;          // Of a whole: the record is here, its verdict is due.
  };
  Outcome batch(Bytes message, const Now& now);
  // A piece, a whole, or word that no more of one comes.
  Outcome chunk(const Chunk& chunk, const Now& now);
  // What became of a record that is whole: to be told to the peer once `commit` is durable.
  struct Verdict {
    store::StreamKey key;
    uint64_t number = 0;
    Outcome outcome;
  };
  // Puts records together whose pieces are all here. Bounded: wants_more() says that there is more to do at once.
  std::optional<Verdict> pump(const Now& now);
  bool wants_more() const { return more_ || asked_more_; }
  // One of store.take_woken(); false if the reader is not of this.
  bool woken(store::ReaderId reader);
  // The conversation is over. What is here of records that are not whole stays.
  void stop();
  // The peer is gone for good.
  void forget() { halves_.drop_all(); }

  const ReceiverCounters& counters() const { return counters_; }

 private:
  struct Held {
    uint64_t number = 0;  // The mark.
    bool marked = false;
    store::StreamId stream = 0;
  };
  Held held(const store::StreamKey& key) const;
  std::string origin_of(const Section& section) const;
  // Whether it came from this peer, or by way of it.
  bool of_peer(const store::StreamInfo& stream) const;
  // Under which key a stream without a mark is to be kept here; nothing: each that it could have is taken.
  std::optional<store::StreamKey> local_key(const Section& section) const;
  void apply(const Section& section, const store::StreamKey& key, const Now& now);
  void too_long(store::StreamId stream, const BatchRecord& record, const Now& now);
  Outcome refuse(mqtt::Reason reason, const char* why);
  // Checks and applies what a batch says; all or nothing. take() also sees to it that nothing goes before what was refused.
  Outcome take(const std::vector<Section>& sections, const Now& now);
  Outcome check_and_apply(const std::vector<Section>& sections, const Now& now);
  Result<> admit(uint64_t record_bytes_most, uint64_t bytes);
  Outcome refuse_for_space(const Error& error);
  Outcome piece(const Chunk& chunk, const Now& now);
  Outcome finish(const Now& now);

  store::Store& store_;
  Host& host_;
  const std::string peer_;
  const std::string prefix_;
  Pairs pairs_;
  BatchCodec codec_;
  Halves halves_;
  uint64_t commit_ = 0;
  bool counted_ = false;               // The next three are known.
  std::set<store::StreamId> streams_;  // Those that have a mark.
  uint64_t mark_count_ = 0;
  uint64_t mark_bytes_ = 0;  // Of all marks in HELLO.
  bool refusing_ = false;    // The last batch was refused.
  // Of streams without a mark: the first number that was refused in this conversation.
  std::map<store::StreamKey, uint64_t> refused_;
  // Records whose pieces are all here; the first of them is being put together once it is `assembling_`.
  struct Whole {
    Half half;
    uint64_t headers_size = 0;
    std::string batch;
  };
  std::deque<Whole> wholes_;
  std::optional<PairsMessage> asked_;
  PairsMessage answer_;
  size_t asked_next_ = 0;        // Of the numbers in it.
  store::Position asked_after_;  // Where the look for that one goes on.
  bool asked_waiting_ = false;   // For the disk.
  bool asked_more_ = false;
  store::ReaderId looker_ = 0;  // Owed nothing: it is woken when the disk is done.
  bool assembling_ = false;
  bool waiting_ = false;  // For the disk.
  bool more_ = false;
  std::string bytes_;
  ReceiverCounters counters_;
};

}  // namespace hf::link
