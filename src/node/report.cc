// What a node says of itself, and what the operator tells it.
//
// Its row: kParent 'U' -> wall:u64, when the link was last known to be up.
#include <algorithm>
#include <deque>
#include <iterator>

#include "link/halves.h"
#include "link/prefix.h"
#include "node/node_impl.h"

namespace hf::node {

namespace {

// Below this span the growth of the log says nothing about days.
constexpr Duration kGrowthSpanMin = seconds(60);
constexpr Duration kGrowthSpan = seconds(86'400);
// A hundred years.
constexpr double kSpaceLeftMaxS = 100.0 * 365 * 86'400;
constexpr Duration kGrowthStep = seconds(3'600);
// Each costs an otherwise idle node a page; a node that starts offline says that it has been so for up to this much too long.
constexpr int64_t kLastUpIntervalUs = 60'000'000;
constexpr Duration kSeenInterval = seconds(60);
constexpr Duration kOldestInterval = seconds(1);  // While a lane drains.

}  // namespace

Status Node::Impl::status(const Now& now) const {
  Status status;
  status.name = config.name;
  status.store_id = store->store_id();
  status.incarnation = store->incarnation();
  status.uptime = now.mono - started_;
  status.wall_us = now.wall_us;
  status.clock_quality = now.quality;
  status.insecure = config.insecure;
  status.moved_to = config.server_moved;
  status.mode = store->mode();
  status.recovery = report;
  status.store = store->figures();
  status.broker = broker_->counters();
  if (parent_) {
    const link::Conversation& conversation = parent_->conversation;
    const link::Uplink& uplink = parent_->uplink;
    const link::Sender& sender = conversation.sender();
    const link::SenderCounters& sent = sender.counters();
    const link::ReceiverCounters& received = conversation.receiver().counters();
    LinkStatus& link = status.link;
    link.configured = true;
    link.claimed = parent_->credentials.known();
    link.rejected = uplink.rejected();
    link.up = uplink.up();
    link.peer = config.upstream->host + ":" + std::to_string(config.upstream->port);
    if (uplink.since() != Instant{}) {
      link.since = now.mono - uplink.since();
      link.since_wall_us = uplink.since_wall_us();
    } else {
      // Not up since the start: the offline time goes on from the life before, as far as the clock may be believed.
      link.since = now.mono - started_;
      link.since_wall_us = now.wall_us - link.since.ns / 1000;
      if (link_last_up_wall_us_ != 0 && link_last_up_wall_us_ < link.since_wall_us) {
        link.since_wall_us = link_last_up_wall_us_;
        link.since = microseconds(now.wall_us - link_last_up_wall_us_);
      }
    }
    if (const auto dial = uplink.next_dial()) link.next_dial = std::max(Duration{}, *dial - now.mono);
    link.last_error = uplink.last_error();
    link.sent_bytes = uplink.sent_bytes();
    link.sent_payload_bytes = sent.sent_payload_bytes;
    link.received_bytes = uplink.received_bytes();
    link.records_sent = sent.records_sent;
    link.records_receipted = sent.records_receipted;
    link.records_received = received.records_received;
    link.repeats_ignored = received.repeats_ignored;
    link.forks = sent.forks;
    link.goodput_bytes_s = sender.pace().goodput();
  }
  if (const link::Travel* const travel = to_parent()) {
    LinkStatus& link = status.link;
    const link::Travel::Owed owed = travel->owed();
    link.backlog_count = owed.count;
    link.backlog_bytes = owed.bytes;
    // The lane that is farthest behind has the oldest of all.
    std::optional<store::Position> behind;
    for (const link::Lane& lane : travel->lanes()) {
      const store::ReaderInfo* reader = store->reader(lane.reader);
      if (reader == nullptr) continue;
      link.lanes.push_back({lane.priority, reader->owed_count, reader->owed_bytes, {}});
      const auto oldest = oldest_.find(lane.reader);
      if (oldest == oldest_.end()) continue;
      link.lanes.back().oldest_wall_us = oldest->second.wall_us;
      if (behind && *behind <= oldest->second.low) continue;
      behind = oldest->second.low;
      link.oldest_wall_us = oldest->second.wall_us;
    }
  }
  status.nodes_registered = static_cast<uint32_t>(children_.size());
  for (const auto& [name, peer] : children_) {
    status.nodes_connected += peer.connection != 0 ? 1 : 0;
    const link::Travel::Owed owed = peer.conversation->sender().travel().owed();
    status.nodes_owed_count += owed.count;
    status.nodes_owed_bytes += owed.bytes;
  }
  for (const store::GapCause cause :
       {store::GapCause::kRot, store::GapCause::kTailCut, store::GapCause::kExpired,
        store::GapCause::kDropped, store::GapCause::kSessionEnded, store::GapCause::kRewound}) {
    const store::GapSum sum = store->gap_sum(cause);
    status.gaps += sum.gaps;
    status.gaps_by_cause.push_back(
        {.cause = store::gap_cause_name(cause), .gaps = sum.gaps, .records = sum.records});
  }
  status.login_failures = login_failures_;
  status.turned_away = logins_.turned_away();

  if (!growth_.empty()) {
    const Duration span = now.mono - growth_.front().at;
    const store::Figures& figures = status.store;
    const uint64_t written = figures.ingest_bytes - growth_.front().bytes;
    if (span >= kGrowthSpanMin && written > 0) {
      // What nobody is owed any more gives way when space is short.
      const uint64_t space =
          std::min(figures.free_bytes,
                   figures.quota_bytes - std::min(figures.quota_bytes, figures.file_bytes)) +
          figures.spare_bytes;
      const double left_s =
          static_cast<double>(space) / static_cast<double>(written) * (static_cast<double>(span.ns) / 1e9);
      status.space_left = seconds(static_cast<int64_t>(std::min(left_s, kSpaceLeftMaxS)));
    }
  }
  return status;
}

void Node::Impl::put_last_up(int64_t wall_us) {
  link_last_up_wall_us_ = wall_us;
  std::string value;
  put_u64(value, static_cast<uint64_t>(wall_us));
  store->put(store::Table::kParent, kLastUpKey, value, store::Haste::kRide);
}

// What the disk does is told once, when it changes.
void Node::Impl::observe_mode() {
  const store::Mode mode = store->mode();
  if (mode == mode_) return;
  mode_ = mode;
  switch (mode) {
    case store::Mode::kReady:
      return log("HF-STORE-001", "there is space again: new messages are taken");
    case store::Mode::kFull:
      return log("HF-STORE-002", "full: new messages are refused until there is space; see: holdfast status");
    case store::Mode::kDegraded:
      return log(
          "HF-STORE-003",
          "the disk failed to write; that file was left behind and everything still works, but a second "
          "failure would stop it: check the disk");
    case store::Mode::kStorageFailed:
      return log(
          "HF-STORE-004",
          "the disk failed again: nothing can be made safe any more, messages of QoS 1 and 2 are refused; "
          "check the disk, then restart");
  }
}

// Keeps what status() tells of the oldest owed record and of growth. Part of every step, and cheap.
void Node::Impl::observe() {
  if (growth_.empty() || now_.mono >= growth_.back().at + kGrowthStep) {
    growth_.push_back({now_.mono, store->figures().ingest_bytes});
    while (growth_.size() > 1 && growth_[1].at + kGrowthSpan <= now_.mono) growth_.pop_front();
  }
  observe_mode();
  if (now_.mono >= seen_at_ + kSeenInterval) {
    seen_at_ = now_.mono;
    for (const auto& [name, peer] : children_) {
      if (peer.connection != 0) registry_.seen(name, now_.wall_us);
    }
  }
  if (parent_) {
    const link::Uplink& uplink = parent_->uplink;
    // A node that was never online is offline since its first start.
    if (link_last_up_wall_us_ == 0 && !uplink.up()) put_last_up(now_.wall_us);
    const int64_t last_up = uplink.up() ? now_.wall_us - kLastUpIntervalUs : uplink.since_wall_us();
    if (last_up > link_last_up_wall_us_) put_last_up(uplink.up() ? now_.wall_us : last_up);
  }
  const link::Travel* const travel = to_parent();
  if (travel == nullptr) return;
  for (const link::Lane& lane : travel->lanes()) {
    const store::ReaderInfo* reader = store->reader(lane.reader);
    if (reader == nullptr || reader->owed_count == 0) {
      oldest_.erase(lane.reader);
      continue;
    }
    const auto known = oldest_.find(lane.reader);
    // Where it has gone on since, the next look may cost a read from the disk.
    if (known != oldest_.end() &&
        (known->second.low == reader->low_water || now_.mono < known->second.seen + kOldestInterval)) {
      continue;
    }
    if (known != oldest_.end()) known->second.seen = now_.mono;
    const store::Store::Fetch fetch = store->first_owed(lane.reader);
    if (fetch.status != store::Store::FetchStatus::kRecord) continue;  // What was known stays meanwhile.
    oldest_[lane.reader] = {reader->low_water, fetch.record->arrival.wall_us, now_.mono};
  }
}

std::vector<TailRecord> Node::Impl::tail(Bytes stream, std::optional<store::Position> after, size_t count,
                                         bool* pending) {
  *pending = false;
  std::vector<store::StreamId> ids;
  store->for_each_stream([&](const store::StreamInfo& info) {
    if (info.key.name == stream) ids.push_back(info.id);
  });
  std::vector<TailRecord> records;
  for (const store::StreamId id : ids) {
    std::optional<store::Position> at = after ? after : store->before_last(id, count, 0);
    // The newest: what there is of the frame that they begin in is passed over.
    std::deque<TailRecord> found;
    while (at && (!after || found.size() < count)) {
      const store::Store::Fetch fetch = store->next_in_stream(id, *at, 0);
      if (fetch.status == store::Store::FetchStatus::kPending) at.reset();
      if (fetch.status != store::Store::FetchStatus::kRecord) break;
      at = fetch.record->position;
      const store::Record& record = *fetch.record;
      found.push_back({record.position, record.sequence, std::string(record.topic),
                       std::string(record.payload), record.qos, record.arrival.wall_us, record.event_us});
      if (found.size() > count) found.pop_front();
    }
    if (!at) {
      *pending = true;
      return {};
    }
    records.insert(records.end(), std::make_move_iterator(found.begin()),
                   std::make_move_iterator(found.end()));
  }
  std::sort(records.begin(), records.end(),
            [](const TailRecord& a, const TailRecord& b) { return a.position < b.position; });
  if (records.size() > count) {
    const auto extra = static_cast<std::ptrdiff_t>(records.size() - count);
    if (after) {
      records.resize(count);
    } else {
      records.erase(records.begin(), records.begin() + extra);
    }
  }
  return records;
}

std::vector<StreamStatus> Node::Impl::streams() const {
  std::vector<StreamStatus> list;
  store->for_each_stream([&](const store::StreamInfo& info) {
    if (link::of_halves(info)) return;
    list.push_back({info.key.name, info.options.origin, info.key.incarnation, info.options.priority,
                    info.options.time_to_live_s, info.sequence_last});
  });
  return list;
}

std::vector<NodeStatus> Node::Impl::nodes() const {
  std::vector<NodeStatus> list;
  registry_.for_each([&](const link::Child& child) {
    NodeStatus status;
    status.name = child.name;
    status.claimed = child.claimed();
    status.down_filters = child.down_filters;
    status.prefix = child.prefix;
    if (child.last_seen_wall_us != 0) status.last_seen_wall_us = child.last_seen_wall_us;
    const auto peer = children_.find(child.name);
    if (peer != children_.end()) {
      const link::Conversation& conversation = *peer->second.conversation;
      status.connected = peer->second.connection != 0;
      const link::Travel::Owed owed = conversation.sender().travel().owed();
      status.backlog_count = owed.count;
      status.backlog_bytes = owed.bytes;
      status.records_received = conversation.receiver().counters().records_received;
    }
    list.push_back(std::move(status));
  });
  return list;
}

Result<uint64_t> Node::Impl::node_add(Bytes name, const std::vector<std::string>& down_filters, Bytes prefix,
                                      std::string* claim_text) {
  if (name == config.name)
    return fail(Code::kInvalid, "this is the node's own name; a child needs another one");
  // What a hub publishes under a node's prefix, or its name, is for that node, unless the operator says otherwise.
  std::vector<std::string> filters = down_filters;
  if (filters.empty())
    filters.push_back((prefix.empty() ? std::string(name) + "/" : std::string(prefix)) + "#");
  HF_TRY(link::check_prefix(prefix));
  HF_TRY_ASSIGN(*claim_text, registry_.add(name, filters, entropy, {}, prefix));
  peer(std::string(name));
  // Topics that match its filters have another route now.
  ++routing_epoch_;
  const uint64_t commit = store->open_commit();
  store->boundary();
  return commit;
}

Result<uint64_t> Node::Impl::node_renew(Bytes name, std::string* claim_text) {
  HF_TRY_ASSIGN(*claim_text, registry_.reissue(name, entropy));
  const uint64_t commit = store->open_commit();
  store->boundary();
  return commit;
}

Result<uint64_t> Node::Impl::node_remove(Bytes name) {
  HF_TRY(registry_.remove(name));
  removed_.emplace_back(name);
  ++routing_epoch_;
  const uint64_t commit = store->open_commit();
  store->boundary();
  return commit;
}

Result<uint64_t> Node::Impl::claim(Bytes claim_text) {
  HF_TRY_ASSIGN(const link::Claim claim, link::parse_claim(claim_text));
  if (claim.node != config.name) {
    return fail(
        Code::kInvalid,
        "the claim is for a node of another name; the first lines of the file say which, and `name` in the "
        "configuration is this one's");
  }
  link::Credentials credentials(*store);
  HF_TRY((parent_ ? parent_->credentials : credentials).take(claim_text, entropy));
  const uint64_t commit = store->open_commit();
  store->boundary();
  if (parent_) parent_->uplink.connect_now(now_);
  return commit;
}

Result<> Node::Impl::connect_now(const Now& now) {
  if (!parent_) return fail(Code::kNotFound, "no upstream is configured");
  if (!parent_->credentials.known()) return fail(Code::kNotFound, kNoClaim);
  parent_->uplink.connect_now(now);
  return {};
}

// The configuration names no upstream. What one that it named is owed is kept, for it may come back; but it takes space that
// nothing else gives back, so it is said.
void Node::Impl::leave_parent() {
  // Of what comes down in pieces nothing is lost: the parent has it whole.
  link::Halves(*store, std::string(link::kParentName)).drop_all();
  auto travel = std::make_unique<link::Travel>(*store, std::string(link::kParentName));
  const uint64_t count = travel->owed().count;
  if (count == 0) return;
  former_parent_ = std::move(travel);
  log("HF-LINK-015",
      std::to_string(count) + (count == 1 ? " message waits" : " messages wait") +
          " for an upstream that the configuration names no more; set [upstream] again, or give up on "
          "what waits: holdfast queue rm parent");
}

Result<uint64_t> Node::Impl::give_up_parent() {
  if (parent_) {
    return fail(Code::kExists,
                "the parent is still to have it; take [upstream] out of the configuration and restart "
                "holdfast first");
  }
  if (!former_parent_) return fail(Code::kNotFound, "nothing is owed to a parent");
  former_parent_->give_up();
  former_parent_ = nullptr;
  oldest_.clear();
  const uint64_t commit = store->open_commit();
  store->boundary();
  return commit;
}

void Node::Impl::shut_down(const Now& now) {
  if (stopping_) return;
  stopping_ = true;
  now_ = now;
  goodbye_due_ = true;
}

bool Node::Impl::stopped() const { return stopping_ && !goodbye_due_ && store->quiet(); }

}  // namespace hf::node
