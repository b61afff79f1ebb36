// The store: one encrypted log that is the whole database. Streams of records and ordered tables share it, so
// that one commit covers a message, the position that consumed it and the state it changed.
//
// Everything written between two boundaries joins the open batch; batches become durable one after another,
// each as one write and one sync (docs/formats/store.md). Nothing here waits: disk work comes out as jobs and
// its outcome goes back in.
//
//     append, put, erase  ->  open batch  ->  take_job()  ->  [disk, elsewhere]  ->  complete()  ->
//     durable_commit()
//
// Invariants: what is durable is found again after any crash, or a gap record names it; positions and numbers
// are never given twice once anybody outside could have seen them; memory holds rows, indexes within a
// budget, and the tail cache, never the backlog.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/result.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "store/disk.h"
#include "store/job.h"
#include "store/record.h"
#include "store/table.h"

namespace hf::store {

struct Options {
  uint64_t quota_bytes = uint64_t{4} << 30;  // Of all files together.
  uint64_t tail_cache_bytes = 16 << 20;      // Committed frames that stay decoded.
  uint64_t index_cache_bytes = 8 << 20;      // Frame directories of sealed segments.
  uint32_t retention_s = 7 * 86400;  // How long records that nobody is owed are kept when there is space.
  // Segments double from the first to the second; 0: 1 MiB, and quota / 64 within 4 to 64 MiB. A record is at
  // most a quarter of the second.
  uint64_t segment_bytes_min = 0;
  uint64_t segment_bytes_max = 0;
};

enum class Mode : uint8_t {
  kReady,
  kFull,           // No space: reads, acknowledgements and control rows go on, new records are refused.
  kDegraded,       // A file failed and was left behind; everything still works.
  kStorageFailed,  // A second failure in a row: latched until restart, nothing becomes durable any more.
};
const char* mode_name(Mode mode);

// What recovery found; every field is for people and metrics.
struct OpenReport {
  bool created = false;          // The log was empty.
  bool new_incarnation = false;  // First open, or the fence did not match.
  uint32_t segments = 0;
  uint32_t segments_scanned = 0;  // Read frame by frame because they had no whole index.
  uint64_t commit_last = 0;
  uint32_t frames_rotten = 0;  // Quarantined below the durable mark.
  bool tail_cut = false;       // The last commit was not whole and was cut.
  uint32_t files_removed = 0;  // Left over from an interrupted rewrite or creation.
};

struct StreamInfo {
  StreamId id = 0;
  StreamKey key;
  StreamOptions options;
  uint64_t sequence_last = 0;  // 0: no record yet.
};

struct ReaderInfo {
  Position low_water;       // Everything before or at it is done with.
  Position cursor;          // The last position that was handed out or passed over.
  uint64_t owed_count = 0;  // Not yet acknowledged.
  uint64_t owed_bytes = 0;
  bool durable = false;
};

struct Figures {
  uint64_t file_bytes = 0;  // All files.
  uint64_t free_bytes = 0;  // Of the file system, when last asked.
  uint64_t quota_bytes = 0;
  uint64_t spare_bytes = 0;  // Of file_bytes: what nobody is owed, and gives way when space is short.
  uint64_t records_live_bytes = 0;
  uint64_t owed_count =
      0;  // To the readers of count_in_figures() together: a record counts for each of them.
  uint64_t owed_bytes = 0;
  uint32_t segment_count = 0;
  uint64_t commits = 0;  // Since open, like all that follow.
  uint64_t records = 0;
  uint64_t record_bytes = 0;      // Record::size_bytes of what was appended.
  uint64_t ingest_bytes = 0;      // Written to disk by commits.
  uint64_t rewrite_bytes = 0;     // Written to disk by rewrites and indexes.
  uint64_t sync_failures = 0;     // Commits whose write or sync failed.
  uint64_t prepare_failures = 0;  // Segments that could not be made: no space, or the disk failed.
  uint64_t frames_rotten = 0;
  uint64_t row_bytes = 0;  // Of table rows in memory.
  uint64_t cache_bytes = 0;
};

class Frame;

class Store {
 public:
  // Writes the key slots of a new store into an empty directory; `kek` protects its master key. kExists if
  // there is one.
  static Result<> create(Disk& disk, Entropy& entropy, const crypto::Key& kek, uint64_t store_id);

