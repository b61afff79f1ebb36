#include "link/receiver.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "crypto/crypto.h"
#include "link/channel.h"
#include "link/prefix.h"
#include "link/rows.h"
#include "mqtt/topic.h"

namespace hf::link {

using store::Store;
using store::StreamKey;
using store::Table;

namespace {

// HELLO's head and a name fit into what is left.
constexpr uint64_t kMarkBytesMax = kHelloBytesMax - 4096;
constexpr uint32_t kPiecesPerPump = 64;
constexpr uint32_t kLooksPerPump = 4096;

}  // namespace

Receiver::Receiver(Store& store, Host& host, std::string peer, std::string prefix)
    : store_(store),
      host_(host),
      peer_(std::move(peer)),
      prefix_(std::move(prefix)),
      pairs_(Pairs::received(store, peer_)),
      halves_(store, peer_) {}

std::vector<Mark> Receiver::marks() {
  std::vector<Mark> marks;
  const std::string prefix = mark_prefix(peer_);
  mark_bytes_ = 0;
  streams_.clear();
  store_.scan(Table::kMark, prefix, [&](Bytes key, Bytes value) {
    ByteReader in(value);
    Mark mark;
    mark.number = in.varint();
    mark.hash = in.u64();
    const auto stream = static_cast<store::StreamId>(in.varint());
    if (parse_stream(key.substr(prefix.size()), &mark.key) && in.ok()) {
      mark_bytes_ += mark_size(mark.key);
      streams_.insert(stream);
      marks.push_back(std::move(mark));
    }
    return true;
  });
  mark_count_ = marks.size();
  counted_ = true;
  return marks;
}

std::string Receiver::answer(const StreamKey& key) const {
  PairsMessage answer;
  answer.answer = true;
  answer.key = key;
  for (const Pair& pair : pairs_.all(key)) answer.pairs.push_back({pair.number, pair.hash});
  // The newest are the ones that matter.
  if (answer.pairs.size() > kPairsMax)
    answer.pairs.erase(answer.pairs.begin(), answer.pairs.end() - kPairsMax);
  return encode_pairs(answer);
}

bool Receiver::asked(const PairsMessage& question) {
  if (asked_) return false;
  asked_ = question;
  answer_ = {};
  answer_.answer = answer_.single = true;
  answer_.key = question.key;
  asked_next_ = 0;
  asked_after_ = {};
  asked_more_ = true;
  return true;
}

std::optional<PairsMessage> Receiver::hashes() {
  asked_more_ = false;
  if (!asked_ || asked_waiting_) return std::nullopt;
  if (looker_ == 0) looker_ = store_.create_reader(false);
  const Held held = this->held(asked_->key);
  const std::vector<NumberHash>& numbers = asked_->pairs;
  for (uint32_t looks = 0; held.marked && asked_next_ < numbers.size(); ++looks) {
    const uint64_t number =
        std::max(numbers[asked_next_].number, answer_.pairs.empty() ? 0 : answer_.pairs.back().number + 1);
    if (looks == kLooksPerPump) {
      asked_more_ = true;
      return std::nullopt;
    }
    asked_after_ = std::max(asked_after_, store_.before_number(held.stream, number));
    const Store::Fetch fetch = store_.next_in_stream(held.stream, asked_after_, looker_);
    if (fetch.status == Store::FetchStatus::kPending) {
      asked_waiting_ = true;
      return std::nullopt;
    }
    if (fetch.status != Store::FetchStatus::kRecord) break;
    const store::Record& record = *fetch.record;
    asked_after_ = record.position;
    if (record.sequence < number) continue;
    answer_.pairs.push_back({record.sequence, record_hash(record.sequence, record.arrival,
                                                          travelling_topic(prefix_, record.topic),
                                                          record.headers, record.payload)});
    // The next one may be behind this record too.
    while (asked_next_ < numbers.size() && numbers[asked_next_].number <= record.sequence) ++asked_next_;
  }
  asked_.reset();
  return std::move(answer_);
}

Receiver::Held Receiver::held(const StreamKey& key) const {
  Held held;
  if (const auto row = store_.get(Table::kMark, mark_key(peer_, key))) {
    ByteReader in(*row);
    held.number = in.varint();
    in.u64();
    held.stream = static_cast<store::StreamId>(in.varint());
    const store::StreamInfo* stream = store_.stream(held.stream);
    held.marked = in.ok() && stream != nullptr && of_peer(*stream);
    if (!held.marked) held = {};
  }
  return held;
}

std::string Receiver::origin_of(const Section& section) const {
  return section.origin.empty() ? peer_ : peer_ + "/" + section.origin;
}

bool Receiver::of_peer(const store::StreamInfo& stream) const {
  const Bytes origin = stream.options.origin;
  return origin.starts_with(peer_) && (origin.size() == peer_.size() || origin[peer_.size()] == '/');
}

std::optional<StreamKey> Receiver::local_key(const Section& section) const {
  const auto free = [&](const StreamKey& key) {
    // Ours, whether the stream is there or will be when we have something for it.
    if (key.incarnation == store_.incarnation()) return false;
    const store::StreamInfo* there = store_.find_stream(key);
    return there == nullptr || (of_peer(*there) && !streams_.contains(there->id));
  };
  if (free(section.key)) return section.key;
  std::string way = "holdfast alias";
  put_u64(way, section.key.incarnation);
  put_sized(way, section.key.name);
  put_sized(way, origin_of(section));
  StreamKey alias{crypto::fingerprint64(way), section.key.name};
  if (free(alias)) return alias;
  return std::nullopt;
}

Receiver::Outcome Receiver::refuse(mqtt::Reason reason, const char* why) {
  ++counters_.batches_refused;
  // What was under way behind it is refused too, and says nothing new.
  if (!std::exchange(refusing_, true)) {
    host_.log("HF-LINK-010", "a batch from " + std::string(peer_ == kParentName ? "the parent" : peer_) +
                                 " was refused: " + why);
  }
  return {reason, 0, nullptr};
}

Receiver::Outcome Receiver::batch(Bytes message, const Now& now) {
  counters_.received_bytes += message.size();
  const Result<std::vector<Section>> sections = codec_.decode(message);
  if (!sections) return {mqtt::Reason::kUnspecifiedError, 0, sections.error().text};
  return take(*sections, now);
}

// Of a stream without a mark any number may be the first. But if a batch was refused that began it, what was under way behind
// it must not: with its mark the refused numbers would count as held.
Receiver::Outcome Receiver::take(const std::vector<Section>& sections, const Now& now) {
  const Outcome outcome = check_and_apply(sections, now);
  if (outcome.broken != nullptr) return outcome;
  for (const Section& section : sections) {
    if (outcome.reason == mqtt::Reason::kSuccess) {
      refused_.erase(section.key);
    } else if (!held(section.key).marked) {
      // More than an honest peer has under way.
      if (refused_.size() == kMarksMax)
        return {mqtt::Reason::kQuotaExceeded, 0, "more and more streams of which nothing can be taken"};
      const auto [found, fresh] = refused_.try_emplace(section.key, section.first);
      if (!fresh) found->second = std::min(found->second, section.first);
    }
  }
  return outcome;
}

Receiver::Outcome Receiver::check_and_apply(const std::vector<Section>& sections, const Now& now) {
  if (!counted_) marks();

  // First all checks, so that what is applied is applied whole.
  uint64_t bytes = 0;
  uint64_t bytes_most = 0;
  uint64_t marks_new = 0;
  uint64_t mark_bytes_new = 0;
  std::vector<StreamKey> keys;  // Of the sections, here.
  std::set<StreamKey> keys_seen;
  for (const Section& section : sections) {
    if (section.origin.size() + 1 + peer_.size() > kOriginBytesMax) {
      return {mqtt::Reason::kUnspecifiedError, 0, "a batch from too many nodes away"};
    }
    if (peer_ != kParentName && !origin_valid(section.origin, false)) {
      return {mqtt::Reason::kNotAuthorized, 0, "a batch with streams from outside of the sender's subtree"};
    }
    const Held held = this->held(section.key);
    if (held.marked && section.first > held.number + 1) {
      return refuse(mqtt::Reason::kUnspecifiedError, "it leaves out numbers without naming them");
    }
    const auto refused = refused_.find(section.key);
    if (refused != refused_.end() && section.first > refused->second) {
      return refuse(mqtt::Reason::kUnspecifiedError, "it leaves out numbers that were refused");
    }
    if (!held.marked) {
      ++marks_new;
      mark_bytes_new += mark_size(section.key);
    }
    std::optional<StreamKey> key = held.marked ? store_.stream(held.stream)->key : local_key(section);
    if (!key || !keys_seen.insert(*key).second)
      return refuse(mqtt::Reason::kUnspecifiedError,
                    "it brings a stream under the key that another one has here");
    keys.push_back(std::move(*key));
    for (const BatchRecord& record : section.records) {
      if (record.sequence <= held.number) continue;
      // The store that sent it counted its topic as it was there; here it may be longer, and that is to cost no record.
      const uint64_t size = record.headers.size() + record.payload.size();
      bytes += size + prefix_.size() + record.topic.size();
      bytes_most = std::max(bytes_most, size);
    }
  }
  if (mark_count_ + marks_new > kMarksMax || mark_bytes_ + mark_bytes_new > kMarkBytesMax) {
    return refuse(mqtt::Reason::kQuotaExceeded, "it brings more streams than one peer may have");
  }
  if (bytes > 0) {
    if (const Result<> admitted = admit(bytes_most, bytes); !admitted)
      return refuse_for_space(admitted.error());
  }

  refusing_ = false;
  for (size_t i = 0; i < sections.size(); ++i) apply(sections[i], keys[i], now);
  return {mqtt::Reason::kSuccess, commit_, nullptr};
}

Result<> Receiver::admit(uint64_t record_bytes_most, uint64_t bytes) {
  // The largest alone first: a batch is cut smaller by its sender, a record is not.
  HF_TRY(store_.admit(record_bytes_most));
  const Result<> admitted = store_.admit(bytes);
  if (!admitted && admitted.error().code == Code::kFull) return admitted;
  return {};
}

Receiver::Outcome Receiver::refuse_for_space(const Error& error) {
  return refuse(error.code == Code::kTooLarge ? kRecordTooLarge : mqtt::Reason::kQuotaExceeded, error.text);
}

// --- Records in pieces.

Receiver::Outcome Receiver::chunk(const Chunk& chunk, const Now& now) {
  const Half& of = chunk.of;
  const Half* half = halves_.find(of.key);
  switch (chunk.kind) {
    case Chunk::Kind::kPiece:
      return piece(chunk, now);
    case Chunk::Kind::kWhole:
      for (const Whole& whole : wholes_) {
        // All went again after a refusal of something else.
        if (whole.half.key == of.key && whole.half.number == of.number) return {};
      }
      // Likewise, and its verdict came when the sender had begun anew and did not wait for one.
      if (const Held held = this->held(of.key); held.marked && of.number <= held.number) {
        ++counters_.repeats_ignored;
        return {mqtt::Reason::kSuccess, commit_, nullptr, true};
      }
      if (half == nullptr || half->number != of.number || half->hash != of.hash || half->held != half->size) {
        return refuse(mqtt::Reason::kUnspecifiedError, "not all pieces of a record are here");
      }
      if (chunk.headers_size > half->size)
        return {mqtt::Reason::kUnspecifiedError, 0, "a record with headers larger than itself"};
      wholes_.push_back({*half, chunk.headers_size, std::string(chunk.bytes)});
      more_ = true;
      return {};
    case Chunk::Kind::kGivenUp:
      for (const Whole& whole : wholes_) {
        if (whole.half.key == of.key)
          return {mqtt::Reason::kUnspecifiedError, 0, "a record that is whole is given up"};
      }
      if (half != nullptr && half->number == of.number) halves_.drop(of.key);
      return {};
    case Chunk::Kind::kHalves:
    case Chunk::Kind::kVerdict:
      break;
  }
  return {mqtt::Reason::kUnspecifiedError, 0, "a chunk that is none of a sender's"};
}

Receiver::Outcome Receiver::piece(const Chunk& chunk, const Now& now) {
  const Half& of = chunk.of;
  counters_.received_bytes += chunk.bytes.size();
  const Held held = this->held(of.key);
  if (held.marked && of.number <= held.number) {
    ++counters_.repeats_ignored;
    return {mqtt::Reason::kSuccess, commit_, nullptr};
  }
  for (const Whole& whole : wholes_) {
    if (whole.half.key == of.key)
      return {mqtt::Reason::kUnspecifiedError, 0, "a piece of a record that is whole"};
  }
  const Half* half = halves_.find(of.key);
  const bool known = half != nullptr && half->same_record(of);
  const uint64_t here = known ? half->held : 0;
  const uint64_t end = of.held + chunk.bytes.size();
  if (end <= here) {
    ++counters_.repeats_ignored;
    return {mqtt::Reason::kSuccess, halves_.commit(), nullptr};
  }
  if (of.held != here)
    return refuse(mqtt::Reason::kUnspecifiedError, "a piece does not follow the one before");
  if (const Result<> admitted = admit(of.size, chunk.bytes.size()); !admitted)
    return refuse_for_space(admitted.error());
  refusing_ = false;
  if (!known) halves_.begin(of);
  halves_.add(of.key, chunk.bytes, now);
  ++counters_.pieces_received;
  return {mqtt::Reason::kSuccess, halves_.commit(), nullptr};
}

bool Receiver::woken(store::ReaderId reader) {
  if (reader == looker_ && looker_ != 0) {
    asked_waiting_ = false;
    return true;
  }
  if (!halves_.is_reader(reader)) return false;
  waiting_ = false;
  return true;
}

void Receiver::stop() {
  if (assembling_) host_.end_assembly(peer_);
  assembling_ = waiting_ = more_ = false;
  asked_.reset();
  asked_waiting_ = asked_more_ = false;
  if (looker_ != 0) store_.remove_reader(looker_, std::nullopt);
  looker_ = 0;
  wholes_.clear();
  refused_.clear();
  bytes_ = std::string();
}

std::optional<Receiver::Verdict> Receiver::pump(const Now& now) {
  more_ = false;
  if (wholes_.empty() || waiting_) return std::nullopt;
  const Half half = wholes_.front().half;
  if (!assembling_) {
    if (!host_.begin_assembly(peer_)) return std::nullopt;
    assembling_ = true;
    halves_.rewind(half.key);
    bytes_.reserve(half.size);  // No more than a record may have here: the first piece was asked for.
  }
  for (uint32_t pieces = 0;; ++pieces) {
    if (pieces == kPiecesPerPump) {
      more_ = true;
      return std::nullopt;
    }
    const Halves::Read read = halves_.read(half.key, &bytes_);
    if (read == Halves::Read::kPending) {
      waiting_ = true;
      return std::nullopt;
    }
    // The begin of one that was dropped meanwhile, or more than there was: either way it is not what it was to be.
    if (read == Halves::Read::kEnd || bytes_.size() > half.size) break;
  }
  Verdict verdict{half.key, half.number, finish(now)};
  host_.end_assembly(peer_);
  assembling_ = false;
  bytes_ = std::string();
  wholes_.pop_front();
  more_ = !wholes_.empty();
  return verdict;
}

// All bytes that the log still has of it are in `bytes_`.
Receiver::Outcome Receiver::finish(const Now& now) {
  const Whole& whole = wholes_.front();
  const auto damaged = [&](const char* why) {
    halves_.drop(whole.half.key);
    return refuse(mqtt::Reason::kUnspecifiedError, why);
  };
  if (bytes_.size() != whole.half.size)
    return damaged("pieces of a large record can no longer be read; it comes again from its begin");
  Result<std::vector<Section>> sections = codec_.decode(whole.batch);
  if (!sections) return {mqtt::Reason::kUnspecifiedError, 0, sections.error().text};
  if (sections->size() != 1 || sections->front().records.size() != 1 ||
      sections->front().key != whole.half.key || sections->front().last != whole.half.number) {
    return {mqtt::Reason::kUnspecifiedError, 0, "a whole that is not of its record"};
  }
  BatchRecord& record = sections->front().records.front();
  if (!record.headers.empty() || !record.payload.empty())
    return {mqtt::Reason::kUnspecifiedError, 0, "a whole with bytes that belong into pieces"};
  record.headers = Bytes(bytes_).substr(0, whole.headers_size);
  record.payload = Bytes(bytes_).substr(whole.headers_size);
  if (record_hash(record.sequence, record.arrival, record.topic, record.headers, record.payload) !=
      whole.half.hash) {
    return damaged("the pieces of a large record do not make what was sent; it comes again from its begin");
  }
  if (!record.headers.empty() && !headers_sound(record.headers))
    return {mqtt::Reason::kUnspecifiedError, 0, "a record with bad headers"};
  const Outcome outcome = take(*sections, now);  // Drops what was here of it.
  if (outcome.broken == nullptr && outcome.reason == mqtt::Reason::kSuccess) ++counters_.records_assembled;
  return outcome;
}

// It counts as held, or nothing behind it could come.
void Receiver::too_long(store::StreamId stream, const BatchRecord& record, const Now& now) {
  host_.log("HF-LINK-014", "record " + std::to_string(record.sequence) + " of stream " +
                               store_.stream(stream)->key.name + " from " + peer_ +
                               " is not kept: with the prefix of the node its topic is longer than " +
                               "65,535 bytes or " + std::to_string(mqtt::kTopicLevelsMax) + " levels");
  store::Gap gap;
  gap.stream = stream;
  gap.first = gap.last = record.sequence;
  gap.cause = store::GapCause::kDropped;
  gap.wall_us = now.wall_us;
  store_.add_gap(gap);
}

void Receiver::apply(const Section& section, const StreamKey& key, const Now& now) {
  Held held = this->held(section.key);
  if (const Half* half = halves_.find(section.key); half != nullptr && half->number <= section.last) {
    halves_.drop(section.key);  // It is whole, or it will never be.
  }
  if (held.marked && section.last <= held.number) {
    counters_.repeats_ignored += section.records.size();
    return;
  }
  held.stream = store_.open_stream(key, {section.priority, section.time_to_live_s, origin_of(section)});
  // Records of which no mark tells: those of this peer were forgotten (it was removed and registered again), or one has
  // rotted. No number is taken twice.
  held.number = std::max(held.number, store_.stream(held.stream)->sequence_last);

  for (const AbsentRun& run : section.absent) {
    const uint64_t last = run.first + run.count - 1;
    if (last <= held.number) continue;
    const uint64_t first = std::max(run.first, held.number + 1);
    counters_.absent_named += last - first + 1;
    if (run.cause == kNotRouted) continue;
    store::Gap gap;
    gap.stream = held.stream;
    gap.first = first;
    gap.last = last;
    gap.cause = static_cast<store::GapCause>(run.cause);
    gap.wall_us = now.wall_us;
    store_.add_gap(gap);
  }

  for (const BatchRecord& record : section.records) {
    if (record.sequence <= held.number) {
      ++counters_.repeats_ignored;
      continue;
    }
    store::NewRecord fresh;
    fresh.stream = held.stream;
    fresh.sequence = record.sequence;
    std::string topic;
    if (prefix_.empty()) {
      fresh.topic = record.topic;
    } else {
      topic = prefix_ + std::string(record.topic);
      if (!mqtt::topic_name_valid(topic)) {
        too_long(held.stream, record, now);
        continue;
      }
      fresh.topic = topic;
    }
    fresh.headers = record.headers;
    fresh.payload = record.payload;
    fresh.qos = record.qos;
    fresh.retain = record.retain;
    fresh.may_double = record.may_double;
    fresh.arrival = record.arrival;
    fresh.event_us = record.event_us;
    fresh.expiry_s = record.expiry_s;
    host_.ingest(peer_, fresh, now);
    ++counters_.records_received;
  }

  const BatchRecord& last = section.records.back();
  const uint64_t hash = record_hash(last.sequence, last.arrival, last.topic, last.headers, last.payload);
  std::string mark;
  put_varint(mark, section.last);
  put_u64(mark, hash);
  put_varint(mark, held.stream);
  store_.put(Table::kMark, mark_key(peer_, section.key), mark);
  if (!held.marked) {
    streams_.insert(held.stream);
    ++mark_count_;
    mark_bytes_ += mark_size(section.key);
  }
  pairs_.put(section.key, {section.last, hash, {}}, store::Haste::kCommit);
  commit_ = store_.open_commit();
}

}  // namespace hf::link
