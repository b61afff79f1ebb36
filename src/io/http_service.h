// What the event loop and those who answer HTTP requests know of each other. The loop (io/event_loop_http.cc) has the
// connections, their limits and their times; an HttpHandler has the answers.
//
// A connection's requests are answered one after the other, in order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/connection.h"
#include "base/histogram.h"
#include "base/time.h"
#include "io/http.h"

namespace hf::io {

// A listener that speaks HTTP.
struct HttpDoor {
  std::string address;  // Where it listens: "127.0.0.1:8080", "unix:/run/holdfast/http.sock".
  std::vector<std::string> hosts;
  bool encrypted = false;
};

// Who asks.
struct HttpCaller {
  std::shared_ptr<const HttpDoor> door;
  bool loopback = false;  // It is on this machine, also behind a proxy.
  std::string address;    // Without its port; "unix".
};

struct HttpReply {
  ConnectionId connection = 0;
  HttpResponse response;
};

// Answers requests, on the core thread and between steps.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Answers into *replies now, or later by admin_answered(): then an AdminHandler was asked in this connection's name. Returns
  // whether the core was asked for something that takes a step.
  virtual bool request(ConnectionId connection, const HttpCaller& caller, const HttpRequest& request,
                       const Now& now, std::vector<HttpReply>* replies) = 0;
  // What the AdminHandler said is the answer to the connection's request.
  virtual HttpResponse admin_answered(ConnectionId connection, const std::string& line) = 0;
  // Nobody waits for its answer any more.
  virtual void closed(ConnectionId connection) = 0;
};

struct HttpCounters {
  uint64_t requests = 0;
  uint64_t refused = 0;    // Connections beyond the limit.
  uint64_t malformed = 0;  // Requests that could not be read.
  uint64_t timed_out = 0;  // Requests that did not become whole, and answers that were not read.
};

}  // namespace hf::io
