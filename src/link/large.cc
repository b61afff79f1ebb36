// The sending half of a conversation, of a record that is larger than a batch: it goes in pieces, each of them as
// large as a batch may be, and is whole when the peer says so.
//
//   block()      the record's turn has come: its stream waits, the others of the lane go on
//   send_piece() one piece a call, from where the peer's word or the last receipt left off
//   send_whole() all that is not in pieces; from then on only the verdict counts
//   verdict()    the receipt: given up here, and the stream goes on
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "link/sender.h"

namespace hf::link {

using store::Record;
using store::StreamKey;
using Fetch = store::Store::Fetch;
using FetchStatus = store::Store::FetchStatus;

namespace {

// How much smaller a piece may become on its way, in sixteenths.
constexpr uint64_t kPieceShrinkMax = 16 * 16;
constexpr uint64_t kPieceBytesMin = 512;
// What a batch takes besides the bytes of its only record, at most.
constexpr uint64_t kBatchHeadBytesMax = 2 << 10;

uint64_t size_of(const Record& record) { return record.headers.size() + record.payload.size(); }

// Headers and payload are one run of bytes.
std::string slice(const Record& record, uint64_t offset, uint64_t size) {
  std::string bytes;
  bytes.reserve(size);
  if (offset < record.headers.size()) bytes = record.headers.substr(offset, size);
  const uint64_t at = offset + bytes.size() - record.headers.size();
  if (bytes.size() < size) bytes += record.payload.substr(at, size - bytes.size());
  return bytes;
}

}  // namespace

bool Sender::is_large(const Record& record) const {
  if (!chunks_ || size_of(record) == 0) return false;
  // Alone in a batch it has to fit into one message.
  const uint64_t message = channel_->message_bytes_max();
  return record.size_bytes() > std::min(pace_.batch(), message - std::min(message / 2, kBatchHeadBytesMax));
}

// The record, or one that follows it in its stream, waits. Its bytes do not: they are read when they are due.
void Sender::block(Road& road, Out& out, const Record& record) {
  if (!road.large && !out.blocked) {
    road.large = std::make_unique<Large>();
    road.large->out = &out;
    road.large->position = record.position;
    road.large->half.number = record.sequence;
    road.large_turn = true;
  } else {
    road.behind.push_back(record.position);
  }
  out.blocked = road.lane.priority;
}

// Those that waited go on; among them the next large one. What is stashed may follow them in their streams (it was barred
// when it was taken), so they go on together, in the order of the log.
void Sender::unblock(Road& road) {
  road.large.reset();
  for (auto& [key, out] : outs_) {
    if (out.blocked == road.lane.priority) out.blocked.reset();
  }
  for (const Fetch& fetch : road.stash) road.behind.push_back(fetch.record->position);
  road.stash.clear();
  std::sort(road.behind.begin(), road.behind.end());
  road.again.insert(road.again.begin(), road.behind.begin(), road.behind.end());
  road.behind.clear();
  road.ready = true;
  road.drained = false;
}

Sender::Sent Sender::send_piece(Road& road, uint64_t room, const Now& now) {
  Large& large = *road.large;
  if (!halves_known_) {
    large.pending = true;  // Until the peer has said what it holds.
    return Sent::kNothing;
  }
  const Fetch fetch = store_.at(large.position, road.lane.reader);
  if (fetch.status == FetchStatus::kPending) {
    large.pending = true;
    return Sent::kNothing;
  }
  const bool there = fetch.status == FetchStatus::kRecord;
  if (!there || !wanted(road, fetch, now)) {
    // It can no longer be read, or nobody can want it any more.
    if (!there) store_.acknowledge(road.lane.reader, large.position);
    flush_expired(road, now);
    large.half.key = large.out->key;
    tell_given_up(large.half);
    unblock(road);
    return closing_ ? Sent::kStop : Sent::kYes;
  }
  const Record& record = *fetch.record;
  if (large.half.size == 0) {
    large.half.key = large.out->key;
    large.half.hash = travel_.hash_of(record);
    large.half.size = size_of(record);
    const auto known = halves_.find(large.half.key);
    if (known != halves_.end() && known->second.same_record(large.half)) {
      large.half.held = known->second.held;
      counters_.pieces_held += large.half.held;
    }
  }
  if (large.half.held == large.half.size) return send_whole(road, fetch, now);

  const uint64_t most =
      channel_->message_bytes_max() - std::min<uint64_t>(channel_->message_bytes_max(), kPieceHeadBytesMax);
  uint64_t size =
      std::clamp(room * large.shrink / 16, kPieceBytesMin, std::clamp(most, kPieceBytesMin, kPieceBytesMax));
  size = std::min(size, large.half.size - large.half.held);
  Chunk piece;
  piece.kind = Chunk::Kind::kPiece;
  piece.of = large.half;
  const bool compress = compress_ && road.packing.worth_trying(pace_.goodput());
  std::string message;
  for (;;) {
    const std::string bytes = slice(record, large.half.held, size);
    piece.bytes = bytes;
    message = chunk_codec_.encode(piece, compress);
    if (compress) road.packing.tried(size, message.size());
    if (size <= kPieceBytesMin || message.size() <= room + room / 4 + kPieceHeadBytesMax) break;
    // It shrank less than the ones before.
    size = std::max(size / 2, kPieceBytesMin);
    large.shrink = std::max<uint64_t>(16, large.shrink / 2);
  }
  large.shrink =
      std::clamp<uint64_t>((large.shrink * 3 + size * 16 / message.size()) / 4, 16, kPieceShrinkMax);

  Flight flight;
  flight.id = channel_->send(Kind::kChunk, message, labels_commit_);
  if (flight.id == 0) return Sent::kStop;
  large.half.held += size;
  flight.reader = road.lane.reader;
  flight.priority = road.lane.priority;
  flight.sent = now.mono;
  flight.bytes = message.size();
  flight.records = 1;
  flight.alone = pace_.sent(message.size(), now);
  flight.positions = {large.position};
  flight.ends = {{large.out, record.stream, {large.half.number, large.half.hash, large.position}}};
  flight.piece = large.half;
  flights_.push_back(std::move(flight));
  counters_.sent_bytes += message.size();
  counters_.sent_plain_bytes += size;
  counters_.sent_payload_bytes += size;
  ++counters_.pieces_sent;
  account(road, message.size());
  return Sent::kYes;
}

Sender::Sent Sender::send_whole(Road& road, const Fetch& fetch, const Now& now) {
  Large& large = *road.large;
  gaps_known_ = false;
  Draft made;
  draft(road, {&fetch, 1}, &made, now);
  if (made.sections.empty()) {  // It was given up.
    tell_given_up(large.half);
    unblock(road);
    return Sent::kYes;
  }
  BatchRecord& record = made.sections.front().records.front();
  Chunk whole;
  whole.kind = Chunk::Kind::kWhole;
  whole.of = large.half;
  whole.headers_size = record.headers.size();
  record.headers = {};
  record.payload = {};
  std::string batch;
  uint64_t plain_bytes = 0;
  codec_.encode(made.sections, compress_, &batch, &plain_bytes);
  whole.bytes = batch;
  const std::string message = chunk_codec_.encode(std::move(whole), false);
  if (message.size() > channel_->message_bytes_max()) {
    give_up(road, *fetch.record, "has more in its head than the peer takes in one message", now);
    tell_given_up(large.half);
    unblock(road);
    return Sent::kYes;
  }
  Flight flight;
  flight.id = channel_->send(Kind::kChunk, message, labels_commit_);
  if (flight.id == 0) return Sent::kStop;
  large.whole = true;
  large.end = made.ends.front();
  large.out->started = true;  // Should it be refused, what follows it has to name it.
  flight.reader = road.lane.reader;
  flight.priority = road.lane.priority;
  flight.sent = now.mono;
  flight.bytes = message.size();
  flight.records = 1;
  flight.alone = pace_.sent(message.size(), now);
  flight.positions = {large.position};
  flight.ends = {large.end};
  flight.piece = large.half;
  flights_.push_back(std::move(flight));
  counters_.sent_bytes += message.size();
  counters_.sent_plain_bytes += plain_bytes;
  ++counters_.records_sent;
  account(road, message.size());
  return Sent::kYes;
}

bool Sender::halves(const std::vector<Half>& halves) {
  if (!chunks_ || halves_known_) return false;
  halves_known_ = true;
  for (const Half& half : halves) halves_[half.key] = half;
  for (Road& road : roads_) {
    if (road.large) road.large->pending = false;
  }
  if (flowing()) forget_halves();
  return true;
}

// What the peer keeps of records that this conversation will not go on with: it need not keep it.
void Sender::forget_halves() {
  if (!halves_known_) return;
  std::vector<Half> gone;
  for (const auto& [key, half] : halves_) {
    if (half.number > out_of(key).held && !parts_of(store_, travel_, key).empty()) continue;
    gone.push_back(half);
  }
  for (const Half& half : gone) tell_given_up(half);
}

void Sender::tell_given_up(const Half& half) {
  if (!chunks_ || halves_.erase(half.key) == 0) return;
  Chunk chunk;
  chunk.kind = Chunk::Kind::kGivenUp;
  chunk.of = half;
  (void)channel_->send(Kind::kChunk, chunk_codec_.encode(std::move(chunk), false), 0);
}

bool Sender::verdict(const Chunk& chunk, const Now& now) {
  const auto road = std::find_if(roads_.begin(), roads_.end(), [&](const Road& each) {
    return each.large && each.large->whole && each.large->half.key == chunk.of.key &&
           each.large->half.number == chunk.of.number;
  });
  if (road == roads_.end())
    return chunks_;  // All went again after a refusal, this one too: it will be said again.
  const Large large = *road->large;
  const auto reason = static_cast<mqtt::Reason>(chunk.reason);
  if (chunk.reason >= 0x80) {
    Flight flight;
    flight.reader = road->lane.reader;
    flight.records = 1;
    flight.positions = {large.position};
    flight.ends = {large.end};
    flight.piece = large.half;
    refused(flight, reason, now);
    return true;
  }
  halves_.erase(large.half.key);
  store_.acknowledge(road->lane.reader, large.position);
  Out& out = *large.out;
  out.held = out.last_sent = large.half.number;
  out.held_position = out.last_position = large.position;
  out.started = true;
  pairs_->put(out.key, large.end.pair, store::Haste::kRide);
  ++counters_.records_receipted;
  rest_ = {};
  unblock(*road);
  more_ = true;
  return true;
}

}  // namespace hf::link
