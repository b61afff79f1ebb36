// Two publishers and two sessions that are kept, in a world where connections break, clients forget to
// answer, and the node crashes, at random: QoS 1 arrives at least once, QoS 2 exactly once, and first
// deliveries in the order of each publisher. sim/ does this with faults of disk and network; here a failure
// is found in a second and shrunk by its seed.
#include <map>

#include "broker/broker_fixture.h"

namespace hf::broker {
namespace {

using mqtt::PacketType;

// "p0-17": publisher and number. A message is published until its acknowledgement came, under one packet
// identifier.
struct Publisher {
  struct Open {
    int number;
    uint8_t qos;
    bool received = false;  // PUBREC came: only PUBREL from here on.
  };
  Client client;
  int index;
  int number_last = 0;
  uint16_t packet_last = 0;
  bool online = false;
  std::map<uint16_t, Open> open;  // In the order of their numbers: identifiers only count up here.
  std::vector<int> acknowledged[3];

  Publisher(Site& site, int at, mqtt::Version version)
      : client(site, "p" + std::to_string(at), version), index(at) {
    client.keep();
  }
  std::string payload(int number) const { return client.name + "-" + std::to_string(number); }
  void dial() {
    client.dial();
    online = true;
    for (auto& [packet_id, message] : open) {
      if (message.received) {
        client.pubrel(packet_id);
      } else {
        client.publish("t/" + client.name, payload(message.number), message.qos, packet_id);
      }
    }
  }
  void publish(uint8_t qos) {
    if (open.size() >= 20) return;
    const uint16_t packet_id = ++packet_last;
    open[packet_id] = {++number_last, qos};
    if (online) client.publish("t/" + client.name, payload(number_last), qos, packet_id);
  }
  void read() {
    for (const std::string& line : client.take()) {
      if (!line.starts_with("PUB")) continue;
      const auto packet_id = static_cast<uint16_t>(std::stoi(line.substr(line.find('#') + 1)));
      const auto found = open.find(packet_id);
      if (found == open.end()) continue;
      if (line.starts_with("PUBREC")) {
        found->second.received = true;
        if (online) client.pubrel(packet_id);
      } else {
        acknowledged[found->second.qos].push_back(found->second.number);
        open.erase(found);
      }
    }
  }
};

struct Subscriber {
  Client client;
  bool online = false;
  std::map<std::string, int> copies[3];
  std::map<std::string, std::vector<int>> firsts;  // Publisher -> numbers, as first seen.
  std::set<uint16_t> held;                         // QoS 2 identifiers not released.

