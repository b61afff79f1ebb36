#include "store/segment_index.h"

#include <algorithm>

#include "base/crc32c.h"

namespace hf::store {

namespace {

constexpr Bytes kIndexMagic("HFIDX\0\0\1", 8);
constexpr size_t kIndexHeadBytes = 8 + 8 + 4 + crypto::kNonceBytes + 4;

void put_shares(std::string& out, const Directory& directory, const std::vector<Share>& shares) {
  put_varint(out, shares.size());
  uint32_t frame = 0;
  for (const Share& share : shares) {
    put_varint(out, share.frame - frame);
    put_varint(out, share.count);
    put_varint(out, share.bytes);
    put_varint(out, share.last.commit() - directory.frames[share.frame].first.commit());
    put_varint(out, share.last.index());
    frame = share.frame;
  }
}

std::vector<Share> read_shares(ByteReader& in, const Directory& directory) {
  std::vector<Share> shares;
  uint64_t frame = 0;
  for (uint64_t count = in.varint(); count > 0 && in.ok(); --count) {
    const uint64_t distance = in.varint();
    if (distance == 0 && !shares.empty()) in.fail();
    frame += distance;
    if (frame >= directory.frames.size() || distance > frame) in.fail();
    if (!in.ok()) break;
    Share share;
    share.frame = static_cast<uint32_t>(frame);
    share.count = static_cast<uint32_t>(in.varint());
    share.bytes = in.varint();
    const uint64_t commit = directory.frames[frame].first.commit() + in.varint();
    share.last = Position::of(commit, static_cast<uint32_t>(in.varint()));
    shares.push_back(share);
  }
  return shares;
}

}  // namespace

uint64_t Directory::memory_bytes() const {
  uint64_t bytes = sizeof(Directory) + frames.capacity() * sizeof(FrameEntry);
  for (const auto& [reader, shares] : readers) bytes += 64 + shares.capacity() * sizeof(Share);
  for (const auto& [stream, use] : streams) bytes += 200 + use.shares.capacity() * sizeof(Share);
  return bytes;
}

size_t Directory::frame_after(Position after) const {
  return static_cast<size_t>(
      std::upper_bound(frames.begin(), frames.end(), after,
                       [](Position position, const FrameEntry& entry) { return position < entry.last; }) -
      frames.begin());
}

void SegmentIndex::add_frame(uint64_t offset, const FrameHead& head, const Frame& frame) {
  if (head.kind == FrameKind::kCommit) {
    if (commit_first == 0) commit_first = head.commit;
    commit_last = std::max(commit_last, head.commit);
  }
  used_bytes = std::max(used_bytes, offset + head.file_bytes());
  plain_bytes += head.plain_size;
  for (const RowOp& row : frame.rows()) {
    rows.push_back({row.table, row.erased, head.commit, std::string(row.key), std::string(row.value)});
  }
  if (frame.records().empty()) return;
  const auto number = static_cast<uint32_t>(directory.frames.size());
  FrameEntry entry;
  entry.offset = offset;
  entry.size = static_cast<uint32_t>(head.file_bytes());
  entry.first = frame.records().front().position;
  entry.last = frame.records().back().position;
  entry.records = static_cast<uint32_t>(frame.records().size());
  const auto count = [&](std::vector<Share>& shares, const Record& record) {
    if (shares.empty() || shares.back().frame != number) shares.push_back({number});
    ++shares.back().count;
    shares.back().bytes += record.size_bytes();
    shares.back().last = record.position;
  };
  for (const Record& record : frame.records()) {
    entry.bytes += record.size_bytes();
    wall_max_us = std::max(wall_max_us, record.arrival.wall_us);
    for_each_member(record.audience, [&](const Member& member) {
      count(directory.readers[member.reader], record);
      return true;
    });
    StreamUse& use = directory.streams[record.stream];
    if (use.first == 0 || record.sequence < use.first) use.first = record.sequence;
    use.last = std::max(use.last, record.sequence);
    count(use.shares, record);
  }
  for (const StreamDefinition& stream : frame.streams()) {
    const auto use = directory.streams.find(stream.id);
    if (use != directory.streams.end()) use->second.definition = stream;
  }
  directory.frames.push_back(entry);
}

void GapFinder::name_until(Position last) {
  if (!open_) return;
  open_ = false;
  ++count_;
  // A frame without records leaves no hole between positions.
  if (last < expected_) return;
  Gap gap;
  gap.cause = GapCause::kRot;
  gap.first = expected_.value;
  gap.last = last.value;
  gap.wall_us = wall_us_;
  gaps_.push_back(gap);
}

void GapFinder::frame(uint64_t offset, const FrameHead& head, const Frame* frame) {
  for (; next_ < bad_.size() && bad_[next_] < offset; ++next_) open_ = true;
  if (frame == nullptr) {
    open_ = true;
    return;
  }
  const Position first = Position::of(head.commit, head.first_index);
  name_until(Position{first.value - 1});
  const bool ends_commit = head.kind == FrameKind::kCommit && head.index + 1 == head.count;
  if (ends_commit) {
    expected_ = Position::of(head.commit + 1, 0);
  } else if (!frame->records().empty()) {
    expected_ = Position{frame->records().back().position.value + 1};
  } else {
    expected_ = std::max(expected_, first);
  }
}

std::vector<Gap> GapFinder::finish(Position upper) {
  if (next_ < bad_.size()) open_ = true;
  name_until(upper);
  return std::move(gaps_);
}

RebuiltIndex rebuild_index(Disk& disk, const Keys& keys, uint64_t segment, bool rewrite,
                           const SegmentScan& scan, Position lower, Position upper, int64_t wall_us) {
  RebuiltIndex rebuilt;
  SegmentIndex& index = rebuilt.index;
  index.rewrite = rewrite;
  index.used_bytes = kSegmentHeaderBytes;
  GapFinder finder(scan.bad, lower, wall_us);
  std::map<std::pair<Table, std::string>, IndexedRow> newest;
  visit_frames(disk, keys, segment, scan, [&](const SegmentScan::Found& found, Result<std::string> plain) {
    if (found.head.kind == FrameKind::kRewriteEnd) return;
    std::shared_ptr<const Frame> frame;
    if (plain) {
      auto parsed = Frame::parse(std::move(*plain), Position::of(found.head.commit, found.head.first_index));
      if (parsed) frame = std::move(*parsed);
    }
    finder.frame(found.offset, found.head, frame.get());
    if (frame == nullptr) return;
    index.add_frame(found.offset, found.head, *frame);
    // The last version of each row is enough.
    for (IndexedRow& row : index.rows) newest.insert_or_assign(std::pair(row.table, row.key), std::move(row));
    index.rows.clear();
  });
  for (auto& [key, row] : newest) index.rows.push_back(std::move(row));
  rebuilt.gaps = finder.finish(upper);
  index.frames_rotten = finder.count();
  return rebuilt;
}

std::string encode_index(const SegmentIndex& index) {
  std::string out;
  put_u8(out, index.rewrite ? 1 : 0);
  put_u64(out, index.commit_first);
  put_u64(out, index.commit_last);
  put_varint(out, index.used_bytes);
  put_varint(out, index.plain_bytes);
  put_svarint(out, index.wall_max_us);
  const Directory& directory = index.directory;
  put_varint(out, directory.frames.size());
  uint64_t offset = 0;
  uint64_t commit = 0;
  for (const FrameEntry& frame : directory.frames) {
    put_varint(out, frame.offset - offset);
    put_varint(out, frame.size);
    put_varint(out, frame.first.commit() - commit);
    put_varint(out, frame.first.index());
    put_varint(out, frame.last.commit() - frame.first.commit());
    put_varint(out, frame.last.index());
    put_varint(out, frame.records);
    put_varint(out, frame.bytes);
    offset = frame.offset;
    commit = frame.first.commit();
  }
  put_varint(out, directory.readers.size());
  uint64_t reader_last = 0;
  for (const auto& [reader, shares] : directory.readers) {
    put_varint(out, reader - reader_last);
    put_shares(out, directory, shares);
    reader_last = reader;
  }
  put_varint(out, directory.streams.size());
  for (const auto& [id, use] : directory.streams) {
    put_varint(out, id);
    put_u64(out, use.definition.key.incarnation);
    put_sized(out, use.definition.key.name);
    put_sized(out, use.definition.options.origin);
    put_u8(out, use.definition.options.priority);
    put_varint(out, use.definition.options.time_to_live_s);
    put_varint(out, use.first);
    put_varint(out, use.last);
    put_shares(out, directory, use.shares);
  }
  put_varint(out, index.rows.size());
  for (const IndexedRow& row : index.rows) {
    put_u8(out, static_cast<uint8_t>(row.table));
    put_u8(out, row.erased ? 1 : 0);
    put_varint(out, row.commit);
    put_sized(out, row.key);
    put_sized(out, row.value);
  }
  put_varint(out, index.frames_rotten);
  return out;
}

Result<SegmentIndex> decode_index(Bytes plain) {
  ByteReader in(plain);
  SegmentIndex index;
  index.rewrite = in.u8() != 0;
  index.commit_first = in.u64();
  index.commit_last = in.u64();
  index.used_bytes = in.varint();
  index.plain_bytes = in.varint();
  index.wall_max_us = in.svarint();
  Directory& directory = index.directory;
  uint64_t offset = 0;
  uint64_t commit = 0;
  // Counts are not trusted for reservations: the loops end with the bytes.
  for (uint64_t count = in.varint(); count > 0 && in.ok(); --count) {
    FrameEntry frame;
    // What ascends does so strictly: the same content has one encoding, and look-ups by offset end.
    const uint64_t distance = in.varint();
    if (distance == 0 || offset + distance < offset) in.fail();
    frame.offset = offset += distance;
    frame.size = static_cast<uint32_t>(in.varint());
    commit += in.varint();
    frame.first = Position::of(commit, static_cast<uint32_t>(in.varint()));
    const uint64_t commit_last = commit + in.varint();
    frame.last = Position::of(commit_last, static_cast<uint32_t>(in.varint()));
    frame.records = static_cast<uint32_t>(in.varint());
    frame.bytes = in.varint();
    directory.frames.push_back(frame);
  }
  uint64_t reader = 0;
  for (uint64_t count = in.varint(); count > 0 && in.ok(); --count) {
    const uint64_t distance = in.varint();
    if (distance == 0 || reader + distance < reader) in.fail();
    reader += distance;
    directory.readers[reader] = read_shares(in, directory);
  }
  for (uint64_t count = in.varint(); count > 0 && in.ok(); --count) {
    StreamUse use;
    use.definition.id = static_cast<StreamId>(in.varint());
    use.definition.key.incarnation = in.u64();
    use.definition.key.name = in.sized();
    use.definition.options.origin = in.sized();
    use.definition.options.priority = in.u8();
    use.definition.options.time_to_live_s = static_cast<uint32_t>(in.varint());
    use.first = in.varint();
    use.last = in.varint();
    use.shares = read_shares(in, directory);
    if (!directory.streams.empty() && use.definition.id <= directory.streams.rbegin()->first) in.fail();
    directory.streams[use.definition.id] = std::move(use);
  }
  for (uint64_t count = in.varint(); count > 0 && in.ok(); --count) {
    IndexedRow row;
    const uint8_t table = in.u8();
    if (table == 0 || table > kTableMax) in.fail();
    row.table = static_cast<Table>(table);
    row.erased = in.u8() != 0;
    row.commit = in.varint();
    row.key = in.sized();
    row.value = in.sized();
    index.rows.push_back(std::move(row));
  }
  index.frames_rotten = static_cast<uint32_t>(in.varint());
  if (!in.done())
    return fail(Code::kCorrupt, "a segment index breaks its grammar", plain.size() - in.rest().size());
  return index;
}

std::string seal_index(const Keys& keys, uint64_t segment, const crypto::Nonce& nonce,
                       const SegmentIndex& index) {
  const std::string plain = encode_index(index);
  std::string out(kIndexMagic);
  put_u64(out, segment);
  put_u32(out, static_cast<uint32_t>(plain.size()));
  out.append(reinterpret_cast<const char*>(nonce.data()), nonce.size());
  put_u32(out, crc32c(out));
  std::string associated = out;
  put_u64(associated, keys.store_id);
  crypto::Aead(keys.segment_key(segment)).seal(nonce, associated, plain, &out);
  return out;
}

Result<SegmentIndex> open_index(const Keys& keys, uint64_t segment, Bytes bytes) {
  if (bytes.size() < kIndexHeadBytes + crypto::kTagBytes ||
      bytes.substr(0, kIndexMagic.size()) != kIndexMagic) {
    return fail(Code::kCorrupt, "not a segment index");
  }
  ByteReader in(bytes.substr(kIndexMagic.size(), kIndexHeadBytes - kIndexMagic.size()));
  const uint64_t named = in.u64();
  const uint32_t plain_size = in.u32();
  crypto::Nonce nonce;
  std::memcpy(nonce.data(), in.bytes(nonce.size()).data(), nonce.size());
  if (in.u32() != crc32c(bytes.substr(0, kIndexHeadBytes - 4))) {
    return fail(Code::kCorrupt, "the index head's checksum does not hold");
  }
  if (named != segment) return fail(Code::kForeign, "an index of another segment", named);
  if (bytes.size() != kIndexHeadBytes + plain_size + crypto::kTagBytes) {
    return fail(Code::kCorrupt, "an index of the wrong size", bytes.size());
  }
  std::string associated(bytes.substr(0, kIndexHeadBytes));
  put_u64(associated, keys.store_id);
  std::string plain;
  HF_TRY(
      crypto::Aead(keys.segment_key(segment)).open(nonce, associated, bytes.substr(kIndexHeadBytes), &plain));
  return decode_index(plain);
}

Result<> write_index_file(Disk& disk, const Keys& keys, uint64_t segment, Entropy& entropy,
                          const SegmentIndex& index) {
  const std::string bytes = seal_index(keys, segment, draw_nonce(entropy), index);
  const std::string name = index_name(segment);
  const std::string temporary = name + ".tmp";
  (void)disk.remove(temporary);
  Result<> written = disk.create(temporary, 0);
  if (written) written = disk.write(temporary, 0, bytes);
  if (written) written = disk.sync(temporary);
  if (written) written = disk.rename(temporary, name);
  if (!written) (void)disk.remove(temporary);
  return written;
}

Result<SegmentIndex> read_index_file(Disk& disk, const Keys& keys, uint64_t segment) {
  const std::string name = index_name(segment);
  HF_TRY_ASSIGN(const uint64_t size, disk.size(name));
  HF_TRY_ASSIGN(const std::string bytes, disk.read(name, 0, size));
  return open_index(keys, segment, bytes);
}

}  // namespace hf::store
