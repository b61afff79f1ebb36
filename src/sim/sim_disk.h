// A directory of files in memory that fails in every way we have read of, and in no other.
//
// The fault model
// ---------------
// What is on stable storage (the *durable* image) and what a running process sees (the *current* image) are two things.
// Between them stand changes that were made and not synced: writes and changes of size of each file, and changes of names
// (created, renamed, removed).
//
// - sync(file) makes the file's bytes and size durable, not its name. sync_directory() makes names durable, not bytes.
// - A process that is killed loses nothing: the current image stays, and what was not synced is still not synced.
// - A power cut decides for each unsynced change what became of it, and the current image becomes the durable one:
//     kLost       nothing unsynced survives.
//     kKept       everything does, as if the disk had been quick.
//     kPrefix     changes survive up to some point in the order they were made, over all files; the one at the point is torn.
//     kPages      each 4 KiB page of each write survives or not.
//     kTorn       each 512-byte sector of each write survives or not.
//     kGarbage    each page is written, dropped or damaged; in a damaged page each sector that the write touched is written,
//                 dropped or filled with garbage at its left, its right or whole. One damaged page in eight loses also the
//                 sectors that the write did not touch: flash programs pages, not sectors.
//     kReordered  each change of each file survives whole or not at all, whatever was made before or after it.
//   Unsynced names survive by the same rule: none, all, a prefix, and in the others each for itself.
// - The cut may come at any change (counted, so that a sweep is exact), in the middle of a job or of recovery. The change at
//   the cut counts as made and unsynced; from then on every call fails until power_cut() or revive().
// - An operation may fail, once or for ever, with any error. A failed write has written a random prefix. A failed sync is
//   Linux's: the pages it could not write are marked clean and never written again, a random part of them reached the medium,
//   reads go on showing them until the next cut, and the next sync of the file succeeds. A failed sync_directory has done
//   nothing and may be tried again.
// - Space ends at a capacity: creating and growing fail with kFull.
// - Durable bytes rot: a bit flips, and reads show it.
// Not in the model: writes that land elsewhere, reads of the wrong place, a disk that lies about sync. Restored and cloned
// disks are copies of this object (pages are shared until written, so copies are cheap).
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "store/disk.h"

namespace hf::sim {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kSectorBytes = 512;

enum class CutModel : uint8_t { kLost, kKept, kPrefix, kPages, kTorn, kGarbage, kReordered };
inline constexpr std::array kCutModels = {CutModel::kLost,     CutModel::kKept, CutModel::kPrefix,
                                          CutModel::kPages,    CutModel::kTorn, CutModel::kGarbage,
                                          CutModel::kReordered};
const char* cut_model_name(CutModel model);  // "lost"

enum class Operation : uint8_t {
  kList,
  kSize,
  kRead,
  kFree,  // These look.
  kCreate,
  kWrite,
  kTruncate,
  kSync,
  kRename,
  kRemove,
  kSyncDirectory,  // These change something.
};
const char* operation_name(Operation operation);
constexpr bool is_change(Operation operation) { return operation >= Operation::kCreate; }

// Makes operations fail: the `at`-th from now that is in `operations`, or it and every later one.
struct Injection {
  static constexpr uint32_t bit(Operation operation) { return 1u << static_cast<int>(operation); }
  static constexpr uint32_t kAll = 0xffff;
  uint64_t at = 1;
  bool forever = false;
  uint32_t operations = kAll;
  Error error = {Code::kIo, "injected: input/output error", 5};
};

// How many of a million operations fail at random (with EIO).
struct DiskRates {
  uint32_t read = 0;
  uint32_t write = 0;
  uint32_t sync = 0;
  uint32_t names = 0;  // create, truncate, rename, remove, sync_directory.
};

// A file's bytes; pages are shared with copies until written, and a page of zeros is no page.
class Image {
 public:
  uint64_t size() const { return size_; }
  void resize(uint64_t size);  // New bytes are zero.
  std::string read(uint64_t offset, uint64_t size) const;
  void write(uint64_t offset, Bytes bytes);  // Grows.
  void flip(uint64_t offset, uint8_t mask);  // Within size().
  // Pages that hold anything but zeros, ascending.
  std::vector<uint64_t> used_pages() const;

 private:
  using Page = std::array<char, kPageBytes>;
  Page& page_to_write(uint64_t number);
  std::map<uint64_t, std::shared_ptr<Page>> pages_;
  uint64_t size_ = 0;
};

class SimDisk final : public store::Disk {
 public:
  explicit SimDisk(uint64_t seed) : prng_(seed) {}
  SimDisk(const SimDisk&) = default;  // A copy, unsynced changes included: a clone of a running machine.
  SimDisk& operator=(const SimDisk&) = default;

