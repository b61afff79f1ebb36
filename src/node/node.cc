// Steps and routes: what a node does with what happened.
#include "node/node.h"

#include <algorithm>

#include "base/assert.h"
#include "crypto/crypto.h"
#include "mqtt/topic.h"
#include "node/event_time.h"
#include "node/node_impl.h"

namespace hf::node {

namespace {

// Drawn once in the life of a store.
std::string kept_secret(store::Store& store, Entropy& entropy) {
  if (const auto row = store.get(store::Table::kParent, kSaltSecretKey)) return std::string(*row);
  std::string secret(crypto::kKeyBytes, '\0');
  entropy.fill(secret.data(), secret.size());
  store.put(store::Table::kParent, kSaltSecretKey, secret);
  return secret;
}

}  // namespace

void Effects::clear() {
  sends.clear();
  closes.clear();
  dial.reset();
  jobs.clear();
  logins.clear();
  log.clear();
  pause_reading = false;
}

Node::Impl::Impl(Config config_in, Entropy& entropy_in, std::unique_ptr<store::Store> store_in,
                 const store::OpenReport& report_in, const Now& now)
    : config(std::move(config_in)),
      entropy(entropy_in),
      report(report_in),
      store(std::move(store_in)),
      started_(now.mono),
      now_(now),
      routes_(*store, config),
      registry_(*store),
      logins_(entropy, config.identities, kept_secret(*store, entropy)),
      durable_(store->durable_commit()),
      mode_(store->mode()) {
  // What the rooms do while they start (wills of a crash, for one) leaves with the first step.
  Effects early;
  out_ = &early;
  if (config.upstream) {
    parent_ = std::make_unique<Parent>(*this, config);
  } else {
    leave_parent();
  }
  if (const auto row = store->get(store::Table::kParent, kLastUpKey)) {
    link_last_up_wall_us_ = static_cast<int64_t>(ByteReader(*row).u64());
  }
  if (parent_ && !parent_->credentials.known()) log("HF-LINK-013", kNoClaim);
  registry_.for_each([&](const link::Child& child) { peer(child.name); });
  broker::Limits limits;
  limits.packet_bytes_max = config.packet_bytes_max;
  limits.receive_maximum = config.receive_maximum;
  limits.session_expiry_default_s = config.session_expiry_default_s;
  limits.session_expiry_max_s = config.session_expiry_max_s;
  limits.session_owed_bytes_max = config.session_owed_bytes_max;
  limits.keep_alive_max_s = config.keep_alive_max_s;
  limits.response_topic = config.response_topic;
  limits.server_moved = config.server_moved;
  limits.version = config.version;
  broker_ =
      std::make_unique<broker::Broker>(*store, static_cast<broker::Host&>(*this), limits, entropy.u64(), now);
  HF_ASSERT(early.sends.empty() && early.closes.empty());
  early_log_ = std::move(early.log);
  out_ = nullptr;
}

Node::Impl::Parent::Parent(Impl& node, const Config& config)
    : conversation(*node.store, node, node.entropy,
                   {.name = config.name, .compress = config.upstream->compress},
                   std::string(link::kParentName)),
      credentials(*node.store),
      uplink(*node.store, conversation, credentials, node,
             {.backoff_min = config.upstream->backoff_min, .backoff_max = config.upstream->backoff_max},
             node.entropy.u64()) {}

// --- The step.

void Node::Impl::step(std::span<Input> inputs, const Now& now, Effects& out) {
  out.clear();
  out.log = std::move(early_log_);
  early_log_.clear();
  out_ = &out;
  now_ = now;
  ++step_;
  cut_off_removed();
  // First: what follows goes by the rights that hold now.
  if (std::exchange(identities_due_, false)) broker_->identities_changed(now);
  end_clients();
  publish_due();
  take_from_children();
  for (Input& input : inputs) {
    take(input);
    take_from_children();
    store->boundary();
  }
  if (goodbye_due_) {
    goodbye_due_ = false;
    broker_->shut_down(now);
    if (parent_) parent_->uplink.shut_down(now);
    store->shut_down();
  }
  settle();
  observe();
  for (const Close& close : out.closes) send_places_.erase(close.connection);
  out.pause_reading = store->congested();
  broker_->reading(out.pause_reading, now);
  if (parent_) parent_->uplink.reading(out.pause_reading, now);
  out_ = nullptr;
}

void Node::Impl::take(Input& input) {
  const auto of_parent = [&](ConnectionId connection) {
    return parent_ != nullptr && connection != 0 && parent_->uplink.connection() == connection;
  };
  if (auto* event = std::get_if<Received>(&input)) {
    if (of_parent(event->connection)) return parent_->uplink.received(event->connection, event->bytes, now_);
    return broker_->received(event->connection, event->bytes, now_);
  }
  if (auto* event = std::get_if<JobDone>(&input)) return store->complete(std::move(event->job), now_);
  if (auto* event = std::get_if<Unsent>(&input)) {
    if (of_parent(event->connection)) return parent_->uplink.unsent(event->connection, event->bytes, now_);
    const auto name = child_of_connection_.find(event->connection);
    if (name != child_of_connection_.end()) peer(name->second).conversation->unsent(event->bytes, now_);
    return broker_->unsent(event->connection, event->bytes, now_);
  }
  if (auto* event = std::get_if<Connected>(&input)) {
    const size_t port = event->peer.rfind(':');
    const bool welcome = logins_.called(
        event->connection, {event->loopback, event->peer.substr(0, port), std::move(event->certificate_user)},
        now_.mono);
    if (!welcome) return close(event->connection);
    const Caller* const caller = logins_.caller(event->connection);
    return broker_->connected(event->connection, now_, event->loopback ? Bytes() : Bytes(caller->network));
  }
  if (auto* event = std::get_if<Closed>(&input)) {
    if (of_parent(event->connection)) {
      parent_->uplink.closed(event->connection, now_);
      send_places_.erase(event->connection);
      return;
    }
    broker_->closed(event->connection, now_);
    send_places_.erase(event->connection);
    return logins_.gone(event->connection);
  }
  if (auto* event = std::get_if<LoginDone>(&input)) {
    ConnectionId connection = 0;
    broker::Verdict verdict = logins_.finish(*event->work, &connection, now_.mono);
    return broker_->authenticated(connection, counted(std::move(verdict)), now_);
  }
  if (std::holds_alternative<NetworkChanged>(input)) {
    if (parent_) parent_->uplink.network_changed(now_);
    return;
  }
  if (auto* event = std::get_if<Dialed>(&input)) {
    if (parent_) return parent_->uplink.dialed(event->connection, event->error, now_);
    if (event->connection != 0) out_->closes.push_back({event->connection});
  }
}

// What became durable leaves, who was woken reads on, links send; until nobody has more to do at once.
void Node::Impl::settle() {
  for (int round = 0; round < kRoundsMax; ++round) {
    bool busy = false;
    if (store->durable_commit() > durable_) {
      durable_ = store->durable_commit();
      broker_->durable(now_);
      busy = true;
    }
    for (const store::ReaderId reader : store->take_woken()) {
      busy = true;
      if (broker_->woken(reader, now_)) continue;
      if (parent_ && parent_->conversation.woken(reader)) continue;
      for (auto& [name, peer] : children_) {
        if (peer.conversation->woken(reader)) break;
      }
    }
    const std::optional<Instant> due = broker_->next_deadline();
    if (due && *due <= now_.mono) broker_->tick(now_);
    store->boundary();
    pump();
    take_from_children();
    store->boundary();
    make_jobs();
    // A read whose segment is gone wakes who waits for it as the job is to be made.
    busy |= store->anybody_woken();
    busy |= std::exchange(assembly_freed_, false);
    if (!busy) break;
  }
  if (parent_ && parent_->uplink.take_dial(now_))
    out_->dial = Dial{config.upstream->host, config.upstream->port};
}

void Node::Impl::pump() {
  if (parent_) {
    parent_->uplink.pump(now_);
    store->boundary();
  }
  for (auto& [name, peer] : children_) {
    if (!peer.conversation->begun()) continue;
    peer.conversation->pump(now_);
    store->boundary();
  }
}

void Node::Impl::make_jobs() {
  while (std::unique_ptr<store::Job> job = store->take_job(now_)) out_->jobs.push_back(std::move(job));
}

std::optional<Instant> Node::Impl::next_deadline() const {
  if (identities_due_ || assembly_freed_ || store->anybody_woken()) return now_.mono;
  std::optional<Instant> deadline = store->next_deadline();
  const auto at = [&](std::optional<Instant> instant) {
    if (instant && (!deadline || *instant < *deadline)) deadline = instant;
  };
  at(broker_->next_deadline());
  if (parent_) at(parent_->uplink.next_deadline());
  for (const auto& [name, peer] : children_) {
    if (peer.conversation->begun()) at(peer.conversation->next_deadline());
  }
  return deadline;
}

// --- Outputs of the rooms.

Send& Node::Impl::send_to(ConnectionId connection) {
  HF_ASSERT(out_ != nullptr);
  SendPlace& place = send_places_[connection];
  if (place.step != step_) {
    place = {step_, out_->sends.size()};
    return out_->sends.add(connection);
  }
  return out_->sends[place.index];
}

void Node::Impl::send(ConnectionId connection, Bytes bytes) { send_to(connection).bytes.append(bytes); }

void Node::Impl::pass_on(ConnectionId connection, Bytes bytes) {
  // Less than this is copied sooner than the kernel takes one more piece.
  constexpr size_t kPassedBytesMin = 2 << 10;
  Send& send = send_to(connection);
  if (bytes.size() < kPassedBytesMin) {
    send.bytes.append(bytes);
  } else {
    send.passed.push_back({send.bytes.size(), bytes});
  }
}

void Node::Impl::close(ConnectionId connection) {
  claiming_.erase(connection);
  logins_.gone(connection);
  out_->closes.push_back({connection});
}

void Node::Impl::log(const char* event, std::string text) { out_->log.push_back({event, std::move(text)}); }

// --- Who, and where to.

broker::Verdict Node::Impl::counted(broker::Verdict verdict) {
  if (verdict.pending) return verdict;
  switch (verdict.reason) {
    case mqtt::Reason::kSuccess:
    case mqtt::Reason::kContinueAuthentication:
      return verdict;
    case mqtt::Reason::kBadUserNameOrPassword:
      ++login_failures_.credentials;
      return verdict;
    case mqtt::Reason::kNotAuthorized:
      ++login_failures_.not_authorized;
      return verdict;
    case mqtt::Reason::kConnectionRateExceeded:
      ++login_failures_.throttled;
      return verdict;
    case mqtt::Reason::kServerBusy:
      ++login_failures_.busy;
      return verdict;
    case mqtt::Reason::kBadAuthenticationMethod:
      ++login_failures_.method;
      return verdict;
    default:
      ++login_failures_.other;
      return verdict;
  }
}

broker::Verdict Node::Impl::authenticate(ConnectionId connection, const mqtt::Connect& connect) {
  const std::string name(connect.user_name.value_or(Bytes()));
  const bool method = connect.properties.authentication_method.has_value();
  if (!name.empty() && !method && registry_.find(name) != nullptr) {
    const link::Registry::Entry entry = registry_.authenticate(name, connect.password.value_or(Bytes()));
    if (entry == link::Registry::Entry::kRefused)
      return counted({.reason = mqtt::Reason::kBadUserNameOrPassword});
    // A node speaks MQTT 5 and goes by its name.
    if (connect.version != mqtt::Version::k5 || connect.client_id != name)
      return {.reason = mqtt::Reason::kClientIdentifierNotValid};
    claiming_[connection] = entry == link::Registry::Entry::kClaim;
    logins_.admitted(connection);
    return {.principal = {broker::Principal::Kind::kNode, name}};
  }
  // Its name is its client identifier; nobody else's session may stand in its way.
  if (registry_.find(connect.client_id) != nullptr) {
    return counted({.reason = mqtt::Reason::kClientIdentifierNotValid});
  }
  std::unique_ptr<LoginWork> work;
  broker::Verdict verdict = logins_.begin(connection, connect, now_.mono, &work);
  if (work != nullptr) out_->logins.push_back(std::move(work));
  return counted(std::move(verdict));
}

broker::Verdict Node::Impl::authenticate_again(ConnectionId connection, Bytes data) {
  return counted(logins_.begin_again(connection, data));
}

broker::Verdict Node::Impl::authenticate_more(ConnectionId connection, Bytes data) {
  return counted(logins_.more(connection, data, now_.mono));
}

bool Node::Impl::still_admitted(ConnectionId connection, const broker::Principal& principal) const {
  return logins_.still_admitted(connection, principal);
}

std::shared_ptr<const broker::Rights> Node::Impl::rights(const std::string& user, bool by_certificate,
                                                         const std::string& client_id) const {
  return logins_.rights(user, by_certificate, client_id);
}

void Node::Impl::set_identities(identity::Users users, identity::Permissions permissions) {
  logins_.set(std::move(users), std::move(permissions));
  identities_due_ = true;
}

broker::Routing Node::Impl::route(Bytes topic, const broker::Source& source) {
  broker::Routing routing;
  const std::vector<const link::Child*> children = registry_.children_for(topic);
  RouteTarget target;
  if (source.stream != 0) {
    // It came over a link and stays in its stream: up if it came from below, never back to where it came
    // from.
    target.stored = true;
    target.stream = source.stream;
    target.upstream = source.kind != broker::Source::Kind::kParent && config.upstream.has_value();
  } else {
    target = routes_.find(topic, children);
  }
  routing.stored = target.stored;
  routing.stream = target.stream;
  if (!target.stored) return routing;
  if (target.upstream) routing.links.push_back({.reader = parent_->conversation.reader_for(target.stream)});
  for (const link::Child* child : children) {
    if (source.kind == broker::Source::Kind::kChild && source.child == child->name) continue;
    routing.links.push_back({.reader = peer(child->name).conversation->reader_for(target.stream)});
  }
  return routing;
}

std::optional<int64_t> Node::Impl::event_time(Bytes topic, Bytes payload) {
  for (const EventTimeField& field : config.event_times) {
    if (mqtt::topic_matches(field.filter, topic)) return event_time_in(payload, field);
  }
  return std::nullopt;
}

// --- Node.

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Node::~Node() = default;

Result<std::unique_ptr<Node>> Node::open(store::Disk& disk, Entropy& entropy, const crypto::Key& kek,
                                         const Config& config, Bytes fence, const Now& now) {
  store::Options options;
  options.quota_bytes = config.quota_bytes;
  options.retention_s = config.retention_s;
  options.segment_bytes_min = config.segment_bytes_min;
  options.segment_bytes_max = config.segment_bytes_max;
  if (config.tail_cache_bytes != 0) options.tail_cache_bytes = config.tail_cache_bytes;
  if (config.index_cache_bytes != 0) options.index_cache_bytes = config.index_cache_bytes;
  store::OpenReport report;
  HF_TRY_ASSIGN(std::unique_ptr<store::Store> store,
                store::Store::open(disk, entropy, kek, options, fence, now, &report));
  return std::unique_ptr<Node>(
      new Node(std::make_unique<Impl>(config, entropy, std::move(store), report, now)));
}

void Node::step(std::span<Input> inputs, const Now& now, Effects& out) { impl_->step(inputs, now, out); }
std::optional<Instant> Node::next_deadline() const { return impl_->next_deadline(); }
Status Node::status(const Now& now) const { return impl_->status(now); }
uint64_t Node::durable_commit() const { return impl_->store->durable_commit(); }
Result<uint64_t> Node::node_add(Bytes name, const std::vector<std::string>& down_filters, Bytes prefix,
                                std::string* claim_text) {
  return impl_->node_add(name, down_filters, prefix, claim_text);
}
Result<uint64_t> Node::node_renew(Bytes name, std::string* claim_text) {
  return impl_->node_renew(name, claim_text);
}
Result<uint64_t> Node::give_up_parent() { return impl_->give_up_parent(); }
Result<uint64_t> Node::node_remove(Bytes name) { return impl_->node_remove(name); }
Result<uint64_t> Node::claim(Bytes claim_text) { return impl_->claim(claim_text); }
bool Node::wary_of(const std::string& network, Instant now) const { return impl_->wary_of(network, now); }
void Node::set_identities(identity::Users users, identity::Permissions permissions) {
  impl_->set_identities(std::move(users), std::move(permissions));
}
const Identities& Node::identities() const { return impl_->identities(); }
Result<> Node::connect_now(const Now& now) { return impl_->connect_now(now); }
std::vector<TailRecord> Node::tail(Bytes stream, std::optional<store::Position> after, size_t count,
                                   bool* pending) {
  return impl_->tail(stream, after, count, pending);
}
std::vector<StreamStatus> Node::streams() const { return impl_->streams(); }
std::vector<NodeStatus> Node::nodes() const { return impl_->nodes(); }
void Node::shut_down(const Now& now) { impl_->shut_down(now); }
bool Node::stopped() const { return impl_->stopped(); }
const store::Store& Node::store() const { return *impl_->store; }

}  // namespace hf::node
