// Who has subscribed to what: the tree of all filters over the subscriptions that sessions hold.
//
// Invariant: the tree has exactly the pairs (filter, session) for which session.subscriptions has the filter, and a pair
// (filter, group) for each group that has members: the sessions whose subscriptions have "$share/", the group's name, '/'
// and the filter.
// `epoch` moves whenever an answer of match() might change, so that caches know.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/session.h"
#include "broker/share.h"
#include "mqtt/filter_tree.h"
#include "mqtt/topic.h"

namespace hf::broker {

// One session that wants a message, and what its overlapping subscriptions grant together: the highest QoS
// [MQTT-3.3.4-2] and every identifier [MQTT-3.3.4-3] [MQTT-3.3.4-4]. There is one copy for it. Or a group, one of whose
// members is to get it; with which options is known when it is chosen.
struct Target {
  Session* session = nullptr;
  ShareGroup* group = nullptr;
  uint8_t qos = 0;
  bool retain_as_published = false;
  std::vector<uint32_t> subscription_identifiers;
};

class Subscriptions {
 public:
  Subscriptions() = default;
  Subscriptions(const Subscriptions&) = delete;
  Subscriptions& operator=(const Subscriptions&) = delete;

  // True if the session had a subscription to the filter, which is replaced then [MQTT-3.8.4-3].
  bool set(Session& session, Bytes filter, const SubscriptionOptions& options);
  // False if there was none.
  bool erase(Session& session, Bytes filter);
  void erase_all(Session& session);

  // The group of a shared filter ("$share/..."), or null; one is made by set(), and stays until end_group().
  ShareGroup* group(Bytes filter);
  // The one with that name, made if there is none.
  ShareGroup& make_group(Bytes name);
  // Has neither members nor leases.
  void end_group(ShareGroup& group);
  template <typename Visit>
  void for_each_group(Visit&& visit) {
    for (auto& [name, group] : groups_) visit(*group);
  }

  // By name.
  const std::map<std::string, std::unique_ptr<ShareGroup>, std::less<>>& groups() const { return groups_; }

  // Those whose filters match [MQTT-3.3.2-3], by session number, then groups. A subscription with "no local" is passed over for the
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
    ShareGroup* group = nullptr;         // Or this, with neither of the two.
    bool operator<(const Subscriber& other) const { return number < other.number; }
  };

  struct Found {
    Subscriber subscriber;
    size_t order;  // In which the tree gave it.
  };

  // Behind those of all sessions.
  static constexpr uint64_t kGroupNumbers = uint64_t{1} << 63;

  void join(ShareGroup& group, Session& session, const SubscriptionOptions& options);
  static void count_qos(ShareGroup& group);
  void leave(ShareGroup& group, Session& session);

  mqtt::FilterTree<Subscriber> tree_;
  std::map<std::string, std::unique_ptr<ShareGroup>, std::less<>> groups_;  // By name.
  uint64_t group_number_last_ = 0;
  std::vector<Found> found_;  // Used by match(), kept for its memory.
  uint64_t epoch_ = 1;
};

}  // namespace hf::broker
