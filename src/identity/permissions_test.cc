// Goal: nobody gets more than the file says, whatever name or identifier they choose. Method: cases for each rule;
// containment of filters against all topics that can tell two filters apart, and the answers of a grant against the
// definition, over random entries.
#include "identity/permissions.h"

#include <gtest/gtest.h>

#include <set>

#include "base/prng.h"
#include "mqtt/naive_match.h"
#include "mqtt/topic.h"

namespace hf::identity {
namespace {

Permissions one(Permission permission) { return Permissions({std::move(permission)}); }

// All sequences of 1 to `levels_max` of these levels, as topics.
std::vector<std::string> all_topics(const std::vector<std::string>& levels, size_t levels_max) {
  std::vector<std::string> all;
  std::vector<std::string> longest = {""};
  for (size_t depth = 0; depth < levels_max; ++depth) {
    std::vector<std::string> longer;
    for (const std::string& start : longest) {
      for (const std::string& level : levels) longer.push_back(depth == 0 ? level : start + "/" + level);
    }
    all.insert(all.end(), longer.begin(), longer.end());
    longest = std::move(longer);
  }
  return all;
}

// Filters of up to three levels. Topics have one level more, and two that no filter names ("z", "$z"): enough to tell
// apart any two filters that do not match the same.
TEST(FilterCovers, AgreesWithEveryTopic) {
  std::vector<std::string> filters;
  for (const std::string& filter : all_topics({"", "a", "$s", "+", "#"}, 3)) {
    if (mqtt::topic_filter_valid(filter)) filters.push_back(filter);
  }
  ASSERT_GT(filters.size(), 80u);
  std::vector<std::string> topics;
  for (const std::string& topic : all_topics({"", "a", "z", "$s", "$z"}, 4)) {
    if (mqtt::topic_name_valid(topic)) topics.push_back(topic);
  }
  std::vector<std::vector<bool>> matches;
  for (const std::string& filter : filters) {
    matches.emplace_back();
    for (const std::string& topic : topics) matches.back().push_back(mqtt::naive_match(filter, topic));
  }
  for (size_t wide = 0; wide < filters.size(); ++wide) {
    for (size_t narrow = 0; narrow < filters.size(); ++narrow) {
      bool covers = true;
      for (size_t i = 0; i < topics.size() && covers; ++i) covers = !matches[narrow][i] || matches[wide][i];
      EXPECT_EQ(filter_covers(filters[wide], filters[narrow]), covers)
          << filters[wide] << " " << filters[narrow];
    }
  }
}

TEST(FilterCovers, DepthDoesNotDeepenTheStack) {
  std::string deep = "a";
  for (size_t i = 1; i < mqtt::kTopicBytesMax / 2; ++i) deep += "/a";
  EXPECT_TRUE(filter_covers(deep, deep));
  EXPECT_TRUE(filter_covers("a/#", deep));
  EXPECT_FALSE(filter_covers(deep + "/#", "a/#"));
}

TEST(Permissions, WithoutAFileEverythingIsAllowed) {
  const Permissions none;
  EXPECT_TRUE(none.everything());
  const Grant grant = none.grant_for("", "x");
  EXPECT_TRUE(grant.may_publish("a") && grant.may_retain("a") && grant.may_receive("$SYS/a") &&
              grant.may_subscribe("#"));
}

TEST(Permissions, AnEmptyFileAllowsNothing) {
  for (const Grant& grant : {Permissions(std::vector<Permission>()).grant_for("anna", "x"), Grant()}) {
    EXPECT_FALSE(grant.may_publish("a"));
    EXPECT_FALSE(grant.may_retain("a"));
    EXPECT_FALSE(grant.may_receive("a"));
    EXPECT_FALSE(grant.may_subscribe("a"));
  }
}

TEST(Permissions, EntriesApplyByNameAndClient) {
  const auto applies = [](Bytes user, Bytes client, Bytes name, Bytes id) {
    return Permission{.user = std::string(user), .client = std::string(client)}.applies_to(name, id);
  };
  EXPECT_TRUE(applies("anna", "", "anna", "x"));
  EXPECT_FALSE(applies("anna", "", "ann", "x"));
  EXPECT_FALSE(applies("anna", "", "", "anna"));
  EXPECT_TRUE(applies("*", "", "anna", "x"));
  EXPECT_FALSE(applies("*", "", "", "x")) << "who has no name is not everybody";
  EXPECT_TRUE(applies("", "", "", "x"));
  EXPECT_FALSE(applies("", "", "anna", "x"));
  EXPECT_TRUE(applies("*", "press-*", "anna", "press-7"));
  EXPECT_TRUE(applies("*", "press-*", "anna", "press-"));
  EXPECT_FALSE(applies("*", "press-*", "anna", "xpress-7"));
  EXPECT_TRUE(applies("*", "*", "anna", ""));
  EXPECT_FALSE(applies("*", "press", "anna", "press-7"));
}

TEST(Permissions, DenialsWinWhereverTheyStand) {
  const Permission open{.user = "*",
                        .allow = {.publish = {"#"}, .retain = {"#"}, .subscribe = {"#", "$SYS/#"}}};
  const Permission shut{.user = "anna",
                        .deny = {.publish = {"door/+"}, .retain = {"state/#"}, .subscribe = {"secret/#"}}};
  for (const auto& entries : {std::vector{open, shut}, std::vector{shut, open}}) {
    const Permissions permissions(entries);
    const Grant anna = permissions.grant_for("anna", "x");
    EXPECT_TRUE(anna.may_publish("door"));
    EXPECT_FALSE(anna.may_publish("door/1"));
    EXPECT_TRUE(anna.may_publish("state/1"));
    EXPECT_FALSE(anna.may_retain("state/1"));
    EXPECT_FALSE(anna.may_retain("door/1")) << "not to be published, so not to be kept";
    EXPECT_TRUE(anna.may_retain("door"));
    EXPECT_FALSE(anna.may_receive("secret/1"));
    EXPECT_FALSE(anna.may_receive("secret"));
    EXPECT_FALSE(anna.may_subscribe("secret/+"));
    EXPECT_TRUE(anna.may_subscribe("#")) << "what is denied in part is held back message by message";
    EXPECT_TRUE(anna.may_subscribe("+/1"));
    const Grant bert = permissions.grant_for("bert", "x");
    EXPECT_TRUE(bert.may_receive("secret/1"));
    EXPECT_TRUE(bert.may_publish("door/1"));
    EXPECT_TRUE(bert.may_receive("$SYS/x"));
    EXPECT_FALSE(bert.may_publish("$SYS/x")) << "a wildcard at the front does not match it";
  }
}

TEST(Permissions, SubscribingNeedsOneFilterThatCoversAll) {
  const Grant grant = one({.user = "*", .allow = {.subscribe = {"a/+/c", "b/#"}}}).grant_for("anna", "x");
  for (const char* good : {"a/+/c", "a/b/c", "b", "b/#", "b/+/x/#"})
    EXPECT_TRUE(grant.may_subscribe(good)) << good;
  for (const char* bad : {"a/+/+", "a/#", "#", "+", "+/b/c", "c"})
    EXPECT_FALSE(grant.may_subscribe(bad)) << bad;
}

TEST(Permissions, NamesStandForThemselves) {
  const Permissions permissions =
      one({.user = "*",
           .allow = {.publish = {"sites/%u/#", "dev/%u-%c/x"}, .subscribe = {"%c/#"}},
           .deny = {.publish = {"sites/%u/locked"}}});
  const Grant anna = permissions.grant_for("anna", "c1");
  EXPECT_TRUE(anna.may_publish("sites/anna/x"));
  EXPECT_FALSE(anna.may_publish("sites/bert/x"));
  EXPECT_FALSE(anna.may_publish("sites/anna/locked"));
  EXPECT_TRUE(anna.may_publish("dev/anna-c1/x"));
  EXPECT_FALSE(anna.may_publish("dev/anna-c2/x"));
  EXPECT_TRUE(anna.may_subscribe("c1/#"));
  EXPECT_FALSE(anna.may_subscribe("#"));
  // Once put in, a name is not looked at again.
  EXPECT_TRUE(permissions.grant_for("%c", "c1").may_publish("sites/%c/x"));
  EXPECT_FALSE(permissions.grant_for("%c", "c1").may_publish("sites/c1/x"));
}

TEST(Permissions, NamesThatDoNotFitGetNothing) {
  const Permissions permissions = one({.user = "*", .allow = {.publish = {"a/%c/#"}, .subscribe = {"%c/#"}}});
  for (const Bytes id : {"+", "#", "a/b", "", "x+", "/"}) {
    const Grant grant = permissions.grant_for("anna", id);
    EXPECT_FALSE(grant.may_publish("a/b/c")) << id;
    EXPECT_FALSE(grant.may_publish("a/" + std::string(id) + "/c")) << id;
    EXPECT_FALSE(grant.may_subscribe("+/#")) << id;
    EXPECT_FALSE(grant.may_receive("x/y")) << id;
  }
  // Not through the front door either: what begins with '$' is given by name only.
  EXPECT_FALSE(permissions.grant_for("anna", "$SYS").may_receive("$SYS/x"));
  EXPECT_FALSE(permissions.grant_for("anna", "$share").may_subscribe("$share/#"));
  EXPECT_TRUE(permissions.grant_for("anna", "$SYS").may_publish("a/$SYS/x"));
  EXPECT_FALSE(permissions.grant_for("anna", Bytes("a\0b", 3)).may_publish(Bytes("a/a\0b/x", 7)));
}

TEST(Permissions, NobodyGetsAroundADenialByAnIdentifier) {
  const Permissions permissions =
      one({.user = "*", .allow = {.publish = {"#"}, .subscribe = {"#"}}, .deny = {.publish = {"cmd/%c/#"}}});
  EXPECT_TRUE(permissions.grant_for("anna", "x").may_publish("a"));
  EXPECT_FALSE(permissions.grant_for("anna", "x").may_publish("cmd/x/y"));
  const Grant strange = permissions.grant_for("anna", "x/+");
  EXPECT_FALSE(strange.may_publish("cmd/x/y"));
  EXPECT_FALSE(strange.may_publish("a"));
  EXPECT_TRUE(strange.may_receive("a")) << "the other lists are not concerned";
}

TEST(Permissions, SaysWhy) {
  const Permissions permissions({
      {.user = "*", .allow = {.publish = {"sites/%u/#"}, .subscribe = {"news/#"}}},
      {.user = "anna", .deny = {.publish = {"sites/+/door"}, .subscribe = {"news/%c"}}},
  });
  const auto why = [&](Bytes user, Bytes client, Action action, Bytes topic) {
    const Explanation said = permissions.explain(user, client, action, topic);
    EXPECT_EQ(said.sentence.find("`" + said.key + "` has") != std::string::npos, said.entry.has_value());
    return std::string(said.allowed ? "yes" : "no") + (said.entry ? " " + std::to_string(*said.entry) : "") +
           ": " + said.sentence;
  };
  EXPECT_EQ(why("bert", "x", Action::kPublish, "sites/bert/a"),
            "yes 0: `publish` has \"sites/%u/#\", which is \"sites/bert/#\"");
  EXPECT_EQ(why("anna", "x", Action::kPublish, "sites/anna/door"),
            "no 1: `deny_publish` has \"sites/+/door\"");
  EXPECT_EQ(why("bert", "x", Action::kReceive, "news/1"), "yes 0: `subscribe` has \"news/#\"");
  EXPECT_EQ(why("bert", "x", Action::kSubscribe, "#"),
            "no: no `subscribe` of the 1 entry for this user and client covers all of it");
  EXPECT_EQ(why("anna", "x", Action::kPublish, "a"),
            "no: no `publish` of the 2 entries for this user and client matches");
  EXPECT_EQ(why("bert", "x", Action::kRetain, "a"),
            "no: it may not be published: no `publish` of the 1 entry for this user and client matches");
  EXPECT_EQ(why("bert", "x", Action::kRetain, "sites/bert/a"),
            "no: no `retain` of the 1 entry for this user and client matches");
  EXPECT_EQ(why("", "x", Action::kPublish, "a"), "no: no entry is for this user and client");
  EXPECT_EQ(why("anna", "a/b", Action::kReceive, "news/1"),
            "no 1: `deny_subscribe` has \"news/%c\", where this name or client identifier does not fit; so "
            "everything is "
            "denied");
  EXPECT_TRUE(Permissions().explain("", "", Action::kPublish, "a").allowed);
}

TEST(Permissions, PatternsOfClientsAndFilters) {
  for (const char* good : {"", "a", "*", "press-*"}) EXPECT_TRUE(client_pattern_valid(good)) << good;
  for (const char* bad : {"*a", "a*b", "**", "\xff"}) EXPECT_FALSE(client_pattern_valid(bad)) << bad;
  for (const char* good : {"#", "a/%u/+", "%c", "$SYS/#"}) EXPECT_TRUE(permission_filter_valid(good)) << good;
  for (const char* bad : {"", "a#", "%u#", "$share/g/a"}) EXPECT_FALSE(permission_filter_valid(bad)) << bad;
}

// The definition, said another way: over random entries a topic is received exactly if some filter that applies matches
// and none that denies does; and whatever an allowed subscription matches is received unless a denial names it.
TEST(Permissions, AgreesWithItsDefinition) {
  Prng prng(20);
  for (int round = 0; round < 3000; ++round) {
    std::vector<Permission> entries(1 + prng.below(3));
    std::vector<std::string> allowed;
    std::vector<std::string> denied;
    for (Permission& entry : entries) {
      const bool ours = prng.chance(3, 4);
      entry.user = ours ? (prng.chance(1, 2) ? "*" : "anna") : "bert";
      for (uint64_t i = prng.below(3); i > 0; --i)
        entry.allow.subscribe.push_back(mqtt::random_filter(prng, 3));
      for (uint64_t i = prng.below(2); i > 0; --i)
        entry.deny.subscribe.push_back(mqtt::random_filter(prng, 3));
      if (!ours) continue;
      allowed.insert(allowed.end(), entry.allow.subscribe.begin(), entry.allow.subscribe.end());
      denied.insert(denied.end(), entry.deny.subscribe.begin(), entry.deny.subscribe.end());
    }
    const Permissions permissions(entries);
    const Grant grant = permissions.grant_for("anna", "x");
    const std::string filter = mqtt::random_filter(prng, 3);
    const bool may_subscribe = grant.may_subscribe(filter);
    EXPECT_EQ(may_subscribe, permissions.explain("anna", "x", Action::kSubscribe, filter).allowed);
    for (int i = 0; i < 20; ++i) {
      const std::string topic = mqtt::random_name(prng, 4);
      const auto any = [&](const std::vector<std::string>& filters) {
        return std::any_of(filters.begin(), filters.end(),
                           [&](const std::string& each) { return mqtt::naive_match(each, topic); });
      };
      EXPECT_EQ(grant.may_receive(topic), any(allowed) && !any(denied)) << topic;
      EXPECT_EQ(grant.may_receive(topic), permissions.explain("anna", "x", Action::kReceive, topic).allowed);
      if (may_subscribe && mqtt::naive_match(filter, topic)) {
        EXPECT_TRUE(any(allowed)) << filter << " " << topic;
      }
    }
  }
}

}  // namespace
}  // namespace hf::identity
