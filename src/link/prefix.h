// The topics of a child as its parent calls them. What comes from a child that was registered with a prefix appears
// here under prefix + topic; what goes down to it has the prefix taken off, where it is there.
//
// A record's hash, in marks and pairs, is always of the topic as it travels on the link. So the two sides agree
// whatever either of them calls it, and hubs of hubs each put their own in front.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace hf::link {

inline constexpr size_t kPrefixBytesMax = 255;

// kInvalid, with a sentence that says what a prefix is. The empty one is sound: no prefix.
Result<> check_prefix(Bytes prefix);

// What a topic here is called on the way to the child.
inline Bytes travelling_topic(Bytes prefix, Bytes topic) {
  return topic.starts_with(prefix) ? topic.substr(prefix.size()) : topic;
}
// Whether there is a topic left that can go down: not nothing, and none of the child's own.
inline bool topic_travels(Bytes prefix, Bytes topic) {
  const Bytes travelling = travelling_topic(prefix, topic);
  return !travelling.empty() && !travelling.starts_with('$');
}

}  // namespace hf::link
