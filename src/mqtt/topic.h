// Topic names and topic filters: validity, matching, and the tree of filters (MQTT 5.0, section 4.7).
//
// Everything here is iterative: no topic, however deep, deepens the stack.
#pragma once

#include <cstddef>

#include "base/bytes.h"

namespace hf::mqtt {

inline constexpr size_t kTopicBytesMax = 65'535;
inline constexpr size_t kTopicLevelsMax = 256;

// Well-formed UTF-8 without U+0000 and surrogates. A byte order mark is a character like any other [MQTT-1.5.4-3].
bool utf8_valid(Bytes text);

// A topic name: valid UTF-8, not empty, no wildcard, within the limits above.
bool topic_name_valid(Bytes name);

// A topic filter: likewise, '+' and '#' only as whole levels, '#' only last. "$share/..." is judged by its
// inner filter, after parse_shared().
bool topic_filter_valid(Bytes filter);

// The levels of a topic from left to right: "a//b" has "a", "" and "b".
class TopicLevels {
 public:
  explicit TopicLevels(Bytes topic) : rest_(topic) {}
  bool done() const { return done_; }
  // Not when done().
  Bytes next() {
    const size_t slash = rest_.find('/');
    const Bytes level = rest_.substr(0, slash);
    done_ = slash == Bytes::npos;
    if (!done_) rest_.remove_prefix(slash + 1);
    return level;
  }

 private:
  Bytes rest_;
  bool done_ = false;
};

// Topics on which registered nodes talk to each other ("$hf/hello"), and filters for them: no client's, whatever its rights.
inline bool reserved_to_nodes(Bytes topic) { return topic == "$hf" || topic.starts_with("$hf/"); }

// "$share/{group}/{filter}" (section 4.8.2). Empty group: not shared; `filter` is then the whole.
struct SharedFilter {
  Bytes group;
  Bytes filter;
};
// False if it starts with "$share/" but its group is empty, or holds '+', '#', or its filter is empty.
bool parse_shared(Bytes filter, SharedFilter* shared);

// Whether `filter` matches `name`: both valid, the filter not shared. A wildcard at the first level does not
// match a name that starts with '$'.
bool topic_matches(Bytes filter, Bytes name);

// A multimap from topic filters to values, found by topic name. Visits in an order that depends on the
// content alone. Value is a small copyable key with operator<; the same (filter, value) stands once.
template <typename Value>
class FilterTree;

}  // namespace hf::mqtt

#include "mqtt/filter_tree.h"
