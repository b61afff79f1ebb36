// Recovery: from a directory of any bytes to a running store. It always ends; what it could not keep it
// names.
//
//  1. Keys. Without a slot that opens there is no store here (kForeign) or not for this key (kWrongKey).
//  2. Rewrites. A whole one takes the place of the segments it names; one that is not whole goes, if those
//  are still there.
//  3. Ingest segments in order of their ids, which is that of their commits. One with a whole index is taken
//  at its word;
//     the others are scanned frame by frame.
//  4. Frames of a commit that a later segment has as well are void: the file failed and the commit was
//  written again there.
//  5. The last commit of the log counts only if all its frames are whole, else all of it is cut: a torn
//  write. A bad zone
//     with a whole frame of a later commit behind it is rot instead, because that commit began after the
//     earlier ones were durable; the frame is quarantined, everything behind it stays.
//  6. A scanned segment is cut behind its last frame and gets an index; nothing is ever appended to it. What was found
//     missing is written into the last index as gap records, before anything is cut or removed: a crash in the middle of
//     recovery leads to the same answer again.
//  7. Rows: the newest version by commit. Streams, readers and counters from their rows and from what the
//  frames define.
#include <algorithm>

#include "base/assert.h"
#include "base/planted_bugs.h"
#include "store/store_impl.h"

namespace hf::store {

namespace {

Position last_of(uint64_t commit) { return Position{Position::of(commit + 1, 0).value - 1}; }

// An ingest segment on its way through recovery.
struct Candidate {
  uint64_t id = 0;
  bool indexed = false;  // Has a whole index; else `scan` says what it holds.
  bool lost = false;     // The index is all that is left of it.
  bool write_index = false;
  bool last = false;  // Holds the end of the log.
  SegmentIndex index;
  SegmentScan scan;
};

bool commit_whole(const std::vector<SegmentScan::Found>& frames, uint64_t commit) {
  size_t count = 0;
  size_t wanted = 1;
  for (const SegmentScan::Found& frame : frames) {
    if (frame.head.commit != commit) continue;
    ++count;
    wanted = frame.head.count;
  }
  return count == wanted;
}

class Recovery {
 public:
  Recovery(Disk& disk, Entropy& entropy, Store::Impl& store, const Now& now)
      : disk_(disk), entropy_(entropy), store_(store), now_(now) {}

  Result<> run(Bytes fence);

 private:
  Result<> list();
  SegmentHeader guess_header(uint64_t id);
  void take_rewrites();
  void read_ingest();
  void decide_scanned();
  void secure_tail();
  void rebuild_scanned();
  void write_indexes();
  void add_segments();
  void load_rows();
  void load_store_rows(Bytes fence);
  void find_lost();
  void load_streams();
  void load_readers();
  void remove_segment(uint64_t id);
  void set_aside(uint64_t id);
  void tail_cut(uint64_t commit);
  uint64_t commit_before(size_t candidate) const;

