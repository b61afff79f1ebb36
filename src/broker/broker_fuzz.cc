// Whole sessions under two clients that say anything, in any order, beside a disk that takes its time, a clock that runs,
// operators, and crashes: no bytes and no order of events reach an assert, and what the broker sends is what the standard
// and its own promises allow (broker/strict_client_testing.h judges it).
//
// The input is a script. Its first byte chooses limits; then one byte for what and who (bit 4), and what that needs:
//   0, 1 CONNECT      from a grammar of every field, with a will, properties, names that meet each other
//   2    bytes        as they come
//   3    mutated      a packet of the grammar with bytes changed, cut or added
//   4    disk         jobs taken, run and completed one by one, or until nothing is left to do
//   5    closed       by the client, without a word
//   6    time
//   7    crash        what was not durable is gone, and both connections
//   8    unsent       how much of what was sent has not left
//   9    rights       verdicts, AUTH, users removed
//   10   operator     ends a session, removes retained messages
//   11   answers      what a polite client says to what it got
//   12   in pieces    a packet of the grammar, each half by itself
//   13.. packet       of the grammar
// At the end every session that stands is resumed by a polite client, and must be given what it was promised.
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
#include "broker/broker.h"
#include "broker/strict_client_testing.h"
#include "store/memory_disk.h"

namespace hf::broker {
namespace {

// Of a client whose user name starts with 'l': half of the topics.
bool limited_may(Bytes topic) { return topic.size() % 2 == 1; }

class FuzzRights : public Rights {
 public:
  bool publish(Bytes topic) const override { return limited_may(topic); }
  bool retain(Bytes topic) const override { return topic.size() % 4 == 1; }
  bool subscribe(Bytes filter) const override { return limited_may(filter); }
  bool receive(Bytes topic) const override { return limited_may(topic); }
};

class FuzzHost : public Host {
 public:
  struct Sent {
    ConnectionId connection;
    std::string bytes;
    uint64_t durable;
  };
  bool revoked = false;
  const store::Store* store = nullptr;
  std::vector<Sent> sent;
  std::set<ConnectionId> closed;
  std::deque<std::pair<ConnectionId, uint16_t>> reserved;  // To be acknowledged.

  void send(ConnectionId connection, Bytes bytes) override {
    HF_ASSERT(!closed.contains(connection));
    sent.push_back({connection, std::string(bytes), store->durable_commit()});
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
  std::string address_of(ConnectionId) const override { return "192.0.2.7"; }
  bool still_admitted(ConnectionId, const Principal& principal) const override {
    return !revoked || !principal.name.starts_with('l');
  }
  std::shared_ptr<const Rights> rights(const std::string& user, bool, const std::string&) const override {
    return user.starts_with('l') ? std::make_shared<FuzzRights>() : nullptr;
  }
  Routing route(Bytes topic, const Source&) override { return {.stored = topic.starts_with('s')}; }
  uint64_t routing_epoch() const override { return 1; }
  std::optional<int64_t> event_time(Bytes, Bytes) override { return std::nullopt; }
  void node_connected(ConnectionId, const std::string&) override {}
  void node_disconnected(ConnectionId, const std::string&) override {}
  void reserved_publish(ConnectionId connection, Bytes, Bytes, uint16_t packet_id) override {
    reserved.emplace_back(connection, packet_id);
  }
  void reserved_acknowledged(ConnectionId, uint16_t, mqtt::Reason) override {}
};

class World {
 public:
  explicit World(Bytes script) : in_(script) {
    options_.quota_bytes = 16 << 20;
    options_.segment_bytes_min = 64 << 10;
    options_.segment_bytes_max = 256 << 10;
    const uint8_t shape = in_.u8();
    limits_.inflight_max = static_cast<uint16_t>(1 + (shape & 7));
    limits_.receive_maximum = 8;
    limits_.subscriptions_per_session_max = kSubscriptionsMax;
    limits_.topic_alias_maximum = 2;
    if ((shape & 8) != 0) options_.tail_cache_bytes = 0;
    if ((shape & 16) != 0) limits_.session_expiry_max_s = 120;
    if ((shape & 32) != 0) limits_.keep_alive_max_s = 20;
    if ((shape & 128) != 0) limits_.session_owed_bytes_max = 4096;
    limits_.unsent_bytes_max = (shape & 64) != 0 ? 4096 : 1 << 20;
    limits_.clean_session_queue_bytes_max = (shape & 64) != 0 ? 4096 : 1 << 20;
    observer_.inflight_max = limits_.inflight_max;
    observer_.always_stored = [](Bytes topic) { return topic.starts_with('s'); };
    observer_.may_receive = [](Bytes user, Bytes topic) {
      return !user.starts_with('l') || limited_may(topic);
    };
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
      act(peers_[(what >> 4) & 1], what & 15, what >> 5);
      check();
    }
    settle();
    for (const char* name : {"a", "b", "c"}) {
      const auto found = observer_.sessions().find(name);
      if (found != observer_.sessions().end() && found->second.certain && !found->second.lossy)
        resume(name, found->second.user);
    }
    HF_ASSERT(!observer_.owed());
  }

