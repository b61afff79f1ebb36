// The MQTT broker: connections, sessions, subscriptions, retained messages and wills over the store.
// MQTT 3.1.1 and 5.0; sans-I/O: bytes come in by received(), go out by Host::send().
//
// The life of a PUBLISH here (docs/design/core.md tells the whole):
//   received() -> decode -> who wants it (SubscriptionTree) and where does it go (Host::route) -> stored? one
//   store::append with its audience : at once to those online -> acknowledgement, held back until its commit
//   is durable
//   -> delivery, likewise -> the session's reader moves on when the client acknowledges.
//
// Invariant: an output that a peer may build on waits in the connection's gate until the commit it depends on
// is durable.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/histogram.h"
#include "base/result.h"
#include "broker/host.h"
#include "broker/inspect.h"
#include "broker/limits.h"
#include "store/store.h"

namespace hf::broker {

struct Limits {
  size_t packet_bytes_max = 1 << 20;
  size_t connect_bytes_max = 256 << 10;  // Before CONNECT is accepted.
  uint16_t receive_maximum = 1024;       // QoS 1 and 2 PUBLISHes a client may have open towards us (5.0).
  uint16_t inflight_max = 2048;          // And we towards a client that states no less.
  size_t inflight_bytes_max = 4 << 20;   // Bytes of deliveries to one client not yet acknowledged.
  size_t unsent_bytes_max =
      1 << 20;  // QoS 0 to a slower reader is dropped and counted; log readers pause at a quarter.
  size_t clean_session_queue_bytes_max =
      1 << 20;  // Then a clean session behind on unstored QoS 1 or 2 is disconnected.
  // A session that is owed more stored messages ends, and all members of a share group that is; 0: the store's quota is the only bound.
  uint64_t session_owed_bytes_max = 0;
  uint32_t session_expiry_default_s = 7 * 86400;  // 3.1.1 sessions; 5.0 sessions state their own.
  uint32_t session_expiry_max_s = UINT32_MAX;     // Of either; those that ask for longer are told.
  uint16_t topic_alias_maximum = 16;              // Topics to which a client may give numbers (5.0).
  uint16_t keep_alive_max_s =
      0;  // 5.0 clients that ask for longer, or for none, are told this; 0: as they like.
  std::string response_topic =
      "response";            // Response information is this, '/' and the client identifier; empty: none.
  std::string version;       // What "$SYS/broker/version" says.
  std::string server_moved;  // "HOST:PORT": where clients are sent, none is let in; empty: they are welcome.
  size_t subscriptions_per_session_max = 1000;
  size_t inbound_ids_max = 16'384;     // QoS 2 PUBLISHes of a session that it has not released.
  size_t connect_properties_max = 16;  // User properties of a CONNECT.
  size_t retained_bytes_max = 64 << 20;
  Duration connect_timeout = seconds(5);
};

struct Counters {
  uint64_t& of(Limit limit) { return limits[static_cast<size_t>(limit)]; }
  uint64_t of(Limit limit) const { return limits[static_cast<size_t>(limit)]; }

  uint64_t connections = 0;        // Now.
  uint64_t connections_most = 0;   // At one time.
  uint64_t connect_bytes = 0;      // Now: buffered for connections that are not let in yet.
  uint64_t connects_accepted = 0;  // Since open, like all that follow.
  uint64_t connects_refused = 0;
  uint64_t publishes_received[3] = {};  // By QoS.
  uint64_t publishes_sent[3] = {};
  uint64_t packets_received = 0;
  uint64_t packets_sent = 0;
  uint64_t bytes_received = 0;
  uint64_t bytes_sent = 0;
  uint64_t publishes_refused = 0;     // No space, too large, not allowed.
  uint64_t qos0_dropped = 0;          // For slow readers.
  uint64_t expired = 0;               // Messages.
  uint64_t deliveries_too_large = 0;  // Over the client's Maximum Packet Size.
  uint64_t deliveries_refused = 0;    // By the client, with a reason of 0x80 or more.
  uint64_t sessions_expired = 0;
  uint64_t protocol_errors = 0;
  uint64_t slow_disconnected = 0;
  uint64_t not_authorized = 0;        // PUBLISHes, filters and deliveries that a client had no right to.
  uint64_t limits[kLimitCount] = {};  // How often each Limit was met.
  uint64_t times_invalid = 0;         // An hf-time that could not be read.
  Histogram publish_acks;             // From a PUBLISH of QoS 1 or 2 to its PUBACK or PUBREC.
};

// A message of the operator's own.
struct Publication {
  uint8_t qos = 1;
  bool retain = false;
  std::string topic;  // A valid one.
  std::string payload;
  std::string content_type;  // Empty: none. All of these are UTF-8 as MQTT has it.
  std::optional<uint32_t> expiry_s;
  std::vector<std::pair<std::string, std::string>> user_properties;
};
// What became of it.
struct Published {
  bool wanted = false;  // Somebody has subscribed to it, or a route keeps it.
  uint64_t commit = 0;  // It is safe once this is durable; 0: it was not stored.
};

class Broker {
 public:
  // `store` and `host` outlive the broker. Loads sessions, subscriptions and retained messages; wills that a
  // crash left behind are published now.
  Broker(store::Store& store, Host& host, const Limits& limits, uint64_t seed, const Now& now);
  ~Broker();

