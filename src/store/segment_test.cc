// Segment files byte by byte, scans of damaged ones, and whole directories under damage. What recovery owes
// to whom is in docs/formats/store.md, "Recovery".
#include "store/segment.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/crc32c.h"
#include "store/frame.h"
#include "store/memory_disk.h"
#include "store/segment_index.h"
#include "store/store.h"

namespace hf::store {
namespace {

std::string hex(Bytes text) {
  std::string digits(text);
  std::erase(digits, ' ');
  return from_hex(digits);
}

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

SegmentHeader test_header() {
  SegmentHeader header;
  header.rewrite = true;
  header.store_id = test_keys().store_id;
  header.segment = 42;
  header.epoch = 3;
  header.check = test_keys().segment_check(42);
  header.replaced = {3, 16};
  return header;
}

FrameHead test_head() {
  FrameHead head;
  head.index = 1;
  head.count = 2;
  head.frame = 5;
  head.segment = 42;
  head.commit = 0x1234;
  head.first_index = 6;
  head.durable = 0x1233;
  head.nonce = test_nonce();
  return head;
}

std::string flip(Bytes bytes, size_t bit) {
  std::string flipped(bytes);
  flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
  return flipped;
}

// --- The parts of a segment. Golden sealed bytes come from another implementation (Python's cryptography),
// written from docs/formats/store.md.

TEST(SegmentName, IsSixteenDigitsAndNothingElse) {
  EXPECT_EQ(segment_name(42), "000000000000002a.seg");
  EXPECT_EQ(index_name(UINT64_MAX), "ffffffffffffffff.idx");
  uint64_t segment = 0;
  bool index = false;
  EXPECT_TRUE(parse_segment_name("000000000000002a.idx", &segment, &index));
  EXPECT_EQ(segment, 42u);
  EXPECT_TRUE(index);
  for (const char* name : {"", "000000000000002A.seg", "00000000000002a.seg", "000000000000002a.bad",
                           "000000000000002a.seg.bad", "000000000000002g.seg", "keys.0"}) {
    EXPECT_FALSE(parse_segment_name(name, &segment, &index)) << name;
  }
}

TEST(SegmentHeader, GoldenBytes) {
  const std::string bytes = encode_segment_header(test_header());
  const std::string golden =
      hex("4846534547000000"                  // magic
          "0100"                              // format 1
          "0100"                              // flags: a rewrite
          "8877665544332211"                  // store id
          "2a00000000000000"                  // segment
          "03000000"                          // epoch
          "011a72d28ac7f3e9de366e8b47175e9b"  // check
          "0200"                              // replaces two segments
          "0300000000000000 1000000000000000"
          "e6d342e0");  // CRC-32C
  ASSERT_EQ(bytes.size(), kSegmentHeaderBytes);
  EXPECT_EQ(to_hex(bytes.substr(0, golden.size())), to_hex(golden));
  EXPECT_EQ(bytes.substr(golden.size(), kPageBytes - golden.size()),
            std::string(kPageBytes - golden.size(), '\0'));
  EXPECT_EQ(bytes.substr(0, kPageBytes), bytes.substr(kPageBytes)) << "the copy";
  const auto header = decode_segment_header(bytes);
  ASSERT_TRUE(header);
  EXPECT_TRUE(header->rewrite);
  EXPECT_EQ(header->segment, 42u);
  EXPECT_EQ(header->check, test_header().check);
  EXPECT_EQ(header->replaced, test_header().replaced);
}

TEST(SegmentHeader, MayReplaceAsManySegmentsAsFitIntoAPage) {
  SegmentHeader header = test_header();
  header.replaced.assign(kReplacedMax, 7);
  const auto decoded = decode_segment_header(encode_segment_header(header));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->replaced.size(), kReplacedMax);
}

TEST(SegmentHeader, OneWholeCopyIsEnoughAndNoneIsRefused) {
  const std::string bytes = encode_segment_header(test_header());
  const size_t used = 66 + 4;
  for (size_t bit = 0; bit < used * 8; ++bit) {
    const std::string first = flip(bytes, bit);
    EXPECT_TRUE(decode_segment_header(first));
    EXPECT_TRUE(decode_segment_header(flip(bytes, bit + kPageBytes * 8)));
    EXPECT_EQ(decode_segment_header(flip(first, bit + kPageBytes * 8)).error().code, Code::kCorrupt);
  }
  for (size_t size = 0; size < bytes.size(); size += 512) {
    EXPECT_EQ(decode_segment_header(Bytes(bytes).substr(0, size)).has_value(), size >= kPageBytes) << size;
  }
}

TEST(SegmentHeader, NewerFormatIsUnsupportedRatherThanCorrupt) {
  // As this build would write format 2: its checksum holds.
  std::string bytes = encode_segment_header(test_header()).substr(0, 66);
  bytes[8] = 2;
  put_u32(bytes, crc32c(bytes));
  bytes.resize(kPageBytes);
  EXPECT_EQ(decode_segment_header(bytes + bytes).error().code, Code::kUnsupported);
}

TEST(SealedFrame, GoldenBytes) {
  crypto::Aead aead(test_keys().segment_key(42));
  std::string bytes;
  seal_frame(aead, test_keys().store_id, 8192, test_head(), "plain", &bytes);
  EXPECT_EQ(to_hex(bytes), to_hex(hex("4846524d"                  // magic
                                      "01 00"                     // a commit's frame; flags
                                      "0100 0200"                 // the second of two
                                      "0000"                      // zero
                                      "05000000"                  // the sixth in its segment
                                      "05000000"                  // plaintext size
                                      "2a00000000000000"          // segment
                                      "3412000000000000"          // commit
                                      "06000000"                  // its first record's index
                                      "3312000000000000"          // durable by then
                                      "000102030405060708090a0b"  // nonce
                                      "d18cee12"                  // CRC-32C of the 60 bytes before
                                      "d360222fbb"                // ciphertext
                                      "f21d50259507cf29382e8a973189ab36")));  // tag
  FrameHead head;
  const auto plain = open_frame(aead, test_keys().store_id, 42, 8192, bytes, &head);
  ASSERT_TRUE(plain);
  EXPECT_EQ(*plain, "plain");
  EXPECT_EQ(head.commit, 0x1234u);
  EXPECT_EQ(head.durable, 0x1233u);
  EXPECT_EQ(head.file_bytes(), bytes.size());
}

TEST(SealedFrame, IsWholeAtItsPlaceInItsSegmentOfItsStoreOnly) {
  crypto::Aead aead(test_keys().segment_key(42));
  std::string bytes;
  seal_frame(aead, test_keys().store_id, 8192, test_head(), "plain", &bytes);
  FrameHead head;
  EXPECT_TRUE(open_frame(aead, test_keys().store_id, 42, 8192, bytes, &head));
  EXPECT_FALSE(open_frame(aead, test_keys().store_id, 42, 12288, bytes, &head)) << "moved";
  EXPECT_FALSE(open_frame(aead, 7, 42, 8192, bytes, &head)) << "another store";
  EXPECT_EQ(open_frame(aead, test_keys().store_id, 43, 8192, bytes, &head).error().code, Code::kForeign);
  crypto::Aead other(test_keys().segment_key(43));
  EXPECT_FALSE(open_frame(other, test_keys().store_id, 42, 8192, bytes, &head)) << "another key";
}

TEST(SealedFrame, EveryPrefixAndEveryFlippedBitIsRefused) {
  crypto::Aead aead(test_keys().segment_key(42));
  std::string bytes;
  seal_frame(aead, test_keys().store_id, 8192, test_head(), "plain", &bytes);
  FrameHead head;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<char> prefix(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const auto plain =
        open_frame(aead, test_keys().store_id, 42, 8192, Bytes(prefix.data(), prefix.size()), &head);
    ASSERT_FALSE(plain);
    EXPECT_EQ(plain.error().code, Code::kTruncated);
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    EXPECT_FALSE(open_frame(aead, test_keys().store_id, 42, 8192, flip(bytes, bit), &head)) << "bit " << bit;
  }
}

// --- Scans. The segment of these tests holds frame i with the plaintext plain_of(i), three pages for every
// fourth.

std::string plain_of(size_t i) {
  return std::string(i % 4 == 3 ? 9000 : 100 * i, static_cast<char>('a' + i));
}

struct TestSegment {
  MemoryDisk disk;
  std::string& file = disk.files[segment_name(42)];
  std::vector<uint64_t> offsets;  // Of the frames; the last one is where the file ends.

