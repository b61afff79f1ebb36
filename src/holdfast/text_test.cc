// Goal: text for people: near names, tables that stand straight, strangers' bytes that cannot move the
// cursor.
#include "holdfast/text.h"

#include <gtest/gtest.h>

namespace hf::holdfast {
namespace {

TEST(TextTest, FindsTheNameThatWasMeant) {
  const std::vector<std::string> names = {"listen", "quota", "retention", "name"};
  EXPECT_EQ(nearest_name("lisen", names), "listen");
  EXPECT_EQ(nearest_name("litsen", names), "listen");
  EXPECT_EQ(nearest_name("qouta", names), "quota");
  EXPECT_EQ(nearest_name("retension", names), "retention");
  EXPECT_EQ(nearest_name("zebra", names), "");
  EXPECT_EQ(nearest_name("x", names), "");
  EXPECT_EQ(nearest_name("listen", {}), "");
}

TEST(TextTest, AlignsTables) {
  EXPECT_EQ(format_table({{"STREAM", "LAST"}, {"telemetry", "1,234"}, {"größe", "5"}}),
            "STREAM      LAST\n"
            "telemetry  1,234\n"
            "größe          5\n");
  EXPECT_EQ(format_table({{"A", "B"}, {"x", "not a number"}}), "A  B\nx  not a number\n");
  EXPECT_EQ(format_pairs({{"node", "ship"}, {"upstream", "none"}}), "node:      ship\nupstream:  none\n");
}

TEST(TextTest, LongNameDoesNotMakeATableWide) {
  const std::string table = format_table(
      {{"CLIENT", "USER"}, {"pump", "anna"}, {std::string(30'000, '\x1b'), "eve"}, {"fan", "bob"}});
  EXPECT_LT(table.size(), 4 * 160u);
  EXPECT_NE(table.find("…  eve\n"), std::string::npos) << table;
}

TEST(TextTest, ShowsStrangeBytesAsFigures) {
  EXPECT_EQ(printable("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(printable("größe"), "größe");
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("a\xc2\x9b"
                      "b"),
            "a\\xc2\\x9b"
            "b");  // CSI as one character of U+0080 to U+009F.
  EXPECT_EQ(printable("a\nb\tc"), "a\\x0ab\\x09c");
  EXPECT_EQ(printable("a\nb", /*keep_lines=*/true), "a\nb");
  EXPECT_FALSE(utf8_printable("a\xc2\x9b"));
  EXPECT_TRUE(utf8_printable("größe"));
}

TEST(TextTest, QuotesJson) { EXPECT_EQ(json_quoted("a\"b\\c\nd\x01"), "\"a\\\"b\\\\c\\nd\\u0001\""); }

}  // namespace
}  // namespace hf::holdfast
