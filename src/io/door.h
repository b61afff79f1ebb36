// Where connections come in, and what each has to pass before the core hears of it.
//
//     address            socket
//     PROXY header       proxy
//     TLS                tls, in files that may change
//     WebSocket          websocket, origins
//
// A door without any of the three is no door: the listener's connections go straight to the core. Behind some doors HTTP is
// spoken and not MQTT (http): that is no filter, because the core never hears of it.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "io/filter_chain.h"
#include "io/http_service.h"
#include "io/tls_source.h"

namespace hf::io {

struct DoorOptions {
  std::string address;  // "0.0.0.0:8883", or "unix:/run/holdfast/mqtt.sock".
  bool websocket = false;
  bool http = false;  // Not MQTT: io/http_service.h.
  bool proxy = false;
  std::vector<std::string> origins;
  std::vector<std::string> hosts;  // With http: names that requests may be for, besides our own.
  std::optional<TlsServerFiles> tls;

  // The path of a unix socket; empty if it is none.
  std::string unix_path() const;
};

// Handshakes of connections from outside since the start.
struct DoorCounters {
  uint64_t done = 0;
  uint64_t failed = 0;     // What came was wrong, or ended early.
  uint64_t timed_out = 0;  // Too slow.
  uint64_t evicted = 0;    // Slow, and others waited.
  uint64_t throttled = 0;  // Of an address with too many within a second.
};

class Door {
 public:
  // `say` outlives the door.
  static std::expected<std::unique_ptr<Door>, TlsMistake> make(const DoorOptions& options,
                                                               const TlsSource::Say& say);

  // What a new connection has to pass; empty if there is nothing.
  std::unique_ptr<FilterChain> chain() const;
  TlsSource* tls() const { return tls_.get(); }

 private:
  Door() = default;

  bool proxy_ = false;
  std::unique_ptr<TlsSource> tls_;
  std::shared_ptr<const std::vector<std::string>> origins_;  // Null: no WebSocket.
};

// What a connection that came through a door carries along; others have none.
struct Passage {
  std::unique_ptr<FilterChain> chain;    // Null while the handshake thread has it.
  bool dialed = false;                   // Our own: to the parent.
  bool upgrading = false;                // Only the WebSocket upgrade is missing.
  bool shaking = false;                  // The handshake of TLS has begun.
  bool loopback = false;                 // Of the socket.
  std::string peer;                      // Of the socket.
  const TlsSource* tls = nullptr;        // Of its door.
  std::shared_ptr<const HttpDoor> http;  // HTTP is spoken behind it; null: MQTT.
  Instant begun;
  std::string reply;  // What the filters want on the wire; leaves with the turn's write.

  bool away() const { return chain == nullptr; }
};

}  // namespace hf::io
