// The judge. It knows every message that was ever sent, hears what every client is told, looks into the stores after each
// crash and at the end, and says the first thing that may not be. It knows nothing of how the node works.
//
// What it holds the node to (docs/design/simulator.md has the list with reasons):
//   kept         what was acknowledged and is to be stored is found after any fault, or a gap record names it
//   settled      what a client or a peer was told (a delivery, a number of a stream) was durable when it was told
//   true         nothing is delivered that nobody sent, on another topic, or with other bytes
//   ordered      one publisher's messages on one topic arrive in order at each subscriber
//   once         QoS 1 at least once, QoS 2 exactly once for a session or a shared subscription, over every restart
//   remembered   a session that was promised is there
//   numbered     numbers missing in a stream are covered by gap records; no message has two numbers
//   drained      after the faults every backlog goes to nothing and every subscriber has everything
// A scenario in which something is lost by its nature (a restored backup, rot) says so beforehand, message by message:
// excuse().
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "sim/autopsy.h"
#include "sim/payload.h"
#include "sim/trace.h"

namespace hf::sim {

struct Message {
  uint32_t node = 0;  // Where it was published.
  std::string topic;
  uint8_t qos = 0;
  bool retain = false;
  uint32_t checksum = 0;
  size_t size = 0;
  Instant sent_at;
  std::optional<Instant> acknowledged_at;
  bool completed = false;  // QoS 2: PUBCOMP was heard.
  bool refused = false;
  // Excuses.
  bool may_be_lost = false;
  uint32_t may_double_at = 0;  // A bit for each node.

  bool may_double(uint32_t at) const { return (may_double_at >> at & 1) != 0; }
};

class Oracle {
 public:
  explicit Oracle(Trace& trace) : trace_(trace) {}

  // --- The world it judges. Numbers count from 0.

  // `down_filters`: what the parent sends down to it. `prefix`: of its topics there.
  uint32_t add_node(std::string name, std::optional<uint32_t> parent, std::vector<std::string> down_filters,
                    std::string prefix = {});
  uint32_t add_client(std::string name, uint32_t node, bool persistent);
  // The two take turns at one shared subscription: what either is given, `first` was given. `first` keeps its session.
  void share(uint32_t first, uint32_t other);
  // Where its messages go; a clone or a client that moves.
  uint32_t node_of(uint32_t client) const { return clients_[client].node; }

  // --- What happens, as the clients see it.

  void sent(MessageId id, const std::string& topic, uint8_t qos, bool retain, Bytes payload, Instant now);
  void acknowledged(MessageId id, Instant now);
  void completed(MessageId id);
  void refused(MessageId id);
  void subscribed(uint32_t client, const std::string& filter, uint8_t qos, Instant now);
  void delivered(uint32_t client, Bytes topic, Bytes payload, uint8_t qos, bool retain, bool may_double);
  // CONNACK said "no session" to a client that had been promised one. True if this was excused.
  bool session_lost(uint32_t client);
  // A QoS 2 PUBLISH came under a packet identifier that is not yet released. `before` is what came under it first.
  void repeated(uint32_t client, uint16_t packet_id, MessageId before, Bytes payload);

  // --- Looking into stores.

  // After a crash of `node`, before it runs again: `found` is what recovery makes of its disk. `above` is what the parent
  // holds of this store's own streams, as (stream, last number); likewise of each child.
  struct Held {
    std::string who;
    std::map<store::StreamKey, uint64_t> last;
  };
  void after_crash(uint32_t node, const Autopsy& found, const std::vector<Held>& held_by_peers);
  // At the end of a healed world: nothing is missing anywhere.
  void at_the_end(uint32_t node, const Autopsy& found);
  // Messages that some subscriber is still to get, or a publisher to be acknowledged; the first few by name.
  size_t missing(std::string* examples);

  // --- Excuses.

