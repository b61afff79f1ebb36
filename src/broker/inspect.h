// What an operator sees of the broker: clients, subscriptions, retained messages, and whom a message waits for and why.
// Plain values; how they read is somebody else's matter.
//
// Invariant: every walk is bounded. It takes a place to go on behind, looks at no more than kLookedAtMax things, and gives
// no more than it was asked for and kPageBytes of names; Page::next says where to go on. What comes and goes between two
// pages may be seen or not; what stays is seen once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/connection.h"
#include "base/time.h"
#include "broker/rows.h"
#include "mqtt/packet.h"

namespace hf::broker {

inline constexpr size_t kLookedAtMax = 4096;
inline constexpr size_t kPageBytes = 256 << 10;

// May have fewer rows than were asked for, even none: only a `next` that is not there is the end.
template <typename Row>
struct Page {
  std::vector<Row> rows;
  std::optional<std::string> next;  // Opaque: to be given back as `after`.
};

struct ClientInfo {
  std::string client_id;
  std::string user;
  bool by_certificate = false;  // That named the user.
  ConnectionId connection = 0;  // 0: it is away.
  bool connected = false;
  mqtt::Version version = mqtt::Version::k311;
  bool persistent = false;
  uint64_t subscriptions = 0;
  uint64_t owed_count = 0;
  uint64_t owed_bytes = 0;
  uint64_t inflight = 0;
  std::string node;     // Of a registered node's connection: its name.
  uint64_t window = 0;  // How much may be in flight; 0: it is away.
  Duration since;       // For how long it has been connected, or away, as far as a clock can tell.
};

struct WillInfo {
  std::string topic;
  uint8_t qos = 0;
  bool retain = false;
  uint32_t delay_s = 0;
  uint64_t payload_bytes = 0;
};

// Everything about one.
struct ClientDetail {
  ClientInfo info;
  // By filter, as many as a page has room for: info.subscriptions is how many there are.
  std::vector<std::pair<std::string, SubscriptionOptions>> subscriptions;
  std::optional<WillInfo> will;
  uint32_t expiry_s = 0;  // 0: ends with its connection; UINT32_MAX: never.
  std::optional<Duration> expires_in;
  uint64_t inflight_bytes = 0;
  // Of the connection, if there is one.
  uint32_t keep_alive_s = 0;      // 0: none.
  std::optional<Duration> heard;  // How long ago anything came from it.
  std::optional<Duration>
      acknowledged;               // How long ago it last acknowledged a message of ours; nothing: never.
  uint64_t packet_bytes_max = 0;  // The largest packet it takes; 0: any.
  uint64_t unsent_bytes = 0;      // Wait for the network.
  uint64_t received_open = 0;     // Its messages that are not answered to the end.
  std::string auth_method;
};

struct SubscriptionInfo {
  std::string client_id;
  std::string user;
  bool connected = false;
  std::string filter;
  SubscriptionOptions options;
  bool allowed = true;  // With a topic: whether it has the right to receive that.
};

struct RetainedInfo {
  std::string topic;
  uint8_t qos = 0;
  uint64_t payload_bytes = 0;
  std::string publisher;  // Client identifier; empty: it came over a link.
  std::string user;
  int64_t arrived_wall_us = 0;
  Duration age;
  std::optional<uint32_t> expires_in_s;
};

// What stands in the way of a reader of the log.
enum class WaitsFor : uint8_t {
  kNothing,          // Nothing is owed.
  kClient,           // It is away; of a group: all members are.
  kAcknowledgement,  // All is sent.
  kWindow,           // As much is in flight as may be.
  kNetwork,          // What was sent before has not left yet.
  kDisk,             // What is to be sent is not durable yet.
  kTurn,             // Nothing: it is being read and sent.
  kStorage,          // The storage has failed.
  // Of links.
  kLink,      // It is down; or the node below is away.
  kClaim,     // The peer does not know this node, or the node below has not claimed its place.
  kUpstream,  // The configuration names no parent any more.
};
const char* waits_for_name(WaitsFor waits_for);  // "acknowledgement"

struct QueueInfo {
  std::string name;  // Client identifier; of a group, its name, '/' and the filter.
  uint64_t owed_count = 0;
  uint64_t owed_bytes = 0;
  std::optional<Duration> oldest;  // Age of the oldest that is owed.
  WaitsFor waits_for = WaitsFor::kNothing;
  // For how long it has been so: away, or without an acknowledgement.
  std::optional<Duration> since;
  uint64_t inflight = 0;
  uint64_t inflight_bytes = 0;
  uint64_t window = 0;
  uint64_t unsent_bytes = 0;
  uint64_t members = 0;  // Of a group.
  uint64_t members_connected = 0;
};

}  // namespace hf::broker
