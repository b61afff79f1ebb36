// Goal: the conversation of RFC 7677, byte for byte; whoever lacks the password is refused in the same step and in the
// same words, whether the name is somebody's or nobody's. Method: the RFC's example; a client of our own for the rest;
// every prefix and every changed byte of both messages.
#include "identity/scram.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "crypto/crypto.h"
#include "crypto/password.h"
#include "identity/users.h"

namespace hf::identity {
namespace {

constexpr Bytes kSecret = "a secret of the node";
constexpr char kNonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr Bytes kFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr Bytes kFinal =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+"
    "Ute9ytag9zjfMHgsqmmiz7AndVQ=";

Users users_with(Bytes name, Bytes password, Bytes salt, uint32_t iterations = 4096) {
  const auto hash = crypto::parse_password_hash(
      "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
  const auto scram = make_scram_verifier(password, salt, iterations);
  EXPECT_TRUE(scram);
  std::map<std::string, User, std::less<>> all;
  all[std::string(name)] = {.password = *hash, .scram = *scram};
  return Users(std::move(all));
}

Users rfc_users() { return users_with("user", "pencil", *from_base64("W22ZaJ0SNY7soEsUEjb6gQ==")); }

// The last message of a client with this password.
std::string answer_to(Bytes bare, Bytes header, Bytes challenge, Bytes password) {
  const std::string nonce(challenge.substr(2, challenge.find(",s=") - 2));
  const size_t salt_at = challenge.find(",s=") + 3;
  const size_t count_at = challenge.find(",i=") + 3;
  const std::string salt = *from_base64(challenge.substr(salt_at, count_at - 3 - salt_at));
  const auto count = static_cast<uint32_t>(std::stoul(std::string(challenge.substr(count_at))));
  const std::string salted = crypto::pbkdf2_sha256(password, salt, count);
  const std::string client_key = crypto::hmac_sha256(salted, "Client Key");
  const std::string start = "c=" + to_base64(header) + ",r=" + nonce;
  const std::string conversation = std::string(bare) + "," + std::string(challenge) + "," + start;
  std::string proof = crypto::hmac_sha256(crypto::sha256(client_key), conversation);
  for (size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ client_key[i]);
  return start + ",p=" + to_base64(proof);
}

// RFC 7677, section 3.
TEST(Scram, AgreesWithRfc7677) {
  const Users users = rfc_users();
  ScramLogin login(kNonce);
  const auto challenge = login.first(kFirst, users, kSecret);
  ASSERT_TRUE(challenge);
  EXPECT_EQ(*challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
  EXPECT_EQ(login.name(), "user");
  EXPECT_FALSE(login.succeeded());
  const auto done = login.last(kFinal);
  ASSERT_TRUE(done);
  EXPECT_EQ(*done, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
  EXPECT_TRUE(login.succeeded());
}

TEST(Scram, VerifiersAreWrittenAndReadAgain) {
  const auto made = make_scram_verifier("pencil", *from_base64("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
  ASSERT_TRUE(made);
  const std::string text = format_scram_verifier(*made);
  EXPECT_EQ(text,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
  EXPECT_EQ(*parse_scram_verifier(text), *made);
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(parse_scram_verifier(Bytes(text).substr(0, size)));
  for (const Bytes bad : {"SCRAM-SHA-256$4095:", "SCRAM-SHA-256$04096:", "SCRAM-SHA-256$1000001:",
                          "SCRAM-SHA-256$:", "SCRAM-SHA-1$4096:"})
    EXPECT_FALSE(parse_scram_verifier(std::string(bad) + text.substr(text.find(':') + 1))) << bad;
  EXPECT_FALSE(parse_scram_verifier(text + "="));
  EXPECT_FALSE(make_scram_verifier("pencil", "0123456789abcdef", 4095));
  EXPECT_FALSE(make_scram_verifier("pencil", "short", 4096));
  EXPECT_FALSE(make_scram_verifier("", "0123456789abcdef", 4096));
  EXPECT_FALSE(make_scram_verifier("pen\ncil", "0123456789abcdef", 4096));
  EXPECT_FALSE(make_scram_verifier("\xff", "0123456789abcdef", 4096));
}

TEST(Scram, NobodyIsRefusedLikeSomebodyWithAWrongPassword) {
  const Users users = users_with("anna", "pencil", "0123456789abcdef", 5000);
  std::string salts[2];
  for (const Bytes name : {"anna", "nobody", "not a name: /+#"}) {
    for (std::string& salt : salts) {
      ScramLogin login(kNonce);
      const std::string bare = "n=" + std::string(name) + ",r=abc";
      const auto challenge = login.first("n,," + bare, users, kSecret);
      ASSERT_TRUE(challenge);
      EXPECT_TRUE(challenge->ends_with(",i=5000"));
      salt = challenge->substr(challenge->find(",s="));
      EXPECT_EQ(salt.size(), Bytes(",s=0123456789abcdef01234567,i=5000").size());
      const auto done = login.last(answer_to(bare, "n,,", *challenge, "wrong"));
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().code, Code::kDenied);
      EXPECT_STREQ(done.error().text, "the name or the password is wrong");
      EXPECT_FALSE(login.succeeded());
    }
    EXPECT_EQ(salts[0], salts[1]) << "the same each time";
  }
  ScramLogin other("another-nonce-of-the-server");
  const auto challenge = other.first("n,,n=nobody,r=abc", users, "another secret");
  ASSERT_TRUE(challenge);
  EXPECT_EQ(challenge->find("," + salts[0].substr(1)), std::string::npos);
}

TEST(Scram, AUserWithoutAVerifierCannotUseIt) {
  const auto hash = crypto::parse_password_hash(
      "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
  std::map<std::string, User, std::less<>> all;
  all["anna"] = {.password = *hash};
  const Users users(std::move(all));
  ScramLogin login(kNonce);
  const auto challenge = login.first("n,,n=anna,r=abc", users, kSecret);
  ASSERT_TRUE(challenge);
  EXPECT_TRUE(challenge->ends_with(",i=15000"));
  EXPECT_FALSE(login.last(answer_to("n=anna,r=abc", "n,,", *challenge, "password")));
}

TEST(Scram, HeadersAndNames) {
  const Users users = users_with("a,b=c", "pencil", "0123456789abcdef");
  for (const Bytes header : {"n,,", "y,,", "n,a=a=2Cb=3Dc,"}) {
    ScramLogin login(kNonce);
    const std::string bare = "n=a=2Cb=3Dc,r=abc,x=extension";
    const auto challenge = login.first(std::string(header) + bare, users, kSecret);
    ASSERT_TRUE(challenge) << header;
    EXPECT_EQ(login.name(), "a,b=c");
    EXPECT_TRUE(login.last(answer_to(bare, header, *challenge, "pencil"))) << header;
  }
  const auto code = [&](Bytes message) {
    ScramLogin login(kNonce);
    const auto challenge = login.first(message, users, kSecret);
    return challenge ? Code::kExists : challenge.error().code;
  };
  EXPECT_EQ(code("p=tls-exporter,,n=a,r=abc"), Code::kUnsupported);
  EXPECT_EQ(code("n,a=other,n=a,r=abc"), Code::kUnsupported);
  EXPECT_EQ(code("n,,m=must,n=a,r=abc"), Code::kUnsupported);
  for (const Bytes bad :
       {"", "n", "n,", "n,,", "n,,n=a", "n,,n=a,", "n,,n=a,r=", "n,,r=abc,n=a", "x,,n=a,r=abc",
        "n,x,n=a,r=abc", "n,,n=,r=abc", "n,,n=a=2,r=abc", "n,,n=a=2c,r=abc", "n,,n=a,r=a b", "n,,n=a,r=abc,",
        "n,,n=a,r=abc,x", "n,,n=a,r=abc,m=x", "n,,n=\xff,r=abc"})
    EXPECT_EQ(code(bad), Code::kInvalid) << bad;
  EXPECT_EQ(code("n,,n=" + std::string(3000, 'a') + ",r=abc"), Code::kInvalid);
}

TEST(Scram, EveryChangedByteOfTheLastMessageIsRefused) {
  const Users users = rfc_users();
  const auto accepted = [&](Bytes message) {
    ScramLogin login(kNonce);
    EXPECT_TRUE(login.first(kFirst, users, kSecret));
    return login.last(message).has_value();
  };
  EXPECT_TRUE(accepted(kFinal));
  for (size_t at = 0; at <= kFinal.size(); ++at) {
    if (at < kFinal.size()) {
      EXPECT_FALSE(accepted(kFinal.substr(0, at)));
    }
    for (const char c : {'A', ',', '=', '\0'}) {
      std::string changed(kFinal);
      changed.insert(at, 1, c);
      EXPECT_FALSE(accepted(changed)) << changed;
      if (at == kFinal.size() || kFinal[at] == c) continue;
      changed = kFinal;
      changed[at] = c;
      EXPECT_FALSE(accepted(changed)) << changed;
    }
  }
}

TEST(Scram, MessagesOutOfTurnEndIt) {
  const Users users = rfc_users();
  ScramLogin early(kNonce);
  EXPECT_FALSE(early.last(kFinal));
  EXPECT_FALSE(early.first(kFirst, users, kSecret));

  ScramLogin twice(kNonce);
  EXPECT_TRUE(twice.first(kFirst, users, kSecret));
  EXPECT_FALSE(twice.first(kFirst, users, kSecret));
  EXPECT_FALSE(twice.last(kFinal));

  ScramLogin again(kNonce);
  EXPECT_TRUE(again.first(kFirst, users, kSecret));
  EXPECT_TRUE(again.last(kFinal));
  EXPECT_FALSE(again.last(kFinal));
  EXPECT_FALSE(again.succeeded());
}

}  // namespace
}  // namespace hf::identity
