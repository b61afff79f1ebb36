// Goal: a tokens file means what it says or nothing, and only the token itself opens. Method: golden text, and everything that
// is almost right.
#include "identity/tokens.h"

#include <gtest/gtest.h>

#include "crypto/crypto.h"

namespace hf::identity {
namespace {

const std::string kSecret = token_text(std::string(kTokenBytes, '\x5a'));

TEST(TokensTest, ATokenIsGolden) {
  EXPECT_EQ(kSecret, "hft_5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a");
  EXPECT_EQ(format_token("grafana", make_token(Role::kRead, "abc")),
            "grafana:read:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4.
}

TEST(TokensTest, OnlyTheTokenItselfOpens) {
  std::string text = "# probes\r\n\n";
  text = with_token(text, "anna", make_token(Role::kAdminister, kSecret));
  text = with_token(text, "probe", make_token(Role::kRead, "other"));
  const auto tokens = parse_tokens(text);
  ASSERT_TRUE(tokens);
  ASSERT_TRUE(tokens->holder(kSecret));
  EXPECT_EQ(tokens->holder(kSecret)->name, "anna");
  EXPECT_EQ(tokens->holder(kSecret)->role, Role::kAdminister);
  EXPECT_FALSE(tokens->holder(""));
  EXPECT_FALSE(tokens->holder(kSecret + " "));
  EXPECT_FALSE(tokens->holder(kSecret.substr(1)));
  EXPECT_FALSE(tokens->holder(crypto::sha256(kSecret)));
  EXPECT_FALSE(tokens->holder(to_hex(crypto::sha256(kSecret))));
  EXPECT_FALSE(Tokens().holder(""));
  EXPECT_EQ(without_token(text, "anna"),
            "# probes\r\n\n" + format_token("probe", make_token(Role::kRead, "other")) + "\n");
  EXPECT_EQ(without_token(text, "ann"), text);
}

TEST(TokensTest, IsTakenAsAWholeOrNotAtAll) {
  const std::string good = format_token("good", make_token(Role::kOperate, kSecret));
  EXPECT_TRUE(parse_tokens(good));
  EXPECT_TRUE(parse_tokens(""));
  const std::string digest = good.substr(good.rfind(':') + 1);
  for (const std::string& wrong :
       {std::string("x"), std::string("x:read"), "x:read:" + digest.substr(2), "x:read:" + digest + "00",
        "x:read:" + digest + " ", "x:READ:" + digest, "x::" + digest, "x:root:" + digest, ":read:" + digest,
        "a b:read:" + digest, " x:read:" + digest, "x:read:" + std::string(64, 'A'),
        "x:read:" + std::string(64, 'g'), "good:read:" + std::string(64, '0'), "x:read:" + digest,
        std::string("x:read:\0", 8) + digest}) {
    const auto tokens = parse_tokens(good + "\n" + wrong + "\n");
    ASSERT_FALSE(tokens) << wrong;
    EXPECT_EQ(tokens.error().size(), 1u);
    EXPECT_EQ(tokens.error()[0].line, 2u);
  }
}

TEST(TokensTest, EveryPrefixIsRefusedOrMeansLess) {
  const std::string text = format_token("a", make_token(Role::kRead, "1")) + "\n" +
                           format_token("b", make_token(Role::kRead, "2")) + "\n";
  for (size_t size = 0; size < text.size(); ++size) {
    const auto tokens = parse_tokens(Bytes(text).substr(0, size));
    if (!tokens) continue;
    EXPECT_FALSE(size < text.size() - 1 && tokens->holder("2")) << size;
  }
}

}  // namespace
}  // namespace hf::identity
