// A small world for the tests of link/: nodes with real stores on disks in memory, joined by wires that carry
// messages one by one, so that a test can cut, crash or restore at any of them.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "link/conversation.h"
#include "link/rows.h"
#include "store/memory_disk.h"
#include "store/store.h"

namespace hf::link {

// [MQTT-3.4.2-1] Whoever gets another reason takes the peer for broken.
inline bool puback_carries(mqtt::Reason reason) {
  std::string bytes;
  mqtt::encode_ack(bytes, mqtt::Version::k5, mqtt::PacketType::kPuback, 1, reason);
  mqtt::Framed framed;
  mqtt::Packet packet;
  mqtt::DecodeError error;
  return mqtt::frame_next(bytes, bytes.size(), &framed, &error) == mqtt::FrameStatus::kWhole &&
         mqtt::decode(framed, mqtt::Version::k5, mqtt::Sender::kServer, &packet, &error);
}

struct TestStore {
  store::MemoryDisk disk;
  store::TestEntropy entropy;
  store::Options options;
  std::string fence = "here";
  Now now;
  std::unique_ptr<store::Store> store;

  explicit TestStore(uint64_t store_id = 42) : entropy(store_id) {
    options.quota_bytes = 256 << 20;
    // Small, so that the longer stories have several segments and read back from disk.
    options.segment_bytes_min = 64 << 10;
    options.segment_bytes_max = 4 << 20;
    options.tail_cache_bytes = 256 << 10;
    options.index_cache_bytes = 64 << 10;
    now.mono = {1'000'000'000};
    now.wall_us = 1'700'000'000'000'000;
    now.quality = ClockQuality::kNtp;
    now.boot = {1, store_id};
    EXPECT_TRUE(store::Store::create(disk, entropy, kek(), store_id));
    open();
  }
  static crypto::Key kek() { return crypto::Key(std::string(32, 'k')); }

  void open() {
    store.reset();
    store::OpenReport report;
    auto opened = store::Store::open(disk, entropy, kek(), options, fence, now, &report);
    ASSERT_TRUE(opened) << opened.error().text;
    store = std::move(*opened);
  }
  // What was not durable is gone.
  void restart() { open(); }
  // Runs disk jobs until there are none.
  bool run() {
    bool any = false;
    store->boundary();
    while (std::unique_ptr<store::Job> job = store->take_job(now)) {
      job->run(disk, entropy);
      store->complete(std::move(job), now);
      any = true;
    }
    return any;
  }
};

// A record as a test compares it.
struct Kept {
  std::string origin;
  uint64_t incarnation = 0;
  std::string stream;
  uint64_t sequence = 0;
  std::string payload;
  bool may_double = false;
  friend auto operator<=>(const Kept&, const Kept&) = default;
  friend void PrintTo(const Kept& kept, std::ostream* out) {
    *out << kept.origin << ":" << to_hex(kept.incarnation).substr(0, 4) << ":" << kept.stream << ":"
         << kept.sequence << "=" << kept.payload.substr(0, 20) << (kept.may_double ? "?" : "");
  }
};

class TestNode : public Host {
 public:
  TestNode(std::string name, uint64_t store_id) : base(store_id), name_(std::move(name)) {
    settings.name = name_;
  }

  TestStore base;
  std::vector<std::string> log_lines;
  std::vector<std::string> topics;  // Of what came over links.
  bool stalled = false;             // The disk does nothing.
  Settings settings;
  uint32_t renewed = 0;
  // Whether a peer is owed a record; `from` is empty for one of our own.
  std::function<bool(const std::string& peer, const std::string& from, Bytes topic)> owed =
      [](const std::string& peer, const std::string& from, Bytes) {
        return peer == kParentName && from != kParentName;
      };

  const std::string& name() const { return name_; }
  store::Store& store() { return *base.store; }
  Conversation& with(const std::string& peer) {
    std::unique_ptr<Conversation>& conversation = conversations_[peer];
    if (conversation == nullptr) {
      Settings own = settings;
      if (peer == kParentName) own.prefix.clear();  // It is of children.
      conversation = std::make_unique<Conversation>(store(), *this, base.entropy, own, peer);
    }
    return *conversation;
  }

