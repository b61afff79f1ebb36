#include "node/routes.h"

#include "mqtt/topic.h"

namespace hf::node {

Routes::Routes(store::Store& store, const Config& config)
    : store_(store), routes_(config.routes), has_parent_(config.upstream.has_value()) {}

store::StreamId Routes::stream(const std::string& name, uint8_t priority, uint32_t time_to_live_s) {
  const auto known = streams_.find(name);
  if (known != streams_.end()) return known->second;
  return streams_[name] = store_.open_local_stream(name, priority, time_to_live_s);
}

RouteTarget Routes::find(Bytes topic, const std::vector<const link::Child*>& children) {
  RouteTarget target;
  // Topics that start with '$' are the node's own and stay.
  if (topic.starts_with('$')) return target;
  for (const Route& route : routes_) {
    if (!mqtt::topic_matches(route.filter, topic)) continue;
    target.stored = true;
    target.upstream = route.upstream && has_parent_;
    target.stream = stream(route.stream, route.priority, route.time_to_live_s);
    return target;
  }
  if (has_parent_) {
    target.stored = true;
    target.upstream = true;
    target.stream = stream("telemetry", kPriorityDefault, 0);
  } else if (!children.empty()) {
    target.stored = true;
    target.stream = stream("down/" + children.front()->name, kPriorityDefault, 0);
  }
  return target;
}

}  // namespace hf::node
