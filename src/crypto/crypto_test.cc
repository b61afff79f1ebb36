// The primitives against published vectors: a wrong argument order here would be silent anywhere else.
#include "crypto/crypto.h"

#include <gtest/gtest.h>

namespace hf::crypto {
namespace {

// RFC 5869, A.1, first 32 bytes of the output.
TEST(Hkdf, AgreesWithRfc5869) {
  const Key key = hkdf(from_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"),
                       from_hex("000102030405060708090a0b0c"), from_hex("f0f1f2f3f4f5f6f7f8f9"));
  EXPECT_EQ(to_hex(key.bytes()), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

// RFC 5869, A.3: no salt, no info.
TEST(Hkdf, AgreesWithRfc5869WithoutSalt) {
  const Key key = hkdf(from_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), "", "");
  EXPECT_EQ(to_hex(key.bytes()), "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

TEST(Sha256, AgreesWithFips180) {
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(fingerprint64("abc"), 0xba7816bf8f01cfeau);
}

// RFC 4231, test case 2.
TEST(Hmac, AgreesWithRfc4231) {
  EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

// The GCM specification (McGrew and Viega), test case 16.
TEST(Aead, AgreesWithTheGcmSpecification) {
  Aead aead(Key(from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")));
  Nonce nonce;
  std::memcpy(nonce.data(), from_hex("cafebabefacedbaddecaf888").data(), nonce.size());
  const std::string plain = from_hex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aed"
      "f5aa0de657ba637b39");
  const std::string associated = from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  std::string sealed;
  aead.seal(nonce, associated, plain, &sealed);
  EXPECT_EQ(to_hex(sealed),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
            "c5f61e6393ba7a0abcc9f662"
            "76fc6ece0f4e1768cddf8853bb2d551b");
  std::string opened;
  EXPECT_TRUE(aead.open(nonce, associated, sealed, &opened));
  EXPECT_EQ(opened, plain);
}

TEST(Aead, RefusesEveryFlippedBitOfBytesTagAndAssociatedData) {
  Aead aead{Key(std::string(32, 'k'))};
  const Nonce nonce{1};
  std::string sealed;
  aead.seal(nonce, "where", "what", &sealed);
  std::string opened;
  for (size_t i = 0; i < sealed.size() * 8; ++i) {
    std::string bad = sealed;
    bad[i / 8] = static_cast<char>(bad[i / 8] ^ (1 << (i % 8)));
    EXPECT_FALSE(aead.open(nonce, "where", bad, &opened));
    EXPECT_TRUE(opened.empty());
  }
  EXPECT_FALSE(aead.open(nonce, "there", sealed, &opened));
  EXPECT_FALSE(aead.open(Nonce{2}, "where", sealed, &opened));
  for (size_t cut = 0; cut < sealed.size(); ++cut)
    EXPECT_FALSE(aead.open(nonce, "where", Bytes(sealed).substr(0, cut), &opened));
  EXPECT_TRUE(aead.open(nonce, "where", sealed, &opened));
  EXPECT_EQ(opened, "what");
}

}  // namespace
}  // namespace hf::crypto
