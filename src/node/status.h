// What a node says of itself, as values; holdfast/ turns them into a sentence, a table or JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "broker/broker.h"
#include "store/store.h"

namespace hf::node {

struct LinkStatus {
  bool configured = false;
  bool claimed = true;        // False: it has no claim of the hub's, and does not dial.
  bool rejected = false;      // The hub knows neither claim nor secret any more.
  bool up = false;            // HELLO agreed; records flow.
  std::string peer;           // "hub.example:1883"
  int64_t since_wall_us = 0;  // When `up` last changed, as believed.
  Duration since;             // For how long.
  std::optional<Duration> next_dial;
  std::string last_error;      // Of the last attempt, "connection refused"; empty when up.
  uint64_t backlog_count = 0;  // Not yet receipted by the parent; also of one that was configured before.
  uint64_t backlog_bytes = 0;
  struct Lane {
    uint8_t priority = 0;
    uint64_t count = 0;
    uint64_t bytes = 0;
    std::optional<int64_t> oldest_wall_us;  // Arrival of the oldest; nothing while it is being read.
  };
  std::vector<Lane> lanes;                // The same, by priority.
  std::optional<int64_t> oldest_wall_us;  // Arrival of the oldest of them.
  uint64_t sent_bytes = 0;                // On the wire, since start.
  uint64_t sent_payload_bytes = 0;        // Records' own bytes in them.
  uint64_t received_bytes = 0;
  uint64_t records_sent = 0;
  uint64_t records_receipted = 0;
  uint64_t records_received = 0;
  uint64_t repeats_ignored = 0;  // Records that came again and were recognised.
  uint64_t forks = 0;            // Times a restored copy or clone was found (tripwire).
  uint64_t goodput_bytes_s = 0;
};

struct NodeStatus {  // A child registered here.
  std::string name;
  bool connected = false;
  bool claimed = false;  // The one-time claim has been used.
  std::vector<std::string> down_filters;
  std::string prefix;          // Of its topics here; may be empty.
  uint64_t backlog_count = 0;  // Owed to it.
  uint64_t backlog_bytes = 0;
  uint64_t records_received = 0;  // Since start.
  std::optional<int64_t> last_seen_wall_us;
};

struct StreamStatus {
  std::string name;
  std::string origin;  // Empty: our own.
  uint64_t incarnation = 0;
  uint8_t priority = 0;
  uint32_t time_to_live_s = 0;
  uint64_t sequence_last = 0;
};

struct TailRecord {
  store::Position position;
  uint64_t sequence = 0;
  std::string topic;
  std::string payload;
  uint8_t qos = 0;
  int64_t arrived_wall_us = 0;
  std::optional<int64_t> event_us;
};

// Logins that were refused since the start, by why.
struct LoginFailures {
  uint64_t credentials = 0;     // A wrong password, or a name that nobody has.
  uint64_t not_authorized = 0;  // No name where one is needed; a challenge that was not met.
  uint64_t throttled = 0;       // Too many wrong ones before.
  uint64_t busy = 0;
  uint64_t method = 0;  // An authentication method that is not spoken here.
  uint64_t other = 0;
};

// Connections that were closed before they said a word because of their address, since the start.
struct TurnedAway {
  uint64_t unfinished = 0;  // Too many of it had not said who they are.
  uint64_t rate = 0;        // Too many came within a second.
};

struct Status {
  std::string name;
  uint64_t store_id = 0;
  uint64_t incarnation = 0;
  Duration uptime;
  int64_t wall_us = 0;
  ClockQuality clock_quality = ClockQuality::kUnknown;
  bool insecure = false;
  std::string moved_to;  // Where clients are sent instead; empty: nowhere, they are taken.
  store::Mode mode = store::Mode::kReady;
  store::OpenReport recovery;
  store::Figures store;
  broker::Counters broker;
  LinkStatus link;
  uint32_t nodes_registered = 0;
  uint32_t nodes_connected = 0;
  uint64_t nodes_owed_count = 0;  // To all of them. What clients are owed is in `store`.
  uint64_t nodes_owed_bytes = 0;
  uint64_t gaps = 0;
  struct GapSum {
    const char* cause = "";  // store::gap_cause_name()
    uint64_t gaps = 0;
    uint64_t records = 0;  // Those that are missing there, as far as that can be counted.
  };
  std::vector<GapSum> gaps_by_cause;  // Every cause there is.
  LoginFailures login_failures;
  TurnedAway turned_away;
  // Space left at the rate of the last day (or since start, when shorter); nothing if nothing grows.
  std::optional<Duration> space_left;
};

}  // namespace hf::node
