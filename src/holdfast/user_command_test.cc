// Goal: what people see of users, and which passwords are taken. Method: golden text.
#include "holdfast/user_command.h"

#include <gtest/gtest.h>

#include "holdfast/password_input.h"

namespace hf::holdfast {
namespace {

constexpr char kFile[] =
    "press-7:$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4:"
    "SCRAM-SHA-256$15000:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
    "anna:$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n";

TEST(UserCommandTest, ListsWithoutSecrets) {
  const auto users = identity::parse_users(kFile);
  ASSERT_TRUE(users);
  EXPECT_EQ(users_table(*users),
            "NAME     PASSWORD                  SCRAM\n"
            "anna     argon2id m=65536,t=3,p=4  -\n"
            "press-7  argon2id m=19456,t=2,p=1  SHA-256 i=15000\n");
  EXPECT_EQ(
      users_json(*users),
      R"({"users":[{"name":"anna","password":{"kind":"argon2id","memory_kib":65536,"passes":3,"lanes":4},)"
      R"("scram":null},{"name":"press-7","password":{"kind":"argon2id","memory_kib":19456,"passes":2,"lanes":1},)"
      R"("scram":{"kind":"SHA-256","iterations":15000}}]})");
  EXPECT_EQ(users_json(identity::Users()), R"({"users":[]})");
}

TEST(UserCommandTest, APasswordIsOneLine) {
  EXPECT_EQ(password_of("correct horse", "x").value(), "correct horse");
  EXPECT_EQ(password_of("correct horse\n", "x").value(), "correct horse");
  EXPECT_EQ(password_of("correct horse\r\n", "x").value(), "correct horse");
  EXPECT_EQ(password_of(" größer \n", "x").value(), " größer ");
  EXPECT_EQ(password_of("12345678", "x").value(), "12345678");
  EXPECT_EQ(password_of("1234567\n", "x").error().text, "the password has 7 bytes; it needs 8 at least");
  EXPECT_EQ(password_of("", "x").error().text, "the password has 0 bytes; it needs 8 at least");
  EXPECT_EQ(password_of("correct\nhorse", "secret.txt").error().text,
            "secret.txt has more than one line; a password is one");
  EXPECT_EQ(password_of(std::string(1025, 'a'), "x").error().text, "a password has 1024 bytes at most");
  EXPECT_TRUE(password_of(std::string(1024, 'a'), "x"));
  EXPECT_FALSE(password_of(std::string("1234\0 5678", 10), "x"));
}

}  // namespace
}  // namespace hf::holdfast
