// Where broker and links meet: a child's connection is the broker's, its conversation is the link's.
#include <utility>

#include "base/assert.h"
#include "node/node_impl.h"

namespace hf::node {

// --- The channel to a child.

uint16_t Node::Impl::ChildChannel::send(link::Kind kind, Bytes message, uint64_t commit) {
  return node_.broker_->reserved_send(connection_, link::topic_of(kind), message, commit);
}

void Node::Impl::ChildChannel::acknowledge(uint16_t id, mqtt::Reason reason, uint64_t commit) {
  node_.broker_->reserved_acknowledge(connection_, id, reason, commit);
}

void Node::Impl::ChildChannel::close(const char* why) {
  node_.log("HF-NODE-001", std::string("closing the connection of a child: ") + why);
  node_.broker_->disconnect(connection_, mqtt::Reason::kImplementationSpecificError, node_.now_);
}

uint64_t Node::Impl::ChildChannel::message_bytes_max() const { return node_.config.packet_bytes_max; }

Node::Impl::Peer& Node::Impl::peer(const std::string& name) {
  Peer& peer = children_[name];
  if (peer.conversation == nullptr) {
    const link::Child* child = registry_.find(name);
    const std::string prefix = child == nullptr ? "" : child->prefix;
    peer.conversation = std::make_unique<link::Conversation>(
        *store, *this, entropy, link::Settings{.name = config.name, .prefix = prefix}, name);
  }
  return peer;
}

// --- What the broker tells of nodes' connections. It is taken up when the broker has returned.

void Node::Impl::node_connected(ConnectionId connection, const std::string& name) {
  // What is behind its CONNECT may close the connection before this is taken up, and then no more is known of it. Who has
  // shown no secret may do nothing but show one.
  const auto claiming = claiming_.extract(connection);
  from_children_.push_back({FromChild::What::kConnected, connection, name, {}, {}, 0, {}});
  from_children_.back().claiming = claiming.empty() || claiming.mapped();
}

void Node::Impl::node_disconnected(ConnectionId connection, const std::string& name) {
  from_children_.push_back({FromChild::What::kDisconnected, connection, name, {}, {}, 0, {}});
}

void Node::Impl::reserved_publish(ConnectionId connection, Bytes topic, Bytes payload, uint16_t packet_id) {
  from_children_.push_back(
      {FromChild::What::kMessage, connection, {}, std::string(topic), std::string(payload), packet_id, {}});
}

void Node::Impl::reserved_acknowledged(ConnectionId connection, uint16_t packet_id, mqtt::Reason reason) {
  from_children_.push_back({FromChild::What::kAcknowledged, connection, {}, {}, {}, packet_id, reason});
}

void Node::Impl::take_from_children() {
  while (!from_children_.empty()) {
    FromChild event = std::move(from_children_.front());
    from_children_.pop_front();
    store->boundary();
    take_from_child(event);
  }
}

void Node::Impl::cut_off_removed() {
  for (const std::string& name : std::exchange(removed_, {})) {
    const auto found = children_.find(name);
    // It may have been registered anew meanwhile: then it keeps its readers, but has to come with the new claim, and may have
    // another prefix.
    if (found == children_.end()) continue;
    Peer& peer = found->second;
    if (peer.connection != 0) {
      peer.channel->close("it was removed here");
      child_of_connection_.erase(peer.connection);
      if (peer.conversation->begun()) peer.conversation->end(now_);
      peer.connection = 0;
    }
    const bool anew = registry_.find(name) != nullptr;
    if (!anew) peer.conversation->forget();
    children_.erase(found);
    if (anew) this->peer(name);
  }
}

void Node::Impl::take_from_child(FromChild& event) {
  using What = FromChild::What;
  if (event.what == What::kConnected) {
    Peer& peer = this->peer(event.name);
    // One conversation a child: of two connections the later one counts.
    if (peer.connection != 0) {
      peer.conversation->end(now_);
      child_of_connection_.erase(peer.connection);
    }
    peer.connection = event.connection;
    peer.channel = std::make_unique<ChildChannel>(*this, event.connection);
    peer.claiming = event.claiming;
    child_of_connection_[event.connection] = event.name;
    registry_.seen(event.name, now_.wall_us);
    if (!peer.claiming) peer.conversation->begin(*peer.channel, now_);
    return;
  }
  const auto named = child_of_connection_.find(event.connection);
  if (named == child_of_connection_.end()) return;
  const std::string name = named->second;
  Peer& peer = this->peer(name);
  switch (event.what) {
    case What::kMessage:
      return message_from_child(peer, event);
    case What::kAcknowledged:
      return peer.conversation->acknowledged(event.packet_id, event.reason, now_);
    case What::kDisconnected:
      registry_.seen(name, now_.wall_us);
      if (peer.conversation->begun()) peer.conversation->end(now_);
      peer.connection = 0;
      peer.channel.reset();
      child_of_connection_.erase(named);
      return;
    case What::kConnected:
      return;
  }
}

void Node::Impl::message_from_child(Peer& peer, FromChild& event) {
  const std::string& name = child_of_connection_.at(event.connection);
  const std::optional<link::Kind> kind = link::kind_of(event.topic);
  if (kind == link::Kind::kClaim) {
    uint64_t commit = 0;
    const mqtt::Reason reason = registry_.exchange(name, event.payload, &commit);
    peer.channel->acknowledge(event.packet_id, reason, commit);
    if (reason != mqtt::Reason::kSuccess || !peer.claiming) return;
    peer.claiming = false;
    peer.conversation->begin(*peer.channel, now_);
    return;
  }
  if (!kind || peer.claiming) {
    peer.channel->close(kind ? "a claim allows nothing but its exchange" : "an unknown reserved topic");
    return;
  }
  peer.conversation->received(*kind, event.payload, event.packet_id, now_);
}

void Node::Impl::ingest(const std::string& peer, const store::NewRecord& record, const Now& now) {
  broker::Source source;
  source.kind = peer == link::kParentName ? broker::Source::Kind::kParent : broker::Source::Kind::kChild;
  if (source.kind == broker::Source::Kind::kChild) source.child = peer;
  source.stream = record.stream;
  broker_->ingest(record, source, now);
}

void Node::Impl::together(const std::function<void()>& work) {
  broker_->together(now_, work);
  store->boundary();
}

bool Node::Impl::begin_assembly(const std::string& peer) {
  if (!assembling_.empty()) return false;
  assembling_ = peer;
  return true;
}

void Node::Impl::end_assembly(const std::string& peer) {
  if (assembling_ != peer) return;
  assembling_.clear();
  assembly_freed_ = true;
}

void Node::Impl::incarnation_renewed() {
  routes_.forget_streams();
  ++routing_epoch_;
}

}  // namespace hf::node
