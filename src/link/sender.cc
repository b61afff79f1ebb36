#include "link/sender.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/planted_bugs.h"
#include "link/prefix.h"
#include "link/rows.h"

namespace hf::link {

using store::Position;
using store::ReaderId;
using store::Record;
using store::Store;
using store::StreamId;
using store::StreamInfo;
using store::StreamKey;
using Fetch = Store::Fetch;
using FetchStatus = Store::FetchStatus;

namespace {

constexpr size_t kFlightsMax = 64;  // Batches under way; below any receive maximum we state or expect.
constexpr uint64_t kUnsentBytesMax = 256 << 10;
constexpr uint32_t kLooksPerBatch = 16'384;  // Records looked at for one batch, skipped ones included.
constexpr uint32_t kBatchesPerPump = 8;
constexpr uint32_t kLooksPerAgreementStep = 4096;
constexpr size_t kWaitingMax = 1 << 18;    // Records held back until the peer's word on them is verified.
constexpr uint64_t kRecordCostBytes = 16;  // What a record takes in a batch besides its own bytes, about.
constexpr uint64_t kShrinkMax = 32 * 16;
constexpr Duration kRestMin = seconds(1);
constexpr Duration kRestMax = seconds(30);
constexpr Duration kPatienceMin = seconds(10);

uint64_t cost(const Record& record) { return record.size_bytes() + kRecordCostBytes; }

}  // namespace

Sender::Sender(Store& store, Host& host, Entropy& entropy, std::string peer, std::string prefix)
    : store_(store),
      host_(host),
      entropy_(entropy),
      peer_(std::move(peer)),
      travel_(store, peer_, std::move(prefix)),
      pace_(travel_.goodput()) {}

Sender::~Sender() = default;

// --- The conversation's beginning and end.

void Sender::start(Channel& channel, const Hello& hello, uint64_t features, const Now& now) {
  channel_ = &channel;
  closing_ = false;
  compress_ = (features & kFeatureZstd) != 0;
  chunks_ = (features & kFeatureChunks) != 0;
  halves_known_ = !chunks_;
  halves_.clear();
  if (travel_.meet(hello.store_id)) {
    host_.log("HF-LINK-006", std::string(peer_ == kParentName ? "the parent" : peer_) +
                                 " is another store than before (" + to_hex(hello.store_id) +
                                 "): it gets what was not receipted yet, and nothing twice");
  }
  pairs_ = Pairs::sent(store_, peer_, hello.store_id);
  pace_.begin();
  marks_ = hello.marks;
  agreement_ = std::make_unique<Agreement>(store_, travel_, *pairs_, entropy_, hello.marks, unreceipted_,
                                           (features & kFeatureHashes) != 0, now);
  unreceipted_.clear();
}

void Sender::stop() {
  for (const Flight& flight : flights_) {
    if (flight.piece) continue;
    for (const End& end : flight.ends) {
      std::vector<Pair>& pairs = unreceipted_[end.out->key];
      if (pairs.size() < kFlightsMax) pairs.push_back(end.pair);
    }
  }
  for (const Road& road : roads_) {
    if (!road.large || !road.large->whole) continue;
    unreceipted_[road.large->end.out->key].push_back(road.large->end.pair);
  }
  if (flowing()) travel_.remember_goodput(pace_.goodput());
  flights_.clear();
  roads_.clear();
  outs_.clear();
  expired_.clear();
  way_ = {};
  agreement_.reset();
  rest_until_.reset();
  channel_ = nullptr;
  unsent_bytes_ = 0;
  more_ = false;
}

void Sender::close(const char* why) {
  closing_ = true;
  channel_->close(why);
}

bool Sender::pairs(const PairsMessage& message) {
  if (agreement_ == nullptr || !agreement_->answer(message)) return false;
  more_ = true;
  return true;
}

void Sender::agree(const Now&) {
  const Agreement::State state = agreement_->step(kLooksPerAgreementStep);
  for (const PairsMessage& question : agreement_->take_questions()) {
    if (channel_->send(Kind::kPairs, encode_pairs(question), 0) == 0) return;
  }
  more_ = state == Agreement::State::kMore;
  if (state != Agreement::State::kDone) return;

  for (const Agreement::Line& line : agreement_->lines()) host_.log(line.event, line.text);
  counters_.forks += agreement_->forks();
  if (agreement_->forks() > 0) labels_commit_ = store_.open_commit();
  if (agreement_->renewed()) host_.incarnation_renewed();
  for (const auto& [key, resumed] : agreement_->resumed()) {
    Out& out = outs_[key];
    out.key = key;
    out.held = resumed.held;
    out.held_position = resumed.position;
    out.started = resumed.listed;
    out.ahead = resumed.ahead;
  }
  const std::map<uint8_t, Position> rewinds = agreement_->rewinds();
  agreement_.reset();
  flow();
  for (Road& road : roads_) {
    const auto rewind = rewinds.find(road.lane.priority);
    const store::ReaderInfo* reader = store_.reader(road.lane.reader);
    if (rewind != rewinds.end() && reader != nullptr && rewind->second < reader->low_water) {
      store_.rewind(road.lane.reader, rewind->second);
    }
  }
  rest_ = {};
}

// Everything that is owed and not receipted is sent again, from the low-water positions on.
void Sender::flow() {
  roads_.clear();
  lay_roads();
  barriers_ = travel_.barriers();
  for (const Road& road : roads_) {
    const store::ReaderInfo* reader = store_.reader(road.lane.reader);
    if (reader != nullptr) store_.rewind(road.lane.reader, reader->low_water);
  }
  for (auto& [key, out] : outs_) {
    out.last_sent = out.held;
    out.last_position = out.held_position;
    out.waiting.clear();
    out.blocked.reset();
  }
  way_ = {};
  forget_halves();
}

// Lanes may be made while the conversation lasts.
void Sender::lay_roads() {
  for (size_t i = 0; i < travel_.lanes().size(); ++i) {
    const Lane& lane = travel_.lanes()[i];
    if (i < roads_.size() && roads_[i].lane.priority == lane.priority) continue;
    Road road;
    road.lane = lane;
    roads_.insert(roads_.begin() + static_cast<std::ptrdiff_t>(i), std::move(road));
  }
}

Sender::Road* Sender::road_of(uint8_t priority) {
  for (Road& road : roads_) {
    if (road.lane.priority == priority) return &road;
  }
  return nullptr;
}

bool Sender::woken(ReaderId reader) {
  for (const Lane& lane : travel_.lanes()) {
    if (lane.reader != reader) continue;
    if (Road* road = road_of(lane.priority)) {
      road->ready = true;
      road->drained = false;
      if (road->large) road->large->pending = false;
    }
    return true;
  }
  return false;
}

// --- Sending.

void Sender::pump(const Now& now) {
  more_ = false;
  if (channel_ == nullptr || closing_) return;
  if (agreement_ != nullptr) {
    agree(now);
    if (agreement_ != nullptr) return;
  }
  if (rest_until_) {
    if (!flights_.empty() || now.mono < *rest_until_) return;
    rest_until_.reset();
    flow();
  }
  lay_roads();
  for (uint32_t sent = 0; sent < kBatchesPerPump;) {
    Road* road = choose();
    if (road == nullptr) return;
    if (unsent_bytes_ > kUnsentBytesMax || flights_.size() >= kFlightsMax) return;
    const bool urgent = std::none_of(flights_.begin(), flights_.end(), [&](const Flight& flight) {
      return flight.priority <= road->lane.priority;
    });
    const uint64_t room = pace_.room(true, urgent, now);
    if (room == 0) return;
    const Sent outcome = send_from(*road, room, now);
    // Many records may have been looked at of which none was to be sent: then it goes on in the next step.
    if (outcome == Sent::kStop || (outcome == Sent::kNothing && more_)) return;
    sent += outcome == Sent::kYes;
  }
  more_ = choose() != nullptr;
}

bool Sender::barred(const Road& road, Position position) {
  for (const Barrier& barrier : barriers_) {
    if (barrier.priority != road.lane.priority || position <= barrier.at) continue;
    const Road* before = road_of(barrier.before);
    if (before == nullptr) continue;
    if (const std::optional<Position> first = before->first_left()) {
      if (*first <= barrier.at) return true;
      continue;
    }
    const store::ReaderInfo* reader = store_.reader(before->lane.reader);
    if (!before->drained && reader != nullptr && reader->cursor < barrier.at) return true;
  }
  return false;
}

Sender::Road* Sender::choose() {
  Road* first = nullptr;
  Road* turn = nullptr;    // The next lane behind the first, after the one whose turn was last.
  Road* behind = nullptr;  // The first of those, for when the turns begin anew.
  for (Road& road : roads_) {
    if (!road.has()) continue;
    // (One that goes in pieces was let through already.)
    if (!road.large_may_go() && !road.stash.empty() && barred(road, road.stash.front().record->position))
      continue;
    if (first == nullptr) {
      first = &road;
      continue;
    }
    if (behind == nullptr) behind = &road;
    if (turn == nullptr && road.lane.priority > share_last_) turn = &road;
  }
  if (turn == nullptr) turn = behind;
  if (turn == nullptr) {
    // Nobody waits behind: no debt grows.
    share_debt_ = 0;
    return first;
  }
  return share_debt_ >= 9 * pace_.batch() ? turn : first;
}

// Puts back what is behind the first `keep`.
void Sender::stash(Road& road, std::vector<Fetch>* records, size_t keep) {
  for (size_t i = records->size(); i > keep; --i) road.stash.push_front(std::move((*records)[i - 1]));
  records->resize(keep);
}

std::optional<Position> Sender::Road::first_left() const {
  std::optional<Position> first;
  const auto at = [&](Position position) { first = std::min(first.value_or(position), position); };
  if (!stash.empty()) at(stash.front().record->position);
  if (large) at(large->position);
  if (!behind.empty()) at(behind.front());
  if (!again.empty()) at(again.front());
  return first;
}

// A large record and what else the lane holds take turns.
Sender::Sent Sender::send_from(Road& road, uint64_t room, const Now& now) {
  const auto piece = [&] {
    road.large_turn = false;
    return send_piece(road, room, now);
  };
  if (road.large_turn && road.large_may_go()) {
    const Sent outcome = piece();
    if (outcome != Sent::kNothing) return outcome;
  }
  const bool barred_now = !road.stash.empty() && barred(road, road.stash.front().record->position);
  const Sent outcome = barred_now ? Sent::kNothing : send_batch(road, room, now);
  road.large_turn = true;
  if (outcome != Sent::kNothing || !road.large_may_go()) return outcome;
  return piece();
}

Sender::Sent Sender::send_batch(Road& road, uint64_t room, const Now& now) {
  gaps_known_ = false;
  std::vector<Fetch> records;
  collect(road, std::clamp(room * shrink_ / 16, kBatchBytesMin, kBatchBytesMax), &records, now);
  flush_expired(road, now);
  if (closing_) return Sent::kStop;
  if (records.empty()) return Sent::kNothing;

  Draft made;
  const bool compress = compress_ && road.packing.worth_trying(pace_.goodput());
  std::string message;
  uint64_t plain_bytes = 0;
  for (;;) {
    made = {};
    draft(road, records, &made, now);
    stash(road, &records, made.taken);
    if (made.sections.empty()) return Sent::kYes;  // All of it was given up.
    codec_.encode(made.sections, compress, &message, &plain_bytes);
    if (compress) road.packing.tried(plain_bytes, message.size());
    const bool too_large =
        message.size() > channel_->message_bytes_max() || plain_bytes > kBatchPlainBytesMax;
    if (records.size() > 1 && (too_large || message.size() > room + room / 4)) {
      // It shrank less than the ones before: the rest waits for the next batch.
      stash(road, &records, records.size() / 2);
      shrink_ = std::max<uint64_t>(16, shrink_ / 2);
      continue;
    }
    if (!too_large) break;
    give_up(road, *records.front().record, "is larger than what the peer takes", now);
    return Sent::kYes;
  }
  shrink_ = std::clamp<uint64_t>((shrink_ * 3 + made.cost_bytes * 16 / message.size()) / 4, 16, kShrinkMax);

  Flight flight;
  flight.id = channel_->send(Kind::kBatch, message, labels_commit_);
  if (flight.id == 0) {
    stash(road, &records, 0);
    return Sent::kStop;
  }
  flight.reader = road.lane.reader;
  flight.sent = now.mono;
  flight.bytes = message.size();
  flight.records = made.records;
  flight.alone = pace_.sent(message.size(), now);
  flight.priority = road.lane.priority;
  flight.ends = std::move(made.ends);
  for (const Fetch& fetch : records) {
    flight.positions.push_back(fetch.record->position);
    if (planted(PlantedBug::kDeleteBeforeReceipt))
      store_.acknowledge(road.lane.reader, fetch.record->position);
  }
  for (const End& end : flight.ends) {
    end.out->last_sent = end.pair.number;
    end.out->last_position = end.pair.position;
    end.out->started = true;
  }
  flights_.push_back(std::move(flight));

  counters_.sent_bytes += message.size();
  counters_.sent_plain_bytes += plain_bytes;
  counters_.sent_payload_bytes += made.payload_bytes;
  counters_.records_sent += made.records;
  ++counters_.batches_sent;
  account(road, message.size());
  return Sent::kYes;
}

// Of every ten bytes one is for the lanes behind the first.
void Sender::account(const Road& road, uint64_t bytes) {
  bool first = true;  // No lane before this one has anything.
  for (const Road& other : roads_) first &= other.lane.priority >= road.lane.priority || !other.has();
  if (first) {
    share_debt_ = std::min(share_debt_ + bytes, 18 * kBatchBytesMax);
  } else {
    share_debt_ -= std::min(share_debt_, 9 * bytes);
    share_last_ = road.lane.priority;
  }
}

// The next record of the lane; nothing: the store has none now.
std::optional<Fetch> Sender::take(Road& road) {
  while (!road.again.empty()) {
    const Position position = road.again.front();
    Fetch fetch = store_.at(position, road.lane.reader);
    if (fetch.status == FetchStatus::kPending) return std::nullopt;
    road.again.pop_front();
    if (fetch.status == FetchStatus::kRecord) return fetch;
    store_.acknowledge(road.lane.reader, position);  // It can no longer be read.
  }
  Fetch fetch = store_.next(road.lane.reader);
  if (fetch.status == FetchStatus::kRecord) return fetch;
  road.drained = fetch.status == FetchStatus::kNone;
  return std::nullopt;
}

void Sender::collect(Road& road, uint64_t plain_bytes_max, std::vector<Fetch>* records, const Now& now) {
  uint64_t bytes = 0;
  const auto fits = [&](const Fetch& fetch) {
    return records->empty() ||
           (bytes + cost(*fetch.record) <= plain_bytes_max && records->size() < kBatchRecordsMax);
  };
  while (!road.stash.empty()) {
    const Record& record = *road.stash.front().record;
    if (barred(road, record.position)) return;
    // The pace may have become one for which it is large.
    Out& out = *way_of(record.stream, record.sequence).out;
    if (out.blocked || is_large(record)) {
      if (!out.blocked && !records->empty()) return;  // As below.
      block(road, out, record);
      road.stash.pop_front();
      continue;
    }
    if (!fits(road.stash.front())) return;
    bytes += cost(*road.stash.front().record);
    records->push_back(std::move(road.stash.front()));
    road.stash.pop_front();
  }
  for (uint32_t looks = 0; looks < kLooksPerBatch; ++looks) {
    if (bytes >= plain_bytes_max || !road.readable() || closing_) return;
    std::optional<Fetch> taken = take(road);
    if (!taken) {
      road.ready = false;
      return;
    }
    Fetch& fetch = *taken;
    // (The stream may be blocked in the lane that it was in before: then this one is barred.)
    Out& out = *way_of(fetch.record->stream, fetch.record->sequence).out;
    const bool waits = out.blocked == road.lane.priority && fetch.record->sequence > out.held;
    if (!waits && !wanted(road, fetch, now)) continue;
    const bool barred_now = barred(road, fetch.record->position);
    const bool large = !waits && is_large(*fetch.record);
    if (!barred_now && (waits || (large && records->empty()))) {
      block(road, out, *fetch.record);
      continue;
    }
    // No large one is begun behind what was collected: of that some may come back, and has to leave before it.
    if (barred_now || large || !fits(fetch)) {
      road.stash.push_back(std::move(fetch));
      return;
    }
    bytes += cost(*fetch.record);
    records->push_back(std::move(fetch));
  }
  more_ = true;
}

bool Sender::wanted(Road& road, const Fetch& fetch, const Now& now) {
  const Record& record = *fetch.record;
  Out& out = *way_of(record.stream, record.sequence).out;
  if (record.sequence <= out.held) {
    ++counters_.records_held;
    store_.acknowledge(road.lane.reader, record.position);
    return false;
  }
  if (!given_up_.empty() && given_up_.contains({road.lane.reader, record.position})) {
    store_.acknowledge(road.lane.reader, record.position);
    return false;
  }
  if (out.ahead) return held_back(road, out, fetch);
  const StreamInfo* info = store_.stream(record.stream);
  if (expired(record, info->options.time_to_live_s, now)) {
    ++counters_.records_expired;
    if (!expired_.empty() && expired_.back().stream == record.stream &&
        expired_.back().last + 1 == record.sequence) {
      ++expired_.back().last;
    } else {
      expired_.push_back({record.stream, record.sequence, record.sequence});
    }
    store_.acknowledge(road.lane.reader, record.position);
    return false;
  }
  return true;
}

// The peer says that it holds the stream up to a number that was not here when it said so: this store was
// restored, and its own child sends again what we had passed on. Nothing of it counts until the record of
// that very number comes by.
bool Sender::held_back(Road& road, Out& out, const Fetch& fetch) {
  const Record& record = *fetch.record;
  if (record.sequence < out.ahead->number && out.waiting.size() < kWaitingMax) {
    out.waiting.push_back(record.position);
    return false;
  }
  const NumberHash ahead = *std::exchange(out.ahead, std::nullopt);
  if (record.sequence == ahead.number && travel_.hash_of(record) == ahead.hash) {
    for (const Position position : out.waiting) store_.acknowledge(road.lane.reader, position);
    store_.acknowledge(road.lane.reader, record.position);
    counters_.records_held += out.waiting.size() + 1;
    out.waiting.clear();
    out.held = out.last_sent = ahead.number;
    out.held_position = out.last_position = record.position;
    pairs_->put(out.key, {ahead.number, ahead.hash, record.position}, store::Haste::kRide);
    return false;
  }
  bool renewed = false;
  const StreamKey fresh =
      fork_stream(store_, travel_, *pairs_, entropy_, out.key, out.held, ahead.number, marks_, &renewed);
  labels_commit_ = store_.open_commit();
  ++counters_.forks;
  host_.log("HF-LINK-004", "the peer holds other records of stream " + out.key.name + " (incarnation " +
                               to_hex(out.key.incarnation) + ") after number " + std::to_string(out.held) +
                               " than came here again; what follows goes under incarnation " +
                               to_hex(fresh.incarnation));
  if (renewed) host_.incarnation_renewed();
  close("a stream has forked: begin anew");
  return false;
}

Sender::Way& Sender::way_of(StreamId stream, uint64_t sequence) {
  if (way_.stream == stream && sequence >= way_.first && sequence <= way_.last) return way_;
  const StreamKey local = store_.stream(stream)->key;
  Way way{stream, 1, UINT64_MAX, 0, nullptr};
  StreamKey key = local;
  for (const Label& label : travel_.labels(local)) {
    if (label.from > sequence) {
      way.last = label.from - 1;
      break;
    }
    way.first = label.from;
    way.doubtful_last = label.doubtful_last;
    key.incarnation = label.incarnation;
  }
  way.out = &out_of(key);
  way_ = way;
  return way_;
}

Sender::Out& Sender::out_of(const StreamKey& key) {
  const auto [found, fresh] = outs_.try_emplace(key);
  if (fresh) found->second.key = key;
  return found->second;
}

void Sender::draft(const Road& road, std::span<const Fetch> records, Draft* draft, const Now& now) {
  std::map<Out*, size_t> index;  // Never iterated: pointers have no order that two runs share.
  Out* out_last = nullptr;
  size_t at = 0;
  for (const Fetch& fetch : records) {
    const Record& record = *fetch.record;
    const Way& way = way_of(record.stream, record.sequence);
    Out& out = *way.out;
    if (&out != out_last) {
      const auto found = index.find(&out);
      if (found != index.end()) {
        at = found->second;
      } else {
        if (draft->sections.size() == kBatchSectionsMax) break;
        at = index[&out] = draft->sections.size();
        const StreamInfo* info = store_.stream(record.stream);
        Section& section = draft->sections.emplace_back();
        section.key = out.key;
        section.origin = info->options.origin;
        section.priority = info->options.priority;
        section.time_to_live_s = info->options.time_to_live_s;
        draft->ends.push_back({&out, record.stream, {out.last_sent, 0, out.last_position}});
      }
      out_last = &out;
    }
    if (draft->runs > kBatchRunsMax / 2) break;
    ++draft->taken;
    Section& section = draft->sections[at];
    End& end = draft->ends[at];
    if (record.sequence <= end.pair.number) {
      give_up(road, record, "came after one that follows it", now);
      continue;
    }
    const bool opens = section.records.empty();
    if (opens) section.first = out.started ? end.pair.number + 1 : record.sequence;
    const uint64_t next = opens ? section.first : end.pair.number + 1;
    if (record.sequence > next) {
      const size_t runs = section.absent.size();
      name_absent(road, end.pair, next, record, &section.absent);
      draft->runs += section.absent.size() - runs;
    }
    section.last = record.sequence;
    end.stream = record.stream;
    end.pair.number = record.sequence;
    end.pair.position = record.position;
    // Most batches are of one stream.
    if (opens && at == 0) section.records.reserve(records.size());
    BatchRecord& sent = section.records.emplace_back();
    sent.sequence = record.sequence;
    sent.topic = travelling_topic(travel_.prefix(), record.topic);
    sent.headers = record.headers;
    sent.payload = record.payload;
    sent.qos = record.qos;
    sent.retain = record.retain;
    sent.may_double = record.may_double || record.sequence <= way.doubtful_last;
    sent.arrival = record.arrival;
    sent.event_us = record.event_us;
    sent.expiry_s = record.expiry_s;
    draft->payload_bytes += record.size_bytes();
    draft->cost_bytes += cost(record);
    ++draft->records;
  }
  for (size_t i = draft->sections.size(); i-- > 0;) {
    const Section& section = draft->sections[i];
    if (section.records.empty()) {
      draft->sections.erase(draft->sections.begin() + static_cast<std::ptrdiff_t>(i));
      draft->ends.erase(draft->ends.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    const BatchRecord& last = section.records.back();
    draft->ends[i].pair.hash =
        record_hash(last.sequence, last.arrival, last.topic, last.headers, last.payload);
  }
}

// Names the numbers from `first` up to the record; `after` is the record before them.
void Sender::name_absent(const Road& road, const Pair& after, uint64_t first, const Record& record,
                         std::vector<AbsentRun>* runs) {
  if (!gaps_known_) {
    gaps_.clear();
    store_.for_each_gap([&](const store::Gap& gap) {
      if (gap.reader == 0 || gap.reader == road.lane.reader) gaps_[gap.stream].push_back(gap);
    });
    gaps_known_ = true;
  }
  // A gap of unknown stream is a range of positions: it may hold any number between the two records.
  uint8_t rest = kNotRouted;
  for (const store::Gap& gap : gaps_[0]) {
    if (gap.last > after.position.value && gap.first < record.position.value)
      rest = static_cast<uint8_t>(gap.cause);
  }
  uint64_t next = first;
  const auto run = [&](uint64_t last, uint8_t cause) {
    if (last < next) return;
    runs->push_back({next, last - next + 1, cause});
    next = last + 1;
  };
  size_t count = 0;
  for (const store::Gap& gap : gaps_[record.stream]) {  // In order of `first`.
    if (gap.last < next || gap.first >= record.sequence) continue;
    if (++count > kBatchRunsMax / 8) break;
    run(gap.first - 1, rest);
    run(std::min(gap.last, record.sequence - 1), static_cast<uint8_t>(gap.cause));
  }
  run(record.sequence - 1, rest);
}

void Sender::give_up(const Road& road, const Record& record, const char* why, const Now& now) {
  const StreamInfo* info = store_.stream(record.stream);
  host_.log("HF-LINK-008", "record " + std::to_string(record.sequence) + " of stream " + info->key.name +
                               " (" + std::to_string(record.size_bytes()) + " bytes) " + why +
                               ": it is given up");
  store::Gap gap;
  gap.stream = record.stream;
  gap.first = gap.last = record.sequence;
  gap.cause = store::GapCause::kDropped;
  gap.reader = road.lane.reader;
  gap.wall_us = now.wall_us;
  store_.add_gap(gap);
  store_.acknowledge(road.lane.reader, record.position);
  ++counters_.records_given_up;
  const Position low_water = store_.reader(road.lane.reader)->low_water;
  std::erase_if(given_up_,
                [&](const auto& each) { return each.first == road.lane.reader && each.second <= low_water; });
  if (record.position > low_water) given_up_.insert({road.lane.reader, record.position});
}

void Sender::flush_expired(const Road& road, const Now& now) {
  for (const Expired& run : expired_) {
    store::Gap gap;
    gap.stream = run.stream;
    gap.first = run.first;
    gap.last = run.last;
    gap.cause = store::GapCause::kExpired;
    gap.reader = road.lane.reader;
    gap.wall_us = now.wall_us;
    store_.add_gap(gap);
  }
  expired_.clear();
}

// --- Receipts.

bool Sender::receipt(uint16_t id, mqtt::Reason reason, const Now& now) {
  const auto found =
      std::find_if(flights_.begin(), flights_.end(), [&](const Flight& flight) { return flight.id == id; });
  if (found == flights_.end()) return false;
  Flight flight = std::move(*found);
  flights_.erase(found);
  pace_.receipted(flight.bytes, flight.sent, flight.alone, now);
  if (static_cast<uint8_t>(reason) >= 0x80) {
    refused(flight, reason, now);
    return true;
  }
  if (flight.piece) {
    if (flight.piece->size > 0) halves_[flight.piece->key] = *flight.piece;
    rest_ = {};
    return true;
  }
  for (const Position position : flight.positions) store_.acknowledge(flight.reader, position);
  for (const End& end : flight.ends) {
    if (end.pair.number > end.out->held) {
      end.out->held = end.pair.number;
      end.out->held_position = end.pair.position;
    }
    pairs_->put(end.out->key, end.pair, store::Haste::kRide);
  }
  counters_.records_receipted += flight.records;
  rest_ = {};
  return true;
}

// Not a receipt. A peer without space is left alone for a while, and then everything goes again from the last
// receipt; a record that no batch can bring is given up; anything else means that the two sides do not agree,
// so they begin anew.
void Sender::refused(Flight& flight, mqtt::Reason reason, const Now& now) {
  ++counters_.batches_refused;
  // What follows a refused batch cannot be accepted: its numbers would leave a hole. It answers for the
  // first.
  if (rest_until_) return;
  host_.log("HF-LINK-007", std::string("the peer refused a batch of ") + std::to_string(flight.records) +
                               (flight.records == 1 ? " record: " : " records: ") +
                               mqtt::reason_name(reason));
  if (reason == kRecordTooLarge && flight.records == 1) {
    Record record;
    record.stream = flight.ends.front().stream;
    record.sequence = flight.ends.front().pair.number;
    record.position = flight.positions.front();
    for (const Road& road : roads_) {
      if (road.lane.reader == flight.reader) give_up(road, record, "is larger than what the peer takes", now);
    }
    if (flight.piece) {
      tell_given_up(*flight.piece);
    }
  } else if (reason != mqtt::Reason::kQuotaExceeded) {
    return close("the peer refused a batch");
  }
  rest_ = rest_.ns == 0 ? kRestMin : std::min(rest_ * 2, kRestMax);
  rest_until_ = now.mono + rest_;
}

Duration Sender::patience() const { return std::max(kPatienceMin, pace_.expected() * 4); }

std::optional<Instant> Sender::next_deadline() const {
  if (rest_until_ && flights_.empty()) return rest_until_;
  return std::nullopt;
}

}  // namespace hf::link
