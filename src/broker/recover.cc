// From rows to sessions at the start. A row that does not decode is passed over and said; rows of sessions
// that are no more are erased.
#include <algorithm>

#include "broker/broker_impl.h"
#include "mqtt/topic.h"

namespace hf::broker {

void Broker::Impl::recover() {
  recover_sessions();
  recover_groups();
  recover_subscriptions();
  recover_packets();
  recover_owed();
  settle_groups();
  recover_wills();
  // In order of client identifier; ending one takes it out of the map.
  std::vector<uint64_t> numbers;
  for (const auto& [client_id, session] : sessions_) numbers.push_back(session->number);
  for (const uint64_t number : numbers) {
    Session& session = *sessions_by_number_[number];
    if (session.expiry_s == 0) {
      end_session(session, Haste::kRide);
      continue;
    }
    arm_expiry(session);  // An expired one ends at the first tick.
    arm_leases(session);
    if (store_.reader(session.reader)->owed_count > 0) arm_owed(session, Duration{0});
    will_due(session);
    boundary();
  }
}

void Broker::Impl::recover_sessions() {
  std::vector<Session*> stood;
  store_.scan(Table::kSession, {}, [&](Bytes key, Bytes value) {
    SessionRow row;
    if (!decode(value, &row) || sessions_by_number_.contains(row.number)) {
      log_rarely(kEventRowDamaged, "a session's row cannot be read: " + quoted_name(key));
      return true;
    }
    auto made = std::make_unique<Session>();
    Session& session = *made;
    session.number = row.number;
    session.client_id = std::string(key);
    session.durable = true;
    session.version = row.v5 ? Version::k5 : Version::k311;
    session.expiry_s = row.expiry_s;
    session.reader = row.reader;
    session.user = row.user;
    session.by_certificate = row.by_certificate;
    // Nobody knows when a connection ended that stood at a crash: from now on then.
    session.disconnected = row.connected ? arrival_ : row.stamp;
    session.behind = true;
    session_number_last_ = std::max(session_number_last_, row.number);
    if (row.connected || store_.reader(row.reader) == nullptr) stood.push_back(&session);
    sessions_by_number_[session.number] = &session;
    sessions_[session.client_id] = std::move(made);
    return true;
  });
  for (Session* session : stood) {
    if (store_.reader(session->reader) == nullptr) {
      log_rarely(kEventRowDamaged, "the reader of " + quoted_name(session->client_id) +
                                       " is gone; it is owed what comes from now on");
      session->reader = store_.create_reader(true);
    }
    put_session(*session, false, Haste::kRide);
  }
  for (const auto& [client_id, session] : sessions_) {
    sessions_by_reader_[session->reader] = session.get();
    store_.count_in_figures(session->reader);
  }
}

void Broker::Impl::recover_subscriptions() {
  std::vector<std::string> orphans;
  store_.scan(Table::kSubscription, {}, [&](Bytes key, Bytes value) {
    ByteReader in(key);
    const auto found = sessions_by_number_.find(in.u64be());
    const Bytes filter = in.rest();
    SubscriptionRow row;
    if (!in.ok() || found == sessions_by_number_.end()) {
      orphans.emplace_back(key);
    } else if (!mqtt::topic_filter_valid(filter) || !decode(value, &row)) {
      log_rarely(kEventRowDamaged,
                 "a subscription of " + quoted_name(found->second->client_id) + " cannot be read");
    } else {
      subscriptions_.set(*found->second, filter, row.options);
      watch_sys(filter);
      if (row.retained_owed) found->second->retained_scans[std::string(filter)] = {.options = row.options};
    }
    return true;
  });
  for (const std::string& key : orphans) store_.erase(Table::kSubscription, key, Haste::kRide);
}

// Those with a reader; members come with their subscriptions, leases with their packets.
void Broker::Impl::recover_groups() {
  std::vector<std::string> orphans;
  store_.scan(Table::kShareGroup, {}, [&](Bytes key, Bytes value) {
    store::ReaderId reader = 0;
    const std::string filter = "$share/" + std::string(key);
    if (!mqtt::topic_filter_valid(filter) || !decode_group(value, &reader) ||
        store_.reader(reader) == nullptr || groups_by_reader_.contains(reader)) {
      log_rarely(kEventRowDamaged, "the shared subscription " + quoted_name(filter) + " cannot be read");
      orphans.emplace_back(key);
      return true;
    }
    ShareGroup& group = subscriptions_.make_group(key);
    group.reader = reader;
    group.behind = true;
    groups_by_reader_[reader] = &group;
    store_.count_in_figures(reader);
    return true;
  });
  for (const std::string& key : orphans) store_.erase(Table::kShareGroup, key, Haste::kRide);
}

// What came back to a group and was not leased again, and what sessions had that left no rows.
void Broker::Impl::recover_owed() {
  std::vector<std::string> done;
  store_.scan(Table::kShareOwed, {}, [&](Bytes key, Bytes value) {
    store::ReaderId reader = 0;
    Position position;
    uint8_t qos = 0;
    ShareGroup* const group = decode_owed_key(key, &reader, &position) ? find_group(reader) : nullptr;
    if (group == nullptr) {
      done.emplace_back(key);
    } else if (decode_owed(value, &qos) && qos == 2) {
      give_up(reader, position);
      done.emplace_back(key);
    } else {  // Also where the row is damaged: at least once.
      group->returned.insert(position);
    }
    return true;
  });
  for (const std::string& key : done) store_.erase(Table::kShareOwed, key, Haste::kRide);
}

void Broker::Impl::settle_groups() {
  std::map<store::ReaderId, std::vector<Position>> leased;
  for (const auto& [client_id, session] : sessions_) {
    for (const auto& [packet_id, lease] : session->leases) {
      leased[lease.reader].push_back(session->outbound.find(packet_id)->position);
    }
  }
  std::vector<ShareGroup*> groups;
  subscriptions_.for_each_group([&](ShareGroup& group) { groups.push_back(&group); });
  for (ShareGroup* group : groups) {
    open_group(*group);
    std::vector<Position>& positions = leased[group->reader];
    positions.insert(positions.end(), group->returned.begin(), group->returned.end());
    std::sort(positions.begin(), positions.end());
    if (group->reader != 0) store_.restore_outstanding(group->reader, positions);
    close_group(*group);
  }
}

void Broker::Impl::recover_packets() {
  for (const Table table : {Table::kInbound, Table::kOutbound}) {
    std::vector<std::string> orphans;
    store_.scan(table, {}, [&](Bytes key, Bytes value) {
      uint64_t number = 0;
      Outbound entry;
      Lease lease;
      const bool whole = decode_packet_key(key, &number, &entry.packet_id) && entry.packet_id != 0;
      const auto found = sessions_by_number_.find(number);
      if (!whole || found == sessions_by_number_.end()) {
        orphans.emplace_back(key);
      } else if (table == Table::kInbound) {
        found->second->inbound[entry.packet_id] = 0;
      } else if (!decode(value, &entry, &lease) || entry.qos == 0) {
        log_rarely(kEventRowDamaged,
                   "a delivery to " + quoted_name(found->second->client_id) + " cannot be read");
      } else if (ShareGroup* group = find_group(lease.reader); lease.reader != 0 && group == nullptr) {
        orphans.emplace_back(key);  // The group has ended.
      } else {
        entry.leased = group != nullptr;
        if (found->second->outbound.insert(entry) && group != nullptr) {
          found->second->leases[entry.packet_id] = lease;
          ++group->lease_count;
        }
      }
      return true;
    });
    for (const std::string& key : orphans) store_.erase(table, key, Haste::kRide);
  }
  recover_runs();
  for (const auto& [client_id, session] : sessions_) {
    std::vector<Position> positions;
    session->outbound.for_each([&](const Outbound& entry) {
      if (!entry.leased) positions.push_back(entry.position);
    });
    std::sort(positions.begin(), positions.end());
    store_.restore_outstanding(session->reader, positions);
  }
}

void Broker::Impl::recover_runs() {
  struct Found {
    Session* session;
    uint16_t slot;
    Outbound entry;
  };
  std::vector<Found> found;
  std::vector<std::string> done;
  store_.scan(Table::kOutboundRun, {}, [&](Bytes key, Bytes value) {
    uint64_t number = 0;
    uint16_t slot = 0;
    const bool whole = decode_packet_key(key, &number, &slot) && slot < Inflight::kCountMax;
    const auto owner = sessions_by_number_.find(number);
    if (!whole || owner == sessions_by_number_.end() || !decode_run(value, &run_scratch_)) {
      if (whole && owner != sessions_by_number_.end())
        log_rarely(kEventRowDamaged,
                   "deliveries to " + quoted_name(owner->second->client_id) + " cannot be read");
      done.emplace_back(key);
      return true;
    }
    Session& session = *owner->second;
    if (session.runs.left.size() <= slot) session.runs.left.resize(slot + 1u);
    const store::ReaderInfo* reader = store_.reader(session.reader);
    for (Outbound& entry : run_scratch_) {
      if (reader != nullptr && entry.position <= reader->low_water) continue;
      entry.run = static_cast<uint16_t>(slot + 1);
      found.push_back({&session, slot, entry});
    }
    return true;
  });
  // The newest first: an identifier that stands in two runs was given again, so the older delivery was acknowledged.
  std::sort(found.begin(), found.end(),
            [](const Found& x, const Found& y) { return x.entry.position > y.entry.position; });
  for (const Found& one : found) {
    if (one.session->outbound.insert(one.entry)) ++one.session->runs.left[one.slot];
  }
  for (const auto& [client_id, session] : sessions_) {
    for (size_t slot = 0; slot < session->runs.left.size(); ++slot) {
      if (session->runs.left[slot] == 0)
        store_.erase(Table::kOutboundRun, PacketKey(session->number, static_cast<uint16_t>(slot)),
                     Haste::kRide);
    }
  }
  for (const std::string& key : done) store_.erase(Table::kOutboundRun, key, Haste::kRide);
}

void Broker::Impl::recover_wills() {
  std::vector<std::pair<std::string, WillRow>> alone;
  store_.scan(Table::kWill, {}, [&](Bytes key, Bytes value) {
    WillRow will;
    if (!decode(value, &will) || !mqtt::topic_name_valid(will.topic)) {
      log_rarely(kEventRowDamaged, "the will of " + quoted_name(key) + " cannot be read");
    } else if (Session* session = find_session(key)) {
      session->will = std::make_unique<WillRow>(std::move(will));
    } else {
      alone.emplace_back(std::string(key), std::move(will));
    }
    return true;
  });
  // Their sessions ended with the connection.
  for (const auto& [client_id, will] : alone) {
    publish_will(client_id, will, 0);
    boundary();
  }
}

}  // namespace hf::broker
