// A session: what the broker keeps of a client between its connections, and a connection: what it keeps while
// one stands.
//
// A durable session (its client asked to be remembered) has rows, and a reader of the log that survives a
// restart. Any other session ends with its connection; it gets a reader that does not survive when it
// subscribes above QoS 0.
//
// Invariant: `behind` is false only if every record owed to the reader was handed out. While it is true new
// records wait in the log, so that nothing overtakes.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/connection.h"
#include "broker/gate.h"
#include "broker/host.h"
#include "broker/inflight.h"
#include "broker/rows.h"
#include "broker/topic_aliases.h"
#include "mqtt/packet.h"
#include "store/record.h"

namespace hf::broker {

struct Connection;
struct ShareGroup;

// A message at QoS 1 or 2 that is not stored and waits for a session without state. It goes before every
// record that is owed to the session behind `after`, and after all the others: there it would stand, had it
// been stored.
struct Queued {
  store::Position after;  // The last record that was owed to the session when this came.
  uint8_t qos = 1;        // To be delivered with.
  bool retain = false;    // As published, like below.
  bool retain_as_published = false;
  std::vector<uint32_t> subscription_identifiers;
  store::Arrival arrival;
  std::optional<uint32_t> expiry_s;
  std::optional<int64_t> event_us;
  std::string topic;
  std::string headers;
  std::string payload;
  size_t size_bytes() const { return sizeof *this + topic.size() + headers.size() + payload.size(); }
};

// Rows that several deliveries share, so that a message does not cost one to be sent and one to be done with.
struct OutboundRuns {
  std::vector<uint16_t> open;  // Packet identifiers that were sent in the present call and have no row yet.
  std::vector<uint16_t>
      left;  // By slot: how many of a row's deliveries are not acknowledged; 0: the slot is free.
};

// Retained messages that a SUBSCRIBE asked for and that have not been sent yet. They are read when they leave, so that
// they never overtake a newer message and cost nothing while they wait.
struct RetainedScan {
  SubscriptionOptions options;
  uint64_t commit = 0;              // SUBACK's: it goes first.
  std::optional<std::string> last;  // The last topic that was looked at.
};

struct Session {
  uint64_t number = 0;  // Never used twice.
  std::string client_id;
  bool durable = false;
  mqtt::Version version = mqtt::Version::k311;
  uint32_t expiry_s = 0;        // 0: ends with its connection; UINT32_MAX: never.
  std::string node_name;        // Of a registered node's connection.
  std::string user;             // Whose session it is; empty: a client without a name made it.
  bool by_certificate = false;  // How that user came last.
  // As they were at the last look: SessionRights::of() asks again after a change. Null: everything.
  mutable std::shared_ptr<const Rights> rights;
  mutable uint64_t rights_generation = 0;
  store::ReaderId reader = 0;
  Connection* connection = nullptr;
  store::Arrival disconnected;  // When the last connection ended.

  std::map<std::string, SubscriptionOptions, std::less<>> subscriptions;
  std::map<std::string, RetainedScan, std::less<>> retained_scans;  // By filter.
  // QoS 2 PUBLISHes received and not released -> the commit of the row (0: durable, or there is none).
  std::map<uint16_t, uint64_t> inbound;
  Inflight outbound;
  OutboundRuns runs;
  std::map<uint16_t, Lease> leases;  // Of `outbound`, what is leased from groups: by packet identifier.
  std::vector<ShareGroup*> groups;   // Of which it is a member, in the order in which it came to them.

  bool behind = false;
  store::Position owed_last;     // The last record that was appended for the reader.
  std::vector<uint16_t> resend;  // Packet identifiers to be sent again, in order ...
  size_t resend_next = 0;        // ... from here.
  std::deque<Queued> queue;
  size_t queue_bytes = 0;
  bool pump_due = false;
  bool overfull = false;  // It is to end for what it is owed.

  std::unique_ptr<WillRow> will;
  std::optional<Instant> will_timer;
  std::optional<Instant> expiry_timer;
  std::optional<Instant> retained_timer;
  std::optional<Instant> lease_timer;
  std::optional<Instant> owed_timer;
  bool owed_lasts = false;   // While it is away: the first thing it is owed does not expire ...
  bool owed_looked = false;  // ... or was asked of the disk.

  bool resending() const { return resend_next < resend.size(); }
};

struct Connection {
  enum class State : uint8_t {
    kWaiting,         // For CONNECT.
    kAuthenticating,  // CONNECT came; who it is is being found out.
    kOpen,
    kClosed,  // Given up; the object goes when the present call ends.
  };
  ConnectionId id = 0;
  State state = State::kWaiting;
  mqtt::Version version = mqtt::Version::k311;
  Principal principal;
  Session* session = nullptr;  // While kOpen.

  std::string asked_as;        // The client identifier in its CONNECT, cut, until that is accepted.
  std::string asked_user;      // Its user name there, likewise.
  std::string input;           // A packet that is not whole yet; with `checking` all that came.
  std::string connect_packet;  // kAuthenticating: CONNECT as it came.
  std::string auth_method;     // Of CONNECT; empty: none.
  bool checking = false;       // The host has not come to its verdict: nothing is read meanwhile.
  bool authenticating_again = false;
  std::string from;          // Whose it is, until it is let in.
  size_t connect_bytes = 0;  // Of its part in what is buffered for connections that are not open.
  Gate gate;
  bool gated = false;         // In the list of those that wait for a commit.
  bool doomed = false;        // To be given up when the present call ends.
  bool connack_sent = false;  // Nothing else may leave before it.
  bool resumed = false;       // Its session is from before.

  uint16_t receive_maximum = UINT16_MAX;   // The client's.
  uint32_t packet_bytes_max = UINT32_MAX;  // The client's.
  InboundAliases inbound_aliases;          // The client's. They end with the connection [MQTT-3.3.2-7].
  OutboundAliases outbound_aliases;        // Ours, likewise.
  uint32_t received_open = 0;              // Its QoS 1 and 2 PUBLISHes that are not answered to the end.
  uint32_t sent_open = 0;                  // Ours on this connection that it has not acknowledged.
  uint64_t sent_open_bytes = 0;

  Instant opened;                       // When it was let in.
  std::optional<Instant> acknowledged;  // When it last acknowledged a message of ours.
  Instant last_received;
  Duration keep_alive;  // 0: none.
  std::optional<Instant> timer;

  uint64_t unsent_bytes = 0;  // As last told ...
  uint64_t step = 0;          // ... and what was added in this step.
  uint64_t step_bytes = 0;

  bool wants_reasons = false;  // Reason strings, for its developer to read.
  bool next_step = false;      // In the list of those to be served once time has moved.

  bool closed() const { return state == State::kClosed; }
};

}  // namespace hf::broker
