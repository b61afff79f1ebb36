// Event times out of JSON payloads: exact to the microsecond, and silent about everything that is not a time.
#include "node/event_time.h"

#include <gtest/gtest.h>

namespace hf::node {
namespace {

using Unit = EventTimeField::Unit;

TEST(EventTime, ReadsTheRecordedSensorMessageExactly) {
  const Bytes payload =
      R"({"data":{"co":0.0117,"humidity":73.8,"light":false,"lpg":0.0142,"motion":false,"smoke":0.0397,"temp":18.9},)"
      R"("device_id":"0e:9c:00:4c:1c:51","ts":1594598424.5023336,"device":"iot-device-01"})";
  EXPECT_EQ(event_time_in(payload, {"#", "ts", Unit::kSeconds}), 1594598424502333);
  EXPECT_EQ(event_time_in(payload, {"#", "data.temp", Unit::kMilliseconds}), 18900);
}

TEST(EventTime, ReadsEveryUnit) {
  EXPECT_EQ(event_time_in(R"({"t": 1500 })", {"#", "t", Unit::kMilliseconds}), 1500000);
  EXPECT_EQ(event_time_in(R"({"t":1500})", {"#", "t", Unit::kMicroseconds}), 1500);
  EXPECT_EQ(event_time_in(R"({"t":1500999})", {"#", "t", Unit::kNanoseconds}), 1500);
  EXPECT_EQ(event_time_in(R"({"t":"2020-07-13T00:00:24.502333Z"})", {"#", "t", Unit::kRfc3339}),
            1594598424502333);
  EXPECT_EQ(event_time_in(R"({"t":"1500"})", {"#", "t", Unit::kSeconds}), 1500000000);
}

TEST(EventTime, IsNothingWhereThereIsNoTime) {
  for (const Bytes payload :
       {Bytes(""), Bytes("{"), Bytes("[1]"), Bytes("21.5"), Bytes(R"({"u":1})"), Bytes(R"({"t":true})"),
        Bytes(R"({"t":{}})"), Bytes(R"({"t":1e400})"), Bytes(R"({"t":"soon"})"), Bytes("\xff\x00{", 3)}) {
    EXPECT_EQ(event_time_in(payload, {"#", "t", Unit::kSeconds}), std::nullopt) << payload;
  }
  EXPECT_EQ(event_time_in(R"({"t":"2020-07-13"})", {"#", "t", Unit::kRfc3339}), std::nullopt);
  EXPECT_EQ(event_time_in(R"({"a":1})", {"#", "a.b", Unit::kSeconds}), std::nullopt);
}

TEST(EventTime, ScalesDecimalsWithoutFloatingPoint) {
  const auto scaled = [](Bytes text, Unit unit) -> std::optional<int64_t> {
    int64_t us = 0;
    return scale_to_us(text, unit, &us) ? std::optional(us) : std::nullopt;
  };
  EXPECT_EQ(scaled("0.1", Unit::kSeconds), 100000);
  EXPECT_EQ(scaled("-0.0000019", Unit::kSeconds), -1);
  EXPECT_EQ(scaled("1.5e3", Unit::kSeconds), 1500000000);
  EXPECT_EQ(scaled("15e-1", Unit::kSeconds), 1500000);
  EXPECT_EQ(scaled("999999999999", Unit::kSeconds), 999999999999000000);
  EXPECT_EQ(scaled("9999999999999", Unit::kSeconds), std::nullopt);
  for (const Bytes bad :
       {Bytes(""), Bytes("-"), Bytes("."), Bytes("1e"), Bytes("1x"), Bytes("1.2.3"), Bytes("1e99")}) {
    EXPECT_EQ(scaled(bad, Unit::kSeconds), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace hf::node
