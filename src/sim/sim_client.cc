#include "sim/sim_client.h"

#include <algorithm>

#include "base/assert.h"

namespace hf::sim {

using mqtt::PacketType;
using mqtt::Reason;

SimClient::SimClient(Options options, uint32_t number, Oracle& oracle, Trace& trace, uint64_t seed)
    : options_(std::move(options)), number_(number), oracle_(oracle), trace_(trace), prng_(seed) {
  dial_at_ = Instant{prng_.below(200'000'000)};
}

MessageId SimClient::publish(const std::string& topic, uint8_t qos, bool retain, size_t filler_bytes,
                             Instant now) {
  Outgoing message;
  message.id = {number_, message_next_++};
  message.topic = topic;
  message.qos = qos;
  message.retain = retain;
  message.payload = make_payload(message.id, filler_bytes, prng_);
  oracle_.sent(message.id, topic, qos, retain, message.payload, now);
  const MessageId id = message.id;
  outgoing_.push_back(std::move(message));
  if (state_ == State::kUp) pump(now);
  return id;
}

// --- The transport.

void SimClient::dialed(bool connected, Instant now) {
  if (state_ != State::kDialing) return;
  if (!connected) {
    drop(now, Duration{});
    return;
  }
  state_ = State::kConnecting;
  ++connects_;
  connect_deadline_ = now + seconds(10);
  input_.clear();
  acknowledgements_.clear();
  open_.clear();
  ping_at_.reset();
  mqtt::Connect connect;
  connect.version = options_.version;
  connect.clean_start = !options_.persistent;
  connect.keep_alive_s = options_.keep_alive_s;
  connect.client_id = options_.client_id;
  if (options_.version == mqtt::Version::k5) {
    if (options_.persistent) connect.properties.session_expiry_interval_s = 86'400;
    connect.properties.receive_maximum = options_.receive_maximum;
  }
  send(connect, now);
}

void SimClient::closed(Instant now) {
  if (state_ != State::kAway) drop(now, Duration{});
}

// The connection is over, whoever ended it.
void SimClient::drop(Instant now, Duration away) {
  state_ = State::kAway;
  input_.clear();
  acknowledgements_.clear();
  open_.clear();
  ping_at_.reset();
  dial_at_ = now + away + milliseconds(20) +
             Duration{static_cast<int64_t>(prng_.below(static_cast<uint64_t>(options_.redial_max.ns) + 1))};
}

void SimClient::leave(bool politely, Duration away, Instant now) {
  if (state_ == State::kAway) return;
  if (politely && state_ == State::kUp) send(mqtt::Disconnect{}, now);
  output_.close = true;
  drop(now, away);
}

void SimClient::set_enabled(bool enabled, Instant now) {
  enabled_ = enabled;
  if (!enabled) {
    leave(false, Duration{}, now);
  } else if (state_ == State::kAway) {
    dial_at_ = now;
  }
}

void SimClient::received(Bytes bytes, Instant now) {
  if (state_ != State::kConnecting && state_ != State::kUp) return;
  input_.append(bytes);
  size_t begin = 0;
  while (state_ != State::kAway) {
    mqtt::Framed framed;
    mqtt::DecodeError error;
    const mqtt::FrameStatus status = mqtt::frame_next(Bytes(input_).substr(begin), 4 << 20, &framed, &error);
    if (status == mqtt::FrameStatus::kNeedMore) break;
    mqtt::Packet packet;
    if (status == mqtt::FrameStatus::kBad ||
        !mqtt::decode(framed, options_.version, mqtt::Sender::kServer, &packet, &error)) {
      oracle_.violate("true", "%s was sent bytes that are no packet: %s", name().c_str(), error.text);
      return;
    }
    on_packet(packet, now);
    begin += framed.size;
  }
  input_.erase(0, std::min(begin, input_.size()));
}

std::optional<Instant> SimClient::next_deadline() const {
  if (state_ == State::kAway) return enabled_ ? std::optional(dial_at_) : std::nullopt;
  if (state_ == State::kDialing) return std::nullopt;
  if (state_ == State::kConnecting) return connect_deadline_;
  const Duration keep_alive = seconds(options_.keep_alive_s);
  Instant at = ping_at_ ? *ping_at_ + keep_alive : sent_last_ + keep_alive * 3 / 4;
  if (!acknowledgements_.empty()) at = std::min(at, acknowledgements_.front().at);
  return at;
}

void SimClient::tick(Instant now) {
  switch (state_) {
    case State::kAway:
      if (enabled_ && now >= dial_at_) {
        state_ = State::kDialing;
        output_.dial = true;
      }
      return;
    case State::kDialing:
      return;
    case State::kConnecting:
      if (now >= connect_deadline_) leave(false, Duration{}, now);
      return;
    case State::kUp:
      break;
  }
  flush_acknowledgements(now);
  const Duration keep_alive = seconds(options_.keep_alive_s);
  if (ping_at_) {
    if (now >= *ping_at_ + keep_alive) {
      trace_.say("%s: no answer to PINGREQ", name().c_str());
      leave(false, Duration{}, now);
    }
  } else if (now >= sent_last_ + keep_alive * 3 / 4) {
    ping_at_ = now;
    send(mqtt::Ping{}, now);
  }
}

SimClient::Output SimClient::take_output() {
  Output out = std::move(output_);
  output_ = {};
  return out;
}

// --- Packets.

void SimClient::send(const mqtt::Packet& packet, Instant now) {
  mqtt::encode(output_.bytes, options_.version, packet);
  sent_last_ = now;
}

void SimClient::on_packet(const mqtt::Packet& packet, Instant now) {
  if (state_ == State::kConnecting && !std::holds_alternative<mqtt::Connack>(packet)) {
    oracle_.violate("true", "%s was sent something before CONNACK", name().c_str());
    return;
  }
  if (const auto* connack = std::get_if<mqtt::Connack>(&packet)) {
    on_connack(*connack, now);
  } else if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) {
    on_publish(*publish, now);
  } else if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
    on_ack(*ack, now);
  } else if (const auto* suback = std::get_if<mqtt::SubAck>(&packet)) {
    if (suback->packet_id != subscribe_id_ || suback->type != PacketType::kSuback) return;
    subscribed_ = true;
    for (size_t i = 0; i < options_.subscriptions.size() && i < suback->reasons.size(); ++i) {
      const SimClient::Subscription& subscription = options_.subscriptions[i];
      if (suback->reasons[i] != subscription.qos) {
        // A node whose storage failed grants less, or refuses; then the client asks again another day.
        subscribed_ = false;
        continue;
      }
      oracle_.subscribed(number_, subscription.filter, subscription.qos, now);
    }
    if (!subscribed_) leave(true, seconds(1), now);
  } else if (const auto* ping = std::get_if<mqtt::Ping>(&packet)) {
    if (ping->type == PacketType::kPingresp) ping_at_.reset();
  } else if (const auto* disconnect = std::get_if<mqtt::Disconnect>(&packet)) {
    trace_.say("%s: told to go: %s", name().c_str(), mqtt::reason_name(disconnect->reason));
    leave(false, Duration{}, now);
  }
}