 private:
  static constexpr size_t kSubscriptionsMax = 6;
  struct Peer {
    ConnectionId id = 0;
    mqtt::Version version = mqtt::Version::k5;
    std::string last2;  // Its last QoS 2 PUBLISH.
  };

  void act(Peer& peer, int what, int more) {
    switch (what) {
      case 0:
      case 1:
        return connect(peer);
      case 2:
        return receive(peer, std::string(in_.bytes(std::min<size_t>(in_.u8(), in_.rest().size()))));
      case 3:
        return receive(peer, mutated(packet(peer)));
      case 4:
        return more < 4 ? settle() : work(more);
      case 5:
        broker_->closed(peer.id, now_);
        hear();
        return observer_.ended(peer.id, now_.mono);
      case 6:
        return pass(milliseconds(int64_t{500} * in_.u8()));
      case 7:
        return crash();
      case 8:
        return broker_->unsent(peer.id, uint64_t{in_.u8()} << 14, now_);
      case 9:
        return authenticate(peer);
      case 10:
        return operate();
      case 11:
        answer(peer, 1 + static_cast<size_t>(more) * 4);
        return;
      case 12: {
        const std::string bytes = packet(peer);
        const size_t cut = bytes.size() / 2;
        receive(peer, bytes.substr(0, cut));
        check();
        return receive(peer, bytes.substr(cut));
      }
      default:
        return receive(peer, packet(peer));
    }
  }

  void start() {
    store::OpenReport report;
    auto opened = store::Store::open(disk_, entropy_, key_, options_, "here", now_, &report);
    HF_ASSERT(opened.has_value());
    store_ = std::move(*opened);
    host_.store = store_.get();
    broker_ = std::make_unique<Broker>(*store_, host_, limits_, 7, now_);
  }

  void crash() {
    hear();
    observer_.crashed(now_.mono);
    for (Peer& peer : peers_) peer.id = 0;
    broker_.reset();
    store_.reset();
    jobs_.clear();
    ran_.clear();
    host_.reserved.clear();
    start();
  }

  void pass(Duration time) {
    now_.mono = now_.mono + time;
    now_.wall_us += time.ns / 1000;
    observer_.passed(now_.mono);
    broker_->tick(now_);
  }

  // --- The disk.

  void complete(std::unique_ptr<store::Job> job) {
    store_->complete(std::move(job), now_);
    broker_->durable(now_);
    wake();
  }
  void wake() {
    for (const store::ReaderId reader : store_->take_woken()) broker_->woken(reader, now_);
  }
  // One of: take what is to be done, do it, say so.
  void work(int more) {
    store_->boundary();
    if (more == 4 || more == 5) {
      while (auto job = store_->take_job(now_)) jobs_.push_back(std::move(job));
    } else if (more == 6 && !jobs_.empty()) {
      jobs_.front()->run(disk_, entropy_);
      ran_.push_back(std::move(jobs_.front()));
      jobs_.pop_front();
    } else if (!ran_.empty()) {
      std::unique_ptr<store::Job> job = std::move(ran_.front());
      ran_.pop_front();
      complete(std::move(job));
    }
  }
  void settle() {
    for (int round = 0; round < 100'000; ++round) {
      store_->boundary();
      bool any = false;
      for (; !ran_.empty(); any = true) {
        std::unique_ptr<store::Job> job = std::move(ran_.front());
        ran_.pop_front();
        complete(std::move(job));
      }
      while (auto job = store_->take_job(now_)) jobs_.push_back(std::move(job));
      for (; !jobs_.empty(); any = true) {
        jobs_.front()->run(disk_, entropy_);
        ran_.push_back(std::move(jobs_.front()));
        jobs_.pop_front();
      }
      const auto woken = store_->take_woken();
      for (const store::ReaderId reader : woken) broker_->woken(reader, now_);
      if (!any && woken.empty()) return;
    }
    const bool store_comes_to_rest = false;
    HF_ASSERT(store_comes_to_rest);
  }

