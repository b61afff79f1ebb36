// A site whose parent means no good: between two whole nodes everything the hub says may be changed, cut, held back, said
// twice, or made up, from CONNACK to batches in the link's own grammar. The site must stand, go on taking messages, and lose
// nothing: once an honest hub answers, every message that the site acknowledged to its own client is there.
//
// The input is a script; one byte for what, and what that needs:
//   0     as it is      all that the hub has said goes to the site
//   1     changed       likewise, with some bytes changed
//   2     in part       the first bytes of it, and nothing behind them ever
//   3     twice
//   4     a packet      of MQTT, made up
//   5     a message     of the link's: HELLO, pairs, a batch, made up
//   6     raw bytes
//   7     cut           the connection ends for both
//   8     time
//   9     crash         of the site: what was not durable is gone
//   10    deaf          the hub hears nothing of what waits for it
//   11..  publish       a client of the site's does
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/assert.h"
#include "base/planted_bugs.h"
#include "link/batch.h"
#include "link/channel.h"
#include "link/hello.h"
#include "node/fuzz_machine.h"

namespace hf::node {
namespace {

constexpr ConnectionId kLink = 1;               // And up, at either end.
constexpr ConnectionId kClientOne = 1'000'000;  // And up: of the site's client.

class World {
 public:
  explicit World(Bytes script) : in_(script) {
    now_ = {.mono = {1'000'000'000},
            .wall_us = 1'700'000'000'000'000,
            .quality = ClockQuality::kNtp,
            .boot = {1, 2}};
    site_.config.upstream = Upstream{.host = "hub"};
    site_.start(now_);
    hub_.start(now_);
    std::string claim;
    HF_ASSERT(hub_.node->node_add("site", {}, "", &claim).has_value());
    HF_ASSERT(site_.node->claim(claim).has_value());
    open_client();
    step_both();
    if ((in_.u8() & 1) != 0) honest(40);  // Else not even the claim has been taken to the hub.
  }

  void run() {
    while (!in_.empty()) {
      act();
      step_both();
    }
    // An honest hub at last.
    cut();
    bool arrived = all_there();
    for (int round = 0; round < 20 && !arrived; ++round) {
      honest(25);
      arrived = all_there();
      if (round == 10) cut();
    }
    HF_ASSERT(arrived);
  }

 private:
  void act() {
    const uint8_t what = in_.u8();
    switch (what & 15) {
      case 0:
        return tell(std::exchange(to_site_, {}));
      case 1: {
        std::string bytes = std::exchange(to_site_, {});
        for (int i = 0; i <= (what >> 4) % 4 && !bytes.empty(); ++i) {
          const size_t at = in_.u16() % bytes.size();
          bytes[at] = static_cast<char>(bytes[at] ^ in_.u8());
        }
        return tell(std::move(bytes));
      }
      case 2: {
        std::string bytes = std::exchange(to_site_, {});
        bytes.resize(std::min<size_t>(bytes.size(), in_.u16()));
        return tell(std::move(bytes));
      }
      case 3:
        tell(to_site_);
        return tell(std::exchange(to_site_, {}));
      case 4:
        return tell(packet());
      case 5:
        return tell(message());
      case 6:
        return tell(std::string(in_.bytes(std::min<size_t>(in_.u8(), in_.rest().size()))));
      case 7:
        return cut();
      case 8:
        return pass(milliseconds(int64_t{250} * in_.u8()));
      case 9:
        return crash();
      case 10:
        to_hub_.clear();
        return;
      default:
        return publish(1 + (what >> 4));
    }
  }

  void tell(std::string bytes) {
    if (up_) site_.receive(kLinkAt(dials_), std::move(bytes));
  }

  // --- What a hub may say.

  std::string packet() {
    const uint8_t what = in_.u8();
    const uint16_t id = in_.u8();
    const auto reason = static_cast<mqtt::Reason>((what & 64) != 0 ? 0x97 : 0);
    std::string bytes;
    switch (what & 7) {
      case 0: {
        mqtt::Connack connack{.session_present = (what & 8) != 0};
        if ((what & 16) != 0) connack.reason = (what & 32) != 0 ? 0x86 : 0x87;
        if ((what & 128) != 0) connack.properties.maximum_packet_size = 1 + uint32_t{id} * 16;
        if ((what & 64) != 0) connack.properties.receive_maximum = static_cast<uint16_t>(1 + id);
        if ((what & 32) != 0) connack.properties.server_keep_alive_s = id;
        mqtt::encode(bytes, mqtt::Version::k5, connack);
        return bytes;
      }
      case 1:
      case 2:  // Receipts of what it may have.
        for (uint16_t one = 1; one <= (id & 31) + 1; ++one)
          mqtt::encode_ack(bytes, mqtt::Version::k5, mqtt::PacketType::kPuback, one, reason);
        return bytes;
      case 3:
        if (id == 0) return bytes;
        mqtt::encode_ack(bytes, mqtt::Version::k5,
                         (what & 8) != 0 ? mqtt::PacketType::kPubrec : mqtt::PacketType::kPubrel, id, reason);
        return bytes;
      case 4:
        mqtt::encode(bytes, mqtt::Version::k5,
                     mqtt::Disconnect{
                         .type = (what & 8) != 0 ? mqtt::PacketType::kAuth : mqtt::PacketType::kDisconnect,
                         .reason = mqtt::Reason::kSuccess,
                         .properties = {.authentication_method = "m"}});
        if ((what & 8) == 0) return std::string("\xe0\0", 2);
        return bytes;
      case 5:
        mqtt::encode(bytes, mqtt::Version::k5, mqtt::Ping{mqtt::PacketType::kPingresp});
        return bytes;
      case 6:
        mqtt::encode(bytes, mqtt::Version::k5,
                     mqtt::SubAck{.type = mqtt::PacketType::kSuback,
                                  .packet_id = static_cast<uint16_t>(id + 1),
                                  .reasons = {0}});
        return bytes;
      default: {
        mqtt::PublishHead head{.qos = static_cast<uint8_t>((what >> 3) % 3), .topic = "some/topic"};
        if (head.qos > 0) head.packet_id = static_cast<uint16_t>(id + 1);
        mqtt::encode_publish(bytes, mqtt::Version::k5, head, "x");
        return bytes;
      }
    }
  }

  std::string reserved(link::Kind kind, Bytes payload) {
    std::string bytes;
    const mqtt::PublishHead head{
        .qos = 1, .topic = link::topic_of(kind), .packet_id = static_cast<uint16_t>(1 + in_.u8())};
    mqtt::encode_publish(bytes, mqtt::Version::k5, head, payload);
    return bytes;
  }

  store::StreamKey key(uint8_t which) const {
    store::StreamKey key;
    key.incarnation = (which & 1) != 0 ? site_.node->store().incarnation() : hub_.node->store().incarnation();
    constexpr Bytes kNames[] = {"telemetry", "down/site", "local", "never heard of"};
    key.name = kNames[(which >> 1) & 3];
    return key;
  }

  std::string message() {
    const uint8_t what = in_.u8();
    switch (what & 3) {
      case 0: {
        link::Hello hello;
        hello.name = (what & 4) != 0 ? "site" : "hub";
        hello.version_max = (what & 8) != 0 ? 9 : 1;
        hello.version_min = (what & 16) != 0 ? 2 : 1;
        hello.features = what >> 5;
        hello.store_id = (what & 32) != 0 ? 7 : hub_.node->store().store_id();
        hello.incarnation = hub_.node->store().incarnation();
        hello.wall_us = static_cast<int64_t>(in_.u64());
        std::map<std::pair<uint64_t, std::string>, bool> seen;
        for (int i = what >> 6; i > 0; --i) {
          link::Mark mark{.key = key(in_.u8()), .number = in_.u8(), .hash = in_.u8()};
          if ((what & 64) != 0) mark.number <<= 56;
          if (seen.emplace(std::pair(mark.key.incarnation, mark.key.name), true).second)
            hello.marks.push_back(mark);
        }
        return reserved(link::Kind::kHello, link::encode_hello(hello));
      }
      case 1: {
        link::PairsMessage pairs{.answer = (what & 4) != 0, .key = key(what >> 3)};
        uint64_t number = 0;
        for (int i = what >> 5; pairs.answer && i > 0; --i) {
          number += uint64_t{1} + in_.u8();
          pairs.pairs.push_back({number, in_.u64()});
        }
        return reserved(link::Kind::kPairs, link::encode_pairs(pairs));
      }
      case 2: {
        link::Section section;
        section.key = key(what >> 2);
        section.origin = (what & 32) != 0 ? "site" : "hub";
        section.priority = in_.u8() % 10;
        section.first = 1 + (uint64_t{in_.u8()} << ((what & 64) != 0 ? 48 : 0));
        section.last = section.first + in_.u8() % 4;
        for (uint64_t number = section.first; number <= section.last; ++number) {
          link::BatchRecord record;
          record.sequence = number;
          record.topic = "site/down";
          record.payload = "made up";
          record.qos = in_.u8() % 3;
          record.retain = (what & 128) != 0;
          record.arrival = store::arrival_of(now_);
          section.records.push_back(record);
        }
        std::string out;
        uint64_t plain = 0;
        link::BatchCodec codec;
        codec.encode({section}, (what & 16) != 0, &out, &plain);
        return reserved(link::Kind::kBatch, out);
      }
      default:
        return reserved((what & 4) != 0   ? link::Kind::kBatch
                        : (what & 8) != 0 ? link::Kind::kHello
                                          : link::Kind::kClaim,
                        in_.bytes(std::min<size_t>(what >> 3, in_.rest().size())));
    }
  }

  // --- The site's client.

  void open_client() {
    client_ = ++client_last_;
    client_in_.clear();
    unacknowledged_.clear();
    site_.inputs.push_back(Connected{.connection = client_, .peer = "127.0.0.1:9"});
    mqtt::Connect connect{.version = mqtt::Version::k5};
    connect.client_id = "client";
    std::string bytes;
    mqtt::encode(bytes, connect.version, connect);
    site_.receive(client_, std::move(bytes));
  }

  void publish(int count) {
    for (int i = 0; i < count && unacknowledged_.size() < 200; ++i) {
      const auto id = static_cast<uint16_t>(1 + published_ % 60'000);
      const std::string payload = "message " + std::to_string(++published_);
      unacknowledged_[id] = payload;
      std::string bytes;
      mqtt::encode_publish(bytes, mqtt::Version::k5, {.qos = 1, .topic = "site/up", .packet_id = id},
                           payload);
      site_.receive(client_, std::move(bytes));
    }
  }

  void client_hears(Bytes bytes) {
    client_in_.append(bytes);
    Bytes rest = client_in_;
    mqtt::Framed framed;
    mqtt::DecodeError error;
    mqtt::Packet packet;
    while (mqtt::frame_next(rest, 1 << 24, &framed, &error) == mqtt::FrameStatus::kWhole) {
      HF_ASSERT(mqtt::decode(framed, mqtt::Version::k5, mqtt::Sender::kServer, &packet, &error));
      if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
        const auto found = unacknowledged_.find(ack->packet_id);
        HF_ASSERT(found != unacknowledged_.end());
        if (ack->reason < mqtt::Reason::kUnspecifiedError) acknowledged_.insert(found->second);
        unacknowledged_.erase(found);
      }
      rest.remove_prefix(framed.size);
    }
    client_in_ = std::string(rest);
  }

  bool all_there() {
    std::set<std::string> there;
    ExportQuery query{.stream = "telemetry", .count = 1000};
    for (;;) {
      bool pending = false;
      const auto page = hub_.node->export_records(query, &pending);
      if (!page) break;  // No such stream yet.
      for (const ExportRecord& record : page->rows) {
        if (record.origin == "site") there.insert(record.payload);
      }
      if (pending) step_both();
      if (!page->next) break;
      query.after = *page->next;
    }
    return std::includes(there.begin(), there.end(), acknowledged_.begin(), acknowledged_.end());
  }

  // --- The world.

  void honest(int rounds) {
    honest_ = true;
    for (int i = 0; i < rounds; ++i) {
      tell(std::exchange(to_site_, {}));
      step_both();
      pass(milliseconds(500));
    }
    honest_ = false;
  }

  void cut() {
    if (!up_) return;
    up_ = false;
    to_site_.clear();
    to_hub_.clear();
    site_.inputs.push_back(Closed{kLinkAt(dials_)});
    hub_.inputs.push_back(Closed{kLinkAt(dials_)});
    step_both();
  }

  void crash() {
    cut();
    site_.node.reset();
    site_.inputs.clear();
    site_.kept.clear();
    site_.start(now_);
    open_client();
  }

  void pass(Duration time) {
    now_.mono = now_.mono + time;
    now_.wall_us += time.ns / 1000;
    step_both();
  }

  static ConnectionId kLinkAt(uint64_t dial) { return kLink + dial; }

  void step_both() {
    for (int round = 0; round < 64; ++round) {
      bool any = step(site_, true);
      any = step(hub_, false) || any;
      if (!any) return;
    }
  }

  bool step(Machine& machine, bool site) {
    if (!site && !to_hub_.empty()) machine.receive(kLinkAt(dials_), std::exchange(to_hub_, {}));
    const bool any = !machine.inputs.empty();
    now_.mono.ns += 1'000'000;
    Effects effects = machine.step(now_);
    for (const Send& send : effects.sends) {
      if (site && send.connection >= kClientOne) {
        client_hears(send.bytes);
      } else if (up_ && send.connection == kLinkAt(dials_)) {
        (site ? to_hub_ : to_site_).append(send.bytes);
      }
    }
    for (const Close& close : effects.closes) {
      // Nobody breaks with the client for what the hub says.
      HF_ASSERT(!site || close.connection != client_);
      if (!up_ || close.connection != kLinkAt(dials_)) continue;
      // An honest hub's last words arrive.
      if (honest_ && !site) tell(to_site_);
      up_ = false;
      to_site_.clear();
      if (site) {
        if (!to_hub_.empty()) hub_.receive(kLinkAt(dials_), std::exchange(to_hub_, {}));
        hub_.inputs.push_back(Closed{kLinkAt(dials_)});
      } else {
        site_.inputs.push_back(Closed{kLinkAt(dials_)});
      }
    }
    if (effects.dial) {
      HF_ASSERT(site && !up_);
      up_ = true;
      ++dials_;
      HF_ASSERT(kLinkAt(dials_) < kClientOne);
      site_.inputs.push_back(Dialed{kLinkAt(dials_), {}});
      hub_.inputs.push_back(Connected{.connection = kLinkAt(dials_), .peer = "127.0.0.1:7"});
    }
    return any || !machine.inputs.empty();
  }

  ByteReader in_;
  Now now_;
  Machine site_{"site", 1};
  Machine hub_{"hub", 2};
  bool up_ = false;
  bool honest_ = false;
  uint64_t dials_ = 0;
  std::string to_site_;
  std::string to_hub_;
  ConnectionId client_ = 0;
  ConnectionId client_last_ = kClientOne;
  std::string client_in_;
  uint64_t published_ = 0;
  std::map<uint16_t, std::string> unacknowledged_;
  std::set<std::string> acknowledged_;
};

}  // namespace
}  // namespace hf::node

// To see that a bug is found: HOLDFAST_PLANTED_BUG=delete-before-receipt hub_fuzz ...
extern "C" int LLVMFuzzerInitialize(int*, char***) {
#if defined(HF_PLANTED_BUGS)
  const char* const name = std::getenv("HOLDFAST_PLANTED_BUG");
  if (const auto bug = hf::find_planted_bug(name != nullptr ? name : "none")) hf::plant(*bug);
#endif
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hf::node::World(hf::Bytes(reinterpret_cast<const char*>(data), size)).run();
  return 0;
}
