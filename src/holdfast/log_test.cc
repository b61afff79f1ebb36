// Goal: a line of the log is one line, and as JSON always JSON, whatever strangers put into it. Method: golden text.
#include "holdfast/log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace hf::holdfast {
namespace {

TEST(LogTest, LinesAreGolden) {
  EXPECT_EQ(format_log_line(LogFormat::kText, "2026-11-20T09:45:42.123Z", "HF-RUN-003", "stopped"),
            "2026-11-20T09:45:42.123Z HF-RUN-003 stopped\n");
  EXPECT_EQ(format_log_line(LogFormat::kText, "", "HF-RUN-003", "a\nb"), "HF-RUN-003 a\\x0ab\n");
  EXPECT_EQ(format_log_line(LogFormat::kJson, "2026-11-20T09:45:42.123Z", "HF-RUN-003", "say \"no\""),
            R"({"time":"2026-11-20T09:45:42.123Z","event":"HF-RUN-003","text":"say \"no\""})"
            "\n");
}

TEST(LogTest, WhateverIsLoggedIsJson) {
  for (const std::string& text :
       {std::string("\xff\xfe"), std::string("a\0b", 3), std::string("\xc2\x80\x1b[31m"),
        std::string("\xed\xa0\x80"), std::string("{\"\\\n\"}")}) {
    const std::string line = format_log_line(LogFormat::kJson, "t", "HF-X-001", text);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto json = nlohmann::json::parse(line, nullptr, false);
    ASSERT_TRUE(json.is_object()) << line;
    EXPECT_EQ(json["event"], "HF-X-001");
  }
}

}  // namespace
}  // namespace hf::holdfast
