// What a conversation stands on: something that carries messages of five kinds to the peer, tells when each
// was acknowledged, and can be closed. Over MQTT 5 a message is a QoS 1 PUBLISH on a reserved topic and its
// acknowledgement is the PUBACK; this is the one place where kinds become topics.
//
// The parent's channel is made in node/ over the broker's connection, the child's is Uplink; tests make a
// third in memory.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "mqtt/packet.h"

namespace hf::link {

enum class Kind : uint8_t { kHello, kBatch, kPairs, kClaim, kChunk };

// "$hf/batch"; and back, nothing for a topic that is none of ours.
Bytes topic_of(Kind kind);
std::optional<Kind> kind_of(Bytes topic);

// What a message is refused with. A PUBACK carries few reasons [MQTT-3.4.2-1], and whoever gets another takes the peer for broken:
//   kQuotaExceeded     there is no space now, or the storage has failed: it may come again
//   kRecordTooLarge    it never will have space
//   kUnspecifiedError  the two sides do not agree on what was sent; kNotAuthorized
inline constexpr mqtt::Reason kRecordTooLarge = mqtt::Reason::kImplementationSpecificError;

class Channel {
 public:
  virtual ~Channel() = default;

  // Sends a message once `commit` is durable (0: at once). Its acknowledgement comes back under the number
  // returned; 0 if the channel is gone. The bytes are copied.
  virtual uint16_t send(Kind kind, Bytes message, uint64_t commit) = 0;
  // Acknowledges a message of the peer once `commit` is durable. `reason` is one of the above, or kSuccess.
  virtual void acknowledge(uint16_t id, mqtt::Reason reason, uint64_t commit) = 0;
  // Ends the conversation; Conversation::end() follows later, never from within this call. `why` is for
  // people.
  virtual void close(const char* why) = 0;
  // The largest message that the peer takes.
  virtual uint64_t message_bytes_max() const = 0;
};

}  // namespace hf::link
