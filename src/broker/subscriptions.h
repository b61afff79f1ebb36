// Who has subscribed to what: the tree of all filters over the subscriptions that sessions hold.
//
// Invariant: the tree has exactly the pairs (filter, session) for which session.subscriptions has the filter.
// `epoch` moves whenever an answer of match() might change, so that caches know.
#pragma once

#include <cstdint>
#include <vector>

#include "broker/session.h"
#include "mqtt/filter_tree.h"
#include "mqtt/topic.h"

namespace hf::broker {

// One session that wants a message, and what its overlapping subscriptions grant together: the highest QoS
// [MQTT-3.3.4-2] and every identifier [MQTT-3.3.4-3] [MQTT-3.3.4-4]. There is one copy for it.
struct Target {
  Session* session = nullptr;
  uint8_t qos = 0;
  bool retain_as_published = false;
  std::vector<uint32_t> subscription_identifiers;
};

class Subscriptions {
 public:
  // True if the session had a subscription to the filter, which is replaced then [MQTT-3.8.4-3].
  bool set(Session& session, Bytes filter, const SubscriptionOptions& options);
  // False if there was none.
  bool erase(Session& session, Bytes filter);
  void erase_all(Session& session);

  // Those whose filters match, by session number. A subscription with "no local" is passed over for the
  // session `publisher` (0: none) [MQTT-3.8.3-3]; *no_local says whether any that matched has it.
  void match(Bytes topic, uint64_t publisher, std::vector<Target>* targets, bool* no_local);

  uint64_t epoch() const { return epoch_; }
  // Something else that targets depend on has changed: a session's reader, a session's end.
  void changed() { ++epoch_; }
  size_t count() const { return tree_.count(); }

 private:
  struct Subscriber {
    uint64_t number;
    Session* session;
    const SubscriptionOptions* options;  // In session->subscriptions.
    bool operator<(const Subscriber& other) const { return number < other.number; }
  };

  struct Found {
    Subscriber subscriber;
    size_t order;  // In which the tree gave it.
  };

  mqtt::FilterTree<Subscriber> tree_;
  std::vector<Found> found_;  // Used by match(), kept for its memory.
  uint64_t epoch_ = 1;
};

}  // namespace hf::broker
