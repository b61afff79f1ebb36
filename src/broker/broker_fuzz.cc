// The session state machine under three peers that say anything: no bytes and no order of events reach an
// assert, and what the broker sends is always whole packets of the right version.
//
// The input is a script: one byte for what and who, then what that needs.
//   connect with one of a few CONNECTs, bytes as they come, a well-formed packet from a small vocabulary,
//   disk work, the end of a connection, time, a crash
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/assert.h"
#include "broker/broker.h"
#include "store/memory_disk.h"

namespace hf::broker {
namespace {

// Of a client whose user name starts with 'l': half of the topics.
class FuzzRights : public Rights {
 public:
  bool publish(Bytes topic) const override { return topic.size() % 2 == 0; }
  bool retain(Bytes topic) const override { return topic.size() % 4 == 0; }
  bool subscribe(Bytes filter) const override { return filter.size() % 2 == 0; }
  bool receive(Bytes topic) const override { return topic.size() % 2 == 0; }
};

class FuzzHost : public Host {
 public:
  bool revoked = false;
  std::map<ConnectionId, std::string> sent;
  std::set<ConnectionId> closed;

  void send(ConnectionId connection, Bytes bytes) override {
    HF_ASSERT(!closed.contains(connection));
    sent[connection].append(bytes);
  }
  void close(ConnectionId connection) override { HF_ASSERT(closed.insert(connection).second); }
  void log(const char*, std::string) override {}
  Verdict authenticate(ConnectionId, const mqtt::Connect& connect) override {
    if (connect.client_id == "node") return {.principal = {Principal::Kind::kNode, "node"}};
    const std::string user(connect.user_name.value_or(Bytes()));
    if (user.starts_with('p')) return {.pending = true};
    if (connect.properties.authentication_method) {
      return {.reason = mqtt::Reason::kContinueAuthentication, .data = "more"};
    }
    return {.principal = {Principal::Kind::kClient, user}};
  }
  Verdict authenticate_again(ConnectionId, Bytes data) override { return authenticate_more(0, data); }
  Verdict authenticate_more(ConnectionId, Bytes data) override {
    if (data.size() % 4 == 0) return {.reason = mqtt::Reason::kContinueAuthentication, .data = "more"};
    if (data.size() % 4 == 1) return {.reason = mqtt::Reason::kNotAuthorized};
    if (data.size() % 4 == 2) return {.pending = true};
    return {};
  }
  bool still_admitted(ConnectionId, const Principal& principal) const override {
    return !revoked || !principal.name.starts_with('l');
  }
  std::unique_ptr<Rights> rights(const std::string& user, const std::string&) const override {
    return user.starts_with('l') ? std::make_unique<FuzzRights>() : nullptr;
  }
  Routing route(Bytes topic, const Source&) override { return {.stored = topic.starts_with('s')}; }
  uint64_t routing_epoch() const override { return 1; }
  std::optional<int64_t> event_time(Bytes, Bytes) override { return std::nullopt; }
  void node_connected(ConnectionId, const std::string&) override {}
  void node_disconnected(ConnectionId, const std::string&) override {}
  void reserved_publish(ConnectionId, Bytes, Bytes, uint16_t) override {}
  void reserved_acknowledged(ConnectionId, uint16_t, mqtt::Reason) override {}
};

class World {
 public:
  explicit World(Bytes script) : in_(script) {
    options_.quota_bytes = 16 << 20;
    options_.segment_bytes_min = 64 << 10;
    options_.segment_bytes_max = 256 << 10;
    limits_.inflight_max = 4;
    limits_.receive_maximum = 8;
    now_ = {.mono = {1'000'000'000},
            .wall_us = 1'700'000'000'000'000,
            .quality = ClockQuality::kNtp,
            .boot = {1, 2}};
    HF_ASSERT(store::Store::create(disk_, entropy_, key_, 1).has_value());
    start();
  }

  void run() {
    while (!in_.empty()) {
      const uint8_t what = in_.u8();
      Peer& peer = peers_[(what >> 4) % 3];
      switch (what & 15) {
        case 0:
        case 1:
          connect(peer);
          break;
        case 2:
        case 3:
          receive(peer, in_.bytes(std::min<size_t>(in_.u8(), in_.rest().size())));
          break;
        case 4:
          sync();
          break;
        case 5:
          broker_->closed(peer.id, now_);
          break;
        case 6:
          now_.mono.ns += uint64_t{in_.u8()} * 500'000'000;
          broker_->tick(now_);
          break;
        case 7:
          broker_.reset();
          store_.reset();
          start();
          break;
        case 8:
          broker_->unsent(peer.id, uint64_t{in_.u8()} << 14, now_);
          break;
        case 9:
          authenticate(peer);
          break;
        default:
          receive(peer, packet(peer));
          break;
      }
      check();
    }
    sync();
    check();
  }

 private:
  struct Peer {
    ConnectionId id = 0;
    mqtt::Version version = mqtt::Version::k5;
  };

  void start() {
    store::OpenReport report;
    auto opened = store::Store::open(disk_, entropy_, key_, options_, "here", now_, &report);
    HF_ASSERT(opened.has_value());
    store_ = std::move(*opened);
    broker_ = std::make_unique<Broker>(*store_, host_, limits_, 7, now_);
  }

  void sync() {
    for (;;) {
      store_->boundary();
      if (auto job = store_->take_job(now_)) {
        job->run(disk_, entropy_);
        store_->complete(std::move(job), now_);
        broker_->durable(now_);
        continue;
      }
      const auto woken = store_->take_woken();
      if (woken.empty()) return;
      for (const store::ReaderId reader : woken) broker_->woken(reader, now_);
    }
  }

  void receive(const Peer& peer, Bytes bytes) { broker_->received(peer.id, bytes, now_); }

  void connect(Peer& peer) {
    const uint8_t options = in_.u8();
    mqtt::Connect connect;
    connect.version = peer.version = (options & 1) != 0 ? mqtt::Version::k5 : mqtt::Version::k311;
    connect.clean_start = (options & 2) != 0;
    constexpr Bytes kNames[] = {"a", "b", "", "node"};
    connect.client_id = kNames[(options >> 2) & 3];
    if ((options & 16) != 0)
      connect.will = mqtt::Will{.qos = 1, .retain = true, .topic = "t/w", .payload = "w"};
    if (connect.version == mqtt::Version::k5) {
      if ((options & 32) != 0) connect.properties.session_expiry_interval_s = 60;
      if ((options & 64) != 0) connect.properties.maximum_packet_size = 24;
      if (connect.will && (options & 128) != 0) connect.will->properties.will_delay_interval_s = 5;
    }
    connect.keep_alive_s = 60;
    // Whose verdict is pending, who has limited rights, who is to answer a challenge.
    const uint8_t who = in_.u8();
    if ((who & 3) == 1) connect.user_name = "p";
    if ((who & 3) == 2) connect.user_name = "l";
    if ((who & 4) != 0 && connect.version == mqtt::Version::k5)
      connect.properties.authentication_method = "m";
    if ((who & 8) != 0 && connect.version == mqtt::Version::k5) connect.properties.topic_alias_maximum = 2;
    peer.id = ++connection_last_;
    broker_->connected(peer.id, now_);
    std::string bytes;
    mqtt::encode(bytes, peer.version, connect);
    receive(peer, bytes);
  }

  // A verdict, an AUTH, or other rights for all.
  void authenticate(const Peer& peer) {
    const uint8_t what = in_.u8();
    if (what < 0x80) {
      Verdict verdict;
      verdict.pending = (what & 3) == 0;
      if ((what & 3) == 1) verdict.reason = mqtt::Reason::kContinueAuthentication;
      if ((what & 3) == 2) verdict.reason = mqtt::Reason::kNotAuthorized;
      if ((what & 4) != 0) verdict.principal.name = "l";
      return broker_->authenticated(peer.id, verdict, now_);
    }
    if (what >= 0xc0) {
      host_.revoked = (what & 1) != 0;
      return broker_->identities_changed(now_);
    }
    mqtt::Disconnect auth{
        .type = mqtt::PacketType::kAuth,
        .reason = (what & 1) != 0 ? mqtt::Reason::kContinueAuthentication : mqtt::Reason::kReauthenticate};
    auth.properties.authentication_method = "m";
    auth.properties.authentication_data = Bytes("data").substr(0, (what >> 1) & 3);
    std::string bytes;
    mqtt::encode(bytes, mqtt::Version::k5, auth);
    receive(peer, bytes);
  }

  std::string packet(const Peer& peer) {
    constexpr Bytes kTopics[] = {"t/a", "t/b", "s/a", "$hf/x"};
    constexpr Bytes kFilters[] = {"t/+", "#", "s/a", "$share/g/t"};
    const uint8_t a = in_.u8();
    const uint8_t b = in_.u8();
    const auto qos = static_cast<uint8_t>((a >> 2) % 3);
    const auto packet_id = static_cast<uint16_t>(1 + (b & 7));
    std::string bytes;
    switch (a >> 5) {
      case 0:
        mqtt::encode(bytes, peer.version,
                     mqtt::Subscribe{.packet_id = packet_id,
                                     .entries = {{.filter = kFilters[a & 3],
                                                  .qos = qos,
                                                  .no_local = (b & 8) != 0 && (a & 3) != 3}}});
        break;
      case 1:
        mqtt::encode(bytes, peer.version,
                     mqtt::Unsubscribe{.packet_id = packet_id, .filters = {kFilters[a & 3]}});
        break;
      case 2:
      case 3:
      case 4: {
        mqtt::PublishHead head{
            .qos = qos, .retain = (b & 16) != 0, .topic = kTopics[a & 3], .packet_id = packet_id};
        mqtt::encode_publish(bytes, peer.version, head, Bytes("payload").substr(0, b >> 5));
        break;
      }
      case 5:
        mqtt::encode_ack(bytes, peer.version, mqtt::PacketType::kPuback, packet_id, mqtt::Reason::kSuccess);
        break;
      case 6:
        mqtt::encode_ack(bytes, peer.version, mqtt::PacketType::kPubrec, packet_id,
                         (b & 8) != 0 ? mqtt::Reason::kQuotaExceeded : mqtt::Reason::kSuccess);
        break;
      default:
        mqtt::encode_ack(bytes, peer.version,
                         (b & 8) != 0 ? mqtt::PacketType::kPubrel : mqtt::PacketType::kPubcomp, packet_id,
                         mqtt::Reason::kSuccess);
        break;
    }
    return bytes;
  }

  void check() {
    for (const Peer& peer : peers_) {
      Bytes rest = host_.sent[peer.id];
      while (!rest.empty()) {
        mqtt::Framed framed;
        mqtt::DecodeError error;
        mqtt::Packet packet;
        HF_ASSERT(mqtt::frame_next(rest, 1 << 24, &framed, &error) == mqtt::FrameStatus::kWhole);
        HF_ASSERT(mqtt::decode(framed, peer.version, mqtt::Sender::kServer, &packet, &error));
        rest.remove_prefix(framed.size);
      }
      host_.sent[peer.id].clear();
    }
  }

  ByteReader in_;
  store::MemoryDisk disk_;
  store::TestEntropy entropy_;
  const crypto::Key key_{std::string(32, 'k')};
  store::Options options_;
  Limits limits_;
  Now now_;
  FuzzHost host_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Broker> broker_;
  Peer peers_[3];
  ConnectionId connection_last_ = 0;
};

}  // namespace
}  // namespace hf::broker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hf::broker::World(hf::Bytes(reinterpret_cast<const char*>(data), size)).run();
  return 0;
}
