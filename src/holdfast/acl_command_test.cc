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
            "publish    denied  p.toml:7: `deny_publish` has \"sites/+/door\"\n"
            "retain     denied  p.toml:7: it may not be published: `deny_publish` has \"sites/+/door\"\n"
            "subscribe  denied  no `subscribe` of the 2 entries for this user and client covers all of it\n"
            "receive    denied  no `subscribe` of the 2 entries for this user and client matches\n");
  EXPECT_EQ(
      acl_json(question, {answers->front(), answers->back()}),
      R"({"user":"anna","client":"","topic":"sites/anna/door","answers":[{"action":"publish","allowed":false,)"
      R"("why":"p.toml:7: `deny_publish` has \"sites/+/door\"","line":7},{"action":"receive","allowed":false,)"
      R"("why":"no `subscribe` of the 2 entries for this user and client matches","line":null}]})");
}

TEST(AclCommandTest, WhatIsTheNodesOwnIsDeniedToAll) {
  const auto answers_for = [](const identity::Permissions& rights, const char* topic) {
    const auto answers =
        acl_answers(rights, {.user = "anna", .client = "", .topic = topic, .action = {}}, "p");
    std::string text;
    for (const AclAnswer& answer : *answers) {
      text += std::string(identity::action_name(answer.action)) + (answer.allowed ? " yes " : " no ");
    }
    return text;
  };
  const identity::Permissions all;
  EXPECT_EQ(answers_for(all, "$SYS/broker/version"), "publish no retain no subscribe yes receive yes ");
  EXPECT_EQ(answers_for(all, "$other"), "publish no retain no subscribe yes receive yes ");
  for (const char* topic : {"$hf", "$hf/x"})
    EXPECT_EQ(answers_for(all, topic), "publish no retain no subscribe no receive no ") << topic;
  EXPECT_EQ(answers_for(all, "$hf/#"), "subscribe no ");
  EXPECT_EQ(answers_for(all, "$share/g/$hf/#"), "subscribe no ");
  EXPECT_EQ(answers_for(all, "$hfx"), "publish no retain no subscribe yes receive yes ");
  const auto rights = parse_permissions("[[permission]]\nuser = \"anna\"\npublish = [\"$SYS/#\"]\n", "p");
  ASSERT_TRUE(rights);
  EXPECT_EQ(answers_for(*rights, "$SYS/x"), "publish no retain no subscribe no receive no ");
}

TEST(AclCommandTest, AFilterCanBeSubscribedToOnly) {
  for (const char* topic : {"news/#", "$share/group/news/#"}) {
    const auto answers =
        acl_answers(permissions(), {.user = "bert", .client = "", .topic = topic, .action = {}}, "p.toml");
    ASSERT_TRUE(answers);
    ASSERT_EQ(answers->size(), 1u);
    EXPECT_EQ(answers->front().action, Action::kSubscribe);
    EXPECT_TRUE(answers->front().allowed);
    EXPECT_EQ(answers->front().line, 4u);
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
