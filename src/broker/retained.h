// Retained messages: one row for each topic, in the store's table alone.
//
// Invariant: bytes() is the size of all rows, keys and values; a message that would take it over the limit is
// refused and the old one stays.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "broker/rows.h"
#include "store/store.h"

namespace hf::broker {

class Retained {
 public:
  Retained(store::Store& store, size_t bytes_max);

  size_t bytes() const { return bytes_; }
  // Whether there is room for a row of this topic with so many bytes of headers and payload; makes some by
  // dropping messages that have expired.
  bool admit(Bytes topic, size_t headers_bytes, size_t payload_bytes, const Now& now);
  // Replaces the topic's message [MQTT-3.3.1-5]. `admit` said yes.
  void set(Bytes topic, const RetainedRow& row, store::Haste haste);
  // True if there was one.
  bool erase(Bytes topic, store::Haste haste);

  // The topics that match `filter` and have a message that is not expired, in order, behind *last if that is
  // set; at most `count_max` are looked at more closely. False if there are no more behind the last one
  // given.
  bool find(Bytes filter, const std::optional<std::string>& last, size_t count_max, const Now& now,
            std::vector<std::string>* topics) const;
  // Borrowed until the row is next written.
  bool get(Bytes topic, RetainedRow* row) const;

 private:
  // Looks at every row, so not oftener than every ten seconds.
  void drop_expired(const Now& now);

  store::Store& store_;
  size_t bytes_max_;
  size_t bytes_ = 0;
  Instant dropped_at_;  // When expired messages were last looked for.
};

}  // namespace hf::broker
