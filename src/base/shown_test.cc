// Goal: what a stranger calls itself never makes a sentence long, and what is left of it is still text. Method: golden text.
#include "base/shown.h"

#include <gtest/gtest.h>

namespace hf {
namespace {

TEST(Shown, TextThatFitsStaysAsItIs) {
  EXPECT_EQ(cut_text("", 3), "");
  EXPECT_EQ(cut_text("engine", 6), "engine");
  EXPECT_EQ(quoted_name("engine"), "'engine'");
  EXPECT_EQ(quoted_name(std::string(128, 'a')), "'" + std::string(128, 'a') + "'");
}

TEST(Shown, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(cut_text("engine room", 9), "engine…");
  EXPECT_EQ(cut_text("engine", 3), "…");
  EXPECT_EQ(cut_text("aüüü", 6), "aü…");
  EXPECT_EQ(cut_text("aüüü", 5), "a…");
  EXPECT_EQ(cut_text("a\xf0\x9f\x9a\xa2\xf0\x9f\x9a\xa2", 7), "a…");
  EXPECT_EQ(quoted_name(std::string(65535, 'a')), "'" + std::string(125, 'a') + "…'");
}

TEST(Shown, WhatIsNoTextIsCutToo) {
  EXPECT_EQ(cut_text(std::string(100, '\x80'), 10), std::string(4, '\x80') + "…");
}

}  // namespace
}  // namespace hf
