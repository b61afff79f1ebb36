// Goal: the bytes on the wire are those of the standard, in both directions. Method: packets written out by
// hand, field by field, from the layouts in chapter 3 of MQTT 3.1.1 and 5.0; each must decode to the packet
// beside it, and that packet must encode to exactly these bytes. (Where the standard leaves an order open, as
// among properties, the bytes keep to ours: ascending identifiers, user properties last.)
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mqtt/packet.h"
#include "mqtt/packet_hex.h"

namespace hf::mqtt {
namespace {

constexpr Version k311 = Version::k311;
constexpr Version k5 = Version::k5;
constexpr Sender kClient = Sender::kClient;
constexpr Sender kServer = Sender::kServer;

void golden(Version version, Sender sender, Bytes text, const Packet& packet) {
  SCOPED_TRACE(std::string(text));
  const std::string bytes = hex(text);
  ASSERT_FALSE(bytes.empty());

  Packet decoded;
  DecodeError error;
  std::vector<char> storage;
  ASSERT_TRUE(decode_whole(bytes, version, sender, storage, &decoded, &error)) << error.text;
  EXPECT_TRUE(decoded == packet);

  std::string encoded = "before";
  encode(encoded, version, packet);
  EXPECT_EQ(to_hex(encoded), to_hex("before" + bytes));
}

// What stands as "26 0001 61 0001 62".
std::vector<UserProperty> user_a_b() { return {{.name = "a", .value = "b"}}; }

TEST(PacketGolden, Connect) {
  Connect least{.version = k311, .clean_start = true, .keep_alive_s = 60};
  golden(k311, kClient, "10 0c 0004 4d515454 04 02 003c 0000", least);
  // A server knows the version from the CONNECT itself, whatever it held for the connection before.
  golden(k5, kClient, "10 0c 0004 4d515454 04 02 003c 0000", least);

  least.version = k5;
  golden(k5, kClient, "10 0d 0004 4d515454 05 02 003c 00 0000", least);

  const Connect full{.version = k311,
                     .clean_start = false,
                     .keep_alive_s = 10,
                     .client_id = "cid",
                     .will = Will{.qos = 1, .retain = true, .topic = "w/t", .payload = "bye"},
                     .user_name = "u",
                     .password = Bytes("p\0", 2)};
  golden(k311, kClient,
         "10 20 0004 4d515454 04 ec 000a 0003 636964 0003 772f74 0003 627965 0001 75 0002 7000", full);
}

TEST(PacketGolden, ConnectOf5WithEveryProperty) {
  Connect connect{.version = k5, .clean_start = true, .keep_alive_s = 10, .client_id = "c"};
  connect.properties.session_expiry_interval_s = 3600;
  connect.properties.authentication_method = "GS2";
  connect.properties.authentication_data = "\x01\x02";
  connect.properties.request_problem_information = 0;
  connect.properties.request_response_information = 1;
  connect.properties.receive_maximum = 20;
  connect.properties.topic_alias_maximum = 10;
  connect.properties.maximum_packet_size = 65'536;
  connect.properties.user_properties = {{.name = "k", .value = "v"}};
  Will& will = connect.will.emplace();
  will.qos = 2;
  will.topic = "w";
  will.payload = "p";
  will.properties.payload_format_indicator = 1;
  will.properties.message_expiry_interval_s = 60;
  will.properties.content_type = "c";
  will.properties.response_topic = "r";
  will.properties.correlation_data = "\x0a\x0b";
  will.properties.will_delay_interval_s = 5;
  will.properties.user_properties = {{.name = "", .value = ""}};
  connect.user_name = "u";
  connect.password = "p";
  golden(
      k5, kClient,
      "10 5f 0004 4d515454 05 d6 000a"
      "26 11 00000e10 15 0003 475332 16 0002 0102 17 00 19 01 21 0014 22 000a 27 00010000 26 0001 6b 0001 76"
      "0001 63"
      "1e 01 01 02 0000003c 03 0001 63 08 0001 72 09 0002 0a0b 18 00000005 26 0000 0000"
      "0001 77 0001 70 0001 75 0001 70",
      connect);
}

TEST(PacketGolden, ConnectOf5MayHaveAPasswordWithoutAUserName) {
  const Connect connect{.version = k5, .clean_start = true, .password = "p"};
  golden(k5, kClient, "10 10 0004 4d515454 05 42 0000 00 0000 0001 70", connect);
}

TEST(PacketGolden, Connack) {
  golden(k311, kServer, "20 02 01 00", Connack{.session_present = true});
  golden(k311, kServer, "20 02 00 05", Connack{.reason = 5});
  golden(k5, kServer, "20 03 00 87 00", Connack{.reason = 0x87});

  Connack full{.session_present = true};
  full.properties.session_expiry_interval_s = 120;
  full.properties.assigned_client_identifier = "i";
  full.properties.server_keep_alive_s = 30;
  full.properties.authentication_method = "m";
  full.properties.authentication_data = "\xff";
  full.properties.response_information = "r";
  full.properties.server_reference = "s";
  full.properties.reason_string = "o";
  full.properties.receive_maximum = 1;
  full.properties.topic_alias_maximum = 65'535;
  full.properties.maximum_qos = 1;
  full.properties.retain_available = 0;
  full.properties.maximum_packet_size = 1;
  full.properties.wildcard_subscription_available = 0;
  full.properties.subscription_identifier_available = 1;
  full.properties.shared_subscription_available = 0;
  full.properties.user_properties = user_a_b();
  golden(
      k5, kServer,
      "20 3f 01 00 3c 11 00000078 12 0001 69 13 001e 15 0001 6d 16 0001 ff 1a 0001 72 1c 0001 73 1f 0001 6f"
      "21 0001 22 ffff 24 01 25 00 27 00000001 28 00 29 01 2a 00 26 0001 61 0001 62",
      full);
}

TEST(PacketGolden, Publish) {
  for (const Sender sender : {kClient, kServer}) {
    golden(k311, sender, "30 0a 0005 612f622f63 686921", Publish{.topic = "a/b/c", .payload = "hi!"});
    golden(
        k311, sender, "3b 07 0001 74 1234 abcd",
        Publish{
            .dup = true, .qos = 1, .retain = true, .topic = "t", .packet_id = 0x1234, .payload = "\xab\xcd"});
    golden(k311, sender, "34 05 0001 74 0001", Publish{.qos = 2, .topic = "t", .packet_id = 1});
    golden(k5, sender, "30 04 0001 74 00", Publish{.topic = "t"});
    golden(k5, sender, "3d 07 0001 74 ffff 00 78",
           Publish{.dup = true, .qos = 2, .retain = true, .topic = "t", .packet_id = 0xffff, .payload = "x"});
  }
}

TEST(PacketGolden, PublishOf5WithProperties) {
  const std::string raw =
      hex("01 01 02 00000001 03 0001 63 08 0001 72 09 0001 00 23 0005 26 0001 61 0001 62");
  Publish publish{.qos = 1, .topic = "t", .packet_id = 7, .raw_properties = raw, .payload = "x"};
  publish.properties.payload_format_indicator = 1;
  publish.properties.message_expiry_interval_s = 1;
  publish.properties.content_type = "c";
  publish.properties.response_topic = "r";
  publish.properties.correlation_data = Bytes("\0", 1);
  publish.properties.topic_alias = 5;
  publish.properties.user_properties = user_a_b();
  const Bytes bytes =
      "32 24 0001 74 0007 1d 01 01 02 00000001 03 0001 63 08 0001 72 09 0001 00 23 0005 26 0001 61 0001 62 "
      "78";
  golden(k5, kClient, bytes, publish);
  golden(k5, kServer, bytes, publish);

  // From parsed properties alone come the same bytes.
  publish.raw_properties = {};
  std::string encoded;
  encode(encoded, k5, publish);
  EXPECT_EQ(to_hex(encoded), to_hex(hex(bytes)));
}

TEST(PacketGolden, PublishKeepsTheOrderOfItsRawProperties) {
  const std::string raw = hex("26 0001 61 0001 62 01 00");
  Publish publish{.topic = "t", .raw_properties = raw};
  publish.properties.payload_format_indicator = 0;
  publish.properties.user_properties = user_a_b();
  golden(k5, kClient, "30 0d 0001 74 09 26 0001 61 0001 62 01 00", publish);
}

TEST(PacketGolden, PublishWithATopicAliasNeedsNoTopic) {
  const std::string raw = hex("23 0001");
  Publish publish{.raw_properties = raw, .payload = "x"};
  publish.properties.topic_alias = 1;
  golden(k5, kClient, "30 07 0000 03 23 0001 78", publish);
}

TEST(PacketGolden, PublishOfAServerMayHaveManySubscriptionIdentifiers) {
  const std::string raw = hex("0b 01 0b 8001");
  Publish publish{.topic = "t", .raw_properties = raw};
  publish.properties.subscription_identifiers = {1, 128};
  golden(k5, kServer, "30 09 0001 74 05 0b 01 0b 8001", publish);
}

TEST(PacketGolden, Acknowledgements) {
  const struct {
    PacketType type;
    Bytes bytes;
  } rows[] = {{PacketType::kPuback, "40 02 0001"},
              {PacketType::kPubrec, "50 02 0001"},
              {PacketType::kPubrel, "62 02 0001"},
              {PacketType::kPubcomp, "70 02 0001"}};
  for (const auto& row : rows) {
    for (const Version version : {k311, k5}) {
      for (const Sender sender : {kClient, kServer}) {
        golden(version, sender, row.bytes, Ack{.type = row.type, .packet_id = 1});
      }
      std::string hot;
      encode_ack(hot, version, row.type, 1, Reason::kSuccess);
      EXPECT_EQ(to_hex(hot), to_hex(hex(row.bytes)));
    }
  }
}

TEST(PacketGolden, AcknowledgementsOf5WithReasons) {
  golden(k5, kServer, "40 03 0001 10", Ack{.packet_id = 1, .reason = Reason::kNoMatchingSubscribers});
  golden(k5, kClient, "62 03 0001 92",
         Ack{.type = PacketType::kPubrel, .packet_id = 1, .reason = Reason::kPacketIdentifierNotFound});
  golden(k5, kServer, "70 03 0001 92",
         Ack{.type = PacketType::kPubcomp, .packet_id = 1, .reason = Reason::kPacketIdentifierNotFound});
  Ack full{.type = PacketType::kPubrec, .packet_id = 1, .reason = Reason::kQuotaExceeded};
  full.properties.reason_string = "q";
  full.properties.user_properties = user_a_b();
  golden(k5, kClient, "50 0f 0001 97 0b 1f 0001 71 26 0001 61 0001 62", full);
  full.reason = Reason::kSuccess;
  golden(k5, kClient, "50 0f 0001 00 0b 1f 0001 71 26 0001 61 0001 62", full);

  std::string hot;
  encode_ack(hot, k5, PacketType::kPubrel, 1, Reason::kPacketIdentifierNotFound);
  EXPECT_EQ(to_hex(hot), "6203000192");
  hot.clear();
  encode_ack(hot, k311, PacketType::kPuback, 1, Reason::kQuotaExceeded);
  EXPECT_EQ(to_hex(hot), "40020001");
}

TEST(PacketGolden, Subscribe) {
  golden(k311, kClient, "82 0e 000a 0003 612f62 01 0003 632f64 02",
         Subscribe{.packet_id = 10, .entries = {{.filter = "a/b", .qos = 1}, {.filter = "c/d", .qos = 2}}});
  Subscribe full{
      .packet_id = 10,
      .entries = {
          {.filter = "a/b", .qos = 1, .no_local = true, .retain_as_published = true, .retain_handling = 2},
          {.filter = "#"}}};
  full.properties.subscription_identifiers = {300};
  full.properties.user_properties = user_a_b();
  golden(k5, kClient, "82 17 000a 0a 0b ac02 26 0001 61 0001 62 0003 612f62 2d 0001 23 00", full);
}

TEST(PacketGolden, Suback) {
  golden(k311, kServer, "90 06 000a 00 01 02 80", SubAck{.packet_id = 10, .reasons = {0, 1, 2, 0x80}});
  SubAck full{.packet_id = 10, .reasons = {0, 1, 2, 0x80, 0x8f, 0xa2}};
  full.properties.reason_string = "o";
  golden(k5, kServer, "90 0d 000a 04 1f 0001 6f 00 01 02 80 8f a2", full);

  // 3.1.1 knows one failure.
  std::string encoded;
  encode(encoded, k311, SubAck{.packet_id = 10, .reasons = {2, 0x80, 0x8f, 0xa2}});
  EXPECT_EQ(to_hex(encoded), "9006000a02808080");
}

TEST(PacketGolden, Unsubscribe) {
  golden(k311, kClient, "a2 0c 000a 0003 612f62 0003 632f64",
         Unsubscribe{.packet_id = 10, .filters = {"a/b", "c/d"}});
  golden(k5, kClient, "a2 08 000a 00 0003 612f62", Unsubscribe{.packet_id = 10, .filters = {"a/b"}});
}

TEST(PacketGolden, Unsuback) {
  golden(k311, kServer, "b0 02 000a", SubAck{.type = PacketType::kUnsuback, .packet_id = 10});
  golden(k5, kServer, "b0 05 000a 00 00 11",
         SubAck{.type = PacketType::kUnsuback, .packet_id = 10, .reasons = {0, 0x11}});
}

TEST(PacketGolden, Ping) {
  for (const Version version : {k311, k5}) {
    golden(version, kClient, "c0 00", Ping{.type = PacketType::kPingreq});
    golden(version, kServer, "d0 00", Ping{.type = PacketType::kPingresp});
  }
}

TEST(PacketGolden, Disconnect) {
  golden(k311, kClient, "e0 00", Disconnect{});
  golden(k5, kClient, "e0 00", Disconnect{});
  golden(k5, kServer, "e0 00", Disconnect{});
  golden(k5, kClient, "e0 01 04", Disconnect{.reason = Reason::kDisconnectWithWill});
  Disconnect expiry;
  expiry.properties.session_expiry_interval_s = 0;
  golden(k5, kClient, "e0 07 00 05 11 00000000", expiry);
  Disconnect moved{.reason = Reason::kUseAnotherServer};
  moved.properties.server_reference = "s";
  moved.properties.reason_string = "o";
  golden(k5, kServer, "e0 0a 9c 08 1c 0001 73 1f 0001 6f", moved);
}

TEST(PacketGolden, Auth) {
  golden(k5, kServer, "f0 00", Disconnect{.type = PacketType::kAuth});
  Disconnect full{.type = PacketType::kAuth, .reason = Reason::kContinueAuthentication};
  full.properties.authentication_method = "m";
  full.properties.authentication_data = "\x01\x02";
  full.properties.reason_string = "o";
  full.properties.user_properties = user_a_b();
  const Bytes bytes = "f0 16 18 14 15 0001 6d 16 0002 0102 1f 0001 6f 26 0001 61 0001 62";
  golden(k5, kClient, bytes, full);
  golden(k5, kServer, bytes, full);
}

// What encode() does not write itself decodes all the same: a long form where the standard has a short one.
TEST(PacketGolden, LongFormsDecodeToTheSamePacket) {
  const struct {
    Sender sender;
    Bytes bytes;
    Packet packet;
  } rows[] = {
      {kClient, "40 03 0001 00", Ack{.packet_id = 1}},
      {kClient, "40 04 0001 00 00", Ack{.packet_id = 1}},
      {kClient, "e0 01 00", Disconnect{}},
      {kClient, "e0 02 00 00", Disconnect{}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.bytes));
    std::vector<char> storage;
    Packet decoded;
    DecodeError error;
    ASSERT_TRUE(decode_whole(hex(row.bytes), k5, row.sender, storage, &decoded, &error)) << error.text;
    EXPECT_TRUE(decoded == row.packet);
  }
}

TEST(PacketGolden, EncodingOf311LeavesOutWhatOnly5Has) {
  Properties properties;
  properties.user_properties = user_a_b();
  const struct {
    Packet packet;
    Bytes bytes;
  } rows[] = {
      {Connect{
           .version = k311, .properties = properties, .will = Will{.properties = properties, .topic = "t"}},
       "10 11 0004 4d515454 04 06 0000 0000 0001 74 0000"},
      {Connack{.properties = properties}, "20 02 00 00"},
      {Publish{.topic = "t", .properties = properties}, "30 03 0001 74"},
      {Publish{.topic = "t", .raw_properties = "x", .payload = "y"}, "30 04 0001 74 79"},
      {Ack{.packet_id = 1, .reason = Reason::kQuotaExceeded, .properties = properties}, "40 02 0001"},
      {Subscribe{.packet_id = 1,
                 .properties = properties,
                 .entries = {{.filter = "t",
                              .qos = 2,
                              .no_local = true,
                              .retain_as_published = true,
                              .retain_handling = 2}}},
       "82 06 0001 0001 74 02"},
      {Unsubscribe{.packet_id = 1, .properties = properties, .filters = {"t"}}, "a2 05 0001 0001 74"},
      {SubAck{.packet_id = 1, .properties = properties, .reasons = {0}}, "90 03 0001 00"},
      {SubAck{.type = PacketType::kUnsuback, .packet_id = 1, .properties = properties, .reasons = {0}},
       "b0 02 0001"},
      {Disconnect{.reason = Reason::kServerBusy, .properties = properties}, "e0 00"},
  };
  for (const auto& row : rows) {
    std::string encoded;
    encode(encoded, k311, row.packet);
    EXPECT_EQ(to_hex(encoded), to_hex(hex(row.bytes)));
  }
}

TEST(PacketGolden, StringsMayHave65535Bytes) {
  const std::string longest(65'535, 'x');
  const Connect connect{.version = k5, .client_id = longest, .user_name = longest, .password = longest};
  EXPECT_TRUE(survives_round_trip(connect, k5, kClient));
  EXPECT_TRUE(survives_round_trip(Publish{.topic = longest, .payload = longest}, k311, kServer));
}

TEST(PacketGolden, VariableByteIntegersAtTheirBorders) {
  // MQTT 5.0, table 1-1.
  const struct {
    uint32_t value;
    Bytes bytes;
  } rows[] = {{0, "00"},          {127, "7f"},           {128, "8001"},           {16'383, "ff7f"},
              {16'384, "808001"}, {2'097'151, "ffff7f"}, {2'097'152, "80808001"}, {268'435'455, "ffffff7f"}};
  for (const auto& row : rows) {
    std::string encoded;
    put_variable(encoded, row.value);
    EXPECT_EQ(to_hex(encoded), row.bytes);
  }
}

// A caller that breaks a limit is a bug of ours and must not reach the wire.
TEST(PacketGoldenDeathTest, LimitsAreAsserted) {
  std::string out;
  const std::string too_long(65'536, 'x');
  EXPECT_DEATH(put_variable(out, 268'435'456), "kVariableMax");
  EXPECT_DEATH(encode(out, k311, Connect{.client_id = too_long}), "UINT16_MAX");
  EXPECT_DEATH(encode(out, k311, Publish{.topic = too_long}), "kTopicBytesMax");
  EXPECT_DEATH(encode(out, k311, Publish{.qos = 3, .topic = "t", .packet_id = 1}), "qos");
  EXPECT_DEATH(encode(out, k311, Publish{.dup = true, .topic = "t"}), "dup");
  EXPECT_DEATH(encode(out, k311, Publish{.qos = 1, .topic = "t"}), "packet_id");
  EXPECT_DEATH(encode(out, k5, Subscribe{.packet_id = 1}), "empty");
  EXPECT_DEATH(encode(out, k311, Disconnect{.type = PacketType::kAuth}), "kDisconnect");
}

// The size of the Remaining Length at each of its borders (table 2-4 of 3.1.1), and the prediction of it.
TEST(PacketGolden, RemainingLengthGrowsAtItsBorders) {
  const struct {
    size_t remaining;
    Bytes header;
  } rows[] = {{127, "30 7f"},        {128, "30 8001"},         {16'383, "30 ff7f"},
              {16'384, "30 808001"}, {2'097'151, "30 ffff7f"}, {2'097'152, "30 80808001"}};
  for (const auto& row : rows) {
    const std::string payload(row.remaining - 3, 'x');
    const PublishHead head{.topic = "t"};
    std::string bytes;
    encode_publish(bytes, k311, head, payload);
    const std::string header = hex(row.header);
    EXPECT_EQ(to_hex(Bytes(bytes).substr(0, header.size())), to_hex(header));
    EXPECT_EQ(bytes.size(), header.size() + row.remaining);
    EXPECT_EQ(encoded_publish_size(k311, head, payload.size()), bytes.size());
    Framed framed;
    DecodeError error;
    ASSERT_EQ(frame_next(bytes, bytes.size(), &framed, &error), FrameStatus::kWhole);
    EXPECT_EQ(framed.body.size(), row.remaining);
  }
}

TEST(PacketGolden, NamesAreThoseOfTheStandard) {
  EXPECT_STREQ(packet_type_name(PacketType::kConnect), "CONNECT");
  EXPECT_STREQ(packet_type_name(PacketType::kAuth), "AUTH");
  EXPECT_STREQ(reason_name(Reason::kPacketTooLarge), "Packet too large");
  EXPECT_STREQ(reason_name(static_cast<Reason>(0x7f)), "Unknown reason");
}

}  // namespace
}  // namespace hf::mqtt
