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

// Of one stream; each leaves about a seventeenth of the range.
constexpr uint32_t kSearchesMax = 24;

bool lists(const std::vector<Mark>& marks, const StreamKey& key) {
  const auto place =
      std::lower_bound(marks.begin(), marks.end(), key,
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

StreamKey fork_stream(Store& store, Travel& travel, Pairs& pairs, Entropy& entropy, const StreamKey& key,
                      uint64_t agreed, uint64_t doubtful_last, const std::vector<Mark>& marks,
                      bool* renewed) {
  const std::vector<StreamId> parts = parts_of(store, travel, key);
  bool own = key.incarnation == store.incarnation();
  for (const StreamId part : parts) own |= store.stream(part)->options.origin.empty();
  const std::optional<Course> course = travel.course_of(key);

  StreamKey fresh = key;
  if (!own) {
    // Not ours to renew: a label that nobody else uses.
    fresh.incarnation = entropy.u64();
  } else {
    // The present incarnation will do if this peer never heard of the stream under it (another stream's fork,
    // or the fence, renewed it already) and both would travel through the same lanes.
    fresh.incarnation = store.incarnation();
    const std::optional<Course> course_fresh = travel.course_of(fresh);
    if (fresh == key || lists(marks, fresh) || pairs.last(fresh) ||
        (course_fresh && course_fresh != course)) {
      fresh.incarnation = entropy.u64();
      store.renew_incarnation(fresh.incarnation);
      *renewed = true;
    }
  }
  // New records follow the old ones, in their lane.
  if (course) travel.put_course(fresh, *course);
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
                     const Unreceipted& unreceipted, bool hashes, const Now& now)
    : store_(store),
      travel_(travel),
      pairs_(pairs),
      entropy_(entropy),
      marks_(std::move(marks)),
      wall_us_(now.wall_us),
      hashes_(hashes) {
  std::map<StreamKey, Check> checks;
  store_.for_each_stream([&](const StreamInfo& info) {
    // The keys that the stream's numbers travel under, one after the other; all but the last are closed.
    const std::vector<Label> labels = travel_.labels(info.key);
    StreamKey key = info.key;
    for (size_t i = 0; i <= labels.size(); ++i) {
      const bool open = i == labels.size();
      if (listed(key) || travel_.course_of(key)) {
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
    // A stream that is not here: of a life of ours that we do not remember, or one that its origin will send
    // again.
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

// A reader of ours that is woken when the disk is done.
store::ReaderId Agreement::waiter(const Check& check) const {
  const std::optional<Course> course = travel_.course_of(check.key);
  for (const Lane& lane : travel_.lanes()) {
    if (course && lane.priority == course->priority) return lane.reader;
  }
  return travel_.lanes().empty() ? 0 : travel_.lanes().front().reader;
}

void Agreement::begin(Check& check, const Unreceipted& unreceipted) {
  if (!check.mark) {
    // Nothing there; if it was receipted, all of it is gone.
    if (!check.receipted) return decide(check, Verdict::kFresh);
    check.phase = Phase::kMeasure;
    return;
  }
  const NumberHash mark = *check.mark;
  const bool trusting = planted(PlantedBug::kTrustNumberWithoutHash);
  if (check.closed && mark.number >= *check.closed) return decide(check, Verdict::kClosed);
  if (check.receipted && mark.number == check.receipted->number) {
    if (mark.hash != check.receipted->hash && !trusting) return disagree(check);
    check.agreed = *check.receipted;
    return decide(check, Verdict::kAgreed);
  }
  if (check.receipted && mark.number < check.receipted->number) {
    for (const Pair& pair : pairs_.all(check.key)) {
      if (pair.number > mark.number) break;
      check.agreed = pair;
    }
    if (check.agreed.number == mark.number) {
      if (check.agreed.hash != mark.hash && !trusting) return disagree(check);
      check.phase = Phase::kMeasure;
      return;
    }
  } else {
    if (check.receipted) check.agreed = *check.receipted;
    if (trusting) {
      check.agreed.number = mark.number;
      return decide(check, Verdict::kAgreed);
    }
    if (const auto sent = unreceipted.find(check.key); sent != unreceipted.end()) {
      for (const Pair& pair : sent->second) {
        if (pair.number != mark.number || pair.hash != mark.hash) continue;
        check.agreed = pair;
        return decide(check, Verdict::kAgreed);
      }
    }
    if (check.sequence_last < mark.number)
      return check.own ? disagree(check) : decide(check, Verdict::kAhead);
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
  if (waiting) {
    // It is another stream's turn to be searched.
    const bool turn = !asking_ && std::any_of(checks_.begin(), checks_.end(), [](const Check& check) {
      return check.phase == Phase::kSearch;
    });
    return turn ? State::kMore : State::kWaiting;
  }
  if (!finished_) finish();
  return State::kDone;
}

Agreement::State Agreement::advance(Check& check, uint32_t* budget) {
  switch (check.phase) {
    case Phase::kScanMark:
    case Phase::kScanPairs:
    case Phase::kScanHashes: {
      const State state = scan(check, budget);
      if (state == State::kDone) scanned(check);
      return state;
    }
    case Phase::kAsk:
    case Phase::kAskHashes:
      return State::kWaiting;
    case Phase::kSearch:
      return search(check);
    case Phase::kMeasure:
      --*budget;
      return measure(check);
    case Phase::kDone:
      break;
  }
  return State::kDone;
}

Agreement::State Agreement::scan(Check& check, uint32_t* budget) {
  while (check.goal < check.goals.size() && check.part < check.parts.size()) {
    if (*budget == 0) return State::kMore;
    --*budget;
    const NumberHash& goal = check.goals[check.goal];
    const StreamId part = check.parts[check.part];
    const Position from = std::max(check.after, store_.before_number(part, goal.number));
    const Store::Fetch fetch = store_.next_in_stream(part, from, waiter(check));
    if (fetch.status == Store::FetchStatus::kPending) return State::kWaiting;
    if (fetch.status != Store::FetchStatus::kRecord) {
      ++check.part;
      continue;
    }
    const store::Record& record = *fetch.record;
    if (record.sequence > goal.number) {  // Not here any more.
      if (check.phase != Phase::kScanHashes) break;
      ++check.goal;  // Which says nothing of the others.
      continue;
    }
    check.after = record.position;
    if (record.sequence < goal.number) continue;
    if (travel_.hash_of(record) != goal.hash) {
      check.differs = goal.number;
      break;
    }
    check.agreed = {goal.number, goal.hash, record.position};
    ++check.goal;
  }
  return State::kDone;
}

void Agreement::decide(Check& check, Verdict verdict) {
  check.verdict = verdict;
  check.phase = Phase::kDone;
}

void Agreement::scanned(Check& check) {
  if (check.agreed.number != check.mark->number) {
    if (check.phase == Phase::kScanMark) return disagree(check);
    if (!hashes_) return decide(check, Verdict::kForked);
    if (check.phase == Phase::kScanPairs) {
      check.differs = check.goal < check.goals.size() ? check.goals[check.goal].number : check.mark->number;
      check.differs = std::min(check.differs, check.sequence_last + 1);
    } else {
      asking_ = false;
      // Of the goal and of what follows it nothing is here.
      if (check.goal < check.goals.size() && check.part >= check.parts.size())
        check.differs = std::min(check.differs, check.goals[check.goal].number);
    }
    check.phase = Phase::kSearch;
    return;
  }
  if (check.phase == Phase::kScanHashes) asking_ = false;
  if (!check.receipted || check.receipted->number <= check.agreed.number)
    return decide(check, Verdict::kAgreed);
  check.phase = Phase::kMeasure;
  check.part = 0;
}

// The histories are one up to some number and two from there on. It lies between `agreed` and `differs`: the peer is asked for
// the hashes of a few records between the two, which leaves a part of that, and so on.
Agreement::State Agreement::search(Check& check) {
  if (check.differs <= check.agreed.number + 1 || check.searches >= kSearchesMax) {
    decide(check, Verdict::kForked);
    return State::kDone;
  }
  if (asking_) return State::kWaiting;
  PairsMessage question;
  question.single = true;
  question.key = check.key;
  const uint64_t distance = check.differs - check.agreed.number;
  const uint64_t count = std::min<uint64_t>(kHashesMax, distance - 1);
  for (uint64_t i = 1; i <= count; ++i) {
    // Of equal parts, without the product that could overflow.
    const uint64_t number =
        check.agreed.number + distance / (count + 1) * i + distance % (count + 1) * i / (count + 1);
    question.pairs.push_back({number, 0});
  }
  ++check.searches;
  asking_ = true;
  check.phase = Phase::kAskHashes;
  questions_.push_back(std::move(question));
  return State::kWaiting;
}

// The peer has less than it receipted: what of it is still here?
Agreement::State Agreement::measure(Check& check) {
  uint64_t first_here = check.receipted->number + 1;
  for (; check.part < check.parts.size(); ++check.part) {
    const Store::Fetch fetch =
        store_.next_in_stream(check.parts[check.part], check.agreed.position, waiter(check));
    if (fetch.status == Store::FetchStatus::kPending) return State::kWaiting;
    if (fetch.status != Store::FetchStatus::kRecord) continue;
    first_here = std::min(first_here, fetch.record->sequence);
    break;
  }
  if (first_here > check.agreed.number + 1) check.lost_last = first_here - 1;
  decide(check, Verdict::kRewound);
  return State::kDone;
}

void Agreement::disagree(Check& check) {
  // What follows the label has a check of its own; the disagreement was told when the label was made.
  if (check.closed) return decide(check, Verdict::kClosed);
  check.agreed = {};
  // Without streams here there is nothing to send again, so no agreed record is needed.
  if (check.parts.empty()) return decide(check, Verdict::kForked);
  check.phase = Phase::kAsk;
  PairsMessage question;
  question.key = check.key;
  questions_.push_back(std::move(question));
}

std::vector<PairsMessage> Agreement::take_questions() { return std::exchange(questions_, {}); }

bool Agreement::answer(const PairsMessage& message) {
  for (Check& check : checks_) {
    if (message.single && check.phase == Phase::kAskHashes && check.key == message.key) {
      check.goals.clear();
      for (const NumberHash& theirs : message.pairs) {
        if (theirs.number > check.agreed.number && theirs.number < check.differs)
          check.goals.push_back(theirs);
      }
      // There is nothing to be compared: it stays at what is known.
      if (check.goals.empty()) check.differs = check.agreed.number;
      check.goal = 0;
      check.part = 0;
      check.after = check.agreed.position;
      check.phase = Phase::kScanHashes;
      return true;
    }
    if (message.single) continue;
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

void Agreement::finish() {
  finished_ = true;
  for (const Check& check : checks_) {
    switch (check.verdict) {
      case Verdict::kFresh:
        resumed_[check.key] = {};
        break;
      case Verdict::kClosed:
        resumed_[check.key] = {*check.closed, {}, true, {}};
        break;
      case Verdict::kAgreed:
        resume(check);
        break;
      case Verdict::kAhead:
        resume(check);
        resumed_[check.key].ahead = check.mark;
        break;
      case Verdict::kRewound:
        take_back(check);
        resume(check);
        break;
      case Verdict::kForked:
        fork(check);
        break;
    }
  }
}

void Agreement::resume(const Check& check) {
  if (check.agreed.number > 0 && check.agreed != check.receipted) {
    pairs_.put(check.key, check.agreed, store::Haste::kRide);
  }
  resumed_[check.key] = {check.agreed.number, check.agreed.position, check.mark.has_value(), {}};
}

void Agreement::take_back(const Check& check) {
  std::string lost;
  if (check.lost_last > 0 && !check.parts.empty()) {
    store::Gap gap;
    gap.stream = check.parts.front();
    gap.first = check.agreed.number + 1;
    gap.last = check.lost_last;
    gap.cause = store::GapCause::kRewound;
    gap.reader = waiter(check);
    gap.wall_us = wall_us_;
    store_.add_gap(gap);
    lost = ", but up to " + std::to_string(gap.last - gap.first + 1) + " are no longer here";
  }
  lines_.push_back({"HF-LINK-005", "the peer holds stream " + check.key.name + " only up to " +
                                       std::to_string(check.agreed.number) + " of " +
                                       std::to_string(check.receipted->number) +
                                       " that it had receipted, as if restored; it gets the rest again" +
                                       lost});
  pairs_.cut(check.key, check.agreed.number);
  rewind(check, check.agreed.position);
}

void Agreement::fork(const Check& check) {
  ++forks_;
  rewind(check, check.agreed.position);
  resumed_[check.key] = {check.agreed.number, check.agreed.position, true, {}};
  pairs_.cut(check.key, check.agreed.number);
  if (check.agreed.number > 0) pairs_.put(check.key, check.agreed, store::Haste::kCommit);
  // A stream of this name that is unknown here may be of a life of ours that was lost with its labels: what
  // we hold may have gone under them already.
  uint64_t doubtful_last = check.mark->number;
  for (const Check& other : checks_) {
    if (other.parts.empty() && other.mark && other.key.name == check.key.name) {
      doubtful_last = std::max(doubtful_last, other.mark->number);
    }
  }
  const StreamKey fresh = fork_stream(store_, travel_, pairs_, entropy_, check.key, check.agreed.number,
                                      doubtful_last, marks_, &renewed_);
  lines_.push_back(
      {"HF-LINK-004", "the peer holds other records of stream " + check.key.name + " (incarnation " +
                          to_hex(check.key.incarnation) + ") after number " +
                          std::to_string(check.agreed.number) +
                          " than we do: this node or its store was restored or copied, or its disk lost what "
                          "it had confirmed; what follows goes under incarnation " +
                          to_hex(fresh.incarnation)});
}

void Agreement::rewind(const Check& check, Position position) {
  const std::optional<Course> course = travel_.course_of(check.key);
  if (!course) return;
  const auto lane = [&](uint8_t priority) {
    const auto [found, fresh] = rewinds_.try_emplace(priority, position);
    if (!fresh) found->second = std::min(found->second, position);
  };
  lane(course->priority);
  for (const Course::Change& change : course->changes) {
    if (position < change.at) lane(change.from);
  }
}

}  // namespace hf::link
