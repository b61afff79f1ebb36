// The child's MQTT client against a parent made of the codec alone: claims with lost acknowledgements,
// backoff, silence, and a parent that breaks the protocol.
#include "link/uplink.h"

#include <gtest/gtest.h>

#include "link/link_testing.h"
#include "link/registry.h"

namespace hf::link {
namespace {

using mqtt::Reason;
using mqtt::Version;

// A parent: registry and conversation of a real node, spoken to in bytes.
struct Site : Uplink::Output {
  TestNode child{"ship-7", 1};
  TestNode hub{"hub", 2};
  Registry registry{hub.store()};
  std::unique_ptr<Credentials> credentials;
  UplinkOptions options;
  std::unique_ptr<Uplink> uplink;
  ConnectionId next_connection = 0;

  // The parent's end of the connection.
  struct Server final : Channel {
    Site& site;
    explicit Server(Site& site_in) : site(site_in) {}
    uint16_t send(Kind kind, Bytes message, uint64_t commit) override {
      mqtt::PublishHead head;
      head.qos = 1;
      head.topic = topic_of(kind);
      head.packet_id = ++id;
      std::string bytes;
      mqtt::encode_publish(bytes, Version::k5, head, message);
      gated.push_back({commit, bytes});
      return id;
    }
    void acknowledge(uint16_t acked, Reason reason, uint64_t commit) override {
      std::string bytes;
      mqtt::encode_ack(bytes, Version::k5, mqtt::PacketType::kPuback, acked, reason);
      gated.push_back({commit, bytes});
    }
    void close(const char*) override { closing = true; }
    uint64_t message_bytes_max() const override { return 1 << 20; }
    uint16_t id = 0;
    std::deque<std::pair<uint64_t, std::string>> gated;
    bool closing = false;
  };
  Server server{*this};
  ConnectionId connection = 0;  // That stands at the parent.
  bool by_claim = false;
  std::string from_child;  // Bytes not taken yet.
  bool deaf = false;       // The parent neither hears nor says anything.
  bool mute = false;       // It hears, and says nothing.
  bool lose_claim_ack = false;
  mqtt::Connack accepting;  // What it says to whom it lets in.
  std::vector<std::string> passwords;
  int dials = 0;
  bool refuse_dials = false;
  uint64_t pings = 0;

  Site() {
    child.with("^");
    hub.with("ship-7");
    make();
  }
  void make() {
    credentials = std::make_unique<Credentials>(child.store());
    uplink = std::make_unique<Uplink>(child.store(), child.with("^"), *credentials, *this, options, 7);
  }
  void claim() {
    const std::string text = *registry.add("ship-7", {}, hub.base.entropy);
    ASSERT_TRUE(credentials->take(text, child.base.entropy));
  }

  void send(ConnectionId to, Bytes bytes) override {
    if (to == connection && !deaf) from_child.append(bytes);
  }
  void close(ConnectionId to) override {
    if (to == connection) drop();
  }
  void log(const char* event, std::string text) override { child.log(event, std::move(text)); }

  void drop() {
    if (hub.with("ship-7").begun()) hub.with("ship-7").end(hub.base.now);
    connection = 0;
    from_child.clear();
    server.gated.clear();
    server.closing = false;
  }
  void say(const std::string& bytes) {
    if (!mute && !deaf) uplink->received(connection, bytes, child.base.now);
  }

