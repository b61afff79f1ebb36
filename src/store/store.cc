#include "store/store_impl.h"

#include <algorithm>

#include "base/assert.h"
#include "base/planted_bugs.h"

namespace hf::store {

const char* mode_name(Mode mode) {
  switch (mode) {
    case Mode::kReady:
      return "ready";
    case Mode::kFull:
      return "full";
    case Mode::kDegraded:
      return "degraded";
    case Mode::kStorageFailed:
      return "storage-failed";
  }
  return "unknown";
}

Store::Impl::Impl(const Options& options_in)
    : options(options_in),
      tail_cache(options_in.tail_cache_bytes),
      read_cache(options_in.tail_cache_bytes / 4) {
  segment_size_max = options.segment_bytes_max != 0
                         ? options.segment_bytes_max
                         : std::clamp<uint64_t>(options.quota_bytes / 64, 4 << 20, 64 << 20);
  segment_size_next = options.segment_bytes_min != 0 ? options.segment_bytes_min : 1 << 20;
  segment_size_next = std::min(segment_size_next, segment_size_max);
}

// --- Writing.

FrameBuilder& Store::Impl::open_frame() {
  std::vector<FrameBuilder>& frames = open_batch.frames;
  if (frames.empty() || frames.back().size() >= kFramePlainBytes) {
    if (!frames.empty()) open_batch.closed_bytes += frames.back().size();
    frames.emplace_back(Position::of(open_batch.commit, open_batch.record_count));
  }
  return frames.back();
}

Result<> Store::Impl::admit(uint64_t record_bytes) const {
  if (storage_failed) return fail(Code::kIo, "the storage has failed; restart the node when it is repaired");
  if (record_bytes > segment_size_max / 4) {
    return fail(Code::kTooLarge, "the message is larger than a quarter of a segment", segment_size_max / 4);
  }
  if (!room_known) room_known = room_for_records();
  if (*room_known < waiting_bytes() + record_bytes + 2 * kPageBytes) {
    refused_bytes = refused_bytes == 0 ? record_bytes : std::min(refused_bytes, record_bytes);
    return fail(Code::kFull, "no space left for new messages");
  }
  // While only small records find room the store is still full for the others.
  if (record_bytes >= refused_bytes) refused_bytes = 0;
  return {};
}

// Whatever was taken must find a place: in the segments that are there, or in those that quota and disk still allow. The last
// of it is kept for control rows, without which nothing could ever be freed. A quarter may be lost where a batch does not fit
// into what is left of a segment.
uint64_t Store::Impl::room_for_records() const {
  uint64_t room = active == nullptr || active->failed ? 0 : active->file_bytes - active->used_bytes;
  for (const Spare& spare : spares) room += spare.size - kSegmentHeaderBytes;
  const uint64_t files = file_bytes();
  const uint64_t growth = std::min(options.quota_bytes - std::min(options.quota_bytes, files), free_bytes);
  if (!full) room += growth;
  room = room / 4 * 3;
  return room - std::min(room, control_reserve());
}

Store::Appended Store::Impl::append(const NewRecord& record) {
  Batch& batch = open_batch;
  batch.urgent = true;
  const auto stream = streams.find(record.stream);
  HF_ASSERT(stream != streams.end());
  StreamInfo& info = stream->second;
  NewRecord numbered = record;
  if (numbered.sequence == 0) numbered.sequence = info.sequence_last + 1;
  HF_ASSERT(numbered.sequence > info.sequence_last);
  info.sequence_last = numbered.sequence;
  HF_ASSERT(batch.record_count < 1u << Position::kIndexBits);
  FrameBuilder& frame = open_frame();
  const Position position = Position::of(batch.commit, batch.record_count++);
  frame.add(position, numbered, info.key, info.options);
  const uint64_t bytes = record.topic.size() + record.headers.size() + record.payload.size();
  for_each_member(record.audience, [&](const Member& member) {
    const auto reader = readers.find(member.reader);
    if (reader != readers.end()) {
      reader->second.last_owed = position;
      owe(reader->second, 1, bytes);
    }
    return true;
  });
  ++counters.records;
  counters.record_bytes += bytes;
  return {position, numbered.sequence};
}

void Store::Impl::write_row(Table table, Bytes key, bool erased, Bytes value, Haste haste) {
  Batch& batch = open_batch;
  auto& rows = tables[static_cast<size_t>(table)];
  auto row = rows.find(key);
  if (row == rows.end()) {
    row = rows.emplace(std::string(key), Row{.commit_first = batch.commit}).first;
  } else {
    row_bytes -= row->second.bytes(row->first);
  }
  row->second.value.assign(value);
  row->second.commit = batch.commit;
  row->second.erased = erased;
  row_bytes += row->second.bytes(row->first);
  // When nothing becomes durable any more, nothing is collected either: the rows in memory serve until the restart.
  if (storage_failed) return;
  batch.urgent |= haste == Haste::kCommit;
  FrameBuilder& frame = open_frame();
  if (erased) {
    frame.erase(table, row->first);
  } else {
    frame.put(table, row->first, row->second.value);
  }
  batch.rows.push_back({table, erased, batch.commit, row->first, row->second.value});
}

// From memory; what the log says of it is as before.
Store::Impl::Rows::iterator Store::Impl::forget_row(Table table, Rows::iterator row) {
  row_bytes -= row->second.bytes(row->first);
  return tables[static_cast<size_t>(table)].erase(row);
}

// A row that came and went within one segment is nobody's concern: no other segment can bring it back, and this one need not say that
// it is gone. Most rows of deliveries are so, and each has a key of its own.
bool Store::Impl::forgotten_with_segment(const IndexedRow& erasure) {
  auto& rows = tables[static_cast<size_t>(erasure.table)];
  const auto row = rows.find(erasure.key);
  if (row == rows.end() || row->second.commit_first < active->commit_first) return false;
  // Else it is there again, in a commit that is not durable yet.
  if (row->second.erased && row->second.commit == erasure.commit) forget_row(erasure.table, row);
  active->rows.erase({erasure.table, erasure.key});
  return true;
}

void Store::Impl::put(Table table, Bytes key, Bytes value, Haste haste) {
  write_row(table, key, false, value, haste);
}

void Store::Impl::erase(Table table, Bytes key, Haste haste) {
  const auto& rows = tables[static_cast<size_t>(table)];
  const auto row = rows.find(key);
  if (row == rows.end() || row->second.erased) return;
  // The argument may be a view of the row itself.
  const std::string copy(key);
  write_row(table, copy, true, {}, haste);
}

uint64_t Store::Impl::commit_of(Table table, Bytes key) {
  const auto& rows = tables[static_cast<size_t>(table)];
  const auto row = rows.find(key);
  if (row == rows.end() || row->second.commit <= durable) return 0;
  if (row->second.commit == open_batch.commit) open_batch.urgent = true;
  return row->second.commit;
}

std::optional<Bytes> Store::Impl::get(Table table, Bytes key) const {
  const auto& rows = tables[static_cast<size_t>(table)];
  const auto row = rows.find(key);
  if (row == rows.end() || row->second.erased) return std::nullopt;
  return Bytes(row->second.value);
}

void Store::Impl::scan(Table table, Bytes prefix, Bytes after,
                       const std::function<bool(Bytes, Bytes)>& visit) const {
  const auto& rows = tables[static_cast<size_t>(table)];
  auto row = after < prefix ? rows.lower_bound(prefix) : rows.upper_bound(after);
  if (after.empty()) row = rows.lower_bound(prefix);
  for (; row != rows.end() && Bytes(row->first).starts_with(prefix); ++row) {
    if (!row->second.erased && !visit(row->first, row->second.value)) return;
  }
}

Result<> Store::Impl::admit_row(uint64_t bytes) const {
  if (storage_failed) return fail(Code::kIo, "the storage has failed; restart the node when it is repaired");
  const uint64_t most = std::min(kRowBytesMax, options.quota_bytes / 8);
  if (row_bytes + bytes + kRowOverheadBytes > most) {
    return fail(Code::kFull, "sessions, subscriptions and retained messages take all the space they may have",
                most);
  }
  return {};
}

bool Store::Impl::batch_full() const {
  return open_batch.bytes() >= std::min(kBatchBytes, segment_size_max / 4);
}

void Store::Impl::boundary() {
  if (batch_full()) close_batch();
}

void Store::Impl::close_batch() {
  // Positions move with the batch that holds their cause: the rows of what was handed out are in it or before
  // it.
  for (const ReaderId id : dirty_readers) {
    const auto reader = readers.find(id);
    if (reader == readers.end() || !reader->second.info.durable) continue;
    reader->second.dirty = false;
    std::string key;
    put_u64be(key, id);
    std::string value;
    put_u64(value, reader->second.info.low_water.value);
    put_u64(value, reader->second.info.cursor.value);
    write_row(Table::kReader, key, false, value, Haste::kRide);
  }
  dirty_readers.clear();
  if (open_batch.frames.empty()) open_frame();
  const uint64_t commit = open_batch.commit;
  open_batch.bytes_when_closed = open_batch.bytes();
  closed_bytes += open_batch.bytes_when_closed;
  closed_batches.push_back(std::move(open_batch));
  open_batch = Batch(commit + 1);
}

// What waits for a place on disk, as it will stand there: frames fill pages, and each has a head.
uint64_t Store::Impl::waiting_bytes() const {
  const uint64_t plain = pending_bytes();
  return plain + plain / 4 + kPageBytes * (1 + closed_batches.size()) + (in_flight ? in_flight->bytes : 0);
}

uint64_t Store::Impl::pending_bytes() const { return closed_bytes + open_batch.bytes(); }

// --- Streams.

void Store::Impl::put_stream_row(const StreamInfo& info) {
  std::string key;
  put_u32be(key, info.id);
  std::string value;
  put_u64(value, info.key.incarnation);
  put_sized(value, info.key.name);
  put_sized(value, info.options.origin);
  put_u8(value, info.options.priority);
  put_varint(value, info.options.time_to_live_s);
  put_varint(value, info.sequence_last);
  write_row(Table::kStream, key, false, value, Haste::kRide);
}

void Store::Impl::note_row(std::string_view key, uint64_t value) {
  std::string bytes;
  put_u64(bytes, value);
  write_row(Table::kStore, key, false, bytes, Haste::kRide);
}

// Which segments there are, so that a start misses one that is gone, file and index. (The last one names itself: of it nobody
// would know.)
void Store::Impl::note_segments(Haste haste) {
  std::string list;
  for (const auto& segment : segments) put_varint(list, segment->id);
  if (get(Table::kStore, kSegmentsRow) != list) write_row(Table::kStore, kSegmentsRow, false, list, haste);
}

StreamId Store::Impl::open_stream(const StreamKey& key, const StreamOptions& stream_options) {
  const auto found = stream_ids.find(key);
  if (found != stream_ids.end()) {
    StreamInfo& info = streams[found->second];
    if (!(info.options == stream_options)) {
      info.options = stream_options;
      put_stream_row(info);
    }
    return found->second;
  }
  StreamInfo info;
  info.id = stream_next++;
  info.key = key;
  info.options = stream_options;
  note_row("stream_next", stream_next);
  put_stream_row(info);
  stream_ids[key] = info.id;
  return streams.emplace(info.id, std::move(info)).first->first;
}

const StreamInfo* Store::Impl::find_stream(const StreamKey& key) const {
  const auto found = stream_ids.find(key);
  return found == stream_ids.end() ? nullptr : &streams.at(found->second);
}

void Store::Impl::renew_incarnation(uint64_t incarnation_new) {
  const uint64_t old = incarnation;
  incarnation = incarnation_new;
  note_row("incarnation", incarnation);
  // Streams of our own go on from the next number under the new label; records stored already keep the old
  // one.
  std::vector<StreamInfo> own;
  for (const auto& [id, info] : streams) {
    if (info.key.incarnation == old && info.options.origin.empty()) own.push_back(info);
  }
  for (const StreamInfo& info : own) {
    const StreamId id = open_stream({incarnation, info.key.name}, info.options);
    streams[id].sequence_last = info.sequence_last;
    put_stream_row(streams[id]);
  }
}

// --- Commits.

// Turns the oldest closed batch into a job; its place in the log is not decided yet.
void Store::Impl::stage() {
  Batch& batch = closed_batches.front();
  staged = std::make_unique<CommitJob>();
  in_flight.emplace();
  in_flight->commit = batch.commit;
  staged->store_id = keys.store_id;
  const auto count = static_cast<uint16_t>(batch.frames.size());
  uint32_t first_index = 0;
  bool has_content = false;
  for (uint16_t i = 0; i < count; ++i) {
    FrameBuilder& frame = batch.frames[i];
    InFlight::Piece piece;
    piece.first = frame.first();
    piece.last = frame.last();
    piece.records = frame.record_count();
    piece.bytes = frame.record_bytes();
    piece.wall_max_us = frame.wall_max_us();
    piece.shares = frame.shares();
    piece.streams = frame.streams();
    in_flight->bytes += align_up(kFrameOverheadBytes + frame.size(), kPageBytes);
    CommitJob::Piece out;
    out.head.index = i;
    out.head.count = count;
    out.head.commit = batch.commit;
    out.head.first_index = first_index;
    out.plain = frame.take();
    has_content |= !out.plain.empty();
    first_index += piece.records;
    staged->pieces.push_back(std::move(out));
    in_flight->pieces.push_back(std::move(piece));
  }
  in_flight->mark = !has_content;
  in_flight->rows = std::move(batch.rows);
  closed_bytes -= batch.bytes_when_closed;
  closed_batches.pop_front();
}

std::unique_ptr<Job> Store::Impl::take_commit(const Now& now) {
  if (commit_out || storage_failed) return nullptr;
  if (!in_flight) {
    if (closed_batches.empty()) {
      const bool waiting = !marked || open_batch.bytes() > 0 || !dirty_readers.empty();
      const bool idle = waiting && now.mono >= last_commit_at + kMarkIdle;
      const bool closing = shutting_down && (waiting || !marked);
      if (!open_batch.urgent && !idle && !closing) return nullptr;
      close_batch();
    }
    stage();
  }
  if (!place(*staged)) return nullptr;
  commit_out = true;
  if (planted(PlantedBug::kForwardBeforeDurable)) publish_pieces(*staged);
  return std::move(staged);
}

// Gives the frames of a job their place behind the last ones, in a segment with room for all of them. False:
// the next segment is not there yet.
bool Store::Impl::place(CommitJob& job) {
  uint64_t total = 0;
  for (const CommitJob::Piece& piece : job.pieces) {
    total += align_up(kFrameOverheadBytes + piece.plain.size(), kPageBytes);
  }
  if (active == nullptr || active->failed || active->used_bytes + total > active->file_bytes) {
    const auto spare = std::find_if(spares.begin(), spares.end(), [&](const Spare& candidate) {
      return kSegmentHeaderBytes + total <= candidate.size;
    });
    if (spare == spares.end()) {
      want_spare(kSegmentHeaderBytes + total);
      return false;
    }
    // Segments come into use in the order of their numbers, which recovery goes by: a spare that is too small is passed over
    // for good.
    if (spare != spares.begin()) {
      auto drop = std::make_unique<DropJob>();
      drop->spares = true;
      for (auto small = spares.begin(); small != spare; ++small) drop->segments.push_back(small->id);
      background.push_back(std::move(drop));
    }
    seal_active();
    auto segment = std::make_unique<Segment>();
    segment->id = spare->id;
    segment->file_bytes = spare->size;
    segment->used_bytes = kSegmentHeaderBytes;
    segment->commit_first = in_flight->commit;
    segment->commit_last = in_flight->commit;
    segment->directory = std::make_shared<Directory>();
    spares.erase(spares.begin(), spare + 1);
    active = segment.get();
    active_frames = 0;
    active_aead = std::make_shared<crypto::Aead>(keys.segment_key(segment->id));
    segments.push_back(std::move(segment));
    note_segments(Haste::kRide);
  }
  job.segment = active->id;
  job.aead = active_aead;
  uint64_t offset = active->used_bytes;
  for (CommitJob::Piece& piece : job.pieces) {
    piece.offset = offset;
    piece.head.segment = active->id;
    piece.head.frame = active_frames++;
    piece.head.durable = durable;
    offset += align_up(kFrameOverheadBytes + piece.plain.size(), kPageBytes);
  }
  if (under_pressure()) reclaim_check_at = std::min(reclaim_check_at, now_mono);
  // A spare is made before it is needed: the commit that fills a segment does not wait for the next one.
  if (offset > active->file_bytes / 2 && spares.empty()) want_spare(0);
  return true;
}

// What is durable becomes readable: directory, summaries, tail cache.
void Store::Impl::publish_pieces(CommitJob& job) {
  HF_ASSERT(active != nullptr && active->id == job.segment);
  for (size_t i = 0; i < job.pieces.size(); ++i) {
    CommitJob::Piece& piece = job.pieces[i];
    const InFlight::Piece& meta = in_flight->pieces[i];
    active->used_bytes = align_up(piece.offset + kFrameOverheadBytes + piece.plain.size(), kPageBytes);
    active->plain_bytes += piece.plain.size();
    if (meta.records == 0) continue;
    Directory& directory = *active->directory;
    const auto number = static_cast<uint32_t>(directory.frames.size());
    FrameEntry entry;
    entry.offset = piece.offset;
    entry.size = static_cast<uint32_t>(kFrameOverheadBytes + piece.plain.size());
    entry.first = meta.first;
    entry.last = meta.last;
    entry.records = meta.records;
    entry.bytes = meta.bytes;
    directory.frames.push_back(entry);
    for (const auto& [reader, share] : meta.shares) {
      directory.readers[reader].push_back({number, share.count, share.bytes, share.last});
      Summary& summary = active->readers[reader];
      summary.count += share.count;
      summary.bytes += share.bytes;
      summary.last = share.last;
      const auto state = readers.find(reader);
      if (state != readers.end() && state->second.info.cursor < share.last) woken.insert(reader);
    }
    for (const auto& [stream, use] : meta.streams) {
      StreamUse& all = directory.streams[stream];
      if (all.shares.empty()) {
        const StreamInfo& info = streams.at(stream);
        all.definition = {stream, info.key, info.options};
        all.first = use.first;
      }
      all.last = use.last;
      all.shares.push_back({number, use.share.count, use.share.bytes, use.share.last});
      Segment::Numbers& numbers = active->streams[stream];
      if (numbers.first == 0) numbers.first = use.first;
      numbers.last = use.last;
    }
    active->records += meta.records;
    active->record_bytes += meta.bytes;
    active->wall_max_us = std::max(active->wall_max_us, meta.wall_max_us);
    active->position_last = meta.last;
    if (planted(PlantedBug::kForwardBeforeDurable)) {
      tail_cache.add({active->id, piece.offset}, piece.plain, meta.first);
    } else {
      tail_cache.add({active->id, piece.offset}, std::move(piece.plain), meta.first);
    }
  }
  for (IndexedRow& row : in_flight->rows) {
    if (row.erased && forgotten_with_segment(row)) continue;
    active->rows.insert_or_assign(std::pair(row.table, row.key), std::move(row));
  }
  active->commit_last = in_flight->commit;
}

void Store::Impl::commit_done(std::unique_ptr<CommitJob> job, const Now& now) {
  commit_out = false;
  if (job->outcome) {
    if (!planted(PlantedBug::kForwardBeforeDurable)) publish_pieces(*job);
    durable = in_flight->commit;
    while (!commit_waiters.empty() && commit_waiters.begin()->first <= durable) {
      woken.insert(commit_waiters.begin()->second);
      commit_waiters.erase(commit_waiters.begin());
    }
    marked = in_flight->mark;
    in_flight.reset();
    failures_in_a_row = 0;
    last_commit_at = now.mono;
    ++counters.commits;
    counters.ingest_bytes += job->bytes_written;
    return;
  }
  // That file is closed for ever: not written, not synced, its unsynced bytes not read. The commit is written
  // again, under the same number, to the next segment; recovery ignores what may stand of it here.
  ++counters.sync_failures;
  active->failed = true;
  if (active->used_bytes == kSegmentHeaderBytes) {
    // It holds nothing that counts.
    std::erase_if(segments, [&](const auto& segment) { return segment.get() == active; });
    active = nullptr;
  }
  if (++failures_in_a_row >= 2) {
    storage_failed = true;
    return;
  }
  degraded = true;
  for (CommitJob::Piece& piece : job->pieces) piece.offset = 0;
  staged = std::move(job);
  staged->outcome = {};
  staged->bytes_written = 0;
}

std::unique_ptr<Job> Store::Impl::take_job(const Now& now) {
  now_mono = now.mono;
  room_known.reset();
  plan_background(now);
  if (std::unique_ptr<Job> job = take_commit(now)) return job;
  if (std::unique_ptr<Job> job = take_read()) return job;
  if (!background_out && !background.empty()) {
    std::unique_ptr<Job> job = std::move(background.front());
    background.pop_front();
    background_out = true;
    return job;
  }
  return nullptr;
}

void Store::Impl::complete(std::unique_ptr<Job> job, const Now& now) {
  now_mono = now.mono;
  room_known.reset();
  // Every job here was made by this store.
  std::unique_ptr<StoreJob> done(static_cast<StoreJob*>(job.release()));
  switch (done->kind()) {
    case JobKind::kCommit:
      commit_done(std::unique_ptr<CommitJob>(static_cast<CommitJob*>(done.release())), now);
      break;
    case JobKind::kRead:
      read_done(static_cast<ReadJob&>(*done));
      break;
    case JobKind::kLoadIndex:
      index_done(static_cast<LoadIndexJob&>(*done));
      break;
    case JobKind::kPrepare:
      background_out = false;
      prepare_done(static_cast<PrepareJob&>(*done), now);
      break;
    case JobKind::kSeal:
      background_out = false;
      seal_done(std::unique_ptr<SealJob>(static_cast<SealJob*>(done.release())));
      break;
    case JobKind::kRewrite:
      background_out = false;
      rewrite_done(static_cast<RewriteJob&>(*done), now);
      break;
    case JobKind::kDrop:
      background_out = false;
      drop_done(static_cast<DropJob&>(*done), now);
      break;
  }
}

std::optional<Instant> Store::Impl::next_deadline() const {
  std::optional<Instant> deadline;
  const auto at = [&](Instant instant) {
    if (!deadline || instant < *deadline) deadline = instant;
  };
  if (!in_flight && !storage_failed && (!marked || open_batch.bytes() > 0 || !dirty_readers.empty())) {
    at(last_commit_at + kMarkIdle);
  }
  if (storage_failed) return deadline;
  if (prepare_retry) at(*prepare_retry);
  if (segments.size() > 1 && !reclaim) at(std::max(reclaim_check_at, reclaim_not_before));
  // Once that has passed, it is a read still out that holds up the drop, and its outcome is an input.
  if (reclaim && reclaim->swapped && !reclaim->dropping && reclaim->retry_at > now_mono)
    at(reclaim->retry_at);
  return deadline;
}

void Store::Impl::shut_down() { shutting_down = true; }

bool Store::Impl::quiet() const {
  if (storage_failed) return !commit_out && reads_out == 0 && !background_out;
  return !in_flight && closed_batches.empty() && open_batch.bytes() == 0 && dirty_readers.empty() &&
         (marked || !shutting_down) && reads_out == 0 && !background_out && background.empty();
}

Mode Store::Impl::mode() const {
  if (storage_failed) return Mode::kStorageFailed;
  if (no_space()) return Mode::kFull;
  return degraded ? Mode::kDegraded : Mode::kReady;
}

Figures Store::Impl::figures() const {
  Figures figures = counters;
  figures.file_bytes = file_bytes();
  figures.free_bytes = free_bytes;
  figures.quota_bytes = options.quota_bytes;
  figures.segment_count = static_cast<uint32_t>(segments.size());
  for (const auto& segment : segments) {
    figures.records_live_bytes += segment->record_bytes;
    if (segment.get() != active && !segment_needed(*segment)) figures.spare_bytes += segment->file_bytes;
  }
  figures.row_bytes = row_bytes;
  figures.cache_bytes = tail_cache.bytes() + read_cache.bytes();
  return figures;
}

// --- The class that others see.

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Result<> Store::create(Disk& disk, Entropy& entropy, const crypto::Key& kek, uint64_t store_id) {
  return create_keys(disk, entropy, kek, store_id);
}

Result<std::unique_ptr<Store>> Store::open(Disk& disk, Entropy& entropy, const crypto::Key& kek,
                                           const Options& options, Bytes fence, const Now& now,
                                           OpenReport* report) {
  HF_TRY_ASSIGN(std::unique_ptr<Impl> impl, Impl::open(disk, entropy, kek, options, fence, now, report));
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

uint64_t Store::store_id() const { return impl_->keys.store_id; }
uint64_t Store::incarnation() const { return impl_->incarnation; }
void Store::renew_incarnation(uint64_t incarnation) { impl_->renew_incarnation(incarnation); }
Result<> Store::admit(uint64_t record_bytes) const { return impl_->admit(record_bytes); }
Store::Appended Store::append(const NewRecord& record) { return impl_->append(record); }
void Store::put(Table table, Bytes key, Bytes value, Haste haste) { impl_->put(table, key, value, haste); }
void Store::erase(Table table, Bytes key, Haste haste) { impl_->erase(table, key, haste); }
uint64_t Store::commit_of(Table table, Bytes key) { return impl_->commit_of(table, key); }
std::optional<Bytes> Store::get(Table table, Bytes key) const { return impl_->get(table, key); }
void Store::scan(Table table, Bytes prefix, const std::function<bool(Bytes, Bytes)>& visit) const {
  impl_->scan(table, prefix, {}, visit);
}
void Store::scan_behind(Table table, Bytes prefix, Bytes after,
                        const std::function<bool(Bytes, Bytes)>& visit) const {
  impl_->scan(table, prefix, after, visit);
}
Result<> Store::admit_row(uint64_t bytes) const { return impl_->admit_row(bytes); }
void Store::boundary() { impl_->boundary(); }
bool Store::batch_full() const { return impl_->batch_full(); }
uint64_t Store::open_commit() const { return impl_->open_batch.commit; }
uint64_t Store::durable_commit() const { return impl_->durable; }
uint64_t Store::pending_bytes() const { return impl_->pending_bytes(); }
bool Store::congested() const { return impl_->pending_bytes() > kPendingBytesMax || impl_->making_room(); }

StreamId Store::open_stream(const StreamKey& key, const StreamOptions& options) {
  return impl_->open_stream(key, options);
}
StreamId Store::open_local_stream(Bytes name, uint8_t priority, uint32_t time_to_live_s) {
  return impl_->open_stream({impl_->incarnation, std::string(name)}, {priority, time_to_live_s, ""});
}
const StreamInfo* Store::stream(StreamId id) const {
  const auto found = impl_->streams.find(id);
  return found == impl_->streams.end() ? nullptr : &found->second;
}
const StreamInfo* Store::find_stream(const StreamKey& key) const { return impl_->find_stream(key); }
void Store::for_each_stream(const std::function<void(const StreamInfo&)>& visit) const {
  for (const auto& [id, info] : impl_->streams) visit(info);
}

ReaderId Store::create_reader(bool durable) { return impl_->create_reader(durable); }
void Store::count_in_figures(ReaderId reader) { impl_->count_in_figures(reader); }
void Store::give_up(ReaderId reader, GapCause cause) { impl_->give_up(reader, cause); }
void Store::remove_reader(ReaderId reader, std::optional<GapCause> cause) {
  impl_->remove_reader(reader, cause);
}
const ReaderInfo* Store::reader(ReaderId reader) const {
  const auto found = impl_->readers.find(reader);
  return found == impl_->readers.end() ? nullptr : &found->second.info;
}
bool Store::caught_up(ReaderId reader) const {
  const auto found = impl_->readers.find(reader);
  return found != impl_->readers.end() && found->second.info.cursor >= found->second.last_owed;
}
Store::Fetch Store::next(ReaderId reader) { return impl_->next(reader); }
Store::Fetch Store::first_owed(ReaderId reader) { return impl_->first_owed(reader); }
Store::Fetch Store::beside_first_owed(ReaderId reader) { return impl_->beside_first_owed(reader); }
void Store::take(ReaderId reader, Position position, uint64_t record_bytes) {
  impl_->take(reader, position, record_bytes);
}
void Store::acknowledge(ReaderId reader, Position position) { impl_->acknowledge(reader, position); }
void Store::rewind(ReaderId reader, Position position) { impl_->rewind(reader, position); }
void Store::restore_outstanding(ReaderId reader, std::span<const Position> positions) {
  impl_->restore_outstanding(reader, positions);
}
Store::Fetch Store::at(Position position, ReaderId waiter) { return impl_->at(position, waiter); }
std::optional<Position> Store::before_last(StreamId stream, uint64_t count, ReaderId waiter) {
  return impl_->before_last(stream, count, waiter);
}
Position Store::before_time(int64_t wall_us) const { return impl_->before_time(wall_us); }
Position Store::before_number(StreamId stream, uint64_t sequence) const {
  return impl_->before_number(stream, sequence);
}
Store::Fetch Store::next_in_stream(StreamId stream, Position after, ReaderId waiter) {
  return impl_->next_in_stream(stream, after, waiter);
}
std::vector<ReaderId> Store::take_woken() { return impl_->take_woken(); }
bool Store::anybody_woken() const { return !impl_->woken.empty(); }
void Store::add_gap(const Gap& gap) { impl_->add_gap(gap, Haste::kRide); }
void Store::for_each_gap(const std::function<void(const Gap&)>& visit) const {
  impl_->scan(Table::kGap, {}, {}, [&](Bytes key, Bytes value) {
    visit(gap_of(key, value));
    return true;
  });
}
GapSum Store::gap_sum(GapCause cause) const { return impl_->gap_sum(cause); }
std::unique_ptr<Job> Store::take_job(const Now& now) { return impl_->take_job(now); }
void Store::complete(std::unique_ptr<Job> job, const Now& now) { impl_->complete(std::move(job), now); }
std::optional<Instant> Store::next_deadline() const { return impl_->next_deadline(); }
void Store::shut_down() { impl_->shut_down(); }
bool Store::quiet() const { return impl_->quiet(); }
Mode Store::mode() const { return impl_->mode(); }
bool Store::storage_failed() const { return impl_->storage_failed; }
Figures Store::figures() const { return impl_->figures(); }

}  // namespace hf::store
