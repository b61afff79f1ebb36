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

Result<SegmentScan> scan_segment(Disk& disk, const Keys& keys, uint64_t segment, uint64_t alignment) {
  SegmentScan scan;
  const std::string name = segment_name(segment);
  HF_TRY_ASSIGN(scan.file_size, disk.size(name));
  crypto::Aead aead(keys.segment_key(segment));
  // A window of the file that always holds the frame at hand; frames are at most a segment, so the window may
  // grow to it.
  constexpr uint64_t kWindowBytes = 1 << 20;
  std::string window;
  uint64_t window_at = 0;
  const auto view = [&](uint64_t offset, uint64_t size) -> Result<Bytes> {
    size = std::min(size, scan.file_size - offset);
    if (offset < window_at || offset + size > window_at + window.size()) {
      HF_TRY_ASSIGN(window, disk.read(name, offset, std::max(size, kWindowBytes)));
      window_at = offset;
    }
    return Bytes(window).substr(offset - window_at, size);
  };
  bool in_bad_zone = false;
  for (uint64_t offset = kSegmentHeaderBytes; offset < scan.file_size;) {
    HF_TRY_ASSIGN(Bytes bytes, view(offset, kFrameHeadBytes));
    const Result<FrameHead> head = decode_frame_head(bytes);
    if (head && head->segment == segment && head->file_bytes() <= scan.file_size - offset) {
      HF_TRY_ASSIGN(bytes, view(offset, head->file_bytes()));
      ScannedFrame frame;
      frame.offset = offset;
      Result<std::string> plain = open_frame(aead, keys.store_id, segment, offset, bytes, &frame.head);
      if (plain) {
        frame.plain = std::move(*plain);
        if (in_bad_zone) scan.bad.back().frame_after = scan.frames.size();
        in_bad_zone = false;
        offset = align_up(offset + frame.head.file_bytes(), alignment);
        scan.frames.push_back(std::move(frame));
        continue;
      }
    }
    HF_TRY_ASSIGN(bytes, view(offset, alignment));
    const bool zero = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
    if (!zero && !in_bad_zone) {
      scan.bad.push_back({offset, SIZE_MAX});
      in_bad_zone = true;
    }
    offset += alignment;
  }
  for (SegmentScan::BadZone& zone : scan.bad)
    zone.frame_after = std::min(zone.frame_after, scan.frames.size());
  return scan;
}

}  // namespace hf::store
