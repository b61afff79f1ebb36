// The inside of Store, shared by the files that implement it:
//   store.cc       writing: batches, tables, streams, commits
//   readers.cc     reading: cursors, outstanding records, disk reads
//   gaps.cc        gap records
//   reclaim.cc     space: spare segments, sealing, rewrite, dropping
//   recovery.cc    from a directory of any bytes to a store
#pragma once

#include <array>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>

#include "store/frame.h"
#include "store/frame_cache.h"
#include "store/jobs.h"
#include "store/keys.h"
#include "store/segment_index.h"
#include "store/store.h"

namespace hf::store {

// A batch grows to this (a quarter of a segment where those are smaller) before the next one begins.
inline constexpr uint64_t kBatchBytes = 768 << 10;
// After this long without a commit, an empty one marks everything before it as durable
// (docs/formats/store.md, "Marks").
inline constexpr Duration kMarkIdle = seconds(10);
inline constexpr Duration kReclaimInterval = seconds(10);
inline constexpr Duration kReclaimIntervalPressed = milliseconds(50);
// What may wait for the disk before callers are asked to stop reading, and what they may bring before they hear of it.
inline constexpr uint64_t kPendingBytesMax = 8 << 20;
inline constexpr uint64_t kTurnBytes = 4 << 20;
inline constexpr Duration kPrepareRetry = seconds(1);
// What stays free for control rows (half a segment where those are small) when no further segment can be made.
inline constexpr uint64_t kControlReserveBytes = 256 << 10;
// A read that fails may be the moment's fault; so many failures are the frame's.
inline constexpr uint32_t kReadTriesMax = 3;
inline constexpr uint32_t kPrepareErrorsMax = 3;
inline constexpr size_t kReadJobsMax = 4;
inline constexpr uint64_t kReadAheadBytes = 256 << 10;
// So many small neighbours are worth one rewrite.
inline constexpr size_t kSmallRun = 8;

// Rows in memory, all together: at most this and an eighth of the quota.
inline constexpr uint64_t kRowBytesMax = 256 << 20;
inline constexpr uint64_t kRowOverheadBytes = 100;

// Row of kStore: the numbers of the segments, varints.
inline constexpr Bytes kSegmentsRow = "segments";

// Row of kGap: stream:u32be first:u64be reader:u64be -> last:u64 cause:u8 wall:u64 [count:varint].
std::string gap_key(const Gap& gap);
std::string gap_value(const Gap& gap);
Gap gap_of(Bytes key, Bytes value);

struct Batch {
  explicit Batch(uint64_t commit_number) : commit(commit_number) {}
  uint64_t commit;
  std::vector<FrameBuilder> frames;  // The last one is open.
  uint32_t record_count = 0;
  uint64_t closed_bytes = 0;  // Plaintext of all frames but the last.
  uint64_t bytes_when_closed = 0;
  std::vector<IndexedRow> rows;  // For the segment's index.
  bool urgent = false;           // Something in it is worth a commit.

  uint64_t bytes() const { return closed_bytes + (frames.empty() ? 0 : frames.back().size()); }
};

struct Row {
  std::string value;
  uint64_t commit = 0;
  // Of the oldest version that the log may hold, or before it.
  uint64_t commit_first = 0;
  // A tombstone: kept while a segment before the one that says so may hold an older version.
  bool erased = false;

  uint64_t bytes(Bytes key) const { return key.size() + value.size() + kRowOverheadBytes; }
};

// What a segment holds for one reader.
struct Summary {
  uint32_t count = 0;
  uint64_t bytes = 0;
  Position last;
};

struct Segment {
  uint64_t id = 0;
  bool rewrite = false;
  bool sealed = false;   // Its index file is written; else the directory stays in memory.
  bool failed = false;   // A write or sync of it failed: never written again.
  bool partial = false;  // A rewrite without its end.
  uint64_t commit_first = 0;
  uint64_t commit_last = 0;
  uint64_t file_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t plain_bytes = 0;
  uint64_t records = 0;
  uint64_t record_bytes = 0;
  int64_t wall_max_us = INT64_MIN;
  Position position_last;
  std::map<ReaderId, Summary> readers;
  struct Numbers {
    uint64_t first = 0;
    uint64_t last = 0;
  };
  std::map<StreamId, Numbers> streams;
  // While it is active: each row's last durable change here (by table and key), for its index. The tables in
  // memory are ahead of what is durable and would not do.
  std::map<std::pair<Table, std::string>, IndexedRow> rows;
  std::shared_ptr<Directory> directory;  // Null: on disk only.
  uint64_t directory_use = 0;            // When it was last asked for, by count.
  uint32_t jobs_out = 0;                 // Reads on their way: not dropped before they are back.
  std::set<uint64_t> rotten;             // Offsets of frames that cannot be read.
  uint32_t directory_failures = 0;
  std::set<ReaderId> directory_waiters;
  bool directory_loading = false;

