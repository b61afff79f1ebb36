// A handshake of TLS as a piece of work for a thread of its own: a signature costs a millisecond or more, and a hundred devices
// that come back at once would hold everybody else up for as long as that takes together.
//
// The connection's chain goes along with what was received, and comes back with what came of it. A connection is not read
// while its chain is away, so there are as many pieces as unfinished handshakes at most (EventLoopOptions::openings_max).
#pragma once

#include <memory>
#include <string>

#include "base/connection.h"
#include "io/filter_chain.h"

namespace hf::io {

struct Handshake {
  ConnectionId connection = 0;
  std::unique_ptr<FilterChain> chain;
  std::string received;
  // The outcome, as FilterChain::receive() gives it.
  std::string core;
  std::string reply;

  void run() {
    chain->receive(received, &core, &reply);
    release_memory(received);
  }
};

}  // namespace hf::io
