// A conversation with one peer, the same at both ends of the link: HELLO both ways, then batches both ways,
// each answered by its receipt. The relation outlives its conversations: readers, labels, counters and the
// pace stay when a channel goes.
//
//   silent --begin()--> greeting --HELLO from the peer--> talking --end()--> silent
//
// In `talking` the sending half first agrees on where each stream goes on (Agreement) and then sends; the
// receiving half works at once.
//
// The owner calls pump() after whatever may have changed what can be sent: bytes came, commits became
// durable, a reader was woken, time passed. Each call here is one group for the store: store.boundary() may
// follow it, never stand inside.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/prng.h"
#include "link/channel.h"
#include "link/chunk.h"
#include "link/hello.h"
#include "link/host.h"
#include "link/receiver.h"
#include "link/sender.h"
#include "store/store.h"

namespace hf::link {

struct Settings {
  std::string name;      // Our own.
  std::string prefix;    // Of the peer's topics here, of a child (prefix.h).
  bool compress = true;  // Offer zstd.
  bool chunks = true;    // Offer to take and to send large records in pieces,
  bool hashes = true;    // and to tell the hashes of single records.
};

class Conversation {
 public:
  // `peer`: the name of a registered child, or kParentName. All that is borrowed outlives this.
  Conversation(store::Store& store, Host& host, Entropy& entropy, Settings settings, std::string peer);

  // --- While records are appended: the reader of this peer that a new record of the stream is owed to.
  store::ReaderId reader_for(store::StreamId stream) { return sender_.travel().reader_for(stream); }

  // --- A channel stands; the peer is who it says. It must stay until end().
  void begin(Channel& channel, const Now& now);
  void end(const Now& now);
  // `message` from the peer, to be acknowledged under `id`.
  void received(Kind kind, Bytes message, uint16_t id, const Now& now);
  // The peer acknowledged what Channel::send() gave this id. Unknown ids are passed over.
  void acknowledged(uint16_t id, mqtt::Reason reason, const Now& now);
  // How many bytes of the channel wait outside.
  void unsent(uint64_t bytes, const Now& now);

  // One of store.take_woken(); false if it is not one of this peer's.
  bool woken(store::ReaderId reader) { return sender_.woken(reader) || receiver_.woken(reader); }
  void pump(const Now& now);
  std::optional<Instant> next_deadline() const;

  // The peer is gone for good (a child that was removed): nothing is owed to it any more.
  void forget() {
    sender_.travel().remove();
    receiver_.forget();
  }

  bool up() const { return state_ == State::kTalking && sender_.flowing(); }
  // The peer did not take our HELLO: it knows no node of this name.
  bool stranger() const { return stranger_; }
  bool begun() const { return state_ != State::kSilent; }
  const std::string& peer() const { return peer_; }
  // What the peer's last HELLO said, without its marks; null before the first.
  const Hello* peer_hello() const { return hello_ ? &*hello_ : nullptr; }
  const Sender& sender() const { return sender_; }
  const Receiver& receiver() const { return receiver_; }
  // Why the last conversation ended, if it was this side that ended it.
  const std::string& last_error() const { return last_error_; }

 private:
  enum class State : uint8_t { kSilent, kGreeting, kTalking, kClosing };

  void hello(Bytes message, const Now& now);
  void pairs(Bytes message, uint16_t id);
  void chunk(Bytes message, uint16_t id, const Now& now);
  void tell(const Receiver::Verdict& verdict);
  void close(const char* event, const std::string& why);

  store::Store& store_;
  Host& host_;
  const Settings settings_;
  const std::string peer_;
  const std::string called_;  // The peer's name for people.
  Sender sender_;
  Receiver receiver_;
  ChunkCodec chunk_codec_;
  uint64_t features_ = 0;  // Those of both sides.
  State state_ = State::kSilent;
  Channel* channel_ = nullptr;
  Instant began_{};
  Instant alive_{};  // The last sign of life that a waiting sender goes by.
  uint64_t unsent_bytes_ = 0;
  bool told_up_ = false;
  std::optional<Hello> hello_;
  std::string last_error_;
  std::string last_logged_;
  bool stranger_ = false;
};

}  // namespace hf::link
