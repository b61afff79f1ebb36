// Entry points, framing and dispatch, timers, closing.
#include "broker/broker.h"

#include <algorithm>

#include "base/assert.h"
#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

constexpr size_t kConnectBytesMax = 8 << 20;     // Buffered for all connections that are not let in yet.
constexpr size_t kConnectBytesOfOne = 2 << 20;   // For those of one address.
constexpr size_t kProgressBytes = 4096;          // So much more of a packet is a sign of life.
constexpr size_t kConnectBytesEach = 256 << 10;  // And for one of them.

}  // namespace

Broker::Impl::Impl(store::Store& store, Host& host, const Limits& limits, uint64_t seed, const Now& now)
    : store_(store),
      host_(host),
      limits_(limits),
      prng_(seed),
      session_rights_(host),
      audiences_(subscriptions_, host, session_rights_),
      retained_(store, limits.retained_bytes_max),
      started_(now.mono) {
  const Call call(*this, now);
  recover();
  boundary_due_ = true;
}

Broker::Impl::Call::Call(Impl& impl, const Now& now) : impl_(impl) {
  if (impl_.depth_++ > 0) return;
  if (impl_.now_.mono != now.mono) ++impl_.step_;
  impl_.now_ = now;
  impl_.arrival_ = store::arrival_of(now);
}

Broker::Impl::Call::~Call() {
  if (impl_.depth_ == 1) impl_.finish();
  --impl_.depth_;
}

void Broker::Impl::finish() {
  if (!(gated_.empty() && leaving_.empty()) && storage_failed()) {
    fail_gated();
    serve_leaving();
  }
  // Serving one session may doom another, whose will is served in turn.
  while (!pumps_.empty() || !group_pumps_.empty() || !doomed_.empty()) {
    for (size_t i = 0; i < doomed_.size(); ++i) {
      const Doomed doomed = doomed_[i];
      if (Connection* connection = find(doomed.connection)) fail(*connection, doomed.reason, doomed.text);
    }
    doomed_.clear();
    for (size_t i = 0; i < pumps_.size(); ++i) {
      const auto found = sessions_by_number_.find(pumps_[i]);
      if (found == sessions_by_number_.end()) continue;
      found->second->pump_due = false;
      pump(*found->second);
    }
    pumps_.clear();
    const std::vector<uint64_t> groups = std::exchange(group_pumps_, {});
    for (const uint64_t number : groups) {
      const auto found = groups_by_number_.find(number);
      if (found == groups_by_number_.end()) continue;
      found->second->pump_due = false;
      pump_group(*found->second);
    }
  }
  close_runs();
  if (boundary_due_) boundary();
  boundary_due_ = false;
  graveyard_.clear();
}

void Broker::Impl::boundary() {
  if (store_.batch_full()) close_runs();
  store_.boundary();
}

