// The disk work of the store, one class for each kind. A job is filled by the core, run once elsewhere, and
// read by the core again; its members are its whole interface.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "store/job.h"
#include "store/segment.h"
#include "store/segment_index.h"

namespace hf::store {

// What tells the store's own jobs apart when they come back.
enum class JobKind : uint8_t { kCommit, kPrepare, kSeal, kRead, kLoadIndex, kRewrite, kDrop };

class StoreJob : public Job {
 public:
  explicit StoreJob(JobKind kind) : kind_(kind) {}
  JobKind kind() const { return kind_; }
  Result<> outcome;

 private:
  JobKind kind_;
};

// Seals the frames of one commit, writes them with one write and syncs once. A failure means that nothing of
// the commit may be counted on and that the file is not to be written or synced again.
class CommitJob : public StoreJob {
 public:
  CommitJob() : StoreJob(JobKind::kCommit) {}
  Lane lane() const override { return Lane::kCommit; }
  void run(Disk& disk, Entropy& entropy) override;

  struct Piece {
    uint64_t offset = 0;
    FrameHead head;
    std::string plain;
  };
  uint64_t store_id = 0;
  uint64_t segment = 0;
  std::shared_ptr<crypto::Aead> aead;  // Of the segment; used by this lane alone.
  std::vector<Piece> pieces;
  uint64_t bytes_written = 0;
};

// Makes the file of a future segment: zero-filled, header written, all of it durable, the name too.
class PrepareJob : public StoreJob {
 public:
  PrepareJob() : StoreJob(JobKind::kPrepare) {}
  Lane lane() const override { return Lane::kBackground; }
  void run(Disk& disk, Entropy& entropy) override;

  SegmentHeader header;
  uint64_t size = 0;
  std::optional<uint64_t> free_bytes;  // Of the disk, afterwards.
};

// Cuts a full segment to what is used and writes its index.
class SealJob : public StoreJob {
 public:
  SealJob() : StoreJob(JobKind::kSeal) {}
  Lane lane() const override { return Lane::kBackground; }
  void run(Disk& disk, Entropy& entropy) override;

  Keys keys;
  uint64_t segment = 0;
  SegmentIndex index;
  bool cut = true;  // False for a file that failed: it is never written again.
  uint64_t file_bytes = 0;
};

// Reads and decrypts neighbouring frames.
class ReadJob : public StoreJob {
 public:
  ReadJob() : StoreJob(JobKind::kRead) {}
  Lane lane() const override { return Lane::kRead; }
  void run(Disk& disk, Entropy& entropy) override;

  struct Item {
    uint64_t offset = 0;
    uint32_t size = 0;
    Position first;
    Result<std::string> plain;
  };
  Keys keys;
  uint64_t segment = 0;
  std::vector<Item> items;  // Ascending and adjacent.
  bool once = false;        // Nobody else will want them from the disk.
};

// Reads a sealed segment's index again; rebuilds it from the frames if it is bad.
class LoadIndexJob : public StoreJob {
 public:
  LoadIndexJob() : StoreJob(JobKind::kLoadIndex) {}
  Lane lane() const override { return Lane::kRead; }
  void run(Disk& disk, Entropy& entropy) override;

  Keys keys;
  uint64_t segment = 0;
  bool rewrite = false;
  uint64_t commit_first = 0;
  uint64_t commit_last = 0;
  SegmentIndex index;
};

// Moves what is still needed of neighbouring segments into a new one, positions unchanged. The new file is
// whole when its end frame and its index are durable; recovery deletes it otherwise.
class RewriteJob : public StoreJob {
 public:
  RewriteJob() : StoreJob(JobKind::kRewrite) {}
  Lane lane() const override { return Lane::kBackground; }
  void run(Disk& disk, Entropy& entropy) override;

  struct Input {
    uint64_t segment = 0;
    bool rewrite = false;
    uint64_t commit_first = 0;
    uint64_t commit_last = 0;  // Frames behind it are void.
  };
  Keys keys;
  std::vector<Input> inputs;
  uint64_t output = 0;
  bool keep_all = true;  // Else only what a reader below is still owed.
  std::map<ReaderId, Position> low_water;
  std::map<StreamId, StreamDefinition> streams;
  int64_t wall_us = 0;
  SegmentIndex index;
  std::vector<Gap> gaps;  // Of the inputs: what could not be read any more.
  uint64_t bytes_written = 0;

 private:
  Result<> work(Disk& disk, Entropy& entropy);
  bool needed(const Record& record) const;
};

// Removes the files of segments.
class DropJob : public StoreJob {
 public:
  DropJob() : StoreJob(JobKind::kDrop) {}
  Lane lane() const override { return Lane::kBackground; }
  void run(Disk& disk, Entropy& entropy) override;

  std::vector<uint64_t> segments;  // The oldest first.
  std::optional<uint64_t> free_bytes;
  bool spares = false;  // Never used: no order to keep.
};

}  // namespace hf::store