  explicit TestSegment(size_t count = 10, uint64_t alignment = kPageBytes, Keys keys = test_keys(),
                       uint64_t segment = 42) {
    SegmentHeader header = test_header();
    header.segment = segment;
    file = encode_segment_header(header);
    crypto::Aead aead(keys.segment_key(segment));
    for (size_t i = 0; i < count; ++i) {
      FrameHead head = test_head();
      head.segment = segment;
      head.frame = static_cast<uint32_t>(i);
      head.commit = 1 + i;
      head.durable = i;
      offsets.push_back(file.size());
      seal_frame(aead, keys.store_id, file.size(), head, plain_of(i), &file);
      file.resize(align_up(file.size(), alignment));
    }
    offsets.push_back(file.size());
  }

  SegmentScan scan(uint64_t alignment = kPageBytes) {
    const auto scan = scan_segment(disk, test_keys(), 42, alignment);
    EXPECT_TRUE(scan);
    return *scan;
  }

  // Which frames a scan finds; those it finds have the right content.
  std::vector<size_t> found(uint64_t alignment = kPageBytes) {
    std::vector<size_t> numbers;
    const SegmentScan scanned = scan(alignment);
    visit_frames(disk, test_keys(), 42, scanned,
                 [&](const SegmentScan::Found& frame, const Result<std::string>& plain) {
                   ASSERT_TRUE(plain);
                   EXPECT_EQ(*plain, plain_of(frame.head.frame));
                   EXPECT_EQ(frame.offset, offsets[frame.head.frame]);
                   numbers.push_back(frame.head.frame);
                 });
    return numbers;
  }
};

std::vector<size_t> all_but(size_t count, std::initializer_list<size_t> missing) {
  std::vector<size_t> numbers;
  for (size_t i = 0; i < count; ++i) {
    if (std::find(missing.begin(), missing.end(), i) == missing.end()) numbers.push_back(i);
  }
  return numbers;
}

TEST(SegmentScan, FindsEveryFrameAtBothAlignments) {
  for (const uint64_t alignment : {kPageBytes, kRewriteAlignment}) {
    TestSegment segment(10, alignment);
    EXPECT_EQ(segment.found(alignment), all_but(10, {}));
    EXPECT_TRUE(segment.scan(alignment).bad.empty());
  }
}

TEST(SegmentScan, ZerosBehindTheLastFrameAreNotDamage) {
  TestSegment segment;
  segment.file.resize(segment.file.size() + 3 * kPageBytes + 17);
  EXPECT_EQ(segment.found(), all_but(10, {}));
  EXPECT_TRUE(segment.scan().bad.empty());
}

TEST(SegmentScan, TornTailIsABadZoneWithNothingBehindIt) {
  TestSegment segment;
  // Of the last frame (three pages) the middle one never came.
  std::fill_n(segment.file.begin() + static_cast<std::ptrdiff_t>(segment.offsets[7] + kPageBytes), kPageBytes,
              '\0');
  segment.file.resize(segment.offsets[8]);
  EXPECT_EQ(segment.found(), all_but(7, {}));
  EXPECT_EQ(segment.scan().bad, std::vector<uint64_t>{segment.offsets[7]});
}

TEST(SegmentScan, RottenFrameCostsThatFrameWhereverTheBitLies) {
  for (const uint64_t alignment : {kPageBytes, kRewriteAlignment}) {
    Prng prng(21);
    const TestSegment whole(10, alignment);
    for (int round = 0; round < 300; ++round) {
      TestSegment segment(10, alignment);
      const size_t frame = prng.below(10);
      const uint64_t size = kFrameOverheadBytes + plain_of(frame).size();
      // Every third time in the head, where sizes and the magic stand.
      const uint64_t byte = segment.offsets[frame] + prng.below(round % 3 == 0 ? kFrameHeadBytes : size);
      segment.file = flip(segment.file, byte * 8 + prng.below(8));
      ASSERT_EQ(segment.found(alignment), all_but(10, {frame})) << "byte " << byte;
      ASSERT_EQ(segment.scan(alignment).bad, std::vector<uint64_t>{segment.offsets[frame]});
    }
  }
}

TEST(SegmentScan, ZonesFarFromEachOtherAreTold) {
  TestSegment segment;
  for (const size_t frame : {2u, 3u, 7u}) segment.file[segment.offsets[frame] + 70] ^= 1;
  EXPECT_EQ(segment.found(), all_but(10, {2, 3, 7}));
  // Neighbours are one zone.
  EXPECT_EQ(segment.scan().bad, (std::vector<uint64_t>{segment.offsets[2], segment.offsets[7]}));
}

TEST(SegmentScan, TruncationKeepsEveryFrameThatLiesBeforeIt) {
  const TestSegment whole;
  for (size_t size = 0; size <= whole.file.size(); size += 512) {
    TestSegment segment;
    segment.file.resize(size);
    size_t kept = 0;
    while (kept < 10 && segment.offsets[kept] + kFrameOverheadBytes + plain_of(kept).size() <= size) ++kept;
    EXPECT_EQ(segment.found(), all_but(kept, {})) << size;
  }
}

TEST(SegmentScan, GarbageHoldsNothing) {
  Prng prng(22);
  for (const uint64_t alignment : {kPageBytes, kRewriteAlignment}) {
    TestSegment segment(0);
    for (int i = 0; i < 50'000; ++i) segment.file.push_back(static_cast<char>(prng.next() | 1));
    EXPECT_TRUE(segment.found(alignment).empty());
    EXPECT_EQ(segment.scan(alignment).bad.size(), 1u);
  }
}

TEST(SegmentScan, FrameCopiedElsewhereIsNotWhole) {
  TestSegment segment;
  // The three pages of frame 3 over those of frame 7, and once more behind the end.
  const std::string copy = segment.file.substr(segment.offsets[3], 3 * kPageBytes);
  segment.file.replace(segment.offsets[7], copy.size(), copy);
  segment.file += copy;
  EXPECT_EQ(segment.found(), all_but(10, {7}));
  EXPECT_EQ(segment.scan().bad.size(), 2u);
}

TEST(SegmentScan, SwappedPagesAreNotWhole) {
  TestSegment segment;
  const std::string page = segment.file.substr(segment.offsets[1], kPageBytes);
  segment.file.replace(segment.offsets[1], kPageBytes, segment.file.substr(segment.offsets[5], kPageBytes));
  segment.file.replace(segment.offsets[5], kPageBytes, page);
  EXPECT_EQ(segment.found(), all_but(10, {1, 5}));
}

TEST(SegmentScan, FrameOfAnotherSegmentOrStoreIsNotWhole) {
  const TestSegment other_segment(10, kPageBytes, test_keys(), 43);
  Keys other_keys = test_keys();
  other_keys.store_id ^= 1;
  const TestSegment other_store(10, kPageBytes, other_keys);
  for (const TestSegment* other : {&other_segment, &other_store}) {
    TestSegment segment;
    segment.file.replace(segment.offsets[4], kPageBytes, other->file.substr(segment.offsets[4], kPageBytes));
    EXPECT_EQ(segment.found(), all_but(10, {4}));
  }
}

TEST(SegmentScan, FrameThatClaimsMoreThanTheFileHidesNothing) {
  TestSegment segment;
  FrameHead head = test_head();
  crypto::Aead aead(test_keys().segment_key(42));
  std::string bytes;
  seal_frame(aead, test_keys().store_id, segment.offsets[2], head, std::string(200'000, 'x'), &bytes);
  segment.file.replace(segment.offsets[2], kFrameHeadBytes, bytes.substr(0, kFrameHeadBytes));
  EXPECT_EQ(segment.found(), all_but(10, {2}));
}

TEST(SegmentScan, FrameLargerThanTheWindowOfTheScanIsFound) {
  TestSegment segment(1);
  FrameHead head = test_head();
  head.frame = 1;
  crypto::Aead aead(test_keys().segment_key(42));
  const std::string plain(3 << 20, 'x');
  seal_frame(aead, test_keys().store_id, segment.file.size(), head, plain, &segment.file);
  const SegmentScan scan = segment.scan();
  ASSERT_EQ(scan.frames.size(), 2u);
  visit_frames(segment.disk, test_keys(), 42, scan,
               [&](const SegmentScan::Found& frame, const Result<std::string>& read) {
                 ASSERT_TRUE(read);
                 EXPECT_TRUE(frame.head.frame == 0 || *read == plain);
               });
}

// --- Whole directories.

using Files = std::map<std::string, std::string>;

struct World {
  MemoryDisk disk;
  TestEntropy entropy;
  Options options;
  Now now;
  OpenReport report;
  std::unique_ptr<Store> store;

  World() {
    options.quota_bytes = 16 << 20;
    options.segment_bytes_min = 16 << 10;
    options.segment_bytes_max = 32 << 10;
    now.mono = {1'000'000'000};
    now.wall_us = 1'700'000'000'000'000;
    now.quality = ClockQuality::kNtp;
    now.boot = {1, 2};
  }

  Result<> open() {
    store.reset();
    report = {};
    HF_TRY_ASSIGN(store, Store::open(disk, entropy, test_kek(), options, "here", now, &report));
    return {};
  }

  void settle() {
    store->boundary();
    for (int i = 0; i < 10'000; ++i) {
      std::unique_ptr<Job> job = store->take_job(now);
      if (job == nullptr) return;
      job->run(disk, entropy);
      store->complete(std::move(job), now);
    }
    FAIL() << "the store never comes to rest";
  }

  void append(StreamId stream, Bytes payload, Bytes audience) {
    NewRecord record;
    record.stream = stream;
    record.topic = "t";
    record.payload = payload;
    record.arrival = arrival_of(now);
    record.audience = audience;
    store->append(record);
  }
};

// What a store answers when it is asked for everything: records by position, rows of the tables that are not
// the store's own.
struct Answer {
  std::map<uint64_t, std::string> records;
  std::map<std::string, std::string> rows;
  uint64_t commit_last = 0;
  bool operator==(const Answer&) const = default;
};

Answer ask(World& world) {
  Answer answer;
  answer.commit_last = world.report.commit_last;
  for (uint8_t table = static_cast<uint8_t>(Table::kSession); table <= kTableMax; ++table) {
    world.store->scan(static_cast<Table>(table), {}, [&](Bytes key, Bytes value) {
      answer.rows[std::to_string(table) + std::string(key)] = value;
      return true;
    });
  }
  std::vector<StreamId> streams;
  world.store->for_each_stream([&](const StreamInfo& info) { streams.push_back(info.id); });
  for (const StreamId stream : streams) {
    Position after;
    for (int pending = 0; pending < 1000;) {
      const Store::Fetch fetch = world.store->next_in_stream(stream, after, 1);
      if (fetch.status == Store::FetchStatus::kPending) {
        ++pending;
        world.settle();
      } else if (fetch.status == Store::FetchStatus::kRecord) {
        after = fetch.record->position;
        answer.records[after.value] = fetch.record->payload;
      } else {
        break;
      }
    }
  }
  return answer;
}

struct Extent {
  std::string file;
  uint64_t from = 0;
  uint64_t to = 0;
};

// A directory with everything in it: sealed segments and their indexes, a rewrite, the segment that was in
// use at the crash, a spare; and where each record lies.
struct Directory {
  Files files;
  Answer answer;
  std::map<uint64_t, Extent> extents;  // Of each record's frame, by the record's position.
  std::string active;                  // The one without an index that holds records.
  std::set<std::string> rewrites;

  Directory() {
    World world;
    EXPECT_TRUE(Store::create(world.disk, world.entropy, test_kek(), 42));
    EXPECT_TRUE(world.open());
    const StreamId stream = world.store->open_local_stream("s", 5, 0);
    const std::string audience = encode_audience({{world.store->create_reader(true)}});
    int count = 0;
    const auto work = [&](int commits) {
      for (int i = 0; i < commits; ++i) {
        for (int j = 0; j < 3; ++j) {
          world.append(stream, "payload " + std::to_string(count) + std::string(count % 300, '.'), audience);
          ++count;
        }
        world.store->put(Table::kSession, std::to_string(count % 7), std::to_string(count));
        if (i % 4 == 0) world.store->erase(Table::kSession, std::to_string((count + 3) % 7));
        world.settle();
      }
    };
    work(12);
    // Time enough for the first segments to become a rewrite.
    for (int i = 0; i < 4; ++i) {
      world.now.mono = world.now.mono + seconds(11);
      world.settle();
    }
    work(14);
    // One commit of several frames.
    for (int i = 0; i < 12; ++i)
      world.append(stream, std::string(4000, static_cast<char>('a' + i)), audience);
    world.settle();
    work(3);
    files = world.disk.files;

    const Keys keys = *load_keys(world.disk, world.entropy, test_kek());
    for (const auto& [name, bytes] : files) {
      uint64_t id = 0;
      bool index = false;
      if (!parse_segment_name(name, &id, &index) || index) continue;
      const bool rewrite = decode_segment_header(bytes)->rewrite;
      if (rewrite) rewrites.insert(name);
      const auto scan = scan_segment(world.disk, keys, id, rewrite ? kRewriteAlignment : kPageBytes);
      visit_frames(
          world.disk, keys, id, *scan,
          [&](const SegmentScan::Found& found, const Result<std::string>& plain) {
            const auto frame = Frame::parse(*plain, Position::of(found.head.commit, found.head.first_index));
            for (const Record& record : (*frame)->records()) {
              extents[record.position.value] = {name, found.offset, found.offset + found.head.file_bytes()};
            }
            if (!files.contains(index_name(id)) && !(*frame)->records().empty()) active = name;
          });
    }
    EXPECT_TRUE(world.open());
    answer = ask(world);
  }
};

const Directory& directory() {
  static const Directory whole;
  return whole;
}

bool is_key_slot(const std::string& name) { return name == kKeySlotNames[0] || name == kKeySlotNames[1]; }

// Opens a directory of which `damaged` may be wrong, twice, and checks what must hold of any damage.
void expect_survived(const Files& files, const std::vector<Extent>& damaged) {
  World world;
  world.disk.files = files;
  const Result<> opened = world.open();
  if (!opened) {
    // Only keys may keep a store shut, and only both of them.
    const Code code = opened.error().code;
    EXPECT_TRUE(code == Code::kWrongKey || code == Code::kForeign || code == Code::kCorrupt ||
                code == Code::kUnsupported)
        << opened.error().text;
    for (const char* slot : kKeySlotNames) {
      EXPECT_TRUE(std::any_of(damaged.begin(), damaged.end(), [&](const Extent& extent) {
        return extent.file == slot;
      })) << opened.error().text;
    }
    return;
  }
  const Answer answer = ask(world);

  // Nothing is there that was not there.
  for (const auto& [position, payload] : answer.records) {
    const auto original = directory().answer.records.find(position);
    ASSERT_TRUE(original != directory().answer.records.end()) << "position " << position;
    ASSERT_EQ(payload, original->second);
  }
  // What was not touched is there; a touched frame of the last commit takes all of that commit with it.
  const auto touched = [&](const Extent& extent) {
    return std::any_of(damaged.begin(), damaged.end(), [&](const Extent& damage) {
      return damage.file == extent.file && damage.from < extent.to && extent.from < damage.to;
    });
  };
  const uint64_t commit_last = Position{directory().answer.records.rbegin()->first}.commit();
  bool last_touched = false;
  for (const auto& [position, extent] : directory().extents) {
    last_touched |= Position{position}.commit() == commit_last && touched(extent);
  }
  for (const auto& [position, extent] : directory().extents) {
    if (touched(extent) || (last_touched && Position{position}.commit() == commit_last)) continue;
    ASSERT_TRUE(answer.records.contains(position)) << "position " << position << " in " << extent.file;
  }
  // Rows stand in frames and again in indexes: one of the two is enough.
  const bool rows_at_risk = std::any_of(damaged.begin(), damaged.end(), [&](const Extent& damage) {
    return damage.file == directory().active || damage.to == UINT64_MAX;
  });
  if (!rows_at_risk) {
    EXPECT_EQ(answer.rows, directory().answer.rows);
  }

  // The same directory, opened, crashed and opened again, gives the same answer.
  World again;
  again.disk.files = files;
  ASSERT_TRUE(again.open());
  ASSERT_TRUE(again.open());
  EXPECT_EQ(ask(again), answer);
}

TEST(DamagedDirectory, HoldsWhatItsTestsNeed) {
  EXPECT_FALSE(directory().active.empty());
  EXPECT_FALSE(directory().rewrites.empty());
  EXPECT_EQ(directory().answer.records.size(), directory().extents.size());
  EXPECT_GT(directory().answer.records.size(), 80u);
  expect_survived(directory().files, {});
}

TEST(DamagedDirectory, AnyFileMayBeTruncatedAnywhere) {
  for (const auto& [name, bytes] : directory().files) {
    SCOPED_TRACE(name);
    // Short files at every few bytes, long ones around sectors. (Of a rewrite the header stays.)
    const size_t step = bytes.size() < 1000 ? 7 : 512;
    const size_t first = directory().rewrites.contains(name) ? kPageBytes : 0;
    for (size_t size = first; size < bytes.size(); size += step) {
      SCOPED_TRACE(size);
      Files files = directory().files;
      files[name].resize(size);
      expect_survived(files, {{name, size, UINT64_MAX - 1}});
    }
  }
}

TEST(DamagedDirectory, AnyBitMayFlip) {
  Prng prng(31);
  for (const auto& [name, bytes] : directory().files) {
    SCOPED_TRACE(name);
    const int rounds = is_key_slot(name) ? 20 : 60;
    for (int round = 0; round < rounds; ++round) {
      // Half of them where frames begin, so that heads are hit, and headers.
      uint64_t byte = prng.below(bytes.size());
      if (bytes.size() > kPageBytes && prng.chance(1, 2)) byte = byte / kPageBytes * kPageBytes + byte % 64;
      SCOPED_TRACE(byte);
      Files files = directory().files;
      files[name] = flip(bytes, byte * 8 + prng.below(8));
      expect_survived(files, {{name, byte, byte + 1}});
    }
  }
}

TEST(DamagedDirectory, ManyBitsMayFlipAtOnce) {
  Prng prng(32);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    Files files = directory().files;
    std::vector<Extent> damaged;
    for (uint64_t count = 1 + prng.below(20); count > 0; --count) {
      auto file = files.begin();
      std::advance(file, prng.below(files.size()));
      const uint64_t byte = prng.below(file->second.size());
      // A header is 8 KiB with one copy in each half: of a rewrite the first half stays.
      if (directory().rewrites.contains(file->first) && byte < kPageBytes) continue;
      file->second = flip(file->second, byte * 8 + prng.below(8));
      damaged.push_back({file->first, byte, byte + 1});
      // Rows that rotted in a frame and in the index are gone.
      damaged.push_back({"rows", 0, UINT64_MAX});
    }
    expect_survived(files, damaged);
  }
}

TEST(DamagedDirectory, AnyFileMayBeMissing) {
  for (const auto& [name, bytes] : directory().files) {
    SCOPED_TRACE(name);
    Files files = directory().files;
    files.erase(name);
    // The rows of a segment without a file are gone.
    expect_survived(files, {{name, 0, name.ends_with(".seg") ? UINT64_MAX : bytes.size()}});
  }
}

TEST(DamagedDirectory, AnyTwoPagesMayChangePlaces) {
  Prng prng(33);
  for (const auto& [name, bytes] : directory().files) {
    if (bytes.size() < 2 * kPageBytes) continue;
    SCOPED_TRACE(name);
    for (int round = 0; round < 25; ++round) {
      const uint64_t a = prng.below(bytes.size() / kPageBytes) * kPageBytes;
      const uint64_t b = prng.below(bytes.size() / kPageBytes) * kPageBytes;
      if (a == b) continue;
      SCOPED_TRACE(std::to_string(a) + " and " + std::to_string(b));
      Files files = directory().files;
      std::swap_ranges(files[name].begin() + static_cast<std::ptrdiff_t>(a),
                       files[name].begin() + static_cast<std::ptrdiff_t>(a + kPageBytes),
                       files[name].begin() + static_cast<std::ptrdiff_t>(b));
      expect_survived(files, {{name, a, a + kPageBytes}, {name, b, b + kPageBytes}});
    }
  }
}

TEST(DamagedDirectory, AnyPageMayBecomeZerosOrAnothersBytes) {
  Prng prng(34);
  for (const auto& [name, bytes] : directory().files) {
    if (bytes.size() < 2 * kPageBytes) continue;
    SCOPED_TRACE(name);
    for (uint64_t at = 0; at < bytes.size(); at += kPageBytes) {
      SCOPED_TRACE(at);
      Files files = directory().files;
      const uint64_t size = std::min<uint64_t>(kPageBytes, bytes.size() - at);
      std::string page(size, '\0');
      if (prng.chance(1, 2))
        page = directory().files.at(directory().active).substr(kSegmentHeaderBytes, size);
      files[name].replace(at, size, page);
      expect_survived(files, {{name, at, at + size}});
    }
  }
}

// A slot or index in the wrong place is not one; neither is a segment under another name.
TEST(DamagedDirectory, FilesMayTradeNames) {
  std::vector<std::string> names;
  for (const auto& [name, bytes] : directory().files) {
    if (!directory().rewrites.contains(name)) names.push_back(name);
  }
  for (size_t i = 0; i + 1 < names.size(); ++i) {
    SCOPED_TRACE(names[i] + " and " + names[i + 1]);
    Files files = directory().files;
    std::swap(files[names[i]], files[names[i + 1]]);
    expect_survived(files, {{names[i], 0, UINT64_MAX}, {names[i + 1], 0, UINT64_MAX}});
  }
}

TEST(DamagedDirectory, StrangersFilesAreLeftAlone) {
  Files files = directory().files;
  files["lost+found"] = "x";
  files["000000000000002a.seg.old"] = "x";
  files["notes.txt"] = "x";
  // A whole segment of another store.
  MemoryDisk other;
  other.files[segment_name(0x77)] = encode_segment_header(test_header()) + std::string(9000, 'x');
  files[segment_name(0x77)] = other.files[segment_name(0x77)];
  World world;
  world.disk.files = files;
  ASSERT_TRUE(world.open());
  EXPECT_EQ(ask(world).records, directory().answer.records);
  for (const std::string name : {"lost+found", "000000000000002a.seg.old", "notes.txt"}) {
    EXPECT_EQ(world.disk.files[name], "x");
  }
  EXPECT_EQ(world.disk.files[segment_name(0x77)], other.files[segment_name(0x77)]);
}

// --- The golden directory: docs/formats/store.md takes it apart byte by byte.

const char kGoldenPath[] = "tests/golden/store";

// Segment 1 is sealed, segment 2 was in use when the power went.
void write_golden(World& world) {
  ASSERT_TRUE(Store::create(world.disk, world.entropy, test_kek(), 42));
  world.options.segment_bytes_max = world.options.segment_bytes_min;
  ASSERT_TRUE(world.open());
  const StreamId stream = world.store->open_local_stream("s", 5, 60);
  const std::string audience = encode_audience({{world.store->create_reader(true), 1, false, {}}});
  world.append(stream, "one", audience);
  world.store->put(Table::kSession, "client", "state");
  world.settle();
  NewRecord record;
  record.stream = stream;
  record.topic = "t";
  record.payload = "two";
  record.headers = "h";
  record.qos = 2;
  record.retain = record.may_double = true;
  record.arrival = arrival_of(world.now);
  record.arrival.wall_us += 1500;
  record.arrival.mono_ns += 1'500'000;
  record.event_us = world.now.wall_us;
  record.expiry_s = 300;
  world.store->append(record);
  world.settle();
  // Rows until the segment is full: six commits, a page each.
  for (int i = 0; i < 6; ++i) {
    world.store->put(Table::kRetained, "topic", std::to_string(i));
    world.settle();
  }
  world.append(stream, "three", audience);
  world.store->erase(Table::kSession, "client");
  world.settle();
}

Files read_files(const std::string& path) {
  Files files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.path().filename().string().starts_with(".")) continue;
    std::ostringstream bytes;
    bytes << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    files[entry.path().filename().string()] = bytes.str();
  }
  return files;
}

// Goal: the format does not change unseen. Method: the same steps, the same entropy, the same bytes. After a
// change that is meant, HF_GOLDEN_WRITE=1 writes the files anew; the page of the format changes with them.
TEST(GoldenDirectory, IsWrittenAgainByteForByte) {
  World world;
  write_golden(world);
  if (std::getenv("HF_GOLDEN_WRITE") != nullptr) {
    for (const auto& [name, bytes] : world.disk.files) {
      std::ofstream(std::string(kGoldenPath) + "/" + name, std::ios::binary) << bytes;
    }
  }
  const Files golden = read_files(kGoldenPath);
  ASSERT_EQ(golden.size(), world.disk.files.size());
  for (const auto& [name, bytes] : golden) {
    ASSERT_TRUE(world.disk.files.contains(name)) << name;
    EXPECT_TRUE(world.disk.files[name] == bytes) << name;
  }
}

TEST(GoldenDirectory, OpensWithItsRecordsRowsAndReaders) {
  World world;
  world.disk.files = read_files(kGoldenPath);
  ASSERT_TRUE(world.open());
  EXPECT_EQ(world.store->store_id(), 42u);
  EXPECT_EQ(world.report.commit_last, 9u);
  EXPECT_EQ(world.report.segments, 2u);
  EXPECT_EQ(world.report.segments_scanned, 1u) << "segment 2 has no index yet";
  EXPECT_FALSE(world.report.tail_cut);
  EXPECT_FALSE(world.report.new_incarnation);
  EXPECT_EQ(world.store->get(Table::kSession, "client"), std::nullopt);
  const StreamInfo* stream = world.store->find_stream({world.store->incarnation(), "s"});
  ASSERT_NE(stream, nullptr);
  EXPECT_EQ(stream->sequence_last, 3u);
  EXPECT_EQ(stream->options, (StreamOptions{5, 60, ""}));
  ASSERT_NE(world.store->reader(1), nullptr);
  EXPECT_EQ(world.store->reader(1)->owed_count, 2u);
  const Answer answer = ask(world);
  EXPECT_EQ(answer.records, (std::map<uint64_t, std::string>{{Position::of(1, 0).value, "one"},
                                                             {Position::of(2, 0).value, "two"},
                                                             {Position::of(9, 0).value, "three"}}));
  world.settle();
  const Store::Fetch two = world.store->at(Position::of(2, 0), 1);
  ASSERT_EQ(two.status, Store::FetchStatus::kRecord);
  EXPECT_EQ(two.record->expiry_s, 300u);
  EXPECT_EQ(two.record->headers, "h");
  EXPECT_EQ(*two.record->event_us + 1500, two.record->arrival.wall_us);
}

}  // namespace
}  // namespace hf::store
