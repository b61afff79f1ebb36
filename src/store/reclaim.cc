// Space: spare segments before they are needed, indexes for full ones, and the way records leave the disk.
//
// A segment goes when no reader is owed anything in it and space or age asks for it; neighbours that are
// small are joined into one. Both start by moving the rows that live there into the open batch, wait until
// those are durable, then write the new segment if there is one, and remove the old files last. Every step
// may be cut by a crash: recovery finishes or undoes it.
#include <algorithm>

#include "base/assert.h"
#include "base/planted_bugs.h"
#include "store/store_impl.h"

namespace hf::store {

void Segment::absorb(const SegmentIndex& index) {
  rewrite = index.rewrite;
  commit_first = index.commit_first;
  commit_last = index.commit_last;
  used_bytes = index.used_bytes;
  plain_bytes = index.plain_bytes;
  wall_max_us = index.wall_max_us;
  records = record_bytes = 0;
  readers.clear();
  streams.clear();
  for (const FrameEntry& frame : index.directory.frames) {
    records += frame.records;
    record_bytes += frame.bytes;
    position_last = std::max(position_last, frame.last);
  }
  for (const auto& [reader, shares] : index.directory.readers) {
    Summary& summary = readers[reader];
    for (const Share& share : shares) {
      summary.count += share.count;
      summary.bytes += share.bytes;
      summary.last = share.last;
    }
  }
  for (const auto& [stream, use] : index.directory.streams) streams[stream] = {use.first, use.last};
}

uint64_t Store::Impl::file_bytes() const {
  uint64_t total = 0;
  for (const auto& segment : segments) total += segment->file_bytes;
  for (const Spare& spare : spares) total += spare.size;
  return total;
}

// --- Spare segments.

// Asks for a further segment of at least `size` bytes (0: the usual), unless one is on its way.
void Store::Impl::want_spare(uint64_t size) {
  if (preparing || (prepare_retry && now_mono < *prepare_retry)) return;
  prepare_retry.reset();
  const uint64_t least = std::max(align_up(size, kPageBytes), kSegmentHeaderBytes + 8 * kPageBytes);
  size = std::max(least, segment_size_next);
  const uint64_t files = file_bytes();
  const uint64_t allowed = options.quota_bytes - std::min(options.quota_bytes, files);
  // The last ones before the quota or the disk's end may be smaller.
  if (size > allowed) size = allowed / kPageBytes * kPageBytes;
  // A commit that was admitted and finds no place in one piece: nothing would ever be durable again, and nothing freed. The
  // quota gives way to it.
  if (size < least && staged != nullptr) size = least;
  if (size < least) {
    full = true;
    prepare_retry = now_mono + kPrepareRetry;
    return;
  }
  // What the disk has left is only known as of the last attempt, so the smallest is always tried.
  if (size > free_bytes / 2) size = std::max(least, free_bytes / 2 / kPageBytes * kPageBytes);
  preparing = true;
  auto job = std::make_unique<PrepareJob>();
  job->header.store_id = keys.store_id;
  job->header.segment = segment_next++;
  job->header.epoch = keys.epoch;
  job->header.check = keys.segment_check(job->header.segment);
  job->size = size;
  background.push_front(std::move(job));
}

void Store::Impl::prepare_done(PrepareJob& job, const Now& now) {
  preparing = false;
  free_bytes = job.free_bytes.value_or(free_bytes);
  if (!job.outcome) {
    ++counters.prepare_failures;
    prepare_retry = now.mono + kPrepareRetry;
    if (job.outcome.error().code == Code::kFull) {
      full = true;
      return;
    }
    // The disk fails in another way. While there is room elsewhere that is a warning.
    degraded = true;
    if (++prepare_errors >= kPrepareErrorsMax && staged != nullptr) storage_failed = true;
    return;
  }
  prepare_errors = 0;
  full = false;
  spares.push_back({job.header.segment, job.size});
  if (job.size >= segment_size_next) segment_size_next = std::min(segment_size_max, job.size * 2);
}

// --- Sealing.

void Store::Impl::seal_active() {
  if (active == nullptr) return;
  auto job = std::make_unique<SealJob>();
  job->keys = keys;
  job->segment = active->id;
  job->cut = !active->failed;
  SegmentIndex& index = job->index;
  index.commit_first = active->commit_first;
  index.commit_last = active->commit_last;
  index.used_bytes = active->used_bytes;
  index.plain_bytes = active->plain_bytes;
  index.wall_max_us = active->wall_max_us;
  index.directory = *active->directory;
  for (auto& [key, row] : active->rows) index.rows.push_back(std::move(row));
  active->rows.clear();
  background.push_back(std::move(job));
  active = nullptr;
}

void Store::Impl::seal_done(std::unique_ptr<SealJob> job) {
  if (!job->outcome) {
    // Until its file is written the directory stays in memory, and a restart would rebuild it from the frames.
    unsealed.push_back(std::move(job));
    return;
  }
  for (const auto& segment : segments) {
    if (segment->id != job->segment) continue;
    if (job->file_bytes != 0) segment->file_bytes = job->file_bytes;
    segment->sealed = true;
  }
  trim_directories();
}

// --- Reclaiming.

bool Store::Impl::segment_needed(const Segment& segment) const {
  for (const auto& [id, summary] : segment.readers) {
    const auto reader = readers.find(id);
    if (reader != readers.end() && reader->second.info.low_water < summary.last) return true;
  }
  return false;
}

std::vector<Store::Impl::RowsHere> Store::Impl::rows_in(const std::vector<size_t>& chosen) {
  std::vector<RowsHere> here(chosen.size());
  for (uint8_t number = 1; number <= kTableMax; ++number) {
    auto& rows = tables[number];
    for (auto row = rows.begin(); row != rows.end(); ++row) {
      const uint64_t commit = row->second.commit;
      const auto at = std::lower_bound(
          chosen.begin(), chosen.end(), commit,
          [&](size_t index, uint64_t wanted) { return segments[index]->commit_last < wanted; });
      if (at == chosen.end() || segments[*at]->commit_first > commit || segments[*at]->rewrite) continue;
      here[static_cast<size_t>(at - chosen.begin())].emplace_back(static_cast<Table>(number), row);
    }
  }
  return here;
}

// They are written again; a tombstone only while an older segment could bring the row back.
bool Store::Impl::move_rows(const RowsHere& rows, bool oldest) {
  bool moved = false;
  for (const auto& [table, row] : rows) {
    if (row->second.erased && oldest) {
      forget_row(table, row);
      continue;
    }
    moved = true;
    const std::string value = row->second.value;
    write_row(table, row->first, row->second.erased, value, Haste::kCommit);
    if (table != Table::kRetained) reclaim->moved.emplace_back(table, row->first);
    boundary();
  }
  return moved;
}

// The last number of a stream must outlive its records.
bool Store::Impl::keep_numbers(const Segment& segment) {
  bool wrote = false;
  for (const auto& [stream, numbers] : segment.streams) {
    const auto info = streams.find(stream);
    if (info == streams.end()) continue;
    const bool elsewhere = std::any_of(segments.begin(), segments.end(), [&](const auto& other) {
      return other->commit_first > segment.commit_last && other->streams.contains(stream);
    });
    if (elsewhere) continue;
    put_stream_row(info->second);
    wrote = true;
  }
  open_batch.urgent |= wrote;
  return wrote;
}

void Store::Impl::plan_reclaim(const Now& now) {
  // Enough at once that a burst does not catch up with it; no more, for what is kept can still be asked for.
  const uint64_t wanted = under_pressure() ? std::max(options.quota_bytes / 8, 2 * segment_size_next) : 0;
  uint64_t freed = 0;
  const auto usable = [&](const Segment& segment) {
    return &segment != active && segment.sealed && segment.jobs_out == 0;
  };
  std::vector<size_t> chosen;
  bool rewrite = false;
  // What nobody is owed, oldest first.
  for (size_t i = 0; i < segments.size() && chosen.size() < kReplacedMax; ++i) {
    const Segment& segment = *segments[i];
    if (!usable(segment) || segment_needed(segment)) continue;
    const bool old = segment.records > 0 &&
                     segment.wall_max_us / 1'000'000 < now.wall_us / 1'000'000 - options.retention_s;
    const bool empty = segment.failed && segment.records == 0;
    if (!old && !empty && freed >= wanted) continue;
    chosen.push_back(i);
    freed += segment.file_bytes;
  }
  // Small neighbours.
  if (chosen.empty() && !no_space()) {
    uint64_t bytes = 0;
    for (size_t i = 0; i <= segments.size(); ++i) {
      const bool small = i < segments.size() && usable(*segments[i]) && !segments[i]->failed &&
                         segments[i]->used_bytes < segment_size_max / 4 && chosen.size() < kReplacedMax;
      if (small && bytes + segments[i]->used_bytes <= segment_size_max) {
        bytes += segments[i]->used_bytes;
        chosen.push_back(i);
        continue;
      }
      if (chosen.size() >= kSmallRun) break;
      chosen.clear();
      bytes = 0;
    }
    rewrite = !chosen.empty();
  }
  // What is mostly padding: commits of a few records each, a page a commit. Dense, it frees at least half its space.
  for (size_t i = 0; i < segments.size() && chosen.empty(); ++i) {
    const Segment& segment = *segments[i];
    if (!usable(segment) || segment.rewrite || segment.failed || segment.plain_bytes > segment.used_bytes / 2)
      continue;
    chosen.push_back(i);
    rewrite = true;
  }
  if (chosen.empty()) return;
  std::vector<RowsHere> rows = rows_in(chosen);
  if (wanted > 0 && !rewrite) {
    // What is mostly rows that live would be written again to free next to nothing, and again after that.
    for (size_t i = chosen.size(); i-- > 0;) {
      uint64_t live = 0;
      for (const auto& [table, row] : rows[i]) live += row->second.erased ? 0 : row->second.bytes(row->first);
      if (live <= segments[chosen[i]]->file_bytes / 4 * 3) continue;
      chosen.erase(chosen.begin() + static_cast<std::ptrdiff_t>(i));
      rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (chosen.empty()) {
      reclaim_not_before = now.mono + kReclaimInterval;
      return;
    }
  }
  reclaim.emplace();
  reclaim->rewrite = rewrite;
  // Only a segment with rows of its own can be what a tombstone guards against; rewritten ones have none.
  const auto older_rows = [&](size_t index) {
    for (size_t i = 0; i < index; ++i) {
      if (!segments[i]->rewrite && !std::binary_search(chosen.begin(), chosen.end(), i)) return true;
    }
    return false;
  };
  for (size_t n = 0; n < chosen.size(); ++n) {
    const size_t i = chosen[n];
    reclaim->segments.push_back(segments[i]->id);
    const bool moved = move_rows(rows[n], !older_rows(i));
    if (keep_numbers(*segments[i]) || moved) reclaim->after_commit = open_batch.commit;
  }
  // The newer versions of its rows, and the positions by which nobody is owed it, are durable before it goes.
  if (in_flight || !closed_batches.empty() || open_batch.bytes() > 0 || !dirty_readers.empty()) {
    open_batch.urgent = true;
    reclaim->after_commit = open_batch.commit;
  }
}

// Whether room is short for what one more turn may bring, and more of it is on its way: segments that nobody is owed are
// going, or wait for their index. (A drop that failed may go on failing.)
bool Store::Impl::making_room() const {
  if (storage_failed || room_for_records() >= waiting_bytes() + std::min(kTurnBytes, options.quota_bytes / 8))
    return false;
  if (reclaim) return reclaim->retry_at <= now_mono;
  return now_mono >= reclaim_not_before &&
         std::any_of(segments.begin(), segments.end(), [&](const auto& segment) {
           return segment.get() != active && !segment->sealed && !segment_needed(*segment);
         });
}

void Store::Impl::drive_reclaim() {
  if (!reclaim || storage_failed) return;
  Reclaim& work = *reclaim;
  if (durable < work.after_commit) return;
  if (!work.moved.empty()) {
    // What identifies the node and its clients stands twice before its old place goes: one rotten frame is not to cost it.
    // (The index of the segment will repeat it too, but that is written when the segment is full.)
    for (const auto& [table, key] : work.moved) {
      auto& rows = tables[static_cast<size_t>(table)];
      const auto row = rows.find(key);
      if (row == rows.end() || row->second.commit > work.after_commit) continue;
      const std::string value = row->second.value;
      write_row(table, key, row->second.erased, value, Haste::kCommit);
      work.after_commit = std::max(work.after_commit, open_batch.commit);
      boundary();
    }
    work.moved.clear();
    if (durable < work.after_commit) return;
  }
  if (work.rewrite && !work.job_made) {
    work.job_made = true;
    auto job = std::make_unique<RewriteJob>();
    job->keys = keys;
    job->output = segment_next++;
    for (const auto& segment : segments) {
      if (std::find(work.segments.begin(), work.segments.end(), segment->id) == work.segments.end()) continue;
      job->inputs.push_back({segment->id, segment->rewrite, segment->commit_first, segment->commit_last});
    }
    job->wall_us = now_wall_us;
    for (const auto& [id, info] : streams) job->streams[id] = {id, info.key, info.options};
    background.push_back(std::move(job));
    return;
  }
  if (work.rewrite && !work.output) return;
  if (!work.swapped) {
    // From here on readers see the new segment, or nothing where the old ones were.
    size_t at = segments.size();
    for (size_t i = 0; i < segments.size();) {
      if (std::find(work.segments.begin(), work.segments.end(), segments[i]->id) == work.segments.end()) {
        ++i;
        continue;
      }
      at = std::min(at, i);
      woken.insert(segments[i]->directory_waiters.begin(), segments[i]->directory_waiters.end());
      work.retired.push_back(std::move(segments[i]));
      segments.erase(segments.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (work.output && !work.output->directory.frames.empty()) {
      auto segment = std::make_unique<Segment>();
      segment->id = work.output_id;
      segment->absorb(*work.output);
      segment->sealed = true;
      segment->file_bytes = work.output_bytes;
      segment->directory = std::make_shared<Directory>(std::move(work.output->directory));
      segments.insert(segments.begin() + static_cast<std::ptrdiff_t>(at), std::move(segment));
    } else if (work.output) {
      work.segments.push_back(work.output_id);  // Nothing was left to keep.
    }
    work.swapped = true;
    if (work.recount) {
      for (auto& [id, reader] : readers) count_owed(reader, id, reader.info.low_water);
    }
    // That they are no more is durable before they go, or the next start would miss them.
    note_segments(Haste::kCommit);
    work.after_commit = open_batch.commit;
    boundary();
  }
  if (durable < work.after_commit) return;
  for (const auto& segment : work.retired) {
    if (segment->jobs_out > 0) return;
  }
  if (work.dropping || now_mono < work.retry_at) return;
  work.dropping = true;
  auto job = std::make_unique<DropJob>();
  job->segments = work.segments;
  background.push_back(std::move(job));
}

void Store::Impl::rewrite_done(RewriteJob& job, const Now& now) {
  if (!reclaim) return;
  if (!job.outcome) {
    // The old segments stay as they are; a later look tries again.
    reclaim.reset();
    reclaim_not_before = now.mono + kReclaimInterval;
    return;
  }
  counters.rewrite_bytes += job.bytes_written;
  reclaim->output = std::move(job.index);
  reclaim->output_id = job.output;
  reclaim->output_bytes = job.bytes_written;
  if (job.gaps.empty()) return;
  // What could not be copied is named before the originals go, and nobody is owed it any more.
  counters.frames_rotten += job.gaps.size();
  for (const Gap& gap : job.gaps) add_gap(gap, Haste::kCommit);
  reclaim->after_commit = open_batch.commit;
  reclaim->recount = true;
}

void Store::Impl::drop_done(const DropJob& job, const Now& now) {
  free_bytes = job.free_bytes.value_or(free_bytes);
  if (job.spares) return;  // What would not go is removed at the next start.
  if (!job.outcome) {
    // As long as one of the files may come back, nothing else is reclaimed.
    reclaim->dropping = false;
    reclaim->retry_at = now.mono + kPrepareRetry;
    return;
  }
  reclaim.reset();
  forget_tombstones();
  // There is space again: whoever waits for a segment asks at once.
  full = false;
  prepare_retry.reset();
  if (under_pressure()) reclaim_check_at = now.mono;
}

// A tombstone holds down what older segments say of its row. Where there are none it has done its work.
void Store::Impl::forget_tombstones() {
  uint64_t oldest = open_batch.commit;
  for (const auto& segment : segments) {
    if (!segment->rewrite) oldest = std::min(oldest, segment->commit_first);
  }
  forget_tombstones([&](const Row& row) { return row.commit < oldest; });
}

void Store::Impl::forget_tombstones(const std::function<bool(const Row&)>& done) {
  for (uint8_t table = 1; table <= kTableMax; ++table) {
    for (auto row = tables[table].begin(); row != tables[table].end();) {
      const bool forget = row->second.erased && done(row->second);
      row = forget ? forget_row(static_cast<Table>(table), row) : std::next(row);
    }
  }
}

void Store::Impl::plan_background(const Now& now) {
  if (storage_failed) return;
  now_wall_us = now.wall_us;
  // What the disk has free is only known from making segments, and while nothing is admitted none is needed: so one is tried.
  if (!full && !preparing && !prepare_retry && no_space()) prepare_retry = now.mono + kPrepareRetry;
  if (prepare_retry && now.mono >= *prepare_retry)
    want_spare(staged == nullptr ? 0 : kSegmentHeaderBytes + in_flight->bytes);
  const bool due = now.mono >= reclaim_check_at || segments.size() > segments_at_check + kSmallRun;
  if (!reclaim && due && now.mono >= reclaim_not_before) {
    // Under pressure it looks often: a reader that moves on may free a segment.
    reclaim_check_at = now.mono + (under_pressure() ? kReclaimIntervalPressed : kReclaimInterval);
    segments_at_check = segments.size();
    for (; !unsealed.empty(); unsealed.pop_front()) {
      unsealed.front()->outcome = {};
      background.push_back(std::move(unsealed.front()));
    }
    trim_directories();
    plan_reclaim(now);
  }
  drive_reclaim();
}

}  // namespace hf::store
