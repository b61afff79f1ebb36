// Fuzzes recovery: a directory whose segments and indexes hold what an input says must open, answer every
// question, take new records, and give them back after the next start. Opening it twice gives one answer.
//
// A tag keeps random bytes away from all that is interesting, so the input is not the files: it is a list of
// instructions by which this harness makes the files, sealing the frames itself.
//
//     input       := instruction*
//     instruction := 0 number:u8 flags:u8 commit:u8
//                                     begins a segment: 1 to 8; bit 0 a rewrite, bit 1 it replaces the two numbers
//                                     before it, bit 2 with 16 KiB of zeros; commits count from the given one
//                  | 1 kind:u8 commits:u8 index:u8 count:u8 size:u8 plain[size]
//                                     a sealed frame, so many commits further
//                  | 2 size:u8 bytes[size]   raw bytes, where a frame would stand
//                  | 3 at:u16 mask:u8        damage: flips bits
//                  | 4 at:u16                damage: cuts the segment, in units of 64 bytes
//                  | 5 from:u8 to:u8         damage: copies one page over another
//                  | 6 size:u8 plain[size]   an index of this plaintext, sealed
//                  | 7 commits:u8 records:u8 a well-formed commit of that many records, one more commit further
//                  | 8                       a well-formed index of the frames so far
//                  | 9                       the file of the present segment is missing
#include <algorithm>
#include <cstdint>

#include "base/assert.h"
#include "store/frame.h"
#include "store/memory_disk.h"
#include "store/segment_index.h"
#include "store/store.h"

namespace hf::store {
namespace {

const crypto::Key& test_kek() {
  static const crypto::Key kek(std::string(32, 'k'));
  return kek;
}

// The key slots are the same for every input.
const std::map<std::string, std::string>& key_files() {
  static const std::map<std::string, std::string> files = [] {
    MemoryDisk disk;
    TestEntropy entropy;
    HF_ASSERT(Store::create(disk, entropy, test_kek(), 42).has_value());
    return disk.files;
  }();
  return files;
}

const Keys& test_keys() {
  static const Keys keys = [] {
    MemoryDisk disk;
    disk.files = key_files();
    TestEntropy entropy;
    return *load_keys(disk, entropy, test_kek());
  }();
  return keys;
}

class Maker {
 public:
  explicit Maker(MemoryDisk* disk) : disk_(disk) { begin(1, 0, 0); }

  // Something sealed says what no store would say. (Only the key's owner can do that.) Then the
  // store must open, and that is all.
  bool lies() const {
    if (lies_) return true;
    for (const auto& [a, x] : ranges_) {
      for (const auto& [b, y] : ranges_) {
        if (a >= b || x.first == 0 || y.first == 0) continue;
        // Commits ascend with the numbers of segments. One that was written again makes those void that a segment
        // without an index had from there on. A rewrite holds what the two before it hold, or what nobody holds.
        const bool apart = x.last < y.first || (y.rewrite && y.last < x.first);
        const bool written_again = !x.rewrite && !y.rewrite && !x.indexed && x.first < y.first;
        const bool replaced =
            y.rewrite && y.replaces && a + 2 >= b && !x.rewrite && y.first <= x.first && x.last <= y.last;
        if (!apart && !written_again && !replaced) return true;
      }
    }
    return false;
  }

  void run(ByteReader in) {
    while (!in.empty()) {
      const uint8_t instruction = in.u8();
      switch (instruction) {
        case 0: {
          const uint8_t number = in.u8();
          const uint8_t flags = in.u8();
          begin(1 + number % 8, flags, in.u8());
          break;
        }
        case 1: {
          FrameHead head;
          head.kind = static_cast<FrameKind>(1 + in.u8() % 3);
          head.commit = commit_ += in.u8();
          if (commit_ == 0) head.commit = commit_ = 1;
          head.index = in.u8();
          head.count = in.u8();
          frame(head, in.bytes(in.u8()));
          break;
        }
        case 2:
          align();
          file() += in.bytes(in.u8());
          break;
        case 3: {
          const uint16_t at = in.u16();
          const uint8_t mask = in.u8();
          if (!file().empty()) file()[at % file().size()] ^= static_cast<char>(mask);
          break;
        }
        case 4:
          file().resize(std::min<size_t>(file().size(), size_t{in.u16()} * 64));
          break;
        case 5: {
          const size_t from = in.u8() * kPageBytes;
          const size_t to = in.u8() * kPageBytes;
          if (from + kPageBytes <= file().size() && to + kPageBytes <= file().size()) {
            file().replace(to, kPageBytes, std::string(file(), from, kPageBytes));
          }
          break;
        }
        case 6: {
          const Result<SegmentIndex> index = decode_index(in.bytes(in.u8()));
          if (index) write_index(*index);
          lies_ = true;
          break;
        }
        case 7: {
          commit_ += uint64_t{1} + in.u8();
          commit(commit_, in.u8());
          break;
        }
        case 8:
          write_index(index_);
          break;
        case 9:
          disk_->files.erase(segment_name(segment_));
          begin(segment_, 0, commit_);
          disk_->files.erase(segment_name(segment_));
          break;
        default:
          return;
      }
    }
  }