  // --- What clients say.

  void receive(const Peer& peer, const std::string& bytes) {
    if (peer.id == 0) return;
    observer_.said(peer.id, bytes, store_->open_commit());
    broker_->received(peer.id, bytes, now_);
    hear();
    if (observer_.must_end(peer.id)) HF_ASSERT(host_.closed.contains(peer.id));
  }

  void connect(Peer& peer) {
    const uint8_t options = in_.u8();
    mqtt::Connect connect;
    connect.version = peer.version = (options & 1) != 0 ? mqtt::Version::k5 : mqtt::Version::k311;
    const bool v5 = connect.version == mqtt::Version::k5;
    connect.clean_start = (options & 2) != 0;
    constexpr Bytes kNames[] = {"a", "b", "a", "c", "b", "", "node", "d"};
    connect.client_id = kNames[(options >> 2) & 7];
    const uint8_t who = in_.u8();
    constexpr Bytes kUsers[] = {"", "", "", "", "u", "p", "l", "l2"};
    if (!kUsers[who & 7].empty()) connect.user_name = kUsers[who & 7];
    if ((who & 8) != 0 && v5 && (who & 16) != 0) connect.properties.authentication_method = "m";
    connect.keep_alive_s = (who & 32) != 0 ? 60 : 0;
    if (v5 && (who & 64) != 0) connect.properties.topic_alias_maximum = 2;
    if (v5 && (who & 128) != 0) connect.properties.receive_maximum = 2;
    if (v5 && (options & 32) != 0) connect.properties.session_expiry_interval_s = (who & 8) != 0 ? 3600 : 60;
    if (v5 && (options & 64) != 0) {
      const uint8_t rare = in_.u8();
      if ((rare & 1) != 0) connect.properties.maximum_packet_size = uint32_t{4} + rare / 2;
      if ((rare & 2) != 0) connect.properties.request_response_information = 1;
      if ((rare & 4) != 0) connect.properties.request_problem_information = 1;
      if ((rare & 8) != 0) connect.properties.user_properties.assign(rare >> 4, {"name", "value"});
    }
    std::string will_payload;
    if ((options & 128) != 0) {
      const uint8_t will = in_.u8();
      will_payload = payload();
      connect.will = mqtt::Will{.qos = static_cast<uint8_t>((will & 3) % 3),
                                .retain = (will & 4) != 0,
                                .topic = topic(will >> 5),
                                .payload = will_payload};
      if (v5 && (will & 8) != 0) connect.will->properties.will_delay_interval_s = 5;
      if (v5 && (will & 16) != 0) connect.will->properties.message_expiry_interval_s = 10;
    }
    dial(peer, connect);
  }

  void dial(Peer& peer, const mqtt::Connect& connect) {
    // The one before is still there, for the broker to deal with, but nobody speaks on it any more.
    peer.id = ++connection_last_;
    broker_->connected(peer.id, now_);
    observer_.opened(peer.id);
    std::string bytes;
    mqtt::encode(bytes, connect.version, connect);
    receive(peer, bytes);
  }

  // Never the same twice, so that messages can be told apart.
  std::string payload() { return "m" + std::to_string(++payload_last_); }

  static Bytes topic(int which) {
    constexpr Bytes kTopics[] = {"t/a", "t/bb", "s/a", "s/bb/c", "t/a/deep/er", "s", "$hf/x", "$SYS/x"};
    return kTopics[which & 7];
  }

