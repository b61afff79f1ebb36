// Status topics: "$SYS/broker/...", under the names that people's dashboards know from other brokers.
//
// They are no messages and no rows: a SUBSCRIBE is answered with the values of that moment, as if they were retained, and
// every kSysInterval those that changed are sent at QoS 0 to whoever subscribed. While nobody has, nothing runs.
#include <algorithm>

#include "broker/broker_impl.h"
#include "mqtt/topic.h"

namespace hf::broker {

namespace {

constexpr Duration kSysInterval = seconds(10);

bool is_sys(Bytes filter) { return filter == "$SYS" || filter.starts_with("$SYS/"); }

}  // namespace

std::vector<Broker::Impl::SysValue> Broker::Impl::sys_values() const {
  const uint64_t online = online_count_;
  const uint64_t received =
      counters_.publishes_received[0] + counters_.publishes_received[1] + counters_.publishes_received[2];
  const uint64_t sent =
      counters_.publishes_sent[0] + counters_.publishes_sent[1] + counters_.publishes_sent[2];
  uint64_t groups = 0;
  for (const auto& [number, group] : groups_by_number_) groups += !group->members.empty();
  const store::Figures store = store_.figures();
  const auto n = [](uint64_t value) { return std::to_string(value); };
  return {
      {"$SYS/broker/version", "holdfast version " + limits_.version},
      {"$SYS/broker/uptime",
       n(static_cast<uint64_t>((now_.mono - started_).ns / 1'000'000'000)) + " seconds"},
      {"$SYS/broker/clients/connected", n(online)},
      {"$SYS/broker/clients/disconnected", n(sessions_.size() - online)},
      {"$SYS/broker/clients/total", n(sessions_.size())},
      {"$SYS/broker/clients/maximum", n(counters_.connections_most)},
      {"$SYS/broker/clients/expired", n(counters_.sessions_expired)},
      {"$SYS/broker/messages/received", n(counters_.packets_received)},
      {"$SYS/broker/messages/sent", n(counters_.packets_sent)},
      {"$SYS/broker/bytes/received", n(counters_.bytes_received)},
      {"$SYS/broker/bytes/sent", n(counters_.bytes_sent)},
      {"$SYS/broker/publish/messages/received", n(received)},
      {"$SYS/broker/publish/messages/sent", n(sent)},
      {"$SYS/broker/publish/messages/dropped", n(counters_.qos0_dropped + counters_.expired)},
      {"$SYS/broker/retained messages/count", n(retained_.count())},
      {"$SYS/broker/store/messages/bytes", n(store.records_live_bytes)},
      {"$SYS/broker/subscriptions/count", n(subscriptions_.count())},
      {"$SYS/broker/shared_subscriptions/count", n(groups)},
  };
}

void Broker::Impl::watch_sys(Bytes filter) {
  mqtt::SharedFilter shared;
  if (sys_timer_ || !mqtt::parse_shared(filter, &shared) || !is_sys(shared.filter)) return;
  timers_.arm(Timer::Kind::kSys, 0, now_.mono + kSysInterval, &sys_timer_);
}

void Broker::Impl::answer_sys(Session& session, const std::set<std::string>& filters) {
  if (std::none_of(filters.begin(), filters.end(), is_sys)) return;
  const std::vector<SysValue> values = sys_values();
  for (const std::string& filter : filters) {
    if (!is_sys(filter)) continue;
    const SubscriptionOptions& options = session.subscriptions.find(filter)->second;
    for (const SysValue& value : values) {
      if (!mqtt::topic_matches(filter, value.topic) || !may_receive(session, value.topic)) continue;
      Target target{.session = &session, .retain_as_published = true};
      if (options.identifier != 0) target.subscription_identifiers.push_back(options.identifier);
      store::Record record;
      record.topic = value.topic;
      record.payload = value.text;
      record.retain = true;
      record.arrival = arrival_;
      begin_fan(record);
      deliver_qos0(*session.connection, target);
    }
  }
}

void Broker::Impl::publish_sys() {
  bool wanted = false;
  for (SysValue& value : sys_values()) {
    const Audience& audience = audiences_.find(value.topic, Source{.kind = Source::Kind::kBroker}, 0);
    if (audience.targets.empty()) continue;
    wanted = true;
    std::string& told = sys_told_[value.topic];
    if (told == value.text) continue;
    told = std::move(value.text);
    store::NewRecord record;
    record.topic = value.topic;
    record.payload = told;
    record.arrival = arrival_;
    fan_out(record, {}, audience, false);
  }
  if (wanted) {
    timers_.arm(Timer::Kind::kSys, 0, now_.mono + kSysInterval, &sys_timer_);
  } else {
    sys_told_.clear();
  }
}

}  // namespace hf::broker