 private:
  std::string& file() { return disk_->files[segment_name(segment_)]; }

  void begin(uint64_t segment, uint8_t flags, uint64_t commit_before) {
    segment_ = segment;
    commit_ = commit_before;
    index_next_ = count_ = 0;
    commit_last_ = 0;
    rewrite_ = (flags & 1) != 0;
    index_ = {};
    index_.rewrite = rewrite_;
    disk_->files.erase(index_name(segment));
    ranges_[segment] = {.rewrite = rewrite_, .replaces = (flags & 2) != 0};
    SegmentHeader header;
    header.rewrite = rewrite_;
    header.store_id = test_keys().store_id;
    header.segment = segment;
    header.epoch = test_keys().epoch;
    header.check = test_keys().segment_check(segment);
    if ((flags & 2) != 0) header.replaced = {segment - 1, segment - 2};
    file() = encode_segment_header(header);
    if ((flags & 4) != 0) file().resize(file().size() + (16 << 10), '\0');
  }

  void align() {
    file().resize(align_up(std::max<size_t>(file().size(), kSegmentHeaderBytes),
                           rewrite_ ? kRewriteAlignment : kPageBytes));
  }

  void frame(FrameHead head, Bytes plain) {
    align();
    // Inputs are small; a file of many pages comes from many frames, and 64 are enough.
    if (file().size() > 64 * kPageBytes) return;
    head.segment = segment_;
    for (uint8_t& byte : head.nonce) byte = static_cast<uint8_t>(++nonce_);
    crypto::Aead aead(test_keys().segment_key(segment_));
    const uint64_t offset = file().size();
    head.plain_size = static_cast<uint32_t>(plain.size());
    seal_frame(aead, test_keys().store_id, offset, head, plain, &file());
    const auto parsed = Frame::parse(std::string(plain), Position::of(head.commit, head.first_index));
    if (parsed && head.kind != FrameKind::kRewriteEnd) index_.add_frame(offset, head, **parsed);
    if (rewrite_) {
      if (index_.commit_first == 0) index_.commit_first = head.commit;
      index_.commit_last = head.commit;
    }
    Range& range = ranges_[segment_];
    if (range.first == 0) range.first = head.commit;
    range.last = head.commit;
    // Nothing is ever written behind an index, and nothing that breaks the grammar or a segment's kind is sealed.
    const bool kind_fits = rewrite_ == (head.kind != FrameKind::kCommit);
    const bool next_fits = head.index == (index_next_ == count_ ? 0 : index_next_) &&
                           head.index < head.count && (head.index == 0 || head.count == count_) &&
                           (head.index != 0 || head.commit != commit_last_);
    index_next_ = static_cast<uint16_t>(head.index + 1);
    count_ = head.count;
    commit_last_ = head.commit;
    const bool rows_fit = parsed && (!rewrite_ || (*parsed)->rows().empty());
    if (!kind_fits || !rows_fit || (!rewrite_ && !next_fits) || disk_->files.contains(index_name(segment_)))
      lies_ = true;
    align();
  }

  void commit(uint64_t number, uint64_t records) {
    FrameBuilder builder(Position::of(number, 0));
    const std::string audience = encode_audience({{1}, {2}});
    NewRecord record;
    record.stream = 1;
    record.topic = "t";
    record.payload = "payload";
    record.audience = audience;
    for (uint32_t i = 0; i < records; ++i) {
      record.sequence = number * 1000 + i + 1;
      builder.add(Position::of(number, i), record, {7, "s"}, {});
    }
    if (rewrite_) {
      FrameHead head;
      head.kind = FrameKind::kRewrite;
      head.commit = number;
      frame(head, builder.take());
      return;
    }
    std::string reader;
    put_u64be(reader, 1);
    builder.put(Table::kReader, reader, std::string(16, '\0'));
    builder.put(Table::kSession, "client", std::to_string(number));
    FrameHead head;
    head.commit = number;
    frame(head, builder.take());
  }