  // Recovers. Blocks on `disk`, which it uses only until it returns. The errors: kWrongKey (this key does not
  // open it), kForeign (no store here), kIo. Every damage below that is repaired or quarantined, and said in
  // *report. `fence` names this very directory on this very machine; a copy elsewhere gives other bytes and
  // gets a new incarnation.
  static Result<std::unique_ptr<Store>> open(Disk& disk, Entropy& entropy, const crypto::Key& kek,
                                             const Options& options, Bytes fence, const Now& now,
                                             OpenReport* report);
  ~Store();

  uint64_t store_id() const;
  // The present life of this store: it labels the numbers that streams of our own give from now on.
  uint64_t incarnation() const;
  // Begins a new life; streams of our own go on under it from the next number. Part of the open batch.
  void renew_incarnation(uint64_t incarnation);

  // --- Writing: all of it joins the open batch and is visible to readers of tables at once.

  // Before an append that could be refused: kFull (no space), kTooLarge (over a quarter of a segment), kIo
  // (storage failed).
  Result<> admit(uint64_t record_bytes) const;
  struct Appended {
    Position position;
    uint64_t sequence = 0;
  };
  // `admit` said yes in this step. Counts it as owed to each member of the audience that is a reader here.
  Appended append(const NewRecord& record);
  void put(Table table, Bytes key, Bytes value, Haste haste = Haste::kCommit);
  void erase(Table table, Bytes key, Haste haste = Haste::kCommit);
  // The commit that the row's last change, if only that it was erased, waits for, which is made soon; 0: none. For an answer that
  // rests on a change that somebody else made.
  uint64_t commit_of(Table table, Bytes key);
  // Borrowed until the row is next written.
  std::optional<Bytes> get(Table table, Bytes key) const;
  // In key order; `visit` returns false to stop and does not write to the table.
  void scan(Table table, Bytes prefix, const std::function<bool(Bytes key, Bytes value)>& visit) const;
  // The same from behind the key `after` on (empty: from the first).
  void scan_behind(Table table, Bytes prefix, Bytes after,
                   const std::function<bool(Bytes key, Bytes value)>& visit) const;
  // Whether a further row of so many bytes (key and value) may be kept for long: rows live in memory and are written again and
  // again as segments go, so all together stay within an eighth of the quota and 256 MiB. kFull if not, or if there is no
  // space now. Rows that come and go with messages need not ask.
  Result<> admit_row(uint64_t bytes) const;
  // What was written since the last boundary is one atomic group. Call between groups: only here may a batch
  // end.
  void boundary();
  // Whether the next boundary() ends a batch.
  bool batch_full() const;

  // The commit that what is written now belongs to, and the last one that is durable. An output that a peer
  // may build on leaves when its commit is at most durable_commit().
  uint64_t open_commit() const;
  uint64_t durable_commit() const;
  // Bytes that wait for the disk.
  uint64_t pending_bytes() const;
  // Whether callers should not read from their peers until a job comes back: a few megabytes wait for the disk, or there is
  // little room and what nobody is owed is just making some. (admit() would refuse what waiting a moment can take.)
  bool congested() const;

  // --- Streams.

  // Finds or makes the stream; options of an existing one are replaced (a received stream keeps its origin's
  // priority).
  StreamId open_stream(const StreamKey& key, const StreamOptions& options);
  // A stream of our own, under the present incarnation.
  StreamId open_local_stream(Bytes name, uint8_t priority, uint32_t time_to_live_s);
  const StreamInfo* stream(StreamId id) const;
  const StreamInfo* find_stream(const StreamKey& key) const;
  void for_each_stream(const std::function<void(const StreamInfo&)>& visit) const;

  // --- Readers.