  Disk& disk_;
  Entropy& entropy_;
  Store::Impl& store_;
  const Now& now_;
  std::map<uint64_t, SegmentHeader> headers_;  // Of the segment files that are ours.
  std::set<uint64_t> indexes_;
  std::set<uint64_t>
      seen_;  // Numbers of which there was a file, whatever became of it, or that a whole rewrite replaced.
  std::vector<Candidate> candidates_;  // By ascending id, and so by ascending commit.
  std::vector<std::unique_ptr<Segment>> rewrites_;
  std::map<uint64_t, SegmentIndex> rewrite_indexes_;  // Built anew, to be written.
  std::vector<IndexedRow> rows_;
  std::vector<Gap> gaps_;
};

void Recovery::remove_segment(uint64_t id) {
  // The index first, as everywhere: DropJob says why.
  if (indexes_.contains(id) && disk_.remove(index_name(id))) (void)disk_.sync_directory();
  (void)disk_.remove(segment_name(id));
  ++store_.report.files_removed;
}

// Bytes that were durable once and rotted to the last are kept for whoever wants to look.
void Recovery::set_aside(uint64_t id) {
  (void)disk_.rename(segment_name(id), segment_name(id) + ".bad");
  ++store_.report.frames_rotten;
}

// The last commit of all that lies before a candidate; for the first commit that it may hold itself.
uint64_t Recovery::commit_before(size_t candidate) const {
  const auto& frames = candidates_[candidate].scan.frames;
  const uint64_t below = frames.empty() ? UINT64_MAX : frames.front().head.commit;
  uint64_t commit = 0;
  for (const auto& rewrite : rewrites_) {
    if (rewrite->commit_last < below) commit = std::max(commit, rewrite->commit_last);
  }
  for (size_t i = 0; i < candidate; ++i) {
    const Candidate& earlier = candidates_[i];
    if (earlier.indexed || earlier.scan.frames.empty()) {
      commit = std::max(commit, earlier.index.commit_last);
    } else {
      commit = std::max(commit, earlier.scan.frames.back().head.commit);
    }
  }
  return commit;
}

// Both copies of a header are bad: what the segment is shows in its index, or in its frames.
SegmentHeader Recovery::guess_header(uint64_t id) {
  SegmentHeader header;
  header.segment = id;
  header.check = store_.keys.segment_check(id);
  if (const auto index = read_index_file(disk_, store_.keys, id)) {
    header.rewrite = index->rewrite;
  } else if (const auto scan = scan_segment(disk_, store_.keys, id, kRewriteAlignment)) {
    header.rewrite = !scan->frames.empty() && scan->frames.front().head.kind != FrameKind::kCommit;
  }
  return header;
}

Result<> Recovery::list() {
  HF_TRY_ASSIGN(const std::vector<std::string> names, disk_.list());
  for (const std::string& name : names) {
    uint64_t id = 0;
    bool index = false;
    if (name.ends_with(".tmp")) {
      (void)disk_.remove(name);
      ++store_.report.files_removed;
    } else if (!parse_segment_name(name, &id, &index)) {
      continue;
    } else {
      store_.segment_next = std::max(store_.segment_next, id + 1);
      seen_.insert(id);
      if (index) indexes_.insert(id);
      if (index) continue;
      const Result<std::string> bytes = disk_.read(name, 0, kSegmentHeaderBytes);
      Result<SegmentHeader> header = bytes ? decode_segment_header(*bytes) : std::unexpected(bytes.error());
      if (!header && header.error().code == Code::kUnsupported) return std::unexpected(header.error());
      if (!header) header = guess_header(id);
      // A segment of another store, copied here by hand, is left alone.
      if (header->segment != id || header->check != store_.keys.segment_check(id)) continue;
      headers_[id] = std::move(*header);
    }
  }
  return {};
}

void Recovery::take_rewrites() {
  std::vector<uint64_t> ids;
  for (const auto& [id, header] : headers_) {
    if (header.rewrite) ids.push_back(id);
  }
  // Newest first: it may replace older rewrites.
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
    const auto header = headers_.find(*id);
    if (header == headers_.end()) continue;
    const std::vector<uint64_t> replaced = header->second.replaced;
    headers_.erase(header);
    Result<SegmentIndex> index = read_index_file(disk_, store_.keys, *id);
    bool whole = index.has_value();
    if (!whole) {
      Result<SegmentScan> scan = scan_segment(disk_, store_.keys, *id, kRewriteAlignment);
      if (!scan) scan = SegmentScan{};
      whole = !scan->frames.empty() && scan->frames.back().head.kind == FrameKind::kRewriteEnd;
      const bool originals =
          std::all_of(replaced.begin(), replaced.end(), [&](uint64_t old) { return headers_.contains(old); });
      if (!whole && originals) {
        remove_segment(*id);
        continue;
      }
      if (scan->frames.empty()) {
        set_aside(*id);
        continue;
      }
      RebuiltIndex rebuilt =
          rebuild_index(disk_, store_.keys, *id, true, *scan, Position{}, Position{}, now_.wall_us);
      index = std::move(rebuilt.index);
      if (!index->directory.frames.empty()) {
        index->commit_first = index->directory.frames.front().first.commit();
        index->commit_last = index->directory.frames.back().last.commit();
      }
      // What it lost lies before one of its frames, or at its end, where nothing says how much there was.
      for (Gap& gap : rebuilt.gaps) {
        gap.first = std::max(gap.first, Position::of(index->commit_first, 0).value);
        gap.last = std::max(gap.last, gap.first);
        gaps_.push_back(gap);
      }
      ++store_.report.segments_scanned;
      store_.report.frames_rotten += index->frames_rotten;
      if (whole) rewrite_indexes_[*id] = *index;
    }
    // A later one that is whole has the place of what this one names: so it failed, though it was whole, and its removal
    // failed too, or came undone when the power went.
    if (whole && std::any_of(rewrites_.begin(), rewrites_.end(), [&](const auto& later) {
          return !later->partial && later->commit_first <= index->commit_last &&
                 index->commit_first <= later->commit_last;
        })) {
      remove_segment(*id);
      continue;
    }
    // Only a whole one takes the place of what it names; of any other one counts what no other segment holds.
    if (whole) seen_.insert(replaced.begin(), replaced.end());
    for (const uint64_t old : replaced) {
      if (whole && headers_.erase(old) > 0) remove_segment(old);
    }
    if (index->directory.frames.empty()) {
      remove_segment(*id);
      continue;
    }
    auto segment = std::make_unique<Segment>();
    segment->id = *id;
    segment->absorb(*index);
    segment->rewrite = true;
    segment->partial = !whole;
    segment->sealed = true;
    segment->file_bytes = disk_.size(segment_name(*id)).value_or(0);
    segment->directory = std::make_shared<Directory>(std::move(index->directory));
    rewrites_.push_back(std::move(segment));
  }
}

void Recovery::read_ingest() {
  std::set<uint64_t> ids;
  for (const auto& [id, header] : headers_) ids.insert(id);
  for (const uint64_t id : indexes_) {
    if (!disk_.size(segment_name(id))) ids.insert(id);
  }
  for (const uint64_t id : ids) {
    Candidate candidate;
    candidate.id = id;
    candidate.lost = !headers_.contains(id);
    Result<SegmentIndex> index = indexes_.contains(id)
                                     ? read_index_file(disk_, store_.keys, id)
                                     : Result<SegmentIndex>(fail(Code::kNotFound, "no index"));
    if (index) {
      candidate.indexed = true;
      candidate.index = std::move(*index);
      if (candidate.lost) {
        // The segment is gone, its index is not: the rows are there, the records are named.
        const std::vector<FrameEntry>& frames = candidate.index.directory.frames;
        if (!frames.empty()) {
          gaps_.push_back(
              {0, frames.front().first.value, frames.back().last.value, GapCause::kRot, 0, now_.wall_us});
        }
        ++store_.report.frames_rotten;
        if (candidate.index.rewrite) candidate.index.commit_first = 0;  // It bounds nothing and has no rows.
      }
    } else if (candidate.lost) {
      continue;
    } else {
      Result<SegmentScan> scan = scan_segment(disk_, store_.keys, id, kPageBytes);
      if (!scan) continue;
      candidate.scan = std::move(*scan);
      ++store_.report.segments_scanned;
    }
    candidates_.push_back(std::move(candidate));
  }
}

void Recovery::tail_cut(uint64_t commit) {
  store_.report.tail_cut = true;
  gaps_.push_back(
      {0, Position::of(commit, 0).value, last_of(commit).value, GapCause::kTailCut, 0, now_.wall_us});
}

// Which frames of the scanned segments count. From the end to the beginning, because what follows tells rot from torn.
void Recovery::decide_scanned() {
  uint64_t bound = UINT64_MAX;  // The first commit of the segment behind.
  for (auto candidate = candidates_.rbegin(); candidate != candidates_.rend(); ++candidate) {
    if (candidate->indexed) {
      if (candidate->index.commit_first != 0) bound = candidate->index.commit_first;
      continue;
    }
    std::vector<SegmentScan::Found>& frames = candidate->scan.frames;
    candidate->last = bound == UINT64_MAX;
    std::erase_if(frames, [&](const SegmentScan::Found& frame) {
      return frame.head.commit >= bound || frame.head.kind != FrameKind::kCommit;
    });
    if (candidate->last) {
      bool cut = false;
      if (!frames.empty()) {
        const uint64_t commit = frames.back().head.commit;
        if (!commit_whole(frames, commit) && !planted(PlantedBug::kApplyHalfACommit)) {
          std::erase_if(frames, [&](const SegmentScan::Found& frame) { return frame.head.commit == commit; });
          tail_cut(commit);
          cut = true;
        }
      }
      const uint64_t end =
          frames.empty() ? kSegmentHeaderBytes : frames.back().offset + frames.back().head.file_bytes();
      std::vector<uint64_t>& bad = candidate->scan.bad;
      const bool trailing = !bad.empty() && bad.back() >= end;
      // Something was being written when the power went, or the last commit rotted; nobody can tell which.
      if (trailing && !cut) {
        const auto number = static_cast<size_t>(candidates_.rend() - candidate - 1);
        tail_cut(1 + (frames.empty() ? commit_before(number) : frames.back().head.commit));
      }
      // What is bad behind the last frame that counts belongs to the cut.
      std::erase_if(bad, [&](uint64_t offset) { return offset >= end; });
      if (!bad.empty() && planted(PlantedBug::kTruncateAtRot)) {
        std::erase_if(frames, [&](const SegmentScan::Found& frame) { return frame.offset > bad.front(); });
        bad.clear();
      }
    }
    if (!frames.empty()) bound = frames.front().head.commit;
  }
}

// The last commit of the log may stand in the page cache alone: its sync failed, or never came, and the process that wrote it
// is gone. A sync now would say yes without writing a byte. So it is written again, to a segment of its own under the same
// number, before anybody builds on it; the older copy is void from then on.
void Recovery::secure_tail() {
  Candidate* tail = nullptr;
  for (Candidate& candidate : candidates_) {
    if (candidate.last && !candidate.scan.frames.empty()) tail = &candidate;
  }
  if (tail == nullptr) return;
  std::vector<SegmentScan::Found>& frames = tail->scan.frames;
  const uint64_t commit = frames.back().head.commit;
  Candidate copy;
  copy.id = store_.segment_next;
  copy.last = true;
  const std::string name = segment_name(copy.id);
  SegmentHeader header;
  header.store_id = store_.keys.store_id;
  header.segment = copy.id;
  header.epoch = store_.keys.epoch;
  header.check = store_.keys.segment_check(copy.id);
  std::string bytes = encode_segment_header(header);
  crypto::Aead aead(store_.keys.segment_key(copy.id));
  SegmentScan last = tail->scan;
  std::erase_if(last.frames, [&](const SegmentScan::Found& frame) { return frame.head.commit != commit; });
  bool whole = true;
  bool content = false;
  visit_frames(disk_, store_.keys, tail->id, last,
               [&](const SegmentScan::Found& found, Result<std::string> plain) {
                 whole = whole && plain.has_value();
                 if (!whole) return;
                 content |= !plain->empty();
                 bytes.resize(align_up(bytes.size(), kPageBytes), '\0');
                 FrameHead head = found.head;
                 head.segment = copy.id;
                 head.frame = static_cast<uint32_t>(copy.scan.frames.size());
                 head.nonce = draw_nonce(entropy_);
                 copy.scan.frames.push_back({bytes.size(), head});
                 seal_frame(aead, store_.keys.store_id, bytes.size(), head, *plain, &bytes);
               });
  // A mark has nothing to lose.
  if (!whole || !content) return;
  bytes.resize(align_up(bytes.size(), kPageBytes), '\0');
  copy.scan.file_size = bytes.size();
  Result<> written = disk_.create(name, 0);
  if (written) written = disk_.write(name, 0, bytes);
  if (written) written = disk_.sync(name);
  if (written) written = disk_.sync_directory();
  if (!written) {
    // No space for a second copy: what there is has to do.
    (void)disk_.remove(name);
    return;
  }
  ++store_.segment_next;
  std::erase_if(frames, [&](const SegmentScan::Found& frame) { return frame.head.commit == commit; });
  candidates_.push_back(std::move(copy));
}

// The indexes of the scanned segments, and what is missing in them.
void Recovery::rebuild_scanned() {
  for (size_t i = 0; i < candidates_.size(); ++i) {
    Candidate& candidate = candidates_[i];
    const uint64_t commit_next = commit_before(i) + 1;  // The first that the segment may hold.
    if (!candidate.indexed) {
      // Up to where the next segment with a commit begins.
      uint64_t bound = 0;
      for (size_t next = i + 1; next < candidates_.size() && bound == 0; ++next) {
        const Candidate& later = candidates_[next];
        bound = later.indexed               ? later.index.commit_first
                : later.scan.frames.empty() ? 0
                                            : later.scan.frames.front().head.commit;
      }
      const Position upper = bound != 0 ? Position{Position::of(bound, 0).value - 1}
                             : candidate.scan.frames.empty()
                                 ? Position::of(commit_next, 0)
                                 : last_of(candidate.scan.frames.back().head.commit);
      RebuiltIndex rebuilt = rebuild_index(disk_, store_.keys, candidate.id, false, candidate.scan,
                                           Position::of(commit_next, 0), upper, now_.wall_us);
      candidate.index = std::move(rebuilt.index);
      candidate.write_index = true;
      store_.report.frames_rotten += candidate.index.frames_rotten;
      gaps_.insert(gaps_.end(), rebuilt.gaps.begin(), rebuilt.gaps.end());
    }
  }
}

// Gap records become durable with the index of one segment, before any index is written that would hide the damage from the
// next start, and before anything is cut or removed.
void Recovery::write_indexes() {
  Candidate* keeper = nullptr;
  for (Candidate& candidate : candidates_) {
    if (candidate.index.commit_first != 0 && !candidate.lost) keeper = &candidate;
  }
  const auto write = [&](Candidate& candidate) {
    candidate.write_index = false;
    return write_index_file(disk_, store_.keys, candidate.id, entropy_, candidate.index).has_value();
  };
  if (keeper != nullptr) {
    std::vector<IndexedRow>& rows = keeper->index.rows;
    for (const Gap& gap : gaps_) {
      // A start that finds the same damage again has nothing new to say.
      const std::string key = gap_key(gap);
      const bool known = std::any_of(rows.begin(), rows.end(), [&](const IndexedRow& row) {
        return row.table == Table::kGap && row.key == key;
      });
      if (known) continue;
      rows.push_back({Table::kGap, false, keeper->index.commit_last, key, gap_value(gap)});
      keeper->write_index = true;
    }
    if (keeper->write_index && !(write(*keeper) && disk_.sync_directory())) return;
    gaps_.clear();
  }
  // From here on a failure costs only time at the next start: the rules give the same answer again.
  for (Candidate& candidate : candidates_) {
    if (candidate.write_index && candidate.index.commit_first != 0) (void)write(candidate);
  }
  for (const auto& [id, index] : rewrite_indexes_)
    (void)write_index_file(disk_, store_.keys, id, entropy_, index);
  (void)disk_.sync_directory();
}

void Recovery::add_segments() {
  std::vector<std::unique_ptr<Segment>> all = std::move(rewrites_);
  for (Candidate& candidate : candidates_) {
    SegmentIndex& index = candidate.index;
    for (IndexedRow& row : index.rows) rows_.push_back(std::move(row));
    if (candidate.lost && index.commit_first != 0) {
      // It holds rows and no record; the next reclaim moves them and removes what is left of it.
      auto segment = std::make_unique<Segment>();
      segment->id = candidate.id;
      segment->commit_first = index.commit_first;
      segment->commit_last = index.commit_last;
      segment->failed = true;
      segment->sealed = true;
      segment->directory = std::make_shared<Directory>();
      all.push_back(std::move(segment));
    }
    if (candidate.lost) continue;
    if (index.commit_first == 0) {
      // No frame counts. A spare that was never used goes; so does a first commit that was torn.
      if (!candidate.last && index.frames_rotten > 0) {
        set_aside(candidate.id);
      } else {
        remove_segment(candidate.id);
      }
      continue;
    }
    if (!candidate.indexed) {
      const uint64_t size = align_up(index.used_bytes, kPageBytes);
      if (size < candidate.scan.file_size && disk_.truncate(segment_name(candidate.id), size)) {
        (void)disk_.sync(segment_name(candidate.id));
      }
    }
    auto segment = std::make_unique<Segment>();
    segment->id = candidate.id;
    segment->absorb(index);
    segment->sealed = true;
    segment->file_bytes = disk_.size(segment_name(candidate.id)).value_or(0);
    segment->directory = std::make_shared<Directory>(std::move(index.directory));
    all.push_back(std::move(segment));
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a->commit_first < b->commit_first; });
  // A rewrite that lost its end gives only what nobody else has, and does not come back when others have gone: by then their
  // readers' numbers may be in use again.
  std::set<uint64_t> covered;
  for (const auto& segment : all) {
    for (const auto& other : all) {
      if (segment->partial && !other->partial && other->commit_first <= segment->commit_last &&
          segment->commit_first <= other->commit_last) {
        covered.insert(segment->id);
      }
    }
  }
  std::erase_if(all, [&](const auto& segment) { return covered.contains(segment->id); });
  for (const uint64_t id : covered) set_aside(id);
  (void)disk_.sync_directory();
  store_.segments = std::move(all);
  for (const auto& segment : store_.segments) store_.durable = std::max(store_.durable, segment->commit_last);
  // The number of a commit that was cut is not given again: its gap record would cover what is good.
  store_.open_batch = Batch(store_.durable + (store_.report.tail_cut ? 2 : 1));
}