  std::string packet(Peer& peer) {
    constexpr Bytes kFilters[] = {"t/+",          "#",      "s/a", "s/#",   "t/a",          "t/bb",
                                  "+/a",          "$SYS/#", "s",   "t/a/#", "$share/g/t/#", "$hf/#",
                                  "$share/g/s/a", "+/bb/+", "/",   "none"};
    const uint8_t a = in_.u8();
    const uint8_t b = in_.u8();
    const bool v5 = peer.version == mqtt::Version::k5;
    const auto qos = static_cast<uint8_t>((a >> 3) % 3);
    const auto packet_id = static_cast<uint16_t>(1 + (b & 7));
    std::string bytes;
    switch (a & 7) {
      case 0: {
        mqtt::Subscribe subscribe{.packet_id = packet_id};
        const int count = 1 + (a >> 7);
        for (int i = 0; i < count; ++i) {
          const Bytes filter = kFilters[((b >> 4) + i * 3) & 15];
          const bool shared = filter.starts_with("$share/");
          subscribe.entries.push_back(
              {.filter = filter,
               .qos = qos,
               .no_local = v5 && !shared && (b & 8) != 0,
               .retain_as_published = v5 && (a & 64) != 0,
               .retain_handling = v5 ? static_cast<uint8_t>(((a >> 5) & 3) % 3) : uint8_t{0}});
        }
        if (v5 && (a & 32) != 0) subscribe.properties.subscription_identifiers = {uint32_t{1} + (b >> 4)};
        mqtt::encode(bytes, peer.version, subscribe);
        return bytes;
      }
      case 1: {
        if ((a >> 6) == 0) {
          mqtt::encode(bytes, peer.version,
                       mqtt::Unsubscribe{.packet_id = packet_id, .filters = {kFilters[b >> 4]}});
        } else if ((a >> 6) == 1) {
          mqtt::encode(bytes, peer.version, mqtt::Ping{});
        } else if ((a >> 6) == 2) {
          mqtt::Disconnect disconnect;
          if (v5 && (b & 1) != 0) disconnect.reason = mqtt::Reason::kDisconnectWithWill;
          if (v5 && (b & 6) != 0) disconnect.properties.session_expiry_interval_s = (b & 2) != 0 ? 0 : 300;
          mqtt::encode(bytes, peer.version, disconnect);
        } else if (!peer.last2.empty()) {  // Once more what may not have arrived.
          bytes = peer.last2;
          bytes[0] = static_cast<char>(bytes[0] | 8);
        }
        return bytes;
      }
      case 2:
        mqtt::encode_ack(bytes, peer.version, mqtt::PacketType::kPuback, packet_id,
                         v5 && (b & 64) != 0 ? mqtt::Reason::kQuotaExceeded : mqtt::Reason::kSuccess);
        return bytes;
      case 3: {
        constexpr mqtt::PacketType kTypes[] = {mqtt::PacketType::kPubrec, mqtt::PacketType::kPubrel,
                                               mqtt::PacketType::kPubcomp, mqtt::PacketType::kPubrel};
        const mqtt::PacketType type = kTypes[b >> 6];
        const bool bad = v5 && type == mqtt::PacketType::kPubrec && (b & 8) != 0;
        mqtt::encode_ack(bytes, peer.version, type, packet_id,
                         bad ? mqtt::Reason::kQuotaExceeded : mqtt::Reason::kSuccess);
        return bytes;
      }
      default: {
        const std::string text = payload();
        mqtt::Publish publish{.qos = qos, .retain = (b & 8) != 0 && (b & 128) != 0, .topic = topic(b >> 4)};
        if (qos > 0) publish.packet_id = packet_id;
        if (v5 && (a & 128) != 0) {
          mqtt::Properties& properties = publish.properties;
          const uint8_t rare = in_.u8();
          if ((rare & 1) != 0) properties.topic_alias = static_cast<uint16_t>(1 + ((rare >> 1) & 1));
          if ((rare & 4) != 0 && properties.topic_alias) publish.topic = {};
          if ((rare & 8) != 0) properties.message_expiry_interval_s = rare >> 4;
          if ((rare & 16) != 0) properties.user_properties = {{"k", "v"}, {"hf-time", "1"}};
          if ((rare & 32) != 0) properties.response_topic = "re";
          if ((rare & 64) != 0) properties.correlation_data = "c";
          if ((rare & 128) != 0) properties.content_type = "text";
        }
        std::string large;
        if (publish.retain && (a & 64) != 0) {
          publish.payload = {};  // Removes it.
        } else if ((a & 32) != 0 && (b & 1) != 0) {
          large = text + std::string(size_t{b} * 16, '.');
          publish.payload = large;
        } else {
          publish.payload = text;
        }
        mqtt::encode(bytes, peer.version, publish);
        if (qos == 2) peer.last2 = bytes;
        return bytes;
      }
    }
  }

