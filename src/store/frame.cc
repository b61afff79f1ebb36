#include "store/frame.h"

#include <algorithm>

#include "base/assert.h"

namespace hf::store {

namespace {

enum Op : uint8_t {
  kOpTopic = 1,
  kOpStream = 2,
  kOpAudience = 3,
  kOpBoot = 4,
  kOpAt = 5,
  kOpRecord = 6,
  kOpPut = 7,
  kOpErase = 8,
};

enum Flag : uint8_t {
  kFlagQos = 0x03,
  kFlagRetain = 0x04,
  kFlagMayDouble = 0x08,
  kFlagEvent = 0x10,
  kFlagExpiry = 0x20,
  kFlagHeaders = 0x40,
};

constexpr size_t kRecordBytesMin = 11;  // The op and every field that each record has.
constexpr size_t kRecordsReservedMax = 128;

// Times come from devices and peers: the difference wraps, and wraps back when it is added again.
int64_t difference(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}

}  // namespace

uint32_t FrameBuilder::topic_number(Bytes topic) {
  if (!topics_.empty() && topic == topic_last_) return topic_last_number_;
  auto found = topics_.find(topic);
  if (found == topics_.end()) {
    put_u8(plain_, kOpTopic);
    put_sized(plain_, topic);
    found = topics_.emplace(std::string(topic), static_cast<uint32_t>(topics_.size())).first;
  }
  topic_last_ = found->first;
  topic_last_number_ = found->second;
  return found->second;
}

uint32_t FrameBuilder::stream_number(StreamId id, const StreamKey& key, const StreamOptions& options) {
  for (uint32_t i = 0; i < streams_.size(); ++i) {
    if (streams_[i].id == id) return i;
  }
  put_u8(plain_, kOpStream);
  put_varint(plain_, id);
  put_u64(plain_, key.incarnation);
  put_sized(plain_, key.name);
  put_sized(plain_, options.origin);
  put_u8(plain_, options.priority);
  put_varint(plain_, options.time_to_live_s);
  streams_.push_back({id});
  return static_cast<uint32_t>(streams_.size() - 1);
}

uint32_t FrameBuilder::audience_number(Bytes audience) {
  if (audience.empty()) return 0;
  if (audience_last_ != 0 && audiences_[audience_last_ - 1].bytes == audience) return audience_last_;
  const auto found = audience_numbers_.find(audience);
  if (found != audience_numbers_.end()) return audience_last_ = found->second;
  put_u8(plain_, kOpAudience);
  put_sized(plain_, audience);
  audiences_.push_back({std::string(audience)});
  audience_last_ = static_cast<uint32_t>(audiences_.size());
  audience_numbers_.emplace(std::string(audience), audience_last_);
  return audience_last_;
}

uint32_t FrameBuilder::boot_number(const BootId& boot) {
  for (uint32_t i = 0; i < boots_.size(); ++i) {
    if (boots_[i] == boot) return i;
  }
  put_u8(plain_, kOpBoot);
  put_u64(plain_, boot.high);
  put_u64(plain_, boot.low);
  boots_.push_back(boot);
  return static_cast<uint32_t>(boots_.size() - 1);
}

void FrameBuilder::add(Position position, const NewRecord& record, const StreamKey& key,
                       const StreamOptions& options) {
  // One that grows beyond a few records will most likely become full: at once, and not by halves that are copied each time.
  const size_t needed = plain_.size() + record.payload.size() + record.headers.size() + kRecordBytesMin;
  if (needed > kFramePlainBytes / 16 && needed > plain_.capacity())
    plain_.reserve(std::max(kFramePlainBytes, needed) + kFramePlainBytes / 16);
  const uint32_t topic = topic_number(record.topic);
  const uint32_t stream = stream_number(record.stream, key, options);
  const uint32_t audience = audience_number(record.audience);
  const uint32_t boot = boot_number(record.arrival.boot);
  if (position != next_) {
    put_u8(plain_, kOpAt);
    put_varint(plain_, position.commit());
    put_varint(plain_, position.index());
  }
  uint8_t flags = record.qos & kFlagQos;
  if (record.retain) flags |= kFlagRetain;
  if (record.may_double) flags |= kFlagMayDouble;
  if (record.event_us) flags |= kFlagEvent;
  if (record.expiry_s) flags |= kFlagExpiry;
  if (!record.headers.empty()) flags |= kFlagHeaders;
  char head[3 + 10 * kVarintBytesMax];
  char* at = head;
  *at++ = static_cast<char>(kOpRecord);
  *at++ = static_cast<char>(flags);
  at = write_varint(at, stream);
  at = write_varint(at, topic);
  at = write_varint(at, audience);
  at = write_varint(at, boot);
  *at++ = static_cast<char>(record.arrival.quality);
  at = write_svarint(at, static_cast<int64_t>(record.sequence - streams_[stream].sequence_last));
  at = write_svarint(at, difference(record.arrival.wall_us, wall_last_us_));
  at = write_svarint(at, static_cast<int64_t>(record.arrival.mono_ns - mono_last_ns_));
  if (record.event_us) at = write_svarint(at, difference(*record.event_us, record.arrival.wall_us));
  if (record.expiry_s) at = write_varint(at, *record.expiry_s);
  if (!record.headers.empty()) {
    plain_.append(head, static_cast<size_t>(at - head));
    put_sized(plain_, record.headers);
    at = head;
  }
  at = write_varint(at, record.payload.size());
  plain_.append(head, static_cast<size_t>(at - head));
  plain_.append(record.payload);

  streams_[stream].sequence_last = record.sequence;
  wall_last_us_ = record.arrival.wall_us;
  mono_last_ns_ = record.arrival.mono_ns;
  wall_max_us_ = std::max(wall_max_us_, record.arrival.wall_us);
  const uint64_t bytes = record.topic.size() + record.headers.size() + record.payload.size();
  record_bytes_ += bytes;
  if (audience != 0) {
    ++audiences_[audience - 1].count;
    audiences_[audience - 1].size += bytes;
    audiences_[audience - 1].last = position;
  }
  StreamUse& use = stream_use_[record.stream];
  if (use.first == 0) use.first = record.sequence;
  use.last = record.sequence;
  ++use.share.count;
  use.share.bytes += bytes;
  use.share.last = position;
  if (record_count_++ == 0) first_ = position;
  last_ = position;
  next_ = Position::of(position.commit(), position.index() + 1);
}

void FrameBuilder::put(Table table, Bytes key, Bytes value) {
  put_u8(plain_, kOpPut);
  put_u8(plain_, static_cast<uint8_t>(table));
  put_sized(plain_, key);
  put_sized(plain_, value);
}

void FrameBuilder::erase(Table table, Bytes key) {
  put_u8(plain_, kOpErase);
  put_u8(plain_, static_cast<uint8_t>(table));
  put_sized(plain_, key);
}

std::map<ReaderId, Share> FrameBuilder::shares() const {
  std::map<ReaderId, Share> shares;
  for (const AudienceUse& use : audiences_) {
    for_each_member(use.bytes, [&](const Member& member) {
      Share& share = shares[member.reader];
      share.count += use.count;
      share.bytes += use.size;
      share.last = std::max(share.last, use.last);
      return true;
    });
  }
  return shares;
}

Result<std::shared_ptr<const Frame>> Frame::parse(std::string plain, Position first) {
  auto frame = std::make_shared<Frame>();
  frame->plain_ = std::move(plain);
  ByteReader in(frame->plain_);
  std::vector<Bytes> topics;
  std::vector<Bytes> audiences;
  std::vector<BootId> boots;
  std::vector<uint64_t> sequences;  // The last one of each stream in the frame.
  Position next = first;
  int64_t wall_us = 0;
  uint64_t mono_ns = 0;
  const auto corrupt = [&] {
    return fail(Code::kCorrupt, "a frame's content breaks its grammar",
                frame->plain_.size() - in.rest().size());
  };
  while (!in.empty()) {
    switch (in.u8()) {
      case kOpTopic:
        topics.push_back(in.sized());
        break;
      case kOpStream: {
        StreamDefinition stream;
        stream.id = static_cast<StreamId>(in.varint());
        stream.key.incarnation = in.u64();
        stream.key.name = in.sized();
        stream.options.origin = in.sized();
        stream.options.priority = in.u8();
        stream.options.time_to_live_s = static_cast<uint32_t>(in.varint());
        frame->streams_.push_back(std::move(stream));
        sequences.push_back(0);
        break;
      }
      case kOpAudience:
        audiences.push_back(in.sized());
        break;
      case kOpBoot: {
        BootId boot;
        boot.high = in.u64();
        boot.low = in.u64();
        boots.push_back(boot);
        break;
      }
      case kOpAt: {
        const uint64_t commit = in.varint();
        next = Position::of(commit, static_cast<uint32_t>(in.varint()));
        break;
      }
      case kOpRecord: {
        Record& record = frame->records_.emplace_back();
        const uint8_t flags = in.u8();
        record.qos = flags & kFlagQos;
        record.retain = (flags & kFlagRetain) != 0;
        record.may_double = (flags & kFlagMayDouble) != 0;
        const uint64_t stream = in.varint();
        const uint64_t topic = in.varint();
        const uint64_t audience = in.varint();
        const uint64_t boot = in.varint();
        if (!in.ok() || record.qos > 2 || stream >= sequences.size() || topic >= topics.size() ||
            audience > audiences.size() || boot >= boots.size()) {
          return corrupt();
        }
        record.stream = frame->streams_[stream].id;
        record.topic = topics[topic];
        if (audience != 0) record.audience = audiences[audience - 1];
        record.arrival.boot = boots[boot];
        record.arrival.quality = static_cast<ClockQuality>(in.u8());
        record.sequence = sequences[stream] += static_cast<uint64_t>(in.svarint());
        record.arrival.wall_us = wall_us =
            static_cast<int64_t>(static_cast<uint64_t>(wall_us) + static_cast<uint64_t>(in.svarint()));
        record.arrival.mono_ns = mono_ns += static_cast<uint64_t>(in.svarint());
        if ((flags & kFlagEvent) != 0) {
          record.event_us =
              static_cast<int64_t>(static_cast<uint64_t>(wall_us) + static_cast<uint64_t>(in.svarint()));
        }
        if ((flags & kFlagExpiry) != 0) record.expiry_s = static_cast<uint32_t>(in.varint());
        if ((flags & kFlagHeaders) != 0) record.headers = in.sized();
        record.payload = in.sized();
        record.position = next;
        if (frame->records_.size() == 1) {
          // Most records of a frame are alike: room for all of them at once, within bounds.
          const size_t like_this = record.headers.size() + record.payload.size() + kRecordBytesMin;
          frame->records_.reserve(std::min(1 + in.rest().size() / like_this, kRecordsReservedMax));
        }
        next = Position::of(next.commit(), next.index() + 1);
        break;
      }
      case kOpPut:
      case kOpErase: {
        // The op's own byte stands right before the rest.
        const bool erased = in.rest().data()[-1] == kOpErase;
        RowOp row;
        const uint8_t table = in.u8();
        if (table == 0 || table > kTableMax) return corrupt();
        row.table = static_cast<Table>(table);
        row.erased = erased;
        row.key = in.sized();
        if (!erased) row.value = in.sized();
        frame->rows_.push_back(row);
        break;
      }
      default:
        return corrupt();
    }
    if (!in.ok()) return corrupt();
  }
  return std::shared_ptr<const Frame>(std::move(frame));
}

std::string Frame::unparse(const std::shared_ptr<const Frame>& frame) {
  HF_ASSERT(frame.use_count() == 1);
  // No frame is made const, and nobody can see this one any more.
  return std::move(const_cast<Frame&>(*frame).plain_);
}

uint64_t Frame::memory_bytes() const {
  return sizeof(Frame) + plain_.capacity() + records_.capacity() * sizeof(Record) +
         rows_.capacity() * sizeof(RowOp);
}

size_t Frame::upper_bound(Position after) const {
  return static_cast<size_t>(
      std::upper_bound(records_.begin(), records_.end(), after,
                       [](Position position, const Record& record) { return position < record.position; }) -
      records_.begin());
}

}  // namespace hf::store