  void hear() {
    while (!from_child.empty() && connection != 0) {
      mqtt::Framed framed;
      mqtt::DecodeError error;
      ASSERT_EQ(mqtt::frame_next(from_child, 5 << 20, &framed, &error), mqtt::FrameStatus::kWhole);
      mqtt::Packet packet;
      ASSERT_TRUE(mqtt::decode(framed, Version::k5, mqtt::Sender::kClient, &packet, &error)) << error.text;
      const size_t size = framed.size;
      const std::string owned = from_child;  // What was decoded borrows it.
      ASSERT_TRUE(mqtt::frame_next(owned, 5 << 20, &framed, &error) == mqtt::FrameStatus::kWhole &&
                  mqtt::decode(framed, Version::k5, mqtt::Sender::kClient, &packet, &error));
      from_child.erase(0, size);
      take(packet);
      hub.store().boundary();
    }
  }
  void take(const mqtt::Packet& packet) {
    Conversation& conversation = hub.with("ship-7");
    if (const auto* connect = std::get_if<mqtt::Connect>(&packet)) {
      passwords.emplace_back(*connect->password);
      EXPECT_EQ(connect->client_id, "ship-7");
      EXPECT_TRUE(connect->clean_start);
      const Registry::Entry entry = registry.authenticate(*connect->user_name, *connect->password);
      mqtt::Connack connack = accepting;
      if (entry == Registry::Entry::kRefused)
        connack.reason = static_cast<uint8_t>(Reason::kBadUserNameOrPassword);
      by_claim = entry == Registry::Entry::kClaim;
      std::string bytes;
      mqtt::encode(bytes, Version::k5, connack);
      if (entry == Registry::Entry::kSecret) conversation.begin(server, hub.base.now);
      say(bytes);
    } else if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) {
      const Kind kind = *kind_of(publish->topic);
      if (!by_claim) return conversation.received(kind, publish->payload, publish->packet_id, hub.base.now);
      ASSERT_EQ(kind, Kind::kClaim);
      uint64_t commit = 0;
      const Reason reason = registry.exchange("ship-7", publish->payload, &commit);
      if (lose_claim_ack) {
        hub.base.run();
        const ConnectionId lost = connection;
        drop();
        return uplink->closed(lost, child.base.now);
      }
      server.acknowledge(publish->packet_id, reason, commit);
      if (reason != Reason::kSuccess) return;
      by_claim = false;
      conversation.begin(server, hub.base.now);
    } else if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
      conversation.acknowledged(ack->packet_id, ack->reason, hub.base.now);
    } else if (std::holds_alternative<mqtt::Ping>(packet)) {
      ++pings;
      std::string bytes;
      mqtt::encode(bytes, Version::k5, mqtt::Ping{mqtt::PacketType::kPingresp});
      say(bytes);
    }
  }

  void round(Duration tick = milliseconds(10)) {
    for (TestNode* node : {&child, &hub}) {
      node->base.now.mono = node->base.now.mono + tick;
      node->base.now.wall_us += tick.ns / 1000;
    }
    if (uplink->take_dial(child.base.now)) {
      ++dials;
      if (refuse_dials) {
        uplink->dialed(0, "connection refused", child.base.now);
      } else {
        connection = ++next_connection;
        uplink->dialed(connection, "", child.base.now);
      }
    }
    // The child's conversation is driven by the uplink, not by the node.
    child.base.run();
    for (const store::ReaderId reader : child.store().take_woken()) child.with("^").woken(reader);
    uplink->pump(child.base.now);
    child.store().boundary();
    hub.step();
    hear();
    while (connection != 0 && !server.gated.empty() &&
           server.gated.front().first <= hub.store().durable_commit()) {
      const std::string bytes = server.gated.front().second;
      server.gated.pop_front();
      say(bytes);
    }
    if (server.closing && connection != 0) {
      const ConnectionId lost = connection;
      drop();
      uplink->closed(lost, child.base.now);
    }
  }
  void run(Duration time, Duration tick = milliseconds(10)) {
    for (Duration passed{}; passed < time; passed = passed + tick) round(tick);
  }
};