  void absorb(const SegmentIndex& index);  // Summaries from its directory.
};

struct Outstanding {
  Position position;
  uint64_t bytes = 0;
  bool done = false;
};

struct Reader {
  ReaderInfo info;
  Position last_owed;  // The last record that has it in its audience, durable or not.
  std::deque<Outstanding> outstanding;
  bool dirty = false;    // Its row is to be written with the next batch.
  bool counted = false;  // count_in_figures()
};

// Who was given frames that came from the disk: among the last so many.
class ReadersBehind {
 public:
  void came(ReaderId id) {
    constexpr uint64_t kFrames = 256;
    seen_[id] = ++clock_;
    std::erase_if(seen_, [&](const auto& one) { return one.second + kFrames <= clock_; });
  }
  size_t count() const { return seen_.size(); }

 private:
  uint64_t clock_ = 0;
  std::map<ReaderId, uint64_t> seen_;  // When last.
};

// A segment that is ready to be used.
struct Spare {
  uint64_t id = 0;
  uint64_t size = 0;
};

// The commit that is on its way to the disk.
struct InFlight {
  uint64_t commit = 0;
  bool mark = false;   // Without content.
  uint64_t bytes = 0;  // On disk, as a whole.
  struct Piece {
    Position first;
    Position last;
    uint32_t records = 0;
    uint64_t bytes = 0;
    int64_t wall_max_us = INT64_MIN;
    std::map<ReaderId, Share> shares;
    std::map<StreamId, FrameBuilder::StreamUse> streams;
  };
  std::vector<Piece> pieces;
  std::vector<IndexedRow> rows;
};

// Segments on their way out.
struct Reclaim {
  std::vector<uint64_t> segments;
  bool rewrite = false;
  std::vector<std::pair<Table, std::string>> moved;  // To be written a second time.
  uint64_t after_commit = 0;                         // Rows moved out of them are durable with it.
  bool job_made = false;
  std::optional<SegmentIndex> output;  // Of a rewrite that is done.
  uint64_t output_id = 0;
  uint64_t output_bytes = 0;
  bool recount = false;  // What readers are owed has changed.
  bool swapped = false;  // `segments` are out of the log; their files go when no read needs them.
  bool dropping = false;
  Instant retry_at;
  std::vector<std::unique_ptr<Segment>> retired;
};

// Public to the file-local parts of recovery.cc; nobody else can name it.
class Store::Impl {
 public:
  explicit Impl(const Options& options_in);

  // --- recovery.cc
  static Result<std::unique_ptr<Impl>> open(Disk& disk, Entropy& entropy, const crypto::Key& kek,
                                            const Options& options, Bytes fence, const Now& now,
                                            OpenReport* report);

  // --- store.cc
  Result<> admit(uint64_t record_bytes) const;
  Appended append(const NewRecord& record);
  void put(Table table, Bytes key, Bytes value, Haste haste);
  void erase(Table table, Bytes key, Haste haste);
  uint64_t commit_of(Table table, Bytes key);
  std::optional<Bytes> get(Table table, Bytes key) const;
  void scan(Table table, Bytes prefix, Bytes after, const std::function<bool(Bytes, Bytes)>& visit) const;
  Result<> admit_row(uint64_t bytes) const;
  void boundary();
  bool batch_full() const;
  uint64_t pending_bytes() const;
  void renew_incarnation(uint64_t incarnation);
  StreamId open_stream(const StreamKey& key, const StreamOptions& options);
  const StreamInfo* find_stream(const StreamKey& key) const;
  std::unique_ptr<Job> take_job(const Now& now);
  void complete(std::unique_ptr<Job> job, const Now& now);
  std::optional<Instant> next_deadline() const;
  void shut_down();
  bool quiet() const;
  Mode mode() const;
  Figures figures() const;

  // --- gaps.cc
  void add_gap(const Gap& gap, Haste haste);
  GapSum gap_sum(GapCause cause) const;
  void load_gaps();
  void count_gap(const Gap& gap, bool there);
  void forget_gaps();

  // --- readers.cc
  ReaderId create_reader(bool durable);
  void remove_reader(ReaderId reader, std::optional<GapCause> cause);
  void give_up(ReaderId reader, GapCause cause);
  void add_gap_of(const Reader& reader, ReaderId id, GapCause cause, Haste haste);
  Fetch next(ReaderId reader);
  Fetch first_owed(ReaderId reader);
  Fetch beside_first_owed(ReaderId reader);
  void take(ReaderId reader, Position position, uint64_t record_bytes);
  void acknowledge(ReaderId reader, Position position);
  void rewind(ReaderId reader, Position position);
  void restore_outstanding(ReaderId reader, std::span<const Position> positions);
  Fetch at(Position position, ReaderId waiter);
  Fetch next_in_stream(StreamId stream, Position after, ReaderId waiter);
  Position before_time(int64_t wall_us) const;
  Position before_number(StreamId stream, uint64_t sequence) const;
  std::optional<Position> before_last(StreamId stream, uint64_t count, ReaderId waiter);
  std::vector<ReaderId> take_woken();

