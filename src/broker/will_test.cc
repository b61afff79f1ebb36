// Wills: published once or, by a DISCONNECT, not at all.
#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::Reason;
using mqtt::Version;

struct Witnessed : Site {
  Client witness{*this, "witness"};
  Witnessed() {
    witness.keep().connect();
    witness.subscribed("will", 1);
  }
  Lines seen() {
    Lines lines = witness.synced();
    for (const std::string& line : lines) {
      const size_t hash = line.find('#');
      if (hash != std::string::npos) witness.puback(static_cast<uint16_t>(std::stoi(line.substr(hash + 1))));
    }
    sync();
    return lines;
  }
};

TEST(Will, IsPublishedWhenTheConnectionBreaks) {
  Witnessed site;
  Client client(site, "c");
  client.will("will", "gone", 1).connect();
  client.drop();
  EXPECT_EQ(site.witness.take(), Lines{});
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q1 #1 will 'gone'"});
}

TEST(Will, IsDiscardedByDisconnectAndKeptByReason04) {
  Witnessed site;
  Client five(site, "five"), old(site, "old", Version::k311);
  five.will("will", "five").connect();
  old.will("will", "old").connect();
  five.disconnect();
  old.disconnect();
  EXPECT_EQ(site.seen(), Lines{});
  five.connect();
  five.disconnect(Reason::kDisconnectWithWill);
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q0 will 'five'"});
}

TEST(Will, IsPublishedWhenTheClientBreaksTheProtocolOrFallsSilent) {
  Witnessed site;
  Client rude(site, "rude"), silent(site, "silent", Version::k311);
  rude.will("will", "rude").connect();
  silent.will("will", "silent").hello.keep_alive_s = 10;
  silent.connect();
  rude.send_bytes("\xff\xff\xff\xff\xff");
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q0 will 'rude'"});
  site.pass(seconds(15));
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q0 will 'silent'"});
}

TEST(Will, WillIsPublishedOnceAfterACrash) {
  Witnessed site;
  Client clean(site, "clean"), kept(site, "kept");
  clean.will("will", "clean", 1).connect();
  kept.keep().will("will", "kept", 1).connect();
  site.restart();
  site.witness.dial();
  const Lines lines = site.seen();
  EXPECT_EQ(lines, (Lines{"CONNACK 00 present", "PUBLISH q1 #1 will 'clean'", "PUBLISH q1 #2 will 'kept'"}));
  site.store->shut_down();  // The acknowledgements ride; so they are on the disk.
  site.sync();
  site.restart();
  site.witness.dial();
  EXPECT_EQ(site.seen(), Lines{"CONNACK 00 present"});
}