  Subscriber(Site& site, std::string name, mqtt::Version version) : client(site, std::move(name), version) {
    client.keep();
  }
  void dial() {
    client.dial();
    online = true;
  }
  // Answers only some of what came.
  void read(Prng& prng, bool all) {
    for (const std::string& line : client.take()) {
      if (!line.starts_with("PUB") || line.find('#') == std::string::npos) continue;
      const auto packet_id = static_cast<uint16_t>(std::stoi(line.substr(line.find('#') + 1)));
      const bool answer = online && (all || prng.chance(3, 4));
      if (line.starts_with("PUBREL")) {
        held.erase(packet_id);
        if (answer) client.pubcomp(packet_id);
        continue;
      }
      if (!line.starts_with("PUBLISH")) continue;
      const uint8_t qos = line[9] == '2' ? 2 : 1;
      const size_t quote = line.find('\'') + 1;
      const std::string payload = line.substr(quote, line.find('\'', quote) - quote);
      if (qos == 1 || held.insert(packet_id).second) {
        if (++copies[qos][payload] == 1) {
          firsts[payload.substr(0, 2)].push_back(std::stoi(payload.substr(3)));
        }
      }
      if (!answer) continue;
      if (qos == 1) {
        client.puback(packet_id);
      } else {
        client.pubrec(packet_id);
      }
    }
  }
};

void run(uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Prng prng(seed);
  Site site;
  site.limits.inflight_max = static_cast<uint16_t>(1 + prng.below(10));
  site.limits.receive_maximum = 64;
  site.restart();
  Publisher publishers[2] = {{site, 0, mqtt::Version::k5}, {site, 1, mqtt::Version::k311}};
  Subscriber subscribers[2] = {{site, "s0", mqtt::Version::k5}, {site, "s1", mqtt::Version::k311}};
  for (Subscriber& subscriber : subscribers) {
    subscriber.dial();
    subscriber.client.subscribe("t/#", 2);
    subscriber.client.subscribe("+/p0", 1);
    site.sync();
    subscriber.client.take();
  }
  const auto lose_connections = [&] {
    for (auto& publisher : publishers) {
      publisher.read();  // What had left before.
      publisher.online = false;
    }
    for (auto& subscriber : subscribers) {
      subscriber.read(prng, false);
      subscriber.online = false;
    }
  };
  for (int step = 0; step < 400; ++step) {
    Publisher& publisher = publishers[prng.below(2)];
    Subscriber& subscriber = subscribers[prng.below(2)];
    switch (prng.below(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        if (!publisher.online) publisher.dial();
        publisher.publish(static_cast<uint8_t>(1 + prng.below(2)));
        break;
      case 4:
      case 5:
        if (prng.chance(1, 2)) site.sync();
        publisher.read();
        break;
      case 6:
      case 7:
        if (!subscriber.online) subscriber.dial();
        if (prng.chance(1, 2)) site.sync();
        subscriber.read(prng, false);
        break;
      case 8:
        site.sync();
        break;
      case 9:
        if (!publisher.online || !prng.chance(1, 4)) break;
        publisher.client.drop();
        publisher.read();
        publisher.online = false;
        break;
      case 10:
        if (!subscriber.online || !prng.chance(1, 2)) break;
        subscriber.client.drop();
        subscriber.read(prng, false);
        subscriber.online = false;
        break;
      default:
        if (prng.chance(1, 8)) {
          lose_connections();
          site.restart();
        }
        site.pass(milliseconds(10));
        break;
    }
  }
  // Everybody answers from here on; all comes to rest.
  lose_connections();
  site.restart();
  for (auto& publisher : publishers) publisher.dial();
  for (auto& subscriber : subscribers) subscriber.dial();
  for (int quiet = 0; quiet < 5; ++quiet) {
    site.sync();
    site.pass(milliseconds(1));
    const size_t sends = site.host.send_calls;
    for (auto& publisher : publishers) publisher.read();
    for (auto& subscriber : subscribers) subscriber.read(prng, true);
    site.sync();
    if (site.host.send_calls != sends) quiet = 0;
  }
  for (const Publisher& publisher : publishers) {
    EXPECT_TRUE(publisher.open.empty()) << publisher.client.name;
    for (const Subscriber& subscriber : subscribers) {
      for (const int number : publisher.acknowledged[1]) {
        EXPECT_GE(subscriber.copies[1].contains(publisher.payload(number)), 1u) << publisher.payload(number);
      }
      for (const int number : publisher.acknowledged[2]) {
        const auto found = subscriber.copies[2].find(publisher.payload(number));
        EXPECT_EQ(found == subscriber.copies[2].end() ? 0 : found->second, 1) << publisher.payload(number);
      }
      const auto firsts = subscriber.firsts.find(publisher.client.name);
      if (firsts != subscriber.firsts.end()) {
        EXPECT_TRUE(std::is_sorted(firsts->second.begin(), firsts->second.end())) << publisher.client.name;
      }
    }
  }
  site.broker->for_each_client(
      [](const ClientInfo& info) { EXPECT_EQ(info.inflight, 0u) << info.client_id; });
}

TEST(Random, PromisesHoldOverBreaksAndCrashes) {
  constexpr uint64_t kSeeds = 60;
  for (uint64_t seed = 1; seed <= kSeeds && !testing::Test::HasFailure(); ++seed) run(seed);
}

}  // namespace
}  // namespace hf::broker
