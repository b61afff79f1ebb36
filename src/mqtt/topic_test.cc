// Goal: what is a topic name and a topic filter, and which match (MQTT 5.0, sections 1.5.4, 4.7 and 4.8).
// Method: every example of the standard, named cases for bugs that others had, and random topics against an
// oracle that is slow and plainly right.
#include "mqtt/topic.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/prng.h"
#include "mqtt/naive_match.h"

namespace hf::mqtt {
namespace {

using std::string_literals::operator""s;

std::string levels_of(size_t count) {
  std::string topic = "a";
  for (size_t i = 1; i < count; ++i) topic += "/a";
  return topic;
}

TEST(Utf8, TakesWellFormedText) {
  for (const Bytes text :
       {"", "a", "plain text of more than eight bytes", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",
        "A\xf0\xaa\x9b\x94" /* 1.5.4's example */, "\xef\xbb\xbf" /* U+FEFF [MQTT-1.5.4-3] */}) {
    EXPECT_TRUE(utf8_valid(text)) << text;
  }
}

TEST(Utf8, RefusesWhatIsNot) {
  for (const std::string& text :
       {"\x80"s, "\xbf"s, "\xc0\x80"s, "\xc1\xbf"s, "\xc2"s, "\xc2\x41"s, "\xe0\x9f\xbf"s, "\xe1\x80"s,
        "\xe1\x80\x41"s, "\xf0\x8f\xbf\xbf"s, "\xf0\x90\x80"s, "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s,
        "\xf8\x88\x80\x80\x80"s, "\xfe"s, "\xff"s}) {
    const std::vector<char> exact(text.begin(), text.end());  // Nothing behind it that could be read unseen.
    EXPECT_FALSE(utf8_valid(Bytes(exact.data(), exact.size())));
    EXPECT_FALSE(utf8_valid("eight by" + text + "tes around"));
  }
}

TEST(Utf8, RefusesTheNullCharacterAtEveryPlace) {
  // [MQTT-1.5.4-2] At every distance from a border of eight bytes.
  for (size_t size = 1; size < 40; ++size) {
    for (size_t at = 0; at < size; ++at) {
      std::string text(size, 'a');
      EXPECT_TRUE(utf8_valid(text));
      text[at] = '\0';
      EXPECT_FALSE(utf8_valid(text)) << size << " " << at;
    }
  }
}

TEST(Utf8, RefusesEverySurrogate) {
  // [MQTT-1.5.4-1]
  for (unsigned point = 0xd800; point < 0xe000; ++point) {
    const char text[] = {static_cast<char>(0xe0 | (point >> 12)),
                         static_cast<char>(0x80 | ((point >> 6) & 0x3f)),
                         static_cast<char>(0x80 | (point & 0x3f))};
    EXPECT_FALSE(utf8_valid(Bytes(text, sizeof text)));
  }
}

TEST(TopicName, Validity) {
  for (const Bytes name : {"a", "/", "//", "/finance", "sport/tennis", "$SYS/monitor/Clients",
                           "accounts payable", "\xc3\xa9/x"}) {
    EXPECT_TRUE(topic_name_valid(name)) << name;
  }
  for (const std::string& name : {""s, "#"s, "+"s, "a/#"s, "a+"s, "a/+/b"s, "\xff"s, "a\0b"s}) {
    EXPECT_FALSE(topic_name_valid(name)) << name;
  }
}

TEST(TopicName, Limits) {
  EXPECT_TRUE(topic_name_valid(std::string(kTopicBytesMax, 'a')));
  EXPECT_FALSE(topic_name_valid(std::string(kTopicBytesMax + 1, 'a')));
  EXPECT_TRUE(topic_name_valid(levels_of(kTopicLevelsMax)));
  EXPECT_FALSE(topic_name_valid(levels_of(kTopicLevelsMax + 1)));
  EXPECT_FALSE(topic_name_valid(std::string(kTopicBytesMax, '/')));
}

TEST(TopicFilter, ExamplesOfTheStandard) {
  // 4.7.1.2 and 4.7.1.3.
  for (const Bytes filter : {"#", "sport/tennis/#", "sport/tennis/player1/#", "+", "+/tennis/#",
                             "sport/+/player1", "/+", "+/+", "$SYS/#", "/finance"}) {
    EXPECT_TRUE(topic_filter_valid(filter)) << filter;
  }
  for (const Bytes filter : {"sport/tennis#", "sport/tennis/#/ranking", "sport+"}) {
    EXPECT_FALSE(topic_filter_valid(filter)) << filter;
  }
}

TEST(TopicFilter, OtherInvalidOnes) {
  for (const std::string& filter :
       {""s, "##"s, "++"s, "#/"s, "#/a"s, "a#"s, "a+/b"s, "a/+b"s, "a/b+/c"s, "+#"s, "\xff"s, "\0"s}) {
    EXPECT_FALSE(topic_filter_valid(filter)) << filter;
  }
}

TEST(TopicFilter, Limits) {
  EXPECT_TRUE(topic_filter_valid(levels_of(kTopicLevelsMax - 1) + "/#"));
  EXPECT_FALSE(topic_filter_valid(levels_of(kTopicLevelsMax) + "/#"));
  EXPECT_TRUE(topic_filter_valid(std::string(kTopicBytesMax, 'a')));
  EXPECT_FALSE(topic_filter_valid(std::string(kTopicBytesMax + 1, 'a')));
  EXPECT_TRUE(topic_filter_valid("$share/g/" + levels_of(kTopicLevelsMax)));
}

TEST(SharedFilter, ExamplesOfTheStandard) {
  SharedFilter shared;
  // 4.8.2.
  ASSERT_TRUE(parse_shared("$share/consumer1/sport/tennis/+", &shared));
  EXPECT_EQ(shared.group, "consumer1");
  EXPECT_EQ(shared.filter, "sport/tennis/+");
  ASSERT_TRUE(parse_shared("$share/consumer1//finance", &shared));
  EXPECT_EQ(shared.group, "consumer1");
  EXPECT_EQ(shared.filter, "/finance");
  ASSERT_TRUE(parse_shared("sport/tennis/+", &shared));
  EXPECT_EQ(shared.group, "");
  EXPECT_EQ(shared.filter, "sport/tennis/+");
}

TEST(SharedFilter, Broken) {
  SharedFilter shared;
  for (const Bytes filter : {"$share/", "$share//", "$share//a", "$share/g", "$share/g/", "$share/+/a",
                             "$share/#/a", "$share/g+/a"}) {
    EXPECT_FALSE(parse_shared(filter, &shared)) << filter;
    EXPECT_FALSE(topic_filter_valid(filter)) << filter;
  }
  // The inner filter is judged too.
  EXPECT_TRUE(parse_shared("$share/g/a#", &shared));
  EXPECT_FALSE(topic_filter_valid("$share/g/a#"));
  // Not shared: only the whole first level counts.
  EXPECT_TRUE(parse_shared("$share", &shared));
  EXPECT_EQ(shared.filter, "$share");
  EXPECT_TRUE(topic_filter_valid("$shared/g"));
}

TEST(TopicMatches, ExamplesOfTheStandard) {
  const struct {
    Bytes filter;
    Bytes name;
    bool matches;
  } rows[] = {
      // 4.7.1.2
      {"sport/tennis/player1/#", "sport/tennis/player1", true},
      {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
      {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
      {"sport/#", "sport", true},
      {"#", "sport/tennis", true},
      // 4.7.1.3
      {"sport/tennis/+", "sport/tennis/player1", true},
      {"sport/tennis/+", "sport/tennis/player2", true},
      {"sport/tennis/+", "sport/tennis/player1/ranking", false},
      {"sport/+", "sport", false},
      {"sport/+", "sport/", true},
      {"+/+", "/finance", true},
      {"/+", "/finance", true},
      {"+", "/finance", false},
      // 4.7.2 [MQTT-4.7.2-1]
      {"#", "$SYS/", false},
      {"+/monitor/Clients", "$SYS/monitor/Clients", false},
      {"$SYS/#", "$SYS/", true},
      {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
      // 4.7.3
      {"ACCOUNTS", "Accounts", false},
      {"/a", "a", false},
      {"a/", "a", false},
      {"a", "a/", false},
      {"Accounts payable", "Accounts payable", true},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(topic_matches(row.filter, row.name), row.matches) << row.filter << " " << row.name;
    EXPECT_EQ(naive_match(row.filter, row.name), row.matches) << row.filter << " " << row.name;
  }
}

TEST(TopicMatches, DollarCountsAtTheFrontOnly) {
  EXPECT_TRUE(topic_matches("+/$x", "a/$x"));
  EXPECT_TRUE(topic_matches("a/+", "a/$x"));
  EXPECT_TRUE(topic_matches("a/#", "a/$x"));
  EXPECT_FALSE(topic_matches("+", "$x"));
  EXPECT_FALSE(topic_matches("+/#", "$x"));
  EXPECT_TRUE(topic_matches("$x/#", "$x"));
}

TEST(TopicMatches, AgreesWithTheOracle) {
  Prng prng(11);
  int matches = 0;
  for (int i = 0; i < 50'000; ++i) {
    const std::string filter = random_filter(prng, 4);
    const std::string name = random_name(prng, 4);
    const bool wanted = naive_match(filter, name);
    matches += wanted;
    ASSERT_EQ(topic_matches(filter, name), wanted) << filter << " " << name;
    ASSERT_TRUE(topic_filter_valid(filter)) << filter;
    ASSERT_TRUE(topic_name_valid(name)) << name;
  }
  EXPECT_GT(matches, 5'000);
}

TEST(TopicMatches, DeepTopicsNeedNoStack) {
  const std::string deep(kTopicBytesMax, '/');
  EXPECT_TRUE(topic_matches(deep, deep));
  EXPECT_TRUE(topic_matches("#", deep));
  EXPECT_FALSE(topic_matches(deep, deep.substr(1)));
}

}  // namespace
}  // namespace hf::mqtt