TEST(Uplink, ClaimsConnectsAndBringsRecords) {
  Site site;
  site.round();
  EXPECT_EQ(site.dials, 0);  // Without a claim there is nobody to be.
  for (int i = 0; i < 100; ++i) site.child.write("telemetry", std::to_string(i));
  site.claim();
  site.run(seconds(2));
  EXPECT_TRUE(site.uplink->up());
  EXPECT_TRUE(site.credentials->confirmed());
  EXPECT_EQ(site.hub.kept(false).size(), 100u);
  EXPECT_EQ(site.uplink->last_error(), "");
  EXPECT_EQ(site.registry.authenticate("ship-7", site.credentials->secret()), Registry::Entry::kSecret);
  EXPECT_EQ(site.passwords.size(), 1u);

  // From now on with the secret; over a restart too.
  site.uplink.reset();
  site.drop();
  site.child.crash();
  site.make();
  site.child.write("telemetry", "more");
  site.run(seconds(2));
  EXPECT_EQ(site.passwords.back(), site.credentials->secret());
  EXPECT_EQ(site.hub.kept(false).size(), 101u);
}

// The parent took the secret, and its acknowledgement was lost: the claim is refused, the secret is not.
TEST(Uplink, ALostClaimAcknowledgementDoesNoHarm) {
  Site site;
  site.claim();
  site.lose_claim_ack = true;
  site.run(milliseconds(100));
  site.lose_claim_ack = false;
  EXPECT_FALSE(site.credentials->confirmed());
  site.run(seconds(3));
  EXPECT_TRUE(site.uplink->up());
  EXPECT_TRUE(site.credentials->confirmed());
  ASSERT_EQ(site.passwords.size(), 3u);
  EXPECT_EQ(site.passwords[0], site.passwords[1]);
  EXPECT_EQ(site.passwords[2], site.credentials->secret());
}

TEST(Uplink, AnUnknownNodeSaysSoAndBacksOff) {
  Site site;
  site.claim();
  ASSERT_TRUE(site.registry.remove("ship-7"));
  site.run(seconds(60));
  EXPECT_FALSE(site.uplink->up());
  EXPECT_GE(site.passwords.size(), 4u);
  EXPECT_LE(site.passwords.size(), 12u);
  EXPECT_NE(site.passwords[0], site.passwords[1]);
  EXPECT_TRUE(site.child.logged("ask for a new one"));
}

TEST(Uplink, BackoffDoublesWithJitterAndConnectNowSkipsIt) {
  Site site;
  site.claim();
  site.refuse_dials = true;
  site.run(seconds(1));
  EXPECT_GE(site.dials, 2);
  EXPECT_LE(site.dials, 5);
  site.run(seconds(600), milliseconds(50));
  const int dials = site.dials;
  site.run(seconds(300), milliseconds(50));
  EXPECT_GE(site.dials - dials, 9);  // Every 15 to 30 s.
  EXPECT_LE(site.dials - dials, 21);
  EXPECT_EQ(site.uplink->last_error(), "connection refused");
  ASSERT_TRUE(site.uplink->next_dial());
  int lines = 0;
  for (const std::string& line : site.child.log_lines)
    lines += line.find("connection refused") != std::string::npos;
  EXPECT_EQ(lines, 1);
  site.refuse_dials = false;
  site.uplink->connect_now(site.child.base.now);
  site.run(milliseconds(100));
  EXPECT_TRUE(site.uplink->up());
}

// Whatever the backoff has grown to: a dial within a fifth of a second, and more of them soon after.
TEST(Uplink, AChangeOfTheNetworkBeginsTheBackoffAnew) {
  Site site;
  site.claim();
  site.refuse_dials = true;
  site.run(seconds(600), milliseconds(50));
  while (*site.uplink->next_dial() <= site.child.base.now.mono + seconds(10)) site.run(seconds(1));
  const int before = site.dials;
  site.uplink->network_changed(site.child.base.now);
  site.run(milliseconds(210));
  EXPECT_EQ(site.dials, before + 1);
  site.run(seconds(1));
  EXPECT_GE(site.dials, before + 3);
  site.refuse_dials = false;
  site.uplink->network_changed(site.child.base.now);
  site.run(seconds(2));
  EXPECT_TRUE(site.uplink->up());
  // While it stands nothing is to be done.
  const int connected = site.dials;
  for (int i = 0; i < 100; ++i) {
    site.uplink->network_changed(site.child.base.now);
    site.run(milliseconds(100));
  }
  EXPECT_TRUE(site.uplink->up());
  EXPECT_EQ(site.dials, connected);
}

