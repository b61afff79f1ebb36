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
//  6. A scanned segment is cut behind its last frame and gets an index; nothing is ever appended to it.
//  7. Rows: the newest version by commit. Streams, readers and counters from their rows and from what the
//  frames define.
#include <algorithm>

#include "base/assert.h"
#include "base/planted_bugs.h"
#include "store/store_impl.h"

namespace hf::store {

namespace {

// An ingest segment on its way through recovery.
struct Candidate {
  uint64_t id = 0;
  bool indexed = false;
  SegmentIndex index;
  SegmentScan scan;
  bool last = false;  // Holds the end of the log.
};

bool commit_whole(const std::vector<ScannedFrame>& frames, uint64_t commit) {
  size_t count = 0;
  size_t wanted = 1;
  for (const ScannedFrame& frame : frames) {
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
  Result<> take_rewrites();
  Result<> read_ingest();
  void decide_scanned();
  void settle_scanned(Candidate& candidate);
  void add_segments();
  void load_rows();
  void load_store_rows(Bytes fence);
  void load_streams();
  void load_readers();
  void remove_segment(uint64_t id);

  Disk& disk_;
  Entropy& entropy_;
  Store::Impl& store_;
  const Now& now_;
  std::map<uint64_t, SegmentHeader> headers_;  // Of the segment files that are ours.
  std::set<uint64_t> indexes_;
  std::vector<Candidate> candidates_;
  std::vector<std::unique_ptr<Segment>> rewrites_;
  std::vector<IndexedRow> rows_;
  std::vector<Gap> gaps_;
};

void Recovery::remove_segment(uint64_t id) {
  (void)disk_.remove(segment_name(id));
  if (indexes_.contains(id)) (void)disk_.remove(index_name(id));
  ++store_.report.files_removed;
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
    } else if (index) {
      indexes_.insert(id);
    } else {
      store_.segment_next = std::max(store_.segment_next, id + 1);
      HF_TRY_ASSIGN(const std::string bytes, disk_.read(name, 0, kSegmentHeaderBytes));
      Result<SegmentHeader> header = decode_segment_header(bytes);
      if (!header && header.error().code == Code::kUnsupported) return std::unexpected(header.error());
      if (!header) {
        // Both copies are bad. The frames authenticate themselves: it is read as what it most likely is.
        header = SegmentHeader{};
        header->segment = id;
        header->check = store_.keys.segment_check(id);
      }
      // A segment of another store, copied here by hand, is left alone.
      if (header->segment != id || header->check != store_.keys.segment_check(id)) continue;
      headers_[id] = std::move(*header);
    }
  }
  for (const uint64_t id : indexes_) {
    if (!headers_.contains(id)) (void)disk_.remove(index_name(id));
  }
  return {};
}

Result<> Recovery::take_rewrites() {
  std::vector<uint64_t> ids;
  for (const auto& [id, header] : headers_) {
    if (header.rewrite) ids.push_back(id);
  }
  // Newest first: it may replace older rewrites.
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
    const auto header = headers_.find(*id);
    if (header == headers_.end()) continue;
    const std::vector<uint64_t> replaced = header->second.replaced;
    Result<SegmentIndex> index = indexes_.contains(*id)
                                     ? read_index_file(disk_, store_.keys, *id)
                                     : Result<SegmentIndex>(fail(Code::kNotFound, "no index"));
    bool whole = index.has_value();
    if (!whole) {
      HF_TRY_ASSIGN(const SegmentScan scan, scan_segment(disk_, store_.keys, *id, kRewriteAlignment));
      whole = !scan.frames.empty() && scan.frames.back().head.kind == FrameKind::kRewriteEnd;
      const bool originals =
          std::all_of(replaced.begin(), replaced.end(), [&](uint64_t r) { return headers_.contains(r); });
      if (!whole && originals) {
        remove_segment(*id);
        headers_.erase(*id);
        continue;
      }
      HF_TRY_ASSIGN(index, rebuild_index(disk_, store_.keys, *id, true, UINT64_MAX));
      if (!index->directory.frames.empty()) {
        index->commit_first = index->directory.frames.front().first.commit();
        index->commit_last = index->directory.frames.back().last.commit();
      }
      ++store_.report.segments_scanned;
      store_.report.frames_rotten += index->frames_rotten;
      (void)write_index_file(disk_, store_.keys, *id, entropy_, *index);
    }
    for (const uint64_t old : replaced) {
      if (headers_.erase(old) > 0) remove_segment(old);
    }
    headers_.erase(*id);
    if (index->directory.frames.empty()) {
      remove_segment(*id);
      continue;
    }
    auto segment = std::make_unique<Segment>();
    segment->id = *id;
    segment->absorb(*index);
    segment->rewrite = true;
    segment->sealed = true;
    segment->file_bytes = disk_.size(segment_name(*id)).value_or(0);
    segment->directory = std::make_shared<Directory>(std::move(index->directory));
    rewrites_.push_back(std::move(segment));
  }
  return {};
}