  void write(Bytes stream, Bytes payload, uint8_t priority = 5, Bytes topic = "t",
             uint32_t time_to_live_s = 0, std::optional<uint32_t> expiry_s = {}) {
    store::NewRecord record;
    record.stream = store().open_local_stream(stream, priority, time_to_live_s);
    record.topic = topic;
    record.payload = payload;
    record.qos = 1;
    record.arrival = store::arrival_of(base.now);
    record.expiry_s = expiry_s;
    append("", record);
  }

  void together(const std::function<void()>& work) override { work(); }
  void ingest(const std::string& peer, const store::NewRecord& record, const Now&) override {
    topics.emplace_back(record.topic);
    append(peer, record);
  }
  bool begin_assembly(const std::string&) override { return true; }
  void end_assembly(const std::string&) override {}
  void incarnation_renewed() override { ++renewed; }
  void log(const char* event, std::string text) override {
    log_lines.push_back(std::string(event) + " " + text);
  }

  bool step() {
    bool any = !stalled && base.run();
    for (const store::ReaderId reader : store().take_woken()) {
      for (auto& [peer, conversation] : conversations_) conversation->woken(reader);
    }
    for (auto& [peer, conversation] : conversations_) {
      if (conversation->begun()) conversation->pump(base.now);
    }
    return any;
  }

  // The process dies; the wires must be cut. Peers are known again at the next with().
  void crash() {
    std::vector<std::string> peers;
    for (auto& [peer, conversation] : conversations_) peers.push_back(peer);
    conversations_.clear();
    base.restart();
    for (const std::string& peer : peers) with(peer);
  }
  // The directory becomes what `files` says, on the very same machine as far as the node can tell.
  void restore(const std::map<std::string, std::string>& files) {
    std::vector<std::string> peers;
    for (auto& [peer, conversation] : conversations_) peers.push_back(peer);
    conversations_.clear();
    base.store.reset();
    base.disk.files = files;
    base.entropy = store::TestEntropy(1000 + base.entropy.u64());
    base.restart();
    for (const std::string& peer : peers) with(peer);
  }
  std::map<std::string, std::string> copy() {
    base.run();
    return base.disk.files;
  }

  // Everything that is held, by origin, incarnation, stream and number. `own`: of this node, else of others.
  std::vector<Kept> kept(bool own) {
    std::vector<Kept> list;
    std::vector<store::StreamInfo> streams;
    store().for_each_stream([&](const store::StreamInfo& info) { streams.push_back(info); });
    for (const store::StreamInfo& info : streams) {
      if (info.options.origin.empty() != own) continue;
      store::Position after;
      for (;;) {
        const store::Store::Fetch fetch = store().next_in_stream(info.id, after, 0);
        if (fetch.status == store::Store::FetchStatus::kPending) {
          base.run();
          continue;
        }
        if (fetch.status != store::Store::FetchStatus::kRecord) break;
        after = fetch.record->position;
        list.push_back({info.options.origin, info.key.incarnation, info.key.name, fetch.record->sequence,
                        std::string(fetch.record->payload), fetch.record->may_double});
      }
    }
    std::sort(list.begin(), list.end());
    return list;
  }

  bool logged(const std::string& part) const {
    for (const std::string& line : log_lines) {
      if (line.find(part) != std::string::npos) return true;
    }
    return false;
  }

 private:
  void append(const std::string& from, store::NewRecord record) {
    std::vector<store::Member> audience;
    for (auto& [peer, conversation] : conversations_) {
      if (owed(peer, from, record.topic))
        audience.push_back({conversation->reader_for(record.stream), 2, false, {}});
    }
    const std::string encoded = store::encode_audience(std::move(audience));
    record.audience = encoded;
    store().append(record);
    if (from.empty()) store().boundary();
  }

  const std::string name_;
  std::map<std::string, std::unique_ptr<Conversation>> conversations_;
};

// Joins a child and its parent. Everything waits for its commit at the node it leaves, in order, as over
// MQTT.
class Wire {
 public:
  Wire(TestNode& child, TestNode& parent)
      : child_(*this, child, std::string(kParentName)), parent_(*this, parent, child.name()) {}

