// Three lines: two filters and a topic. If the first covers the second, no topic that the second matches escapes the
// first. And put into a permission they say the same.
#include <cstdint>
#include <cstdlib>

#include "identity/permissions.h"
#include "mqtt/topic.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf;
  Bytes rest(reinterpret_cast<const char*>(data), size);
  const auto take_line = [&rest] {
    const size_t end = rest.find('\n');
    const Bytes line = rest.substr(0, end);
    rest.remove_prefix(end == Bytes::npos ? rest.size() : end + 1);
    return line;
  };
  const Bytes wide = take_line();
  const Bytes narrow = take_line();
  const Bytes topic = take_line();
  if (!identity::permission_filter_valid(wide) || !identity::permission_filter_valid(narrow)) return 0;
  if (!identity::filter_covers(wide, wide)) std::abort();
  const bool covers = identity::filter_covers(wide, narrow);
  if (covers && identity::filter_covers(narrow, wide) && mqtt::topic_name_valid(topic) &&
      mqtt::topic_matches(wide, topic) != mqtt::topic_matches(narrow, topic)) {
    std::abort();
  }
  const identity::Permissions permissions({{.user = "*", .allow = {.subscribe = {std::string(wide)}}}});
  const identity::Grant grant = permissions.grant_for("u", "c");
  const bool plain = wide.find('%') == Bytes::npos;
  if (plain && grant.may_subscribe(narrow) != covers) std::abort();
  if (!mqtt::topic_name_valid(topic)) return 0;
  if (covers && mqtt::topic_matches(narrow, topic) && !mqtt::topic_matches(wide, topic)) std::abort();
  if (plain && grant.may_receive(topic) != mqtt::topic_matches(wide, topic)) std::abort();
  // The rest as a name that a client chose: it never gets more than a level's worth.
  const identity::Grant chosen =
      identity::Permissions({{.user = "*", .allow = {.publish = {"a/%c/b"}}}}).grant_for("u", rest);
  if (chosen.may_publish(topic) && topic != "a/" + std::string(rest) + "/b") std::abort();
  return 0;
}
