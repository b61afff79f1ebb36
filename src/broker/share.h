// A shared subscription (MQTT 5.0, section 4.8.2): sessions that share one filter under one name, each message going to
// one of them.
//
// The group is one reader of the log, as a session is. A message at QoS 1 or 2 is *leased* to a member: the group's reader
// has handed it out, the member's session has it in flight. A lease at QoS 1 whose session is away for long, or ends,
// comes back (`returned`) and goes to another member; one at QoS 2 stays where it is and is given up with the session
// [MQTT-4.8.2-5]. A group is stored for whoever its members are, so that the death of one loses nothing.
//
// Invariant: `behind` is false only if every record owed to the reader was handed out and none has come back.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "broker/rows.h"
#include "store/record.h"

namespace hf::broker {

struct Session;

struct ShareGroup {
  struct Member {
    Session* session = nullptr;
    const SubscriptionOptions* options = nullptr;  // In session->subscriptions.
    uint8_t qos = 0;                               // Of them, as it is counted below.
  };
  uint64_t number = 0;  // In this run of the broker; never used twice.
  std::string name;     // What follows "$share/": the group's name, '/' and the filter.
  std::string filter;

  std::map<uint64_t, Member> members;  // By session number.
  uint64_t served_last = 0;            // The session whose turn was the last one.
  uint8_t qos = 0;                     // The highest that a member was granted.
  size_t granted[3] = {};              // Members by what they were granted.
  // Members that may have room, so that a message need not ask all the others: whoever is found without is taken out, and
  // comes back with whatever serves its session again.
  std::set<uint64_t> ready;

  store::ReaderId reader = 0;  // 0: no member had a QoS above 0 yet.
  bool behind = false;
  bool pump_due = false;
  bool overfull = false;               // Its members are to end for what it is owed.
  std::set<store::Position> returned;  // Leased, and not any more.
  size_t lease_count = 0;
};

}  // namespace hf::broker