Connection* Broker::Impl::find(ConnectionId id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

// --- Entry points.

void Broker::Impl::connected(ConnectionId id, const Now& now, Bytes from) {
  const Call call(*this, now);
  auto connection = std::make_unique<Connection>();
  connection->id = id;
  connection->from = from;
  connection->last_received = now.mono;
  timers_.arm(Timer::Kind::kConnection, id, now.mono + limits_.connect_timeout, &connection->timer);
  connections_[id] = std::move(connection);
  ++counters_.connections;
  counters_.connections_most = std::max(counters_.connections_most, counters_.connections);
}

void Broker::Impl::received(ConnectionId id, Bytes bytes, const Now& now) {
  const Call call(*this, now);
  Connection* connection = find(id);
  if (connection == nullptr) return;
  boundary_due_ = true;
  counters_.bytes_received += bytes.size();
  read(*connection, bytes);
}

void Broker::Impl::read(Connection& connection, Bytes bytes) {
  size_t done = 0;
  read_all(connection, bytes, &done);
  if (done > 0 && !connection.closed()) drop_input(connection, done);
}

void Broker::Impl::read_all(Connection& reads, Bytes bytes, size_t* done) {
  Connection* const connection = &reads;
  // Nothing is moved for each packet: what waited for a verdict may be many small ones.
  const auto take = [&](size_t size) {
    *done += size;
    if (*done < connection->input.size()) return;
    drop_input(*connection, *done);
    *done = 0;
  };
  while (!connection->closed()) {
    const bool waiting = connection->state != Connection::State::kOpen;
    const bool buffered = !connection->input.empty();
    if (connection->checking) {
      if (!bytes.empty()) keep_input(*connection, bytes);
      return;
    }
    const Bytes source = buffered ? Bytes(connection->input).substr(*done) : bytes;
    if (source.empty()) return;
    // [MQTT-3.1.0-1] Looked at before anything is kept.
    if (connection->state == Connection::State::kWaiting &&
        static_cast<uint8_t>(source[0]) >> 4 != static_cast<uint8_t>(PacketType::kConnect)) {
      return fail(*connection, Reason::kProtocolError, "the first packet is not CONNECT");
    }
    if (!waiting) {
      if (const size_t run = on_publish_run(*connection, source, !buffered)) {
        boundary();
        if (!buffered) {
          bytes.remove_prefix(run);
        } else if (!connection->closed()) {
          take(run);
        }
        continue;
      }
    }
    mqtt::Framed framed;
    mqtt::DecodeError error;
    switch (mqtt::frame_next(source, waiting ? limits_.connect_bytes_max : limits_.packet_bytes_max, &framed,
                             &error)) {
      case mqtt::FrameStatus::kBad:
        // Too large, and as far as one can see of 5.0: it is told so.
        if (connection->state == Connection::State::kWaiting &&
            source.substr(0, 16).find(Bytes("\0\4MQTT\5", 7)) != Bytes::npos) {
          connection->version = Version::k5;
          return refuse(*connection, error.reason, error.text);
        }
        return fail(*connection, error.reason, error.text);
      case mqtt::FrameStatus::kNeedMore: {
        if (!buffered) {
          keep_input(*connection, bytes);
          return;
        }
        // Only what completes the packet is copied; what follows is read where it lies.
        const size_t missing = framed.size > source.size() ? framed.size - source.size() : 1;
        const Bytes more = bytes.substr(0, missing);
        bytes.remove_prefix(more.size());
        if (!keep_input(*connection, more) || more.empty()) return;
        break;
      }
      case mqtt::FrameStatus::kWhole:
        if (!buffered) bytes.remove_prefix(framed.size);
        connection->last_received = now_.mono;
        handle(*connection, framed);
        // A packet's record and rows are one group; the next packet's are another.
        boundary();
        if (buffered && !connection->closed()) take(framed.size);
        break;
    }
  }
}

bool Broker::Impl::keep_input(Connection& connection, Bytes bytes) {
  if (connection.state != Connection::State::kOpen) {
    if (!count_connect_bytes(connection, bytes.size(), kConnectBytesEach)) {
      fail(connection, Reason::kServerBusy, "too much is buffered for connections that are not let in yet");
      return false;
    }
  }
  const size_t before = connection.input.size();
  connection.input.append(bytes);
  // A slow line may carry a large packet; somebody who sends a byte now and then is not heard.
  if (connection.input.size() / kProgressBytes > before / kProgressBytes)
    connection.last_received = now_.mono;
  return true;
}

void Broker::Impl::drop_input(Connection& connection, size_t size) {
  if (connection.state != Connection::State::kOpen) uncount_connect_bytes(connection, size);
  connection.input.erase(0, size);
  if (connection.input.empty() && connection.input.capacity() > 64 << 10) release_memory(connection.input);
}

bool Broker::Impl::count_connect_bytes(Connection& connection, size_t bytes, size_t each_max) {
  const auto from =
      connection.from.empty() ? connect_bytes_from_.end() : connect_bytes_from_.find(connection.from);
  const size_t of_same = from != connect_bytes_from_.end() ? from->second : 0;
  if (counters_.connect_bytes + bytes > kConnectBytesMax || of_same + bytes > kConnectBytesOfOne ||
      connection.connect_bytes + bytes > each_max) {
    ++counters_.of(Limit::kConnectBytes);
    return false;
  }
  counters_.connect_bytes += bytes;
  connection.connect_bytes += bytes;
  if (!connection.from.empty()) connect_bytes_from_[connection.from] += bytes;
  return true;
}

void Broker::Impl::uncount_connect_bytes(Connection& connection, size_t bytes) {
  connection.connect_bytes -= bytes;
  counters_.connect_bytes -= bytes;
  if (const auto from = connect_bytes_from_.find(connection.from); from != connect_bytes_from_.end()) {
    from->second -= bytes;
    if (from->second == 0) connect_bytes_from_.erase(from);
  }
}

void Broker::Impl::closed(ConnectionId id, const Now& now) {
  const Call call(*this, now);
  boundary_due_ = true;
  leaving_.erase(id);
  if (Connection* connection = find(id)) forget(*connection, true);
}

void Broker::Impl::unsent(ConnectionId id, uint64_t bytes, const Now& now) {
  const Call call(*this, now);
  Connection* connection = find(id);
  if (connection == nullptr) return;
  connection->unsent_bytes = bytes;
  connection->step_bytes = 0;
  if (connection->session == nullptr) return;
  boundary_due_ = true;
  pump_later(*connection->session);
  if (connection->session != nullptr) serve_retained(*connection->session);
}

void Broker::Impl::durable(const Now& now) {
  const Call call(*this, now);
  const uint64_t durable_commit = store_.durable_commit();
  acks_left(durable_commit);
  serve_leaving();
  std::erase_if(ended_, [&](const auto& entry) { return entry.second <= durable_commit; });
  // Publishers first: they send what comes next while subscribers' messages are written.
  std::vector<ConnectionId> gated;
  std::vector<ConnectionId> others;
  for (const ConnectionId id : std::exchange(gated_, {})) {
    const Connection* const connection = find(id);
    (connection != nullptr && connection->gate.gives_credits() ? gated : others).push_back(id);
  }
  gated.insert(gated.end(), others.begin(), others.end());
  for (const ConnectionId id : gated) {
    Connection* connection = find(id);
    if (connection == nullptr) continue;
    bool left = false;
    const uint32_t credits = connection->gate.release(durable_commit, [&](Bytes bytes) {
      left = true;
      send_now(*connection, bytes);
    });
    connection->received_open -= std::min(connection->received_open, credits);
    connection->gated = !connection->gate.empty();
    if (connection->gated) {
      gated_.push_back(id);
    } else {
      connection->outbound_aliases.all_left();
    }
    if (!left) continue;
    if (!connection->connack_sent) {
      connection->connack_sent = true;  // It was the first in the gate.
      boundary_due_ = true;
      pump_later(*connection->session);
    }
    if (connection->session != nullptr) serve_retained(*connection->session);
  }
}

bool Broker::Impl::woken(store::ReaderId reader, const Now& now) {
  const Call call(*this, now);
  const auto found = sessions_by_reader_.find(reader);
  ShareGroup* const group = find_group(reader);
  if (found == sessions_by_reader_.end() && group == nullptr) return false;
  boundary_due_ = true;
  if (group != nullptr) {
    pump_group_later(*group);
  } else {
    pump_later(*found->second);
    if (std::exchange(found->second->owed_looked, false)) pass_expired(*found->second);
  }
  return true;
}

void Broker::Impl::tick(const Now& now) {
  const Call call(*this, now);
  boundary_due_ = true;
  while (const auto timer = timers_.take_due(now.mono)) {
    timer_due(*timer);
    boundary();
  }
  end_overfull();
  std::vector<ConnectionId> ids;
  ids.swap(next_step_);
  for (const ConnectionId id : ids) {
    Connection* connection = find(id);
    if (connection == nullptr || connection->session == nullptr) continue;
    connection->next_step = false;
    pump_later(*connection->session);
    serving_ = id;
    serve_retained(*connection->session);
    serving_ = 0;
  }
  // Who used up what a step may search comes after those who found nothing left of it.
  const ConnectionId last = std::exchange(retained_last_, 0);
  if (std::erase(next_step_, last) > 0) next_step_.push_back(last);
}

std::optional<Instant> Broker::Impl::next_deadline() const {
  std::optional<Instant> next = timers_.next();
  // A later instant, so that it is another step.
  const Instant soon{now_.mono.ns + 1};
  if ((!next_step_.empty() || !overfull_.empty()) && (!next || *next > soon)) next = soon;
  return next;
}

void Broker::Impl::reading(bool paused, const Now& now) {
  if (reading_paused_ || paused) reading_paused_until_ = now.mono;
  reading_paused_ = paused;
}

void Broker::Impl::disconnect(ConnectionId id, Reason reason, const Now& now) {
  const Call call(*this, now);
  boundary_due_ = boundary_due_ || depth_ == 1;
  if (Connection* connection = find(id)) close(*connection, reason);
}

void Broker::Impl::shut_down(const Now& now) {
  const Call call(*this, now);
  boundary_due_ = true;
  shut_down_ = true;
  std::vector<ConnectionId> ids;
  for (const auto& [id, connection] : connections_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (const ConnectionId id : ids) {
    if (Connection* connection = find(id)) close(*connection, Reason::kServerShuttingDown);
  }
}

// --- Dispatch.

void Broker::Impl::handle(Connection& connection, const mqtt::Framed& framed) {
  ++counters_.packets_received;
  mqtt::DecodeError error;
  if (connection.state == Connection::State::kWaiting) {
    uint8_t level = 0;
    if (mqtt::decode(framed, Version::k311, mqtt::Sender::kClient, &packet_, &error, &level)) {
      const Bytes whole(framed.body.data() - (framed.size - framed.body.size()), framed.size);
      return on_connect(connection, std::get<mqtt::Connect>(packet_), whole);
    }
    if (error.reason == Reason::kUnsupportedProtocolVersion) {
      // [MQTT-3.1.2-2] Answered in the form of 3.1.1 to whoever is older, of 5.0 to whoever is newer.
      connection.version = level > 5 ? Version::k5 : Version::k311;
      return refuse(connection, error.reason, error.text);
    }
    // [MQTT-3.1.4-1] A client of 5.0 is told why, if its version came through.
    if (!framed.body.starts_with(Bytes("\0\4MQTT\5", 7))) return fail(connection, error.reason, error.text);
    ++counters_.protocol_errors;
    connection.version = Version::k5;
    return refuse(connection, error.reason, error.text);
  }
  const bool open = connection.state == Connection::State::kOpen;
  if (open && on_publish_again(connection, framed)) return;
  uint16_t packet_id = 0;
  if (open && mqtt::decode_bare_ack(framed, &packet_id))
    return on_ack(connection, framed.type(), packet_id, Reason::kSuccess);
  if (!mqtt::decode(framed, connection.version, mqtt::Sender::kClient, &packet_, &error)) {
    return fail(connection, error.reason, error.text);  // [MQTT-4.13.1-1]
  }
  if (!open) {  // [MQTT-3.1.2-30] [MQTT-4.12.0-3]: the client may answer, or give up.
    if (framed.type() == PacketType::kAuth) return on_auth(connection, std::get<mqtt::Disconnect>(packet_));
    if (framed.type() != PacketType::kDisconnect) {
      return fail(connection, Reason::kProtocolError, "a packet in the middle of authentication");
    }
    host_.close(connection.id);
    return forget(connection, false);
  }
  switch (framed.type()) {
    case PacketType::kConnect:  // [MQTT-3.1.0-2] [MQTT-3.2.0-2]
      return fail(connection, Reason::kProtocolError, "a second CONNECT");
    case PacketType::kPublish:
      return on_publish(connection, std::get<mqtt::Publish>(packet_));
    case PacketType::kPuback:
    case PacketType::kPubrec:
    case PacketType::kPubrel:
    case PacketType::kPubcomp: {
      const auto& ack = std::get<mqtt::Ack>(packet_);
      return on_ack(connection, ack.type, ack.packet_id, ack.reason);
    }
    case PacketType::kSubscribe:
      return on_subscribe(connection, std::get<mqtt::Subscribe>(packet_));
    case PacketType::kUnsubscribe:
      return on_unsubscribe(connection, std::get<mqtt::Unsubscribe>(packet_));
    case PacketType::kPingreq:  // [MQTT-3.12.4-1]
      if (connection.connack_sent) {
        ++counters_.packets_sent;
        return send_now(connection, Bytes("\xd0\0", 2));
      }
      return send_packet(connection, 0, mqtt::Ping{PacketType::kPingresp});
    case PacketType::kDisconnect:
      return on_disconnect(connection, std::get<mqtt::Disconnect>(packet_));
    case PacketType::kAuth:
      return on_auth(connection, std::get<mqtt::Disconnect>(packet_));
    default:
      return fail(connection, Reason::kProtocolError, "a packet that only a server sends");
  }
}

void Broker::Impl::on_disconnect(Connection& connection, const mqtt::Disconnect& packet) {
  Session& session = *connection.session;
  if (const auto expiry_s = packet.properties.session_expiry_interval_s) {
    if (session.expiry_s == 0 && *expiry_s != 0) {  // 3.14.2.2.2
      return fail(connection, Reason::kProtocolError, "a session expiry where CONNECT had none");
    }
    session.expiry_s = std::min(*expiry_s, limits_.session_expiry_max_s);
  }
  // It is not listened to any more. What it asked for is answered still, and what stands between the answers leaves with
  // them [MQTT-3.1.4-5] [MQTT-3.3.4-1] [MQTT-3.8.4-1].
  if (connection.gate.empty()) {
    host_.close(connection.id);
  } else {
    leaving_.emplace(connection.id, std::exchange(connection.gate, {}));
  }
  // [MQTT-3.14.4-3] A DISCONNECT with reason 0 discards the will, any other keeps it. (3.1.1 has no other.)
  forget(connection, packet.reason != Reason::kSuccess);
}

void Broker::Impl::timer_due(const Timer& timer) {
  if (timer.kind == Timer::Kind::kConnection) {
    Connection* connection = find(timer.id);
    HF_ASSERT(connection != nullptr);
    connection->timer.reset();
    // What the host did not read, and what waits in the input for a verdict, may be what is missed.
    const Instant read_until = reading_paused_ ? now_.mono : reading_paused_until_;
    if (connection->state != Connection::State::kOpen) {
      if (read_until != Instant{} && read_until + limits_.connect_timeout > now_.mono)
        return arm_connection(*connection, read_until + limits_.connect_timeout);
      return fail(*connection, Reason::kMaximumConnectTime,
                  connection->state == Connection::State::kWaiting ? "no CONNECT in time"
                                                                   : "not authenticated in time");
    }
    // Armed once for many packets: what came since moves it on.
    const Instant heard = connection->checking ? now_.mono : std::max(connection->last_received, read_until);
    const Instant due = heard + connection->keep_alive;
    if (due > now_.mono) return arm_connection(*connection, due);
    // [MQTT-3.1.2-22] (In 3.1.1: [MQTT-3.1.2-24].)
    ++counters_.of(Limit::kKeepAlive);
    log_rarely(kEventKeepAlive, quoted_name(connection->session->client_id) +
                                    " sent nothing within one and a half keep alives");
    return close(*connection, Reason::kKeepAliveTimeout);
  }
  if (timer.kind == Timer::Kind::kWills) {
    wills_timer_.reset();
    return publish_waiting_wills();
  }
  if (timer.kind == Timer::Kind::kSys) {
    sys_timer_.reset();
    return publish_sys();
  }
  const auto found = sessions_by_number_.find(timer.id);
  HF_ASSERT(found != sessions_by_number_.end());
  Session& session = *found->second;
  if (timer.kind == Timer::Kind::kWill) {
    session.will_timer.reset();
    return publish_will_of(session);
  }
  if (timer.kind == Timer::Kind::kRetained) {
    session.retained_timer.reset();
    return serve_retained(session);
  }
  if (timer.kind == Timer::Kind::kOwed) {
    session.owed_timer.reset();
    return pass_expired(session);
  }
  if (timer.kind == Timer::Kind::kLease) {
    session.lease_timer.reset();
    return return_leases(session, false);
  }
  session.expiry_timer.reset();  // It is away: a connection disarms it [MQTT-4.1.0-1].
  ++counters_.sessions_expired;
  log_rarely(kEventSessionExpired, "session of " + quoted_name(session.client_id) + " expired");
  end_session(session, Haste::kRide);
}

void Broker::Impl::arm_connection(Connection& connection, Instant at) {
  timers_.arm(Timer::Kind::kConnection, connection.id, at, &connection.timer);
}

// --- Closing.

void Broker::Impl::count_limit(Reason reason) {
  if (reason == Reason::kPacketTooLarge) ++counters_.of(Limit::kPacketBytes);
  if (reason == Reason::kReceiveMaximumExceeded) ++counters_.of(Limit::kReceiveMaximum);
  if (reason == Reason::kTopicAliasInvalid) ++counters_.of(Limit::kTopicAlias);
  if (reason == Reason::kMaximumConnectTime) ++counters_.of(Limit::kConnectTime);
}

void Broker::Impl::fail(Connection& connection, Reason reason, const char* text) {
  ++counters_.protocol_errors;
  count_limit(reason);
  if (log_due(kEventConnectionFailed)) {
    const std::string who =
        connection.session != nullptr ? quoted_name(connection.session->client_id) : "a new connection";
    log(kEventConnectionFailed,
        who + whence(connection) + " is disconnected: " + mqtt::reason_name(reason) + ": " + text);
  }
  close(connection, reason, text);
}

void Broker::Impl::fail_gated() {
  for (const ConnectionId id : gated_) {
    Connection* connection = find(id);
    if (connection != nullptr && connection->gate.commit() > store_.durable_commit()) {
      doom(*connection, Reason::kImplementationSpecificError, "the storage has failed");
    }
  }
}

void Broker::Impl::serve_leaving() {
  const bool failed = storage_failed();
  for (auto next = leaving_.begin(); next != leaving_.end();) {
    const auto at = next++;
    const ConnectionId id = at->first;
    at->second.release(store_.durable_commit(), [&](Bytes bytes) {
      counters_.bytes_sent += bytes.size();
      host_.send(id, bytes);
    });
    if (!at->second.empty() && !failed) continue;
    host_.close(id);
    leaving_.erase(at);
  }
}

void Broker::Impl::doom(Connection& connection, Reason reason, const char* text) {
  if (connection.doomed) return;
  connection.doomed = true;
  doomed_.push_back({connection.id, reason, text});
}

void Broker::Impl::close(Connection& connection, Reason reason, const char* text) {
  // [MQTT-3.14.0-1] No DISCONNECT before CONNACK. 3.1.1 has none from the server at all. It has no user properties
  // [MQTT-3.14.2-4].
  if (connection.connack_sent && connection.version == Version::k5) {
    mqtt::Disconnect packet{.reason = reason};
    if (text != nullptr && connection.wants_reasons) packet.properties.reason_string = text;
    scratch_.clear();
    mqtt::encode(scratch_, connection.version, packet);
    if (scratch_.size() > connection.packet_bytes_max) {  // [MQTT-3.14.2-3]
      packet.properties.reason_string.reset();
      scratch_.clear();
      mqtt::encode(scratch_, connection.version, packet);
    }
    if (scratch_.size() <= connection.packet_bytes_max) send_now(connection, scratch_);
  }
  host_.close(connection.id);  // [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.13.2-1]
  forget(connection, true);
}

void Broker::Impl::forget(Connection& connection, bool will_due) {
  const ConnectionId id = connection.id;
  HF_ASSERT(!connection.closed());
  uncount_connect_bytes(connection, connection.connect_bytes);
  timers_.disarm(Timer::Kind::kConnection, id, &connection.timer);
  connection.state = Connection::State::kClosed;
  const auto found = connections_.find(id);
  HF_ASSERT(found != connections_.end());
  graveyard_.push_back(std::move(found->second));
  connections_.erase(found);
  --counters_.connections;
  if (Session* session = std::exchange(connection.session, nullptr)) {
    session->connection = nullptr;
    --online_count_;
    detach(*session, will_due);
  }
  if (connection.principal.kind == Principal::Kind::kNode)
    host_.node_disconnected(id, connection.principal.name);
}

// --- Sending.

void Broker::Impl::send_now(Connection& connection, Bytes bytes) {
  count_sent(connection, bytes.size());
  host_.send(connection.id, bytes);
}

void Broker::Impl::count_sent(Connection& connection, uint64_t bytes) {
  if (connection.step != step_) {
    connection.step = step_;
    connection.step_bytes = 0;
  }
  connection.step_bytes += bytes;
  counters_.bytes_sent += bytes;
}

void Broker::Impl::send_ack(Connection& connection, uint64_t commit, PacketType type, uint16_t packet_id,
                            Reason reason) {
  // An answer that ends an exchange of the client's gives its window back.
  const bool last = type == PacketType::kPuback || type == PacketType::kPubcomp ||
                    (type == PacketType::kPubrec && reason >= Reason::kUnspecifiedError);
  send_gated(connection, commit, last ? 1 : 0,
             [&](std::string& out) { mqtt::encode_ack(out, connection.version, type, packet_id, reason); });
}

void Broker::Impl::send_packet(Connection& connection, uint64_t commit, const mqtt::Packet& packet) {
  std::string bytes;
  mqtt::encode(bytes, connection.version, packet);
  if (bytes.size() > connection.packet_bytes_max) {  // [MQTT-3.1.2-24]
    return fail(connection, Reason::kPacketTooLarge, "an answer is larger than the client takes");
  }
  send_gated(connection, commit, 0, [&](std::string& out) { out.append(bytes); });
}

void Broker::Impl::log(const char* event, std::string text) {
  // Names come from outside: nothing in them may end a line or colour a terminal.
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  host_.log(event, std::move(text));
}

bool Broker::Impl::log_due(const char* event) {
  const auto [found, first] = logged_.try_emplace(event, now_.mono);
  if (!first && now_.mono - found->second < seconds(1)) return false;
  found->second = now_.mono;
  return true;
}

void Broker::Impl::log_rarely(const char* event, std::string text) {
  if (log_due(event)) log(event, std::move(text));
}

std::string Broker::Impl::whence(const Connection& connection) const {
  const std::string& name = connection.session != nullptr ? connection.principal.name : connection.asked_user;
  const std::string address = host_.address_of(connection.id);
  std::string text;
  if (!name.empty())
    text = (connection.principal.kind == Principal::Kind::kNode ? "node " : "user ") + quoted_name(name);
  if (!address.empty()) text += (text.empty() ? "from " : ", from ") + address;
  return text.empty() ? "" : " (" + text + ")";
}

// --- What broker.h promises.

Broker::Broker(store::Store& store, Host& host, const Limits& limits, uint64_t seed, const Now& now)
    : impl_(std::make_unique<Impl>(store, host, limits, seed, now)) {}
Broker::~Broker() = default;

void Broker::connected(ConnectionId connection, const Now& now, Bytes from) {
  impl_->connected(connection, now, from);
}
void Broker::received(ConnectionId connection, Bytes bytes, const Now& now) {
  impl_->received(connection, bytes, now);
}
void Broker::closed(ConnectionId connection, const Now& now) { impl_->closed(connection, now); }
void Broker::authenticated(ConnectionId connection, const Verdict& verdict, const Now& now) {
  impl_->authenticated(connection, verdict, now);
}
void Broker::identities_changed(const Now& now) { impl_->identities_changed(now); }
void Broker::unsent(ConnectionId connection, uint64_t bytes, const Now& now) {
  impl_->unsent(connection, bytes, now);
}
void Broker::durable(const Now& now) { impl_->durable(now); }
bool Broker::woken(store::ReaderId reader, const Now& now) { return impl_->woken(reader, now); }
void Broker::tick(const Now& now) { impl_->tick(now); }
std::optional<Instant> Broker::next_deadline() const { return impl_->next_deadline(); }
store::Store::Appended Broker::ingest(store::NewRecord record, const Source& source, const Now& now) {
  return impl_->ingest(record, source, now);
}
void Broker::together(const Now& now, const std::function<void()>& work) { impl_->together(now, work); }
Result<Published> Broker::publish(const Publication& message, const Now& now) {
  return impl_->publish(message, now);
}
void Broker::reserved_acknowledge(ConnectionId connection, uint16_t packet_id, mqtt::Reason reason,
                                  uint64_t commit) {
  impl_->reserved_acknowledge(connection, packet_id, reason, commit);
}
uint16_t Broker::reserved_send(ConnectionId connection, Bytes topic, Bytes payload, uint64_t commit) {
  return impl_->reserved_send(connection, topic, payload, commit);
}
void Broker::disconnect(ConnectionId connection, mqtt::Reason reason, const Now& now) {
  impl_->disconnect(connection, reason, now);
}
void Broker::shut_down(const Now& now) { impl_->shut_down(now); }
void Broker::reading(bool paused, const Now& now) { impl_->reading(paused, now); }
const Counters& Broker::counters() const { return impl_->counters(); }

}  // namespace hf::broker