void Recovery::load_rows() {
  for (IndexedRow& row : rows_) {
    Row& current = store_.tables[static_cast<size_t>(row.table)]
                       .try_emplace(row.key, Row{.commit_first = row.commit})
                       .first->second;
    current.commit_first = std::min(current.commit_first, row.commit);
    if (row.commit < current.commit) continue;
    current.commit = row.commit;
    current.erased = row.erased;
    current.value = std::move(row.value);
  }
  for (const auto& rows : store_.tables) {
    for (const auto& [key, row] : rows) store_.row_bytes += row.bytes(key);
  }
  // One segment alone knows of these.
  store_.forget_tombstones([](const Row& row) { return row.commit == row.commit_first; });
  // The number of a commit that was cut, now or at an earlier start, is not given again: its gap record would cover what
  // is good.
  store_.scan(Table::kGap, {}, {}, [&](Bytes /*key*/, Bytes value) {
    ByteReader in(value);
    const Position last{in.u64()};
    if (in.u8() == static_cast<uint8_t>(GapCause::kTailCut) && last.commit() >= store_.open_batch.commit) {
      store_.open_batch = Batch(last.commit() + 1);
    }
    return true;
  });
}

void Recovery::load_store_rows(Bytes fence) {
  const auto number = [&](Bytes key) -> uint64_t {
    const std::optional<Bytes> value = store_.get(Table::kStore, key);
    return value ? ByteReader(*value).u64() : 0;
  };
  store_.incarnation = number("incarnation");
  store_.stream_next = std::max<StreamId>(1, static_cast<StreamId>(number("stream_next")));
  store_.reader_next = store_.reader_reserved = std::max<uint64_t>(1, number("reader_next"));
  store_.report.created = store_.segments.empty();
  const bool moved = store_.get(Table::kStore, "fence") != fence;
  if (store_.incarnation != 0 && !moved) return;
  // A first start, a copy, or a restore: what is numbered from now on carries another label than what any
  // other copy of this directory numbers.
  load_streams();
  store_.report.new_incarnation = true;
  store_.renew_incarnation(entropy_.u64() | 1);
  store_.put(Table::kStore, "fence", fence, Haste::kCommit);
}

