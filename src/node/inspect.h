// What an operator sees of a node beyond its status, as values; holdfast/ turns them into sentences, tables and JSON. Every
// walk is bounded and goes on where the last one stopped: broker/inspect.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "broker/inspect.h"
#include "store/record.h"

namespace hf::node {

using broker::Page;

struct ClientStatus {
  broker::ClientInfo info;
  std::string address;  // Where it is connected from: "192.0.2.1", "unix"; empty: away, or not known.
};

// What a client may do, as filters. `everything`: there is no permissions file.
struct RightsInfo {
  struct Lists {
    std::vector<std::string> allow;
    std::vector<std::string> deny;  // An empty filter: everything.
  };
  bool everything = false;
  Lists publish;
  Lists retain;
  Lists subscribe;
};

struct ClientReport {
  broker::ClientDetail detail;
  std::string address;
  RightsInfo rights;  // Of clients; a node's are its registration.
};

// Who is owed something.
struct QueueStatus {
  enum class Kind : uint8_t { kParent, kNode, kGroup, kSession } kind = Kind::kSession;
  broker::QueueInfo info;
  // Of links.
  bool up = false;
  std::string error;  // Of the last attempt to dial.
  std::optional<Duration> next_dial;
  uint64_t goodput_bytes_s = 0;
  uint64_t pending_bytes = 0;  // Of the store: what waits for the disk.
};
const char* queue_kind_name(QueueStatus::Kind kind);  // "group"

struct ExportQuery {
  std::string stream;
  std::string filter;  // Of topics; empty: all.
  int64_t since_us = INT64_MIN;
  int64_t until_us = INT64_MAX;  // Those that arrived before this.
  std::string after;             // Page::next; empty: from the beginning.
  size_t count = 0;
};

struct ExportRecord {
  store::Position position;
  std::string origin;  // Empty: this node.
  uint64_t incarnation = 0;
  uint64_t sequence = 0;
  int64_t arrived_wall_us = 0;
  std::optional<int64_t> event_us;
  uint8_t qos = 0;
  bool retain = false;
  std::string topic;
  std::string payload;
};

}  // namespace hf::node
