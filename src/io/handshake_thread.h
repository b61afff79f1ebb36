// Does the handshakes of TLS: a signature costs a millisecond or more, and a hundred devices that come back at once would hold
// everybody else up for as long as that takes together.
//
// The core thread hands over a connection's chain together with what was received, and gets it back with what came of it.
// Meanwhile the chain is the thread's alone, so nothing is locked but the queue. The queue is as long as there are
// unfinished handshakes (EventLoopOptions::openings_max): a connection is not read while its chain is away.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/connection.h"
#include "io/filter_chain.h"
#include "io/wakeup.h"

namespace hf::io {

struct Handshake {
  ConnectionId connection = 0;
  std::unique_ptr<FilterChain> chain;
  std::string received;
  // The outcome, as FilterChain::receive() gives it.
  std::string core;
  std::string reply;
};

class HandshakeThread {
 public:
  explicit HandshakeThread(std::shared_ptr<Wakeup> wakeup) : wakeup_(std::move(wakeup)) {}
  // Waits for the handshake that runs; those that wait are dropped.
  ~HandshakeThread();
  HandshakeThread(const HandshakeThread&) = delete;
  HandshakeThread& operator=(const HandshakeThread&) = delete;

  // What follows is for the core thread.

  void submit(Handshake handshake);
  bool has_done() const { return done_count_.load(std::memory_order_seq_cst) != 0; }
  // Appends what has finished to *done.
  void take_done(std::vector<Handshake>* done);

 private:
  void serve();

  const std::shared_ptr<Wakeup> wakeup_;
  std::mutex mutex_;  // Guards what follows.
  std::condition_variable work_;
  std::deque<Handshake> queue_;
  bool stopping_ = false;
  std::vector<Handshake> done_;
  std::atomic<size_t> done_count_{0};
  std::thread thread_;  // Started with the first handshake: a node without TLS has no such thread.
};

}  // namespace hf::io