// Segments that were there when the log was last written and are not: their records are named, as far as the commits of their
// neighbours tell.
void Recovery::find_lost() {
  const std::optional<Bytes> row = store_.get(Table::kStore, kSegmentsRow);
  uint32_t lost = 0;
  for (ByteReader in(row.value_or(Bytes())); in.ok() && !in.empty();)
    lost += seen_.contains(in.varint()) ? 0 : 1;
  if (lost > 0) {
    store_.report.frames_rotten += lost;
    uint64_t next = 1;
    for (const auto& segment : store_.segments) {
      if (segment->commit_first > next) {
        gaps_.push_back({0, Position::of(next, 0).value, last_of(segment->commit_first - 1).value,
                         GapCause::kRot, 0, now_.wall_us});
      }
      next = std::max(next, segment->commit_last + 1);
    }
  }
  store_.note_segments(lost > 0 ? Haste::kCommit : Haste::kRide);
}

void Recovery::load_streams() {
  const auto define = [&](const StreamDefinition& definition, uint64_t sequence_last) {
    StreamInfo& info = store_.streams[definition.id];
    info.id = definition.id;
    info.key = definition.key;
    info.options = definition.options;
    info.sequence_last = std::max(info.sequence_last, sequence_last);
    store_.stream_ids[definition.key] = definition.id;
    store_.stream_next = std::max(store_.stream_next, definition.id + 1);
  };
  for (const auto& segment : store_.segments) {
    if (store_.report.tail_cut && planted(PlantedBug::kReuseNumbersAfterCutTail) &&
        segment == store_.segments.back())
      continue;
    for (const auto& [id, use] : segment->directory->streams) define(use.definition, use.last);
  }
  store_.scan(Table::kStream, {}, {}, [&](Bytes key, Bytes value) {
    ByteReader k(key);
    ByteReader v(value);
    StreamDefinition definition;
    definition.id = k.u32be();
    definition.key.incarnation = v.u64();
    definition.key.name = v.sized();
    definition.options.origin = v.sized();
    definition.options.priority = v.u8();
    definition.options.time_to_live_s = static_cast<uint32_t>(v.varint());
    const uint64_t sequence_last = v.varint();
    if (v.ok() && definition.id != 0) define(definition, sequence_last);
    return true;
  });
}

