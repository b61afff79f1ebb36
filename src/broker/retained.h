// Retained messages: one row for each topic, in the store's table alone.
//
// Invariant: bytes() is the size of all rows, keys and values; a message that would take it over the limit is
// refused. Then the old one stays, but at QoS 0, where nobody is told, it goes.
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
  size_t count() const { return count_; }
  // Whether there is room for a row of this topic with so many bytes of headers and payload; makes some by
  // dropping messages that have expired.
  bool admit(Bytes topic, size_t headers_bytes, size_t payload_bytes, const Now& now);
  // Replaces the topic's message [MQTT-3.3.1-5]. `admit` said yes.
  void set(Bytes topic, const RetainedRow& row, store::Haste haste);
  // True if there was one.
  bool erase(Bytes topic, store::Haste haste);

  // Whether a filter takes a search, for it has a wildcard; else it is a topic's name, and one look.
  static bool is_search(Bytes filter);
  // The first topic behind *last (if that is set) that matches `filter` and has a message that is not expired: its name goes
  // to *last, the message to *row (borrowed until it is next written). Looks at no more than *rows_left rows and takes them off;
  // at 0 the search goes on behind *last.
  enum class Found : uint8_t { kMessage, kNoMore, kPaused };
  Found next(Bytes filter, std::optional<std::string>* last, size_t* rows_left, const Now& now,
             RetainedRow* row) const;

 private:
  // Looks at every row, so not oftener than every ten seconds.
  void drop_expired(const Now& now);

  store::Store& store_;
  size_t bytes_max_;
  size_t bytes_ = 0;
  size_t count_ = 0;
  Instant dropped_at_;  // When expired messages were last looked for.
};

}  // namespace hf::broker
