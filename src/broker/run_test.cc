// Runs of QoS 0 messages: whoever sends many at once is treated as if each had come alone, only cheaper.
#include "base/prng.h"
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::Version;

std::string encoded(const mqtt::Publish& packet, Version version) {
  std::string bytes;
  mqtt::encode(bytes, version, packet);
  return bytes;
}

TEST(Run, IsOnePieceForEachSubscriber) {
  Site site;
  Client pub(site, "pub"), one(site, "one"), two(site, "two"), old(site, "old", Version::k311);
  for (Client* client : {&pub, &one, &two, &old}) client->connect();
  one.subscribed("t", 0);
  two.subscribed("#", 1);
  old.subscribed("t", 0);
  pub.publish("t", "first");
  Lines expected = {"PUBLISH q0 t 'first'"};
  std::string bytes;
  for (int i = 0; i < 10; ++i) {
    bytes += encoded({.topic = "t", .payload = std::to_string(i)}, Version::k5);
    expected.push_back("PUBLISH q0 t '" + std::to_string(i) + "'");
  }
  site.host.send_calls = 0;
  pub.send_bytes(bytes);
  EXPECT_EQ(site.host.passed_on, 2u);
  EXPECT_EQ(site.host.send_calls, 2u + 10u);  // A 3.1.1 client cannot read what a 5.0 client wrote.
  EXPECT_EQ(one.take(), expected);
  EXPECT_EQ(two.take(), expected);
  EXPECT_EQ(old.take(), expected);
  EXPECT_EQ(site.broker->counters().publishes_received[0], 11u);
  EXPECT_EQ(site.broker->counters().publishes_sent[0], 33u);
  EXPECT_EQ(site.store->figures().records, 0u);
}

// What lies in the broker's own buffer is gone when the next bytes come.
TEST(Run, IsNotPassedOnFromABufferOfTheBroker) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.hello.user_name = "slow";
  site.host.pending.insert("slow");
  sub.connect();
  sub.subscribed("t", 0);
  std::string bytes;
  for (int i = 0; i < 3; ++i) bytes += encoded({.topic = "t", .payload = "x"}, Version::k5);
  pub.dial();
  pub.send_bytes(bytes);  // Waits for the verdict.
  site.broker->authenticated(pub.id, {}, site.now);
  site.sync();
  EXPECT_EQ(sub.take(), Lines(3, "PUBLISH q0 t 'x'"));
  EXPECT_EQ(site.host.passed_on, 0u);
}

TEST(Run, EndsWhereTheTopicOrTheKindOfMessageChanges) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.connect();
  sub.connect();
  sub.subscribed("#", 0);
  std::string bytes;
  Lines expected;
  for (const char* topic : {"a", "a", "a", "ab", "ab", "a", "a"}) {
    bytes += encoded({.topic = topic, .payload = "x"}, Version::k5);
    expected.push_back(std::string("PUBLISH q0 ") + topic + " 'x'");
  }
  bytes += encoded({.qos = 1, .topic = "a", .packet_id = 1, .payload = "x"}, Version::k5);
  expected.push_back("PUBLISH q0 a 'x'");
  bytes += encoded({.topic = "a", .payload = "y"}, Version::k5);
  expected.push_back("PUBLISH q0 a 'y'");
  pub.send_bytes(bytes);
  EXPECT_EQ(sub.take(), expected);
}

TEST(Run, OfATopicWithoutTheRightIsRefusedOneByOne) {
  Site site;
  Client pub(site, "pub"), sub(site, "sub");
  pub.hello.user_name = "ann";
  site.host.rights_of["ann"].publishes = {"mine"};
  pub.connect();
  sub.connect();
  sub.subscribed("#", 0);
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += encoded({.topic = "others", .payload = "x"}, Version::k5);
  pub.send_bytes(bytes);
  EXPECT_EQ(sub.take(), Lines{});
  EXPECT_EQ(site.broker->counters().not_authorized, 4u);
}

// And each of its messages is looked at so often, not as often as there are others behind it.
TEST(Run, OfARoutedTopicIsStored) {
  Site site;
  site.host.routes = {{"kept/#", "kept", {}}};
  Client pub(site, "pub");
  pub.connect();
  std::string bytes;
  for (int i = 0; i < 200; ++i) bytes += encoded({.topic = "kept/t", .payload = "x"}, Version::k5);
  pub.send_bytes(bytes);
  site.sync();
  EXPECT_EQ(site.store->figures().records, 200u);
  EXPECT_LE(site.host.event_time_calls, 3u * 200);
}

// A site with every kind of subscriber.
struct Crowd {
  Site site;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<Client>> publishers;
  ConnectionId slow = 0;

