// The plaintext of a frame: its golden bytes, and that what one build wrote any build reads, or refuses.
#include "store/frame.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/prng.h"

namespace hf::store {
namespace {

std::string hex(Bytes text) {
  std::string digits(text);
  std::erase(digits, ' ');
  return from_hex(digits);
}

// From a buffer of its own size, so that a sanitizer sees a read past its end.
Result<std::shared_ptr<const Frame>> parse(Bytes plain, Position first) {
  std::string copy(plain);
  copy.shrink_to_fit();
  return Frame::parse(std::move(copy), first);
}

// A NewRecord with the bytes that it borrows.
struct OwnedRecord {
  NewRecord record;
  std::string topic;
  std::string headers;
  std::string payload;
  std::string audience;
  Position position;

  NewRecord view() const {
    NewRecord out = record;
    out.topic = topic;
    out.headers = headers;
    out.payload = payload;
    out.audience = audience;
    return out;
  }
};

std::string random_bytes(Prng& prng, uint64_t size_max) {
  std::string bytes(prng.below(size_max + 1), '\0');
  for (char& c : bytes) c = static_cast<char>(prng.next());
  return bytes;
}

struct Random {
  StreamKey keys[4];
  StreamOptions options[4];
  std::vector<OwnedRecord> records;
  std::vector<std::tuple<Table, bool, std::string, std::string>> rows;
  std::string plain;
  FrameBuilder builder{Position::of(9, 4)};
};

// A frame of random records and rows, a few topics, streams, audiences and boots between them.
Random random_frame(Prng& prng) {
  Random frame;
  for (int i = 0; i < 4; ++i) {
    frame.keys[i] = {prng.next(), random_bytes(prng, 5)};
    frame.options[i] = {static_cast<uint8_t>(prng.below(10)), static_cast<uint32_t>(prng.next()),
                        random_bytes(prng, 5)};
  }
  Position position = Position::of(9, 4);
  for (uint64_t count = prng.below(20); count > 0; --count) {
    if (prng.chance(1, 4)) {
      const auto table = static_cast<Table>(1 + prng.below(kTableMax));
      const bool erased = prng.chance(1, 3);
      const std::string key = random_bytes(prng, 9);
      const std::string value = erased ? "" : random_bytes(prng, 9);
      frame.rows.emplace_back(table, erased, key, value);
      if (erased) {
        frame.builder.erase(table, key);
      } else {
        frame.builder.put(table, key, value);
      }
      continue;
    }
    OwnedRecord owned;
    NewRecord& record = owned.record;
    record.stream = static_cast<StreamId>(prng.below(4));
    record.sequence = prng.next() >> prng.below(64);
    record.qos = static_cast<uint8_t>(prng.below(3));
    record.retain = prng.chance(1, 2);
    record.may_double = prng.chance(1, 2);
    record.arrival.wall_us = static_cast<int64_t>(prng.next() >> 3) - (int64_t{1} << 60);
    record.arrival.mono_ns = prng.next();
    record.arrival.quality = static_cast<ClockQuality>(prng.below(7));
    record.arrival.boot = {prng.below(2), 7};
    if (prng.chance(1, 2)) record.event_us = static_cast<int64_t>(prng.next() >> 3);
    if (prng.chance(1, 2)) record.expiry_s = static_cast<uint32_t>(prng.next());
    owned.topic = std::string(1, static_cast<char>('a' + prng.below(3)));
    if (prng.chance(1, 2)) owned.headers = random_bytes(prng, 20);
    owned.payload = random_bytes(prng, 300);
    if (prng.chance(2, 3)) owned.audience = encode_audience({{1 + prng.below(3)}, {9, 1, true, {4}}});
    if (prng.chance(1, 5)) position = Position::of(position.commit() + prng.below(3), position.index() + 7);
    owned.position = position;
    frame.builder.add(position, owned.view(), frame.keys[record.stream], frame.options[record.stream]);
    position = Position::of(position.commit(), position.index() + 1);
    frame.records.push_back(std::move(owned));
  }
  return frame;
}

void expect_equal(const Record& got, const OwnedRecord& wanted) {
  EXPECT_EQ(got.position, wanted.position);
  EXPECT_EQ(got.stream, wanted.record.stream);
  EXPECT_EQ(got.sequence, wanted.record.sequence);
  EXPECT_EQ(got.topic, wanted.topic);
  EXPECT_EQ(got.headers, wanted.headers);
  EXPECT_EQ(got.payload, wanted.payload);
  EXPECT_EQ(got.audience, wanted.audience);
  EXPECT_EQ(got.qos, wanted.record.qos);
  EXPECT_EQ(got.retain, wanted.record.retain);
  EXPECT_EQ(got.may_double, wanted.record.may_double);
  EXPECT_EQ(got.arrival, wanted.record.arrival);
  EXPECT_EQ(got.event_us, wanted.record.event_us);
  EXPECT_EQ(got.expiry_s, wanted.record.expiry_s);
}

// Goal: the bytes of the grammar, every op and every optional field. Method: written out by hand from
// docs/formats/store.md.
TEST(Frame, GoldenBytes) {
  const StreamKey key{0x0102030405060708, "s"};
  const StreamOptions options{5, 60, ""};
  const std::string audience = encode_audience({{5, 1, false, {}}});
  NewRecord record;
  record.stream = 7;
  record.sequence = 41;
  record.topic = "a/b";
  record.payload = "one";
  record.qos = 1;
  record.arrival = {1000, 2000, ClockQuality::kNtp, {1, 2}};
  record.audience = audience;
  FrameBuilder builder(Position::of(5, 0));
  builder.add(Position::of(5, 0), record, key, options);
  record.sequence = 42;
  record.payload = "two";
  record.headers = "h";
  record.qos = 2;
  record.retain = record.may_double = true;
  record.arrival.wall_us = 1500;
  record.arrival.mono_ns = 2600;
  record.event_us = 1400;
  record.expiry_s = 300;
  record.audience = {};
  builder.add(Position::of(5, 1), record, key, options);
  record.sequence = 43;
  record.topic = "c";
  record.payload = "three";
  record.headers = {};
  record.qos = 1;
  record.retain = record.may_double = false;
  record.event_us.reset();
  record.expiry_s.reset();
  builder.add(Position::of(5, 9), record, key, options);
  builder.put(Table::kSession, "k", "v");
  builder.erase(Table::kMark, "m");
  EXPECT_EQ(builder.record_count(), 3u);
  EXPECT_EQ(builder.first(), Position::of(5, 0));
  EXPECT_EQ(builder.last(), Position::of(5, 9));

  const std::string golden =
      hex("01 03 612f62"                           // topic 0: "a/b"
          "02 07 0807060504030201 01 73 00 05 3c"  // stream 0: id 7, incarnation, "s", no origin, 5, 60 s
          "03 02 0501"                             // audience 1: reader 5, QoS 1
          "04 0100000000000000 0200000000000000"   // boot 0
          "06 01 00 00 01 00 05 52 d00f a01f 03 6f6e65"                  // the first record
          "06 7e 00 00 00 00 05 02 e807 b009 c701 ac02 01 68 03 74776f"  // the second, with everything
          "01 01 63"                                                     // topic 1: "c"
          "05 05 09"                                                     // commit 5, index 9
          "06 01 00 01 00 00 05 02 00 00 05 7468726565"                  // the third
          "07 05 01 6b 01 76"                                            // put
          "08 0d 01 6d");                                                // erase
  const std::string plain = builder.take();
  EXPECT_EQ(to_hex(plain), to_hex(golden));

  const auto frame = parse(golden, Position::of(5, 0));
  ASSERT_TRUE(frame);
  const std::vector<Record>& records = (*frame)->records();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].payload, "one");
  EXPECT_EQ(records[0].audience, audience);
  EXPECT_EQ(records[1].sequence, 42u);
  EXPECT_EQ(records[1].event_us, 1400);
  EXPECT_EQ(records[1].expiry_s, 300u);
  EXPECT_EQ(records[1].headers, "h");
  EXPECT_EQ(records[2].position, Position::of(5, 9));
  EXPECT_EQ(records[2].topic, "c");
  EXPECT_EQ(records[2].arrival, record.arrival);
  ASSERT_EQ((*frame)->rows().size(), 2u);
  EXPECT_EQ((*frame)->rows()[0].value, "v");
  EXPECT_TRUE((*frame)->rows()[1].erased);
  ASSERT_EQ((*frame)->streams().size(), 1u);
  EXPECT_EQ((*frame)->streams()[0].key, key);
  EXPECT_EQ((*frame)->streams()[0].options, options);
}

