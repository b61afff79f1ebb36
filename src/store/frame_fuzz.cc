// Fuzzes the plaintext of frames: whatever parses must survive being visited like a real one, and what a
// builder makes of its records and rows must parse to the same again.
//
// Grammar of an input: the plaintext (frame.h).
#include <cstdint>
#include <map>

#include "base/assert.h"
#include "store/frame.h"

namespace hf::store {
namespace {

bool same(const Record& a, const Record& b) {
  return a.position == b.position && a.stream == b.stream && a.sequence == b.sequence && a.topic == b.topic &&
         a.headers == b.headers && a.payload == b.payload && a.qos == b.qos && a.retain == b.retain &&
         a.may_double == b.may_double && a.arrival == b.arrival && a.event_us == b.event_us &&
         a.expiry_s == b.expiry_s && a.audience == b.audience;
}

std::string build_again(const Frame& frame) {
  std::map<StreamId, StreamDefinition> streams;
  for (const StreamDefinition& stream : frame.streams()) streams[stream.id] = stream;
  FrameBuilder builder(frame.records().empty() ? Position{} : frame.records().front().position);
  for (const Record& record : frame.records()) {
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
    const StreamDefinition& stream = streams[record.stream];
    builder.add(record.position, copy, stream.key, stream.options);
  }
  for (const RowOp& row : frame.rows()) {
    if (row.erased) {
      builder.erase(row.table, row.key);
    } else {
      builder.put(row.table, row.key, row.value);
    }
  }
  (void)builder.shares();
  return builder.take();
}

}  // namespace
}  // namespace hf::store

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf::store;
  std::string plain(reinterpret_cast<const char*>(data), size);
  // Its buffer ends where it does, so that the sanitizer sees a read past it.
  plain.shrink_to_fit();
  const auto parsed = Frame::parse(std::move(plain), Position::of(9, 4));
  if (!parsed) {
    HF_ASSERT(parsed.error().code == hf::Code::kCorrupt);
    return 0;
  }
  const Frame& frame = **parsed;
  HF_ASSERT(frame.memory_bytes() >= sizeof(Frame));
  for (const Record& record : frame.records()) {
    HF_ASSERT(record.qos <= 2);
    HF_ASSERT(frame.upper_bound(record.position) <= frame.records().size());
    hf::Now now;
    now.quality = hf::ClockQuality::kNtp;
    (void)expired(record, 60, now);
    std::vector<Member> members;
    if (decode_audience(record.audience, &members)) {
      HF_ASSERT(encode_audience(members).size() == record.audience.size());
    }
  }
  const auto again = Frame::parse(build_again(frame), Position::of(9, 4));
  HF_ASSERT(again.has_value());
  HF_ASSERT((*again)->records().size() == frame.records().size());
  // A position of its own stands before the first record unless it is the one the reader was given.
  for (size_t i = 0; i < frame.records().size(); ++i) {
    Record record = (*again)->records()[i];
    if (frame.records().front().position != Position::of(9, 4)) record.position = frame.records()[i].position;
    HF_ASSERT(same(record, frame.records()[i]));
  }
  HF_ASSERT((*again)->rows().size() == frame.rows().size());
  return 0;
}