TEST(Uplink, ANetworkThatNeverRestsMakesNoFlood) {
  Site site;
  site.claim();
  site.refuse_dials = true;
  site.run(seconds(60), milliseconds(50));
  const int before = site.dials;
  for (int i = 0; i < 3'000; ++i) {
    site.uplink->network_changed(site.child.base.now);
    site.run(milliseconds(20));
  }
  EXPECT_GE(site.dials - before, 60);
  EXPECT_LE(site.dials - before, 240);
}

// It is not the network that keeps it out.
TEST(Uplink, AChangeOfTheNetworkDoesNotHurryToAParentThatRefuses) {
  Site site;
  site.claim();
  ASSERT_TRUE(site.registry.remove("ship-7"));
  site.run(seconds(60));
  const size_t before = site.passwords.size();
  for (int i = 0; i < 600; ++i) {
    site.uplink->network_changed(site.child.base.now);
    site.run(milliseconds(100));
  }
  EXPECT_LE(site.passwords.size() - before, 6u);
}

TEST(Uplink, AChangeDuringADialThatFailsHurriesTheNext) {
  Site site;
  site.claim();
  site.refuse_dials = true;
  site.run(seconds(300), milliseconds(50));
  while (!site.uplink->take_dial(site.child.base.now))
    site.child.base.now.mono = site.child.base.now.mono + seconds(1);
  site.uplink->network_changed(site.child.base.now);
  site.uplink->dialed(0, "connection timed out", site.child.base.now);
  EXPECT_LE(*site.uplink->next_dial(), site.child.base.now.mono + milliseconds(200));
}

// No FIN, no RST: only silence.
TEST(Uplink, ASilentCutIsNoticedByPings) {
  Site site;
  site.claim();
  site.run(seconds(30));
  ASSERT_TRUE(site.uplink->up());
  EXPECT_GE(site.pings, 2u);
  EXPECT_LE(site.pings, 4u);
  EXPECT_EQ(site.dials, 1);
  site.deaf = true;
  const Instant cut = site.child.base.now.mono;
  site.run(seconds(16));
  EXPECT_FALSE(site.uplink->up());
  EXPECT_TRUE(site.child.logged("the parent fell silent"));
  EXPECT_LE(site.uplink->since(), cut);  // Not when it was noticed.
  site.deaf = false;
  site.run(seconds(12));
  EXPECT_TRUE(site.uplink->up());
}

TEST(Uplink, ASilentCutIsNoticedByMissingReceipts) {
  Site site;
  site.claim();
  site.run(seconds(1));
  ASSERT_TRUE(site.uplink->up());
  site.deaf = true;
  site.child.write("telemetry", "x");
  site.run(seconds(11));
  EXPECT_FALSE(site.uplink->up());
  EXPECT_TRUE(site.child.logged("no receipt"));
  site.deaf = false;
  site.run(seconds(12));
  EXPECT_TRUE(site.uplink->up());
  EXPECT_EQ(site.hub.kept(false).size(), 1u);
}

TEST(Uplink, ASilentParentIsNotWaitedForAtConnect) {
  Site site;
  site.claim();
  site.mute = true;
  site.run(seconds(11));
  EXPECT_FALSE(site.uplink->up());
  EXPECT_GE(site.dials, 2);
  EXPECT_TRUE(site.child.logged("does not answer"));
}

