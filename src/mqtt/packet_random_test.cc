// Goal: laws that hold for every packet, not only for those that somebody thought of. Method: thousands of
// random packets of all types, both versions, both senders, from a fixed seed; each is encoded, decoded, cut
// at every byte and spoilt at every byte. Bytes are decoded from buffers that end where they do, so that a
// sanitizer sees each read past the end.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "mqtt/packet.h"
#include "mqtt/packet_hex.h"
#include "mqtt/random_packet.h"

namespace hf::mqtt {
namespace {

constexpr Version kVersions[] = {Version::k311, Version::k5};
constexpr Sender kSenders[] = {Sender::kClient, Sender::kServer};

// Calls check(bytes, packet, version, sender) for `count` packets of each version and sender.
void for_random_packets(
    uint64_t seed, int count,
    const std::function<void(const std::string&, const Packet&, Version, Sender)>& check) {
  for (const Version version : kVersions) {
    for (const Sender sender : kSenders) {
      RandomPackets packets(seed++);
      for (int i = 0; i < count; ++i) {
        const Packet packet = packets.next(version, sender);
        std::string bytes;
        encode(bytes, version, packet);
        check(bytes, packet, version, sender);
        if (testing::Test::HasFailure())
          FAIL() << "seed " << seed - 1 << ", packet " << i << ": " << to_hex(bytes);
      }
    }
  }
}

// The packet with its body cut to `size` bytes and its remaining length put right.
std::string with_body_cut(const std::string& bytes, size_t size) {
  Framed framed;
  DecodeError error;
  EXPECT_EQ(frame_next(bytes, SIZE_MAX, &framed, &error), FrameStatus::kWhole);
  std::string cut(1, bytes[0]);
  put_variable(cut, static_cast<uint32_t>(size));
  cut += framed.body.substr(0, size);
  return cut;
}

TEST(RandomPacket, DecodesToWhatWasEncoded) {
  for_random_packets(1, 4'000, [](const std::string&, const Packet& packet, Version version, Sender sender) {
    EXPECT_TRUE(survives_round_trip(packet, version, sender));
  });
}

TEST(RandomPacket, EncodesAgainToTheSameBytes) {
  for_random_packets(100, 1'000, [](const std::string& bytes, const Packet&, Version version, Sender sender) {
    std::vector<char> storage;
    Packet decoded;
    DecodeError error;
    ASSERT_TRUE(decode_whole(bytes, version, sender, storage, &decoded, &error)) << error.text;
    std::string again;
    encode(again, version, decoded);
    EXPECT_EQ(to_hex(again), to_hex(bytes));
  });
}

TEST(RandomPacket, AppendsAndPredictsTheSizeOfAPublish) {
  for_random_packets(200, 1'000, [](const std::string& bytes, const Packet& packet, Version version, Sender) {
    std::string appended = "x";
    encode(appended, version, packet);
    EXPECT_EQ(appended, "x" + bytes);
    const auto* publish = std::get_if<Publish>(&packet);
    if (publish == nullptr) return;
    std::string raw;
    encode_properties(raw, publish->properties);
    const PublishHead head{.dup = publish->dup,
                           .qos = publish->qos,
                           .retain = publish->retain,
                           .topic = publish->topic,
                           .packet_id = publish->packet_id,
                           .raw_properties = raw};
    EXPECT_EQ(encoded_publish_size(version, head, publish->payload.size()), bytes.size());
    std::string hot;
    encode_publish(hot, version, head, publish->payload);
    EXPECT_EQ(hot, bytes);
  });
}

TEST(RandomPacket, EveryPrefixNeedsMore) {
  for_random_packets(300, 500, [](const std::string& bytes, const Packet&, Version, Sender) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      const std::vector<char> prefix(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
      Framed framed;
      DecodeError error;
      EXPECT_EQ(frame_next(Bytes(prefix.data(), prefix.size()), SIZE_MAX, &framed, &error),
                FrameStatus::kNeedMore);
      EXPECT_TRUE(framed.size == 0 || framed.size == bytes.size());
    }
  });
}

// A body cut short is refused, unless what is left is a packet of its own (fewer filters, a shorter payload);
// that one is sound then.
TEST(RandomPacket, EveryPrefixOfTheBodyFailsCleanly) {
  int refused = 0;
  for_random_packets(400, 500, [&](const std::string& bytes, const Packet&, Version version, Sender sender) {
    Framed framed;
    DecodeError error;
    ASSERT_EQ(frame_next(bytes, SIZE_MAX, &framed, &error), FrameStatus::kWhole);
    for (size_t size = 0; size < framed.body.size(); ++size) {
      std::vector<char> storage;
      Packet decoded;
      if (decode_whole(with_body_cut(bytes, size), version, sender, storage, &decoded, &error)) {
        EXPECT_TRUE(survives_round_trip(decoded, version, sender));
      } else {
        EXPECT_NE(error.text[0], '\0');
        ++refused;
      }
    }
  });
  EXPECT_GT(refused, 10'000);
}

TEST(RandomPacket, EverySpoiltByteFailsCleanly) {
  Prng prng(7);
  for_random_packets(500, 300, [&](const std::string& bytes, const Packet&, Version, Sender) {
    for (size_t at = 0; at < bytes.size(); ++at) {
      std::string spoilt = bytes;
      spoilt[at] = static_cast<char>(spoilt[at] ^ static_cast<char>(1 + prng.below(255)));
      for (const Version version : kVersions) {
        for (const Sender sender : kSenders) {
          std::vector<char> storage;
          Packet decoded;
          DecodeError error;
          if (decode_whole(spoilt, version, sender, storage, &decoded, &error)) {
            EXPECT_TRUE(survives_round_trip(decoded, version, sender));
          }
        }
      }
    }
  });
}

TEST(RandomPacket, NoiseFailsCleanly) {
  Prng prng(8);
  for (int i = 0; i < 100'000; ++i) {
    std::string noise(1, static_cast<char>(prng.next()));
    const uint64_t size = prng.below(30);
    put_variable(noise, static_cast<uint32_t>(size));
    for (uint64_t k = 0; k < size; ++k)
      noise += static_cast<char>(prng.chance(1, 2) ? prng.below(4) : prng.next());
    for (const Version version : kVersions) {
      for (const Sender sender : kSenders) {
        std::vector<char> storage;
        Packet decoded;
        DecodeError error;
        if (decode_whole(noise, version, sender, storage, &decoded, &error)) {
          EXPECT_TRUE(survives_round_trip(decoded, version, sender)) << to_hex(noise);
        }
      }
    }
  }
}

// A stream is the same packets however it was cut into reads.
TEST(RandomPacket, StreamOfPacketsIsTakenApart) {
  for (const Version version : kVersions) {
    RandomPackets packets(9);
    std::string stream;
    std::vector<size_t> sizes;
    for (int i = 0; i < 200; ++i) {
      const size_t before = stream.size();
      encode(stream, version, packets.next(version, Sender::kClient));
      sizes.push_back(stream.size() - before);
    }
    Bytes rest = stream;
    for (const size_t size : sizes) {
      Framed framed;
      DecodeError error;
      ASSERT_EQ(frame_next(rest, SIZE_MAX, &framed, &error), FrameStatus::kWhole);
      ASSERT_EQ(framed.size, size);
      Packet decoded;
      ASSERT_TRUE(decode(framed, version, Sender::kClient, &decoded, &error)) << error.text;
      rest.remove_prefix(size);
    }
    EXPECT_TRUE(rest.empty());
  }
}

}  // namespace
}  // namespace hf::mqtt
