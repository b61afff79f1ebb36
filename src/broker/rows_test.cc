// The rows' bytes: golden for each, and every prefix of each fails cleanly or reads as a shorter payload.
#include "broker/rows.h"

#include <gtest/gtest.h>

#include "broker/gate.h"
#include "broker/headers.h"
#include "broker/inflight.h"

namespace hf::broker {
namespace {

const store::Arrival kStamp{.wall_us = 1, .mono_ns = 300, .quality = ClockQuality::kNtp, .boot = {2, 3}};
constexpr const char* kStampHex =
    "02ac02050200000000000000"
    "0300000000000000";

// A delivery and its lease, as they stand in one row.
struct Delivery {
  Outbound outbound;
  Lease lease;
};
std::string encode(const Delivery& row) { return encode(row.outbound, row.lease); }
bool decode(Bytes bytes, Delivery* row) { return decode(bytes, &row->outbound, &row->lease); }

template <typename Row>
void expect_golden(const Row& row, const std::string& hex) {
  const std::string bytes = encode(row);
  EXPECT_EQ(to_hex(bytes), hex);
  Row back;
  ASSERT_TRUE(decode(bytes, &back));
  EXPECT_EQ(encode(back), bytes);
  std::string newer = bytes;
  newer[0] = 2;
  EXPECT_FALSE(decode(newer, &back));
}

template <typename Row>
void expect_prefixes_fail(const Row& row) {
  const std::string bytes = encode(row);
  for (size_t size = 0; size < bytes.size(); ++size) {
    Row back;
    EXPECT_FALSE(decode(Bytes(bytes).substr(0, size), &back)) << size;
  }
}

TEST(Rows, Session) {
  const SessionRow row{
      .connected = true, .v5 = true, .number = 7, .expiry_s = 3600, .reader = 9, .stamp = kStamp};
  expect_golden(row, std::string("010307901c09") + kStampHex);
  expect_prefixes_fail(row);
  SessionRow back;
  EXPECT_TRUE(decode(encode(row), &back));
  EXPECT_EQ(back, row);
}

TEST(Rows, UserOfSessionWillAndRetainedMessage) {
  const SessionRow session{.number = 7, .expiry_s = 1, .reader = 9, .stamp = kStamp, .user = "al"};
  expect_golden(session, std::string("0104070109") + kStampHex + "02616c");
  expect_prefixes_fail(session);
  const WillRow will{.qos = 1, .user = "al", .topic = "t", .payload = "x"};
  expect_golden(will, "01210002616c01740078");
  WillRow will_back;
  ASSERT_TRUE(decode(encode(will), &will_back));
  EXPECT_EQ(will_back, will);
  const RetainedRow retained{.arrival = kStamp, .user = "al", .publisher = "p", .payload = "x"};
  expect_golden(retained, std::string("0120") + kStampHex + "02616c01700078");
  RetainedRow retained_back;
  const std::string bytes = encode(retained);
  ASSERT_TRUE(decode(bytes, &retained_back));
  EXPECT_EQ(retained_back, retained);
}

// Rows from before the flag have none: their users are in the list, or nowhere.
TEST(Rows, UserWhomACertificateNamed) {
  const SessionRow session{
      .number = 7, .expiry_s = 1, .reader = 9, .stamp = kStamp, .user = "al", .by_certificate = true};
  expect_golden(session, std::string("010c070109") + kStampHex + "02616c");
  expect_prefixes_fail(session);
  SessionRow session_back;
  ASSERT_TRUE(decode(encode(session), &session_back));
  EXPECT_EQ(session_back, session);
  ASSERT_TRUE(decode(from_hex(std::string("0104070109") + kStampHex + "02616c"), &session_back));
  EXPECT_FALSE(session_back.by_certificate);
  const WillRow will{.qos = 1, .user = "al", .by_certificate = true, .topic = "t", .payload = "x"};
  expect_golden(will, "01610002616c01740078");
  WillRow will_back;
  ASSERT_TRUE(decode(encode(will), &will_back));
  EXPECT_EQ(will_back, will);
  ASSERT_TRUE(decode(from_hex("01210002616c01740078"), &will_back));
  EXPECT_FALSE(will_back.by_certificate);
  const RetainedRow retained{
      .arrival = kStamp, .user = "al", .by_certificate = true, .publisher = "p", .payload = "x"};
  expect_golden(retained, std::string("0160") + kStampHex + "02616c01700078");
  RetainedRow retained_back;
  const std::string bytes = encode(retained);
  ASSERT_TRUE(decode(bytes, &retained_back));
  EXPECT_EQ(retained_back, retained);
  const std::string before = from_hex(std::string("0120") + kStampHex + "02616c01700078");
  ASSERT_TRUE(decode(before, &retained_back));
  EXPECT_FALSE(retained_back.by_certificate);
}

TEST(Rows, Subscription) {
  const SubscriptionRow row{.options = {.qos = 2,
                                        .no_local = true,
                                        .retain_as_published = true,
                                        .retain_handling = 2,
                                        .identifier = 300},
                            .retained_owed = true};
  expect_golden(row, "016eac02");
  expect_prefixes_fail(row);
  EXPECT_EQ(to_hex(subscription_key(7, "a/#")), "0000000000000007612f23");
}

TEST(Rows, Retained) {
  const RetainedRow row{.qos = 1,
                        .arrival = kStamp,
                        .expiry_s = 60,
                        .event_us = -2,
                        .publisher = "p",
                        .headers = "hh",
                        .payload = "xyz"};
  expect_golden(row, std::string("010d") + kStampHex +
                         "3c03"
                         "0170"
                         "026868"
                         "78797a");
  RetainedRow back;
  const std::string bytes = encode(row);
  ASSERT_TRUE(decode(bytes, &back));
  EXPECT_EQ(back, row);
  for (size_t size = 0; size + 3 < bytes.size(); ++size)
    EXPECT_FALSE(decode(Bytes(bytes).substr(0, size), &back)) << size;
}

TEST(Rows, Will) {
  const WillRow row{.qos = 2, .retain = true, .delay_s = 5, .topic = "t", .headers = "", .payload = "bye"};
  expect_golden(row,
                "0112050174"
                "00"
                "627965");
  WillRow back;
  ASSERT_TRUE(decode(encode(row), &back));
  EXPECT_EQ(back, row);
}

TEST(Rows, Packets) {
  Delivery row;
  row.outbound.qos = 2;
  row.outbound.state = Outbound::State::kReleased;
  row.outbound.position = store::Position::of(1, 5);
  row.outbound.size_bytes = 300;
  expect_golden(row, "0106858040ac02");
  expect_prefixes_fail(row);
  row.outbound.qos = 1;
  row.outbound.state = Outbound::State::kSent;
  row.lease = {.reader = 9, .identifier = 200, .retain = true};
  expect_golden(row, "0119858040ac0209c801");
  expect_prefixes_fail(row);
  Delivery back;
  EXPECT_TRUE(decode(encode(row), &back));
  EXPECT_EQ(back.lease, row.lease);
  EXPECT_EQ(to_hex(PacketKey(0x0102, 0xfffe)), "0000000000000102fffe");
  uint64_t number = 0;
  uint16_t packet_id = 0;
  EXPECT_TRUE(decode_packet_key(PacketKey(0x0102, 0xfffe), &number, &packet_id));
  EXPECT_EQ(number, 0x0102u);
  EXPECT_EQ(packet_id, 0xfffe);
  EXPECT_FALSE(decode_packet_key("short", &number, &packet_id));
}

TEST(Rows, SharedSubscriptions) {
  EXPECT_EQ(to_hex(encode_group(300)), "01ac02");
  store::ReaderId reader = 0;
  EXPECT_TRUE(decode_group(encode_group(300), &reader));
  EXPECT_EQ(reader, 300u);
  EXPECT_FALSE(decode_group("\1", &reader));
  const std::string key = owed_key(7, store::Position{9});
  EXPECT_EQ(to_hex(key), "00000000000000070000000000000009");
  store::Position position;
  EXPECT_TRUE(decode_owed_key(key, &reader, &position));
  EXPECT_EQ(position.value, 9u);
  for (size_t size = 0; size < key.size(); ++size) {
    EXPECT_FALSE(decode_owed_key(Bytes(key).substr(0, size), &reader, &position)) << size;
  }
  EXPECT_EQ(to_hex(encode_owed(2)), "0102");
  uint8_t qos = 0;
  EXPECT_TRUE(decode_owed(encode_owed(2), &qos));
  EXPECT_FALSE(decode_owed(encode_owed(3), &qos));
  EXPECT_FALSE(decode_owed("\1", &qos));
}

TEST(Rows, Runs) {
  std::vector<Outbound> run(2);
  run[0].packet_id = 300;
  run[0].position = store::Position::of(1, 5);
  run[0].size_bytes = 300;
  run[1].packet_id = 1;
  run[1].position = store::Position::of(1, 6);
  run[1].size_bytes = 0;
  const std::string row = encode_run(run);
  EXPECT_EQ(to_hex(row), "01ac02858040ac02010100");
  std::vector<Outbound> back;
  ASSERT_TRUE(decode_run(row, &back));
  ASSERT_EQ(back.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back[i].packet_id, run[i].packet_id);
    EXPECT_EQ(back[i].position, run[i].position);
    EXPECT_EQ(back[i].size_bytes, run[i].size_bytes);
    EXPECT_EQ(back[i].qos, 1);
  }
  for (size_t size = 0; size < row.size(); ++size) {
    // The end of a delivery is the end of a shorter run.
    EXPECT_EQ(decode_run(std::string(row, 0, size), &back), size == 8) << size;
  }
  EXPECT_FALSE(decode_run(from_hex("01000100"), &back));      // No identifier is 0,
  EXPECT_FALSE(decode_run(from_hex("018080040100"), &back));  // nor above 65,535.
  EXPECT_FALSE(decode_run(from_hex("01010000"), &back));      // Positions ascend.
}

TEST(Gate, LetsOutInOrderWhatItsCommitAllows) {
  Gate gate;
  std::string out;
  const auto add = [&](uint64_t commit, Bytes bytes, uint32_t credits) {
    gate.open(commit).append(bytes);
    gate.close(credits);
  };
  const auto release = [&](uint64_t commit) {
    out.clear();
    return gate.release(commit, [&](Bytes bytes) { out.append(bytes); });
  };
  add(5, "a", 1);
  add(0, "b", 1);  // Depends on nothing, and waits.
  add(6, "c", 1);
  add(6, "d", 0);
  EXPECT_EQ(gate.commit(), 6u);
  EXPECT_EQ(release(4), 0u);
  EXPECT_EQ(out, "");
  EXPECT_EQ(release(5), 2u);
  EXPECT_EQ(out, "ab");
  EXPECT_EQ(gate.size(), 2u);
  add(7, "e", 1);
  EXPECT_EQ(release(7), 2u);
  EXPECT_EQ(out, "cde");
  EXPECT_TRUE(gate.empty());
  EXPECT_EQ(gate.commit(), 0u);
}

TEST(Inflight, GivesEveryIdentifierOnceWhileItIsInUse) {
  Inflight inflight;
  std::vector<uint16_t> given;
  for (int i = 0; i < 30'000; ++i) given.push_back(inflight.add()->packet_id);
  std::vector<uint16_t> sorted = given;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end());
  for (const uint16_t packet_id : given) {
    Outbound* entry = inflight.find(packet_id);
    ASSERT_NE(entry, nullptr);
    inflight.erase(entry);
    EXPECT_EQ(inflight.find(packet_id), nullptr);
  }
  EXPECT_EQ(inflight.count(), 0u);
  EXPECT_EQ(inflight.find(0), nullptr);
}

TEST(Inflight, TakesBackAnyIdentifiersOfAnEarlierLife) {
  Inflight inflight;
  for (const uint16_t packet_id : std::vector<uint16_t>{1, 17, 33, 65535, 32767, 16}) {
    Outbound entry;
    entry.packet_id = packet_id;
    EXPECT_TRUE(inflight.insert(entry));
    EXPECT_FALSE(inflight.insert(entry));
  }
  EXPECT_EQ(inflight.count(), 6u);
  for (const uint16_t packet_id : std::vector<uint16_t>{1, 17, 33, 65535, 32767, 16}) {
    EXPECT_NE(inflight.find(packet_id), nullptr);
  }
}

TEST(Headers, UntouchedPropertiesAreNotEncodedAnew) {
  mqtt::Properties properties;
  properties.content_type = "x";
  std::string raw, scratch;
  mqtt::encode_properties(raw, properties);
  EXPECT_EQ(carry(properties, raw, &scratch).headers.data(), raw.data());
  properties.message_expiry_interval_s = 5;
  const Carried carried = carry(properties, raw, &scratch);
  EXPECT_EQ(carried.headers, raw);  // Without the expiry it is the same again.
  EXPECT_EQ(carried.expiry_s, 5u);
}

TEST(Headers, TimeThatPassedIsMonotonicWithinABootAndOfTheWallAcross) {
  Now now{.mono = {10'000'000'000}, .wall_us = 50'000'000, .quality = ClockQuality::kNtp, .boot = {1, 1}};
  store::Arrival stamp{
      .wall_us = 49'000'000, .mono_ns = 4'000'000'000, .quality = ClockQuality::kNtp, .boot = {1, 1}};
  EXPECT_EQ(elapsed_since(stamp, now), seconds(6));
  EXPECT_EQ(expiry_left_s(stamp, 10, now), 4u);
  EXPECT_EQ(expiry_left_s(stamp, 5, now), 0u);
  stamp.boot = {2, 2};
  EXPECT_EQ(elapsed_since(stamp, now), seconds(1));
  stamp.quality = ClockQuality::kUnknown;
  EXPECT_EQ(elapsed_since(stamp, now), Duration{});
  stamp.quality = ClockQuality::kNtp;
  stamp.wall_us = INT64_MIN;
  now.wall_us = INT64_MAX;
  EXPECT_GT(elapsed_since(stamp, now), seconds(1));
}

}  // namespace
}  // namespace hf::broker
