// Key slots and what is derived from a master key. The expected values were computed by another
// implementation (Python's hmac, hashlib and cryptography) from docs/formats/store.md.
#include "store/keys.h"

#include <gtest/gtest.h>

#include "store/memory_disk.h"

namespace hf::store {
namespace {

crypto::Key test_kek() { return crypto::Key(std::string(32, 'k')); }

Keys test_keys() {
  Keys keys;
  keys.store_id = 0x1122334455667788;
  keys.epoch = 3;
  keys.master = crypto::Key(std::string(32, 'm'));
  return keys;
}

crypto::Nonce test_nonce() {
  crypto::Nonce nonce;
  for (size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<uint8_t>(i);
  return nonce;
}

TEST(Keys, DerivationsAreThoseOfTheFormat) {
  const Keys keys = test_keys();
  EXPECT_EQ(to_hex(keys.segment_key(42).bytes()),
            "f91f5bcb890218060dabf5779ce605ff0a85be2704430fe29490d8be39286ad0");
  EXPECT_EQ(to_hex(keys.segment_check(42)), "011a72d28ac7f3e9de366e8b47175e9b");
  EXPECT_FALSE(keys.segment_key(42) == keys.segment_key(43));
}

TEST(KeySlot, GoldenBytes) {
  const std::string slot = encode_key_slot(test_keys(), test_kek(), test_nonce());
  EXPECT_EQ(to_hex(slot),
            "48464b4559530000"                                                  // magic
            "0100"                                                              // format 1
            "01"                                                                // kind: key file
            "00"                                                                // reserved
            "03000000"                                                          // epoch
            "8877665544332211"                                                  // store id
            "000102030405060708090a0b"                                          // nonce
            "07b0994369bdeb182ef63ee709a865359583d709f10bf1e8c21184c89d47f945"  // the master key, sealed
            "a1854f499b4c18f994de0a194544637b"                                  // tag
            "aff4434b");                                                        // CRC-32C
  const Result<Keys> keys = decode_key_slot(slot, test_kek());
  ASSERT_TRUE(keys);
  EXPECT_EQ(keys->store_id, test_keys().store_id);
  EXPECT_EQ(keys->epoch, 3u);
  EXPECT_TRUE(keys->master == test_keys().master);
}

TEST(KeySlot, EveryPrefixAndEveryLongerFileIsRefused) {
  const std::string slot = encode_key_slot(test_keys(), test_kek(), test_nonce());
  for (size_t size = 0; size < slot.size(); ++size) {
    const std::vector<char> prefix(slot.begin(), slot.begin() + static_cast<std::ptrdiff_t>(size));
    const Result<Keys> keys = decode_key_slot(Bytes(prefix.data(), prefix.size()), test_kek());
    ASSERT_FALSE(keys);
    EXPECT_EQ(keys.error().code, Code::kCorrupt) << size;
  }
  EXPECT_EQ(decode_key_slot(slot + '\0', test_kek()).error().code, Code::kCorrupt);
}

TEST(KeySlot, EveryFlippedBitIsRefused) {
  const std::string slot = encode_key_slot(test_keys(), test_kek(), test_nonce());
  for (size_t bit = 0; bit < slot.size() * 8; ++bit) {
    std::string flipped = slot;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(decode_key_slot(flipped, test_kek())) << "bit " << bit;
  }
}

TEST(KeySlot, WrongKeyIsToldApartFromDamage) {
  const std::string slot = encode_key_slot(test_keys(), test_kek(), test_nonce());
  EXPECT_EQ(decode_key_slot(slot, crypto::Key(std::string(32, 'x'))).error().code, Code::kWrongKey);
}

TEST(KeySlots, EitherAloneOpensTheStoreAndTheOtherIsMended) {
  for (int lost = 0; lost < 2; ++lost) {
    for (const bool removed : {true, false}) {
      MemoryDisk disk;
      TestEntropy entropy;
      ASSERT_TRUE(create_keys(disk, entropy, test_kek(), 7));
      const crypto::Key master = load_keys(disk, entropy, test_kek())->master;
      if (removed) {
        disk.files.erase(kKeySlotNames[lost]);
      } else {
        disk.files[kKeySlotNames[lost]].resize(10);
      }
      const Result<Keys> keys = load_keys(disk, entropy, test_kek());
      ASSERT_TRUE(keys);
      EXPECT_TRUE(keys->master == master);
      EXPECT_EQ(disk.files.size(), 2u) << "nothing but the two slots";
      EXPECT_TRUE(decode_key_slot(disk.files[kKeySlotNames[lost]], test_kek()));
    }
  }
}

TEST(KeySlots, CreationNeverReplacesAStore) {
  MemoryDisk disk;
  TestEntropy entropy;
  ASSERT_TRUE(create_keys(disk, entropy, test_kek(), 7));
  const auto before = disk.files;
  EXPECT_EQ(create_keys(disk, entropy, test_kek(), 8).error().code, Code::kExists);
  EXPECT_EQ(create_keys(disk, entropy, crypto::Key(std::string(32, 'x')), 8).error().code, Code::kExists);
  EXPECT_EQ(disk.files, before);
}

}  // namespace
}  // namespace hf::store
