// Goal: `config get` knows every key, says what is in effect in words that the file takes, and where it is from.
#include "holdfast/config_values.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace hf::holdfast {
namespace {

std::string value_of(const std::vector<ConfigValue>& values, const std::string& key) {
  for (const ConfigValue& value : values) {
    if (value.key == key) return value.value + (value.given ? " file" : " default");
  }
  return "";
}

TEST(ConfigValuesTest, HasEveryKey) {
  const auto values = config_values(Config(), "/data");
  for (const std::string& key : known_config_keys()) {
    EXPECT_TRUE(std::any_of(values.begin(), values.end(),
                            [&](const ConfigValue& value) { return config_key_within(key, value.key); }))
        << key << " is read from the file, but not shown: add it to config_values.cc";
  }
}

TEST(ConfigValuesTest, SaysWhatIsInEffectAndWhereItIsFrom) {
  const auto config = parse_config(
      "name = \"ship-7\"\nquota = \"1500 MB\"\n[upstream]\nhost = \"127.0.0.1\"\n"
      "[mqtt]\nkeep_alive_max = \"90 s\"\n[[route]]\nfilter = \"alarm/#\"\nstream = \"alarms\"\n",
      "holdfast.toml");
  ASSERT_TRUE(config);
  const auto values = config_values(*config, "/data");
  EXPECT_EQ(value_of(values, "name"), "\"ship-7\" file");
  EXPECT_EQ(value_of(values, "quota"), "\"1500 MB\" file");
  EXPECT_EQ(value_of(values, "retention"), "\"7 d\" default");
  EXPECT_EQ(value_of(values, "upstream.host"), "\"127.0.0.1\" file");
  EXPECT_EQ(value_of(values, "upstream.port"), "1883 default");
  EXPECT_EQ(value_of(values, "mqtt.keep_alive_max"), "\"1 min 30 s\" file");
  EXPECT_EQ(value_of(values, "mqtt.session_expiry_max"), "null default");
  EXPECT_EQ(value_of(values, "mqtt.session_queue_max"), "null default");
  EXPECT_EQ(value_of(values, "admin_socket"), "\"/data/admin.sock\" default");
  EXPECT_EQ(
      value_of(values, "route"),
      R"([{"filter":"alarm/#","stream":"alarms","priority":5,"time_to_live":null,"upstream":true}] file)");
}

TEST(ConfigValuesTest, FindsAKeyOrItsSection) {
  EXPECT_TRUE(config_key_within("", "quota"));
  EXPECT_TRUE(config_key_within("mqtt", "mqtt.max_packet"));
  EXPECT_FALSE(config_key_within("mqt", "mqtt.max_packet"));
  EXPECT_EQ(config_key_unknown("qouta"), "no key `qouta`; did you mean `quota`?");
}

}  // namespace
}  // namespace hf::holdfast
