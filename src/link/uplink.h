// The child's end of the link: an MQTT 5 client of the parent, as a state machine without I/O.
//
//   idle --take_dial()--> dialing --dialed()--> connecting --CONNACK--> [claiming --PUBACK-->] talking
//     ^                                                                                            |
//     +------------- backoff, 0.2 s doubling to 30 s, each with jitter <-------- any end ----------+
//
// When the network changes the backoff begins anew, at most once a second, and so with a dial soon.
//
// A link that goes without a word (no FIN, no RST) is noticed by what does not come: nothing at all for one
// and a half keep alives, or no receipt for as long as Conversation's patience. No subscription is needed: to
// be a registered node is to be owed the reserved topics.
//
// Outputs that depend on a commit wait in order in the gate; pings do not.
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>

#include "base/connection.h"
#include "base/prng.h"
#include "link/channel.h"
#include "link/claim.h"
#include "link/conversation.h"
#include "store/store.h"

namespace hf::link {

struct UplinkOptions {
  Duration backoff_min = milliseconds(200);
  Duration backoff_max = seconds(30);
  uint16_t keep_alive_s = 10;
};

class Uplink final : public Channel {
 public:
  class Output {
   public:
    virtual ~Output() = default;
    virtual void send(ConnectionId connection, Bytes bytes) = 0;
    // After what was sent has left. No closed() follows.
    virtual void close(ConnectionId connection) = 0;
    virtual void log(const char* event, std::string text) = 0;
  };

  // `conversation` is that with the parent. All that is borrowed outlives this.
  Uplink(store::Store& store, Conversation& conversation, Credentials& credentials, Output& output,
         const UplinkOptions& options, uint64_t seed);

  // True once when it is time to dial; answered by dialed().
  bool take_dial(const Now& now);
  // connection 0: it failed, `error` says why.
  void dialed(ConnectionId connection, Bytes error, const Now& now);
  // Events of other connections are passed over.
  void received(ConnectionId connection, Bytes bytes, const Now& now);
  void closed(ConnectionId connection, const Now& now);
  void unsent(ConnectionId connection, uint64_t bytes, const Now& now);
  // Whether the host reads from now on: what it does not read is not silence of the parent.
  void reading(bool paused, const Now& now);
  // At the end of every step: what became durable leaves, time passes, and the conversation sends what it
  // may.
  void pump(const Now& now);
  std::optional<Instant> next_deadline() const;

  // What failed may succeed now. Changes nothing while a connection stands, or where it was the parent that did not want us.
  void network_changed(const Now& now);
  // Dials at once, whatever the backoff says.
  void connect_now(const Now& now);
  // Says goodbye and dials no more.
  void shut_down(const Now& now);

  // The parent refuses what we have: only a new claim helps.
  bool rejected() const { return refusals_ > (credentials_.confirmed() ? 0u : 1u); }
  bool up() const { return state_ == State::kTalking && conversation_.up(); }
  ConnectionId connection() const { return connection_; }
  // When `up` last changed; for a parent that fell silent, when it was last heard.
  Instant since() const { return since_; }
  int64_t since_wall_us() const { return since_wall_us_; }
  std::optional<Instant> next_dial() const;
  // Why the link is not up: "connection refused". Empty when it is.
  const std::string& last_error() const { return last_error_; }
  uint64_t sent_bytes() const { return sent_bytes_; }  // On the connection, since start.
  uint64_t received_bytes() const { return received_bytes_; }

  // --- Channel.
  uint16_t send(Kind kind, Bytes message, uint64_t commit) override;
  void acknowledge(uint16_t id, mqtt::Reason reason, uint64_t commit) override;
  void close(const char* why) override;
  uint64_t message_bytes_max() const override { return message_bytes_max_; }

 private:
  enum class State : uint8_t { kIdle, kDialing, kConnecting, kClaiming, kTalking };
  struct Gated {
    uint64_t commit = 0;
    std::string bytes;
  };

  void connect(const Now& now);
  void connack(const mqtt::Connack& connack, const Now& now);
  void refused(mqtt::Reason reason, const Now& now);
  void accepted(const Now& now);
  // False: the connection is over.
  bool packet(const mqtt::Packet& packet, const Now& now);
  void gate(std::string bytes, uint64_t commit);
  void release();
  void flush(const Now& now);
  // Ends the connection, if there is one, and plans the next.
  // `ago`: for how long nothing has been heard of the parent.
  void end(const std::string& why, bool close, const Now& now, Duration ago = {});
  void settle(const Now& now);
  void plan_dial(Instant from);
  void hurry(const Now& now);
  Duration keep_alive() const { return seconds(keep_alive_s_); }

  store::Store& store_;
  Conversation& conversation_;
  Credentials& credentials_;
  Output& output_;
  const UplinkOptions options_;
  Prng jitter_;

  State state_ = State::kIdle;
  ConnectionId connection_ = 0;
  std::optional<Instant> dial_at_;  // Idle, and when that ends; nothing: at the next look.
  uint32_t failures_ = 0;           // In a row; decides the backoff.
  bool hurry_ = false;              // The network changed since the dial that is out began.
  Instant hurried_at_{};
  bool unwanted_ = false;  // The last attempt reached a parent that refused us.
  bool stopped_ = false;
  bool with_token_ = false;   // What this CONNECT shows.
  bool other_first_ = false;  // The last one was refused: show the other.
  uint32_t refusals_ = 0;     // In a row, of credentials.
  uint16_t claim_id_ = 0;
  std::string in_;   // A packet that is not whole yet.
  std::string out_;  // Leaves at the end of this call.
  std::deque<Gated> gated_;
  std::set<uint16_t> ids_;  // Of our PUBLISHes under way.
  uint16_t id_last_ = 0;
  uint64_t message_bytes_max_ = 0;
  uint16_t keep_alive_s_ = 0;
  Instant started_{};  // Of the state.
  Instant sent_at_{};
  Instant alive_at_{};  // Last byte from the parent, or last bytes that left.
  bool ping_out_ = false;
  bool reading_paused_ = false;
  uint64_t unsent_bytes_ = 0;
  std::optional<std::string> close_wanted_;
  bool up_ = false;
  Instant since_{};
  int64_t since_wall_us_ = 0;
  std::string last_error_;
  std::set<std::string> logged_;  // Why attempts failed since the link was up last.
  uint64_t sent_bytes_ = 0;
  uint64_t received_bytes_ = 0;
};

}  // namespace hf::link