// Bytes may come in any pieces.
TEST(Uplink, TakesBytesOneByOne) {
  Site site;
  site.claim();
  site.run(seconds(1));
  ASSERT_TRUE(site.uplink->up());
  site.hub.owed = [](const std::string&, const std::string&, Bytes topic) { return topic == "down"; };
  for (int i = 0; i < 20; ++i) site.hub.write("down/ship-7", std::to_string(i), 5, "down");
  for (int i = 0; i < 50; ++i) {
    site.hub.step();
    while (!site.server.gated.empty() &&
           site.server.gated.front().first <= site.hub.store().durable_commit()) {
      for (const char c : site.server.gated.front().second) {
        site.uplink->received(site.connection, Bytes(&c, 1), site.child.base.now);
      }
      site.server.gated.pop_front();
    }
    site.round();
  }
  EXPECT_EQ(site.child.kept(false).size(), 20u);
  EXPECT_EQ(site.hub.with("ship-7").sender().counters().records_receipted, 20u);
}

TEST(Uplink, ABrokenParentIsLeft) {
  const auto left = [](auto make) {
    Site site;
    site.claim();
    site.run(milliseconds(500));
    EXPECT_TRUE(site.uplink->up());
    std::string bytes;
    make(bytes);
    site.uplink->received(site.connection, bytes, site.child.base.now);
    return site.uplink->connection() == 0;
  };
  EXPECT_FALSE(left([](std::string&) {}));
  EXPECT_TRUE(left([](std::string& out) { out = std::string(10, '\xff'); }));
  EXPECT_TRUE(left([](std::string& out) { mqtt::encode(out, Version::k5, mqtt::Connack{}); }));
  EXPECT_TRUE(left([](std::string& out) { mqtt::encode(out, Version::k5, mqtt::Disconnect{}); }));
  EXPECT_TRUE(left([](std::string& out) {
    mqtt::encode_ack(out, Version::k5, mqtt::PacketType::kPuback, 999, Reason::kSuccess);
  }));
  EXPECT_TRUE(left([](std::string& out) {
    mqtt::PublishHead head;
    head.topic = "other";
    mqtt::encode_publish(out, Version::k5, head, "x");
  }));
  EXPECT_TRUE(left([](std::string& out) {
    mqtt::PublishHead head;
    head.qos = 1;
    head.packet_id = 500;
    head.topic = "$hf/batch";
    mqtt::encode_publish(out, Version::k5, head, "x");
  }));
}

TEST(Uplink, AParentThatCannotServeALinkIsLeft) {  // [MQTT-3.2.2-4] [MQTT-3.2.2-11] [MQTT-3.3.4-7]
  const auto why = [](auto make) {
    Site site;
    site.claim();
    make(site.accepting);
    site.run(seconds(1));
    EXPECT_FALSE(site.uplink->up());
    return site.uplink->last_error();
  };
  EXPECT_EQ(why([](mqtt::Connack& connack) { connack.session_present = true; }),
            "the parent has a session of ours that we did not ask for");
  EXPECT_EQ(why([](mqtt::Connack& connack) { connack.properties.maximum_qos = 0; }),
            "the parent does not take messages at QoS 1");
  EXPECT_EQ(why([](mqtt::Connack& connack) { connack.properties.receive_maximum = 79; }),
            "the parent takes too few messages at once");
}

TEST(Uplink, PingsAsOftenAsTheParentSays) {  // [MQTT-3.1.2-20] [MQTT-3.1.2-21]
  Site site;
  site.accepting.properties.server_keep_alive_s = 2;
  site.claim();
  site.run(seconds(20));
  EXPECT_TRUE(site.uplink->up());
  EXPECT_GE(site.pings, 8u);
  EXPECT_LE(site.pings, 10u);
}

TEST(Uplink, ShutsDownWithAGoodbye) {
  Site site;
  site.claim();
  site.run(seconds(1));
  ASSERT_TRUE(site.uplink->up());
  site.uplink->shut_down(site.child.base.now);
  EXPECT_EQ(site.uplink->connection(), 0u);
  const int dials = site.dials;
  site.run(seconds(60), milliseconds(100));
  EXPECT_EQ(site.dials, dials);
}

}  // namespace
}  // namespace hf::link
