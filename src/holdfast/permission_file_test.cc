// Goal: a right file gives what it says, a wrong one is refused with sentences that name the line and the way out.
// Method: golden messages.
#include "holdfast/permission_file.h"

#include <gtest/gtest.h>

namespace hf::holdfast {
namespace {

std::string mistakes(std::string_view text) {
  const auto permissions = parse_permissions(text, "permissions.toml");
  return permissions ? "" : joined_lines(permissions.error());
}

TEST(PermissionFileTest, ReadsEveryKey) {
  const auto permissions = parse_permissions(R"(
[[permission]]
user = "*"
client = "press-*"
publish = ["sites/%u/#"]
subscribe = ["sites/%u/#", "news/#"]
retain = "sites/%u/state"

[[permission]]
user = ""
deny_publish = ["a"]
deny_subscribe = ["b"]
deny_retain = ["c/%c"]
)",
                                             "permissions.toml");
  ASSERT_TRUE(permissions) << permissions.error().front();
  EXPECT_FALSE(permissions->everything());
  const std::vector<identity::Permission> wanted = {
      {.user = "*",
       .client = "press-*",
       .allow = {.publish = {"sites/%u/#"},
                 .retain = {"sites/%u/state"},
                 .subscribe = {"sites/%u/#", "news/#"}},
       .lines = {{"", 2}, {"user", 3}, {"client", 4}, {"publish", 5}, {"subscribe", 6}, {"retain", 7}}},
      {.user = "",
       .deny = {.publish = {"a"}, .retain = {"c/%c"}, .subscribe = {"b"}},
       .lines = {{"", 9}, {"user", 10}, {"deny_publish", 11}, {"deny_subscribe", 12}, {"deny_retain", 13}}}};
  EXPECT_EQ(permissions->entries(), wanted);
}

TEST(PermissionFileTest, EveryPrefixIsReadOrRefused) {
  const std::string whole =
      "[[permission]]\nuser = \"anna\"\nclient = 'a*'\npublish = [\"a/%u/#\", '''b''']\ndeny_retain = "
      "\"c\"\n";
  for (size_t size = 0; size <= whole.size(); ++size) {
    const auto permissions = parse_permissions(std::string_view(whole).substr(0, size), "p.toml");
    EXPECT_TRUE(permissions || permissions.error().front().starts_with("p.toml:")) << size;
  }
}

TEST(PermissionFileTest, AnEmptyFileAllowsNothing) {
  const auto permissions = parse_permissions("# nothing yet\n", "permissions.toml");
  ASSERT_TRUE(permissions);
  EXPECT_FALSE(permissions->everything());
  EXPECT_FALSE(permissions->grant_for("anna", "x").may_publish("a"));
}

TEST(PermissionFileTest, EveryMistakeIsNamed) {
  EXPECT_EQ(mistakes("[[permission]]\nuser = \"anna\"\npublsh = [\"a\"]\nsubscribe = [\"b\",\n \"c#\"]\n"),
            "permissions.toml:3: unknown key `permission.publsh`; did you mean `permission.publish`?\n"
            "permissions.toml:5: `permission.subscribe` has \"c#\", which is not an MQTT topic filter");
  EXPECT_EQ(mistakes("publish = [\"a\"]\n"),
            "permissions.toml:1: unknown key `publish`; did you mean `publish` in [permission]?");
  EXPECT_EQ(mistakes("[permission]\nuser = \"anna\"\n"),
            "permissions.toml:1: `permission` is a table, but should be a section that may be repeated, as "
            "[[permission]]");
  EXPECT_EQ(mistakes("[[permission]]\npublish = [\"a\"]\n"),
            "permissions.toml:1: [permission] needs `user`: a name, \"*\" for everybody with a name, or \"\" "
            "for clients "
            "without one");
  EXPECT_EQ(mistakes("[[permission]]\nuser = \"anna\"\n"),
            "permissions.toml:2: [permission] allows and denies nothing; it needs a list such as publish = "
            "[\"#\"]");
  EXPECT_EQ(mistakes("[[permission]]\nuser = \"anna*\"\npublish = [\"a/b\", 7]\n"),
            "permissions.toml:3: `permission.publish` holds a number, but is a list of strings");
  EXPECT_EQ(
      mistakes("[[permission]]\nuser = \"a/b\"\nclient = \"*x\"\npublish = 7\n"),
      "permissions.toml:2: `permission.user` is \"a/b\", which no user can be called; \"*\" alone stands for "
      "everybody with a name\n"
      "permissions.toml:3: `permission.client` is \"*x\", but may have a '*' at its end only\n"
      "permissions.toml:4: `permission.publish` is a number, but should be a list of strings");
  EXPECT_EQ(
      mistakes(
          "[[permission]]\nuser = \"\"\nclient = \"\"\npublish = [\"a/%u\"]\nsubscribe = [\"$share/g/a\"]\n"),
      "permissions.toml:3: `permission.client` is empty; leave it out for any client\n"
      "permissions.toml:4: `permission.publish` has \"a/%u\", but this entry is for clients without a name, "
      "who have "
      "no %u\n"
      "permissions.toml:5: `permission.subscribe` has \"$share/g/a\"; write the filter without "
      "$share/GROUP/, which "
      "is for shared subscriptions too");
  EXPECT_TRUE(mistakes("[[permission]\n").starts_with("permissions.toml:1: "));
}

}  // namespace
}  // namespace hf::holdfast
