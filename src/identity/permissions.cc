#include "identity/permissions.h"

#include <algorithm>

#include "mqtt/topic.h"

namespace hf::identity {

namespace {

// Whether %u or %c may become this: a piece of one level, and something.
bool fits_level(Bytes value) { return !value.empty() && value.find_first_of("/+#") == Bytes::npos; }

// `written` with its names put in; nothing if one of them does not fit.
std::optional<std::string> with_names(Bytes written, Bytes user, Bytes client_id) {
  std::string out;
  for (size_t i = 0; i < written.size(); ++i) {
    const Bytes rest = written.substr(i);
    const bool is_user = rest.starts_with("%u");
    if (!is_user && !rest.starts_with("%c")) {
      out += written[i];
      continue;
    }
    const Bytes value = is_user ? user : client_id;
    if (!fits_level(value)) return std::nullopt;
    out += value;
    ++i;
  }
  // A client called "$SYS" shall not get a filter that "%c/#" was not meant to be.
  if (out.starts_with('$') && !written.starts_with('$')) return std::nullopt;
  if (!permission_filter_valid(out)) return std::nullopt;
  return out;
}

std::string quoted(Bytes text) { return "\"" + std::string(text) + "\""; }

const std::vector<std::string>& list_of(const FilterLists& lists, Action action) {
  switch (action) {
    case Action::kPublish:
      return lists.publish;
    case Action::kRetain:
      return lists.retain;
    case Action::kSubscribe:
    case Action::kReceive:
      break;
  }
  return lists.subscribe;
}

// The key of the file that decides about it.
const char* key_name(Action action) { return action == Action::kReceive ? "subscribe" : action_name(action); }

}  // namespace

bool filter_covers(Bytes wide, Bytes narrow) {
  // No topic is empty, so these match the same, and say so in a way that can be compared level by level.
  if (narrow == "#") narrow = "+/#";
  if (narrow == "/#") narrow = "/+/#";
  // [MQTT-4.7.2-1] A wildcard at the front does not match what begins with '$'.
  if (narrow.starts_with('$') && (wide.starts_with('+') || wide.starts_with('#'))) return false;
  mqtt::TopicLevels wide_levels(wide);
  mqtt::TopicLevels narrow_levels(narrow);
  while (!wide_levels.done()) {
    const Bytes wide_level = wide_levels.next();
    if (wide_level == "#") return true;      // Also of the level above: "sport/#" covers "sport".
    if (narrow_levels.done()) return false;  // It matches topics that are too short.
    const Bytes narrow_level = narrow_levels.next();
    if (narrow_level == "#") return false;  // Likewise: "sport/#" matches "sport", "sport/+/#" does not.
    if (wide_level != "+" && wide_level != narrow_level) return false;
  }
  return narrow_levels.done();
}

const char* action_name(Action action) {
  switch (action) {
    case Action::kPublish:
      return "publish";
    case Action::kRetain:
      return "retain";
    case Action::kSubscribe:
      return "subscribe";
    case Action::kReceive:
      break;
  }
  return "receive";
}

bool Permission::applies_to(Bytes user_name, Bytes client_id) const {
  if (user == kEverybody ? user_name.empty() : user_name != user) return false;
  if (client.empty()) return true;
  if (!client.ends_with('*')) return client_id == client;
  return client_id.starts_with(Bytes(client).substr(0, client.size() - 1));
}

bool permission_filter_valid(Bytes filter) {
  return mqtt::topic_filter_valid(filter) && !filter.starts_with("$share/");
}

bool client_pattern_valid(Bytes pattern) {
  const size_t star = pattern.find('*');
  return mqtt::utf8_valid(pattern) && (star == Bytes::npos || star + 1 == pattern.size());
}

Grant Grant::everything() {
  Grant grant;
  grant.everything_ = true;
  return grant;
}

Grant::Verdict Grant::judge_topic(const Rules& rules, Bytes topic) {
  for (const Rule& rule : rules.deny) {
    if (rule.filter.empty() || mqtt::topic_matches(rule.filter, topic)) return {.denied = &rule};
  }
  for (const Rule& rule : rules.allow) {
    if (mqtt::topic_matches(rule.filter, topic)) return {.allowed = &rule};
  }
  return {};
}

Grant::Verdict Grant::judge_filter(const Rules& rules, Bytes filter) {
  for (const Rule& rule : rules.deny) {
    if (rule.filter.empty() || filter_covers(rule.filter, filter)) return {.denied = &rule};
  }
  for (const Rule& rule : rules.allow) {
    if (filter_covers(rule.filter, filter)) return {.allowed = &rule};
  }
  return {};
}

bool Grant::may_publish(Bytes topic) const { return everything_ || judge_topic(publish_, topic); }

bool Grant::may_retain(Bytes topic) const {
  return everything_ || (judge_topic(publish_, topic) && judge_topic(retain_, topic));
}

bool Grant::may_receive(Bytes topic) const { return everything_ || judge_topic(subscribe_, topic); }

bool Grant::may_subscribe(Bytes filter) const { return everything_ || judge_filter(subscribe_, filter); }

std::vector<std::string> Grant::filters(Action action, bool denies) const {
  const Rules& rules = action == Action::kPublish  ? publish_
                       : action == Action::kRetain ? retain_
                                                   : subscribe_;
  std::vector<std::string> filters;
  for (const Rule& rule : denies ? rules.deny : rules.allow) filters.push_back(rule.filter);
  return filters;
}

Permissions::Permissions(std::vector<Permission> entries) : everything_(false), entries_(std::move(entries)) {
  const auto looks = [](const std::vector<std::string>& filters) {
    return std::any_of(filters.begin(), filters.end(),
                       [](const std::string& filter) { return filter.find("%c") != std::string::npos; });
  };
  for (const Permission& entry : entries_) {
    look_at_clients_ = look_at_clients_ || !entry.client.empty();
    for (const FilterLists* lists : {&entry.allow, &entry.deny}) {
      look_at_clients_ =
          look_at_clients_ || looks(lists->publish) || looks(lists->retain) || looks(lists->subscribe);
    }
  }
}

Grant Permissions::grant_for(Bytes user, Bytes client_id) const {
  if (everything_) return Grant::everything();
  Grant grant;
  for (size_t entry = 0; entry < entries_.size(); ++entry) {
    const Permission& permission = entries_[entry];
    if (!permission.applies_to(user, client_id)) continue;
    const auto add = [&](const FilterLists& lists, Action action, Grant::Rules& rules, bool allows) {
      const std::vector<std::string>& list = list_of(lists, action);
      for (size_t position = 0; position < list.size(); ++position) {
        auto filter = with_names(list[position], user, client_id);
        if (!filter && allows) continue;
        (allows ? rules.allow : rules.deny)
            .push_back({.filter = filter.value_or(""), .entry = entry, .position = position});
      }
    };
    for (const auto& [action, rules] : {std::pair{Action::kPublish, &grant.publish_},
                                        {Action::kRetain, &grant.retain_},
                                        {Action::kSubscribe, &grant.subscribe_}}) {
      add(permission.allow, action, *rules, true);
      add(permission.deny, action, *rules, false);
    }
  }
  return grant;
}

Explanation Permissions::explain(Bytes user, Bytes client_id, Action action, Bytes topic) const {
  if (everything_) {
    return {.allowed = true,
            .sentence = "there is no permissions file: whoever is admitted may do everything"};
  }
  const Grant grant = grant_for(user, client_id);
  if (action == Action::kRetain && !grant.may_publish(topic)) {
    Explanation why = explain(user, client_id, Action::kPublish, topic);
    why.sentence = "it may not be published: " + why.sentence;
    return why;
  }
  const bool is_filter = action == Action::kSubscribe;
  const Grant::Rules& rules = action == Action::kPublish  ? grant.publish_
                              : action == Action::kRetain ? grant.retain_
                                                          : grant.subscribe_;
  const Grant::Verdict verdict =
      is_filter ? Grant::judge_filter(rules, topic) : Grant::judge_topic(rules, topic);
  if (verdict.denied != nullptr || verdict.allowed != nullptr) {
    const Grant::Rule& rule = verdict.denied != nullptr ? *verdict.denied : *verdict.allowed;
    const FilterLists& lists = verdict ? entries_[rule.entry].allow : entries_[rule.entry].deny;
    const std::string& written = list_of(lists, action)[rule.position];
    const std::string key = std::string(verdict ? "" : "deny_") + key_name(action);
    std::string sentence = "`" + key + "` has " + quoted(written);
    if (rule.filter.empty()) {
      sentence += ", where this name or client identifier does not fit; so everything is denied";
    } else if (rule.filter != written) {
      sentence += ", which is " + quoted(rule.filter);
    }
    return {.allowed = static_cast<bool>(verdict),
            .sentence = std::move(sentence),
            .entry = rule.entry,
            .key = key};
  }
  const auto count = std::count_if(entries_.begin(), entries_.end(), [&](const Permission& permission) {
    return permission.applies_to(user, client_id);
  });
  if (count == 0) return {.sentence = "no entry is for this user and client"};
  return {.sentence = std::string("no `") + key_name(action) + "` of the " + std::to_string(count) +
                      (count == 1 ? " entry" : " entries") + " for this user and client " +
                      (is_filter ? "covers all of it" : "matches")};
}

}  // namespace hf::identity
