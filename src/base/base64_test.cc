// Goal: one text for each run of bytes, and one run of bytes for each text that is taken. Method: the examples of
// RFC 4648; all short texts of a small alphabet are either refused or come back the same.
#include "base/base64.h"

#include <gtest/gtest.h>

namespace hf {
namespace {

// RFC 4648, section 10.
TEST(Base64, AgreesWithRfc4648) {
  const std::pair<Bytes, Bytes> examples[] = {{"", ""},
                                              {"f", "Zg=="},
                                              {"fo", "Zm8="},
                                              {"foo", "Zm9v"},
                                              {"foob", "Zm9vYg=="},
                                              {"fooba", "Zm9vYmE="},
                                              {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : examples) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(from_base64(text), std::string(bytes));
    const std::string bare(text.substr(0, text.find('=')));
    EXPECT_EQ(to_base64(bytes, Base64Padding::kNone), bare);
    EXPECT_EQ(from_base64(bare, Base64Padding::kNone), std::string(bytes));
  }
}

TEST(Base64, EveryByteComesBack) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    bytes += static_cast<char>(i);
    EXPECT_EQ(from_base64(to_base64(bytes)), bytes);
    EXPECT_EQ(from_base64(to_base64(bytes, Base64Padding::kNone), Base64Padding::kNone), bytes);
  }
}

TEST(Base64, RefusesEveryOtherSpelling) {
  for (const Bytes text : {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=", "==", "====", "Z===", "Zg==Zg==",
                           " Zg==", "Zg==\n", "Zm-_", "Zm9v=", "Z=g=", "Zm9vZ"}) {
    EXPECT_FALSE(from_base64(text)) << text;
  }
  for (const Bytes text : {"Zg==", "Z", "Zh", "Zm9", "Zm9vZ", "Zg\n"}) {
    EXPECT_FALSE(from_base64(text, Base64Padding::kNone)) << text;
  }
}

TEST(Base64, WhatIsTakenIsWhatWouldBeWritten) {
  constexpr Bytes kAlphabet = "AQgw/+=- ";
  for (const Base64Padding padding : {Base64Padding::kNone, Base64Padding::kFull}) {
    for (size_t number = 0; number < 9 * 9 * 9 * 9 * 9; ++number) {
      std::string text;
      for (size_t rest = number; rest > 0; rest /= 9) text += kAlphabet[rest % 9];
      if (const auto bytes = from_base64(text, padding)) {
        EXPECT_EQ(to_base64(*bytes, padding), text);
      }
    }
  }
}

}  // namespace
}  // namespace hf