  // Declared here rather than hidden: the files of this class share them.
  Options options;
  Keys keys;
  uint64_t incarnation = 0;
  OpenReport report;

  // Tables.
  std::map<std::string, Row, std::less<>> tables[kTableMax + 1];
  uint64_t row_bytes = 0;  // Of all of them, tombstones too.

  // Gap records, by cause: those that have a row, and those that had one.
  std::array<GapSum, kGapCauseCount + 1> gap_sums{};
  std::array<GapSum, kGapCauseCount + 1> gaps_forgotten{};
  std::deque<std::string> reader_gaps;  // Keys of those with a reader, the oldest first.

  // Streams.
  std::map<StreamId, StreamInfo> streams;
  std::map<StreamKey, StreamId> stream_ids;
  StreamId stream_next = 1;

  // The log, by ascending commit. Segments are few; their frames are many.
  std::vector<std::unique_ptr<Segment>> segments;
  Segment* active = nullptr;  // The last of `segments`, or null.
  std::shared_ptr<crypto::Aead> active_aead;
  uint32_t active_frames = 0;
  std::deque<Spare> spares;
  uint64_t segment_next = 1;
  uint64_t segment_size_next = 0;
  uint64_t segment_size_max = 0;
  bool preparing = false;
  bool full = false;  // The last attempt to make a spare found no space.
  std::optional<Instant> prepare_retry;
  uint32_t prepare_errors = 0;  // In a row, other than for space.
  uint64_t free_bytes = 0;

  // Batches.
  Batch open_batch{1};
  std::deque<Batch> closed_batches;
  uint64_t closed_bytes = 0;
  uint64_t durable = 0;
  std::optional<InFlight> in_flight;
  std::unique_ptr<CommitJob> staged;  // The job of `in_flight` while it waits for a place.
  bool commit_out = false;
  uint32_t failures_in_a_row = 0;
  bool degraded = false;
  bool storage_failed = false;
  bool marked = true;  // The last durable commit is a mark: nothing after it could be lost unseen.
  Instant last_commit_at;

  // Readers.
  std::map<ReaderId, Reader> readers;
  ReaderId reader_next = 1;
  ReaderId reader_reserved = 1;  // Row "reader_next": numbers below may have been given.
  std::set<ReaderId> dirty_readers;
  std::set<ReaderId> woken;
  std::set<std::pair<uint64_t, ReaderId>>
      commit_waiters;  // Who asked for a record of a commit that is not durable yet.
  FrameCache tail_cache;
  FrameCache read_cache;
  ReadersBehind readers_behind;
  // A record where it stands.
  struct Found {
    FetchStatus status = FetchStatus::kNone;
    std::shared_ptr<const Frame> frame;  // With kRecord.
    size_t index = 0;                    // In frame->records().

    Fetch fetch() const {
      if (status != FetchStatus::kRecord) return {.status = status};
      return {status, {frame, &frame->records()[index]}};
    }
  };
  // What next() found last.
  struct LastRead {
    ReaderId reader = 0;
    Found found;
  };
  LastRead last_read;
  std::map<FrameRef, std::set<ReaderId>> wanted_frames;  // Asked for, being read or queued.
  std::map<FrameRef, uint32_t>
      read_failures;  // Of those that could not be read; each is read by itself until it can.
  std::deque<FrameRef> read_queue;
  std::deque<uint64_t> index_queue;
  size_t reads_out = 0;
  uint64_t directory_clock = 0;
  bool trim_due = false;  // A directory has come; who waited for it has his turn before any goes.

  // Background work.
  std::deque<std::unique_ptr<Job>> background;
  std::deque<std::unique_ptr<SealJob>> unsealed;  // Failed; tried again later.
  bool background_out = false;
  std::optional<Reclaim> reclaim;
  Instant reclaim_check_at;
  Instant reclaim_not_before;  // After a failure.
  size_t segments_at_check = 0;
  int64_t now_wall_us = 0;
  bool shutting_down = false;
  Instant now_mono;                            // Of the latest call that was told the time.
  mutable std::optional<uint64_t> room_known;  // room_for_records(), until a job is made or comes back.
  mutable uint64_t refused_bytes = 0;          // The smallest record that was refused for lack of space.
  Figures counters;

  void seal_active();  // The active segment takes no more; queues its SealJob.