  // Visits every message; the visitor sets the flags.
  void excuse(const std::function<void(MessageId, Message&)>& visit);
  // What `found` lacks and names in gap records is lost for good: nobody waits for it any more. What it lacks and does not
  // name is a violation. Returns how many were named.
  size_t accept_named_losses(uint32_t node, const Autopsy& found);
  // Learns where messages stand, so that gap records can be checked by number when they are gone.
  void remember_places(uint32_t node, const Autopsy& found);
  void excuse_sessions(uint32_t node) { nodes_[node].sessions_may_be_lost = true; }
  // Damage below what was durable was done to this node's disk: gap records are to be believed there.
  void expect_damage(uint32_t node) { nodes_[node].damaged = true; }
  // Its store was put back to an earlier day: what its peers hold may be ahead of it.
  void expect_rollback(uint32_t node) { nodes_[node].rolled_back = true; }
  // Old records may be given up for space: only what is still owed has to be there.
  void expect_evictions(uint32_t node) { nodes_[node].evicts = true; }
  bool evicts(uint32_t node) const { return nodes_[node].evicts; }

  // --- Verdict.

  void violate(const char* promise, const char* format, ...) __attribute__((format(printf, 3, 4)));
  bool failed() const { return !violation_.empty(); }
  const std::string& violation() const { return violation_; }

  const Message* find(MessageId id) const;
  size_t message_count() const { return messages_.size(); }
  uint64_t deliveries() const { return deliveries_; }
  uint64_t acknowledgements() const { return acknowledgements_; }
  // What a message published at `from` on `topic` is called at `node`; nothing: it does not come by.
  std::optional<std::string> topic_at(uint32_t from, const std::string& topic, uint32_t node) const;
  bool reaches(uint32_t from, const std::string& topic, uint32_t node) const {
    return topic_at(from, topic, node).has_value();
  }
  // How often `client` got the message.
  uint32_t count(uint32_t client, MessageId id) const;

 private:
  struct Node {
    std::string name;
    std::optional<uint32_t> parent;
    std::vector<std::string> down_filters;
    std::string prefix;
    bool sessions_may_be_lost = false;
    bool damaged = false;
    bool rolled_back = false;
    bool evicts = false;
  };
  struct Subscription {
    std::string filter;
    uint8_t qos = 0;
    Instant since;
  };
  struct Client {
    std::string name;
    uint32_t node = 0;
    bool persistent = false;
    uint32_t counted_as = 0;  // Itself, or the first of those it shares a subscription with.
    bool shares = false;      // No order can be told then.
    std::vector<Subscription> subscriptions;
    std::map<MessageId, uint32_t> counts;
    std::map<std::pair<uint32_t, std::string>, uint64_t> last;  // (publisher, topic) -> highest number.
  };

  // The QoS at which the client is to get the message, nothing if it is not to.
  std::optional<uint8_t> owed(const Client& client, const Message& message) const;
  // Whether what `other` publishes goes up to `node`; its own counts.
  bool is_above(uint32_t node, uint32_t other) const;
  bool stored_at(const Message& message, uint32_t node) const;
  // Who is still to get the message from the node where it was published: a node beside it, a client of it. Empty:
  // everybody has what is theirs, and it may be evicted.
  std::string claimant(MessageId id, const Message& message) const;
  bool named_by_gap(uint32_t node, const Autopsy& found, MessageId id) const;
  void check_numbers(uint32_t node, const Autopsy& found);
  std::string describe(MessageId id) const;

  Trace& trace_;
  std::vector<Node> nodes_;
  std::vector<Client> clients_;
  std::map<MessageId, Message> messages_;
  std::set<MessageId> unsettled_;  // Those that missing() still has to look at.
  // Where each message was seen in a node's store: survives its loss.
  std::map<std::pair<uint32_t, MessageId>, Autopsy::Item> places_;
  uint64_t deliveries_ = 0;
  uint64_t acknowledgements_ = 0;
  std::string violation_;
};

}  // namespace hf::sim