  // A new reader is owed what is appended from now on. A durable one survives a restart (its row is in the
  // open batch).
  ReaderId create_reader(bool durable);
  // Its backlog is nobody's any more; a gap record says so if there was any and `cause` is given.
  void remove_reader(ReaderId reader, std::optional<GapCause> cause);
  // What it is owed is given up, and a gap record of its says so; it goes on with what is appended from now on.
  void give_up(ReaderId reader, GapCause cause);
  const ReaderInfo* reader(ReaderId reader) const;
  // From now on what it is owed is part of Figures::owed_count and owed_bytes. (Not remembered over a restart.)
  void count_in_figures(ReaderId reader);
  // Every record owed so far was handed out: what is appended now may be delivered without reading it back.
  bool caught_up(ReaderId reader) const;

  enum class FetchStatus : uint8_t {
    kRecord,   // `record` is there.
    kNone,     // Nothing durable is owed beyond; the reader is among take_woken() when that changes.
    kPending,  // A disk job was queued; the reader is among take_woken() when it is done.
    kGone,     // at() only: no such record (any more), or no such reader.
  };
  struct Fetch {
    FetchStatus status = FetchStatus::kNone;
    std::shared_ptr<const Record> record;  // With kRecord: holding it keeps its bytes in memory.
  };
  // The next durable record owed to the reader after its cursor. Moves the cursor; the record is outstanding
  // until acknowledge().
  Fetch next(ReaderId reader);
  // The oldest durable record that the reader has not acknowledged (or the next one to it). Moves nothing:
  // for looking.
  Fetch first_owed(ReaderId reader);
  // A record of the same frame, which came hardly before it: enough to know how old it is, and no audience is searched, which for
  // a message to a hundred thousand readers is most of the cost.
  Fetch beside_first_owed(ReaderId reader);
  // The same for a record that was appended in this batch to a reader that was caught up before: it is handed
  // out now and outstanding. Its delivery leaves only when position.commit() is durable.
  void take(ReaderId reader, Position position, uint64_t record_bytes);
  // The reader is done with an outstanding record. Rides with the next commit.
  void acknowledge(ReaderId reader, Position position);
  // Everything owed after `position` is handed out again, as far as it is still here; nothing is outstanding.
  void rewind(ReaderId reader, Position position);
  // After open: these records were handed out before the crash and not acknowledged (positions in any order).
  void restore_outstanding(ReaderId reader, std::span<const Position> positions);
  // One record again, by position, for `waiter` (woken when a disk job for it is done; kNone: it is not durable yet, and the
  // waiter is woken when it is).
  Fetch at(Position position, ReaderId waiter);
  // The first durable record of a stream behind `after`; moves nothing. For looking, and for a link's checks.
  Fetch next_in_stream(StreamId stream, Position after, ReaderId waiter);
  // A position with at least the last `count` records of the stream behind it and not many more, for looking back. Nothing while
  // the disk is asked (the waiter is woken).
  std::optional<Position> before_last(StreamId stream, uint64_t count, ReaderId waiter);
  // A position behind which all records of the stream lie whose number is `sequence` or higher: older segments are passed over as a
  // whole.
  Position before_number(StreamId stream, uint64_t sequence) const;
  // A position behind which all records lie that arrived at `wall_us` or later, for looking back: older segments are passed over
  // as a whole.
  Position before_time(int64_t wall_us) const;

  // Readers that have reason to call next() or at() again, in ascending order, since the last call.
  std::vector<ReaderId> take_woken();
  bool anybody_woken() const;

  // One that goes on where another of its kind ended becomes part of it. Of those with a reader the newest few thousand are kept;
  // the sums have them all.
  void add_gap(const Gap& gap);
  void for_each_gap(const std::function<void(const Gap&)>& visit) const;
  GapSum gap_sum(GapCause cause) const;

  // --- Disk work.

  // The next job to run, or null. Several may be out at once; see Lane.
  std::unique_ptr<Job> take_job(const Now& now);
  void complete(std::unique_ptr<Job> job, const Now& now);
  // When take_job() has something to do by itself (marks, maintenance), at the latest.
  std::optional<Instant> next_deadline() const;
  // Everything written so far, rides included, and the closing mark become the last commit; drive jobs until
  // quiet().
  void shut_down();
  bool quiet() const;

  Mode mode() const;
  bool storage_failed() const;  // Whether mode() is kStorageFailed, at the price of a look.
  Figures figures() const;

  class Impl;

 private:
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hf::store
