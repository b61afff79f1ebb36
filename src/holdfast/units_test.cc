// Goal: numbers read as people write them, and are written as people read them.
#include "holdfast/units.h"

#include <gtest/gtest.h>

namespace hf::holdfast {
namespace {

TEST(UnitsTest, ReadsSizes) {
  EXPECT_EQ(parse_size("4 GiB"), uint64_t{4} << 30);
  EXPECT_EQ(parse_size("4GiB"), uint64_t{4} << 30);
  EXPECT_EQ(parse_size("1.5 MB"), 1'500'000u);
  EXPECT_EQ(parse_size("512 B"), 512u);
  EXPECT_EQ(parse_size(" 0 B "), 0u);
  for (const char* bad :
       {"", "4", "GiB", "4 gib", "4 GiB more", "-1 B", "1. MB", "1.2345 MB", "99999999999 TiB", "4 k"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

TEST(UnitsTest, ReadsDurations) {
  EXPECT_EQ(parse_duration("7 d"), seconds(7 * 86400));
  EXPECT_EQ(parse_duration("1 h 30 min"), seconds(5400));
  EXPECT_EQ(parse_duration("1h30min"), seconds(5400));
  EXPECT_EQ(parse_duration("250 ms"), milliseconds(250));
  EXPECT_EQ(parse_duration("2 w"), seconds(14 * 86400));
  EXPECT_EQ(parse_duration("0 s"), seconds(0));
  for (const char* bad : {"", "7", "d", "7 days", "30 min 1 h", "1 h 1 h", "-1 s", "1.5 h",
                          "99999999999999999999 s", "300 d x"}) {
    EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
  }
}

TEST(UnitsTest, WritesCounts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(41220), "41,220");
  EXPECT_EQ(format_count(1234567890), "1,234,567,890");
  EXPECT_EQ(format_counted(1, "message", "messages"), "1 message");
  EXPECT_EQ(format_counted(0, "message", "messages"), "0 messages");
}

TEST(UnitsTest, WritesSizes) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(999), "999 B");
  EXPECT_EQ(format_size(1000), "1.0 kB");
  EXPECT_EQ(format_size(6'123'456), "6.1 MB");
  EXPECT_EQ(format_size(99'940'000), "99.9 MB");
  EXPECT_EQ(format_size(840'000'000), "840 MB");
  EXPECT_EQ(format_size(999'499), "999 kB");
  EXPECT_EQ(format_size(999'500), "1.0 MB");
  EXPECT_EQ(format_size(uint64_t{4} << 30), "4.3 GB");
  EXPECT_EQ(format_size(~uint64_t{0}), "18.4 EB");
}

TEST(UnitsTest, WritesDurations) {
  EXPECT_EQ(format_duration(milliseconds(900)), "0 s");
  EXPECT_EQ(format_duration(seconds(45)), "45 s");
  EXPECT_EQ(format_duration(seconds(150)), "2 min 30 s");
  EXPECT_EQ(format_duration(seconds(12 * 60 + 30)), "12 min");
  EXPECT_EQ(format_duration(seconds(3 * 3600 + 12 * 60 + 5)), "3 h 12 min");
  EXPECT_EQ(format_duration(seconds(2 * 86400)), "2 d");
  EXPECT_EQ(format_duration(seconds(3 * 86400 + 4 * 3600)), "3 d 4 h");
  EXPECT_EQ(format_duration(seconds(214 * 86400 + 3600)), "214 d");
  EXPECT_EQ(format_duration(seconds(-5)), "0 s");
  EXPECT_EQ(format_days(seconds(214 * 86400)), "214 days");
  EXPECT_EQ(format_days(seconds(31 * 3600)), "31 h");
  EXPECT_EQ(format_days(seconds(600)), "10 min");
  EXPECT_EQ(format_days(seconds(int64_t{30} * 365 * 86400)), "more than 20 years");
}

}  // namespace
}  // namespace hf::holdfast
