// Reading: who is owed what, where it stands, and how it comes into memory. A reader near the end of the log
// finds its frames in the tail cache; one that is behind asks for disk jobs and is woken when they are done.
// Neither notices which.
#include <algorithm>
#include <ranges>
#include <utility>

#include "base/assert.h"
#include "base/planted_bugs.h"
#include "store/store_impl.h"

namespace hf::store {

// --- Readers.

namespace {

bool owed_to(const Record& record, ReaderId reader) {
  bool owed = false;
  for_each_member(record.audience, [&](const Member& member) {
    owed = member.reader == reader;
    return member.reader < reader;
  });
  return owed;
}

}  // namespace

ReaderId Store::Impl::create_reader(bool durable_reader) {
  const ReaderId id = reader_next++;
  if (reader_next > reader_reserved) {
    // Numbers are reserved in the log ahead of their use, so that one given before a crash is not given again
    // after it.
    reader_reserved = reader_next + 1000;
    note_row("reader_next", reader_reserved);
  }
  Reader& reader = readers[id];
  reader.info.durable = durable_reader;
  // Owed is what is appended from now on.
  reader.info.cursor = reader.info.low_water =
      Position{Position::of(open_batch.commit, open_batch.record_count).value - 1};
  if (durable_reader) {
    reader_changed(reader, id);
    open_batch.urgent = true;
  }
  return id;
}

// Of all that it is owed.
void Store::Impl::add_gap_of(const Reader& reader, ReaderId id, GapCause cause, Haste haste) {
  if (reader.info.owed_count == 0) return;
  Gap gap;
  gap.first = reader.info.low_water.value + 1;
  gap.last = reader.last_owed.value;
  gap.cause = cause;
  gap.reader = id;
  gap.count = reader.info.owed_count;
  add_gap(gap, haste);
}

void Store::Impl::give_up(ReaderId id, GapCause cause) {
  const auto found = readers.find(id);
  if (found == readers.end()) return;
  Reader& reader = found->second;
  add_gap_of(reader, id, cause, Haste::kCommit);
  reader.outstanding.clear();
  reader.info.cursor = std::max(reader.info.cursor, reader.last_owed);
  owe_nothing(reader);
  settle(reader, id);
}

void Store::Impl::remove_reader(ReaderId id, std::optional<GapCause> cause) {
  const auto found = readers.find(id);
  if (found == readers.end()) return;
  if (cause) add_gap_of(found->second, id, *cause, Haste::kRide);
  if (found->second.info.durable) {
    std::string key;
    put_u64be(key, id);
    write_row(Table::kReader, key, true, {}, Haste::kCommit);
  }
  owe_nothing(found->second);
  dirty_readers.erase(id);
  woken.erase(id);
  readers.erase(found);
}

void Store::Impl::reader_changed(Reader& reader, ReaderId id) {
  if (reader.dirty || !reader.info.durable) return;
  reader.dirty = true;
  dirty_readers.insert(id);
}

void Store::Impl::owe_less(Reader& reader, uint64_t count, uint64_t bytes) {
  count = std::min(count, reader.info.owed_count);
  bytes = std::min(bytes, reader.info.owed_bytes);
  reader.info.owed_count -= count;
  reader.info.owed_bytes -= bytes;
  if (!reader.counted) return;
  counters.owed_count -= count;
  counters.owed_bytes -= bytes;
}

void Store::Impl::owe_nothing(Reader& reader) {
  owe_less(reader, reader.info.owed_count, reader.info.owed_bytes);
}

void Store::Impl::count_in_figures(ReaderId id) {
  const auto found = readers.find(id);
  if (found == readers.end() || std::exchange(found->second.counted, true)) return;
  counters.owed_count += found->second.info.owed_count;
  counters.owed_bytes += found->second.info.owed_bytes;
}

// The low-water position lies right before the first record that is not done with.
void Store::Impl::settle(Reader& reader, ReaderId id) {
  while (!reader.outstanding.empty() && reader.outstanding.front().done) reader.outstanding.pop_front();
  reader.info.low_water = reader.outstanding.empty()
                              ? reader.info.cursor
                              : Position{reader.outstanding.front().position.value - 1};
  // After a restart the count may be too high (count_owed); here it is known to be nothing.
  if (reader.outstanding.empty() && reader.last_owed <= reader.info.cursor) owe_nothing(reader);
  reader_changed(reader, id);
}

void Store::Impl::take(ReaderId id, Position position, uint64_t record_bytes) {
  const auto found = readers.find(id);
  if (found == readers.end()) return;
  hand_out(found->second, id, position, record_bytes);
}

void Store::Impl::hand_out(Reader& reader, ReaderId id, Position position, uint64_t record_bytes) {
  HF_ASSERT(position > reader.info.cursor);
  reader.info.cursor = position;
  // Filled where it stands: this is done for every message to everybody.
  Outstanding& one = reader.outstanding.emplace_back();
  one.position = position;
  one.bytes = record_bytes;
  settle(reader, id);
}

void Store::Impl::acknowledge(ReaderId id, Position position) {
  const auto found = readers.find(id);
  if (found == readers.end()) return;
  Reader& reader = found->second;
  // Most acknowledge in order.
  auto record = reader.outstanding.begin();
  if (record != reader.outstanding.end() && record->position != position) {
    record = std::lower_bound(
        record, reader.outstanding.end(), position,
        [](const Outstanding& outstanding, Position wanted) { return outstanding.position < wanted; });
  }
  if (record == reader.outstanding.end() || record->position != position || record->done) return;
  record->done = true;
  owe_less(reader, 1, record->bytes);
  settle(reader, id);
}

void Store::Impl::rewind(ReaderId id, Position position) {
  const auto found = readers.find(id);
  if (found == readers.end()) return;
  Reader& reader = found->second;
  reader.outstanding.clear();
  reader.info.cursor = position;
  count_owed(reader, id, position);
  settle(reader, id);
  woken.insert(id);
}

void Store::Impl::restore_outstanding(ReaderId id, std::span<const Position> positions) {
  const auto found = readers.find(id);
  if (found == readers.end()) return;
  Reader& reader = found->second;
  count_owed(reader, id, reader.info.cursor);
  std::vector<Position> sorted(positions.begin(), positions.end());
  std::sort(sorted.begin(), sorted.end());
  reader.outstanding.clear();
  for (const Position position : sorted) {
    if (position > reader.info.cursor) continue;
    reader.outstanding.push_back({position, 0});
    owe(reader, 1, 0);
  }
  settle(reader, id);
}

// What is owed behind `after`: exact but for the frame that `after` lies in, which counts as a whole unless
// it is in memory.
void Store::Impl::count_owed(Reader& reader, ReaderId id, Position after) {
  owe_nothing(reader);
  for (const auto& segment : segments) {
    const auto summary = segment->readers.find(id);
    if (summary == segment->readers.end() || summary->second.last <= after) continue;
    if (segment->directory == nullptr || segment->commit_first > after.commit()) {
      owe(reader, summary->second.count, summary->second.bytes);
      continue;
    }
    const Directory& directory = *segment->directory;
    const auto shares = directory.readers.find(id);
    if (shares == directory.readers.end()) continue;
    for (const Share& share : shares->second) {
      const FrameEntry& entry = directory.frames[share.frame];
      if (entry.last <= after) continue;
      std::shared_ptr<const Frame> frame;
      if (entry.first <= after) {
        frame = tail_cache.find({segment->id, entry.offset});
        if (frame == nullptr) frame = read_cache.find({segment->id, entry.offset});
      }
      if (frame == nullptr) {
        owe(reader, share.count, share.bytes);
        continue;
      }
      for (size_t i = frame->upper_bound(after); i < frame->records().size(); ++i) {
        const Record& record = frame->records()[i];
        for_each_member(record.audience, [&](const Member& member) {
          if (member.reader == id) owe(reader, 1, record.size_bytes());
          return member.reader < id;
        });
      }
    }
  }
  // And what waits to become durable.
  const auto pending = [&](ReaderId member, const Share& share, Position last) {
    if (member != id || last <= after) return;
    owe(reader, share.count, share.bytes);
  };
  if (in_flight) {
    for (const InFlight::Piece& piece : in_flight->pieces) {
      for (const auto& [member, share] : piece.shares) pending(member, share, piece.last);
    }
  }
  const auto batch = [&](const Batch& waiting) {
    for (const FrameBuilder& frame : waiting.frames) {
      for (const auto& [member, share] : frame.shares()) pending(member, share, frame.last());
    }
  };
  for (const Batch& waiting : closed_batches) batch(waiting);
  batch(open_batch);
}

// --- Finding records.

size_t Store::Impl::segment_index_after(Position after) const {
  const auto found = std::partition_point(
      segments.begin(), segments.end(),
      [&](const std::unique_ptr<Segment>& segment) { return segment->commit_last < after.commit(); });
  return static_cast<size_t>(found - segments.begin());
}

Segment* Store::Impl::segment_of(Position position) {
  const size_t index = segment_index_after(position);
  if (index == segments.size() || segments[index]->commit_first > position.commit()) return nullptr;
  return segments[index].get();
}

bool Store::Impl::directory_ready(Segment& segment, ReaderId waiter) {
  segment.directory_use = ++directory_clock;
  if (segment.directory != nullptr) return true;
  segment.directory_waiters.insert(waiter);
  if (!segment.directory_loading) {
    segment.directory_loading = true;
    index_queue.push_back(segment.id);
  }
  return false;
}

// The frame, or null while it is being read (the waiter is woken). *rotten: it cannot be read at all.
std::shared_ptr<const Frame> Store::Impl::frame_ready(Segment& segment, uint32_t entry, ReaderId waiter,
                                                      bool* rotten) {
  const FrameRef ref{segment.id, segment.directory->frames[entry].offset};
  *rotten = segment.rotten.contains(ref.offset);
  if (*rotten) return nullptr;
  for (FrameCache* cache : {&tail_cache, &read_cache}) {
    if (!cache->contains(ref)) continue;
    if (auto frame = cache->find(ref)) return frame;
    // It is what was sealed, and yet breaks the grammar of what is sealed.
    quarantine(segment, ref.offset);
    *rotten = true;
    return nullptr;
  }
  const auto [waiters, asked] = wanted_frames.try_emplace(ref);
  if (asked) read_queue.push_back(ref);
  waiters->second.insert(waiter);
  return nullptr;
}

Store::Fetch Store::Impl::next(ReaderId id) {
  const auto entry = readers.find(id);
  if (entry == readers.end()) return {.status = FetchStatus::kGone};
  Reader& reader = entry->second;
  const bool beside = next_beside(id, reader.info.cursor);
  if (!beside) last_read = {id, owed_after(id, reader.info.cursor)};
  Fetch fetch = last_read.found.fetch();
  if (fetch.status != FetchStatus::kRecord) return fetch;
  // A frame that is kept for one large record would be kept for nothing.
  constexpr uint64_t kKeptBytesMax = 256 << 10;
  if (!beside) {
    read_before_needed(id, fetch.record->position);
    if (last_read.found.frame->memory_bytes() > kKeptBytesMax) last_read = {};
  }
  hand_out(reader, id, fetch.record->position, fetch.record->size_bytes());
  return fetch;
}

bool Store::Impl::next_beside(ReaderId id, Position after) {
  Found& found = last_read.found;
  if (last_read.reader != id || found.status != FetchStatus::kRecord) return false;
  const std::vector<Record>& records = found.frame->records();
  if (records[found.index].position != after) return false;
  const char* const audience = records[found.index].audience.data();
  for (size_t at = found.index + 1; at < records.size(); ++at) {
    // Equal audiences stand in a frame once.
    if (records[at].audience.data() != audience && !owed_to(records[at], id)) continue;
    found.index = at;
    return true;
  }
  return false;
}

Store::Fetch Store::Impl::first_owed(ReaderId id) {
  const auto found = readers.find(id);
  return found == readers.end() ? Fetch{.status = FetchStatus::kGone}
                                : owed_after(id, found->second.info.low_water).fetch();
}

// The first durable record behind `after` that is `wanted`. What cannot be in memory at once with it is not needed: shares
// say which frame it stands in, so a search waits for one frame alone, however small the cache.
template <typename InSegment, typename SharesIn, typename Wanted>
Store::Impl::Found Store::Impl::search(Position after, ReaderId waiter, const InSegment& in_segment,
                                       const SharesIn& shares_in, const Wanted& wanted) {
  for (size_t i = segment_index_after(after); i < segments.size(); ++i) {
    Segment& segment = *segments[i];
    if (!in_segment(segment)) continue;
    if (!directory_ready(segment, waiter)) return {.status = FetchStatus::kPending};
    const std::vector<Share>* const shares = shares_in(*segment.directory);
    if (shares == nullptr) continue;
    auto share =
        std::lower_bound(shares->begin(), shares->end(), after,
                         [](const Share& candidate, Position sought) { return candidate.last <= sought; });
    for (; share != shares->end(); ++share) {
      bool rotten = false;
      std::shared_ptr<const Frame> frame = frame_ready(segment, share->frame, waiter, &rotten);
      if (rotten) continue;
      if (frame == nullptr) {
        read_ahead(segment, share->frame);
        return {.status = FetchStatus::kPending};
      }
      const std::vector<Record>& records = frame->records();
      for (size_t at = frame->upper_bound(after); at < records.size(); ++at) {
        if (wanted(records[at])) return {FetchStatus::kRecord, std::move(frame), at};
      }
    }
  }
  return {};
}

// The first durable record behind `after` that has the reader in its audience.
Store::Impl::Found Store::Impl::owed_after(ReaderId id, Position after, bool exact) {
  return search(
      after, id,
      [&](const Segment& segment) {
        const auto summary = segment.readers.find(id);
        return summary != segment.readers.end() && summary->second.last > after;
      },
      [&](const Directory& directory) {
        const auto shares = directory.readers.find(id);
        return shares == directory.readers.end() ? nullptr : &shares->second;
      },
      [&](const Record& record) { return !exact || owed_to(record, id); });
}

Store::Fetch Store::Impl::beside_first_owed(ReaderId id) {
  const auto found = readers.find(id);
  return found == readers.end() ? Fetch{.status = FetchStatus::kGone}
                                : owed_after(id, found->second.info.low_water, /*exact=*/false).fetch();
}

Store::Fetch Store::Impl::next_in_stream(StreamId stream, Position after, ReaderId waiter) {
  return search(
             after, waiter,
             [&](const Segment& segment) {
               return segment.position_last > after && segment.streams.contains(stream);
             },
             [&](const Directory& directory) {
               const auto use = directory.streams.find(stream);
               return use == directory.streams.end() ? nullptr : &use->second.shares;
             },
             [&](const Record& record) { return record.stream == stream; })
      .fetch();
}

Store::Fetch Store::Impl::at(Position position, ReaderId waiter) {
  if (position.commit() > durable) {
    commit_waiters.emplace(position.commit(), waiter);
    return {};
  }
  Segment* const segment = segment_of(position);
  if (segment == nullptr) return {.status = FetchStatus::kGone};
  if (!directory_ready(*segment, waiter)) return {.status = FetchStatus::kPending};
  const Directory& directory = *segment->directory;
  const size_t entry = directory.frame_after(Position{position.value - 1});
  if (entry == directory.frames.size() || directory.frames[entry].first > position)
    return {.status = FetchStatus::kGone};
  bool rotten = false;
  std::shared_ptr<const Frame> frame = frame_ready(*segment, static_cast<uint32_t>(entry), waiter, &rotten);
  if (frame == nullptr) return {.status = rotten ? FetchStatus::kGone : FetchStatus::kPending};
  const size_t index = frame->upper_bound(Position{position.value - 1});
  if (index == frame->records().size() || frame->records()[index].position != position)
    return {.status = FetchStatus::kGone};
  return Found{FetchStatus::kRecord, std::move(frame), index}.fetch();
}

Position Store::Impl::before_time(int64_t wall_us) const {
  Position at;
  for (const std::unique_ptr<Segment>& segment : segments) {
    if (segment->wall_max_us >= wall_us) break;
    at = std::max(at, segment->position_last);
  }
  return at;
}

Position Store::Impl::before_number(StreamId stream, uint64_t sequence) const {
  Position at;
  for (const std::unique_ptr<Segment>& segment : segments) {
    const auto numbers = segment->streams.find(stream);
    if (numbers != segment->streams.end() && numbers->second.last >= sequence) break;
    at = std::max(at, segment->position_last);
  }
  return at;
}

std::optional<Position> Store::Impl::before_last(StreamId stream, uint64_t count, ReaderId waiter) {
  uint64_t behind = 0;
  for (size_t i = segments.size(); i-- > 0 && behind < count;) {
    Segment& segment = *segments[i];
    if (!segment.streams.contains(stream)) continue;
    if (!directory_ready(segment, waiter)) return std::nullopt;
    const auto use = segment.directory->streams.find(stream);
    if (use == segment.directory->streams.end()) continue;
    const std::vector<Share>& shares = use->second.shares;
    for (auto share = shares.rbegin(); share != shares.rend(); ++share) {
      behind += share->count;
      if (behind >= count) return Position{segment.directory->frames[share->frame].first.value - 1};
    }
  }
  return Position{};
}

std::vector<ReaderId> Store::Impl::take_woken() {
  std::vector<ReaderId> list(woken.begin(), woken.end());
  woken.clear();
  return list;
}

// --- Disk reads.

// How much of a segment is read at once for one reader. What was read for those that come from behind stays until they have
// taken it: the piece in hand and the next one, of each.
uint64_t Store::Impl::read_ahead_bytes() const {
  const size_t count = std::max<size_t>(2, readers_behind.count());
  return std::min(kReadAheadBytes, read_cache.plain_budget_bytes() / (2 * count));
}

// A reader that reads one frame from disk will want the next ones: they come with the same read.
void Store::Impl::read_ahead(const Segment& segment, uint32_t entry) {
  const std::vector<FrameEntry>& frames = segment.directory->frames;
  const uint64_t end = frames[entry].offset + read_ahead_bytes();
  for (uint32_t next = entry + 1; next < frames.size() && frames[next].offset + frames[next].size <= end;
       ++next) {
    const FrameRef ref{segment.id, frames[next].offset};
    if (!missing(segment, ref)) return;
    wanted_frames[ref];
    read_queue.push_back(ref);
  }
}

// And the next read begins while half of this one is still to be taken.
void Store::Impl::read_before_needed(ReaderId id, Position at) {
  const Segment* const segment = segment_of(at);
  if (segment == nullptr || segment->directory == nullptr) return;
  const auto found = segment->directory->readers.find(id);
  if (found == segment->directory->readers.end()) return;
  const std::vector<FrameEntry>& frames = segment->directory->frames;
  const std::vector<Share>& shares = found->second;
  const auto here = std::lower_bound(shares.begin(), shares.end(), at,
                                     [](const Share& share, Position sought) { return share.last < sought; });
  if (here == shares.end() || !read_cache.contains({segment->id, frames[here->frame].offset})) return;
  readers_behind.came(id);
  const uint64_t from = frames[here->frame].offset + read_ahead_bytes() / 2;
  auto next = std::lower_bound(here, shares.end(), from, [&](const Share& share, uint64_t sought) {
    return frames[share.frame].offset < sought;
  });
  // One that is owed a record here and there reads that and no more.
  if (next == shares.end() || frames[next->frame].offset >= from + read_ahead_bytes() / 2) return;
  const auto ref = [&](const Share& share) { return FrameRef{segment->id, frames[share.frame].offset}; };
  if (!missing(*segment, ref(*next))) return;
  while (next - here > 1 && missing(*segment, ref(*(next - 1)))) --next;
  wanted_frames[ref(*next)];
  read_queue.push_back(ref(*next));
  read_ahead(*segment, next->frame);
}

// Whether more than one reader has yet to come by this frame.
bool Store::Impl::wanted_by_several(const Directory& directory,
                                    std::vector<FrameEntry>::const_iterator entry) const {
  // Among many there are always some, and it is not worth the time to look.
  constexpr size_t kReadersLookedAt = 64;
  if (directory.readers.size() > kReadersLookedAt) return true;
  const auto number = static_cast<uint32_t>(entry - directory.frames.begin());
  size_t count = 0;
  for (const auto& [id, shares] : directory.readers) {
    const auto reader = readers.find(id);
    if (reader == readers.end() || reader->second.info.cursor >= entry->first) continue;
    const auto share =
        std::lower_bound(shares.begin(), shares.end(), number,
                         [](const Share& candidate, uint32_t sought) { return candidate.frame < sought; });
    if (share != shares.end() && share->frame == number && ++count > 1) return true;
  }
  return false;
}

// Neither in memory nor asked for, and there to be read.
bool Store::Impl::missing(const Segment& segment, FrameRef ref) const {
  return !segment.rotten.contains(ref.offset) && !wanted_frames.contains(ref) && !tail_cache.contains(ref) &&
         !read_cache.contains(ref);
}

// Segments of which frames are wanted.
size_t Store::Impl::segments_wanted() const {
  size_t count = 0;
  for (auto next = wanted_frames.begin(); next != wanted_frames.end();
       next = wanted_frames.lower_bound({next->first.segment + 1, 0}))
    ++count;
  return count;
}

std::unique_ptr<Job> Store::Impl::take_read() {
  if (std::exchange(trim_due, false)) trim_directories();
  // Not so many directories at once that each pushes out another before its frames have been read.
  while (reads_out < kReadJobsMax && !index_queue.empty() && segments_wanted() < kReadJobsMax) {
    const uint64_t id = index_queue.front();
    index_queue.pop_front();
    const auto segment =
        std::find_if(segments.begin(), segments.end(), [&](const auto& s) { return s->id == id; });
    if (segment == segments.end()) continue;
    auto job = std::make_unique<LoadIndexJob>();
    job->keys = keys;
    job->segment = id;
    job->rewrite = (*segment)->rewrite;
    job->commit_first = (*segment)->commit_first;
    job->commit_last = (*segment)->commit_last;
    ++(*segment)->jobs_out;
    ++reads_out;
    return job;
  }
  while (reads_out < kReadJobsMax && !read_queue.empty()) {
    const FrameRef first = read_queue.front();
    const auto found =
        std::find_if(segments.begin(), segments.end(), [&](const auto& s) { return s->id == first.segment; });
    const Directory* directory = found == segments.end() ? nullptr : (*found)->directory.get();
    const auto entry_at = [&](uint64_t offset) {
      return std::lower_bound(directory->frames.begin(), directory->frames.end(), offset,
                              [](const FrameEntry& entry, uint64_t wanted) { return entry.offset < wanted; });
    };
    if (directory == nullptr || entry_at(first.offset) == directory->frames.end() ||
        entry_at(first.offset)->offset != first.offset) {
      // The segment went away, or its directory did: whoever waits looks again.
      read_queue.pop_front();
      wake_waiters(first);
      continue;
    }
    auto job = std::make_unique<ReadJob>();
    job->keys = keys;
    job->segment = first.segment;
    job->once = !wanted_by_several(*directory, entry_at(first.offset));
    // As many of the queue's next frames as follow each other in the file.
    for (auto frame = entry_at(first.offset); frame != directory->frames.end() && !read_queue.empty() &&
                                              read_queue.front() == FrameRef{first.segment, frame->offset};
         ++frame) {
      const bool beside = !job->items.empty();
      if (beside && frame->offset + frame->size > first.offset + kReadAheadBytes) break;
      if (beside && (read_failures.contains(first) || read_failures.contains({first.segment, frame->offset})))
        break;
      ReadJob::Item item;
      item.offset = frame->offset;
      item.size = frame->size;
      item.first = frame->first;
      job->items.push_back(std::move(item));
      read_queue.pop_front();
    }
    ++(*found)->jobs_out;
    ++reads_out;
    return job;
  }
  return nullptr;
}

void Store::Impl::wake_waiters(FrameRef ref) {
  const auto waiters = wanted_frames.find(ref);
  if (waiters == wanted_frames.end()) return;
  woken.insert(waiters->second.begin(), waiters->second.end());
  wanted_frames.erase(waiters);
}

// The segment a read was of; one that was replaced meanwhile waits in `reclaim` for its reads to come back.
Segment* Store::Impl::read_came_back(uint64_t id) {
  --reads_out;
  for (const auto& segment : segments) {
    if (segment->id != id) continue;
    --segment->jobs_out;
    return segment.get();
  }
  if (reclaim) {
    for (const auto& segment : reclaim->retired) {
      if (segment->id == id) --segment->jobs_out;
    }
  }
  return nullptr;
}

void Store::Impl::read_done(ReadJob& job) {
  Segment* const segment = read_came_back(job.segment);
  // The first one, which somebody waits for, comes into the cache last: it must not make room for those read ahead.
  for (ReadJob::Item& item : std::views::reverse(job.items)) {
    const FrameRef ref{job.segment, item.offset};
    if (job.outcome && item.plain) {
      read_failures.erase(ref);
      read_cache.add(ref, std::move(*item.plain), item.first);
    } else if (segment != nullptr) {
      uint32_t& failures = read_failures[ref];
      // One bad place fails the whole piece: its frames are read again each by itself, and only that counts.
      if (job.items.size() == 1) ++failures;
      const bool corrupt = job.outcome && item.plain.error().code == Code::kCorrupt;
      // The disk gave bytes that are not the frame, or gave none several times.
      if (corrupt || failures >= kReadTriesMax) {
        read_failures.erase(ref);
        quarantine(*segment, item.offset);
      }
    }
    wake_waiters(ref);
  }
}

// A frame that was durable and cannot be read: its records are gone, which a gap record says; everything after it stays
// readable.
void Store::Impl::quarantine(Segment& segment, uint64_t offset) {
  if (segment.directory == nullptr || !segment.rotten.insert(offset).second) return;
  const Directory& directory = *segment.directory;
  const auto entry = std::lower_bound(directory.frames.begin(), directory.frames.end(), offset,
                                      [](const FrameEntry& e, uint64_t wanted) { return e.offset < wanted; });
  if (entry == directory.frames.end() || entry->offset != offset) return;
  ++counters.frames_rotten;
  Gap gap;
  gap.cause = GapCause::kRot;
  gap.first = entry->first.value;
  gap.last = entry->last.value;
  add_gap(gap, Haste::kCommit);
  const auto number = static_cast<uint32_t>(entry - directory.frames.begin());
  for (const auto& [id, shares] : directory.readers) {
    const auto share =
        std::find_if(shares.begin(), shares.end(), [&](const Share& s) { return s.frame == number; });
    const auto reader = readers.find(id);
    if (share == shares.end() || reader == readers.end() || share->last <= reader->second.info.cursor)
      continue;
    owe_less(reader->second, share->count, share->bytes);
  }
}

void Store::Impl::index_done(LoadIndexJob& job) {
  if (Segment* const segment = read_came_back(job.segment)) {
    segment->directory_loading = false;
    if (job.outcome) {
      segment->directory = std::make_shared<Directory>(std::move(job.index.directory));
    } else if (++segment->directory_failures >= kReadTriesMax) {
      // Nothing of it can be found any more.
      segment->directory = std::make_shared<Directory>();
      Gap gap;
      gap.cause = GapCause::kRot;
      gap.first = Position::of(segment->commit_first, 0).value;
      gap.last = segment->position_last.value;
      add_gap(gap, Haste::kCommit);
    }
    woken.insert(segment->directory_waiters.begin(), segment->directory_waiters.end());
    segment->directory_waiters.clear();
  }
  trim_due = true;
}

// Directories of sealed segments stay within their budget, but for those whose frames are being read; the longest unused go
// first.
void Store::Impl::trim_directories() {
  uint64_t total = 0;
  for (const auto& segment : segments) {
    if (segment->directory != nullptr && segment.get() != active) total += segment->directory->memory_bytes();
  }
  while (total > options.index_cache_bytes) {
    Segment* oldest = nullptr;
    for (const auto& segment : segments) {
      if (segment->directory == nullptr || !segment->sealed || segment.get() == active) continue;
      // One that is the whole budget by itself stays while it is in use.
      if (segment->directory_use == directory_clock || frame_wanted(segment->id)) continue;
      if (oldest == nullptr || segment->directory_use < oldest->directory_use) oldest = segment.get();
    }
    if (oldest == nullptr) return;
    total -= oldest->directory->memory_bytes();
    oldest->directory = nullptr;
  }
}

}  // namespace hf::store