void SimClient::on_connack(const mqtt::Connack& connack, Instant now) {
  if (state_ != State::kConnecting) {
    oracle_.violate("true", "%s was sent a second CONNACK", name().c_str());
    return;
  }
  if (connack.reason != 0) {
    trace_.say("%s: refused (%u)", name().c_str(), connack.reason);
    leave(false, milliseconds(500), now);
    return;
  }
  state_ = State::kUp;
  server_receive_maximum_ = connack.properties.receive_maximum.value_or(65'535);
  if (options_.version == mqtt::Version::k5 && options_.persistent &&
      connack.properties.session_expiry_interval_s.value_or(86'400) == 0) {
    // Storage failed: the session would not outlive the connection. Nothing was promised.
    trace_.say("%s: the node keeps no sessions now", name().c_str());
    leave(true, seconds(1), now);
    return;
  }
  trace_.say("%s: connected%s", name().c_str(), connack.session_present ? ", session present" : "");
  if (!connack.session_present) {
    if (promised_ && options_.persistent) {
      oracle_.session_lost(number_);
      start_over();
    }
    if (!options_.persistent) start_over();
  }
  promised_ = true;
  if (connack.session_present) resume(now);
  if (!subscribed_) send_subscribe(now);
  pump(now);
}

// The node has nothing of the session any more: what was open begins anew.
void SimClient::start_over() {
  subscribed_ = false;
  inbound_.clear();
  ids_used_.clear();
  for (Outgoing& message : outgoing_) {
    message.state = Outgoing::State::kQueued;
    message.packet_id = 0;
  }
}

// [MQTT-4.4.0-1]: what is not acknowledged goes out again, in the order it first did.
void SimClient::resume(Instant now) {
  for (const Outgoing& message : outgoing_) {
    if (message.state == Outgoing::State::kSent) {
      send_publish(message, true, now);
    } else if (message.state == Outgoing::State::kReleased) {
      mqtt::encode_ack(output_.bytes, options_.version, PacketType::kPubrel, message.packet_id,
                       Reason::kSuccess);
    }
  }
}

void SimClient::send_publish(const Outgoing& message, bool dup, Instant now) {
  mqtt::encode_publish(output_.bytes, options_.version,
                       {.dup = dup,
                        .qos = message.qos,
                        .retain = message.retain,
                        .topic = message.topic,
                        .packet_id = message.packet_id,
                        .raw_properties = {}},
                       message.payload);
  sent_last_ = now;
}

void SimClient::send_subscribe(Instant now) {
  if (options_.subscriptions.empty()) return;
  subscribe_id_ = free_packet_id();
  mqtt::Subscribe subscribe;
  subscribe.packet_id = subscribe_id_;
  for (const Subscription& subscription : options_.subscriptions) {
    mqtt::SubscribeEntry entry;
    entry.filter = subscription.filter;
    entry.qos = subscription.qos;
    subscribe.entries.push_back(entry);
  }
  send(subscribe, now);
}

uint16_t SimClient::free_packet_id() const {
  uint16_t id = 1;
  for (const uint16_t used : ids_used_) {
    if (used > id && (subscribed_ || id != subscribe_id_)) break;
    id = static_cast<uint16_t>(used + 1);
  }
  return subscribed_ || id != subscribe_id_ ? id : static_cast<uint16_t>(id + 1);
}

std::deque<SimClient::Outgoing>::iterator SimClient::find_outgoing(uint16_t packet_id) {
  return std::find_if(outgoing_.begin(), outgoing_.end(),
                      [&](const Outgoing& message) { return message.packet_id == packet_id; });
}

void SimClient::forget(const std::deque<Outgoing>::iterator& message) {
  ids_used_.erase(message->packet_id);
  outgoing_.erase(message);
}

// Sends what is queued, as far as both windows allow.
void SimClient::pump(Instant now) {
  if (state_ != State::kUp) return;
  const size_t window = std::min<size_t>(options_.window, server_receive_maximum_);
  auto it = outgoing_.begin() + static_cast<ptrdiff_t>(ids_used_.size());
  while (it != outgoing_.end()) {
    if (it->qos == 0) {
      send_publish(*it, false, now);
      it = outgoing_.erase(it);
      continue;
    }
    if (ids_used_.size() >= window) return;
    it->packet_id = free_packet_id();
    ids_used_.insert(it->packet_id);
    it->state = Outgoing::State::kSent;
    send_publish(*it, false, now);
    ++it;
  }
}

void SimClient::on_ack(const mqtt::Ack& ack, Instant now) {
  const bool failed = static_cast<uint8_t>(ack.reason) >= 0x80;
  const auto message = find_outgoing(ack.packet_id);
  switch (ack.type) {
    case PacketType::kPuback:
      if (message == outgoing_.end() || message->qos != 1) {
        oracle_.violate("true", "%s was sent PUBACK %u for nothing", name().c_str(), ack.packet_id);
        return;
      }
      if (failed) {
        oracle_.refused(message->id);
      } else {
        oracle_.acknowledged(message->id, now);
      }
      forget(message);
      break;
    case PacketType::kPubrec:
      if (message != outgoing_.end() && message->qos == 2) {
        if (failed) {
          oracle_.refused(message->id);
          forget(message);
          break;
        }
        oracle_.acknowledged(message->id, now);
        message->state = Outgoing::State::kReleased;
      }
      mqtt::encode_ack(output_.bytes, options_.version, PacketType::kPubrel, ack.packet_id, Reason::kSuccess);
      sent_last_ = now;
      return;
    case PacketType::kPubcomp:
      if (message == outgoing_.end() || message->state != Outgoing::State::kReleased) return;
      oracle_.completed(message->id);
      forget(message);
      break;
    case PacketType::kPubrel: {
      inbound_.erase(ack.packet_id);
      open_.erase(ack.packet_id);
      mqtt::encode_ack(output_.bytes, options_.version, PacketType::kPubcomp, ack.packet_id,
                       Reason::kSuccess);
      sent_last_ = now;
      return;
    }
    default:
      return;
  }
  pump(now);
}

void SimClient::on_publish(const mqtt::Publish& publish, Instant now) {
  bool may_double = false;
  for (const mqtt::UserProperty& property : publish.properties.user_properties) {
    may_double |= property.name == "hf-may-double";
  }
  if (publish.qos > 0) {
    if (open_.contains(publish.packet_id) && publish.qos == 1) {
      oracle_.violate("once", "%s was sent packet identifier %u again on one connection", name().c_str(),
                      publish.packet_id);
      return;
    }
    open_[publish.packet_id] = true;
    if (options_.version == mqtt::Version::k5 && open_.size() > options_.receive_maximum) {
      oracle_.violate("true", "%s has %zu open deliveries, and allowed %u", name().c_str(), open_.size(),
                      options_.receive_maximum);
      return;
    }
    acknowledgements_.push_back({});
    Acknowledgement& acknowledgement = acknowledgements_.back();
    acknowledgement.type = publish.qos == 1 ? PacketType::kPuback : PacketType::kPubrec;
    acknowledgement.packet_id = publish.packet_id;
    acknowledgement.at =
        now +
        Duration{static_cast<int64_t>(prng_.below(static_cast<uint64_t>(options_.acknowledge_max.ns) + 1))};
    if (acknowledgements_.size() > 1) {  // In the order they came [MQTT-4.6.0-2].
      acknowledgement.at = std::max(acknowledgement.at, acknowledgements_[acknowledgements_.size() - 2].at);
    }
  }
  if (publish.qos == 2) {
    if (const auto before = inbound_.find(publish.packet_id); before != inbound_.end()) {
      oracle_.repeated(number_, publish.packet_id, before->second, publish.payload);
      flush_acknowledgements(now);
      return;
    }
    inbound_[publish.packet_id] = read_payload(publish.payload).value_or(MessageId{});
  }
  oracle_.delivered(number_, publish.topic, publish.payload, publish.qos, publish.retain, may_double);
  flush_acknowledgements(now);
}

void SimClient::flush_acknowledgements(Instant now) {
  while (!acknowledgements_.empty() && acknowledgements_.front().at <= now) {
    const Acknowledgement acknowledgement = acknowledgements_.front();
    acknowledgements_.pop_front();
    mqtt::encode_ack(output_.bytes, options_.version, acknowledgement.type, acknowledgement.packet_id,
                     Reason::kSuccess);
    if (acknowledgement.type == PacketType::kPuback) open_.erase(acknowledgement.packet_id);
    sent_last_ = now;
  }
}

}  // namespace hf::sim
