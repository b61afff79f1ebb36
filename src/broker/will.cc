// Wills. The will of a connection that stands is a row; the row goes in the group that holds the will's
// record, so that it is published once or, if that group was lost in a crash, once after the restart.
#include <algorithm>

#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

constexpr Duration kWillRetry = seconds(1);
constexpr size_t kWillsAtOnce = 64;

}  // namespace

void Broker::Impl::keep_will(Session& session, const mqtt::Will& will) {
  // It takes the row of one that is still waiting.
  if (const auto waiting = wills_waiting_.find(session.client_id); waiting != wills_waiting_.end()) {
    const WaitingWill before = std::move(waiting->second);
    wills_waiting_.erase(waiting);
    publish_will(session.client_id, before.will, before.publisher, true);
  }
  std::string scratch;
  const Carried carried = carry(will.properties, {}, &scratch);  // [MQTT-3.1.3-10]
  if (carried.time_invalid)
    log_rarely(kEventTimeInvalid, "a will's hf-time is neither RFC 3339 in UTC nor milliseconds");
  // [MQTT-3.1.2-7]
  session.will =
      std::make_unique<WillRow>(WillRow{.qos = will.qos,
                                        .retain = will.retain,
                                        .delay_s = will.properties.will_delay_interval_s.value_or(0),
                                        .expiry_s = carried.expiry_s,
                                        .event_us = carried.event_us,
                                        .user = session.user,
                                        .by_certificate = session.by_certificate,
                                        .topic = std::string(will.topic),
                                        .headers = std::string(carried.headers),
                                        .payload = std::string(will.payload)});
  if (!storage_failed()) store_.put(Table::kWill, session.client_id, encode(*session.will), Haste::kCommit);
}

void Broker::Impl::drop_will(Session& session, Haste haste) {
  timers_.disarm(Timer::Kind::kWill, session.number, &session.will_timer);
  if (!session.will) return;
  session.will.reset();  // [MQTT-3.1.2-10] [MQTT-3.14.4-3]
  store_.erase(Table::kWill, session.client_id, haste);
}

void Broker::Impl::will_due(Session& session) {
  if (!session.will) return;
  const Duration delay = seconds(std::min(session.will->delay_s, session.expiry_s));
  const Duration left = delay - elapsed_since(session.disconnected, now_);
  if (left <= Duration{}) return publish_will_of(session);  // [MQTT-3.1.2-8]
  timers_.arm(Timer::Kind::kWill, session.number, now_.mono + left, &session.will_timer);
}

void Broker::Impl::publish_will_of(Session& session) {
  const std::unique_ptr<WillRow> will = std::move(session.will);
  publish_will(session.client_id, *will, session.number);
}

void Broker::Impl::publish_waiting_wills() {
  // From where the last turn ended, so that one that never fits does not stand in the way of the others.
  std::vector<std::string> turn;
  auto next = wills_waiting_.upper_bound(will_tried_);
  for (size_t left = std::min(wills_waiting_.size(), kWillsAtOnce); left > 0; --left, ++next) {
    if (next == wills_waiting_.end()) next = wills_waiting_.begin();
    turn.push_back(next->first);
  }
  for (const std::string& client_id : turn) {
    will_tried_ = client_id;
    const auto found = wills_waiting_.find(client_id);
    const WaitingWill waiting = std::move(found->second);
    wills_waiting_.erase(found);
    publish_will(client_id, waiting.will, waiting.publisher);
    boundary();
  }
  // Those that did not have their turn; none of the others may have found the store full.
  if (!wills_waiting_.empty() && !wills_timer_)
    timers_.arm(Timer::Kind::kWills, 0, now_.mono + kWillRetry, &wills_timer_);
}

void Broker::Impl::publish_will(const std::string& client_id, const WillRow& will, uint64_t publisher,
                                bool last) {
  const Publisher from{publisher, will.user, will.by_certificate, client_id};
  if (!may_still_publish(from, will.topic, will.retain)) {
    ++counters_.not_authorized;
    store_.erase(Table::kWill, client_id, Haste::kCommit);
    return log_rarely(kEventWillLost, "the will of " + quoted_name(client_id) +
                                          " was not published: its client has no right to");
  }
  store::NewRecord record;
  record.topic = will.topic;
  record.headers = will.headers;
  record.payload = will.payload;
  record.qos = will.qos;
  record.retain =
      will.retain;  // [MQTT-3.1.2-14] [MQTT-3.1.2-15] Every QoS and retain: [MQTT-3.2.2-12] [MQTT-3.2.2-13].
  record.arrival = arrival_;
  record.event_us = will.event_us;
  record.expiry_s = will.expiry_s;
  const Outcome outcome = publish(record, Source{.kind = Source::Kind::kBroker}, from);
  const bool published = outcome.reason < Reason::kUnspecifiedError;
  if (!published && !last && !storage_failed()) {
    // Its row stays, so that a restart does not lose it either.
    wills_waiting_.insert_or_assign(client_id, WaitingWill{will, publisher});
    if (!wills_timer_) timers_.arm(Timer::Kind::kWills, 0, now_.mono + kWillRetry, &wills_timer_);
    return log_rarely(kEventWillWaits,
                      "there is no space for the will of " + quoted_name(client_id) + "; it is tried again");
  }
  store_.erase(Table::kWill, client_id, Haste::kCommit);
  if (published) return;
  ++counters_.publishes_refused;
  log_rarely(kEventWillLost, "the will of " + quoted_name(client_id) +
                                 " was not published: " + mqtt::reason_name(outcome.reason));
}

}  // namespace hf::broker
