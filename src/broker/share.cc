// Shared subscriptions: a group's reader, leases of its messages to members, and what becomes of them when a member is
// away or ends (MQTT 5.0, section 4.8.2; broker/share.h).
#include <algorithm>

#include "base/assert.h"
#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

using Status = store::Store::FetchStatus;

// A member that is away for so long does not keep its messages at QoS 1 from the others.
constexpr Duration kLeaseTime = seconds(30);
// Records that one call deals with before it lets others have a turn.
constexpr int kRecordsMax = 4096;
// Members without room that are asked whether they take a message at QoS 0 all the same.
constexpr size_t kAskedMax = 64;

}  // namespace

// --- Groups.

bool Broker::Impl::open_group(ShareGroup& group) {
  groups_by_number_[group.number] = &group;
  if (group.reader != 0 || group.qos == 0 || storage_failed()) return false;
  // Stored for all its members: so is what a member without a session had not acknowledged when it went.
  group.reader = store_.create_reader(true);
  groups_by_reader_[group.reader] = &group;
  store_.count_in_figures(group.reader);
  store_.put(Table::kShareGroup, group.name, encode_group(group.reader));
  subscriptions_.changed();
  return true;
}

void Broker::Impl::close_group(ShareGroup& group) {
  if (!group.members.empty() || group.lease_count > 0) return;
  if (group.reader != 0) {
    groups_by_reader_.erase(group.reader);
    for (const Position position : group.returned) erase_owed(group.reader, position);
    store_.remove_reader(group.reader, store::GapCause::kSessionEnded);
    store_.erase(Table::kShareGroup, group.name, Haste::kRide);
  }
  groups_by_number_.erase(group.number);
  subscriptions_.end_group(group);
}

ShareGroup* Broker::Impl::find_group(store::ReaderId reader) {
  const auto found = groups_by_reader_.find(reader);
  return found == groups_by_reader_.end() ? nullptr : found->second;
}

// --- Messages.

// The member whose turn it is among those that can take a message now; null if none can. Nobody who is away is chosen.
ShareGroup::Member* Broker::Impl::choose(ShareGroup& group, uint8_t qos, Bytes topic) {
  // Whoever cannot take anything above QoS 0 leaves `ready`, so what this costs is paid by what brought them there.
  const auto has_place = [&](const Session& session) {
    const Connection* connection = session.connection;
    return connection != nullptr && connection->connack_sent && !connection->doomed && !session.resending() &&
           has_room(*connection);
  };
  auto turn = group.ready.upper_bound(group.served_last);
  for (size_t left = group.ready.size(); left > 0; --left) {
    if (turn == group.ready.end()) turn = group.ready.begin();
    ShareGroup::Member& member = group.members.at(*turn);
    if (!has_place(*member.session)) {
      // Whoever waits for this step to end needs another one; all others come back by pump().
      Connection* const connection = member.session->connection;
      if (connection != nullptr && connection->connack_sent && !has_room(*connection))
        wait_for_room(*connection);
      turn = group.ready.erase(turn);
      continue;
    }
    if (topic.empty() || may_receive(*member.session, topic)) return &member;
    ++turn;
  }
  if (qos > 0 || group.members.empty()) return nullptr;
  // At QoS 0 one that is only slow will do; not all are asked for each message that is going to be lost.
  auto next = group.members.upper_bound(group.served_last);
  for (size_t left = std::min(group.members.size(), kAskedMax); left > 0; --left, ++next) {
    if (next == group.members.end()) next = group.members.begin();
    const Connection* const connection = next->second.session->connection;
    const bool can = connection != nullptr && connection->connack_sent && !connection->doomed &&
                     unsent_of(*connection) <= limits_.unsent_bytes_max &&
                     (topic.empty() || may_receive(*next->second.session, topic));
    group.served_last = next->first;
    if (can) return &next->second;
  }
  return nullptr;
}

void Broker::Impl::deliver_shared(const Target& target, bool stored) {
  ShareGroup& group = *target.group;
  const store::Record& record = *fan_.record;
  if (record.qos == 0 || group.qos == 0) {
    const ShareGroup::Member* member = choose(group, 0, record.topic);
    if (member == nullptr) {
      ++counters_.qos0_dropped;
      return;
    }
    group.served_last = member->session->number;
    Target one{.session = member->session, .retain_as_published = member->options->retain_as_published};
    if (member->options->identifier != 0) one.subscription_identifiers.push_back(member->options->identifier);
    return deliver_qos0(*member->session->connection, one);
  }
  if (!stored) return;
  if (group.behind || choose(group, 1, record.topic) == nullptr) {
    group.behind = true;
    check_owed(group);
    return;
  }
  store_.take(group.reader, record.position, record.size_bytes());
  lease(group);
}

Broker::Impl::Leased Broker::Impl::lease(ShareGroup& group) {
  const store::Record& record = *fan_.record;
  const ShareGroup::Member* member = choose(group, 1, record.topic);
  if (member == nullptr) return Leased::kNobody;
  Session& session = *member->session;
  const SubscriptionOptions& options = *member->options;
  group.served_last = session.number;
  const uint8_t qos = std::min(options.qos, record.qos);  // [MQTT-4.8.2-3]
  const bool retain = options.retain_as_published && record.retain;
  if (qos == 0) {
    Target one{.session = &session, .retain_as_published = options.retain_as_published};
    if (options.identifier != 0) one.subscription_identifiers.push_back(options.identifier);
    deliver_qos0(*session.connection, one);
    store_.acknowledge(group.reader, record.position);
    return Leased::kSent;
  }
  // [MQTT-3.3.4-5]
  const std::span<const uint32_t> identifiers(&options.identifier, options.identifier != 0 ? 1 : 0);
  if (send_new(session, qos, retain, identifiers, group.reader) == Sent::kSent) ++group.lease_count;
  return Leased::kSent;
}