  void connect() {
    ASSERT_FALSE(up_);
    up_ = true;
    child_.conversation().begin(child_, child_.node.base.now);
    parent_.conversation().begin(parent_, parent_.node.base.now);
  }
  void cut() {
    if (!up_) return;
    up_ = false;
    child_.drop();
    parent_.drop();
  }
  // Delivers what may leave; false if that was nothing.
  bool deliver() {
    if (!up_) return false;
    const bool any = child_.deliver(parent_);
    return (up_ && parent_.deliver(child_)) || any;
  }
  bool up() const { return up_; }

  uint64_t delivered = 0;             // Messages and acknowledgements, both ways.
  std::optional<uint64_t> cut_after;  // The wire is cut when so many were delivered.
  // Changes what the parent acknowledges a batch with.
  std::function<mqtt::Reason(mqtt::Reason)> answer = [](mqtt::Reason reason) { return reason; };
  uint64_t message_bytes_max = 1 << 20;

 private:
  struct Item {
    bool message = false;
    Kind kind = Kind::kHello;
    uint16_t id = 0;
    mqtt::Reason reason = mqtt::Reason::kSuccess;
    std::string bytes;
    uint64_t commit = 0;
  };
  struct End final : Channel {
    End(Wire& wire_in, TestNode& node_in, std::string peer_in)
        : wire(wire_in), node(node_in), peer(std::move(peer_in)) {}
    Conversation& conversation() { return node.with(peer); }

    uint16_t send(Kind kind, Bytes message, uint64_t commit) override {
      if (++id_last == 0) ++id_last;
      out.push_back({true, kind, id_last, mqtt::Reason::kSuccess, std::string(message), commit});
      return id_last;
    }
    void acknowledge(uint16_t id, mqtt::Reason reason, uint64_t commit) override {
      EXPECT_TRUE(puback_carries(reason)) << mqtt::reason_name(reason);
      out.push_back({false, Kind::kHello, id, reason, "", commit});
    }
    void close(const char*) override { closing = true; }
    uint64_t message_bytes_max() const override { return wire.message_bytes_max; }

    void drop() {
      out.clear();
      closing = false;
      if (conversation().begun()) conversation().end(node.base.now);
    }
    bool deliver(End& to) {
      bool any = false;
      while (!out.empty() && out.front().commit <= node.store().durable_commit()) {
        const Item item = std::move(out.front());
        out.pop_front();
        any = true;
        if (item.message) {
          to.conversation().received(item.kind, item.bytes, item.id, to.node.base.now);
        } else {
          const bool down = &to == &wire.child_;
          to.conversation().acknowledged(item.id, down ? wire.answer(item.reason) : item.reason,
                                         to.node.base.now);
        }
        to.node.store().boundary();
        ++wire.delivered;
        if (to.closing || closing || (wire.cut_after && wire.delivered >= *wire.cut_after)) {
          wire.cut();
          return true;
        }
      }
      if (closing) wire.cut();
      return any;
    }

    Wire& wire;
    TestNode& node;
    const std::string peer;
    std::deque<Item> out;
    uint16_t id_last = 0;
    bool closing = false;
  };

  bool up_ = false;
  End child_;
  End parent_;
};

// Steps until nothing happens any more. Time goes on by `tick` a round.
inline void settle(const std::vector<TestNode*>& nodes, const std::vector<Wire*>& wires,
                   Duration tick = milliseconds(1)) {
  int idle = 0;
  for (int round = 0; round < 100'000; ++round) {
    bool any = false;
    for (TestNode* node : nodes) {
      any |= node->step();
      node->base.now.mono = node->base.now.mono + tick;
      node->base.now.wall_us += tick.ns / 1000;
    }
    for (Wire* wire : wires) any |= wire->deliver();
    idle = any ? 0 : idle + 1;
    if (idle >= 5) return;
  }
  FAIL() << "it never comes to rest";
}

}  // namespace hf::link