  void write_index(const SegmentIndex& index) {
    ranges_[segment_].indexed = true;
    crypto::Nonce nonce{};
    nonce[0] = static_cast<uint8_t>(++nonce_);
    disk_->files[index_name(segment_)] = seal_index(test_keys(), segment_, nonce, index);
  }

  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;
    bool rewrite = false;
    bool replaces = false;
    bool indexed = false;
  };

  MemoryDisk* disk_;
  std::map<uint64_t, Range> ranges_;  // The commits that each segment was given.
  bool lies_ = false;
  uint64_t segment_ = 1;
  // Of the last frame; commits never descend within a segment.
  uint64_t commit_ = 0;
  uint64_t commit_last_ = 0;
  uint16_t index_next_ = 0;
  uint16_t count_ = 0;
  bool rewrite_ = false;
  uint32_t nonce_ = 0;
  SegmentIndex index_;
};

struct World {
  explicit World(MemoryDisk* disk_in) : disk(disk_in) {}

  MemoryDisk* disk;
  TestEntropy entropy;
  Now now;
  std::unique_ptr<Store> store;

  void open() {
    Options options;
    options.quota_bytes = 16 << 20;
    options.segment_bytes_min = 16 << 10;
    options.segment_bytes_max = 64 << 10;
    now.mono = {1'000'000'000};
    store.reset();
    Result<std::unique_ptr<Store>> opened =
        Store::open(*disk, entropy, test_kek(), options, "here", now, nullptr);
    HF_ASSERT(opened.has_value());
    store = std::move(*opened);
  }

  void settle() {
    store->boundary();
    for (int i = 0; i < 10'000; ++i) {
      std::unique_ptr<Job> job = store->take_job(now);
      if (job == nullptr) return;
      job->run(*disk, entropy);
      store->complete(std::move(job), now);
    }
    HF_ASSERT(false);
  }

  std::string rows() const {
    std::string all;
    for (uint8_t table = static_cast<uint8_t>(Table::kSession); table <= kTableMax; ++table) {
      store->scan(static_cast<Table>(table), {}, [&](Bytes key, Bytes value) {
        put_u8(all, table);
        put_sized(all, key);
        put_sized(all, value);
        return true;
      });
    }
    return all;
  }

  // Every record that the reader can still be given.
  std::vector<std::string> drain(ReaderId reader) {
    std::vector<std::string> payloads;
    store->rewind(reader, {});
    for (int pending = 0; pending < 1000;) {
      const Store::Fetch fetch = store->next(reader);
      if (fetch.status == Store::FetchStatus::kPending) {
        ++pending;
        settle();
        continue;
      }
      if (fetch.status != Store::FetchStatus::kRecord) return payloads;
      payloads.emplace_back(fetch.record->payload);
      HF_ASSERT(store->at(fetch.record->position, reader).status != Store::FetchStatus::kNone);
    }
    HF_ASSERT(false);
    return payloads;
  }
};

}  // namespace
}  // namespace hf::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf::store;
  MemoryDisk disk;
  disk.files = key_files();
  Maker maker(&disk);
  maker.run(hf::ByteReader(hf::Bytes(reinterpret_cast<const char*>(data), size)));

  World world(&disk);
  world.open();
  const std::string rows = world.rows();
  const uint64_t durable = world.store->durable_commit();
  world.open();
  if (maker.lies()) return 0;
  HF_ASSERT(world.rows() == rows);
  HF_ASSERT(world.store->durable_commit() == durable);
  if (durable >= uint64_t{1} << 40) return 0;  // No store lives that long; positions have no room for more.

  std::vector<std::string> old = world.drain(1);
  const StreamId stream = world.store->open_local_stream("new", 5, 0);
  const ReaderId reader = world.store->create_reader(true);
  const std::string audience = encode_audience({{reader}});
  NewRecord record;
  record.stream = stream;
  record.topic = "t";
  record.payload = "new";
  record.audience = audience;
  world.store->append(record);
  world.settle();
  for (int i = 0; i < 3; ++i) {
    world.now.mono = world.now.mono + hf::seconds(11);
    world.settle();
  }
  world.open();
  HF_ASSERT(world.drain(reader) == std::vector<std::string>{"new"});
  if (reader != 1) HF_ASSERT(world.drain(1).size() <= old.size());
  return 0;
}
