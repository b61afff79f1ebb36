// Goal: what the standards forbid in a single packet is refused, with the reason code they name; one named
// case for each rule and for each class of bug that other brokers have had. Method: bytes written by hand,
// one thing wrong in each, mostly by a change to a packet that packet_golden_test.cc shows to be right.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mqtt/packet.h"
#include "mqtt/packet_hex.h"
#include "mqtt/topic.h"

namespace hf::mqtt {
namespace {

constexpr Version k311 = Version::k311;
constexpr Version k5 = Version::k5;
constexpr Sender kClient = Sender::kClient;
constexpr Sender kServer = Sender::kServer;

constexpr Reason kMalformed = Reason::kMalformedPacket;
constexpr Reason kProtocol = Reason::kProtocolError;

void refused(Version version, Sender sender, Bytes text, Reason reason) {
  SCOPED_TRACE(std::string(text));
  const std::string bytes = hex(text);
  Framed framed;
  DecodeError error;
  // The frame is whole: what is refused is the packet.
  ASSERT_EQ(frame_next(bytes, SIZE_MAX, &framed, &error), FrameStatus::kWhole);
  ASSERT_EQ(framed.size, bytes.size());
  Packet packet;
  ASSERT_FALSE(decode(framed, version, sender, &packet, &error));
  EXPECT_EQ(static_cast<int>(error.reason), static_cast<int>(reason)) << error.text;
}

void accepted(Version version, Sender sender, Bytes text) {
  SCOPED_TRACE(std::string(text));
  std::vector<char> storage;
  Packet packet;
  DecodeError error;
  EXPECT_TRUE(decode_whole(hex(text), version, sender, storage, &packet, &error)) << error.text;
}

// --- The fixed header.

TEST(FrameRefusal, RemainingLengthOfFiveBytes) {
  // CVE-2026-21888 of another broker: a fifth byte read past the end.
  Framed framed;
  DecodeError error;
  EXPECT_EQ(frame_next(hex("30 ffffffff"), SIZE_MAX, &framed, &error), FrameStatus::kBad);
  EXPECT_EQ(error.reason, kMalformed);
  EXPECT_EQ(frame_next(hex("30 80808080 01"), SIZE_MAX, &framed, &error), FrameStatus::kBad);
  EXPECT_EQ(frame_next(hex("30 ffffff"), SIZE_MAX, &framed, &error), FrameStatus::kNeedMore);
  EXPECT_EQ(frame_next(hex("30 ffffff7f"), SIZE_MAX, &framed, &error), FrameStatus::kNeedMore);
  EXPECT_EQ(framed.size, 268'435'455u + 5);
}

TEST(FrameRefusal, TooLargeIsKnownBeforeTheBodyIsThere) {
  Framed framed;
  DecodeError error;
  EXPECT_EQ(frame_next(hex("10 8001"), 130, &framed, &error), FrameStatus::kBad);
  EXPECT_EQ(error.reason, Reason::kPacketTooLarge);
  EXPECT_EQ(frame_next(hex("10 8001"), 131, &framed, &error), FrameStatus::kNeedMore);
  EXPECT_EQ(framed.size, 131u);
  EXPECT_EQ(framed.first_byte, 0x10);
  EXPECT_EQ(frame_next(hex("10"), 1, &framed, &error), FrameStatus::kNeedMore);
  EXPECT_EQ(framed.first_byte, 0x10);
  EXPECT_EQ(framed.size, 0u);
  EXPECT_EQ(frame_next({}, 1, &framed, &error), FrameStatus::kNeedMore);
}

TEST(FrameRefusal, TypeZero) {
  Framed framed;
  DecodeError error;
  for (const Bytes text : {"00", "00 00", "0f 00"}) {
    EXPECT_EQ(frame_next(hex(text), SIZE_MAX, &framed, &error), FrameStatus::kBad);
    EXPECT_EQ(error.reason, kMalformed);
  }
}

TEST(FrameRefusal, LaterPacketsAreLeftAlone) {
  const std::string bytes = hex("c0 00 e0 00");
  Framed framed;
  DecodeError error;
  ASSERT_EQ(frame_next(bytes, SIZE_MAX, &framed, &error), FrameStatus::kWhole);
  EXPECT_EQ(framed.size, 2u);
  EXPECT_EQ(framed.type(), PacketType::kPingreq);
}

TEST(PacketRefusal, RemainingLengthIsMinimalIn5) {
  // [MQTT-1.5.5-1]; 3.1.1 has no such rule.
  refused(k5, kClient, "c0 8000", kMalformed);
  refused(k5, kClient, "40 82808000 0001", kMalformed);
  refused(k311, kClient, "10 8d00 0004 4d515454 05 02 003c 00 0000",
          kMalformed);  // CONNECT brings its own version.
  accepted(k311, kClient, "c0 8000");
}

TEST(PacketRefusal, ReservedFlags) {
  // [MQTT-2.1.3-1]
  for (const Version version : {k311, k5}) {
    for (const Bytes text : {"11 0c 0004 4d515454 04 02 003c 0000", "41 02 0001", "52 02 0001", "60 02 0001",
                             "63 02 0001", "78 02 0001", "c1 00", "e1 00"}) {
      refused(version, kClient, text, kMalformed);
    }
    for (const Bytes text : {"21 02 00 00", "92 03 0001 00", "b2 02 0001", "d8 00"}) {
      refused(version, kServer, text, kMalformed);
    }
  }
  refused(k311, kClient, "80 06 0001 0001 74 00", kMalformed);
  refused(k311, kClient, "a0 05 0001 0001 74", kMalformed);
  refused(k5, kClient, "f1 00", kMalformed);
}

TEST(PacketRefusal, ClientSendsWhatOnlyAServerSends) {
  // CVE-2021-28166 of another broker: a client that sent CONNACK.
  for (const Version version : {k311, k5}) {
    for (const Bytes text : {"20 02 00 00", "20 03 00 00 00", "90 03 0001 00", "b0 02 0001", "d0 00"}) {
      refused(version, kClient, text, kProtocol);
    }
  }
}

TEST(PacketRefusal, ServerSendsWhatOnlyAClientSends) {
  for (const Version version : {k311, k5}) {
    for (const Bytes text :
         {"10 0c 0004 4d515454 04 02 003c 0000", "82 06 0001 0001 74 00", "a2 05 0001 0001 74", "c0 00"}) {
      refused(version, kServer, text, kProtocol);
    }
  }
  refused(k311, kServer, "e0 00", kProtocol);
}

TEST(PacketRefusal, AuthIsOf5Only) {
  refused(k311, kClient, "f0 00", kProtocol);
  refused(k311, kServer, "f0 00", kProtocol);
}

TEST(PacketRefusal, BytesAfterTheFields) {
  refused(k311, kClient, "10 0d 0004 4d515454 04 02 003c 0000 00", kMalformed);
  refused(k311, kServer, "20 03 00 00 00", kMalformed);
  refused(k311, kClient, "40 03 0001 00", kMalformed);
  refused(k5, kClient, "40 05 0001 00 00 00", kMalformed);
  refused(k311, kServer, "b0 03 0001 00", kMalformed);
  refused(k311, kClient, "c0 01 00", kMalformed);
  refused(k5, kServer, "d0 01 00", kMalformed);
  refused(k311, kClient, "e0 01 00", kMalformed);
  refused(k5, kClient, "e0 03 00 00 00", kMalformed);
}

TEST(PacketRefusal, PacketIdentifierZero) {
  // [MQTT-2.2.1-3] [MQTT-2.2.1-4]
  for (const Version version : {k311, k5}) {
    for (const Bytes text : {"40 02 0000", "50 02 0000", "62 02 0000", "70 02 0000"}) {
      refused(version, kClient, text, kProtocol);
    }
  }
  refused(k311, kClient, "32 05 0001 74 0000", kProtocol);
  refused(k5, kClient, "34 06 0001 74 0000 00", kProtocol);
  refused(k311, kClient, "82 06 0000 0001 74 00", kProtocol);
  refused(k5, kClient, "a2 06 0000 00 0001 74", kProtocol);
  refused(k311, kServer, "90 03 0000 00", kProtocol);
  refused(k5, kServer, "b0 04 0000 00 00", kProtocol);
}

// --- CONNECT.

TEST(ConnectRefusal, AnotherProtocolLevelIsReported) {
  const struct {
    Bytes text;
    int level;
  } rows[] = {{"10 0e 0006 4d5149736470 03 02 003c 0000", 3},  // MQTT 3.1.
              {"10 0c 0004 4d515454 03 02 003c 0000", 3},
              {"10 0c 0004 4d515454 06 02 003c 0000", 6},
              {"10 0c 0004 4d515454 84 02 003c 0000", 0x84}};  // A bridge of another broker tries this.
  for (const auto& row : rows) {
    refused(k311, kClient, row.text, Reason::kUnsupportedProtocolVersion);
    std::vector<char> storage;
    Packet packet;
    DecodeError error;
    uint8_t level = 0;
    EXPECT_FALSE(decode_whole(hex(row.text), k311, kClient, storage, &packet, &error, &level));
    EXPECT_EQ(level, row.level);
  }
}

TEST(ConnectRefusal, AnotherProtocolName) {
  refused(k311, kClient, "10 0c 0004 4d515455 04 02 003c 0000", kMalformed);
  refused(k311, kClient, "10 0c 0004 6d717474 04 02 003c 0000", kMalformed);
  refused(k311, kClient, "10 0e 0006 4d5149736470 04 02 003c 0000", kMalformed);
  refused(k311, kClient, "10 08 0000 04 02 003c 0000", kMalformed);
  refused(k311, kClient, "10 00", kMalformed);
}

TEST(ConnectRefusal, VersionIsKnownForTheAnswer) {
  std::vector<char> storage;
  Packet packet;
  DecodeError error;
  ASSERT_FALSE(
      decode_whole(hex("10 0d 0004 4d515454 05 03 003c 00 0000"), k311, kClient, storage, &packet, &error));
  ASSERT_TRUE(std::holds_alternative<Connect>(packet));
  EXPECT_EQ(std::get<Connect>(packet).version, k5);
}

TEST(ConnectRefusal, ReservedFlag) {
  refused(k311, kClient, "10 0c 0004 4d515454 04 03 003c 0000", kMalformed);
  refused(k5, kClient, "10 0d 0004 4d515454 05 03 003c 00 0000", kMalformed);
}

TEST(ConnectRefusal, WillFlagsWithoutAWill) {
  for (const Bytes flags : {"0a", "12", "1a", "22"}) {
    refused(k311, kClient, "10 0c 0004 4d515454 04 " + std::string(flags) + " 003c 0000", kMalformed);
    refused(k5, kClient, "10 0d 0004 4d515454 05 " + std::string(flags) + " 003c 00 0000", kMalformed);
  }
}

TEST(ConnectRefusal, WillOfQos3) {
  refused(k311, kClient, "10 11 0004 4d515454 04 1e 003c 0000 0001 74 0000", kMalformed);
  refused(k5, kClient, "10 13 0004 4d515454 05 1e 003c 00 0000 00 0001 74 0000", kMalformed);
}

TEST(ConnectRefusal, WillTopicThatIsNoTopicName) {
  refused(k311, kClient, "10 11 0004 4d515454 04 06 003c 0000 0001 23 0000", Reason::kMalformedPacket);
  refused(k311, kClient, "10 10 0004 4d515454 04 06 003c 0000 0000 0000", Reason::kMalformedPacket);
  refused(k5, kClient, "10 13 0004 4d515454 05 06 003c 00 0000 00 0001 2b 0000", Reason::kMalformedPacket);
  refused(k5, kClient, "10 13 0004 4d515454 05 06 003c 00 0000 00 0001 ff 0000", kMalformed);
}

TEST(ConnectRefusal, WillIsMissing) {
  refused(k311, kClient, "10 0c 0004 4d515454 04 06 003c 0000", kMalformed);
  refused(k311, kClient, "10 0f 0004 4d515454 04 06 003c 0000 0001 74", kMalformed);
}

TEST(ConnectRefusal, PasswordWithoutUserNameIn311) {
  refused(k311, kClient, "10 0f 0004 4d515454 04 42 003c 0000 0001 70", kMalformed);
}

TEST(ConnectRefusal, UserNameAndPasswordAreAsTheirFlagsSay) {
  // [MQTT-3.1.2-16] to [MQTT-3.1.2-19] (In 3.1.1: [MQTT-3.1.2-18] to [MQTT-3.1.2-21].)
  refused(k311, kClient, "10 0f 0004 4d515454 04 02 003c 0000 0001 75", kMalformed);  // No flag.
  refused(k311, kClient, "10 0c 0004 4d515454 04 82 003c 0000", kMalformed);          // No user name.
  refused(k311, kClient, "10 0f 0004 4d515454 04 c2 003c 0000 0001 75", kMalformed);  // No password.
  refused(k311, kClient, "10 12 0004 4d515454 04 82 003c 0000 0001 75 0001 70", kMalformed);
  refused(k5, kClient, "10 10 0004 4d515454 05 02 003c 00 0000 0001 75", kMalformed);
  refused(k5, kClient, "10 0d 0004 4d515454 05 82 003c 00 0000", kMalformed);
  refused(k5, kClient, "10 0d 0004 4d515454 05 42 003c 00 0000", kMalformed);
  accepted(k5, kClient, "10 13 0004 4d515454 05 c2 003c 00 0000 0001 75 0001 70");
}

TEST(ConnectRefusal, StringsThatAreNotUtf8) {
  refused(k311, kClient, "10 0d 0004 4d515454 04 02 003c 0001 00",
          kMalformed);  // U+0000 in the client identifier.
  refused(k311, kClient, "10 0f 0004 4d515454 04 02 003c 0003 eda080", kMalformed);   // A surrogate, U+D800.
  refused(k311, kClient, "10 0f 0004 4d515454 04 82 003c 0000 0001 ff", kMalformed);  // In the user name.
  accepted(k311, kClient, "10 12 0004 4d515454 04 c2 003c 0000 0001 75 0001 ff");     // A password is binary.
}

TEST(ConnectRefusal, PropertyValuesOutOfRange) {
  refused(k5, kClient, "10 10 0004 4d515454 05 02 003c 03 21 0000 0000", kProtocol);  // Receive Maximum 0.
  refused(k5, kClient, "10 12 0004 4d515454 05 02 003c 05 27 00000000 0000",
          kProtocol);  // Maximum Packet Size 0.
  refused(k5, kClient, "10 0f 0004 4d515454 05 02 003c 02 19 02 0000",
          kProtocol);  // Request Response Information.
  refused(k5, kClient, "10 0f 0004 4d515454 05 02 003c 02 17 02 0000",
          kProtocol);  // Request Problem Information.
  refused(k5, kClient, "10 11 0004 4d515454 05 02 003c 04 16 0001 00 0000",
          kProtocol);  // Data without a method.
}

// --- Properties.

TEST(PropertyRefusal, LengthPastTheEnd) {
  refused(k5, kClient, "10 0d 0004 4d515454 05 02 003c 01 0000",
          kMalformed);  // Eats into the client identifier.
  refused(k5, kClient, "10 0d 0004 4d515454 05 02 003c 7f 0000", kMalformed);
  refused(k5, kClient, "30 04 0001 74 01", kMalformed);
  refused(k5, kClient, "30 07 0001 74 ffffff7f", kMalformed);
  refused(k5, kClient, "40 04 0001 00 05", kMalformed);
  refused(k5, kClient, "e0 02 00 01", kMalformed);
}

TEST(PropertyRefusal, LengthOfFiveBytesOrTooManyBytes) {
  refused(k5, kClient, "30 08 0001 74 8080808001", kMalformed);
  refused(k5, kClient, "30 05 0001 74 8000", kMalformed);  // [MQTT-1.5.5-1]
}

TEST(PropertyRefusal, LengthIsMissing) {
  refused(k5, kClient, "30 03 0001 74", kMalformed);
  refused(k5, kServer, "20 02 00 00", kMalformed);
  refused(k5, kServer, "f0 01 00", kMalformed);
}

TEST(PropertyRefusal, ValueLongerThanTheProperties) {
  refused(k5, kClient, "30 08 0001 74 03 03 0001 63", kMalformed);  // The content type ends outside.
  refused(k5, kClient, "30 07 0001 74 02 02 0000", kMalformed);
  refused(k5, kClient, "30 09 0001 74 05 26 0000 0001", kMalformed);
}

TEST(PropertyRefusal, Unknown) {
  for (const Bytes id : {"00", "04", "0a", "2b", "7f", "80", "ff"}) {
    refused(k5, kClient, "30 06 0001 74 02 " + std::string(id) + " 00", kMalformed);
  }
}

TEST(PropertyRefusal, NotOfThisPacket) {
  // 2.2.2.2: malformed.
  refused(k5, kClient, "10 0f 0004 4d515454 05 02 003c 02 01 01 0000",
          kMalformed);                                                      // Payload format in CONNECT.
  refused(k5, kClient, "30 09 0001 74 05 11 00000001", kMalformed);         // Session expiry in PUBLISH.
  refused(k5, kClient, "40 07 0001 00 03 23 0001", kMalformed);             // Topic alias in PUBACK.
  refused(k5, kClient, "82 0b 0001 04 1f 0001 61 0001 74 00", kMalformed);  // Reason string in SUBSCRIBE.
  refused(k5, kClient, "a2 08 0001 02 0b 01 0001 74", kMalformed);          // Subscription identifier.
  refused(k5, kServer, "90 06 0001 02 0b 01 00", kMalformed);
  refused(k5, kClient, "e0 07 00 05 15 0002 6d6d", kMalformed);
  refused(k5, kServer, "20 05 00 00 02 17 00", kMalformed);
  refused(k5, kClient, "10 15 0004 4d515454 05 06 003c 00 0000 02 23 01 0001 74 0000",
          kMalformed);  // In a will.
}

TEST(PropertyRefusal, Twice) {
  refused(k5, kClient, "10 17 0004 4d515454 05 02 003c 0a 11 00000001 11 00000001 0000", kProtocol);
  refused(k5, kClient, "10 13 0004 4d515454 05 02 003c 06 22 0000 22 0000 0000", kProtocol);
  refused(k5, kClient, "30 08 0001 74 04 01 00 01 00", kProtocol);
  refused(k5, kClient, "30 0a 0001 74 06 03 0000 03 0000", kProtocol);
  refused(k5, kClient, "82 0b 0001 04 0b 01 0b 02 0001 74 00", kProtocol);
  accepted(k5, kServer, "30 08 0001 74 04 0b 01 0b 02");
  accepted(k5, kClient, "30 0e 0001 74 0a 26 0000 0000 26 0000 0000");
}

TEST(PropertyRefusal, FlagsThatAreNeither0Nor1) {
  refused(k5, kClient, "30 06 0001 74 02 01 02", kProtocol);  // Payload format indicator.
  for (const Bytes id : {"24", "25", "28", "29", "2a"}) {
    refused(k5, kServer, "20 05 00 00 02 " + std::string(id) + " 02", kProtocol);
  }
}

TEST(PropertyRefusal, ZeroWhereItMeansNothing) {
  refused(k5, kClient, "30 07 0001 74 03 23 0000", Reason::kTopicAliasInvalid);
  refused(k5, kServer, "30 06 0001 74 02 0b 00", kProtocol);
  refused(k5, kClient, "82 09 0001 02 0b 00 0001 74 00", kProtocol);
  refused(k5, kServer, "20 06 00 00 03 21 0000", kProtocol);
  refused(k5, kServer, "20 08 00 00 05 27 00000000", kProtocol);
}

TEST(PropertyRefusal, SubscriptionIdentifierOfFiveBytes) {
  refused(k5, kClient, "82 0d 0001 06 0b 8080808001 0001 74 00", kMalformed);
  refused(k5, kClient, "82 0a 0001 03 0b 8100 0001 74 00", kMalformed);  // [MQTT-1.5.5-1]
  accepted(k5, kClient, "82 0c 0001 05 0b ffffff7f 0001 74 00");
}

TEST(PropertyRefusal, ResponseTopicThatIsNoTopicName) {
  refused(k5, kClient, "30 08 0001 74 04 08 0001 23", kProtocol);  // [MQTT-3.3.2-14]
  refused(k5, kClient, "30 07 0001 74 03 08 0000", kProtocol);
  refused(k5, kClient, "30 08 0001 74 04 08 0001 00", kMalformed);
}

TEST(PropertyRefusal, StringsThatAreNotUtf8) {
  refused(k5, kClient, "30 08 0001 74 04 03 0001 00", kMalformed);
  refused(k5, kClient, "30 0a 0001 74 06 26 0001 ff 0000", kMalformed);
  refused(k5, kClient, "30 0b 0001 74 07 26 0000 0002 c080", kMalformed);
  accepted(k5, kClient, "30 08 0001 74 04 09 0001 ff");  // Correlation data are binary.
}

TEST(PropertyRefusal, OfAPublishOutsideAPacket) {
  Properties properties;
  DecodeError error;
  EXPECT_TRUE(decode_publish_properties(hex("01 01 0b 05 26 0001 61 0001 62"), &properties, &error));
  EXPECT_EQ(properties.payload_format_indicator, uint8_t{1});
  EXPECT_EQ(properties.user_properties.size(), 1u);
  EXPECT_FALSE(decode_publish_properties(hex("11 00000001"), &properties, &error));
  EXPECT_FALSE(decode_publish_properties(hex("01"), &properties, &error));
  EXPECT_TRUE(decode_publish_properties({}, &properties, &error));
  EXPECT_TRUE(properties == Properties());
}

// --- CONNACK.

TEST(ConnackRefusal, ReservedFlagsAndReasons) {
  refused(k311, kServer, "20 02 02 00", kMalformed);
  refused(k5, kServer, "20 03 80 00 00", kMalformed);
  refused(k311, kServer, "20 02 01 05", kProtocol);   // [MQTT-3.2.2-4] of 3.1.1
  refused(k5, kServer, "20 03 01 87 00", kProtocol);  // [MQTT-3.2.2-6]
  refused(k311, kServer, "20 02 00 06", kProtocol);
  refused(k5, kServer, "20 03 00 05 00", kProtocol);
  refused(k5, kServer, "20 03 00 8e 00", kProtocol);  // Session taken over.
  refused(k311, kServer, "20 01 00", kMalformed);
}

// --- PUBLISH.

TEST(PublishRefusal, Qos3) {
  for (const Version version : {k311, k5}) {
    refused(version, kClient, "36 06 0001 74 0001 00", kMalformed);
    refused(version, kServer, "3f 06 0001 74 0001 00", kMalformed);
  }
}

TEST(PublishRefusal, DupAtQos0) {
  refused(k311, kClient, "38 03 0001 74", kMalformed);
  refused(k5, kServer, "38 04 0001 74 00", kMalformed);
}

TEST(PublishRefusal, TopicThatIsNoTopicName) {
  for (const Bytes topic : {"0001 23", "0001 2b", "0003 612f23", "0003 612f2b", "0003 612b62"}) {
    const std::string size = topic.starts_with("0001") ? "03" : "05";
    const std::string size_5 = topic.starts_with("0001") ? "04" : "06";
    refused(k311, kClient, "30 " + size + std::string(topic), Reason::kMalformedPacket);
    refused(k5, kServer, "30 " + size_5 + std::string(topic) + "00", Reason::kMalformedPacket);
  }
  refused(k311, kClient, "30 02 0000", Reason::kMalformedPacket);
  refused(k5, kClient, "30 03 0000 00", kProtocol);  // And no topic alias.
  refused(k5, kClient, "30 04 0001 00 00", kMalformed);
  refused(k5, kClient, "30 06 0003 eda080 00", kMalformed);
}

TEST(PublishRefusal, TopicDeeperThanTheLimit) {
  const auto publish = [](size_t levels) {
    std::string topic = "a";
    for (size_t i = 1; i < levels; ++i) topic += "/a";
    std::string bytes;
    encode_publish(bytes, k311, {.topic = topic}, "x");
    return bytes;
  };
  std::vector<char> storage;
  Packet packet;
  DecodeError error;
  EXPECT_TRUE(decode_whole(publish(kTopicLevelsMax), k311, kClient, storage, &packet, &error));
  EXPECT_FALSE(decode_whole(publish(kTopicLevelsMax + 1), k311, kClient, storage, &packet, &error));
  EXPECT_EQ(error.reason, Reason::kTopicNameInvalid);
  EXPECT_FALSE(decode_whole(publish(32'000), k311, kClient, storage, &packet, &error));
}

TEST(PublishRefusal, SubscriptionIdentifierOfAClient) {
  refused(k5, kClient, "30 06 0001 74 02 0b 01", kProtocol);  // [MQTT-3.3.4-6]
  accepted(k5, kServer, "30 06 0001 74 02 0b 01");
}

TEST(PublishRefusal, TopicPastTheEnd) {
  refused(k311, kClient, "30 00", kMalformed);
  refused(k311, kClient, "30 01 00", kMalformed);
  refused(k311, kClient, "30 03 0002 74", kMalformed);
  refused(k311, kClient, "30 03 ffff 74", kMalformed);
  refused(k311, kClient, "32 03 0001 74", kMalformed);     // No packet identifier.
  refused(k311, kClient, "32 04 0001 74 00", kMalformed);  // Half of one.
}

// --- SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.

TEST(SubscribeRefusal, NoFilters) {
  refused(k311, kClient, "82 02 0001", kProtocol);
  refused(k5, kClient, "82 03 0001 00", kProtocol);
  refused(k311, kClient, "a2 02 0001", kProtocol);
  refused(k5, kClient, "a2 03 0001 00", kProtocol);
}

TEST(SubscribeRefusal, Options) {
  refused(k311, kClient, "82 06 0001 0001 74 03", kMalformed);  // QoS 3.
  refused(k311, kClient, "82 06 0001 0001 74 04", kMalformed);  // No local is of 5.0.
  refused(k311, kClient, "82 06 0001 0001 74 80", kMalformed);
  refused(k5, kClient, "82 07 0001 00 0001 74 03", kProtocol);
  refused(k5, kClient, "82 07 0001 00 0001 74 30", kProtocol);   // Retain handling 3.
  refused(k5, kClient, "82 07 0001 00 0001 74 40", kMalformed);  // [MQTT-3.8.3-5]
  refused(k5, kClient, "82 07 0001 00 0001 74 80", kMalformed);
}

TEST(SubscribeRefusal, NoLocalOnASharedSubscription) {
  // "$share/g/t" [MQTT-3.8.3-4]
  refused(k5, kClient, "82 10 0001 00 000a 2473686172652f672f74 05", kProtocol);
  accepted(k5, kClient, "82 10 0001 00 000a 2473686172652f672f74 01");
}

TEST(SubscribeRefusal, FilterThatIsNone) {
  for (const Bytes filter : {"0000", "0002 2323", "0002 612b", "0003 232f61", "0002 6123"}) {
    const size_t size = hex(filter).size();
    refused(k311, kClient, "82 0" + std::to_string(size + 3) + "0001" + std::string(filter) + "00",
            Reason::kMalformedPacket);
    refused(k311, kClient, "a2 0" + std::to_string(size + 2) + "0001" + std::string(filter),
            Reason::kMalformedPacket);
  }
  refused(k5, kClient, "82 0e 0001 00 0008 2473686172652f67 00", Reason::kMalformedPacket);  // "$share/g"
  refused(k5, kClient, "82 0f 0001 00 0009 2473686172652f672f 00",
          Reason::kMalformedPacket);  // "$share/g/"
  refused(k5, kClient, "82 0f 0001 00 0009 2473686172652f2f74 00",
          Reason::kMalformedPacket);  // "$share//t"
  refused(k5, kClient, "82 10 0001 00 000a 2473686172652f2b2f74 00",
          Reason::kMalformedPacket);  // "$share/+/t"
  refused(k311, kClient, "82 06 0001 0001 00 00", kMalformed);
  refused(k311, kClient, "a2 05 0001 0001 ff", kMalformed);
}

TEST(SubscribeRefusal, CutInAnEntry) {
  refused(k311, kClient, "82 05 0001 0001 74", kMalformed);  // No options.
  refused(k311, kClient, "82 03 0001 00", kMalformed);
  refused(k311, kClient, "82 07 0001 0001 74 00 00", kMalformed);
  refused(k311, kClient, "a2 04 0001 0001", kMalformed);
}

TEST(SubscribeRefusal, ReasonsOfTheAnswer) {
  refused(k311, kServer, "90 02 0001", kProtocol);
  refused(k311, kServer, "90 03 0001 03", kProtocol);
  refused(k311, kServer, "90 03 0001 8f", kProtocol);
  refused(k5, kServer, "90 03 0001 00", kProtocol);
  refused(k5, kServer, "90 04 0001 00 03", kProtocol);
  refused(k5, kServer, "90 04 0001 00 11", kProtocol);  // No subscription existed: of UNSUBACK.
  refused(k5, kServer, "b0 04 0001 00 01", kProtocol);
  refused(k5, kServer, "b0 03 0001 00", kProtocol);
}

// --- Reason codes of the others.

TEST(ReasonRefusal, NotOfThisPacket) {
  refused(k5, kClient, "40 03 0001 01", kProtocol);
  refused(k5, kClient, "40 03 0001 92", kProtocol);
  refused(k5, kClient, "50 03 0001 ff", kProtocol);
  refused(k5, kClient, "62 03 0001 10", kProtocol);
  refused(k5, kServer, "70 03 0001 80", kProtocol);
  refused(k5, kClient, "e0 01 01", kProtocol);
  refused(k5, kServer, "e0 01 84", kProtocol);
}

TEST(ReasonRefusal, NotOfThisSide) {
  refused(k5, kClient, "40 03 0001 10", kProtocol);  // No matching subscribers: a server knows.
  refused(k5, kClient, "e0 01 8e", kProtocol);       // Session taken over.
  refused(k5, kServer, "e0 01 04", kProtocol);       // Disconnect with will.
  accepted(k5, kServer, "e0 01 8e");
  accepted(k5, kClient, "e0 01 04");
  refused(k5, kServer, "f0 06 19 04 15 0001 6d", kProtocol);  // Re-authenticate.
  refused(k5, kClient, "f0 00", kProtocol);                   // Success.
  accepted(k5, kClient, "f0 06 19 04 15 0001 6d");
}

TEST(DisconnectRefusal, SessionExpiryOfAServer) {
  refused(k5, kServer, "e0 07 00 05 11 00000000", kProtocol);  // [MQTT-3.14.2-2]
}

TEST(AuthRefusal, NoMethod) {
  refused(k5, kClient, "f0 02 18 00", kProtocol);
  refused(k5, kServer, "f0 06 18 04 16 0001 00", kProtocol);
}

}  // namespace
}  // namespace hf::mqtt