Result<> Recovery::read_ingest() {
  for (const auto& [id, header] : headers_) {
    Candidate candidate;
    candidate.id = id;
    if (indexes_.contains(id)) {
      Result<SegmentIndex> index = read_index_file(disk_, store_.keys, id);
      if (index) {
        candidate.indexed = true;
        candidate.index = std::move(*index);
      }
    }
    if (!candidate.indexed) {
      HF_TRY_ASSIGN(candidate.scan, scan_segment(disk_, store_.keys, id, kPageBytes));
      ++store_.report.segments_scanned;
    }
    candidates_.push_back(std::move(candidate));
  }
  return {};
}

// Which frames of the scanned segments count. From the end to the beginning, because what follows tells rot
// from torn.
void Recovery::decide_scanned() {
  uint64_t bound = UINT64_MAX;  // The first commit of the segment behind.
  for (auto candidate = candidates_.rbegin(); candidate != candidates_.rend(); ++candidate) {
    if (candidate->indexed) {
      if (candidate->index.commit_first != 0) bound = candidate->index.commit_first;
      continue;
    }
    std::vector<ScannedFrame>& frames = candidate->scan.frames;
    candidate->last = bound == UINT64_MAX;
    std::erase_if(frames, [&](const ScannedFrame& frame) {
      return frame.head.commit >= bound || frame.head.kind != FrameKind::kCommit;
    });
    if (candidate->last && !frames.empty()) {
      const uint64_t commit = frames.back().head.commit;
      if (!commit_whole(frames, commit) && !planted(PlantedBug::kApplyHalfACommit)) {
        std::erase_if(frames, [&](const ScannedFrame& frame) { return frame.head.commit == commit; });
        store_.report.tail_cut = true;
        gaps_.push_back({0, Position::of(commit, 0).value, Position::of(commit + 1, 0).value - 1,
                         GapCause::kTailCut, 0, now_.wall_us});
      }
    }
    if (!frames.empty()) bound = frames.front().head.commit;
  }
}

void Recovery::settle_scanned(Candidate& candidate) {
  std::vector<ScannedFrame>& frames = candidate.scan.frames;
  SegmentIndex& index = candidate.index;
  index.used_bytes = kSegmentHeaderBytes;
  const uint64_t end =
      frames.empty() ? kSegmentHeaderBytes : frames.back().offset + frames.back().head.file_bytes();
  uint64_t rot_at = UINT64_MAX;
  for (const SegmentScan::BadZone& zone : candidate.scan.bad) {
    if (zone.offset < end || !candidate.last) {
      // Below what was durable.
      rot_at = std::min(rot_at, zone.offset);
      ++index.frames_rotten;
    } else if (!store_.report.tail_cut) {
      // Something was being written when the power went, or the last commit rotted; nobody can tell which.
      store_.report.tail_cut = true;
      const uint64_t commit = frames.empty() ? 0 : frames.back().head.commit + 1;
      gaps_.push_back({0, Position::of(commit, 0).value, Position::of(commit + 1, 0).value - 1,
                       GapCause::kTailCut, 0, now_.wall_us});
    }
  }
  if (index.frames_rotten > 0 && planted(PlantedBug::kTruncateAtRot)) {
    std::erase_if(frames, [&](const ScannedFrame& frame) { return frame.offset > rot_at; });
  }
  uint64_t commit_before = 0;
  for (ScannedFrame& scanned : frames) {
    const FrameHead head = scanned.head;
    const auto frame = Frame::parse(std::move(scanned.plain), Position::of(head.commit, head.first_index));
    if (!frame) {
      ++index.frames_rotten;
      continue;
    }
    if (scanned.offset > rot_at && commit_before < head.commit) {
      // What stood between the last whole frame before the rot and this one.
      gaps_.push_back({0, Position::of(commit_before, 0).value + 1,
                       Position::of(head.commit, head.first_index).value - 1, GapCause::kRot, 0,
                       now_.wall_us});
      rot_at = UINT64_MAX;
    }
    commit_before = head.commit;
    index.add_frame(scanned.offset, head, **frame);
  }
  store_.report.frames_rotten += index.frames_rotten;
  // The last version of each row is enough for the index.
  std::map<std::pair<Table, std::string>, IndexedRow> newest;
  for (IndexedRow& row : index.rows) newest.insert_or_assign(std::pair(row.table, row.key), std::move(row));
  index.rows.clear();
  for (auto& [key, row] : newest) index.rows.push_back(std::move(row));
}

