// Goal: passwords are kept as everybody else keeps them, a wrong one and every changed string is refused, and no
// string costs more than its limits. Method: vectors of the reference implementation and of RFC 7914; every prefix
// and every changed character of a string.
#include "crypto/password.h"

#include <gtest/gtest.h>

namespace hf::crypto {
namespace {

constexpr Bytes kCheap =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

bool right(Bytes password, Bytes text) {
  const auto kept = parse_password_hash(text);
  EXPECT_TRUE(kept) << text;
  return kept && verify_password(password, *kept);
}

// The tests of the reference implementation (src/test.c of phc-winner-argon2), version 0x13, Argon2id.
TEST(Password, AgreesWithTheReferenceImplementation) {
  EXPECT_TRUE(right(
      "password", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"));
  EXPECT_TRUE(right("password", kCheap));
  // Two lanes, on one thread.
  EXPECT_TRUE(right("password",
                    "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"));
  EXPECT_TRUE(
      right("differentpassword",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94"));
}

TEST(Password, IsTakenAgainAfterItWasKept) {
  const auto kept = hash_password("correct horse", "0123456789abcdef");
  ASSERT_TRUE(kept);
  const std::string text = format_password_hash(*kept);
  EXPECT_TRUE(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$")) << text;
  const auto parsed = parse_password_hash(text);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(*parsed, *kept);
  EXPECT_TRUE(verify_password("correct horse", *parsed));
  for (const Bytes wrong : {"", "correct hors", "correct horse ", "Correct horse"}) {
    const auto refused = verify_password(wrong, *parsed);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kDenied);
  }
}

TEST(Password, EveryPrefixIsRefused) {
  for (size_t size = 0; size < kCheap.size(); ++size) {
    const auto parsed = parse_password_hash(kCheap.substr(0, size));
    // A hash of at least 16 bytes is a whole string; it is another one.
    if (parsed) {
      EXPECT_FALSE(verify_password("password", *parsed)) << size;
    }
  }
}

TEST(Password, EveryChangedCharacterIsRefused) {
  for (size_t at = 0; at < kCheap.size(); ++at) {
    for (const char c : {'A', '$', '=', '1', ','}) {
      std::string changed(kCheap);
      if (changed[at] == c) continue;
      changed[at] = c;
      const auto parsed = parse_password_hash(changed);
      if (parsed) {
        EXPECT_FALSE(verify_password("password", *parsed)) << changed;
      }
    }
  }
}

TEST(Password, OtherFormsAreRefused) {
  const auto code = [](Bytes text) {
    const auto parsed = parse_password_hash(text);
    return parsed ? Code::kExists : parsed.error().code;
  };
  const std::string tail = "$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
  EXPECT_EQ(code("$argon2id$v=19$m=256,t=2,p=1" + tail), Code::kExists);
  EXPECT_EQ(code("$argon2i$v=19$m=256,t=2,p=1" + tail), Code::kUnsupported);
  EXPECT_EQ(code("$2y$10$abcdefghijklmnopqrstuv"), Code::kUnsupported);
  EXPECT_EQ(code("$argon2id$v=16$m=256,t=2,p=1" + tail), Code::kUnsupported);
  EXPECT_EQ(code("$argon2id$m=256,t=2,p=1" + tail), Code::kUnsupported);
  EXPECT_EQ(code("password"), Code::kInvalid);
  for (const char* cost : {"m=256,p=1,t=2", "m=0256,t=2,p=1", "m=+256,t=2,p=1", "m=256,t=2,p=1,x=1",
                           "m=256,t=2", "m=256, t=2,p=1", "m=,t=2,p=1", "m=256,t=0,p=1", "m=256,t=2,p=0",
                           "m=7,t=2,p=1", "m=15,t=2,p=2", "m=9999999999,t=2,p=1", "m=4294967552,t=2,p=1"}) {
    EXPECT_EQ(code(std::string("$argon2id$v=19$") + cost + tail), Code::kInvalid) << cost;
  }
  // Salts of 7 and 65 bytes, a hash of 15, padding, and something behind.
  EXPECT_EQ(code("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
            Code::kInvalid);
  EXPECT_EQ(code("$argon2id$v=19$m=256,t=2,p=1$" + std::string(87, 'A') +
                 "$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
            Code::kInvalid);
  EXPECT_EQ(code("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAA"), Code::kInvalid);
  EXPECT_EQ(code("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ=$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4="),
            Code::kInvalid);
  EXPECT_EQ(code(std::string(kCheap) + "\n"), Code::kInvalid);
}

TEST(Password, CostHasLimitsOnBothSides) {
  const auto code = [](const char* cost) {
    const auto parsed = parse_password_hash(std::string("$argon2id$v=19$") + cost +
                                            "$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
    return parsed ? Code::kExists : parsed.error().code;
  };
  EXPECT_EQ(code("m=262144,t=16,p=4"), Code::kExists);
  EXPECT_EQ(code("m=262145,t=1,p=1"), Code::kTooLarge);
  EXPECT_EQ(code("m=1024,t=17,p=1"), Code::kTooLarge);
  EXPECT_EQ(code("m=1024,t=1,p=5"), Code::kTooLarge);
  // A kept hash that is weak still logs in; a new one is not made so.
  EXPECT_EQ(code("m=8,t=1,p=1"), Code::kExists);
  EXPECT_FALSE(hash_password("password", "somesalt", {.memory_kib = 19'455, .passes = 2}));
  EXPECT_FALSE(hash_password("password", "somesalt", {.memory_kib = 19'456, .passes = 1}));
  EXPECT_FALSE(hash_password("password", "somesalt", {.memory_kib = 4096, .passes = 16}));
  EXPECT_FALSE(hash_password("password", "somesalt", {.memory_kib = 1 << 20, .passes = 2}));
  EXPECT_FALSE(hash_password("password", "7 bytes"));
  EXPECT_TRUE(password_cost_strong({}));
  EXPECT_TRUE(password_cost_strong({.memory_kib = 46 << 10, .passes = 1}));
}

// RFC 7914, section 11: the first 32 of 64 bytes, which are the first block.
TEST(Pbkdf2, AgreesWithRfc7914) {
  EXPECT_EQ(to_hex(pbkdf2_sha256("passwd", "salt", 1)),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
  EXPECT_EQ(to_hex(pbkdf2_sha256("Password", "NaCl", 80'000)),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56");
}

}  // namespace
}  // namespace hf::crypto
