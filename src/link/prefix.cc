#include "link/prefix.h"

#include "mqtt/topic.h"

namespace hf::link {

Result<> check_prefix(Bytes prefix) {
  if (prefix.empty()) return {};
  if (prefix.size() > kPrefixBytesMax)
    return fail(Code::kInvalid, "the prefix is longer than 255 bytes; give a shorter one", prefix.size());
  if (prefix.find_first_of("+#") != Bytes::npos)
    return fail(Code::kInvalid,
                "the prefix holds '+' or '#', which stand for other topics; give it without, as sites/NAME/");
  if (prefix.starts_with('$'))
    return fail(Code::kInvalid,
                "the prefix begins with '$', and such topics are this node's own; give another one");
  if (!prefix.ends_with('/'))
    return fail(Code::kInvalid,
                "the prefix does not end with '/', so that the node's topics would run into it; give it as "
                "sites/NAME/");
  if (prefix.starts_with('/') || prefix.find("//") != Bytes::npos)
    return fail(
        Code::kInvalid,
        "the prefix has an empty level; give it as sites/NAME/, without a '/' before or behind another");
  if (!mqtt::topic_name_valid(prefix))
    return fail(Code::kInvalid,
                "the prefix is not valid UTF-8 or has too many levels; give it as sites/NAME/");
  return {};
}

}  // namespace hf::link
