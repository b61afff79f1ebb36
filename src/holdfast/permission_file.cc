#include "holdfast/permission_file.h"

#include <fmt/format.h>

#include "holdfast/text.h"
#include "holdfast/toml_section.h"
#include "identity/users.h"

namespace hf::holdfast {

namespace {

constexpr KnownKey kKnownKeys[] = {
    {"", "permission"},
    {"permission", "user"},
    {"permission", "client"},
    {"permission", "publish"},
    {"permission", "subscribe"},
    {"permission", "retain"},
    {"permission", "deny_publish"},
    {"permission", "deny_subscribe"},
    {"permission", "deny_retain"},
};

// What is wrong with a filter in the list `key` of an entry for `user`; empty if nothing is.
std::string filter_mistake(const std::string& key, const std::string& user, const std::string& filter) {
  if (filter.starts_with("$share/")) {
    return fmt::format(
        "`{}` has \"{}\"; write the filter without $share/GROUP/, which is for shared subscriptions too", key,
        printable(filter));
  }
  if (!identity::permission_filter_valid(filter)) {
    return fmt::format("`{}` has \"{}\", which is not an MQTT topic filter", key, printable(filter));
  }
  if (user.empty() && filter.find("%u") != std::string::npos) {
    return fmt::format("`{}` has \"{}\", but this entry is for clients without a name, who have no %u", key,
                       filter);
  }
  return "";
}

identity::Permission read_permission(Section& section) {
  identity::Permission entry;
  entry.lines = section.lines();
  if (!section.text("user", &entry.user)) {
    if (!section.has("user")) {
      section.mistake("user",
                      "[permission] needs `user`: a name, \"*\" for everybody with a name, or \"\" for "
                      "clients without one");
    }
    entry.user = identity::kEverybody;  // Only so that what follows is not blamed.
  } else if (!entry.user.empty() && entry.user != identity::kEverybody &&
             !identity::user_name_valid(entry.user)) {
    section.mistake(
        "user",
        fmt::format("`permission.user` is \"{}\", which no user can be called; \"*\" alone stands for "
                    "everybody with a name",
                    printable(entry.user)));
  }
  if (section.text("client", &entry.client)) {
    if (entry.client.empty()) {
      section.mistake("client", "`permission.client` is empty; leave it out for any client");
    } else if (!identity::client_pattern_valid(entry.client)) {
      section.mistake("client",
                      fmt::format("`permission.client` is \"{}\", but may have a '*' at its end only",
                                  printable(entry.client)));
    }
  }
  struct List {
    const char* key;
    std::vector<std::string>* filters;
  };
  const List lists[] = {{"publish", &entry.allow.publish},         {"subscribe", &entry.allow.subscribe},
                        {"retain", &entry.allow.retain},           {"deny_publish", &entry.deny.publish},
                        {"deny_subscribe", &entry.deny.subscribe}, {"deny_retain", &entry.deny.retain}};
  bool any = false;
  for (const List& list : lists) {
    any = any || section.has(list.key);
    section.texts(
        list.key,
        [&](const std::string& filter) {
          return filter_mistake(section.qualified(list.key), entry.user, filter);
        },
        list.filters);
  }
  if (!any)
    section.mistake("user",
                    "[permission] allows and denies nothing; it needs a list such as publish = [\"#\"]");
  return entry;
}

}  // namespace

std::expected<identity::Permissions, Mistakes> parse_permissions(std::string_view text,
                                                                 const std::string& name) {
  const auto table = parse_toml(text, name);
  if (!table) return std::unexpected(table.error());
  Mistakes mistakes;
  Reader reader(name, kKnownKeys, &mistakes);
  Section root(reader, *table, "");
  root.refuse_unknown();
  std::vector<identity::Permission> entries;
  root.sections("permission", [&](Section& section) { entries.push_back(read_permission(section)); });
  if (!mistakes.empty()) return std::unexpected(mistakes);
  return identity::Permissions(std::move(entries));
}

}  // namespace hf::holdfast