  Crowd() {
    site.limits.unsent_bytes_max = 20'000;
    site.restart();
    site.host.routes = {{"kept/#", "kept", {}}};
    site.host.rights_of["ann"].subscribes = {"#"};
    site.host.rights_of["ann"].receives = {"a", "kept/#"};
    add("plain5").subscribed("#", 0);
    add("plain3", Version::k311).subscribed("#", 0);
    add("identified").subscribed("#", 0, 7);
    Client& aliases = make("aliases");
    aliases.hello.properties.topic_alias_maximum = 3;
    aliases.connect();
    aliases.subscribed("#", 0);
    Client& small = make("small");
    small.hello.properties.maximum_packet_size = 120;
    small.connect();
    small.subscribed("#", 0);
    Client& ann = make("ann");
    ann.hello.user_name = "ann";
    ann.connect();
    ann.subscribed("#", 0);
    for (const char* name : {"worker1", "worker2", "worker3"}) add(name).subscribed("$share/g/#", 1);
    Client& local = add("own");
    local.subscribe(mqtt::SubscribeEntry{.filter = "#", .no_local = true, .retain_as_published = true});
    site.sync();
    local.take();
    slow = add("slow").id;
    clients.back()->subscribed("#", 0);
    publishers.push_back(std::make_unique<Client>(site, "pub5"));
    publishers.push_back(std::make_unique<Client>(site, "pub3", Version::k311));
    for (const auto& one : publishers) one->connect();
  }
  Client& make(const char* name, Version version = Version::k5) {
    return *clients.emplace_back(std::make_unique<Client>(site, name, version));
  }
  Client& add(const char* name, Version version = Version::k5) {
    Client& client = make(name, version);
    client.connect();
    return client;
  }
};

std::string random_packet(Prng& prng, Version version, uint16_t* packet_id) {
  static const char* const kTopics[] = {"a", "a", "a", "b/c", "kept/t", "$no"};
  mqtt::Publish packet{.topic = kTopics[prng.below(6)]};
  static const std::string payload(300, 'x');
  packet.payload = Bytes(payload).substr(0, prng.below(300));
  if (prng.chance(1, 12)) packet.retain = true;
  if (prng.chance(1, 12) && version == Version::k5) packet.properties.message_expiry_interval_s = 5;
  if (prng.chance(1, 10)) {
    packet.qos = static_cast<uint8_t>(1 + prng.below(2));
    packet.packet_id = ++*packet_id;
  }
  std::string bytes;
  const size_t count = prng.chance(1, 2) ? 1 + prng.below(12) : 1;
  for (size_t i = 0; i < count; ++i) {
    if (i > 0 && packet.qos > 0) packet.packet_id = ++*packet_id;
    mqtt::encode(bytes, version, packet);
  }
  return bytes;
}

TEST(Run, GivesEverybodyWhatSingleMessagesWouldHaveGiven) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Crowd together, alone;
    Prng prng(seed);
    uint16_t packet_id = 0;
    for (int turn = 0; turn < 20; ++turn) {
      const size_t who = prng.below(2);
      const bool late = prng.chance(1, 5);
      const uint64_t unsent = prng.chance(1, 4) ? prng.below(25'000) : 0;
      std::string bytes;
      for (uint64_t i = 1 + prng.below(8); i > 0; --i) {
        bytes += random_packet(prng, who == 0 ? Version::k5 : Version::k311, &packet_id);
      }
      for (Crowd* crowd : {&together, &alone}) {
        crowd->site.host.payload_time = late ? std::optional<int64_t>(1'700'000'000'000'000) : std::nullopt;
        crowd->site.broker->unsent(crowd->slow, unsent, crowd->site.now);
      }
      together.publishers[who]->send_bytes(bytes);
      for (Bytes rest = bytes; !rest.empty();) {
        mqtt::Framed framed;
        mqtt::DecodeError error;
        ASSERT_EQ(mqtt::frame_next(rest, 1 << 20, &framed, &error), mqtt::FrameStatus::kWhole);
        alone.publishers[who]->send_bytes(rest.substr(0, framed.size));
        rest.remove_prefix(framed.size);
      }
      for (Crowd* crowd : {&together, &alone}) {
        crowd->site.sync();
        crowd->site.pass(milliseconds(10));
        crowd->site.sync();
      }
      for (size_t i = 0; i < together.clients.size(); ++i) {
        ASSERT_EQ(together.clients[i]->take(), alone.clients[i]->take())
            << together.clients[i]->name << ", seed " << seed << ", turn " << turn;
      }
      for (size_t i = 0; i < 2; ++i) ASSERT_EQ(together.publishers[i]->take(), alone.publishers[i]->take());
      const Counters& a = together.site.broker->counters();
      const Counters& b = alone.site.broker->counters();
      ASSERT_EQ(a.publishes_received[0], b.publishes_received[0]);
      ASSERT_EQ(a.publishes_sent[0], b.publishes_sent[0]);
      ASSERT_EQ(a.packets_received, b.packets_received);
      ASSERT_EQ(a.packets_sent, b.packets_sent);
      ASSERT_EQ(a.bytes_sent, b.bytes_sent);
      ASSERT_EQ(a.qos0_dropped, b.qos0_dropped);
      ASSERT_EQ(a.not_authorized, b.not_authorized);
      ASSERT_EQ(together.site.store->figures().records, alone.site.store->figures().records);
    }
    EXPECT_GT(together.site.host.passed_on, 0u);
  }
}

}  // namespace
}  // namespace hf::broker
