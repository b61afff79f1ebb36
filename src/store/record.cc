#include "store/record.h"

#include <algorithm>

namespace hf::store {

std::string encode_audience(std::vector<Member> members) {
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.reader < b.reader; });
  std::string out;
  uint64_t last = 0;
  for (const Member& member : members) {
    put_varint(out, member.reader - last);
    last = member.reader;
    // Bits 0 and 1: QoS, bit 2: retain as published, the rest: how many identifiers follow.
    const uint64_t count = member.subscription_identifiers.size();
    put_varint(out, member.qos | (member.retain_as_published ? 4u : 0u) | (count << 3));
    for (const uint32_t identifier : member.subscription_identifiers) put_varint(out, identifier);
  }
  return out;
}

bool decode_audience(Bytes bytes, std::vector<Member>* members) {
  members->clear();
  size_t used = 0;
  for_each_member(bytes, [&](const Member& member) {
    members->push_back(member);
    return true;
  });
  // The bytes are canonical: what was read must encode to all of them.
  used = encode_audience(*members).size();
  return used == bytes.size();
}

std::optional<Duration> time_left(const Record& record, uint32_t time_to_live_s, const Now& now) {
  uint64_t limit_s = record.expiry_s ? *record.expiry_s : UINT64_MAX;
  if (time_to_live_s != 0) limit_s = std::min<uint64_t>(limit_s, time_to_live_s);
  if (limit_s == UINT64_MAX) return std::nullopt;
  int64_t passed_s = 0;
  if (record.arrival.boot == now.boot) {
    if (now.mono.ns > record.arrival.mono_ns)
      passed_s = static_cast<int64_t>((now.mono.ns - record.arrival.mono_ns) / 1'000'000'000);
  } else {
    if (record.arrival.quality == ClockQuality::kUnknown || now.quality == ClockQuality::kUnknown)
      return std::nullopt;
    // Stamps of peers may be anything: the difference is made where it cannot overflow.
    passed_s = now.wall_us / 1'000'000 - record.arrival.wall_us / 1'000'000;
  }
  const auto limit = static_cast<int64_t>(limit_s);
  return passed_s >= limit ? Duration{0} : seconds(limit - std::max<int64_t>(passed_s, 0));
}

bool expired(const Record& record, uint32_t time_to_live_s, const Now& now) {
  return time_left(record, time_to_live_s, now) == Duration{0};
}

const char* gap_cause_name(GapCause cause) {
  switch (cause) {
    case GapCause::kRot:
      return "rot";
    case GapCause::kTailCut:
      return "tail_cut";
    case GapCause::kExpired:
      return "expired";
    case GapCause::kDropped:
      return "dropped";
    case GapCause::kSessionEnded:
      return "session_ended";
    case GapCause::kRewound:
      return "rewound";
  }
  return "unknown";
}

}  // namespace hf::store