TEST(Frame, EmptyFrameIsAMark) {
  FrameBuilder builder(Position::of(5, 0));
  EXPECT_EQ(builder.take(), "");
  const auto frame = parse("", Position::of(5, 0));
  ASSERT_TRUE(frame);
  EXPECT_TRUE((*frame)->records().empty());
}

TEST(Frame, RandomContentComesBack) {
  Prng prng(11);
  for (int round = 0; round < 500; ++round) {
    Random random = random_frame(prng);
    const auto shares = random.builder.shares();
    const auto streams = random.builder.streams();
    const auto frame = parse(random.builder.take(), Position::of(9, 4));
    ASSERT_TRUE(frame);
    const std::vector<Record>& records = (*frame)->records();
    ASSERT_EQ(records.size(), random.records.size());
    std::map<ReaderId, Share> owed;
    std::map<StreamId, uint64_t> last;
    for (size_t i = 0; i < records.size(); ++i) {
      SCOPED_TRACE(i);
      expect_equal(records[i], random.records[i]);
      for_each_member(records[i].audience, [&](const Member& member) {
        ++owed[member.reader].count;
        owed[member.reader].bytes += records[i].size_bytes();
        return true;
      });
      last[records[i].stream] = records[i].sequence;
    }
    ASSERT_EQ(shares.size(), owed.size());
    for (const auto& [reader, share] : owed) {
      EXPECT_EQ(shares.at(reader).count, share.count);
      EXPECT_EQ(shares.at(reader).bytes, share.bytes);
    }
    for (const auto& [stream, sequence] : last) EXPECT_EQ(streams.at(stream).last, sequence);
    for (const StreamDefinition& stream : (*frame)->streams()) {
      EXPECT_EQ(stream.key, random.keys[stream.id]);
      EXPECT_EQ(stream.options, random.options[stream.id]);
    }
    ASSERT_EQ((*frame)->rows().size(), random.rows.size());
    for (size_t i = 0; i < random.rows.size(); ++i) {
      const RowOp& row = (*frame)->rows()[i];
      EXPECT_EQ(std::tuple(row.table, row.erased, std::string(row.key), std::string(row.value)),
                random.rows[i]);
    }
  }
}

