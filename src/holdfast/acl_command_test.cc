// Goal: the answer names the line that decided, and questions that make no sense are refused. Method: golden text.
#include "holdfast/acl_command.h"

#include <gtest/gtest.h>

#include "holdfast/permission_file.h"

namespace hf::holdfast {
namespace {

using identity::Action;

identity::Permissions permissions() {
  const auto parsed = parse_permissions(
      "[[permission]]\nuser = \"*\"\npublish = [\"sites/%u/#\"]\nsubscribe = [\"news/#\"]\n"
      "[[permission]]\nuser = \"anna\"\ndeny_publish = [\"sites/+/door\"]\n",
      "p.toml");
  EXPECT_TRUE(parsed);
  return *parsed;
}

TEST(AclCommandTest, SaysAllThatCanBeAsked) {
  const AclQuestion question{.user = "anna", .client = "", .topic = "sites/anna/door", .action = {}};
  const auto answers = acl_answers(permissions(), question, "p.toml");
  ASSERT_TRUE(answers);
  EXPECT_EQ(acl_table(*answers),
            "ACTION     ANSWER  WHY\n"
            "publish    denied  p.toml:5: `deny_publish` has \"sites/+/door\"\n"
            "retain     denied  p.toml:5: it may not be published: `deny_publish` has \"sites/+/door\"\n"
            "subscribe  denied  no `subscribe` of the 2 entries for this user and client covers all of it\n"
            "receive    denied  no `subscribe` of the 2 entries for this user and client matches\n");
  EXPECT_EQ(
      acl_json(question, {answers->front(), answers->back()}),
      R"({"user":"anna","client":"","topic":"sites/anna/door","answers":[{"action":"publish","allowed":false,)"
      R"("why":"p.toml:5: `deny_publish` has \"sites/+/door\"","line":5},{"action":"receive","allowed":false,)"
      R"("why":"no `subscribe` of the 2 entries for this user and client matches","line":null}]})");
}

TEST(AclCommandTest, AFilterCanBeSubscribedToOnly) {
  for (const char* topic : {"news/#", "$share/group/news/#"}) {
    const auto answers =
        acl_answers(permissions(), {.user = "bert", .client = "", .topic = topic, .action = {}}, "p.toml");
    ASSERT_TRUE(answers);
    ASSERT_EQ(answers->size(), 1u);
    EXPECT_EQ(answers->front().action, Action::kSubscribe);
    EXPECT_TRUE(answers->front().allowed);
    EXPECT_EQ(answers->front().line, 1u);
  }
  const auto refused = acl_answers(
      permissions(), {.user = "bert", .client = "", .topic = "news/#", .action = Action::kPublish}, "p.toml");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error(),
            "\"news/#\" is not a topic name: it has wildcards, which only a subscription may have");
  EXPECT_EQ(
      acl_answers(permissions(), {.user = "", .client = "", .topic = "a#", .action = {}}, "p.toml").error(),
      "\"a#\" is neither a topic name nor a topic filter");
}

}  // namespace
}  // namespace hf::holdfast