void Recovery::add_segments() {
  std::vector<std::unique_ptr<Segment>> all = std::move(rewrites_);
  for (Candidate& candidate : candidates_) {
    if (!candidate.indexed) settle_scanned(candidate);
    SegmentIndex& index = candidate.index;
    if (index.commit_first == 0) {
      // No frame counts. A spare that was never used goes; so does a first commit that was torn. Bytes that
      // were durable once and rotted to the last are kept aside for whoever wants to look.
      if (!candidate.last && index.frames_rotten > 0) {
        (void)disk_.rename(segment_name(candidate.id), segment_name(candidate.id) + ".bad");
      } else {
        remove_segment(candidate.id);
      }
      continue;
    }
    if (!candidate.indexed) {
      // A failure costs only time at the next start: the rules above give the same answer again.
      const uint64_t size = align_up(index.used_bytes, kPageBytes);
      if (size < candidate.scan.file_size && disk_.truncate(segment_name(candidate.id), size)) {
        (void)disk_.sync(segment_name(candidate.id));
      }
      (void)write_index_file(disk_, store_.keys, candidate.id, entropy_, index);
    }
    auto segment = std::make_unique<Segment>();
    segment->id = candidate.id;
    segment->absorb(index);
    segment->sealed = true;
    segment->file_bytes = disk_.size(segment_name(candidate.id)).value_or(0);
    for (IndexedRow& row : index.rows) rows_.push_back(std::move(row));
    segment->directory = std::make_shared<Directory>(std::move(index.directory));
    all.push_back(std::move(segment));
  }
  (void)disk_.sync_directory();
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a->commit_first < b->commit_first; });
  store_.segments = std::move(all);
  for (const auto& segment : store_.segments) store_.durable = std::max(store_.durable, segment->commit_last);
  store_.open_batch = Batch(store_.durable + 1);
}

void Recovery::load_rows() {
  for (IndexedRow& row : rows_) {
    Row& current = store_.tables[static_cast<size_t>(row.table)][row.key];
    if (row.commit < current.commit) continue;
    current.commit = row.commit;
    current.erased = row.erased;
    current.value = std::move(row.value);
  }
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
  store_.scan(Table::kStream, {}, [&](Bytes key, Bytes value) {
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
  store_.scan(Table::kReader, {}, [&](Bytes key, Bytes value) {
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
        item.entry = share.frame;
        item.offset = entry.offset;
        item.size = entry.size;
        item.first = entry.first;
        job.items.push_back(std::move(item));
        job.run(disk_, entropy_);
        if (job.outcome && job.items[0].plain) {
          store_.read_cache.add({segment->id, share.frame}, std::move(*job.items[0].plain), entry.first);
        }
      }
    }
    store_.count_owed(reader, id, reader.info.low_water);
  }
}

Result<> Recovery::run(Bytes fence) {
  HF_TRY(list());
  HF_TRY(take_rewrites());
  HF_TRY(read_ingest());
  decide_scanned();
  add_segments();
  load_rows();
  load_store_rows(fence);
  load_streams();
  load_readers();
  for (const Gap& gap : gaps_) store_.add_gap(gap);
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