TEST(Frame, TopicsStreamsAudiencesAndBootsStandOnceAFrame) {
  FrameBuilder builder(Position::of(1, 0));
  const std::string audience = encode_audience({{1}});
  NewRecord record;
  record.stream = 1;
  record.topic = "a long topic that would cost its length again and again";
  record.audience = audience;
  size_t first = 0;
  for (uint32_t i = 0; i < 10; ++i) {
    record.sequence = i + 1;
    builder.add(Position::of(1, i), record, {1, "s"}, {});
    if (i == 0) first = builder.size();
  }
  EXPECT_GT(first, record.topic.size());
  EXPECT_EQ(builder.size(), first + 9 * 11) << "eleven bytes for a record without a payload";
}

TEST(Frame, UpperBoundFindsTheFirstRecordBehindAPosition) {
  FrameBuilder builder(Position::of(3, 2));
  NewRecord record;
  record.stream = 1;
  record.sequence = 1;
  for (const uint32_t index : {2u, 3u, 8u}) builder.add(Position::of(3, index), record, {1, "s"}, {});
  const auto frame = parse(builder.take(), Position::of(3, 2));
  ASSERT_TRUE(frame);
  EXPECT_EQ((*frame)->upper_bound({}), 0u);
  EXPECT_EQ((*frame)->upper_bound(Position::of(3, 2)), 1u);
  EXPECT_EQ((*frame)->upper_bound(Position::of(3, 5)), 2u);
  EXPECT_EQ((*frame)->upper_bound(Position::of(3, 8)), 3u);
}

