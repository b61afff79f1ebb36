#include "link/hello.h"

#include <algorithm>

#include "crypto/crypto.h"
#include "link/rows.h"

namespace hf::link {

namespace {

constexpr uint8_t kFormat = 1;

bool name_sound(Bytes name) { return name.size() <= kStreamNameBytesMax; }

}  // namespace

size_t mark_size(const store::StreamKey& key) { return 8 + 2 + key.name.size() + kVarintBytesMax + 8; }

std::string encode_hello(Hello hello) {
  std::sort(hello.marks.begin(), hello.marks.end(),
            [](const Mark& a, const Mark& b) { return a.key < b.key; });
  std::string out;
  put_u8(out, kFormat);
  put_varint(out, hello.version_min);
  put_varint(out, hello.version_max);
  put_varint(out, hello.features);
  put_sized(out, hello.name);
  put_u64(out, hello.store_id);
  put_u64(out, hello.incarnation);
  put_svarint(out, hello.wall_us);
  put_u8(out, static_cast<uint8_t>(hello.quality));
  put_varint(out, hello.marks.size());
  for (const Mark& mark : hello.marks) {
    put_u64(out, mark.key.incarnation);
    put_sized(out, mark.key.name);
    put_varint(out, mark.number);
    put_u64(out, mark.hash);
  }
  return out;
}

Result<Hello> decode_hello(Bytes message) {
  if (message.size() > kHelloBytesMax) return fail(Code::kTooLarge, "HELLO is over 1 MiB", message.size());
  ByteReader in(message);
  if (const uint8_t format = in.u8(); in.ok() && format != kFormat) {
    return fail(Code::kUnsupported, "HELLO of an unknown format", format);
  }
  Hello hello;
  hello.version_min = in.varint();
  hello.version_max = in.varint();
  hello.features = in.varint();
  hello.name = in.sized();
  hello.store_id = in.u64();
  hello.incarnation = in.u64();
  hello.wall_us = in.svarint();
  const uint8_t quality = in.u8();
  const uint64_t count = in.varint();
  if (!in.ok()) return fail(Code::kTruncated, "HELLO ends early", message.size());
  if (hello.version_min > hello.version_max)
    return fail(Code::kInvalid, "HELLO with an empty range of versions");
  if (!node_name_valid(hello.name)) return fail(Code::kInvalid, "HELLO with a bad node name");
  if (quality > static_cast<uint8_t>(ClockQuality::kGnss))
    return fail(Code::kInvalid, "HELLO with a bad clock quality");
  hello.quality = static_cast<ClockQuality>(quality);
  if (count > kMarksMax) return fail(Code::kTooLarge, "HELLO with too many streams", count);
  hello.marks.reserve(std::min<size_t>(count, in.rest().size() / 18));
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    Mark mark;
    mark.key.incarnation = in.u64();
    const Bytes name = in.sized();
    mark.number = in.varint();
    mark.hash = in.u64();
    if (!in.ok()) break;
    if (!name_sound(name))
      return fail(Code::kInvalid, "HELLO with a stream name that is too long", name.size());
    mark.key.name = name;
    if (mark.number == 0) return fail(Code::kInvalid, "HELLO with a mark of zero");
    if (!hello.marks.empty() && !(hello.marks.back().key < mark.key)) {
      return fail(Code::kInvalid, "HELLO with streams out of order");
    }
    hello.marks.push_back(std::move(mark));
  }
  if (!in.ok()) return fail(Code::kTruncated, "HELLO ends early", message.size());
  if (!in.done()) return fail(Code::kInvalid, "HELLO is followed by something", in.rest().size());
  return hello;
}

std::string encode_pairs(const PairsMessage& message) {
  std::string out;
  put_u8(out, kFormat);
  put_u8(out, static_cast<uint8_t>((message.answer ? 1 : 0) | (message.single ? 2 : 0)));
  put_u64(out, message.key.incarnation);
  put_sized(out, message.key.name);
  if (message.answer || message.single) {
    put_varint(out, message.pairs.size());
    uint64_t last = 0;
    for (const NumberHash& pair : message.pairs) {
      put_varint(out, pair.number - last);
      if (message.answer) put_u64(out, pair.hash);
      last = pair.number;
    }
  }
  return out;
}

Result<PairsMessage> decode_pairs(Bytes message) {
  ByteReader in(message);
  if (const uint8_t format = in.u8(); in.ok() && format != kFormat) {
    return fail(Code::kUnsupported, "pairs of an unknown format", format);
  }
  PairsMessage pairs;
  const uint8_t what = in.u8();
  pairs.key.incarnation = in.u64();
  const Bytes name = in.sized();
  if (!in.ok()) return fail(Code::kTruncated, "pairs end early", message.size());
  if (what > 3) return fail(Code::kInvalid, "pairs that are neither question nor answer", what);
  if (!name_sound(name)) return fail(Code::kInvalid, "pairs of a stream name that is too long", name.size());
  pairs.answer = (what & 1) != 0;
  pairs.single = (what & 2) != 0;
  pairs.key.name = name;
  if (pairs.answer || pairs.single) {
    const uint64_t count = in.varint();
    if (count > (pairs.single ? kHashesMax : kPairsMax))
      return fail(Code::kTooLarge, "too many pairs", count);
    uint64_t last = 0;
    for (uint64_t i = 0; i < count && in.ok(); ++i) {
      const uint64_t distance = in.varint();
      const uint64_t hash = pairs.answer ? in.u64() : 0;
      if (!in.ok()) break;
      if (distance == 0 || distance > UINT64_MAX - last) return fail(Code::kInvalid, "pairs out of order");
      last += distance;
      pairs.pairs.push_back({last, hash});
    }
  }
  if (!in.ok()) return fail(Code::kTruncated, "pairs end early", message.size());
  if (!in.done()) return fail(Code::kInvalid, "pairs are followed by something", in.rest().size());
  return pairs;
}

uint64_t record_hash(uint64_t sequence, const store::Arrival& arrival, Bytes topic, Bytes headers,
                     Bytes payload) {
  std::string canonical;
  canonical.reserve(64 + topic.size() + headers.size() + payload.size());
  put_varint(canonical, sequence);
  put_svarint(canonical, arrival.wall_us);
  put_varint(canonical, arrival.mono_ns);
  put_u8(canonical, static_cast<uint8_t>(arrival.quality));
  put_u64(canonical, arrival.boot.high);
  put_u64(canonical, arrival.boot.low);
  put_sized(canonical, topic);
  put_sized(canonical, headers);
  put_sized(canonical, payload);
  return crypto::fingerprint64(canonical);
}

}  // namespace hf::link
