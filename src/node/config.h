// What a node is told: plain values, with the defaults that are right for most sites. The TOML file that sets
// them is read in holdfast/; docs/configuration.md describes every key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "node/logins.h"

namespace hf::node {

// Topic filter -> stream; the first that matches wins.
struct Route {
  std::string filter;
  std::string stream;
  uint8_t priority = 5;         // 0 first, 9 last.
  uint32_t time_to_live_s = 0;  // 0: for ever.
  bool upstream = true;         // Owed to the parent, if there is one.
  bool operator==(const Route&) const = default;
};

// Where a device's own time stands in a JSON payload.
struct EventTimeField {
  std::string filter;  // Topics it is for.
  std::string field;   // Top-level field, or a dotted path.
  enum class Unit : uint8_t {
    kSeconds,
    kMilliseconds,
    kMicroseconds,
    kNanoseconds,
    kRfc3339
  } unit = Unit::kMilliseconds;
  bool operator==(const EventTimeField&) const = default;
};

struct Upstream {
  std::string host;
  uint16_t port = 1883;
  bool compress = true;
  Duration backoff_min = milliseconds(200);
  Duration backoff_max = seconds(30);
};

struct Config {
  std::string name = "node";  // How this node is called in logs and status.
  std::optional<Upstream> upstream;
  std::vector<Route> routes;
  std::vector<EventTimeField> event_times;
  uint64_t quota_bytes = uint64_t{4} << 30;
  uint32_t retention_s = 7 * 86400;
  uint64_t segment_bytes_min = 0;  // 0: as store/store.h says; others are for tests.
  uint64_t segment_bytes_max = 0;
  uint64_t tail_cache_bytes = 0;
  uint64_t index_cache_bytes = 0;
  uint32_t session_expiry_default_s = 7 * 86400;
  uint32_t packet_bytes_max = 1 << 20;
  uint16_t receive_maximum = 1024;
  uint32_t session_expiry_max_s = UINT32_MAX;
  uint64_t session_owed_bytes_max =
      0;                          // Owed to one session, which then ends; 0: the quota is the only bound.
  uint16_t keep_alive_max_s = 0;  // 0: any.
  std::string response_topic = "response";
  std::string server_moved;  // "HOST:PORT": clients are sent there.
  std::string version;       // Of the program, for "$SYS".
  Identities identities;
  // Nothing but loopback without TLS, unless the operator said `insecure = true`; then whoever proves who he is gets in from
  // elsewhere too.
  bool insecure = false;
};

}  // namespace hf::node
