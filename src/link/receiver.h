// The receiving half of a conversation: checks a batch as a whole, and appends its records together with the
// marks that say how far each stream is held here. All of it is one atomic group of the open batch; the
// receipt is due when that is durable.
//
// Numbers up to the mark are repeats and are passed over. The first new one follows the mark, or the batch is
// refused and nothing of it is applied. A stream keeps the key that its origin gave it, unless another peer
// brought that key here first: then it is kept under a key of its own, so that no peer can write into what
// came from elsewhere.
#pragma once

#include <string>
#include <vector>

#include "link/batch.h"
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
};

class Receiver {
 public:
  // `peer`: a registered name, or kParentName.
  Receiver(store::Store& store, Host& host, std::string peer);

  // How far each stream of the peer is held here, for HELLO.
  std::vector<Mark> marks();
  // What HELLO and answers say holds once this commit is durable.
  uint64_t commit() const { return commit_; }
  std::string answer(const store::StreamKey& key) const;

  struct Outcome {
    mqtt::Reason reason = mqtt::Reason::kSuccess;  // Acknowledge with this...
    uint64_t commit = 0;                           // ... once this is durable.
    const char* broken = nullptr;  // The peer breaks the protocol: close, nothing was applied.
  };
  Outcome batch(Bytes message, const Now& now);

  const ReceiverCounters& counters() const { return counters_; }

 private:
  struct Held {
    uint64_t number = 0;  // The mark.
    bool marked = false;
    store::StreamId stream = 0;
  };
  Held held(const store::StreamKey& key) const;
  std::string origin_of(const Section& section) const;
  // Under which key the stream is kept here.
  store::StreamKey local_key(const Section& section, const std::string& origin) const;
  void apply(const Section& section, const Now& now);
  Outcome refuse(mqtt::Reason reason, const char* why);

  store::Store& store_;
  Host& host_;
  const std::string peer_;
  Pairs pairs_;
  BatchCodec codec_;
  uint64_t commit_ = 0;
  bool counted_ = false;  // The next two are known.
  uint64_t mark_count_ = 0;
  uint64_t mark_bytes_ = 0;  // Of all marks in HELLO.
  bool refusing_ = false;    // The last batch was refused.
  ReceiverCounters counters_;
};

}  // namespace hf::link
