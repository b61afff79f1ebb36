// What an operator looks at, beyond status: clients, subscriptions, retained messages, queues, records.
//
// A place to go on behind is opaque to whoever asks. Of queues it is the kind ('0' parent, '1' nodes, '2' groups,
// '3' sessions) and the name; of an export "STREAM:COMMIT:INDEX:END", where END is the commit that was the last when the
// export began: what comes later is not waited for.
#include "node/inspect.h"

#include <algorithm>
#include <charconv>

#include "mqtt/topic.h"
#include "node/node_impl.h"

namespace hf::node {

namespace {

using FetchStatus = store::Store::FetchStatus;
using broker::WaitsFor;

// Records that one call of an export looks at.
constexpr size_t kRecordsLookedAtMax = 4096;

struct ExportPlace {
  store::StreamId stream = 0;
  store::Position after;
  uint64_t end = 0;

  std::string text() const {
    return std::to_string(stream) + ":" + std::to_string(after.commit()) + ":" +
           std::to_string(after.index()) + ":" + std::to_string(end);
  }
};

std::optional<ExportPlace> parse_place(Bytes text) {
  uint64_t numbers[4] = {};
  for (size_t i = 0; i < 4; ++i) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), numbers[i]);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (i == 3) break;
    if (!text.starts_with(':')) return std::nullopt;
    text.remove_prefix(1);
  }
  if (!text.empty() || numbers[0] > UINT32_MAX || numbers[1] >> (64 - store::Position::kIndexBits) != 0 ||
      numbers[2] >> store::Position::kIndexBits != 0) {
    return std::nullopt;
  }
  return ExportPlace{static_cast<store::StreamId>(numbers[0]),
                     store::Position::of(numbers[1], static_cast<uint32_t>(numbers[2])), numbers[3]};
}

RightsInfo rights_info(const identity::Grant& grant) {
  const auto lists = [&](identity::Action action) {
    return RightsInfo::Lists{grant.filters(action, false), grant.filters(action, true)};
  };
  return {grant.all(), lists(identity::Action::kPublish), lists(identity::Action::kRetain),
          lists(identity::Action::kSubscribe)};
}

}  // namespace

const char* queue_kind_name(QueueStatus::Kind kind) {
  switch (kind) {
    case QueueStatus::Kind::kParent:
      return "parent";
    case QueueStatus::Kind::kNode:
      return "node";
    case QueueStatus::Kind::kGroup:
      return "group";
    case QueueStatus::Kind::kSession:
      return "session";
  }
  return "";
}

// --- Clients.

std::string Node::Impl::address_of(ConnectionId connection) const {
  const Caller* const caller = connection != 0 ? logins_.caller(connection) : nullptr;
  return caller != nullptr ? caller->address : "";
}

Page<ClientStatus> Node::Impl::clients(Bytes after, size_t count, const Now& now) const {
  Page<ClientStatus> page;
  broker::Page<broker::ClientInfo> found = broker_->clients(after, count, now);
  for (broker::ClientInfo& info : found.rows) {
    const ConnectionId connection = info.connection;
    page.rows.push_back({std::move(info), address_of(connection)});
  }
  page.next = std::move(found.next);
  return page;
}

std::optional<ClientReport> Node::Impl::client(Bytes client_id, const Now& now) const {
  std::optional<broker::ClientDetail> detail = broker_->client(client_id, now);
  if (!detail) return std::nullopt;
  ClientReport about{std::move(*detail), {}, {}};
  const broker::ClientInfo& info = about.detail.info;
  about.address = address_of(info.connection);
  if (info.node.empty())
    about.rights = rights_info(logins_.grant(info.user, info.by_certificate, info.client_id));
  return about;
}

Result<> Node::Impl::client_end(Bytes client_id, bool forget, const Now& now) {
  if (!broker_->client(client_id, now)) {
    return fail(Code::kNotFound, "no client of this identifier; see them with: holdfast client ls");
  }
  ends_.push_back({std::string(client_id), forget});
  return {};
}

void Node::Impl::end_clients() {
  for (const End& end : std::exchange(ends_, {})) {
    ended_commit_ = std::max(ended_commit_, broker_->end_client(end.client_id, end.forget, now_));
  }
}

