#include "store/jobs.h"

#include <algorithm>

#include "base/planted_bugs.h"

namespace hf::store {

void CommitJob::run(Disk& disk, Entropy& entropy) {
  std::string bytes;
  uint64_t total = 0;
  for (const Piece& piece : pieces) total += align_up(kFrameOverheadBytes + piece.plain.size(), kPageBytes);
  bytes.reserve(total + Disk::kDirectBytes);
  // The first byte for the disk lies where it likes it best.
  const size_t pad = align_up(reinterpret_cast<uintptr_t>(bytes.data()), Disk::kDirectBytes) -
                     reinterpret_cast<uintptr_t>(bytes.data());
  const uint64_t start = pieces.front().offset;
  for (Piece& piece : pieces) {
    bytes.resize(pad + piece.offset - start, '\0');
    piece.head.nonce = draw_nonce(entropy);
    piece.head.plain_size = static_cast<uint32_t>(piece.plain.size());
    seal_frame(*aead, store_id, piece.offset, piece.head, piece.plain, &bytes);
  }
  // Whole pages: the next commit touches none of ours.
  bytes.resize(pad + align_up(bytes.size() - pad, kPageBytes), '\0');
  bytes_written = bytes.size() - pad;
  outcome = disk.write_durably(segment_name(segment), start, Bytes(bytes).substr(pad));
}

void PrepareJob::run(Disk& disk, Entropy& /*entropy*/) {
  const std::string name = segment_name(header.segment);
  outcome = disk.create(name, size);
  if (outcome) outcome = disk.write(name, 0, encode_segment_header(header));
  if (outcome) outcome = disk.sync(name);
  if (outcome && !planted(PlantedBug::kForgetDirectorySync)) outcome = disk.sync_directory();
  if (!outcome) (void)disk.remove(name);
  if (const Result<uint64_t> left = disk.free_bytes()) free_bytes = *left;
}

void SealJob::run(Disk& disk, Entropy& entropy) {
  const std::string name = segment_name(segment);
  if (cut) {
    // A failure leaves a file that is longer than it needs to be.
    const uint64_t size = align_up(index.used_bytes, kPageBytes);
    if (disk.truncate(name, size)) (void)disk.sync(name);
  }
  file_bytes = disk.size(name).value_or(0);
  outcome = write_index_file(disk, keys, segment, entropy, index);
  if (outcome) outcome = disk.sync_directory();
}

void ReadJob::run(Disk& disk, Entropy& /*entropy*/) {
  const uint64_t start = items.front().offset;
  const uint64_t end = items.back().offset + items.back().size;
  const std::string name = segment_name(segment);
  Result<std::string> bytes =
      once ? disk.read_once(name, start, end - start) : disk.read(name, start, end - start);
  if (!bytes) {
    outcome = std::unexpected(bytes.error());
    return;
  }
  crypto::Aead aead(keys.segment_key(segment));
  for (Item& item : items) {
    if (item.offset - start >= bytes->size()) {
      item.plain = fail(Code::kTruncated, "the segment ends before its frame");
      continue;
    }
    FrameHead head;
    item.plain = open_frame(aead, keys.store_id, segment, item.offset,
                            Bytes(*bytes).substr(item.offset - start, item.size), &head);
  }
}

void LoadIndexJob::run(Disk& disk, Entropy& /*entropy*/) {
  Result<SegmentIndex> loaded = read_index_file(disk, keys, segment);
  if (loaded) {
    index = std::move(*loaded);
    return;
  }
  Result<SegmentScan> scan = scan_segment(disk, keys, segment, rewrite ? kRewriteAlignment : kPageBytes);
  if (!scan) {
    outcome = std::unexpected(scan.error());
    return;
  }
  std::erase_if(scan->frames,
                [&](const SegmentScan::Found& found) { return found.head.commit > commit_last; });
  index = rebuild_index(disk, keys, segment, rewrite, *scan, Position::of(commit_first, 0),
                        Position{Position::of(commit_last + 1, 0).value - 1}, 0)
              .index;
}

namespace {

NewRecord copy_of(const Record& record) {
  NewRecord copy;
  copy.stream = record.stream;
  copy.sequence = record.sequence;
  copy.topic = record.topic;
  copy.headers = record.headers;
  copy.payload = record.payload;
  copy.qos = record.qos;
  copy.retain = record.retain;
  copy.may_double = record.may_double;
  copy.arrival = record.arrival;
  copy.event_us = record.event_us;
  copy.expiry_s = record.expiry_s;
  copy.audience = record.audience;
  return copy;
}

}  // namespace

bool RewriteJob::needed(const Record& record) const {
  if (keep_all) return true;
  bool owed = false;
  for_each_member(record.audience, [&](const Member& member) {
    const auto reader = low_water.find(member.reader);
    owed = reader != low_water.end() && reader->second < record.position;
    return !owed;
  });
  return owed;
}

Result<> RewriteJob::work(Disk& disk, Entropy& entropy) {
  SegmentHeader header;
  header.rewrite = true;
  header.store_id = keys.store_id;
  header.segment = output;
  header.epoch = keys.epoch;
  header.check = keys.segment_check(output);
  for (const Input& input : inputs) header.replaced.push_back(input.segment);
  const std::string name = segment_name(output);
  HF_TRY(disk.create(name, 0));
  std::string pending = encode_segment_header(header);
  uint64_t written = 0;  // Of the file; `pending` follows.

  crypto::Aead aead(keys.segment_key(output));
  index.rewrite = true;
  index.used_bytes = kSegmentHeaderBytes;
  index.commit_first = inputs.front().commit_first;
  index.commit_last = inputs.back().commit_last;
  uint32_t frame_number = 0;
  const auto flush = [&]() -> Result<> {
    HF_TRY(disk.write(name, written, pending));
    written += pending.size();
    pending.clear();
    return {};
  };
  const auto write_frame = [&](FrameKind kind, Position first, std::string plain) -> Result<> {
    pending.resize(align_up(pending.size(), kRewriteAlignment), '\0');
    FrameHead head;
    head.kind = kind;
    head.frame = frame_number++;
    head.segment = output;
    head.commit = first.commit();
    head.first_index = first.index();
    head.durable = index.commit_last;
    head.nonce = draw_nonce(entropy);
    head.plain_size = static_cast<uint32_t>(plain.size());
    const uint64_t offset = written + pending.size();
    seal_frame(aead, keys.store_id, offset, head, plain, &pending);
    if (kind == FrameKind::kRewrite) {
      HF_TRY_ASSIGN(const auto frame, Frame::parse(std::move(plain), first));
      index.add_frame(offset, head, *frame);
    }
    // The file is a multiple of the alignment throughout, so that offsets are too.
    if (pending.size() >= 1 << 20) {
      pending.resize(align_up(pending.size(), kRewriteAlignment), '\0');
      HF_TRY(flush());
    }
    return {};
  };

  std::optional<FrameBuilder> builder;
  const auto close_frame = [&]() -> Result<> {
    if (!builder) return {};
    const Position first = builder->first();
    std::string plain = builder->take();
    builder.reset();
    return write_frame(FrameKind::kRewrite, first, std::move(plain));
  };
  for (const Input& input : inputs) {
    HF_TRY_ASSIGN(SegmentScan scan,
                  scan_segment(disk, keys, input.segment, input.rewrite ? kRewriteAlignment : kPageBytes));
    std::erase_if(scan.frames, [&](const SegmentScan::Found& found) {
      return found.head.commit > input.commit_last || found.head.kind == FrameKind::kRewriteEnd;
    });
    GapFinder finder(scan.bad, Position::of(input.commit_first, 0), wall_us);
    Result<> copied;
    visit_frames(
        disk, keys, input.segment, scan, [&](const SegmentScan::Found& found, Result<std::string> plain) {
          std::shared_ptr<const Frame> frame;
          if (plain) {
            auto parsed =
                Frame::parse(std::move(*plain), Position::of(found.head.commit, found.head.first_index));
            if (parsed) frame = std::move(*parsed);
          }
          finder.frame(found.offset, found.head, frame.get());
          if (frame == nullptr || !copied) return;
          for (const Record& record : frame->records()) {
            if (!needed(record)) continue;
            const auto stream = streams.find(record.stream);
            if (stream == streams.end()) continue;
            if (!builder) builder.emplace(record.position);
            builder->add(record.position, copy_of(record), stream->second.key, stream->second.options);
            if (builder->size() >= kFramePlainBytes) copied = close_frame();
            if (!copied) return;
          }
        });
    HF_TRY(copied);
    const std::vector<Gap> found = finder.finish(Position{Position::of(input.commit_last + 1, 0).value - 1});
    gaps.insert(gaps.end(), found.begin(), found.end());
    index.frames_rotten += finder.count();
  }
  HF_TRY(close_frame());
  HF_TRY(write_frame(FrameKind::kRewriteEnd, Position::of(index.commit_last, 0), std::string()));
  HF_TRY(flush());
  HF_TRY(disk.sync(name));
  HF_TRY(write_index_file(disk, keys, output, entropy, index));
  bytes_written = written;
  return disk.sync_directory();
}

void RewriteJob::run(Disk& disk, Entropy& entropy) {
  outcome = work(disk, entropy);
  if (!outcome) {
    (void)disk.remove(index_name(output));
    (void)disk.remove(segment_name(output));
  }
}

void DropJob::run(Disk& disk, Entropy& /*entropy*/) {
  // One file after the other, each durably gone before the next: an index without its segment always means that the segment
  // was lost, and no row comes back whose tombstone went first.
  const auto gone = [&](const std::string& name) {
    const Result<> removed = disk.remove(name);
    if (!removed && removed.error().code == Code::kNotFound) return true;
    outcome = removed;
    if (outcome && !spares) outcome = disk.sync_directory();
    return outcome.has_value();
  };
  for (const uint64_t segment : segments) {
    if (!gone(index_name(segment)) || !gone(segment_name(segment))) return;
  }
  if (const Result<uint64_t> left = disk.free_bytes()) free_bytes = *left;
}

}  // namespace hf::store