void Recovery::load_readers() {
  for (const auto& segment : store_.segments) {
    if (!segment->readers.empty())
      store_.reader_next = std::max(store_.reader_next, segment->readers.rbegin()->first + 1);
  }
  store_.scan(Table::kReader, {}, {}, [&](Bytes key, Bytes value) {
    ByteReader k(key);
    ByteReader v(value);
    const ReaderId id = k.u64be();
    Reader& reader = store_.readers[id];
    reader.info.low_water.value = v.u64();
    reader.info.cursor.value = v.u64();
    reader.info.durable = true;
    store_.reader_next = std::max(store_.reader_next, id + 1);
    return true;
  });
  for (auto& [id, reader] : store_.readers) {
    for (const auto& segment : store_.segments) {
      const auto summary = segment->readers.find(id);
      if (summary == segment->readers.end()) continue;
      reader.last_owed = std::max(reader.last_owed, summary->second.last);
      // The one frame that is owed in part is read, so that the count is exact.
      if (summary->second.last <= reader.info.low_water ||
          segment->commit_first > reader.info.low_water.commit())
        continue;
      for (const Share& share : segment->directory->readers[id]) {
        const FrameEntry& entry = segment->directory->frames[share.frame];
        if (entry.first > reader.info.low_water || entry.last <= reader.info.low_water) continue;
        ReadJob job;
        job.keys = store_.keys;
        job.segment = segment->id;
        ReadJob::Item item;
        item.offset = entry.offset;
        item.size = entry.size;
        item.first = entry.first;
        job.items.push_back(std::move(item));
        job.run(disk_, entropy_);
        if (job.outcome && job.items[0].plain) {
          store_.read_cache.add({segment->id, entry.offset}, std::move(*job.items[0].plain), entry.first);
        }
      }
    }
    store_.count_owed(reader, id, reader.info.low_water);
  }
}

