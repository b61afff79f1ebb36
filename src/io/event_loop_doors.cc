// Connections with filters: how they open, what passes through, how they end. The rest of the loop is in event_loop.cc.
//
//     accepted -> kOpening --chain established--> Connected, kMqtt --> as any other
//                    |  ^
//                    v  |  handshake thread, while TLS shakes hands
//
// A connection is told to the core when its chain stands, and of one that never gets there it hears nothing; but of the one
// that it dialed it always hears, once.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "identity/network.h"
#include "io/event_loop.h"
#include "io/listener.h"
#include "io/tls_filter.h"

namespace hf::io {

using State = Filter::State;

namespace {

// Behind a proxy both have to be here: "127.0.0.1" from a proxy elsewhere is that machine's.
bool from_here(const Passage& passage) {
  const PeerFacts& facts = passage.chain->facts();
  return passage.loopback && (!facts.proxied || (facts.address && facts.address->loopback()));
}

// Without its port; of one whose chain is here.
std::string address_of(const Passage& passage) {
  const PeerFacts& facts = passage.chain->facts();
  if (facts.proxied) return facts.address ? facts.address->host() : "unknown";
  return passage.peer.substr(0, passage.peer.rfind(':'));
}

std::string network_of(const Passage& passage) { return identity::network_of(address_of(passage)); }

}  // namespace

std::expected<void, std::string> EventLoop::open_door(const DoorOptions& options) {
  auto door = Door::make(options, say_);
  if (!door) return std::unexpected(door.error().text);
  const std::string path = options.unix_path();
  auto socket =
      path.empty() ? io::listen_tcp(options.address, "address") : io::listen_unix(path, 0660, "address");
  if (!socket) return std::unexpected(socket.error());
  if (TlsSource* tls = (*door)->tls()) files_.watch(tls->files(), [this, tls] { reload_door(*tls); });
  Listener listener;
  listener.path = path;
  listener.address = path.empty() ? local_address(socket->get()).text() : options.address;
  listener.socket = std::move(*socket);
  if (options.http) {
    HF_ASSERT(http_ != nullptr);
    listener.http =
        std::make_shared<HttpDoor>(HttpDoor{.address = path.empty() ? listener.address : options.address,
                                            .hosts = options.hosts,
                                            .encrypted = options.tls.has_value()});
  }
  if (!(*door)->chain()->empty()) listener.door = std::move(*door);
  add_listener(std::move(listener));
  return {};
}

std::expected<void, std::string> EventLoop::dial_with_tls(const TlsClientFiles& files) {
  auto source = TlsSource::make(
      "the link to the parent", {files.ca, files.certificate, files.key},
      [files] { return TlsContext::client(files); }, say_);
  if (!source) return std::unexpected(source.error().text);
  dial_tls_ = std::move(*source);
  dial_server_name_ = files.server_name;
  files_.watch(dial_tls_->files(), [this] { dial_tls_->reload(); });
  return {};
}

// --- Opening.

EventLoop::Connection& EventLoop::begin_opening(FileDescriptor socket, std::unique_ptr<Passage> passage) {
  Connection& connection = add_connection(std::move(socket), Kind::kOpening);
  passage->begun = now_.mono;
  passage->upgrading = passage->chain->upgrading();
  const Duration patience = passage->upgrading ? options_.upgrade_timeout : options_.handshake_timeout;
  if (!passage->dialed) openings_.insert(connection.id);
  if (passage->http) https_.insert(connection.id);
  connection.passage = std::move(passage);
  set_deadline(connection, now_.mono + patience);
  return connection;
}

void EventLoop::begin_dialed_opening(FileDescriptor socket, const std::string& host) {
  auto passage = std::make_unique<Passage>();
  passage->dialed = true;
  passage->peer = host;
  passage->chain = std::make_unique<FilterChain>();
  passage->chain->add(std::make_unique<TlsFilter>(dial_tls_->current(),
                                                  dial_server_name_.empty() ? host : dial_server_name_));
  Connection& connection = begin_opening(std::move(socket), std::move(passage));
  dialed_ = connection.id;
  through_filters(connection, {});
}

// At the limit the oldest that keeps us waiting makes room, once it had its chance; else whoever comes waits in the kernel.
bool EventLoop::make_room() {
  Connection* const oldest = evictable();
  if (oldest == nullptr) {
    set_doors_shut(true);
    return false;
  }
  blame(*oldest->passage);
  lose_opening(*oldest, door_counters_.evicted, "others waited");
  return true;
}

EventLoop::Connection* EventLoop::evictable() {
  for (const ConnectionId id : openings_) {
    Connection* const connection = find(id);
    if (connection->passage->begun + options_.eviction_age > now_.mono) return nullptr;
    if (!connection->passage->away()) return connection;
  }
  return nullptr;
}

// When one of those inside may be asked to leave.
std::optional<Instant> EventLoop::doors_deadline() {
  for (const ConnectionId id : openings_) {
    const Passage& passage = *find(id)->passage;
    if (!passage.away()) return passage.begun + options_.eviction_age;
  }
  return std::nullopt;
}

void EventLoop::set_doors_shut(bool shut) {
  if (doors_shut_ == shut) return;
  doors_shut_ = shut;
  for (const Listener& listener : listeners_) {
    if (listener.door && listener.socket.valid()) set_listening(listener, !shut);
  }
}

void EventLoop::take_handshakes() {
  for (const auto& done : handshakes_.take_done()) {
    Handshake& handshake = *done;
    Connection* connection = find(handshake.connection);
    if (connection == nullptr || connection->kind != Kind::kOpening) continue;  // Gone meanwhile.
    connection->passage->chain = std::move(handshake.chain);
    connection->passage->reply += handshake.reply;
    filtered(*connection, handshake.core);
    connection = find(handshake.connection);
    if (connection != nullptr) update_interest(*connection);
  }
}

// --- Certificates that are not good any more.

// Who came in by this door and showed a certificate is looked at again if what decides about certificates has changed. Who is still
// shaking hands does so by what was said before, and has to come again.
void EventLoop::reload_door(TlsSource& source) {
  const std::string before = source.current()->trust();
  source.reload();
  if (source.current()->trust() == before) return;
  auto check = std::make_unique<CertificateCheck>();
  check->context = source.current();
  std::vector<ConnectionId> opening;
  for (const auto& [id, connection] : connections_) {
    if (!connection->passage || connection->passage->tls != &source) continue;
    if (connection->kind == Kind::kOpening) {
      opening.push_back(id);
    } else if (connection->kind != Kind::kClosing && connection->passage->chain->facts().certificate) {
      check->peers.push_back({id, connection->passage->chain->facts().certificate});
    }
  }
  std::sort(opening.begin(), opening.end());
  for (const ConnectionId id : opening)
    lose_opening(*find(id), door_counters_.failed, "the door's files changed meanwhile");
  if (!check->peers.empty()) certificate_checks_.submit(std::move(check));
}

void EventLoop::take_certificate_checks() {
  for (const auto& check : certificate_checks_.take_done()) {
    for (const CertificateCheck::Refusal& refusal : check->refused) {
      Connection* const connection = find(refusal.connection);
      if (connection == nullptr || connection->kind == Kind::kClosing) continue;
      log("HF-TLS-008", "closed the connection of " + connection->passage->chain->facts().certificate_user +
                            " from " + connection->passage->peer +
                            ": its certificate is not good any more: " + refusal.why);
      lose(*connection);
    }
  }
}

// --- Passing through.

// `wire` lies behind the used part of the arena, which is free again when this returns.
void EventLoop::through_filters(Connection& connection, Bytes wire) {
  Passage& passage = *connection.passage;
  if (passage.chain->laborious()) {
    std::string rest;
    if (passage.chain->introducing()) {
      passage.chain->introduce(wire, &rest, &passage.reply);
      if (rest.empty() || passage.chain->state() != State::kHandshaking) return filtered(connection, {});
      wire = rest;
    }
    if (!std::exchange(passage.shaking, true) && !may_shake_hands(passage))
      return lose_opening(connection, door_counters_.throttled, "too many came from its address");
    handshakes_.submit(std::make_unique<Handshake>(
        Handshake{connection.id, std::move(passage.chain), std::string(wire), "", ""}));
    return update_interest(connection);
  }
  filtered_.clear();
  passage.chain->receive(wire, &filtered_, &passage.reply);
  filtered(connection, filtered_);
}

// Its chain has taken something; `core` came out.
void EventLoop::filtered(Connection& connection, Bytes core) {
  const ConnectionId id = connection.id;
  Passage& passage = *connection.passage;
  const State state = passage.chain->state();
  const std::string failure = passage.chain->failure();
  if (!passage.reply.empty()) owing_.push_back(id);
  if (connection.kind == Kind::kOpening) {
    if (state == State::kFailed) return turn_away(connection, failure);
    // Who says everything at once, its goodbye too, is heard: what came out came through a chain that stood.
    if (state == State::kEnded && core.empty()) return turn_away(connection, "the peer ended it");
    if (state == State::kHandshaking) {
      if (!passage.upgrading && passage.chain->upgrading()) {
        passage.upgrading = true;
        connection.deadline = now_.mono + options_.upgrade_timeout;
      }
      return;
    }
    welcome(connection);
  }
  if (connection.kind == Kind::kHttp) {
    if (!core.empty()) http_received(connection, core);
  } else {
    deliver(id, core);
  }
  if (state == State::kEstablished) return;
  // The step that delivering may have taken could have closed it.
  Connection* const still = find(id);
  if (still != nullptr && still->kind == Kind::kHttp) {
    forget_request(*still);
    return hang_up(*still);
  }
  if (still == nullptr || still->kind != Kind::kMqtt) return;
  if (state == State::kFailed)
    log("HF-TLS-006", "closed a connection from " + still->passage->peer + ": " + failure);
  inputs_.emplace_back(node::Closed{id});
  hang_up(*still);
}

void EventLoop::welcome(Connection& connection) {
  Passage& passage = *connection.passage;
  openings_.erase(connection.id);
  if (!passage.http) {
    connection.deadline.reset();
    connection.kind = Kind::kMqtt;
  }
  if (passage.dialed) {
    inputs_.emplace_back(node::Dialed{connection.id, ""});
  } else {
    ++door_counters_.done;
    const PeerFacts& facts = passage.chain->facts();
    const bool loopback = from_here(passage);
    if (facts.proxied) passage.peer = facts.address ? facts.address->text() : "unknown";
    if (passage.http) {
      begin_http(connection, {passage.http, loopback, address_of(passage)});
    } else {
      inputs_.emplace_back(node::Connected{connection.id, loopback, passage.peer, facts.certificate_user});
    }
  }
  if (passage.chain->empty()) connection.passage.reset();
  update_interest(connection);
}

// Into the arena, where inputs borrow from until the step ends.
void EventLoop::deliver(ConnectionId id, Bytes core) {
  while (!core.empty()) {
    if (arena_used_ == kArenaBytes) {
      run_step();
      const Connection* const still = find(id);
      if (still == nullptr || still->kind != Kind::kMqtt) return;
    }
    char* const at = arena_.get() + arena_used_;
    const size_t count = std::min(core.size(), kArenaBytes - arena_used_);
    std::memcpy(at, core.data(), count);
    arena_used_ += count;
    inputs_.emplace_back(node::Received{id, {at, count}});
    core.remove_prefix(count);
  }
}

// What filters said of themselves, if the core had nothing to send that it could leave with.
void EventLoop::send_replies() {
  for (const ConnectionId id : std::exchange(owing_, {})) {
    Connection* const connection = find(id);
    if (connection == nullptr || !connection->passage || connection->passage->reply.empty()) continue;
    write(*connection, std::exchange(connection->passage->reply, {}));
  }
}

// --- Not getting through.

// As soon as its address is known for certain: behind a proxy that is what the header tells.
bool EventLoop::may_shake_hands(const Passage& passage) {
  if (passage.dialed || from_here(passage)) return true;
  const std::string network = network_of(passage);
  const bool wary = openings_.size() >= options_.openings_max || core_.wary_of(network, now_.mono);
  return handshake_limits_.admit(network, wary, now_.mono);
}

// It made work for nothing. Who said nothing did not: a balancer that looks whether the port answers, say.
void EventLoop::blame(const Passage& passage) {
  if (passage.shaking && !passage.dialed && !passage.away())
    handshake_limits_.failed(network_of(passage), now_.mono);
}

void EventLoop::turn_away(Connection& connection, const std::string& why) {
  if (!connection.passage->dialed) {
    ++door_counters_.failed;
    blame(*connection.passage);
    log("HF-TLS-005", "turned a connection from " + connection.passage->peer + " away: " + why);
  }
  forget_opening(connection, why);
  hang_up(connection);
}

void EventLoop::lose_opening(Connection& connection, uint64_t& counter, const std::string& why) {
  if (!connection.passage->dialed) ++counter;
  forget_opening(connection, why);
  destroy(connection.id);
}

void EventLoop::forget_opening(Connection& connection, const std::string& why) {
  openings_.erase(connection.id);
  if (connection.passage->dialed) inputs_.emplace_back(node::Dialed{0, why});
}

}  // namespace hf::io
