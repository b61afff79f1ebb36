// The index of a segment: its golden bytes, that any index comes back, and that a damaged file is refused.
#include "store/segment_index.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "store/memory_disk.h"

namespace hf::store {
namespace {

std::string hex(Bytes text) {
  std::string digits(text);
  std::erase(digits, ' ');
  return from_hex(digits);
}

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

// Two frames; reader 5 is owed something in both, reader 300 in the second; one stream; a row and a tombstone.
SegmentIndex test_index() {
  SegmentIndex index;
  index.commit_first = 7;
  index.commit_last = 9;
  index.used_bytes = 12388;
  index.plain_bytes = 200;
  index.wall_max_us = -2;
  index.frames_rotten = 1;
  Directory& directory = index.directory;
  directory.frames.push_back({8192, 180, Position::of(7, 0), Position::of(7, 2), 3, 60});
  directory.frames.push_back({12288, 100, Position::of(9, 1), Position::of(9, 1), 1, 20});
  directory.readers[5] = {{0, 2, 40, Position::of(7, 1)}, {1, 1, 20, Position::of(9, 1)}};
  directory.readers[300] = {{1, 1, 20, Position::of(9, 1)}};
  StreamUse& use = directory.streams[4];
  use.definition = {4, {0x0102030405060708, "s"}, {5, 60, ""}};
  use.first = 10;
  use.last = 13;
  use.shares = {{0, 3, 60, Position::of(7, 2)}, {1, 1, 20, Position::of(9, 1)}};
  index.rows.push_back({Table::kSession, false, 7, "k", "v"});
  index.rows.push_back({Table::kMark, true, 9, "m", ""});
  return index;
}

SegmentIndex random_index(Prng& prng) {
  const auto bytes = [&](uint64_t size_max) {
    std::string out(prng.below(size_max + 1), '\0');
    for (char& c : out) c = static_cast<char>(prng.next());
    return out;
  };
  SegmentIndex index;
  index.rewrite = prng.chance(1, 2);
  index.commit_first = prng.below(1 << 30);
  index.commit_last = index.commit_first + prng.below(1 << 20);
  index.used_bytes = prng.next();
  index.plain_bytes = prng.next();
  index.wall_max_us = static_cast<int64_t>(prng.next());
  index.frames_rotten = static_cast<uint32_t>(prng.below(5));
  uint64_t offset = kSegmentHeaderBytes;
  uint64_t commit = index.commit_first;
  const uint64_t frames = prng.below(9);
  for (uint64_t i = 0; i < frames; ++i) {
    FrameEntry entry;
    entry.offset = offset;
    entry.size = static_cast<uint32_t>(80 + prng.below(20'000));
    entry.first = Position::of(commit, static_cast<uint32_t>(prng.below(1 << 20)));
    commit += prng.below(3);
    entry.last = Position::of(commit, static_cast<uint32_t>(prng.below(1 << 20)));
    entry.records = static_cast<uint32_t>(1 + prng.below(100));
    entry.bytes = prng.next() >> 20;
    offset += entry.size;
    commit += prng.below(3);
    index.directory.frames.push_back(entry);
  }
  for (uint32_t frame = 0; frame < frames; ++frame) {
    const FrameEntry& entry = index.directory.frames[frame];
    const auto random_share = [&] {
      const uint64_t last = entry.first.commit() + prng.below(3);
      return Share{frame, static_cast<uint32_t>(prng.below(100)), prng.next() >> 20,
                   Position::of(last, static_cast<uint32_t>(prng.below(1 << 20)))};
    };
    for (uint64_t count = prng.below(4); count > 0; --count) {
      std::vector<Share>& shares = index.directory.readers[1 + (prng.next() >> prng.below(64)) / 2];
      if (shares.empty() || shares.back().frame != frame) shares.push_back(random_share());
    }
    index.directory.streams[static_cast<StreamId>(1 + prng.below(3))].shares.push_back(random_share());
  }
  for (auto& [id, use] : index.directory.streams) {
    use.definition = {id, {prng.next(), bytes(5)}, {static_cast<uint8_t>(prng.below(10)), 60, bytes(5)}};
    use.first = prng.next() >> 1;
    use.last = use.first + prng.below(1000);
  }
  for (uint64_t count = prng.below(6); count > 0; --count) {
    index.rows.push_back(
        {static_cast<Table>(1 + prng.below(kTableMax)), prng.chance(1, 3), prng.next(), bytes(9), bytes(30)});
  }
  return index;
}

void expect_equal(const SegmentIndex& a, const SegmentIndex& b) {
  EXPECT_EQ(a.rewrite, b.rewrite);
  EXPECT_EQ(a.commit_first, b.commit_first);
  EXPECT_EQ(a.commit_last, b.commit_last);
  EXPECT_EQ(a.used_bytes, b.used_bytes);
  EXPECT_EQ(a.plain_bytes, b.plain_bytes);
  EXPECT_EQ(a.wall_max_us, b.wall_max_us);
  EXPECT_EQ(a.frames_rotten, b.frames_rotten);
  const auto same_frame = [](const FrameEntry& x, const FrameEntry& y) {
    return x.offset == y.offset && x.size == y.size && x.first == y.first && x.last == y.last &&
           x.records == y.records && x.bytes == y.bytes;
  };
  const auto same_share = [](const Share& x, const Share& y) {
    return x.frame == y.frame && x.count == y.count && x.bytes == y.bytes && x.last == y.last;
  };
  EXPECT_TRUE(std::ranges::equal(a.directory.frames, b.directory.frames, same_frame));
  EXPECT_TRUE(std::ranges::equal(a.directory.readers, b.directory.readers, [&](const auto& x, const auto& y) {
    return x.first == y.first && std::ranges::equal(x.second, y.second, same_share);
  }));
  EXPECT_TRUE(std::ranges::equal(a.directory.streams, b.directory.streams, [&](const auto& x, const auto& y) {
    return x.first == y.first && x.second.definition.key == y.second.definition.key &&
           x.second.definition.options == y.second.definition.options && x.second.first == y.second.first &&
           x.second.last == y.second.last && std::ranges::equal(x.second.shares, y.second.shares, same_share);
  }));
  EXPECT_TRUE(std::ranges::equal(a.rows, b.rows, [](const IndexedRow& x, const IndexedRow& y) {
    return x.table == y.table && x.erased == y.erased && x.commit == y.commit && x.key == y.key &&
           x.value == y.value;
  }));
}

// From a buffer of its own size, so that a sanitizer sees a read past its end.
Result<SegmentIndex> decode(Bytes plain) {
  const std::vector<char> copy(plain.begin(), plain.end());
  return decode_index(Bytes(copy.data(), copy.size()));
}

TEST(SegmentIndex, GoldenBytes) {
  const std::string golden =
      hex("00"                           // an ingest segment
          "0700000000000000"             // first commit
          "0900000000000000"             // last commit
          "e460"                         // used bytes: 12388
          "c801"                         // plaintext bytes: 200
          "03"                           // newest arrival: -2
          "02"                           // two frames:
          "8040 b401 07 00 00 02 03 3c"  //   at 8192, 180 bytes, (7, 0) to (7, 2), 3 records of 60 bytes
          "8020 64 02 01 00 01 01 14"    //   4096 further, 100 bytes, (9, 1) to (9, 1), 1 record of 20
          "02"                           // two readers:
          "05 02"                        //   5, two shares:
          "00 02 28 00 01"               //     frame 0, 2 records of 40 bytes, the last at (7, 1)
          "01 01 14 00 01"               //     one frame further, 1 of 20, (9, 1)
          "a702 01 01 01 14 00 01"       //   295 further, one share
          "01"                           // one stream:
          "04 0807060504030201 01 73 00 05 3c"  //   as in a frame
          "0a 0d 02"                            //   numbers 10 to 13, two shares:
          "00 03 3c 00 02"                      //     frame 0, 3 records of 60 bytes, the last at (7, 2)
          "01 01 14 00 01"                      //     one frame further, 1 of 20, (9, 1)
          "02"                                  // two rows:
          "05 00 07 01 6b 01 76"                //   session k = v, of commit 7
          "0d 01 09 01 6d 00"                   //   mark m erased, in commit 9
          "01");                                // one rotten frame
  EXPECT_EQ(to_hex(encode_index(test_index())), to_hex(golden));
  const auto decoded = decode(golden);
  ASSERT_TRUE(decoded);
  expect_equal(*decoded, test_index());
}

TEST(SegmentIndex, GoldenFile) {
  const std::string plain = encode_index(test_index());
  const std::string file = seal_index(test_keys(), 42, test_nonce(), test_index());
  const std::string head =
      hex("4846494458000001"          // magic
          "2a00000000000000"          // segment
          "6a000000"                  // plaintext size
          "000102030405060708090a0b"  // nonce
          "a96064b7");                // CRC-32C of what stands before
  ASSERT_EQ(plain.size(), 106u);
  EXPECT_EQ(to_hex(file.substr(0, head.size())), to_hex(head));
  EXPECT_EQ(file.size(), head.size() + plain.size() + 16);
  // The rest as another implementation seals it.
  EXPECT_EQ(to_hex(crypto::sha256(file)), "42a48d9962d1a136cd85ba728e96e721252722168896539062e575d71be1485f");
  const auto opened = open_index(test_keys(), 42, file);
  ASSERT_TRUE(opened);
  expect_equal(*opened, test_index());
}

TEST(SegmentIndex, RandomContentComesBack) {
  Prng prng(41);
  for (int round = 0; round < 1000; ++round) {
    const SegmentIndex index = random_index(prng);
    const auto decoded = decode(encode_index(index));
    ASSERT_TRUE(decoded);
    expect_equal(*decoded, index);
  }
}

TEST(SegmentIndex, EveryPrefixIsRefused) {
  Prng prng(42);
  for (int round = 0; round < 30; ++round) {
    const std::string plain = encode_index(random_index(prng));
    for (size_t size = 0; size < plain.size(); ++size) {
      ASSERT_FALSE(decode(Bytes(plain).substr(0, size))) << size;
    }
    EXPECT_FALSE(decode(plain + '\0'));
  }
}

// The tag of the file keeps such bytes away; here they only must not hurt.
TEST(SegmentIndex, EveryFlippedBitIsRefusedOrDecodesToFramesThatExist) {
  Prng prng(43);
  for (int round = 0; round < 20; ++round) {
    const std::string plain = encode_index(random_index(prng));
    for (size_t bit = 0; bit < plain.size() * 8; ++bit) {
      std::string flipped = plain;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      const auto index = decode(flipped);
      if (!index) continue;
      const size_t frames = index->directory.frames.size();
      for (const auto& [reader, shares] : index->directory.readers) {
        for (const Share& share : shares) ASSERT_LT(share.frame, frames);
      }
      for (const auto& [stream, use] : index->directory.streams) {
        for (const Share& share : use.shares) ASSERT_LT(share.frame, frames);
      }
    }
  }
}

TEST(SegmentIndex, LargeCountsWithoutContentAreRefusedWithoutMemory) {
  const std::string head = hex("00 0700000000000000 0900000000000000 00 00 00");
  EXPECT_FALSE(decode(head + hex("ffffffffffffffffff01")));
  EXPECT_FALSE(decode(head + hex("00 ffffffffffffffffff01")));
  EXPECT_FALSE(decode(head + hex("00 01 05 ffffffffffffffffff01")));
  EXPECT_TRUE(decode(head + hex("00 00 00 00 00")));
}

TEST(SegmentIndex, FileWithAnyPrefixOrFlippedBitIsRefused) {
  const std::string file = seal_index(test_keys(), 42, test_nonce(), test_index());
  for (size_t size = 0; size < file.size(); ++size) {
    const std::vector<char> prefix(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(open_index(test_keys(), 42, Bytes(prefix.data(), prefix.size())));
  }
  EXPECT_FALSE(open_index(test_keys(), 42, file + '\0'));
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(open_index(test_keys(), 42, flipped)) << "bit " << bit;
  }
}

TEST(SegmentIndex, FileOfAnotherSegmentOrStoreIsRefused) {
  const std::string file = seal_index(test_keys(), 42, test_nonce(), test_index());
  EXPECT_EQ(open_index(test_keys(), 43, file).error().code, Code::kForeign);
  Keys other = test_keys();
  other.store_id ^= 1;
  EXPECT_FALSE(open_index(other, 42, file));
}

// Goal: an index is there whole or not at all. Method: a disk that fails at the n-th call.
TEST(SegmentIndex, InterruptedWriteLeavesTheOldFile) {
  class CutDisk : public MemoryDisk {
   public:
    int calls_left = 0;
    Result<> create(const std::string& name, uint64_t size) override {
      return --calls_left < 0 ? off() : MemoryDisk::create(name, size);
    }
    Result<> write(const std::string& name, uint64_t at, Bytes bytes) override {
      return --calls_left < 0 ? off() : MemoryDisk::write(name, at, bytes);
    }
    Result<> sync(const std::string& name) override {
      return --calls_left < 0 ? off() : MemoryDisk::sync(name);
    }
    Result<> rename(const std::string& from, const std::string& to) override {
      return --calls_left < 0 ? off() : MemoryDisk::rename(from, to);
    }

   private:
    static Result<> off() { return fail(Code::kIo, "the power is off"); }
  };
  for (int calls = 0; calls < 5; ++calls) {
    CutDisk disk;
    TestEntropy entropy;
    disk.calls_left = 100;
    ASSERT_TRUE(write_index_file(disk, test_keys(), 42, entropy, test_index()));
    SegmentIndex newer = test_index();
    newer.commit_last = 10;
    disk.calls_left = calls;
    const bool written = write_index_file(disk, test_keys(), 42, entropy, newer).has_value();
    EXPECT_EQ(written, calls == 4);
    const auto index = read_index_file(disk, test_keys(), 42);
    ASSERT_TRUE(index);
    EXPECT_EQ(index->commit_last, written ? 10u : 9u);
  }
}

TEST(Directory, FrameAfterFindsTheFirstFrameThatReachesBeyondAPosition) {
  const Directory directory = test_index().directory;
  EXPECT_EQ(directory.frame_after({}), 0u);
  EXPECT_EQ(directory.frame_after(Position::of(7, 1)), 0u);
  EXPECT_EQ(directory.frame_after(Position::of(7, 2)), 1u);
  EXPECT_EQ(directory.frame_after(Position::of(9, 1)), 2u);
}

}  // namespace
}  // namespace hf::store