  Result<std::vector<std::string>> list() override;
  Result<uint64_t> size(const std::string& name) override;
  Result<> create(const std::string& name, uint64_t size) override;
  Result<std::string> read(const std::string& name, uint64_t offset, uint64_t size) override;
  Result<> write(const std::string& name, uint64_t offset, Bytes bytes) override;
  Result<> truncate(const std::string& name, uint64_t size) override;
  Result<> sync(const std::string& name) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<> remove(const std::string& name) override;
  Result<> sync_directory() override;
  Result<uint64_t> free_bytes() override;

  // --- Counting. Both only grow, over cuts too.

  uint64_t operations() const { return operations_; }
  uint64_t changes() const { return changes_; }
  // Of every operation so far: what it was, on what, with which bytes.
  uint64_t digest() const { return digest_; }

  // --- Cuts.

  // The power goes in the middle of the `count`-th change from now (1: the next). 0: no cut.
  void cut_after(uint64_t count) { cut_at_ = count == 0 ? 0 : changes_ + count; }
  bool dead() const { return dead_; }
  // The power is gone (now, if it was not before) and back: decides what survived. Injections stay, the cut is disarmed.
  void power_cut(CutModel model);
  // Only the process died: nothing is lost, and nothing becomes durable.
  void revive();

  // --- Errors and space.

  void inject(const Injection& injection) { injections_.push_back({injection, 0}); }
  void set_rates(const DiskRates& rates) { rates_ = rates; }
  // Ends injections and rates; what they broke stays broken.
  void heal();
  uint64_t failures() const { return failures_; }           // Injected so far.
  void set_capacity(uint64_t bytes) { capacity_ = bytes; }  // 0: no limit.
  uint64_t used_bytes() const;

  // --- Hands on the medium, for rot and for directories nobody wrote.

  struct Place {
    std::string name;
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  std::vector<std::string> durable_names() const;
  const Image* durable(const std::string& name) const;
  void flip(const std::string& name, uint64_t offset, uint8_t mask);
  // A byte of a durable page that is not all zeros; nothing if there is none.
  std::optional<Place> random_place(Prng& prng) const;
  // The writes that the last successful sync of a file made durable.
  const std::vector<Place>& synced_last() const { return synced_last_; }
  // Puts a durable file there, or takes it away.
  void plant_file(const std::string& name, Bytes bytes);
  void take_file(const std::string& name);
  // Nothing durable differs from what the process sees.
  bool all_synced() const;

 private:
  struct Change {
    uint64_t order = 0;
    bool resize = false;
    uint64_t offset = 0;  // The new size, for a resize.
    std::string bytes;
  };
  struct File {
    Image durable;
    Image current;
    std::vector<Change> unsynced;
  };
  struct NameChange {
    enum class Kind : uint8_t { kCreate, kRename, kRemove } kind = Kind::kCreate;
    uint64_t order = 0;
    uint64_t file = 0;
    std::string name;
    std::string to;
  };
  struct Armed {
    Injection injection;
    uint64_t seen = 0;
  };

  // Counts the operation, and says whether it goes on: dead, cut, or an injected error.
  Result<> enter(Operation operation, const std::string& name, uint64_t offset, Bytes bytes);
  // At the cut the change is made, unsynced, and the caller hears an error.
  Result<> leave();
  File* find(const std::string& name);
  void survive(const Change& change, CutModel model, Image* durable);
  void survive_garbage(const Change& change, Image* durable);
  void lose_pages(File& file);
  void drop_unnamed();
  bool room_for(uint64_t more_bytes) const;

  Prng prng_;
  std::map<uint64_t, File> files_;
  std::map<std::string, uint64_t> names_;
  std::map<std::string, uint64_t> names_durable_;
  std::vector<NameChange> names_unsynced_;
  std::vector<Place> synced_last_;
  uint64_t file_next_ = 1;
  uint64_t order_next_ = 1;

  uint64_t operations_ = 0;
  uint64_t changes_ = 0;
  uint64_t digest_ = 0xcbf29ce484222325;
  uint64_t cut_at_ = 0;
  bool cutting_ = false;
  bool dead_ = false;

  std::vector<Armed> injections_;
  DiskRates rates_;
  uint64_t failures_ = 0;
  uint64_t capacity_ = 0;
};

}  // namespace hf::sim