void Broker::Impl::pump_group_later(ShareGroup& group) {
  if (group.pump_due) return;
  group.pump_due = true;
  group_pumps_.push_back(group.number);
}

void Broker::Impl::pump_group(ShareGroup& group) {
  if (group.reader == 0) return;
  int left = kRecordsMax;
  while (const ShareGroup::Member* member = choose(group, 1, {})) {
    if (left-- == 0) return wait_for_step(*member->session->connection);
    if (!pump_group_one(group)) return;
  }
}

bool Broker::Impl::pump_group_one(ShareGroup& group) {
  const bool again = !group.returned.empty();
  const store::Store::Fetch fetched =
      again ? store_.at(*group.returned.begin(), group.reader) : store_.next(group.reader);
  if (again && fetched.status == Status::kGone) {
    store_.acknowledge(group.reader, *group.returned.begin());
    erase_owed(group.reader, *group.returned.begin());
    group.returned.erase(group.returned.begin());
    return true;
  }
  if (fetched.status != Status::kRecord) {
    if (fetched.status == Status::kNone && !again && store_.caught_up(group.reader)) group.behind = false;
    return false;
  }
  const store::Record& record = *fetched.record;
  if (again) {
    group.returned.erase(group.returned.begin());
    erase_owed(group.reader, record.position);  // In the group of rows that say what becomes of it.
  }
  const store::StreamInfo* stream = store_.stream(record.stream);
  if (store::expired(record, stream != nullptr ? stream->options.time_to_live_s : 0, now_)) {
    ++counters_.expired;  // [MQTT-3.3.2-5]
    store_.acknowledge(group.reader, record.position);
    return true;
  }
  begin_fan(record);
  if (lease(group) == Leased::kNobody) {
    const bool wanted = std::any_of(group.members.begin(), group.members.end(), [&](const auto& item) {
      return may_receive(*item.second.session, record.topic);
    });
    if (wanted) {  // Those who have the right to it are busy or away: it waits for them, and what follows behind it.
      group.returned.insert(record.position);
      put_owed(group.reader, record.position, 1);
      return false;
    }
    ++counters_.not_authorized;
    store_.acknowledge(group.reader, record.position);
    give_up(group.reader, record.position);
  }
  boundary();
  return true;
}

// --- Members that are away.

void Broker::Impl::put_owed(store::ReaderId reader, Position position, uint8_t qos) {
  store_.put(Table::kShareOwed, owed_key(reader, position), encode_owed(qos),
             qos == 2 ? Haste::kCommit : Haste::kRide);
}

void Broker::Impl::erase_owed(store::ReaderId reader, Position position) {
  store_.erase(Table::kShareOwed, owed_key(reader, position), Haste::kRide);
}

void Broker::Impl::give_up(store::ReaderId reader, Position position) {
  store_.add_gap({.first = position.value,
                  .last = position.value,
                  .cause = store::GapCause::kSessionEnded,
                  .reader = reader,
                  .wall_us = now_.wall_us,
                  .count = 1});
}

void Broker::Impl::arm_leases(Session& session) {
  bool any = false;
  session.outbound.for_each([&](const Outbound& entry) { any = any || (entry.leased && entry.qos == 1); });
  if (!any) return;
  const Duration left = kLeaseTime - elapsed_since(session.disconnected, now_);
  timers_.arm(Timer::Kind::kLease, session.number, now_.mono + std::max(left, Duration{}),
              &session.lease_timer);
}

void Broker::Impl::return_leases(Session& session, bool with_qos2) {
  for (auto next = session.leases.begin(); next != session.leases.end();) {
    const auto [packet_id, lease] = *next;
    Outbound* entry = session.outbound.find(packet_id);
    HF_ASSERT(entry != nullptr);
    if (entry->qos == 2 && !with_qos2) {  // [MQTT-4.8.2-4]
      ++next;
      continue;
    }
    ++next;
    return_lease(session, *entry);
  }
}

// At QoS 1 another member gets it. At QoS 2 nobody can know whether it arrived.
void Broker::Impl::return_lease(Session& session, Outbound& entry) {
  const auto found = session.leases.find(entry.packet_id);
  HF_ASSERT(found != session.leases.end());
  const store::ReaderId reader = found->second.reader;
  ShareGroup* group = find_group(reader);
  HF_ASSERT(group != nullptr);
  const Position position = entry.position;
  if (entry.qos == 1) {
    group->returned.insert(position);
    group->behind = true;
    put_owed(reader, position, 1);
    pump_group_later(*group);
  } else {  // [MQTT-4.8.2-5]
    store_.acknowledge(reader, position);
    if (!session.durable) erase_owed(reader, position);
    if (entry.state == Outbound::State::kSent) give_up(reader, position);
  }
  if (session.durable)
    store_.erase(Table::kOutbound, PacketKey(session.number, entry.packet_id), Haste::kRide);
  session.leases.erase(found);
  session.outbound.erase(&entry);
  --group->lease_count;
  close_group(*group);
}

}  // namespace hf::broker
