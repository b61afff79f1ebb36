// The filters of one connection, the one next to the wire first:
//
//     wire  ->  PROXY header  ->  TLS  ->  WebSocket  ->  core
//
// A chain belongs to one thread at a time. Filters that have done their work (transparent()) leave it, and a chain that has
// none left is no chain: the connection then goes the short way.
#pragma once

#include <memory>
#include <vector>

#include "io/filter.h"

namespace hf::io {

class FilterChain {
 public:
  void add(std::unique_ptr<Filter> filter) { filters_.push_back(std::move(filter)); }

  // As Filter's, through all of them.
  void receive(Bytes wire, std::string* core, std::string* reply);
  void send(Bytes core, std::string* wire);
  // While the first filter has yet to say who is there, and will be out of the way then: it alone takes `wire`, and what is for
  // those above it goes to *rest. So who it is is known before the others make any work.
  bool introducing() const;
  void introduce(Bytes wire, std::string* rest, std::string* reply);
  void finish(std::string* wire);

  // kFailed or kEnded if one has, else kHandshaking until the last is established.
  Filter::State state() const { return state_; }
  const std::string& failure() const { return failure_; }
  const PeerFacts& facts() const { return facts_; }

  bool empty() const { return filters_.empty(); }
  // The next bytes make work for another thread.
  bool laborious() const;
  // All that is left of the handshake is the upgrade to another protocol.
  bool upgrading() const;

 private:
  void pass_up(size_t index, Bytes bytes, std::string* core, std::string* reply);
  void pass_down(size_t index, Bytes bytes, std::string* wire);
  void look();

  std::vector<std::unique_ptr<Filter>> filters_;
  Filter::State state_ = Filter::State::kHandshaking;
  std::string failure_;
  PeerFacts facts_;
};

}  // namespace hf::io
