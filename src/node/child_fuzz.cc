// A hub whose registered child means no good: it has its secret, says HELLO and speaks the link's grammar, but under any
// incarnation, with any numbers, and with large records in pieces that need not fit. The hub must stand, go on taking
// messages from its own client, and nothing that the child sends is ever a record of the hub's own.
//
// The input is a script; one byte for what, and what that needs:
//   0..5   a batch      of one or two sections
//   6, 7   a piece
//   8      a whole
//   9      a chunk      of another kind
//   10     pairs
//   11     receipts     of what the hub has sent
//   12     raw bytes
//   13     begin anew   the connection ends, and another one says HELLO
//   14     crash        of the hub
//   15     publish      a client of the hub's does
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "crypto/crypto.h"
#include "link/batch.h"
#include "link/channel.h"
#include "link/chunk.h"
#include "link/claim.h"
#include "link/hello.h"
#include "node/fuzz_machine.h"

namespace hf::node {
namespace {

class World {
 public:
  explicit World(Bytes script) : in_(script) {
    now_ = {.mono = {1'000'000'000},
            .wall_us = 1'700'000'000'000'000,
            .quality = ClockQuality::kNtp,
            .boot = {1, 2}};
    hub_.start(now_);
    std::string text;
    HF_ASSERT(hub_.node->node_add("site", {"mine/#"}, (in_.u8() & 1) != 0 ? "site/" : "", &text).has_value());
    steps();
    const std::string token = link::parse_claim(text)->token;
    dial(token);
    tell(link::Kind::kClaim, link::encode_claim_message(secret()));
    steps();
    dial(secret());
    hello();
    steps();
    open_client();
    steps();
  }

  void run() {
    while (!in_.empty()) {
      act();
      steps();
    }
    publish();
    steps();
    check();
  }

 private:
  void act() {
    const uint8_t what = in_.u8();
    switch (what & 15) {
      case 6:
      case 7: {
        link::Chunk piece = of(what);
        const std::string all = payload(piece.of.number);
        piece.kind = link::Chunk::Kind::kPiece;
        piece.of.held = (what & 16) != 0 ? in_.u8() % (all.size() + 1) : 0;
        const std::string bytes = all.substr(piece.of.held, (what & 32) != 0 ? in_.u8() : all.size());
        piece.bytes = bytes;
        return tell(link::Kind::kChunk, chunks_.encode(piece, (what & 64) != 0));
      }
      case 8: {
        link::Chunk whole = of(what);
        link::Section section = this->section(whole.of.key, whole.of.number, 1);
        section.records.front().payload = {};
        const std::string bytes = encoded({section});
        whole.kind = link::Chunk::Kind::kWhole;
        whole.headers_size = (what & 64) != 0 ? in_.u8() : 0;
        whole.bytes = bytes;
        return tell(link::Kind::kChunk, chunks_.encode(whole, false));
      }
      case 9: {
        link::Chunk chunk = of(what);
        chunk.kind = (what & 64) != 0 ? link::Chunk::Kind::kGivenUp : link::Chunk::Kind::kVerdict;
        chunk.reason = (what & 128) != 0 ? 0x80 : 0;
        return tell(link::Kind::kChunk, chunks_.encode(chunk, false));
      }
      case 10: {
        link::PairsMessage pairs{
            .answer = (what & 16) != 0, .single = (what & 32) != 0, .key = key(in_.u8())};
        uint64_t number = 0;
        for (int i = what >> 6; (pairs.answer || pairs.single) && i > 0; --i) {
          number += uint64_t{1} + in_.u8();
          pairs.pairs.push_back({number, pairs.answer ? in_.u64() : 0});
        }
        return tell(link::Kind::kPairs, link::encode_pairs(pairs));
      }
      case 11: {
        std::string bytes;
        const uint16_t first = in_.u8();
        for (uint16_t id = first; id <= first + (what >> 4); ++id) {
          if (id != 0)
            mqtt::encode_ack(bytes, mqtt::Version::k5, mqtt::PacketType::kPuback, id,
                             (what & 128) != 0 ? mqtt::Reason::kQuotaExceeded : mqtt::Reason::kSuccess);
        }
        return hub_.receive(link_, std::move(bytes));
      }
      case 12:
        return hub_.receive(link_, std::string(in_.bytes(std::min<size_t>(in_.u8(), in_.rest().size()))));
      case 13:
        hub_.inputs.push_back(Closed{link_});
        dial(secret());
        return hello();
      case 14:
        hub_.node.reset();
        hub_.inputs.clear();
        hub_.kept.clear();
        hub_.start(now_);
        dial(secret());
        hello();
        return open_client();
      case 15:
        now_.mono = now_.mono + milliseconds(int64_t{100} * (what >> 4));
        return publish();
      default: {
        const store::StreamKey one = key(in_.u8());
        std::vector<link::Section> sections = {section(one, number_of(one, what), 1 + (what >> 6))};
        const store::StreamKey other = (what & 32) != 0 ? key(in_.u8()) : one;
        if (other != one) sections.push_back(section(other, number_of(other, what), 1));
        return tell(link::Kind::kBatch, encoded(sections));
      }
    }
  }

  // --- What a child may say.

  static std::string secret() { return std::string(64, 'a'); }

  void dial(const std::string& password) {
    ++link_;
    packet_ = 0;
    hub_.inputs.push_back(Connected{.connection = link_, .loopback = true, .peer = "127.0.0.1:7"});
    mqtt::Connect connect{.version = mqtt::Version::k5, .clean_start = true, .client_id = "site"};
    connect.user_name = "site";
    connect.password = password;
    std::string bytes;
    mqtt::encode(bytes, connect.version, connect);
    hub_.receive(link_, std::move(bytes));
  }

  void tell(link::Kind kind, Bytes message) {
    std::string bytes;
    packet_ = static_cast<uint16_t>(packet_ % 60'000 + 1);
    mqtt::encode_publish(bytes, mqtt::Version::k5,
                         {.qos = 1, .topic = link::topic_of(kind), .packet_id = packet_}, message);
    hub_.receive(link_, std::move(bytes));
  }

  void hello() {
    const uint8_t what = in_.u8();
    link::Hello hello;
    hello.name = "site";
    hello.features = link::kFeatureZstd | link::kFeatureChunks | (what & link::kFeatureHashes);
    hello.store_id = 7 + (what >> 7);
    std::map<store::StreamKey, link::Mark> marks;
    for (int i = what & 3; i > 0; --i) {
      link::Mark mark{.key = key(in_.u8()), .number = uint64_t{1} + in_.u8(), .hash = in_.u8()};
      marks.emplace(mark.key, mark);
    }
    for (const auto& [key, mark] : marks) hello.marks.push_back(mark);
    tell(link::Kind::kHello, link::encode_hello(hello));
  }

  // Under which key the hub keeps one that it cannot take as it is.
  static store::StreamKey alias(const store::StreamKey& key) {
    std::string way = "holdfast alias";
    put_u64(way, key.incarnation);
    put_sized(way, key.name);
    put_sized(way, "site");
    return {crypto::fingerprint64(way), key.name};
  }

  store::StreamKey key(uint8_t which) const {
    constexpr Bytes kNames[] = {"local", "$halves", "down/site", "telemetry"};
    store::StreamKey key{(which & 1) != 0 ? hub_.node->store().incarnation() : 9,
                         std::string(kNames[(which >> 1) & 3])};
    for (int i = (which >> 3) & 3; i > 0; --i) key = alias(key);
    return key;
  }

  // Mostly the one that comes next.
  uint64_t number_of(const store::StreamKey& key, uint8_t what) {
    uint64_t& next = next_[key];
    if ((what & 16) != 0) return 1 + in_.u8() % (next + 4);
    return ++next;
  }

  link::Section section(const store::StreamKey& key, uint64_t number, int count) {
    link::Section section;
    section.key = key;
    section.first = number;
    section.last = number + static_cast<uint64_t>(count) - 1;
    for (uint64_t each = section.first; each <= section.last; ++each) {
      link::BatchRecord record;
      record.sequence = each;
      record.topic = "mine/too";
      record.payload = "the child's";
      record.qos = 1;
      section.records.push_back(record);
    }
    next_[key] = std::max(next_[key], section.last);
    return section;
  }

  std::string encoded(const std::vector<link::Section>& sections) {
    std::string bytes;
    uint64_t plain = 0;
    batches_.encode(sections, true, &bytes, &plain);
    return bytes;
  }

  static std::string payload(uint64_t number) { return std::string(1 + number * 13 % 200, 'c'); }

  link::Chunk of(uint8_t what) {
    link::Chunk chunk;
    chunk.of.key = key(in_.u8());
    chunk.of.number = next_[chunk.of.key] + 1;
    const std::string all = payload(chunk.of.number);
    chunk.of.size = all.size();
    chunk.of.hash = link::record_hash(chunk.of.number, {}, "mine/too", {}, all);
    if ((what & 128) != 0) chunk.of.hash ^= in_.u8();
    return chunk;
  }

  // --- The hub's client: to itself, so that what it says is stored.

  void open_client() {
    client_ = ++client_last_;
    hub_.inputs.push_back(Connected{.connection = client_, .loopback = true, .peer = "127.0.0.1:9"});
    mqtt::Connect connect{.version = mqtt::Version::k5, .clean_start = false, .client_id = "client"};
    connect.properties.session_expiry_interval_s = 1'000'000;
    std::string bytes;
    mqtt::encode(bytes, connect.version, connect);
    mqtt::encode(bytes, connect.version,
                 mqtt::Subscribe{.packet_id = 1, .entries = {{.filter = "own/#", .qos = 1}}});
    hub_.receive(client_, std::move(bytes));
  }

  void publish() {
    for (const char* topic : {"own/topic", "mine/topic"}) {
      std::string bytes;
      mqtt::encode_publish(
          bytes, mqtt::Version::k5,
          {.qos = 1, .topic = topic, .packet_id = static_cast<uint16_t>(2 + published_++ % 60'000)},
          "the hub's");
      hub_.receive(client_, std::move(bytes));
    }
  }

  void check() {
    for (const char* stream : {"local", "down/site"}) {
      ExportQuery query{.stream = stream, .count = 1000};
      bool any = false;
      for (int round = 0; round < 10'000; ++round) {
        bool pending = false;
        const auto page = hub_.node->export_records(query, &pending);
        if (!page) break;
        for (const ExportRecord& record : page->rows) {
          if (!record.origin.empty()) continue;
          HF_ASSERT(record.payload == "the hub's");
          any = true;
        }
        if (pending) steps();
        if (!page->next) break;
        query.after = *page->next;
      }
      HF_ASSERT(any);
    }
  }

  void steps() {
    for (int round = 0; round < 64; ++round) {
      now_.mono.ns += 1'000'000;
      const Effects made = hub_.step(now_);
      for (const Close& close : made.closes) HF_ASSERT(close.connection != client_);
      if (hub_.inputs.empty()) return;
    }
  }

  ByteReader in_;
  Now now_;
  Machine hub_{"hub", 2};
  link::BatchCodec batches_;
  link::ChunkCodec chunks_;
  ConnectionId link_ = 0;
  ConnectionId client_ = 0;
  ConnectionId client_last_ = 1'000'000;
  uint16_t packet_ = 0;
  uint64_t published_ = 0;
  std::map<store::StreamKey, uint64_t> next_;  // The last number that was used.
};

}  // namespace
}  // namespace hf::node

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hf::node::World(hf::Bytes(reinterpret_cast<const char*>(data), size)).run();
  return 0;
}
