// What a message carries besides topic and payload: which properties of a PUBLISH are kept in a record, and
// which a delivery has.
//
// A record's `headers` are encoded MQTT 5 properties: payload format, content type, response topic,
// correlation data, user properties in their order [MQTT-3.3.2-18]. Expiry and event time have fields of
// their own; topic alias and subscription identifiers concern one connection only.
//
// "hf-time", the device's own time (RFC 3339 in UTC, or milliseconds since 1970 in digits; of several the last), becomes the
// record's event time, and goes on as it came. The five that only the node says are taken from clients.
// A delivery to a 5.0 client has:
//   hf-time             the event time, if there is one and the publisher did not say it
//   hf-origin           path of nodes to the one that numbered the record; this and the next ones only if
//                       that was not this node
//   hf-seq              "INCARNATION:STREAM:SEQUENCE" as numbered there
//   hf-arrived          when that node took it in
//   hf-arrived-quality  how far its clock was to be believed, if less than a parent's
//   hf-may-double       "1": a restored node sent it again and cannot know whether it arrived before
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "mqtt/packet.h"
#include "store/record.h"
#include "store/store.h"

namespace hf::broker {

struct Carried {
  Bytes headers;  // Borrows from `raw` or *scratch.
  std::optional<uint32_t> expiry_s;
  std::optional<int64_t> event_us;
  bool time_invalid = false;  // There was an hf-time that could not be read.
};
// `raw` are the encoded bytes of `properties`, or empty if they are not at hand.
Carried carry(const mqtt::Properties& properties, Bytes raw, std::string* scratch);

// Seconds of its message expiry that are left. Within one boot monotonic time counts; across boots the wall
// clock does, if both clocks are known, else nothing has passed.
std::optional<uint32_t> expiry_left_s(const store::Arrival& arrival, const std::optional<uint32_t>& expiry_s,
                                      const Now& now);

// Time that has passed since `stamp`, by the same rule.
Duration elapsed_since(const store::Arrival& stamp, const Now& now);

// The properties of a delivery; `stream` may be null. Borrows from the record or *scratch.
Bytes delivery_properties(const store::Record& record, const store::StreamInfo* stream,
                          std::span<const uint32_t> subscription_identifiers, const Now& now,
                          std::string* scratch);

// `record.headers` and those of the properties above that do not change with time or receiver, for a retained
// row: the row outlives the record and what is known of its stream.
Bytes lasting_headers(const store::NewRecord& record, const store::StreamInfo* stream, uint64_t sequence,
                      std::string* scratch);

}  // namespace hf::broker
