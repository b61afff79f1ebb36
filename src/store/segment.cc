#include "store/segment.h"

#include <algorithm>

#include "base/crc32c.h"

namespace hf::store {

namespace {

constexpr Bytes kSegmentMagic("HFSEG\0\0\0", 8);
constexpr uint16_t kSegmentFormat = 1;
constexpr uint16_t kFlagRewrite = 1;
constexpr uint32_t kFrameMagic = 0x4d524648;  // "HFRM"
constexpr size_t kFrameCrcOffset = kFrameHeadBytes - 4;

std::string associated_data(uint64_t store_id, uint64_t offset, Bytes head) {
  std::string out;
  put_u64(out, store_id);
  put_u64(out, offset);
  out.append(head.substr(0, kFrameCrcOffset));
  return out;
}

}  // namespace

std::string segment_name(uint64_t segment) { return to_hex(segment) + ".seg"; }
std::string index_name(uint64_t segment) { return to_hex(segment) + ".idx"; }

bool parse_segment_name(const std::string& name, uint64_t* segment, bool* index) {
  if (name.size() != 20) return false;
  const std::string raw = from_hex(Bytes(name).substr(0, 16));
  if (raw.size() != 8 || to_hex(raw) != name.substr(0, 16)) return false;
  *index = name.ends_with(".idx");
  if (!*index && !name.ends_with(".seg")) return false;
  ByteReader in(raw);
  *segment = in.u64be();
  return true;
}

std::string encode_segment_header(const SegmentHeader& header) {
  std::string copy(kSegmentMagic);
  put_u16(copy, kSegmentFormat);
  put_u16(copy, header.rewrite ? kFlagRewrite : 0);
  put_u64(copy, header.store_id);
  put_u64(copy, header.segment);
  put_u32(copy, header.epoch);
  copy.append(header.check);
  put_u16(copy, static_cast<uint16_t>(header.replaced.size()));
  for (const uint64_t segment : header.replaced) put_u64(copy, segment);
  put_u32(copy, crc32c(copy));
  copy.resize(kPageBytes, '\0');
  return copy + copy;
}

Result<SegmentHeader> decode_segment_header(Bytes bytes) {
  Error worst{Code::kCorrupt, "neither copy of the segment header is whole", 0};
  for (size_t at = 0; at + kPageBytes <= bytes.size() && at < kSegmentHeaderBytes; at += kPageBytes) {
    const Bytes page = bytes.substr(at, kPageBytes);
    if (page.substr(0, kSegmentMagic.size()) != kSegmentMagic) continue;
    ByteReader in(page.substr(kSegmentMagic.size()));
    const uint16_t format = in.u16();
    SegmentHeader header;
    header.rewrite = (in.u16() & kFlagRewrite) != 0;
    header.store_id = in.u64();
    header.segment = in.u64();
    header.epoch = in.u32();
    header.check = in.bytes(16);
    const uint16_t count = in.u16();
    if (count > kReplacedMax) continue;
    for (uint16_t i = 0; i < count; ++i) header.replaced.push_back(in.u64());
    const size_t size = page.size() - in.rest().size();
    const uint32_t crc = in.u32();
    if (!in.ok() || crc != crc32c(page.substr(0, size))) continue;
    if (format != kSegmentFormat) {
      worst = {Code::kUnsupported, "the segment has a format this build does not know", format};
      continue;
    }
    return header;
  }
  return std::unexpected(worst);
}

void seal_frame(crypto::Aead& aead, uint64_t store_id, uint64_t offset, const FrameHead& head, Bytes plain,
                std::string* out) {
  std::string raw;
  raw.reserve(kFrameHeadBytes);
  put_u32(raw, kFrameMagic);
  put_u8(raw, static_cast<uint8_t>(head.kind));
  put_u8(raw, 0);
  put_u16(raw, head.index);
  put_u16(raw, head.count);
  put_u16(raw, 0);
  put_u32(raw, head.frame);
  put_u32(raw, static_cast<uint32_t>(plain.size()));
  put_u64(raw, head.segment);
  put_u64(raw, head.commit);
  put_u32(raw, head.first_index);
  put_u64(raw, head.durable);
  raw.append(reinterpret_cast<const char*>(head.nonce.data()), head.nonce.size());
  put_u32(raw, crc32c(raw));
  out->append(raw);
  aead.seal(head.nonce, associated_data(store_id, offset, raw), plain, out);
}

Result<FrameHead> decode_frame_head(Bytes bytes) {
  if (bytes.size() < kFrameHeadBytes) return fail(Code::kTruncated, "no room for a frame head", bytes.size());
  ByteReader in(bytes.substr(0, kFrameHeadBytes));
  FrameHead head;
  const uint32_t magic = in.u32();
  const uint8_t kind = in.u8();
  in.u8();
  head.index = in.u16();
  head.count = in.u16();
  in.u16();
  head.frame = in.u32();
  head.plain_size = in.u32();
  head.segment = in.u64();
  head.commit = in.u64();
  head.first_index = in.u32();
  head.durable = in.u64();
  std::memcpy(head.nonce.data(), in.bytes(head.nonce.size()).data(), head.nonce.size());
  if (magic != kFrameMagic || in.u32() != crc32c(bytes.substr(0, kFrameCrcOffset)) || kind < 1 || kind > 3) {
    return fail(Code::kCorrupt, "not a frame head");
  }
  head.kind = static_cast<FrameKind>(kind);
  return head;
}

Result<std::string> open_frame(crypto::Aead& aead, uint64_t store_id, uint64_t segment, uint64_t offset,
                               Bytes bytes, FrameHead* head) {
  HF_TRY_ASSIGN(*head, decode_frame_head(bytes));
  if (head->segment != segment) return fail(Code::kForeign, "a frame of another segment", head->segment);
  if (head->file_bytes() > bytes.size()) return fail(Code::kTruncated, "the frame ends behind the file");
  std::string plain;
  HF_TRY(aead.open(head->nonce, associated_data(store_id, offset, bytes),
                   bytes.substr(kFrameHeadBytes, head->plain_size + crypto::kTagBytes), &plain));
  return plain;
}

namespace {

// A window of a file that moves forward: one read of the disk serves many frames.
class Window {
 public:
  Window(Disk& disk, std::string name, uint64_t file_size)
      : disk_(disk), name_(std::move(name)), file_size_(file_size) {}

