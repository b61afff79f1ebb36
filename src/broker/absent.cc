// What expires while its session is away [MQTT-3.3.2-5].
//
// Nobody reads for a session that is away, so what it is owed would keep its place on the disk until it comes back, though it expired long
// before: a site would refuse what is new for the sake of what is worth nothing. So the first thing that a session is owed is looked at
// when it may have expired, and what has is passed over, up to the first that has not. Messages behind one that does not expire wait with it.
#include <algorithm>

#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

constexpr Duration kLookInterval = seconds(60);  // Of one session, at least.
constexpr uint64_t kSpreadS = 60;                // Those that went away together are not looked at together.
constexpr int kPassedMax = 256;                  // Of one session in one step.

}  // namespace

std::optional<Duration> Broker::Impl::time_left(const store::Record& record) const {
  const store::StreamInfo* const stream = store_.stream(record.stream);
  return store::time_left(record, stream != nullptr ? stream->options.time_to_live_s : 0, now_);
}

// `left` is what the first thing it is owed has, as far as that is known.
void Broker::Impl::arm_owed(Session& session, Duration left) {
  if (session.owed_timer || session.owed_lasts) return;
  const Duration spread = seconds(static_cast<int64_t>(session.number % kSpreadS));
  timers_.arm(Timer::Kind::kOwed, session.number, now_.mono + std::max(left, kLookInterval) + spread,
              &session.owed_timer);
}

void Broker::Impl::owed_to_absent(Session& session, const store::Record& record) {
  if (session.owed_timer || session.owed_lasts) return;
  if (const auto left = time_left(record)) arm_owed(session, *left);
}

void Broker::Impl::disarm_owed(Session& session) {
  timers_.disarm(Timer::Kind::kOwed, session.number, &session.owed_timer);
  session.owed_lasts = false;
}

void Broker::Impl::pass_expired(Session& session) {
  // What was sent before it went is sent again, expired or not [MQTT-4.3.3-7], and holds its place until then.
  if (session.connection != nullptr || session.outbound.count() > 0 || storage_failed()) return;
  for (int passed = 0; passed < kPassedMax; ++passed) {
    const store::Store::Fetch fetched = store_.first_owed(session.reader);
    if (fetched.status == store::Store::FetchStatus::kPending) {
      session.owed_looked = true;  // woken() comes here again.
      return;
    }
    if (fetched.status != store::Store::FetchStatus::kRecord) return;
    const std::optional<Duration> left = time_left(*fetched.record);
    if (left != Duration{0}) {
      session.owed_lasts = !left;
      if (left) arm_owed(session, *left);
      return;
    }
    ++counters_.expired;
    store_.next(session.reader);
    store_.acknowledge(session.reader, fetched.record->position);
  }
  timers_.arm(Timer::Kind::kOwed, session.number, Instant{now_.mono.ns + 1}, &session.owed_timer);
}

}  // namespace hf::broker