TEST(Frame, EveryPrefixFailsOrEndsBetweenTwoOps) {
  Prng prng(12);
  for (int round = 0; round < 30; ++round) {
    Random random = random_frame(prng);
    const std::string plain = random.builder.take();
    size_t whole = 0;
    for (size_t size = 0; size < plain.size(); ++size) {
      const auto frame = parse(Bytes(plain).substr(0, size), Position::of(9, 4));
      if (!frame) {
        EXPECT_EQ(frame.error().code, Code::kCorrupt);
        continue;
      }
      ++whole;
      ASSERT_LE((*frame)->records().size(), random.records.size());
      for (size_t i = 0; i < (*frame)->records().size(); ++i) {
        expect_equal((*frame)->records()[i], random.records[i]);
      }
    }
    EXPECT_LE(whole, 1 + 6 * (random.records.size() + random.rows.size()));
  }
}

// The tag of the frame keeps such bytes away; here they only must not hurt.
TEST(Frame, EveryFlippedBitIsRefusedOrParsesIntoWhatCanBeVisited) {
  Prng prng(13);
  for (int round = 0; round < 5; ++round) {
    const std::string plain = random_frame(prng).builder.take();
    for (size_t bit = 0; bit < plain.size() * 8; ++bit) {
      std::string flipped = plain;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      const auto frame = parse(flipped, Position::of(9, 4));
      if (!frame) continue;
      uint64_t seen = 0;
      for (const Record& record : (*frame)->records()) {
        seen += record.size_bytes();
        for_each_member(record.audience, [&](const Member& member) {
          seen += member.reader;
          return true;
        });
      }
      for (const RowOp& row : (*frame)->rows()) {
        seen += row.key.size() + row.value.size();
        EXPECT_STRNE(table_name(row.table), "unknown");
      }
      EXPECT_GE((*frame)->memory_bytes() + seen, plain.size());
    }
  }
}

TEST(Frame, NumbersThatWereNeverDefinedAreRefused) {
  const std::string topic = hex("01 01 74");
  const std::string stream = hex("02 01 0000000000000000 01 73 00 05 00");
  const std::string boot = hex("04 0000000000000000 0000000000000000");
  const std::string record = hex("06 00 00 00 00 00 00 02 00 00 00");
  EXPECT_TRUE(parse(topic + stream + boot + record, {}));
  EXPECT_FALSE(parse(stream + boot + record, {}));
  EXPECT_FALSE(parse(topic + boot + record, {}));
  EXPECT_FALSE(parse(topic + stream + record, {}));
  EXPECT_FALSE(parse(topic + stream + boot + hex("06 00 00 00 01 00 00 02 00 00 00"), {})) << "audience 1";
  EXPECT_FALSE(parse(topic + stream + boot + hex("06 03 00 00 00 00 00 02 00 00 00"), {})) << "QoS 3";
  EXPECT_FALSE(parse(hex("00"), {})) << "no such op";
  EXPECT_FALSE(parse(hex("09"), {})) << "no such op";
  EXPECT_FALSE(parse(hex("07 00 00 00"), {})) << "table 0";
  EXPECT_FALSE(parse(hex("07 13 00 00"), {})) << "table 19";
  EXPECT_FALSE(parse(hex("01 80 00"), {})) << "a varint that is longer than it needs to be";
}

}  // namespace
}  // namespace hf::store
