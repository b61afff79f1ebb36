// What an operator looks at (broker/inspect.h), and the end of a client by hand.
#include "broker/inspect.h"

#include <algorithm>

#include "broker/broker_impl.h"
#include "mqtt/topic.h"

namespace hf::broker {

namespace {

using Status = store::Store::FetchStatus;

// Subscriptions that one call compares with a topic.
constexpr size_t kSubscriptionsLookedAtMax = 16'384;
// Reads of the disk that one call asks for ahead: the next calls find them done.
constexpr int kReadsAhead = 16;
// Between client identifier and filter in a place to go on behind: no text of MQTT's has this byte.
constexpr char kSeparator = '\0';
// Sorts behind every filter: no UTF-8 has this byte.
constexpr Bytes kBehindAll = "\xff";

uint32_t keep_alive_s(const Connection& connection) {
  return static_cast<uint32_t>(to_ms(connection.keep_alive) / 1500);
}

// Fills a page from an ordered map, behind `after`: take(item, &rows) says what it costs to have looked at the item, or
// nothing if the page ends before it.
template <typename Row, typename Map, typename Take>
Page<Row> page_of(const Map& map, Bytes after, size_t count, const Take& take) {
  Page<Row> page;
  size_t looked_at = 0;
  size_t bytes = 0;
  Bytes last = after;
  for (auto at = after.empty() ? map.begin() : map.upper_bound(after); at != map.end(); ++at) {
    const size_t before = page.rows.size();
    const bool full = before >= count || looked_at >= kLookedAtMax || bytes >= kPageBytes;
    const std::optional<size_t> cost = full ? std::nullopt : take(*at->second, &page.rows);
    if (!cost) {
      page.next.emplace(last);
      return page;
    }
    looked_at += *cost;
    if (page.rows.size() > before) bytes += at->first.size() + 100;
    last = at->first;
  }
  return page;
}

}  // namespace

const char* waits_for_name(WaitsFor waits_for) {
  switch (waits_for) {
    case WaitsFor::kNothing:
      return "nothing";
    case WaitsFor::kClient:
      return "client";
    case WaitsFor::kAcknowledgement:
      return "acknowledgement";
    case WaitsFor::kWindow:
      return "window";
    case WaitsFor::kNetwork:
      return "network";
    case WaitsFor::kDisk:
      return "disk";
    case WaitsFor::kTurn:
      return "turn";
    case WaitsFor::kStorage:
      return "storage";
    case WaitsFor::kLink:
      return "link";
    case WaitsFor::kClaim:
      return "claim";
    case WaitsFor::kUpstream:
      return "upstream";
  }
  return "";
}

// --- Clients.

ClientInfo Broker::Impl::info_of(const Session& session, const Now& now) const {
  ClientInfo info;
  info.client_id = session.client_id;
  info.user = session.user;
  info.by_certificate = session.by_certificate;
  info.connected = session.connection != nullptr;
  info.version = session.version;
  info.persistent = session.durable;
  info.subscriptions = session.subscriptions.size();
  info.inflight = session.outbound.count();
  info.node = session.node_name;
  if (const Connection* connection = session.connection) {
    info.connection = connection->id;
    info.window = window(*connection);
    info.since = now.mono - connection->opened;
  } else {
    info.since = elapsed_since(session.disconnected, now);
  }
  if (const store::ReaderInfo* reader = session.reader != 0 ? store_.reader(session.reader) : nullptr) {
    info.owed_count = reader->owed_count;
    info.owed_bytes = reader->owed_bytes;
  }
  info.owed_count += session.queue.size();
  info.owed_bytes += session.queue_bytes;
  return info;
}

void Broker::Impl::for_each_client(const std::function<void(const ClientInfo&)>& visit) const {
  for (const auto& [client_id, session] : sessions_) visit(info_of(*session, now_));
}

Page<ClientInfo> Broker::Impl::clients(Bytes after, size_t count, const Now& now) const {
  return page_of<ClientInfo>(sessions_, after, count,
                             [&](const Session& session, std::vector<ClientInfo>* rows) {
                               rows->push_back(info_of(session, now));
                               return std::optional<size_t>(1);
                             });
}

std::optional<ClientDetail> Broker::Impl::client(Bytes client_id, const Now& now) const {
  const auto found = sessions_.find(client_id);
  if (found == sessions_.end()) return std::nullopt;
  Session& session = *found->second;
  ClientDetail detail;
  detail.info = info_of(session, now);
  size_t bytes = 0;
  for (const auto& [filter, options] : session.subscriptions) {
    if (bytes >= kPageBytes) break;
    bytes += filter.size() + 100;
    detail.subscriptions.emplace_back(filter, options);
  }
  if (session.will != nullptr) {
    const WillRow& will = *session.will;
    detail.will = WillInfo{will.topic, will.qos, will.retain, will.delay_s, will.payload.size()};
  }
  detail.expiry_s = session.expiry_s;
  session.outbound.for_each([&](const Outbound& entry) { detail.inflight_bytes += entry.size_bytes; });
  const Connection* const connection = session.connection;
  if (connection == nullptr) {
    if (session.expiry_timer) detail.expires_in = std::max(Duration{}, *session.expiry_timer - now.mono);
    return detail;
  }
  detail.keep_alive_s = keep_alive_s(*connection);
  detail.heard = now.mono - connection->last_received;
  if (connection->acknowledged) detail.acknowledged = now.mono - *connection->acknowledged;
  if (connection->packet_bytes_max != UINT32_MAX) detail.packet_bytes_max = connection->packet_bytes_max;
  detail.unsent_bytes = unsent_of(*connection);
  detail.received_open = connection->received_open;
  detail.auth_method = connection->auth_method;
  return detail;
}

uint64_t Broker::Impl::end_client(Bytes client_id, bool forget, const Now& now) {
  const Call call(*this, now);
  boundary_due_ = true;
  Session* session = find_session(client_id);
  if (session == nullptr) return 0;
  const bool durable = session->durable;
  if (session->connection != nullptr) {
    close(*session->connection, Reason::kAdministrativeAction, "disconnected by the operator");
    session = find_session(client_id);  // One without state ends with its connection.
  }
  if (!forget) return 0;
  if (session != nullptr) end_session(*session, Haste::kCommit);
  return durable ? store_.open_commit() : 0;
}

// --- Subscriptions.

Page<SubscriptionInfo> Broker::Impl::subscriptions(Bytes client_id, Bytes topic, Bytes after,
                                                   size_t count) const {
  Page<SubscriptionInfo> page;
  size_t looked_at = 0;
  size_t bytes = 0;
  const size_t separator = after.find(kSeparator);
  const Bytes after_client = after.substr(0, separator);
  const Bytes after_filter = separator == Bytes::npos ? Bytes() : after.substr(separator + 1);
  const auto pause = [&](Bytes client, Bytes filter) {
    page.next.emplace(client);
    *page.next += kSeparator;
    page.next->append(filter);
  };
  auto at = sessions_.lower_bound(client_id.empty() || after_client > client_id ? after_client : client_id);
  for (; at != sessions_.end(); ++at) {
    const Session& session = *at->second;
    if (!client_id.empty() && at->first != client_id) break;
    auto entry = at->first == after_client ? session.subscriptions.upper_bound(after_filter)
                                           : session.subscriptions.begin();
    for (; entry != session.subscriptions.end(); ++entry) {
      const auto& [filter, options] = *entry;
      ++looked_at;
      mqtt::SharedFilter shared{{}, filter};
      mqtt::parse_shared(filter, &shared);
      if (topic.empty() || mqtt::topic_matches(shared.filter, topic)) {
        page.rows.push_back({.client_id = session.client_id,
                             .user = session.user,
                             .connected = session.connection != nullptr,
                             .filter = filter,
                             .options = options,
                             .allowed = topic.empty() || may_receive(session, topic)});
        bytes += session.client_id.size() + filter.size() + 100;
      }
      if (page.rows.size() >= count || looked_at >= kSubscriptionsLookedAtMax || bytes >= kPageBytes) {
        pause(at->first, filter);
        return page;
      }
    }
    if (++looked_at >= kSubscriptionsLookedAtMax) {
      pause(at->first, kBehindAll);
      return page;
    }
  }
  return page;
}

// --- Retained messages.

Page<RetainedInfo> Broker::Impl::retained(Bytes filter, Bytes after, size_t count, const Now& now) const {
  Page<RetainedInfo> page;
  size_t rows_left = kLookedAtMax;
  size_t bytes = 0;
  std::optional<std::string> last;
  if (!after.empty()) last.emplace(after);
  RetainedRow row;
  while (page.rows.size() < count && bytes < kPageBytes) {
    const Retained::Found found = retained_.next(filter, &last, &rows_left, now, &row);
    if (found == Retained::Found::kNoMore) return page;
    if (found == Retained::Found::kPaused) break;
    page.rows.push_back({.topic = *last,
                         .qos = row.qos,
                         .payload_bytes = row.payload.size(),
                         .publisher = std::string(row.publisher),
                         .user = std::string(row.user),
                         .arrived_wall_us = row.arrival.wall_us,
                         .age = elapsed_since(row.arrival, now),
                         .expires_in_s = expiry_left_s(row.arrival, row.expiry_s, now)});
    bytes += last->size() + row.publisher.size() + row.user.size() + 100;
  }
  page.next = std::move(last);
  return page;
}

Page<RetainedInfo> Broker::Impl::remove_retained(Bytes filter, Bytes after, size_t count, const Now& now) {
  Page<RetainedInfo> page = retained(filter, after, count, now);
  for (const RetainedInfo& one : page.rows) retained_.erase(one.topic, Haste::kCommit);
  return page;
}

// --- Queues.

bool Broker::Impl::find_oldest(store::ReaderId reader, const Now& now, QueueInfo* info) {
  if (reader == 0 || info->owed_count == 0) return true;
  const store::Store::Fetch fetched = store_.beside_first_owed(reader);
  if (fetched.status == Status::kPending) return false;
  // What is owed and not durable yet came just now.
  if (fetched.status == Status::kRecord) info->oldest = elapsed_since(fetched.record->arrival, now);
  return true;
}

QueueInfo Broker::Impl::queue_of(const Session& session, const Now& now) const {
  const ClientInfo client = info_of(session, now);
  QueueInfo info;
  info.name = client.client_id;
  info.owed_count = client.owed_count;
  info.owed_bytes = client.owed_bytes;
  info.inflight = client.inflight;
  info.window = client.window;
  // Those of the queue are few and younger than what is owed in the log, or there is nothing owed there.
  if (!session.queue.empty()) info.oldest = elapsed_since(session.queue.front().arrival, now);
  const Connection* const connection = session.connection;
  if (info.owed_count == 0) return info;
  if (storage_failed()) {
    info.waits_for = WaitsFor::kStorage;
  } else if (connection == nullptr) {
    info.waits_for = WaitsFor::kClient;
    info.since = client.since;
  } else if (!connection->connack_sent) {
    info.waits_for = WaitsFor::kDisk;
  } else {
    info.inflight = connection->sent_open;
    info.inflight_bytes = connection->sent_open_bytes;
    info.unsent_bytes = unsent_of(*connection);
    info.since = now.mono - connection->acknowledged.value_or(connection->opened);
    const bool waits = session.behind || session.resending() || !session.queue.empty();
    info.waits_for = !has_window(*connection)                              ? WaitsFor::kWindow
                     : info.unsent_bytes >= limits_.unsent_bytes_max / 4   ? WaitsFor::kNetwork
                     : connection->gate.commit() > store_.durable_commit() ? WaitsFor::kDisk
                     : waits                                               ? WaitsFor::kTurn
                                                                           : WaitsFor::kAcknowledgement;
  }
  return info;
}

QueueInfo Broker::Impl::queue_of(const ShareGroup& group) const {
  QueueInfo info;
  info.name = group.name;
  info.members = group.members.size();
  info.inflight = group.lease_count;
  bool room = false;
  for (const auto& [number, member] : group.members) {
    const Connection* connection = member.session->connection;
    if (connection == nullptr) continue;
    ++info.members_connected;
    info.window += window(*connection);
    room = room || has_room(*connection);
  }
  if (const store::ReaderInfo* reader = group.reader != 0 ? store_.reader(group.reader) : nullptr) {
    info.owed_count = reader->owed_count;
    info.owed_bytes = reader->owed_bytes;
  }
  if (info.owed_count == 0) return info;
  info.waits_for = storage_failed()              ? WaitsFor::kStorage
                   : info.members_connected == 0 ? WaitsFor::kClient
                   : !room                       ? WaitsFor::kWindow
                   : group.behind                ? WaitsFor::kTurn
                                                 : WaitsFor::kAcknowledgement;
  return info;
}

Page<QueueInfo> Broker::Impl::session_queues(Bytes after, size_t count, const Now& now, bool* pending) {
  int reads = 0;
  Page<QueueInfo> page =
      page_of<QueueInfo>(sessions_, after, count,
                         [&](const Session& session, std::vector<QueueInfo>* rows) -> std::optional<size_t> {
                           QueueInfo info = queue_of(session, now);
                           const bool found = find_oldest(session.reader, now, &info);
                           if (!found && ++reads >= kReadsAhead) return std::nullopt;
                           // Behind the first that has to be read nothing is taken; it is only asked for.
                           if (reads == 0 && info.owed_count > 0) rows->push_back(std::move(info));
                           return 1;
                         });
  if (reads == 0) return page;
  *pending = page.rows.empty();
  page.next = page.rows.empty() ? std::string(after) : page.rows.back().name;
  return page;
}

Page<QueueInfo> Broker::Impl::group_queues(Bytes after, size_t count, const Now& now, bool* pending) {
  int reads = 0;
  Page<QueueInfo> page =
      page_of<QueueInfo>(subscriptions_.groups(), after, count,
                         [&](const ShareGroup& group, std::vector<QueueInfo>* rows) -> std::optional<size_t> {
                           QueueInfo info = queue_of(group);
                           const bool found = find_oldest(group.reader, now, &info);
                           if (!found && ++reads >= kReadsAhead) return std::nullopt;
                           if (reads == 0 && info.owed_count > 0) rows->push_back(std::move(info));
                           return 1 + group.members.size();
                         });
  if (reads == 0) return page;
  *pending = page.rows.empty();
  page.next = page.rows.empty() ? std::string(after) : page.rows.back().name;
  return page;
}

std::optional<QueueInfo> Broker::Impl::session_queue(Bytes client_id, const Now& now, bool* pending) {
  const auto found = sessions_.find(client_id);
  if (found == sessions_.end()) return std::nullopt;
  QueueInfo info = queue_of(*found->second, now);
  if (!find_oldest(found->second->reader, now, &info)) *pending = true;
  return info;
}

std::optional<QueueInfo> Broker::Impl::group_queue(Bytes name, const Now& now, bool* pending) {
  const auto found = subscriptions_.groups().find(name);
  if (found == subscriptions_.groups().end()) return std::nullopt;
  QueueInfo info = queue_of(*found->second);
  if (!find_oldest(found->second->reader, now, &info)) *pending = true;
  return info;
}

// --- What broker.h promises.

void Broker::for_each_client(const std::function<void(const ClientInfo&)>& visit) const {
  impl_->for_each_client(visit);
}
Page<ClientInfo> Broker::clients(Bytes after, size_t count, const Now& now) const {
  return impl_->clients(after, count, now);
}
std::optional<ClientDetail> Broker::client(Bytes client_id, const Now& now) const {
  return impl_->client(client_id, now);
}
Page<SubscriptionInfo> Broker::subscriptions(Bytes client_id, Bytes topic, Bytes after, size_t count) const {
  return impl_->subscriptions(client_id, topic, after, count);
}
Page<RetainedInfo> Broker::retained(Bytes filter, Bytes after, size_t count, const Now& now) const {
  return impl_->retained(filter, after, count, now);
}
Page<RetainedInfo> Broker::remove_retained(Bytes filter, Bytes after, size_t count, const Now& now) {
  return impl_->remove_retained(filter, after, count, now);
}
Page<QueueInfo> Broker::session_queues(Bytes after, size_t count, const Now& now, bool* pending) {
  return impl_->session_queues(after, count, now, pending);
}
Page<QueueInfo> Broker::group_queues(Bytes after, size_t count, const Now& now, bool* pending) {
  return impl_->group_queues(after, count, now, pending);
}
std::optional<QueueInfo> Broker::session_queue(Bytes client_id, const Now& now, bool* pending) {
  return impl_->session_queue(client_id, now, pending);
}
std::optional<QueueInfo> Broker::group_queue(Bytes name, const Now& now, bool* pending) {
  return impl_->group_queue(name, now, pending);
}
uint64_t Broker::end_client(Bytes client_id, bool forget, const Now& now) {
  return impl_->end_client(client_id, forget, now);
}

}  // namespace hf::broker
