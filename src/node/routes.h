// Where a record goes: the streams of this node, and the links it is owed to. docs/configuration.md,
// "Routes".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "broker/host.h"
#include "link/registry.h"
#include "node/config.h"
#include "store/store.h"

namespace hf::node {

// The stream that a route names, or one of those that exist without a route.
struct RouteTarget {
  bool stored = false;    // A route takes it.
  bool upstream = false;  // Owed to the parent.
  store::StreamId stream = 0;
};

class Routes {
 public:
  Routes(store::Store& store, const Config& config);

  // For a message that was published here, given the children whose `down` filters match its topic.
  RouteTarget find(Bytes topic, const std::vector<const link::Child*>& children);
  // The stream for records that no route takes.
  store::StreamId local() { return stream("local", kPriorityDefault, 0); }
  // The store has a new incarnation: streams of our own have new ids.
  void forget_streams() { streams_.clear(); }

 private:
  static constexpr uint8_t kPriorityDefault = 5;
  store::StreamId stream(const std::string& name, uint8_t priority, uint32_t time_to_live_s);

  store::Store& store_;
  const std::vector<Route> routes_;
  const bool has_parent_;
  std::map<std::string, store::StreamId, std::less<>> streams_;
};

}  // namespace hf::node
