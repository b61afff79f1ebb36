// Byte pipes between hosts: what TCP gives, and what it takes away.
//
// A connection is two pipes. In each, bytes arrive in order, once and unchanged, cut into chunks of any size; that is TCP's
// promise and the model keeps it. All else is at the mercy of the path: how late they come, how many a second, whether they
// come at all.
//
//     sender: send() -> waiting -> [line: bandwidth] -> on the way -> [latency] -> receiver: Event::kBytes
//
// Faults: a path may be blocked in one direction or both (packets lost: what is on the way waits, dials hang); a single
// connection may fall into a black hole (nothing ever arrives again, no FIN, no RST: a dead NAT entry); a connection may be
// reset (both ends hear it, what was on the way is gone); a host may vanish, with or without a word to its peers.
//
// The network is a passive thing: it says when something happens next, and hands out what has happened. All order comes from
// (time, number of the event), so one seed gives one history.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/connection.h"
#include "base/prng.h"
#include "base/time.h"

namespace hf::sim {

using HostId = uint32_t;

// Between two hosts, for each direction.
struct PathOptions {
  Duration latency_min = microseconds(50);
  Duration latency_max = milliseconds(2);
  uint64_t bytes_per_s = 0;             // 0: no limit.
  uint64_t chunk_bytes_max = 64 << 10;  // Chunks are from 1 byte to this.
  uint64_t on_the_way_bytes_max = 256 << 10;
  uint64_t socket_buffer_bytes = 64 << 10;  // What the sender's system takes before bytes count as unsent.
};

class SimNetwork {
 public:
  struct Event {
    enum class Kind : uint8_t {
      kAccepted,  // `host` was dialed; the connection stands.
      kDialed,    // The dial of `host` succeeded.
      kRefused,   // It failed: nobody listens there, or (bytes == "timed out") no answer came.
      kBytes,
      kClosed,  // The peer or the network ended it. Nothing follows.
      kUnsent,  // `unsent` bytes wait at the sender; told when they have become fewer.
    };
    Kind kind = Kind::kBytes;
    HostId host = 0;
    ConnectionId connection = 0;
    std::string bytes;
    uint64_t unsent = 0;
  };

  explicit SimNetwork(uint64_t seed) : prng_(seed) {}

  HostId add_host(std::string name);
  const std::string& host_name(HostId host) const { return hosts_[host].name; }

  void set_default_path(const PathOptions& options) { path_default_ = options; }
  void set_path(HostId a, HostId b,
                const PathOptions& options);  // Both directions; holds for bytes sent from now on.
  void set_dial_timeout(Duration timeout) { dial_timeout_ = timeout; }

  // --- What hosts do. Every call may make events; take them with advance().

  void set_listening(HostId host, bool listening) { hosts_[host].listening = listening; }
  // A host that does not read leaves bytes in the network, which then stops taking them from the sender.
  void set_reading(HostId host, bool reading, Instant now);
  // Returns the dialer's end; the other end's identity comes with kAccepted.
  ConnectionId dial(HostId from, HostId to, Instant now);
  // Returns the bytes that now count as unsent. Bytes for an end that is gone vanish.
  uint64_t send(ConnectionId connection, Bytes bytes, Instant now);
  // The end hears nothing more; the peer gets what was sent (for 5 s, if it is slow) and then kClosed.
  void close(ConnectionId connection, Instant now);

  // --- What befalls them.

  void block(HostId from, HostId to, bool blocked, Instant now);  // One direction.
  bool blocked(HostId from, HostId to) const { return blocked_.contains({from, to}); }
  void black_hole(ConnectionId connection);
  void reset(ConnectionId connection, Instant now);
  // All connections of the host are gone at its side. `silent` (power cut): peers learn it only when they send something
  // after the host is back (set_listening), or not at all. Else their ends are reset now.
  void vanish(HostId host, bool silent, Instant now);
  // Connections that stand between two hosts, as the first one's ends, ascending.
  std::vector<ConnectionId> between(HostId a, HostId b) const;
  std::vector<ConnectionId> of(HostId host) const;
  // The host at the other end of a connection that stands.
  HostId peer_of(ConnectionId connection) const;

  // --- Time.

  std::optional<Instant> next() const;
  // Everything that happens up to and at `now`, in order.
  void advance(Instant now, std::vector<Event>* out);

  uint64_t unsent_bytes(ConnectionId connection) const;
  // Delivered so far from one host to another.
  uint64_t delivered_bytes(HostId from, HostId to) const;
  size_t connection_count() const { return connections_.size(); }

 private:
  struct Host {
    std::string name;
    bool listening = false;
    bool reading = true;
  };
  struct Chunk {
    Instant at;
    std::string bytes;
    bool end = false;  // FIN or RST: the pipe ends here.
  };
  struct Pipe {
    std::string waiting;       // Not yet on the line.
    size_t waiting_begin = 0;  // Consumed front of `waiting`.
    std::deque<Chunk> way;
    uint64_t way_bytes = 0;
    Instant line_free;
    Instant arrival_last;
    bool ending = false;  // close() was called at the sender: an end follows the bytes.
    bool ended = false;   // The end is on the way, or the pipe was cut off.
    bool pump_scheduled = false;
    bool arrival_scheduled = false;
    uint64_t unsent_told = 0;
  };
  struct End {
    HostId host = 0;
    bool open = false;  // Its host still knows it.
    Pipe out;
  };
  struct Connection {
    std::array<End, 2> ends;
    bool established = false;
    bool black_hole = false;
  };
  enum class Todo : uint8_t {
    kReachTarget,
    kReachDialer,
    kDialTimeout,
    kPump,
    kArrive,
    kGiveUp,
    kResetByHost
  };
  struct Scheduled {
    Todo todo = Todo::kPump;
    uint64_t connection = 0;
    int side = 0;
  };

  static uint64_t number_of(ConnectionId id) { return (id - 1) / 2; }
  static int side_of(ConnectionId id) { return static_cast<int>((id - 1) % 2); }
  static ConnectionId id_of(uint64_t number, int side) {
    return number * 2 + 1 + static_cast<uint64_t>(side);
  }

  const PathOptions& path(HostId a, HostId b) const;
  Connection* find(uint64_t number);
  void schedule(Instant at, Todo todo, uint64_t number, int side);
  void run(const Scheduled& event, Instant now, std::vector<Event>* out);
  void pump(uint64_t number, int side, Instant now);
  void schedule_arrival(uint64_t number, int side, Instant now);
  void arrive(uint64_t number, int side, Instant now, std::vector<Event>* out);
  void tell_unsent(uint64_t number, int side, std::vector<Event>* out);
  void push_end(Connection& connection, uint64_t number, int side, Instant now);
  void discard(Pipe& pipe);
  void drop_if_over(uint64_t number);
  uint64_t unsent_of(const Connection& connection, int side) const;
  Duration latency(const PathOptions& options);

  Prng prng_;
  std::vector<Host> hosts_;
  PathOptions path_default_;
  std::map<std::pair<HostId, HostId>, PathOptions> paths_;
  std::set<std::pair<HostId, HostId>> blocked_;
  std::map<uint64_t, Connection> connections_;
  std::map<std::pair<HostId, HostId>, uint64_t> delivered_;
  std::map<std::pair<uint64_t, uint64_t>, Scheduled> events_;  // (instant, number) -> what.
  uint64_t event_next_ = 0;
  uint64_t connection_next_ = 0;
  Duration dial_timeout_ = seconds(10);
};

}  // namespace hf::sim
