#include "link/agreement.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/planted_bugs.h"

namespace hf::link {

using store::Position;
using store::Store;
using store::StreamId;
using store::StreamInfo;
using store::StreamKey;

namespace {

bool lists(const std::vector<Mark>& marks, const StreamKey& key) {
  const auto place = std::lower_bound(marks.begin(), marks.end(), key,
                                      [](const Mark& mark, const StreamKey& wanted) { return mark.key < wanted; });
  return place != marks.end() && place->key == key;
}

}  // namespace

std::vector<StreamId> parts_of(Store& store, Travel& travel, const StreamKey& key) {
  std::vector<StreamId> parts;
  store.for_each_stream([&](const StreamInfo& info) {
    if (info.key.name == key.name && travel.open_key(info.key) == key) parts.push_back(info.id);
  });
  return parts;
}

StreamKey fork_stream(Store& store, Travel& travel, Pairs& pairs, Entropy& entropy, const StreamKey& key, uint64_t agreed,
                      uint64_t doubtful_last, const std::vector<Mark>& marks, bool* renewed) {
  const std::vector<StreamId> parts = parts_of(store, travel, key);
  bool own = key.incarnation == store.incarnation();
  for (const StreamId part : parts) own |= store.stream(part)->options.origin.empty();
  const std::optional<uint8_t> lane = travel.lane_of(key);

  StreamKey fresh = key;
  if (!own) {
    // Not ours to renew: a label that nobody else uses.
    fresh.incarnation = entropy.u64();
  } else {
    // The present incarnation will do if this peer never heard of the stream under it (another stream's fork, or the fence,
    // renewed it already) and both would travel in one lane.
    fresh.incarnation = store.incarnation();
    const std::optional<uint8_t> lane_fresh = travel.lane_of(fresh);
    if (fresh == key || lists(marks, fresh) || pairs.last(fresh) || (lane_fresh && lane_fresh != lane)) {
      fresh.incarnation = entropy.u64();
      store.renew_incarnation(fresh.incarnation);
      *renewed = true;
    }
  }
  // New records follow the old ones, in their lane.
  if (lane) travel.bind_lane(fresh, *lane);
  for (const StreamId part : parts) {
    const StreamKey local = store.stream(part)->key;
    const std::vector<Label>& labels = travel.labels(local);
    Label label{agreed + 1, fresh.incarnation, doubtful_last};
    if (!labels.empty()) {
      label.from = std::max(label.from, labels.back().from);
      label.doubtful_last = std::max(label.doubtful_last, labels.back().doubtful_last);
    }
    travel.add_label(local, label);
  }
  return fresh;
}

Agreement::Agreement(Store& store, Travel& travel, Pairs& pairs, Entropy& entropy, std::vector<Mark> marks,
                     const Unreceipted& unreceipted, const Now& now)
    : store_(store), travel_(travel), pairs_(pairs), entropy_(entropy), marks_(std::move(marks)), wall_us_(now.wall_us) {
  std::map<StreamKey, Check> checks;
  store_.for_each_stream([&](const StreamInfo& info) {
    // The keys that the stream's numbers travel under, one after the other; all but the last are closed.
    const std::vector<Label> labels = travel_.labels(info.key);
    StreamKey key = info.key;
    for (size_t i = 0; i <= labels.size(); ++i) {
      const bool open = i == labels.size();
      if (listed(key) || travel_.lane_of(key)) {
        Check& check = checks[key];
        check.parts.push_back(info.id);
        check.own |= info.options.origin.empty();
        check.sequence_last = std::max(check.sequence_last, info.sequence_last);
        if (open) {
          check.closed.reset();
        } else if (check.parts.size() == 1 || check.closed) {
          check.closed = std::max(check.closed.value_or(0), labels[i].from - 1);
        }
      }
      if (!open) key.incarnation = labels[i].incarnation;
    }
  });
  for (const Mark& mark : marks_) {
    // A stream that is not here: of a life of ours that we do not remember, or one that its origin will send again.
    Check& check = checks[mark.key];
    check.own |= mark.key.incarnation == store_.incarnation();
    check.mark = NumberHash{mark.number, mark.hash};
  }
  for (auto& [key, check] : checks) {
    check.key = key;
    check.receipted = pairs_.last(key);
    checks_.push_back(std::move(check));
  }
  for (Check& check : checks_) begin(check, unreceipted);
}

bool Agreement::listed(const StreamKey& key) const { return lists(marks_, key); }

std::optional<uint8_t> Agreement::lane_of(const Check& check) const {
  if (const auto lane = travel_.lane_of(check.key)) return lane;
  if (check.parts.empty()) return std::nullopt;
  return store_.stream(check.parts.front())->options.priority;
}

// A reader of ours that is woken when the disk is done.
store::ReaderId Agreement::waiter(const Check& check) const {
  const std::optional<uint8_t> priority = lane_of(check);
  for (const Lane& lane : travel_.lanes()) {
    if (priority && lane.priority == *priority) return lane.reader;
  }
  return travel_.lanes().empty() ? 0 : travel_.lanes().front().reader;
}

void Agreement::begin(Check& check, const Unreceipted& unreceipted) {
  if (!check.mark) {
    if (check.receipted) {
      // All of it is gone at the peer; check.agreed is the zero pair.
      check.phase = Phase::kMeasure;
    } else {
      resumed_[check.key] = {};
    }
    return;
  }
  const NumberHash mark = *check.mark;
  if (planted(PlantedBug::kTrustNumberWithoutHash)) {
    check.agreed = {mark.number, mark.hash, check.receipted ? check.receipted->position : Position{}};
    return agree(check);
  }
  if (check.closed && mark.number >= *check.closed) {
    check.agreed.number = *check.closed;
    check.phase = Phase::kDone;
    resumed_[check.key] = {*check.closed, {}, true, {}};
    return;
  }
  if (check.receipted && mark.number == check.receipted->number) {
    if (mark.hash != check.receipted->hash) return disagree(check);
    check.agreed = *check.receipted;
    return agree(check);
  }
  if (check.receipted && mark.number < check.receipted->number) {
    for (const Pair& pair : pairs_.all(check.key)) {
      if (pair.number > mark.number) break;
      check.agreed = pair;
    }
    if (check.agreed.number == mark.number) {
      if (check.agreed.hash != mark.hash) return disagree(check);
      check.phase = Phase::kMeasure;
      return;
    }
  } else {
    if (check.receipted) check.agreed = *check.receipted;
    if (const auto sent = unreceipted.find(check.key); sent != unreceipted.end()) {
      for (const Pair& pair : sent->second) {
        if (pair.number != mark.number || pair.hash != mark.hash) continue;
        check.agreed = pair;
        return agree(check);
      }
    }
    if (check.sequence_last < mark.number) {
      if (check.own) return disagree(check);
      Resumed& resumed = resumed_[check.key];
      resumed.held = check.agreed.number;
      resumed.position = check.agreed.position;
      resumed.listed = true;
      resumed.ahead = mark;
      check.phase = Phase::kDone;
      return;
    }
  }
  check.phase = Phase::kScanMark;
  check.goals = {mark};
  check.after = check.agreed.position;
}

Agreement::State Agreement::step(uint32_t record_count_max) {
  uint32_t budget = record_count_max;
  bool waiting = false;
  for (size_t i = done_; i < checks_.size(); ++i) {
    Check& check = checks_[i];
    while (check.phase != Phase::kDone) {
      if (budget == 0) return State::kMore;
      const State state = advance(check, &budget);
      if (state == State::kWaiting) {
        waiting = true;
        break;
      }
    }
    if (check.phase == Phase::kDone && i == done_) ++done_;
  }
  return waiting ? State::kWaiting : State::kDone;
}

Agreement::State Agreement::advance(Check& check, uint32_t* budget) {
  switch (check.phase) {
    case Phase::kScanMark:
    case Phase::kScanPairs: {
      const State state = scan(check, budget);
      if (state == State::kDone) scanned(check);
      return state;
    }
    case Phase::kAsk: return State::kWaiting;
    case Phase::kMeasure: --*budget; return measure(check);
    case Phase::kDone: break;
  }
  return State::kDone;
}

Agreement::State Agreement::scan(Check& check, uint32_t* budget) {
  while (check.goal < check.goals.size() && check.part < check.parts.size()) {
    if (*budget == 0) return State::kMore;
    --*budget;
    const Store::Fetch fetch = store_.next_in_stream(check.parts[check.part], check.after, waiter(check));
    if (fetch.status == Store::FetchStatus::kPending) return State::kWaiting;
    if (fetch.status != Store::FetchStatus::kRecord) {
      ++check.part;
      continue;
    }
    const store::Record& record = fetch.record;
    check.after = record.position;
    const NumberHash& goal = check.goals[check.goal];
    if (record.sequence < goal.number) continue;
    if (record.sequence > goal.number) break;  // Not here any more.
    if (record_hash(record.sequence, record.arrival, record.topic, record.headers, record.payload) != goal.hash) break;
    check.agreed = {goal.number, goal.hash, record.position};
    ++check.goal;
  }
  return State::kDone;
}

void Agreement::scanned(Check& check) {
  if (check.agreed.number != check.mark->number) {
    if (check.phase == Phase::kScanMark) return disagree(check);
    return fork(check);
  }
  if (check.receipted && check.receipted->number > check.agreed.number) {
    check.phase = Phase::kMeasure;
    check.part = 0;
  } else {
    agree(check);
  }
}

// The peer has less than it receipted. What we still have of the rest goes again; what we have not is named.
Agreement::State Agreement::measure(Check& check) {
  uint64_t first_here = check.receipted->number + 1;
  for (; check.part < check.parts.size(); ++check.part) {
    const Store::Fetch fetch = store_.next_in_stream(check.parts[check.part], check.agreed.position, waiter(check));
    if (fetch.status == Store::FetchStatus::kPending) return State::kWaiting;
    if (fetch.status != Store::FetchStatus::kRecord) continue;
    first_here = std::min(first_here, fetch.record.sequence);
    break;
  }
  const uint64_t lost = first_here - (check.agreed.number + 1);
  if (lost > 0 && !check.parts.empty()) {
    store::Gap gap;
    gap.stream = check.parts.front();
    gap.first = check.agreed.number + 1;
    gap.last = first_here - 1;
    gap.cause = store::GapCause::kRewound;
    gap.reader = waiter(check);
    gap.wall_us = wall_us_;
    store_.add_gap(gap);
  }
  lines_.push_back({"HF-LINK-005", "the peer holds stream " + check.key.name + " only up to " +
                                       std::to_string(check.agreed.number) + " of " +
                                       std::to_string(check.receipted->number) + " that it had receipted, as if restored; " +
                                       "it gets the rest again" +
                                       (lost > 0 ? ", but up to " + std::to_string(lost) + " are no longer here" : "")});
  pairs_.cut(check.key, check.agreed.number);
  rewind(check, check.agreed.position);
  agree(check);
  return State::kDone;
}

void Agreement::disagree(Check& check) {
  if (check.closed) {
    // Told once, when the label was made; what follows it has its own check.
    resumed_[check.key] = {*check.closed, {}, true, {}};
    check.phase = Phase::kDone;
    return;
  }
  // Without streams here there is nothing to send again, so no agreed record is needed.
  check.agreed = {};
  if (check.parts.empty()) return fork(check);
  check.phase = Phase::kAsk;
  questions_.push_back(check.key);
}

std::vector<StreamKey> Agreement::take_questions() { return std::exchange(questions_, {}); }

bool Agreement::answer(const PairsMessage& message) {
  for (Check& check : checks_) {
    if (check.phase != Phase::kAsk || check.key != message.key) continue;
    std::map<uint64_t, Pair> ours;
    for (const Pair& pair : pairs_.all(check.key)) ours[pair.number] = pair;
    for (const NumberHash& theirs : message.pairs) {
      const auto pair = ours.find(theirs.number);
      if (pair != ours.end() && pair->second.hash == theirs.hash) check.agreed = pair->second;
    }
    check.goals.clear();
    for (const NumberHash& theirs : message.pairs) {
      if (theirs.number > check.agreed.number) check.goals.push_back(theirs);
    }
    check.goal = 0;
    check.part = 0;
    check.after = check.agreed.position;
    check.phase = Phase::kScanPairs;
    return true;
  }
  return false;
}

void Agreement::agree(Check& check) {
  if (check.mark && check.agreed.number > 0 && check.agreed != check.receipted) {
    pairs_.put(check.key, check.agreed, store::Haste::kRide);
  }
  Resumed& resumed = resumed_[check.key];
  resumed.held = check.agreed.number;
  resumed.position = check.agreed.position;
  resumed.listed = check.mark.has_value();
  check.phase = Phase::kDone;
}

void Agreement::fork(Check& check) {
  ++forks_;
  rewind(check, check.agreed.position);
  resumed_[check.key] = {check.agreed.number, check.agreed.position, true, {}};
  pairs_.cut(check.key, check.agreed.number);
  if (check.agreed.number > 0) pairs_.put(check.key, check.agreed, store::Haste::kCommit);
  const StreamKey fresh = fork_stream(store_, travel_, pairs_, entropy_, check.key, check.agreed.number, check.mark->number,
                                      marks_, &renewed_);
  lines_.push_back({"HF-LINK-004", "the peer holds other records of stream " + check.key.name + " (incarnation " +
                                       to_hex(check.key.incarnation) + ") after number " +
                                       std::to_string(check.agreed.number) +
                                       " than we do: this node or its store was restored or copied, or its disk lost what "
                                       "it had confirmed; what follows goes under incarnation " +
                                       to_hex(fresh.incarnation)});
  check.phase = Phase::kDone;
}

void Agreement::rewind(const Check& check, Position position) {
  const std::optional<uint8_t> lane = lane_of(check);
  if (!lane) return;
  const auto [found, fresh] = rewinds_.try_emplace(*lane, position);
  if (!fresh) found->second = std::min(found->second, position);
}

}  // namespace hf::link