// --- Messages of the operator.

uint64_t Node::Impl::publish(broker::Publication message) {
  publications_.push_back(std::move(message));
  return ++publication_last_;
}

void Node::Impl::publish_due() {
  const std::vector<broker::Publication> due = std::exchange(publications_, {});
  uint64_t number = publication_last_ - due.size();
  for (const broker::Publication& message : due) {
    published_.push_back(
        {++number, stopping_ ? Result<broker::Published>(fail(Code::kBusy, "the node is being stopped"))
                             : broker_->publish(message, now_)});
    store->boundary();
  }
}

// --- Retained messages.

Page<broker::RetainedInfo> Node::Impl::remove_retained(Bytes filter, Bytes after, size_t count,
                                                       const Now& now, uint64_t* commit) {
  Page<broker::RetainedInfo> page = broker_->remove_retained(filter, after, count, now);
  *commit = page.rows.empty() ? 0 : store->open_commit();
  store->boundary();
  return page;
}

// --- Queues.

// False: the disk has to be asked first.
bool Node::Impl::oldest_of(const link::Travel& travel, const Now& now, broker::QueueInfo* info) {
  // The low-water position of the lane that is farthest behind; its next record is the oldest.
  const link::Lane* behind = nullptr;
  store::Position low;
  for (const link::Lane& lane : travel.lanes()) {
    const store::ReaderInfo* reader = store->reader(lane.reader);
    if (reader == nullptr || reader->owed_count == 0) continue;
    if (behind != nullptr && low < reader->low_water) continue;
    behind = &lane;
    low = reader->low_water;
  }
  if (behind == nullptr) return true;
  const store::Store::Fetch fetched = store->beside_first_owed(behind->reader);
  if (fetched.status == FetchStatus::kPending) return false;
  if (fetched.status == FetchStatus::kRecord) {
    info->oldest = std::max(Duration{}, microseconds(now.wall_us - fetched.record->arrival.wall_us));
  }
  return true;
}

QueueStatus Node::Impl::link_queue(const link::Conversation& conversation) const {
  QueueStatus queue;
  const link::Travel::Owed owed = conversation.sender().travel().owed();
  queue.info.owed_count = owed.count;
  queue.info.owed_bytes = owed.bytes;
  queue.up = conversation.up();
  queue.goodput_bytes_s = conversation.sender().pace().goodput();
  queue.info.inflight_bytes = conversation.sender().pace().outstanding();
  queue.pending_bytes = store->pending_bytes();
  return queue;
}

QueueStatus Node::Impl::broker_queue(QueueStatus::Kind kind, broker::QueueInfo info) const {
  QueueStatus queue;
  queue.kind = kind;
  queue.info = std::move(info);
  queue.pending_bytes = store->pending_bytes();
  return queue;
}

QueueStatus Node::Impl::parent_queue(const Now& now, bool* pending) {
  if (!parent_) return former_parent_queue(now, pending);
  QueueStatus queue = link_queue(parent_->conversation);
  const LinkStatus link = status(now).link;
  queue.kind = QueueStatus::Kind::kParent;
  queue.info.name = link.peer;
  queue.up = link.up;
  queue.error = link.last_error;
  queue.next_dial = link.next_dial;
  queue.info.since = link.since;
  if (!oldest_of(parent_->conversation.sender().travel(), now, &queue.info)) *pending = true;
  if (queue.info.owed_count == 0) return queue;
  queue.info.waits_for = store->mode() == store::Mode::kStorageFailed ? WaitsFor::kStorage
                         : !link.claimed || link.rejected             ? WaitsFor::kClaim
                         : !link.up                                   ? WaitsFor::kLink
                         : queue.info.inflight_bytes > 0              ? WaitsFor::kAcknowledgement
                                                                      : WaitsFor::kTurn;
  return queue;
}

QueueStatus Node::Impl::former_parent_queue(const Now& now, bool* pending) {
  QueueStatus queue;
  queue.kind = QueueStatus::Kind::kParent;
  queue.info.name = queue_kind_name(queue.kind);
  const link::Travel::Owed owed = former_parent_->owed();
  queue.info.owed_count = owed.count;
  queue.info.owed_bytes = owed.bytes;
  if (queue.info.owed_count > 0) queue.info.waits_for = WaitsFor::kUpstream;
  if (!oldest_of(*former_parent_, now, &queue.info)) *pending = true;
  return queue;
}

