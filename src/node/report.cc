// What a node says of itself, and what the operator tells it.
//
// Its one row: kParent 'U' -> wall:u64, when the link was last known to be up.
#include <algorithm>

#include "node/node_impl.h"

namespace hf::node {

namespace {

// Below this span the growth of the log says nothing about days.
constexpr Duration kGrowthSpanMin = seconds(60);
constexpr Duration kGrowthSpan = seconds(86'400);
// Each costs an otherwise idle node a page; a node that starts offline says that it has been so for up to this much too long.
constexpr int64_t kLastUpIntervalUs = 60'000'000;

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
    link.backlog_count = sender.backlog_count();
    link.backlog_bytes = sender.backlog_bytes();
    link.oldest_wall_us = oldest_wall_us_;
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
  status.nodes_registered = static_cast<uint32_t>(children_.size());
  for (const auto& [name, peer] : children_) status.nodes_connected += peer.connection != 0 ? 1 : 0;
  store->for_each_gap([&](const store::Gap&) { ++status.gaps; });

  const Duration span = now.mono - growth_since_;
  const uint64_t bytes = status.store.records_live_bytes;
  if (span >= kGrowthSpanMin && bytes > growth_start_bytes_) {
    const uint64_t space =
        std::min(status.store.free_bytes,
                 status.store.quota_bytes - std::min(status.store.quota_bytes, status.store.file_bytes));
    const uint64_t grown = bytes - growth_start_bytes_;
    // In milliseconds, so that the product stays in range.
    const uint64_t span_ms = static_cast<uint64_t>(to_ms(span));
    const uint64_t left_ms = grown > space / 1'000
                                 ? space / 1'024 * span_ms / std::max<uint64_t>(1, grown / 1'024)
                                 : uint64_t{1'000} * span_ms;
    status.space_left = milliseconds(static_cast<int64_t>(left_ms));
  }
  return status;
}

// Keeps what status() tells of the oldest owed record and of growth. Part of every step, and cheap.
void Node::Impl::observe() {
  if (now_.mono >= growth_since_ + kGrowthSpan) {
    growth_since_ = now_.mono;
    growth_start_bytes_ = store->figures().records_live_bytes;
  }
  if (!parent_) return;
  const link::Uplink& uplink = parent_->uplink;
  const int64_t last_up = uplink.up() ? now_.wall_us - kLastUpIntervalUs : uplink.since_wall_us();
  if (last_up > link_last_up_wall_us_) {
    link_last_up_wall_us_ = uplink.up() ? now_.wall_us : last_up;
    std::string value;
    put_u64(value, static_cast<uint64_t>(link_last_up_wall_us_));
    store->put(store::Table::kParent, kLastUpKey, value, store::Haste::kRide);
  }
  if (parent_->conversation.sender().backlog_count() == 0) {
    oldest_wall_us_.reset();
    oldest_position_ = {};
    return;
  }
  // The low-water position of the lane that is farthest behind; its next record is the oldest.
  const link::Lane* behind = nullptr;
  store::Position low;
  for (const link::Lane& lane : parent_->conversation.sender().travel().lanes()) {
    const store::ReaderInfo* reader = store->reader(lane.reader);
    if (reader == nullptr || reader->owed_count == 0) continue;
    if (behind == nullptr || reader->low_water < low) {
      behind = &lane;
      low = reader->low_water;
    }
  }
  if (behind == nullptr || (oldest_wall_us_ && oldest_position_ == low)) return;
  const store::Store::Fetch fetch = store->first_owed(behind->reader);
  if (fetch.status != store::Store::FetchStatus::kRecord) return;
  oldest_wall_us_ = fetch.record.arrival.wall_us;
  oldest_position_ = low;
}

std::vector<TailRecord> Node::Impl::tail(Bytes stream, store::Position after, size_t count, bool* pending) {
  *pending = false;
  std::vector<store::StreamId> ids;
  store->for_each_stream([&](const store::StreamInfo& info) {
    if (info.key.name == stream) ids.push_back(info.id);
  });
  std::vector<TailRecord> records;
  for (const store::StreamId id : ids) {
    store::Position at = after;
    for (size_t i = 0; i < count; ++i) {
      const store::Store::Fetch fetch = store->next_in_stream(id, at, 0);
      if (fetch.status == store::Store::FetchStatus::kPending) {
        *pending = true;
        return {};
      }
      if (fetch.status != store::Store::FetchStatus::kRecord) break;
      at = fetch.record.position;
      const store::Record& record = fetch.record;
      records.push_back({record.position, record.sequence, std::string(record.topic),
                         std::string(record.payload), record.qos, record.arrival.wall_us, record.event_us});
    }
  }
  std::sort(records.begin(), records.end(),
            [](const TailRecord& a, const TailRecord& b) { return a.position < b.position; });
  if (records.size() > count) records.resize(count);
  return records;
}

std::vector<StreamStatus> Node::Impl::streams() const {
  std::vector<StreamStatus> list;
  store->for_each_stream([&](const store::StreamInfo& info) {
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
    if (child.last_seen_wall_us != 0) status.last_seen_wall_us = child.last_seen_wall_us;
    const auto peer = children_.find(child.name);
    if (peer != children_.end()) {
      const link::Conversation& conversation = *peer->second.conversation;
      status.connected = peer->second.connection != 0;
      status.backlog_count = conversation.sender().backlog_count();
      status.backlog_bytes = conversation.sender().backlog_bytes();
      status.records_received = conversation.receiver().counters().records_received;
    }
    list.push_back(std::move(status));
  });
  return list;
}

Result<uint64_t> Node::Impl::node_add(Bytes name, const std::vector<std::string>& down_filters,
                                      std::string* claim_text) {
  if (name == config.name)
    return fail(Code::kInvalid, "this is the node's own name; a child needs another one");
  // What a hub publishes under a node's name is for that node, unless the operator says otherwise.
  std::vector<std::string> filters = down_filters;
  if (filters.empty()) filters.push_back(std::string(name) + "/#");
  HF_TRY_ASSIGN(*claim_text, registry_.add(name, filters, entropy));
  peer(std::string(name));
  // Topics that match its filters have another route now.
  ++routing_epoch_;
  const uint64_t commit = store->open_commit();
  store->boundary();
  return commit;
}

Result<uint64_t> Node::Impl::claim(Bytes claim_text) {
  link::Credentials credentials(*store);
  HF_TRY((parent_ ? parent_->credentials : credentials).take(claim_text, entropy));
  const uint64_t commit = store->open_commit();
  store->boundary();
  return commit;
}

Result<> Node::Impl::connect_now(const Now& now) {
  if (!parent_) return fail(Code::kNotFound, "no upstream is configured");
  parent_->uplink.connect_now(now);
  return {};
}

void Node::Impl::shut_down(const Now& now) {
  if (stopping_) return;
  stopping_ = true;
  now_ = now;
  goodbye_due_ = true;
}

bool Node::Impl::stopped() const { return stopping_ && !goodbye_due_ && store->quiet(); }

}  // namespace hf::node