  // `from`: whose connection it is, for a fair share of what is kept before it is let in; empty: nobody's to be bounded.
  void connected(ConnectionId connection, const Now& now, Bytes from = {});
  // Any part of the stream; consumes all of it (a partial packet is kept).
  void received(ConnectionId connection, Bytes bytes, const Now& now);
  // The transport ended; the will is due unless DISCONNECT came before.
  void closed(ConnectionId connection, const Now& now);
  // The verdict that Host::authenticate() left open.
  void authenticated(ConnectionId connection, const Verdict& verdict, const Now& now);
  // Host::still_admitted() and Host::rights() may say something else now: who is not admitted any more is disconnected, and
  // what comes from now on, also out of kept sessions, retained messages and wills, goes by the new rights.
  void identities_changed(const Now& now);
  // How many bytes of this connection wait outside; called when that falls, and after each send that left
  // some.
  void unsent(ConnectionId connection, uint64_t bytes, const Now& now);

  // Whether the host reads from connections from now on. What is not read cannot be held against a client: its keep alive
  // begins anew.
  void reading(bool paused, const Now& now);

  // store.durable_commit() has moved: what waited for it leaves.
  void durable(const Now& now);
  // One of store.take_woken(). False if the reader is not the broker's.
  bool woken(store::ReaderId reader, const Now& now);
  void tick(const Now& now);
  std::optional<Instant> next_deadline() const;

  // A record that came over a link: `record` has stream, number, arrival and bytes; the broker decides its
  // audience (its own sessions and the routes' links), appends it in the open batch, updates retained
  // messages, and delivers. Stored always. The caller asked store.admit().
  store::Store::Appended ingest(store::NewRecord record, const Source& source, const Now& now);
  // Runs `work`. What its calls of this broker leave to be done at their end (rows of what is in flight, serving sessions) is
  // done once, behind all of them: for a batch of records that comes over a link. No boundary of the store lies within.
  void together(const Now& now, const std::function<void()>& work);

  // Publishes for the operator: no client's name and no client's rights. It goes to whoever would get the same of a client.
  // kDenied ("$"), kTooLarge, kFull, kIo: nothing has happened.
  Result<Published> publish(const Publication& message, const Now& now);

  // PUBACK for a node's reserved PUBLISH, once `commit` is durable.
  void reserved_acknowledge(ConnectionId connection, uint16_t packet_id, mqtt::Reason reason,
                            uint64_t commit);
  // A QoS 1 PUBLISH on a reserved topic, once `commit` is durable (0: at once). Returns its packet
  // identifier, 0 if the connection is gone.
  uint16_t reserved_send(ConnectionId connection, Bytes topic, Bytes payload, uint64_t commit);
  void disconnect(ConnectionId connection, mqtt::Reason reason, const Now& now);
  // A clean stop: 5.0 clients hear kServerShuttingDown; wills stay due as their rows.
  void shut_down(const Now& now);

  const Counters& counters() const;
  // In order of client identifier.
  void for_each_client(const std::function<void(const ClientInfo&)>& visit) const;

  // --- What an operator looks at, page by page (broker/inspect.h). An empty `after` begins.
  Page<ClientInfo> clients(Bytes after, size_t count, const Now& now) const;
  std::optional<ClientDetail> client(Bytes client_id, const Now& now) const;
  // By client identifier and filter. `client_id` empty: of all; `topic` empty: any filter, else those that match it.
  Page<SubscriptionInfo> subscriptions(Bytes client_id, Bytes topic, Bytes after, size_t count) const;
  Page<RetainedInfo> retained(Bytes filter, Bytes after, size_t count, const Now& now) const;
  // Removes those instead of showing them: the rows that come back are gone with store.open_commit().
  Page<RetainedInfo> remove_retained(Bytes filter, Bytes after, size_t count, const Now& now);
  // Those that are owed something, by name. *pending: a disk job is needed for the first of them; ask again after it.
  Page<QueueInfo> session_queues(Bytes after, size_t count, const Now& now, bool* pending);
  Page<QueueInfo> group_queues(Bytes after, size_t count, const Now& now, bool* pending);
  // One, also if nothing is owed to it.
  std::optional<QueueInfo> session_queue(Bytes client_id, const Now& now, bool* pending);
  std::optional<QueueInfo> group_queue(Bytes name, const Now& now, bool* pending);
  // Disconnects the client. `forget`: its session ends too, and what it was owed is given up; that holds once the commit
  // that comes back is durable (0: there is none to wait for).
  uint64_t end_client(Bytes client_id, bool forget, const Now& now);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hf::broker
