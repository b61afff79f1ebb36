// The ordered tables. They live in the same log as the records, so that one commit covers a message, the
// position that consumed it and the state it changed. Keys and values are bytes; each owner documents its
// own.
#pragma once

#include <cstdint>

namespace hf::store {

enum class Table : uint8_t {
  kStore = 1,         // store/: incarnation, fence, counters.
  kStream = 2,        // store/: key and options of each stream.
  kReader = 3,        // store/: low-water position and cursor of each durable reader.
  kGap = 4,           // store/: gap records.
  kSession = 5,       // broker/: client identifier -> session.
  kSubscription = 6,  // broker/: session, filter -> options.
  kRetained = 7,      // broker/: topic -> message.
  kInbound = 8,       // broker/: session, packet identifier of a QoS 2 PUBLISH received and not yet released.
  kOutbound = 9,      // broker/: session, packet identifier of a QoS 2 PUBLISH sent -> position, state.
  kWill = 10,         // broker/: will of a connection that stands.
  kNode = 11,         // link/: nodes registered here.
  kParent = 12,       // link/: what we know of our own parent.
  kMark = 13,         // link/: peer, stream -> last number received.
  kPair = 14,         // link/: peer, stream, number -> hash.
  kLabel = 15,        // link/: stream -> where another incarnation begins.
  kOutboundRun =
      16,  // broker/: session, slot -> QoS 1 PUBLISHes sent in one go: packet identifiers, positions.
  kShareGroup = 17,  // broker/: name and filter of a shared subscription -> reader.
  kShareOwed =
      18,  // broker/: reader of a shared subscription, position -> QoS; handed out, and in no row of kOutbound.
};
inline constexpr uint8_t kTableMax = 18;

const char* table_name(Table table);

// Whether a write is worth a commit of its own. kRide goes with the next commit that something else causes,
// at the latest after the idle time (docs/formats/store.md, "Marks").
enum class Haste : uint8_t { kCommit, kRide };

}  // namespace hf::store