  std::string mutated(std::string bytes) {
    const uint8_t how = in_.u8();
    for (int i = 0; i < (how & 3) && !bytes.empty(); ++i) {
      const size_t at = in_.u8() % bytes.size();
      bytes[at] = static_cast<char>(bytes[at] ^ in_.u8());
    }
    if ((how & 4) != 0) bytes.resize(bytes.size() - std::min<size_t>(bytes.size(), how >> 4));
    if ((how & 8) != 0) bytes.append(in_.bytes(std::min<size_t>(how >> 4, in_.rest().size())));
    return bytes;
  }

  // What a polite client says to the first `count` things that it got. True if there was one.
  bool answer(const Peer& peer, size_t count) {
    if (peer.id == 0 || host_.closed.contains(peer.id)) return false;
    auto answers = observer_.take_answers(peer.id);
    for (size_t i = 0; i < answers.size() && i < count; ++i) {
      std::string bytes;
      mqtt::encode_ack(bytes, peer.version, answers[i].type, answers[i].packet_id, mqtt::Reason::kSuccess);
      receive(peer, bytes);
    }
    return !answers.empty();
  }

  // --- Others.

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

  void operate() {
    const uint8_t what = in_.u8();
    constexpr const char* kNames[] = {"a", "b", "c", "d"};
    const char* const name = kNames[what & 3];
    switch ((what >> 2) & 3) {
      case 0:
        broker_->end_client(name, false, now_);
        return;
      case 1:
        observer_.forgotten(name);
        broker_->end_client(name, true, now_);
        return;
      case 2:
        broker_->remove_retained("t/#", {}, 2, now_);
        return;
      default:
        if (!host_.reserved.empty()) {
          const auto [connection, packet_id] = host_.reserved.front();
          host_.reserved.pop_front();
          broker_->reserved_acknowledge(connection, packet_id, mqtt::Reason::kSuccess, store_->open_commit());
          broker_->reserved_send(connection, "$hf/x", "to a node", store_->open_commit());
        }
        return;
    }
  }

  // --- What is checked.

  void hear() {
    for (const FuzzHost::Sent& sent : std::exchange(host_.sent, {}))
      observer_.heard(sent.connection, sent.bytes, sent.durable);
    for (const ConnectionId id : host_.closed) {
      if (ended_.insert(id).second) observer_.ended(id, now_.mono);
    }
  }

  void check() {
    hear();
    broker_->for_each_client([&](const ClientInfo& client) {
      HF_ASSERT(client.subscriptions <= kSubscriptionsMax);
      HF_ASSERT(client.inflight <= 64);
    });
    HF_ASSERT(broker_->counters().connections <= connection_last_);
  }

  void resume(const std::string& name, const std::string& user) {
    Peer peer;
    mqtt::Connect connect{.version = mqtt::Version::k5, .clean_start = false};
    connect.client_id = name;
    if (!user.empty()) connect.user_name = user;
    connect.properties.session_expiry_interval_s = 3600;
    dial(peer, connect);
    settle();
    hear();
    HF_ASSERT(observer_.has_connack(peer.id));
    for (int quiet = 0; quiet < 4;) {
      broker_->unsent(peer.id, 0, now_);
      settle();
      hear();
      quiet = answer(peer, SIZE_MAX) ? 0 : quiet + 1;
      settle();
      hear();
      pass(milliseconds(1));
      hear();
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
  std::deque<std::unique_ptr<store::Job>> jobs_;
  std::deque<std::unique_ptr<store::Job>> ran_;
  Observer observer_;
  std::set<ConnectionId> ended_;
  Peer peers_[2];
  ConnectionId connection_last_ = 0;
  uint64_t payload_last_ = 0;
};

}  // namespace
}  // namespace hf::broker

// To see that a bug is found: HOLDFAST_PLANTED_BUG=ack-before-sync broker_fuzz ...
extern "C" int LLVMFuzzerInitialize(int*, char***) {
#if defined(HF_PLANTED_BUGS)
  const char* const name = std::getenv("HOLDFAST_PLANTED_BUG");
  if (const auto bug = hf::find_planted_bug(name != nullptr ? name : "none")) hf::plant(*bug);
#endif
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hf::broker::World(hf::Bytes(reinterpret_cast<const char*>(data), size)).run();
  return 0;
}
