// Who gets a message on a topic and where its record goes: the answers of the subscriptions and of the host's
// routes together, remembered for topics that come again.
//
// A direct-mapped table; consecutive messages on one topic hit the last answer without a look at it. An
// answer holds while neither the subscriptions' epoch nor the host's has moved. Hits and misses never show in
// an output.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/host.h"
#include "broker/session_rights.h"
#include "broker/subscriptions.h"

namespace hf::broker {

struct Audience {
  bool routed = false;         // A route stores it, whatever its QoS.
  bool durable_wants = false;  // A durable session subscribed above QoS 0: QoS 1 and 2 are stored.
  bool no_local = false;
  store::StreamId stream = 0;
  std::vector<Target> targets;
  std::string links;  // Encoded audience of a record of QoS 0: sessions are not owed those.
  std::string all;    // And of QoS 1 and 2.
};

class Audiences {
 public:
  Audiences(Subscriptions& subscriptions, Host& host, const SessionRights& rights)
      : subscriptions_(subscriptions), host_(host), rights_(rights) {}

  // The answer for a message on `topic` from `source`; `publisher` is the session it came from, or 0. Holds
  // until the next call, or a change of the subscriptions.
  const Audience& find(Bytes topic, const Source& source, uint64_t publisher);

 private:
  struct Entry {
    uint64_t epoch = 0;  // 0: empty.
    uint64_t host_epoch = 0;
    uint64_t publisher = 0;  // Whom `audience` leaves out for "no local".
    Source source;
    std::string topic;
    Audience audience;
  };
  static constexpr size_t kEntryCount = 1024;      // A power of two.
  static constexpr size_t kTargetsMax = 64 << 10;  // In all entries; then the table starts anew.

  bool holds(const Entry& entry, Bytes topic, const Source& source) const;
  void fill(Entry* entry, Bytes topic, const Source& source, uint64_t publisher);

  Subscriptions& subscriptions_;
  Host& host_;
  const SessionRights& rights_;
  std::vector<Entry> entries_;
  size_t targets_count_ = 0;
  size_t last_ = 0;  // The entry of the last answer.
  Entry personal_;   // For a publisher that some "no local" may leave out.
  std::vector<store::Member> members_;
};

}  // namespace hf::broker
