// Goal: no line that is not exactly right becomes a login, and editing one line leaves all others as they were.
// Method: golden mistakes; every prefix and every changed byte of a line; edits compared byte for byte.
#include "identity/users.h"

#include <gtest/gtest.h>

namespace hf::identity {
namespace {

// "password" and, for SCRAM, RFC 7677's "pencil".
constexpr Bytes kHash =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
constexpr Bytes kScram =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

std::string line_of(Bytes name) { return std::string(name) + ":" + std::string(kHash); }

// "2: sentence", one a line.
std::string mistakes(Bytes text) {
  const auto users = parse_users(text);
  if (users) return "";
  std::string all;
  for (const Mistake& mistake : users.error())
    all += (all.empty() ? "" : "\n") + std::to_string(mistake.line) + ": " + mistake.sentence;
  return all;
}

TEST(Users, ReadsAFile) {
  const std::string text = "# who may log in\n\n" + line_of("anna") + "\n  # press\n" +
                           line_of("press 7@hall") + ":" + std::string(kScram) + "\r\n \t\n" +
                           line_of("größe");
  const auto users = parse_users(text);
  ASSERT_TRUE(users) << mistakes(text);
  EXPECT_EQ(users->all().size(), 3u);
  ASSERT_NE(users->find("anna"), nullptr);
  EXPECT_FALSE(users->find("anna")->scram);
  ASSERT_NE(users->find("press 7@hall"), nullptr);
  EXPECT_EQ(users->find("press 7@hall")->scram->iterations, 4096u);
  EXPECT_EQ(users->find("größe")->password.cost.memory_kib, 256u);
  EXPECT_EQ(users->find("ann"), nullptr);
  EXPECT_EQ(format_user("press 7@hall", *users->find("press 7@hall")),
            line_of("press 7@hall") + ":" + std::string(kScram));
}

TEST(Users, AnEmptyFileIsNobody) {
  const auto users = parse_users("");
  ASSERT_TRUE(users);
  EXPECT_TRUE(users->all().empty());
  EXPECT_FALSE(users->check("anna").run(""));
}

TEST(Users, APasswordIsTakenOrRefused) {
  const auto users = parse_users(line_of("anna"));
  ASSERT_TRUE(users);
  EXPECT_TRUE(users->check("anna").run("password"));
  for (const auto& [name, password] :
       {std::pair{"anna", "Password"}, {"anna", ""}, {"bert", "password"}, {"", ""}}) {
    const auto refused = users->check(name).run(password);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kDenied);
    EXPECT_STREQ(refused.error().text, "the password is wrong");
  }
}

TEST(Users, NamesThatCannotBe) {
  for (const Bytes good : {"a", "anna", "a b", "anna@example.org", "größe", "a*", "%u", "=", "a$"})
    EXPECT_TRUE(user_name_valid(good)) << good;
  for (const Bytes bad :
       {"", "*", "a:b", "a/b", "a+", "#a", "a#", "$SYS", " a", "a ", "a\tb", "a\x7f", "a\xc2\x85", "\xff",
        "\xef\xbb\xbf"
        "a"})
    EXPECT_FALSE(user_name_valid(bad)) << bad;
  EXPECT_FALSE(user_name_valid(Bytes("a\0b", 3)));
  EXPECT_TRUE(user_name_valid(std::string(128, 'a')));
  EXPECT_FALSE(user_name_valid(std::string(129, 'a')));
}

TEST(Users, EveryMistakeIsNamedWithItsLine) {
  EXPECT_EQ(mistakes("anna\n" + line_of("bert") + "\nberta:\n" + line_of("bert") + "\n"),
            "1: this is not NAME:PASSWORD HASH; add users with: holdfast user add NAME\n"
            "3: `berta`: a password hash begins with $argon2id$; remove the line and add the user with: "
            "holdfast user "
            "add NAME\n"
            "4: `bert` stands in line 2 already; remove one of them");
  EXPECT_EQ(mistakes("anna:secret\n"),
            "1: `anna`: a password hash begins with $argon2id$; remove the line and add the user with: "
            "holdfast user add "
            "NAME");
  EXPECT_TRUE(mistakes("anna:$6$salt$hash").starts_with("1: `anna`: only argon2id is known here;"));
  EXPECT_TRUE(mistakes(line_of("anna") + ":").starts_with("1: `anna`: a SCRAM verifier begins with"));
  EXPECT_TRUE(
      mistakes(line_of("anna") + ":" + std::string(kScram) + ":").starts_with("1: `anna`: salt and keys of"));
  EXPECT_EQ(mistakes("\xef\xbb\xbf" + line_of("anna")),
            "1: the file begins with a byte order mark; save it as UTF-8 without one");
  // What a stranger put there is not shown: it may be a password in the wrong place.
  EXPECT_EQ(mistakes("$argon2id$v=19:x").find("argon2id"), std::string::npos);
  // No part of a wrong file is taken.
  EXPECT_FALSE(parse_users(line_of("anna") + "\nx"));
}

// A malformed line that equals a login was a bug of others: a line without a hash let everybody in.
TEST(Users, NoPrefixAndNoChangedByteLogsIn) {
  const std::string whole = line_of("a") + ":" + std::string(kScram);
  const size_t hash_end = line_of("a").size();
  for (size_t size = 1; size < whole.size(); ++size) {
    const auto users = parse_users(Bytes(whole).substr(0, size));
    // Cut within the hash it is shorter, and another one.
    if (users && size != hash_end) {
      EXPECT_FALSE(users->check("a").run("password")) << size;
      EXPECT_LT(size, hash_end);
    }
  }
  for (size_t at = 0; at < hash_end; ++at) {
    for (const char c : {'\n', ':', '$', 'A', '\0', ' ', '='}) {
      std::string changed = whole.substr(0, hash_end);
      if (changed[at] == c) continue;
      changed[at] = c;
      const auto users = parse_users(changed);
      if (users) {
        EXPECT_FALSE(users->check("a").run("password")) << at;
        EXPECT_FALSE(users->check("a").run("")) << at;
      }
    }
  }
}

TEST(Users, EditsLeaveOtherLinesAlone) {
  const std::string text =
      "# top\n" + line_of("anna") + "\n\n  # bert:\n" + line_of("bert") + "\r\n" + line_of("annabel");
  const auto user = *parse_users(line_of("x") + ":" + std::string(kScram))->find("x");
  EXPECT_EQ(with_user(text, "bert", user), "# top\n" + line_of("anna") + "\n\n  # bert:\n" + line_of("bert") +
                                               ":" + std::string(kScram) + "\r\n" + line_of("annabel"));
  EXPECT_EQ(with_user(text, "carl", user), text + "\n" + line_of("carl") + ":" + std::string(kScram) + "\n");
  EXPECT_EQ(with_user("", "carl", user), line_of("carl") + ":" + std::string(kScram) + "\n");
  EXPECT_EQ(without_user(text, "anna"),
            "# top\n\n  # bert:\n" + line_of("bert") + "\r\n" + line_of("annabel"));
  EXPECT_EQ(without_user(text, "annabel"),
            "# top\n" + line_of("anna") + "\n\n  # bert:\n" + line_of("bert") + "\r\n");
  EXPECT_EQ(without_user(text, "ann"), text);
}

}  // namespace
}  // namespace hf::identity