  // `size` bytes at `offset`, fewer at the end of the file. Holds until the next call.
  Result<Bytes> view(uint64_t offset, uint64_t size) {
    size = std::min(size, file_size_ - std::min(file_size_, offset));
    if (offset < at_ || offset + size > at_ + bytes_.size()) {
      Result<std::string> read = disk_.read(name_, offset, std::max(size, kWindowBytes));
      // A bad sector further on must not hide what stands here.
      if (!read) read = disk_.read(name_, offset, size);
      if (!read) return std::unexpected(read.error());
      bytes_ = std::move(*read);
      at_ = offset;
    }
    return Bytes(bytes_).substr(offset - at_, size);
  }

 private:
  static constexpr uint64_t kWindowBytes = 1 << 20;
  Disk& disk_;
  const std::string name_;
  const uint64_t file_size_;
  std::string bytes_;
  uint64_t at_ = 0;
};

}  // namespace

Result<SegmentScan> scan_segment(Disk& disk, const Keys& keys, uint64_t segment, uint64_t alignment) {
  SegmentScan scan;
  HF_TRY_ASSIGN(scan.file_size, disk.size(segment_name(segment)));
  crypto::Aead aead(keys.segment_key(segment));
  Window window(disk, segment_name(segment), scan.file_size);
  bool in_bad_zone = false;
  for (uint64_t offset = kSegmentHeaderBytes; offset < scan.file_size;) {
    const Result<Bytes> start = window.view(offset, kFrameHeadBytes);
    const Result<FrameHead> head = start ? decode_frame_head(*start) : std::unexpected(start.error());
    if (head && head->segment == segment && head->file_bytes() <= scan.file_size - offset) {
      const Result<Bytes> bytes = window.view(offset, head->file_bytes());
      FrameHead again;
      if (bytes && open_frame(aead, keys.store_id, segment, offset, *bytes, &again)) {
        scan.frames.push_back({offset, *head});
        in_bad_zone = false;
        offset = align_up(offset + head->file_bytes(), alignment);
        continue;
      }
    }
    const Result<Bytes> page = window.view(offset, alignment);
    const bool zero = page && std::all_of(page->begin(), page->end(), [](char c) { return c == 0; });
    if (!zero && !in_bad_zone) {
      scan.bad.push_back(offset);
      in_bad_zone = true;
    }
    offset += alignment;
  }
  return scan;
}

void visit_frames(Disk& disk, const Keys& keys, uint64_t segment, const SegmentScan& scan,
                  const std::function<void(const SegmentScan::Found&, Result<std::string>)>& visit) {
  crypto::Aead aead(keys.segment_key(segment));
  Window window(disk, segment_name(segment), scan.file_size);
  for (const SegmentScan::Found& found : scan.frames) {
    const Result<Bytes> bytes = window.view(found.offset, found.head.file_bytes());
    FrameHead head;
    visit(found, bytes ? open_frame(aead, keys.store_id, segment, found.offset, *bytes, &head)
                       : Result<std::string>(std::unexpected(bytes.error())));
  }
}

}  // namespace hf::store