TEST(Will, IsPublishedAgainIfItsOwnCommitWasLost) {
  Witnessed site;
  Client client(site, "c");
  client.will("will", "gone", 1).connect();
  client.drop();
  site.restart();  // Before the disk had it: nobody can have seen it.
  site.witness.dial();
  EXPECT_EQ(site.seen(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 will 'gone'"}));
}

TEST(Will, DelayGivesTheClientTimeToComeBack) {
  Witnessed site;
  Client client(site, "c");
  client.keep(3600).will("will", "gone", 0, 30).connect();
  client.drop();
  site.pass(seconds(29));
  EXPECT_EQ(site.seen(), Lines{});
  client.connect();
  site.pass(seconds(100));
  EXPECT_EQ(site.seen(), Lines{});
  client.drop();
  site.pass(seconds(30));
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q0 will 'gone'"});
  site.pass(seconds(100));
  EXPECT_EQ(site.seen(), Lines{});
}

TEST(Will, DelayCountsOnOverARestart) {
  Witnessed site;
  Client client(site, "c");
  client.keep(3600).will("will", "gone", 1, 30).connect();
  client.drop();
  site.pass(seconds(10));
  site.sync();
  site.store->shut_down();
  site.sync();
  site.restart();
  site.witness.dial();
  EXPECT_EQ(site.seen(), Lines{"CONNACK 00 present"});
  site.pass(seconds(20));
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q1 #1 will 'gone'"});
}

TEST(Will, EndOfTheSessionCutsTheDelayShort) {
  Witnessed site;
  Client client(site, "c"), again(site, "c");
  client.keep(10).will("will", "gone", 0, 30).connect();
  client.drop();
  site.pass(seconds(10));
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q0 will 'gone'"});
  client.connect();
  again.connect();  // Clean start: the old session ends.
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q0 will 'gone'"});
}

TEST(Will, TakeOverPublishesItUnlessItIsDelayed) {
  Witnessed site;
  Client now(site, "now"), later(site, "later"), now2(site, "now"), later2(site, "later");
  now.keep().will("will", "now").connect();
  later.keep().will("will", "later", 0, 5).connect();
  now2.keep().connect();
  later2.keep().connect();
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q0 will 'now'"});
  site.pass(seconds(10));
  EXPECT_EQ(site.seen(), Lines{});
}

TEST(Will, MayBeRetained) {
  Witnessed site;
  Client client(site, "c"), sub(site, "sub");
  client.will("status", "offline", 1, 0, true).connect();
  client.drop();
  sub.connect();
  sub.subscribe("status", 0);
  EXPECT_EQ(sub.take(), (Lines{"SUBACK #900 00", "PUBLISH q0 status 'offline' retain"}));
}

TEST(Will, IsNotRetainedUnlessAskedTo) {  // [MQTT-3.1.2-12] of 3.1.1, [MQTT-3.1.2-14]
  Witnessed site;
  Client without(site, "without"), client(site, "c"), late(site, "late");
  without.connect();
  without.drop();
  EXPECT_EQ(site.seen(), Lines{});
  client.will("will", "gone", 1).connect();
  client.drop();
  EXPECT_EQ(site.seen(), Lines{"PUBLISH q1 #1 will 'gone'"});
  late.connect();
  late.subscribed("will", 0);
  EXPECT_EQ(late.synced(), Lines{});
}

TEST(Will, CarriesItsPropertiesInTheirOrder) {  // [MQTT-3.1.3-10]
  for (const bool crash : {false, true}) {
    Witnessed site;
    Client client(site, "c");
    client.will("will", "gone", 1);
    client.hello.will->properties.user_properties = {{"b", "1"}, {"a", "2"}, {"b", "1"}};
    client.hello.will->properties.message_expiry_interval_s = 60;
    client.connect();
    if (crash) {
      site.restart();
      site.witness.dial();
    } else {
      client.drop();
    }
    EXPECT_EQ(site.seen().back(), "PUBLISH q1 #1 will 'gone' expiry 60 b=1 a=2 b=1");
  }
}

TEST(Will, OnAReservedTopicIsRefusedWithItsConnect) {
  Site site;
  Client client(site, "c");
  client.will("$hf/up", "x").dial();
  EXPECT_EQ(client.take(), (Lines{"CONNACK 87", "closed"}));
}

// A site whose disk is full of what an absent session is owed.
struct FullSite {
  Site site;
  Client keeper{site, "keeper"}, pub{site, "pub"}, watcher{site, "watcher"};

  FullSite() {
    keeper.keep().connect();
    keeper.subscribed("big", 1);
    pub.connect();
    watcher.keep().connect();
    watcher.subscribed("bye", 1);
  }
  void fill() {
    keeper.drop();
    for (const size_t size : {700u << 10, 4u << 10, 1u}) {
      for (uint16_t id = 1; id < 2000; ++id) {
        pub.publish("big", std::string(size, 'x'), 1, id);
        if (pub.synced() != Lines{"PUBACK #" + std::to_string(id) + " 00"}) break;
      }
    }
  }
  void make_room() {
    site.broker->end_client("keeper", true, site.now);
    for (int i = 0; i < 20; ++i) {
      site.sync();
      site.pass(seconds(1));
    }
    site.sync();
  }
};

TEST(Will, WaitsForSpaceAndIsPublishedOnce) {
  for (const bool crash : {false, true}) {
    FullSite full;
    Client dies(full.site, "dies");
    dies.will("bye", "last words", 1);
    dies.connect();
    full.fill();
    dies.drop();
    full.site.sync();
    EXPECT_EQ(full.watcher.take(), Lines{}) << crash;
    EXPECT_TRUE(full.site.host.logged.back().starts_with("HF-MQTT-014")) << full.site.host.logged.back();
    if (crash) {
      full.site.restart();
      full.watcher.dial();
    }
    full.make_room();
    Lines lines = full.watcher.take();
    if (crash) lines.erase(lines.begin());
    EXPECT_EQ(lines, Lines{"PUBLISH q1 #1 bye 'last words'"}) << crash;
    full.watcher.puback(1);
    full.site.sync();
    full.site.pass(seconds(15));
    full.site.sync();
    full.site.restart();
    full.watcher.dial();
    EXPECT_EQ(full.watcher.synced(), Lines{"CONNACK 00 present"}) << crash;
  }
}

TEST(Will, MoreThanOneTurnThatWaitForSpaceAreAllPublished) {
  constexpr size_t kClients = 100;
  FullSite full;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<Client>(full.site, "dies-" + std::to_string(i)));
    clients.back()->will("bye", "last words", 1);
    clients.back()->connect();
  }
  full.fill();
  for (const auto& client : clients) client->drop();
  full.site.sync();
  full.make_room();
  size_t published = 0;
  for (const std::string& line : full.watcher.take()) published += line.starts_with("PUBLISH") ? 1 : 0;
  EXPECT_EQ(published, kClients);
}

TEST(Will, ThatWaitsForSpaceGivesWayToTheNextOfItsClient) {
  FullSite full;
  Client dies(full.site, "dies");
  dies.will("bye", "first", 1);
  dies.connect();
  full.fill();
  dies.drop();
  full.site.sync();
  dies.hello.will->payload = "second";
  dies.dial();
  dies.synced();
  dies.drop();
  full.make_room();
  EXPECT_LE(full.watcher.take().size(),
            1u);  // One row a client: the first is lost if there is no space to the last.
}

TEST(Will, ShutDownLeavesItDue) {
  Witnessed site;
  Client client(site, "c");
  client.will("will", "gone", 1).connect();
  site.broker->shut_down(site.now);
  site.store->shut_down();
  site.sync();
  EXPECT_EQ(site.witness.take(), (Lines{"DISCONNECT 8b", "closed"}));
  site.restart();
  site.witness.dial();
  EXPECT_EQ(site.seen(), (Lines{"CONNACK 00 present", "PUBLISH q1 #1 will 'gone'"}));
}

}  // namespace
}  // namespace hf::broker