  // --- helpers of store.cc
  FrameBuilder& open_frame();
  void close_batch();
  using Rows = std::map<std::string, Row, std::less<>>;
  void write_row(Table table, Bytes key, bool erased, Bytes value, Haste haste);
  Rows::iterator forget_row(Table table, Rows::iterator row);
  bool forgotten_with_segment(const IndexedRow& row);
  std::unique_ptr<Job> take_commit(const Now& now);
  bool place(CommitJob& job);
  void stage();
  void commit_done(std::unique_ptr<CommitJob> job, const Now& now);
  void publish_pieces(CommitJob& job);
  void put_stream_row(const StreamInfo& info);
  void note_row(std::string_view key, uint64_t value);
  void note_segments(Haste haste);

  // --- helpers of readers.cc
  Segment* segment_of(Position position);
  // The first segment at or after which a record behind `after` may stand.
  size_t segment_index_after(Position after) const;
  bool directory_ready(Segment& segment, ReaderId waiter);
  std::shared_ptr<const Frame> frame_ready(Segment& segment, uint32_t entry, ReaderId waiter, bool* rotten);
  void trim_directories();
  // Whether a frame of it is wanted: then its directory is needed again as soon as that is here.
  bool frame_wanted(uint64_t segment) const {
    const auto next = wanted_frames.lower_bound({segment, 0});
    return next != wanted_frames.end() && next->first.segment == segment;
  }
  size_t segments_wanted() const;
  void reader_changed(Reader& reader, ReaderId id);
  void hand_out(Reader& reader, ReaderId id, Position position, uint64_t record_bytes);
  void settle(Reader& reader, ReaderId id);
  std::unique_ptr<Job> take_read();
  void read_done(ReadJob& job);
  void index_done(LoadIndexJob& job);
  Segment* read_came_back(uint64_t id);
  void wake_waiters(FrameRef ref);
  template <typename InSegment, typename SharesIn, typename Wanted>
  Found search(Position after, ReaderId waiter, const InSegment& in_segment, const SharesIn& shares_in,
               const Wanted& wanted);
  // `exact`: else any record of the frame will do.
  Found owed_after(ReaderId id, Position after, bool exact = true);
  // The same where the last call to next() found its record, which is where a drain finds most.
  bool next_beside(ReaderId id, Position after);
  void count_owed(Reader& reader, ReaderId id, Position after);
  // What a reader is owed, and what those that are counted are owed together.
  void owe(Reader& reader, uint64_t count, uint64_t bytes) {
    reader.info.owed_count += count;
    reader.info.owed_bytes += bytes;
    if (!reader.counted) return;
    counters.owed_count += count;
    counters.owed_bytes += bytes;
  }
  void owe_less(Reader& reader, uint64_t count, uint64_t bytes);
  void owe_nothing(Reader& reader);
  void count_in_figures(ReaderId id);
  uint64_t read_ahead_bytes() const;
  void read_ahead(const Segment& segment, uint32_t entry);
  void read_before_needed(ReaderId id, Position at);
  bool missing(const Segment& segment, FrameRef ref) const;
  bool wanted_by_several(const Directory& directory, std::vector<FrameEntry>::const_iterator entry) const;
  void quarantine(Segment& segment, uint64_t offset);

  // --- helpers of reclaim.cc
  void plan_background(const Now& now);
  void want_spare(uint64_t size);
  void prepare_done(PrepareJob& job, const Now& now);
  void seal_done(std::unique_ptr<SealJob> job);
  void drop_done(const DropJob& job, const Now& now);
  void forget_tombstones();
  void forget_tombstones(const std::function<bool(const Row&)>& done);
  uint64_t control_reserve() const { return std::min(kControlReserveBytes, segment_size_max / 2); }
  uint64_t waiting_bytes() const;
  uint64_t room_for_records() const;
  bool no_space() const {
    return full ||
           room_for_records() < waiting_bytes() + std::max(kFramePlainBytes, refused_bytes) + 2 * kPageBytes;
  }
  // Time to give up what nobody is owed: before the next segment finds no place.
  bool under_pressure() const {
    return no_space() || file_bytes() + 2 * segment_size_next > options.quota_bytes / 10 * 9;
  }
  void plan_reclaim(const Now& now);
  // The rows whose last version lies in one of these segments (by ascending index in `segments`).
  using RowsHere = std::vector<std::pair<Table, Rows::iterator>>;
  std::vector<RowsHere> rows_in(const std::vector<size_t>& chosen);
  bool move_rows(const RowsHere& rows, bool oldest);
  bool keep_numbers(const Segment& segment);
  bool segment_needed(const Segment& segment) const;
  bool making_room() const;
  void drive_reclaim();
  void rewrite_done(RewriteJob& job, const Now& now);
  uint64_t file_bytes() const;
};

}  // namespace hf::store