Result<> Recovery::run(Bytes fence) {
  HF_TRY(list());
  take_rewrites();
  read_ingest();
  decide_scanned();
  secure_tail();
  rebuild_scanned();
  write_indexes();
  add_segments();
  load_rows();
  load_store_rows(fence);
  load_streams();
  load_readers();
  find_lost();
  store_.load_gaps();
  for (const Gap& gap : gaps_) store_.add_gap(gap, Haste::kCommit);
  store_.report.segments = static_cast<uint32_t>(store_.segments.size());
  store_.report.commit_last = store_.durable;
  store_.counters.frames_rotten = store_.report.frames_rotten;
  store_.free_bytes = disk_.free_bytes().value_or(0);
  store_.now_mono = store_.last_commit_at = now_.mono;
  store_.reclaim_check_at = now_.mono + kReclaimInterval;
  store_.segments_at_check = 0;
  // Until a mark follows, the end of the log is open to doubt.
  store_.marked = store_.segments.empty();
  return {};
}

}  // namespace

Result<std::unique_ptr<Store::Impl>> Store::Impl::open(Disk& disk, Entropy& entropy, const crypto::Key& kek,
                                                       const Options& options, Bytes fence, const Now& now,
                                                       OpenReport* report) {
  auto impl = std::make_unique<Impl>(options);
  HF_TRY_ASSIGN(impl->keys, load_keys(disk, entropy, kek));
  HF_TRY(Recovery(disk, entropy, *impl, now).run(fence));
  if (report != nullptr) *report = impl->report;
  return impl;
}

}  // namespace hf::store
