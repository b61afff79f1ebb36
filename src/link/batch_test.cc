// The codecs of the link: batches, HELLO, pairs, claims. Golden bytes fix the wire; round trips over random
// content show that nothing is lost; every prefix of a message is refused without harm.
#include "link/batch.h"

#include <gtest/gtest.h>

#include "base/prng.h"
#include "link/claim.h"
#include "link/hello.h"
#include "link/rows.h"
#include "mqtt/packet.h"
#include "store/memory_disk.h"

namespace hf::link {
namespace {

// Owns the bytes that records borrow.
struct Made {
  std::vector<std::string> kept;
  std::vector<Section> sections;

  Bytes keep(std::string text) {
    kept.reserve(100'000);
    return kept.emplace_back(std::move(text));
  }
};

Section golden_section() {
  Section section;
  section.key = {0x1122334455667788, "telemetry"};
  section.origin = "engine";
  section.priority = 5;
  section.time_to_live_s = 60;
  section.first = 7;
  section.last = 10;
  section.absent = {{8, 1, static_cast<uint8_t>(store::GapCause::kExpired)}, {9, 1, kNotRouted}};
  BatchRecord record;
  record.sequence = 7;
  record.topic = "t/1";
  record.payload = "hello";
  record.qos = 1;
  record.arrival = {1'000'000, 5'000'000'000, ClockQuality::kNtp, {1, 2}};
  section.records.push_back(record);
  record.sequence = 10;
  record.payload = "world";
  record.qos = 2;
  record.retain = true;
  record.may_double = true;
  record.arrival.wall_us += 3'000;
  record.arrival.mono_ns += 3'000'500;
  record.event_us = 1'002'999;
  record.expiry_s = 30;
  section.records.push_back(record);
  return section;
}

TEST(Batch, HasTheseBytes) {
  BatchCodec codec;
  std::string bytes;
  uint64_t plain_size = 0;
  codec.encode({golden_section()}, false, &bytes, &plain_size);
  EXPECT_EQ(plain_size, bytes.size());
  EXPECT_EQ(to_hex(Bytes(bytes)),
            "01"                    // format
            "00"                    // flags
            "01"                    // sections
            "8877665544332211"      // incarnation
            "0974656c656d65747279"  // name
            "06656e67696e65"        // origin
            "05"                    // priority
            "3c"                    // time to live
            "0703"                  // first, last - first
            "02"
            "010103"
            "000100"  // runs: distance, count, cause
            "01"
            "00"
            "03742f31"  // record 7: flags, topic 0 (new)
            "05"
            "00"
            "0100000000000000"
            "0200000000000000"  // clock: quality, boot 0 (new)
            "80c8afa025"
            "ffa3e803"  // mono: 5 s; wall: 1 s, less 5 s
            "0568656c6c6f"
            "be"
            "00"  // record 10: QoS 2, retain, may double, event, expiry, clock as before
            "e8a2ee02"
            "00"  // mono 3.0005 ms; wall as expected
            "01"  // event: 1 us before wall
            "1e"  // expiry
            "05776f726c64");
  const auto sections = codec.decode(bytes);
  ASSERT_TRUE(sections) << sections.error().text;
  ASSERT_EQ(sections->size(), 1u);
  EXPECT_EQ(sections->front(), golden_section());
}

Made random_batch(Prng& prng) {
  Made made;
  const auto text = [&](uint64_t size_max) {
    std::string bytes(prng.below(size_max + 1), '\0');
    for (char& c : bytes) c = static_cast<char>(prng.next());
    return made.keep(std::move(bytes));
  };
  mqtt::Properties properties;
  properties.content_type = "application/json";
  properties.user_properties.push_back({"n", "v"});
  std::string headers;
  mqtt::encode_properties(headers, properties);
  const Bytes kept_headers = made.keep(headers);
  const uint64_t section_count = prng.below(5);
  for (uint64_t i = 0; i < section_count; ++i) {
    Section section;
    section.key = {prng.next(), "stream-" + std::to_string(i)};
    if (prng.chance(1, 2)) section.origin = "ship/engine";
    section.priority = static_cast<uint8_t>(prng.below(10));
    section.time_to_live_s = static_cast<uint32_t>(prng.next());
    uint64_t sequence = section.first = 1 + prng.below(1u << 30);
    const uint64_t record_count = 1 + prng.below(20);
    for (uint64_t j = 0; j < record_count; ++j) {
      while (prng.chance(1, 3)) {
        AbsentRun run{sequence, 1 + prng.below(1000), static_cast<uint8_t>(prng.below(7))};
        section.absent.push_back(run);
        sequence += run.count;
      }
      BatchRecord record;
      record.sequence = sequence++;
      record.topic = made.keep("topic/" + std::to_string(prng.below(4)));
      if (prng.chance(1, 3)) record.headers = kept_headers;
      record.payload = text(100);
      record.qos = static_cast<uint8_t>(prng.below(3));
      record.retain = prng.chance(1, 2);
      record.may_double = prng.chance(1, 9);
      record.arrival.wall_us =
          static_cast<int64_t>(prng.chance(1, 5) ? prng.next() : 1'700'000'000'000'000 + prng.below(1000));
      record.arrival.mono_ns = prng.chance(1, 5) ? prng.next() : prng.below(1'000'000);
      record.arrival.quality = static_cast<ClockQuality>(prng.below(7));
      record.arrival.boot = {prng.below(2), 5};
      if (prng.chance(1, 3)) record.event_us = static_cast<int64_t>(prng.next());
      if (prng.chance(1, 3)) record.expiry_s = static_cast<uint32_t>(prng.next());
      section.records.push_back(record);
    }
    section.last = sequence - 1;
    made.sections.push_back(std::move(section));
  }
  return made;
}

TEST(Batch, ComesBackAsItWas) {
  Prng prng(1);
  BatchCodec encoder;
  BatchCodec decoder;
  for (int i = 0; i < 500; ++i) {
    const Made made = random_batch(prng);
    std::string bytes;
    uint64_t plain_size = 0;
    encoder.encode(made.sections, i % 2 == 0, &bytes, &plain_size);
    EXPECT_LE(bytes.size(), plain_size);
    const auto sections = decoder.decode(bytes);
    ASSERT_TRUE(sections) << sections.error().text;
    EXPECT_EQ(*sections, made.sections);
  }
}

TEST(Batch, EveryPrefixFailsCleanly) {
  Prng prng(2);
  BatchCodec codec;
  for (int i = 0; i < 20; ++i) {
    const Made made = random_batch(prng);
    std::string bytes;
    uint64_t plain_size = 0;
    codec.encode(made.sections, i % 2 == 0, &bytes, &plain_size);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const std::string prefix = bytes.substr(0, size);
      EXPECT_FALSE(codec.decode(prefix)) << size << " of " << bytes.size();
    }
    EXPECT_FALSE(codec.decode(bytes + "x"));
  }
}

TEST(Batch, DamageIsRefusedOrDecodes) {
  Prng prng(3);
  BatchCodec codec;
  for (int i = 0; i < 2000; ++i) {
    const Made made = random_batch(prng);
    std::string bytes;
    uint64_t plain_size = 0;
    codec.encode(made.sections, i % 2 == 0, &bytes, &plain_size);
    for (uint64_t flips = 1 + prng.below(3); flips > 0; --flips) {
      bytes[prng.below(bytes.size())] = static_cast<char>(prng.next());
    }
    (void)codec.decode(bytes);
  }
}

// What a section must not say, each refused for its own reason.
TEST(Batch, RefusesWhatBreaksItsGrammar) {
  BatchCodec codec;
  const auto refused = [&](auto change) {
    Section section = golden_section();
    change(section);
    std::string bytes;
    uint64_t plain_size = 0;
    codec.encode({section}, false, &bytes, &plain_size);
    return !codec.decode(bytes);
  };
  EXPECT_FALSE(refused([](Section&) {}));
  EXPECT_TRUE(refused([](Section& s) { s.priority = 10; }));
  EXPECT_TRUE(refused([](Section& s) { s.origin = "a//b"; }));
  EXPECT_TRUE(refused([](Section& s) { s.origin = ".."; }));
  EXPECT_TRUE(refused([](Section& s) { s.first = 0; }));
  EXPECT_TRUE(refused([](Section& s) { s.absent[1].cause = 7; }));
  EXPECT_TRUE(refused([](Section& s) { s.absent[1].count = 2; }));  // The last number must be a record.
  EXPECT_TRUE(refused([](Section& s) { s.records[0].topic = "a/#"; }));
  EXPECT_TRUE(refused([](Section& s) { s.records[0].topic = "$hf/batch"; }));
  EXPECT_TRUE(refused([](Section& s) { s.records[0].headers = "x"; }));
  EXPECT_TRUE(refused([](Section& s) { s.records[0].qos = 3; }));
  Section twice = golden_section();
  std::string bytes;
  uint64_t plain_size = 0;
  codec.encode({twice, twice}, false, &bytes, &plain_size);
  EXPECT_FALSE(codec.decode(bytes));
  // A compressed size that lies.
  EXPECT_FALSE(codec.decode(std::string("\x01\x01\xff\xff\xff\xff\x0f", 7)));
}

TEST(Hello, HasTheseBytes) {
  Hello hello;
  hello.features = kFeatureZstd;
  hello.name = "ship-7";
  hello.store_id = 1;
  hello.incarnation = 2;
  hello.wall_us = -1;
  hello.quality = ClockQuality::kRtc;
  hello.marks = {{{3, "b"}, 300, 4}, {{3, "a"}, 1, 5}};
  const std::string bytes = encode_hello(hello);
  EXPECT_EQ(to_hex(Bytes(bytes)),
            "01"
            "01"
            "01"
            "01"
            "06736869702d37"
            "0100000000000000"
            "0200000000000000"
            "01"
            "02"
            "02"
            "0300000000000000"
            "0161"
            "01"
            "0500000000000000"
            "0300000000000000"
            "0162"
            "ac02"
            "0400000000000000");
  const Result<Hello> back = decode_hello(bytes);
  ASSERT_TRUE(back);
  std::swap(hello.marks[0], hello.marks[1]);
  EXPECT_EQ(*back, hello);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_hello(Bytes(bytes).substr(0, size)));
  EXPECT_FALSE(decode_hello(bytes + "x"));
}

TEST(Hello, RefusesDisorderAndEmptyMarks) {
  Hello hello;
  hello.name = "a";
  hello.marks = {{{1, "a"}, 0, 0}};
  EXPECT_FALSE(decode_hello(encode_hello(hello)));
  hello.marks = {{{1, "a"}, 1, 0}, {{1, "a"}, 2, 0}};
  EXPECT_FALSE(decode_hello(encode_hello(hello)));
  hello.marks.clear();
  hello.name = "^";
  EXPECT_FALSE(decode_hello(encode_hello(hello)));
}

TEST(PairsMessage, ComesBackAndEveryPrefixFails) {
  PairsMessage message;
  message.key = {7, "telemetry"};
  EXPECT_EQ(to_hex(Bytes(encode_pairs(message))),
            "0100"
            "0700000000000000"
            "0974656c656d65747279");
  EXPECT_EQ(*decode_pairs(encode_pairs(message)), message);
  message.answer = true;
  message.pairs = {{5, 1}, {300, 2}};
  const std::string bytes = encode_pairs(message);
  EXPECT_EQ(*decode_pairs(bytes), message);
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_pairs(Bytes(bytes).substr(0, size)));
  message.single = true;
  const std::string hashes = encode_pairs(message);
  EXPECT_EQ(to_hex(Bytes(hashes)),
            "0103"
            "0700000000000000"
            "0974656c656d65747279"
            "02"
            "050100000000000000"
            "a7020200000000000000");
  EXPECT_EQ(*decode_pairs(hashes), message);
  message.answer = false;
  message.pairs = {{5, 0}, {300, 0}};
  const std::string question = encode_pairs(message);
  EXPECT_EQ(to_hex(Bytes(question)),
            "0102"
            "0700000000000000"
            "0974656c656d65747279"
            "02"
            "05"
            "a702");
  EXPECT_EQ(*decode_pairs(question), message);
  for (const std::string& each : {hashes, question}) {
    for (size_t size = 0; size < each.size(); ++size) EXPECT_FALSE(decode_pairs(Bytes(each).substr(0, size)));
    EXPECT_FALSE(decode_pairs(each + "x"));
  }
  for (uint64_t i = 0; i <= kHashesMax; ++i) message.pairs.push_back({301 + i, 0});
  EXPECT_FALSE(decode_pairs(encode_pairs(message)));
  message = {};
  message.answer = true;
  message.pairs = {{5, 1}, {5, 2}};
  EXPECT_FALSE(decode_pairs(encode_pairs(message)));
}

TEST(RecordHash, CoversWhatTheOriginGave) {
  const store::Arrival arrival{1, 2, ClockQuality::kNtp, {3, 4}};
  const uint64_t hash = record_hash(1, arrival, "t", "h", "p");
  EXPECT_EQ(to_hex(hash), "716f07973e3be6dd");
  EXPECT_NE(hash, record_hash(2, arrival, "t", "h", "p"));
  EXPECT_NE(hash, record_hash(1, arrival, "th", "", "p"));
  EXPECT_NE(hash, record_hash(1, arrival, "t", "h", "q"));
  store::Arrival other = arrival;
  other.boot.low = 5;
  EXPECT_NE(hash, record_hash(1, other, "t", "h", "p"));
}

TEST(Claim, ComesBackAndSaysWhatIsWrong) {
  store::TestEntropy entropy;
  Claim claim{"ship-7", 0x0123456789abcdef, draw_secret(entropy), "hub.example:1883"};
  EXPECT_EQ(claim.token.size(), 64u);
  const std::string text = encode_claim(claim);
  ASSERT_TRUE(parse_claim(text));
  EXPECT_EQ(*parse_claim(text), claim);
  std::string windows;
  for (const char c : text) windows += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_EQ(*parse_claim(windows), claim);
  EXPECT_FALSE(parse_claim(""));
  EXPECT_FALSE(parse_claim("node: x\n"));
  EXPECT_FALSE(parse_claim("holdfast-claim: 2\n"));
  EXPECT_FALSE(parse_claim("holdfast-claim: 1\nnode: x\nparent: 0123456789abcdef\ntoken: 12\n"));
  for (size_t size = 0; size < text.size(); ++size) (void)parse_claim(Bytes(text).substr(0, size));
  EXPECT_EQ(*decode_claim_message(encode_claim_message(claim.token)), claim.token);
  EXPECT_FALSE(decode_claim_message(encode_claim_message("short")));
}

TEST(Names, AreChecked) {
  for (const char* good : {"a", "ship-7", "a.b_c", "0"}) EXPECT_TRUE(node_name_valid(good)) << good;
  for (const char* bad : {"", "^", "a/b", ".", ".a", "a b", "\xc3\xa4"})
    EXPECT_FALSE(node_name_valid(bad)) << bad;
  EXPECT_TRUE(origin_valid("", false));
  EXPECT_TRUE(origin_valid("a/b", false));
  EXPECT_FALSE(origin_valid("^/b", false));
  EXPECT_TRUE(origin_valid("^/b", true));
  EXPECT_FALSE(origin_valid("a/", true));
}

}  // namespace
}  // namespace hf::link
