// What bounds a client, and how often each bound was met. docs/design/hostile.md is the table of all of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hf::broker {

enum class Limit : uint8_t {
  kConnectBytes,       // Buffered before a connection is let in: its own, its address's, everybody's.
  kConnectTime,        // Until CONNECT, or the end of authentication.
  kConnectProperties,  // User properties of a CONNECT.
  kPacketBytes,
  kReceiveMaximum,
  kTopicAlias,
  kKeepAlive,
  kInboundIds,        // QoS 2 identifiers of a session that wait for PUBREL.
  kSubscriptions,     // Of a session.
  kSubscribeFilters,  // Of one SUBSCRIBE.
  kRows,              // Sessions, subscriptions, wills: all that stays.
  kRetained,          // Bytes of retained messages.
  kSlowSession,       // A session without state behind on unstored messages.
  kAnswers,           // Answers of one connection that wait for the disk.
  kSessionQueue,      // Stored messages that a session is owed.
  kCount,
};
inline constexpr size_t kLimitCount = static_cast<size_t>(Limit::kCount);

// "connect_bytes": the label of its counter.
constexpr const char* limit_name(Limit limit) {
  constexpr const char* kNames[] = {
      "connect_bytes", "connect_time", "connect_properties", "packet_bytes",  "receive_maximum",
      "topic_alias",   "keep_alive",   "inbound_ids",        "subscriptions", "subscribe_filters",
      "rows",          "retained",     "slow_session",       "answers",       "session_queue"};
  static_assert(sizeof kNames / sizeof kNames[0] == kLimitCount);
  return kNames[static_cast<size_t>(limit)];
}

}  // namespace hf::broker