QueueStatus Node::Impl::child_queue(const std::string& name, const Peer& peer, const Now& now,
                                    bool* pending) {
  QueueStatus queue = link_queue(*peer.conversation);
  const link::Child* const child = registry_.find(name);
  queue.kind = QueueStatus::Kind::kNode;
  queue.info.name = name;
  if (peer.connection == 0 && child != nullptr && child->last_seen_wall_us != 0) {
    queue.info.since = std::max(Duration{}, microseconds(now.wall_us - child->last_seen_wall_us));
  }
  if (!oldest_of(peer.conversation->sender().travel(), now, &queue.info)) *pending = true;
  if (queue.info.owed_count == 0) return queue;
  queue.info.waits_for = store->mode() == store::Mode::kStorageFailed ? WaitsFor::kStorage
                         : child == nullptr || !child->claimed()      ? WaitsFor::kClaim
                         : peer.connection == 0 || !queue.up          ? WaitsFor::kLink
                         : queue.info.inflight_bytes > 0              ? WaitsFor::kAcknowledgement
                                                                      : WaitsFor::kTurn;
  return queue;
}

Page<QueueStatus> Node::Impl::queues(Bytes after, size_t count, const Now& now, bool* pending) {
  Page<QueueStatus> page;
  char kind = after.empty() ? '0' : after.front();
  std::string behind(after.empty() ? after : after.substr(1));
  const auto pause = [&] {
    page.next = kind + behind;
    // What was found goes first; the next call waits for the rest.
    if (!page.rows.empty()) *pending = false;
    return page;
  };
  const auto add = [&](QueueStatus queue) {
    if (queue.info.owed_count > 0) page.rows.push_back(std::move(queue));
  };
  if (kind == '0') {
    if (to_parent() != nullptr) {
      QueueStatus queue = parent_queue(now, pending);
      if (*pending) return pause();
      add(std::move(queue));
    }
    kind = '1';
    behind.clear();
  }
  if (kind == '1') {
    for (auto at = children_.upper_bound(behind); at != children_.end(); ++at) {
      if (page.rows.size() >= count) return pause();
      QueueStatus queue = child_queue(at->first, at->second, now, pending);
      if (*pending) return pause();
      add(std::move(queue));
      behind = at->first;
    }
    kind = '2';
    behind.clear();
  }
  for (; kind <= '3'; ++kind, behind.clear()) {
    if (page.rows.size() >= count) return pause();
    const size_t room = count - page.rows.size();
    broker::Page<broker::QueueInfo> found = kind == '2' ? broker_->group_queues(behind, room, now, pending)
                                                        : broker_->session_queues(behind, room, now, pending);
    for (broker::QueueInfo& info : found.rows) {
      add(broker_queue(kind == '2' ? QueueStatus::Kind::kGroup : QueueStatus::Kind::kSession,
                       std::move(info)));
    }
    if (!found.next) continue;
    behind = *found.next;
    return pause();
  }
  return page;
}

std::vector<QueueStatus> Node::Impl::queue(Bytes name, const Now& now, bool* pending) {
  std::vector<QueueStatus> found;
  if (to_parent() != nullptr) {
    QueueStatus queue = parent_queue(now, pending);
    if (name == "parent" || name == queue.info.name) found.push_back(std::move(queue));
  }
  if (const auto child = children_.find(std::string(name)); child != children_.end()) {
    found.push_back(child_queue(child->first, child->second, now, pending));
  }
  constexpr Bytes kShare = "$share/";
  const auto add = [&](QueueStatus::Kind kind, std::optional<broker::QueueInfo> info) {
    if (info) found.push_back(broker_queue(kind, std::move(*info)));
  };
  add(QueueStatus::Kind::kGroup,
      broker_->group_queue(name.starts_with(kShare) ? name.substr(kShare.size()) : name, now, pending));
  // A node below is a client too; what it is owed was said.
  if (found.empty() || found.back().kind != QueueStatus::Kind::kNode) {
    add(QueueStatus::Kind::kSession, broker_->session_queue(name, now, pending));
  }
  return found;
}

// --- Records.

Result<Page<ExportRecord>> Node::Impl::export_records(const ExportQuery& query, bool* pending) {
  std::vector<store::StreamId> ids;
  store->for_each_stream([&](const store::StreamInfo& info) {
    if (info.key.name == query.stream && !link::of_halves(info)) ids.push_back(info.id);
  });
  if (ids.empty()) return fail(Code::kNotFound, "no such stream; see them with: holdfast stream ls");
  std::sort(ids.begin(), ids.end());
  const store::Position start =
      query.since_us == INT64_MIN ? store::Position{} : store->before_time(query.since_us);
  ExportPlace place{ids.front(), start, store->durable_commit()};
  if (!query.after.empty()) {
    const std::optional<ExportPlace> given = parse_place(query.after);
    if (!given) return fail(Code::kInvalid, "`cursor` is not one that an answer gave");
    place = *given;
  }
  Page<ExportRecord> page;
  size_t looked_at = 0;
  size_t bytes = 0;
  for (auto id = std::lower_bound(ids.begin(), ids.end(), place.stream); id != ids.end(); ++id) {
    if (*id != place.stream) place = {*id, start, place.end};
    const store::StreamInfo* const info = store->stream(*id);
    while (true) {
      if (page.rows.size() >= query.count || looked_at >= kRecordsLookedAtMax ||
          bytes >= broker::kPageBytes) {
        page.next = place.text();
        return page;
      }
      const store::Store::Fetch fetched = store->next_in_stream(*id, place.after, 0);
      if (fetched.status == FetchStatus::kPending) {
        *pending = looked_at == 0;
        page.next = place.text();
        return page;
      }
      if (fetched.status != FetchStatus::kRecord) break;
      const store::Record& record = *fetched.record;
      if (record.position.commit() > place.end) break;
      ++looked_at;
      place.after = record.position;
      const int64_t wall_us = record.arrival.wall_us;
      if (wall_us < query.since_us || wall_us >= query.until_us) continue;
      if (!query.filter.empty() && !mqtt::topic_matches(query.filter, record.topic)) continue;
      bytes += record.size_bytes() + 100;
      page.rows.push_back({record.position, info->options.origin, info->key.incarnation, record.sequence,
                           wall_us, record.event_us, record.qos, record.retain, std::string(record.topic),
                           std::string(record.payload)});
    }
  }
  return page;
}

// --- What node.h promises.

Page<ClientStatus> Node::clients(Bytes after, size_t count, const Now& now) const {
  return impl_->clients(after, count, now);
}
std::optional<ClientReport> Node::client(Bytes client_id, const Now& now) const {
  return impl_->client(client_id, now);
}
Result<> Node::client_end(Bytes client_id, bool forget, const Now& now) {
  return impl_->client_end(client_id, forget, now);
}
uint64_t Node::publish(broker::Publication message) { return impl_->publish(std::move(message)); }
std::vector<Node::OperatorPublished> Node::take_published() { return impl_->take_published(); }
uint64_t Node::ended_commit() const { return impl_->ended_commit(); }
Page<broker::SubscriptionInfo> Node::subscriptions(Bytes client_id, Bytes topic, Bytes after,
                                                   size_t count) const {
  return impl_->broker().subscriptions(client_id, topic, after, count);
}
Page<broker::RetainedInfo> Node::retained(Bytes filter, Bytes after, size_t count, const Now& now) const {
  return impl_->broker().retained(filter, after, count, now);
}
Page<broker::RetainedInfo> Node::remove_retained(Bytes filter, Bytes after, size_t count, const Now& now,
                                                 uint64_t* commit) {
  return impl_->remove_retained(filter, after, count, now, commit);
}
Page<QueueStatus> Node::queues(Bytes after, size_t count, const Now& now, bool* pending) {
  return impl_->queues(after, count, now, pending);
}
std::vector<QueueStatus> Node::queue(Bytes name, const Now& now, bool* pending) {
  return impl_->queue(name, now, pending);
}
Result<Page<ExportRecord>> Node::export_records(const ExportQuery& query, bool* pending) {
  return impl_->export_records(query, pending);
}

}  // namespace hf::node
