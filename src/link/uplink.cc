#include "link/uplink.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "mqtt/packet.h"

namespace hf::link {

using mqtt::Reason;
using mqtt::Version;

namespace {

constexpr Duration kAnswerTimeout = seconds(10);  // For CONNACK, and for the claim's PUBACK.
constexpr Duration kSettled = seconds(10);        // Up for so long: the next failure is a first one.
constexpr size_t kPacketBytesMax = 5 << 20;       // A batch at its largest, and its PUBLISH.
constexpr uint64_t kPublishHeadBytes = 64;
constexpr Duration kHurryInterval = seconds(1);
constexpr size_t kLoggedMax = 8;
constexpr uint16_t kReceiveMaximum = 128;
constexpr uint16_t kReceiveMaximumMin = 80;  // What we may have under way, and some.

}  // namespace

Uplink::Uplink(store::Store& store, Conversation& conversation, Credentials& credentials, Output& output,
               const UplinkOptions& options, uint64_t seed)
    : store_(store),
      conversation_(conversation),
      credentials_(credentials),
      output_(output),
      options_(options),
      jitter_(seed) {}

// --- Dialing.

bool Uplink::take_dial(const Now& now) {
  if (state_ != State::kIdle || stopped_ || !credentials_.known()) return false;
  if (dial_at_ && now.mono < *dial_at_) return false;
  if (credentials_.commit() > store_.durable_commit()) return false;
  state_ = State::kDialing;
  started_ = now.mono;
  return true;
}

std::optional<Instant> Uplink::next_dial() const {
  if (state_ != State::kIdle || stopped_ || !credentials_.known()) return std::nullopt;
  return dial_at_.value_or(Instant{});
}

void Uplink::connect_now(const Now& now) {
  failures_ = 0;
  refusals_ = 0;
  dial_at_ = now.mono;
}

void Uplink::network_changed(const Now& now) {
  if (state_ == State::kDialing) hurry_ = true;
  if (state_ == State::kIdle) hurry(now);
}

void Uplink::hurry(const Now& now) {
  hurry_ = false;
  // Without an attempt it has no backoff either.
  if (unwanted_ || !dial_at_) return;
  const Instant from = std::max(now.mono, hurried_at_ + kHurryInterval);
  if (*dial_at_ <= from) return;
  hurried_at_ = from;
  failures_ = 0;
  plan_dial(from);
}

void Uplink::plan_dial(Instant from) {
  Duration delay = options_.backoff_min;
  for (uint32_t i = 0; i < failures_ && delay < options_.backoff_max; ++i) delay = delay * 2;
  delay = std::min(delay, options_.backoff_max);
  ++failures_;
  // Between half of it and all of it, so that a hundred sites do not knock as one after a cut.
  delay = delay / 2 + Duration{static_cast<int64_t>(jitter_.below(static_cast<uint64_t>(delay.ns / 2) + 1))};
  dial_at_ = from + delay;
}

void Uplink::dialed(ConnectionId connection, Bytes error, const Now& now) {
  if (state_ != State::kDialing) {
    if (connection != 0) output_.close(connection);
    return;
  }
  if (connection == 0) {
    end(std::string(error), false, now);
    return;
  }
  connection_ = connection;
  connect(now);
  flush(now);
}

void Uplink::connect(const Now& now) {
  state_ = State::kConnecting;
  unwanted_ = false;
  hurry_ = false;
  started_ = sent_at_ = alive_at_ = now.mono;
  in_.clear();
  out_.clear();
  gated_.clear();
  ids_.clear();
  ping_out_ = false;
  unsent_bytes_ = 0;
  keep_alive_s_ = options_.keep_alive_s;
  // Until the parent has confirmed the secret, the claim and the secret take turns, the claim first.
  with_token_ = !credentials_.confirmed() && !credentials_.token().empty() && !other_first_;
  mqtt::Connect connect;
  connect.version = Version::k5;
  connect.clean_start = true;  // So there is no state to be discarded [MQTT-3.2.2-5].
  connect.keep_alive_s = keep_alive_s_;
  connect.properties.receive_maximum = kReceiveMaximum;
  connect.properties.maximum_packet_size = kPacketBytesMax;
  // No topic aliases, so there are none to take [MQTT-3.3.2-10].
  connect.client_id = credentials_.name();
  connect.user_name = credentials_.name();
  connect.password = with_token_ ? credentials_.token() : credentials_.secret();
  mqtt::encode(out_, Version::k5, connect);
}

void Uplink::connack(const mqtt::Connack& connack, const Now& now) {
  const auto reason = static_cast<Reason>(connack.reason);
  if (connack.reason >= 0x80) return refused(reason, now);  // [MQTT-4.13.2-1]
  if (connack.session_present) {                            // [MQTT-3.2.2-4]
    return end("the parent has a session of ours that we did not ask for", true, now);
  }
  if (connack.properties.maximum_qos == uint8_t{0}) {  // [MQTT-3.2.2-11]
    return end("the parent does not take messages at QoS 1", true, now);
  }
  if (connack.properties.receive_maximum.value_or(UINT16_MAX) < kReceiveMaximumMin) {  // [MQTT-3.3.4-7]
    return end("the parent takes too few messages at once", true, now);
  }
  if (connack.properties.server_keep_alive_s.value_or(0) != 0)
    keep_alive_s_ = *connack.properties.server_keep_alive_s;  // [MQTT-3.1.2-21]
  message_bytes_max_ =
      std::min<uint64_t>(connack.properties.maximum_packet_size.value_or(kPacketBytesMax), kPacketBytesMax);
  message_bytes_max_ -= std::min(message_bytes_max_, kPublishHeadBytes);
  if (!with_token_) return accepted(now);
  state_ = State::kClaiming;
  started_ = now.mono;
  claim_id_ = send(Kind::kClaim, encode_claim_message(credentials_.secret()), credentials_.commit());
}

void Uplink::refused(Reason reason, const Now& now) {
  unwanted_ = true;
  std::string why = std::string("the parent refused us: ") + mqtt::reason_name(reason);
  if (reason == Reason::kBadUserNameOrPassword || reason == Reason::kNotAuthorized) {
    ++refusals_;
    other_first_ = with_token_;
    if (!credentials_.confirmed() && refusals_ == 1) {
      failures_ = 0;  // The other one is tried soon.
    } else {
      why = credentials_.confirmed() ? "the parent does not know this node any more: register it there again "
                                       "and take the new claim here"
                                     : "the parent takes neither our claim nor our secret: the claim was "
                                       "used by another node or withdrawn; ask "
                                       "for a new one";
    }
  }
  end(why, true, now);
}

void Uplink::accepted(const Now& now) {
  state_ = State::kTalking;
  started_ = now.mono;
  conversation_.begin(*this, now);
}

// --- The connection.

void Uplink::received(ConnectionId connection, Bytes bytes, const Now& now) {
  if (connection == 0 || connection != connection_) return;
  received_bytes_ += bytes.size();
  alive_at_ = now.mono;
  ping_out_ = false;
  const bool kept = !in_.empty();
  if (kept) in_.append(bytes);
  Bytes rest = kept ? Bytes(in_) : bytes;
  while (!rest.empty()) {
    mqtt::Framed framed;
    mqtt::DecodeError error;
    const mqtt::FrameStatus status = mqtt::frame_next(rest, kPacketBytesMax, &framed, &error);
    if (status == mqtt::FrameStatus::kNeedMore) break;
    mqtt::Packet packet;
    if (status == mqtt::FrameStatus::kBad ||
        !mqtt::decode(framed, Version::k5, mqtt::Sender::kServer, &packet, &error)) {
      return end(std::string("the parent sent a bad packet: ") + error.text, true, now);
    }
    rest.remove_prefix(framed.size);
    if (!this->packet(packet, now)) return;
  }
  in_ = std::string(rest);
  settle(now);
  flush(now);
}

bool Uplink::packet(const mqtt::Packet& packet, const Now& now) {
  const auto broken = [&](const char* why) {
    end(std::string("the parent broke the protocol: ") + why, true, now);
    return false;
  };
  if (const auto* connack = std::get_if<mqtt::Connack>(&packet)) {
    if (state_ != State::kConnecting) return broken("a second CONNACK");
    this->connack(*connack, now);
    return connection_ != 0;
  }
  if (state_ == State::kConnecting) return broken("it began with something else than CONNACK");
  if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) {
    const std::optional<Kind> kind = kind_of(publish->topic);
    if (!kind || publish->qos != 1) return broken("a message that is none of the link's");
    if (state_ != State::kTalking) return broken("a message before the claim was acknowledged");
    conversation_.received(*kind, publish->payload, publish->packet_id, now);  // Answers it [MQTT-4.5.0-2].
    return true;
  }
  if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
    if (ack->type != mqtt::PacketType::kPuback || ids_.erase(ack->packet_id) == 0)
      return broken("an acknowledgement of nothing");
    if (state_ == State::kClaiming && ack->packet_id == claim_id_) {
      if (static_cast<uint8_t>(ack->reason) >= 0x80) {
        refused(ack->reason, now);
        return false;
      }
      credentials_.confirm();
      accepted(now);
      return true;
    }
    conversation_.acknowledged(ack->packet_id, ack->reason, now);
    return true;
  }
  if (const auto* disconnect = std::get_if<mqtt::Disconnect>(&packet)) {
    end(std::string("the parent closed the connection: ") + mqtt::reason_name(disconnect->reason), true, now);
    return false;
  }
  if (std::holds_alternative<mqtt::Ping>(packet)) return true;
  return broken("a packet that nobody asked for");
}

void Uplink::closed(ConnectionId connection, const Now& now) {
  if (connection == 0 || connection != connection_) return;
  end("the connection was lost", false, now);
}

void Uplink::unsent(ConnectionId connection, uint64_t bytes, const Now& now) {
  if (connection == 0 || connection != connection_) return;
  if (bytes < unsent_bytes_) alive_at_ = now.mono;
  unsent_bytes_ = bytes;
  conversation_.unsent(bytes, now);
}

void Uplink::reading(bool paused, const Now& now) {
  if (reading_paused_ || paused) {
    alive_at_ = now.mono;
    if (state_ == State::kConnecting || state_ == State::kClaiming) started_ = now.mono;
  }
  reading_paused_ = paused;
}

void Uplink::end(const std::string& why, bool close, const Now& now, Duration ago) {
  if (conversation_.begun()) conversation_.end(now);
  if (connection_ != 0 && close) output_.close(connection_);
  if (state_ == State::kTalking && now.mono >= started_ + kSettled) failures_ = 0;
  connection_ = 0;
  state_ = State::kIdle;
  in_.clear();
  out_.clear();
  gated_.clear();
  ids_.clear();
  close_wanted_.reset();
  last_error_ = why;
  if (up_) {
    up_ = false;
    since_ = {now.mono.ns - static_cast<uint64_t>(ago.ns)};
    since_wall_us_ = now.wall_us - ago.ns / 1000;
  }
  if (logged_.size() > kLoggedMax) logged_.clear();
  // Once, not at every attempt; attempts may fail in turn for two reasons.
  if (logged_.insert(why).second) output_.log("HF-LINK-009", "no link to the parent: " + why);
  plan_dial(now.mono);
  if (hurry_) hurry(now);
}

// The conversation asked for its end; its call has returned by now.
void Uplink::settle(const Now& now) {
  if (!close_wanted_ || connection_ == 0) return;
  const std::string why = *std::exchange(close_wanted_, std::nullopt);
  mqtt::Disconnect goodbye;
  goodbye.reason = Reason::kUnspecifiedError;
  mqtt::encode(out_, Version::k5, goodbye);
  flush(now);
  if (conversation_.stranger()) {  // It lets anybody in, but does not know us: it may know the claim.
    ++refusals_;
    other_first_ = with_token_;
    unwanted_ = true;
  }
  end(why, true, now);
}

void Uplink::pump(const Now& now) {
  if (state_ == State::kDialing || state_ == State::kIdle) return;
  if (state_ != State::kTalking) {
    if (now.mono >= started_ + kAnswerTimeout) return end("the parent does not answer", true, now);
  } else {
    conversation_.pump(now);
    settle(now);
    if (connection_ == 0) return;
    if (conversation_.up() != up_) {
      up_ = conversation_.up();
      since_ = now.mono;
      since_wall_us_ = now.wall_us;
      if (up_) {
        // The parent knows the secret, whatever became of the acknowledgement that would have told us. (CONNACK does not say so:
        // another node may let anybody in.)
        if (!credentials_.confirmed()) credentials_.confirm();
        refusals_ = 0;
        other_first_ = false;
        last_error_.clear();
        logged_.clear();
        if (conversation_.peer_hello()->store_id != credentials_.parent_store_id()) {
          output_.log("HF-LINK-012",
                      "the node at the parent's address is another one than the claim was from: store " +
                          to_hex(conversation_.peer_hello()->store_id) + ", not " +
                          to_hex(credentials_.parent_store_id()));
        }
      }
    }
    // What is under way at the known pace delays a ping and its answer; that is not silence.
    const Duration slack = conversation_.sender().pace().expected() * 2;
    if (ping_out_ && now.mono >= alive_at_ + keep_alive() * 3 / 2 + slack) {
      return end("the parent fell silent", true, now, now.mono - alive_at_);
    }
    const bool due = now.mono >= sent_at_ + keep_alive() || now.mono >= alive_at_ + keep_alive();
    if (due && !ping_out_) {  // [MQTT-3.1.2-20], whatever else is held up [MQTT-3.3.4-8].
      mqtt::encode(out_, Version::k5, mqtt::Ping{});
      ping_out_ = true;
    }
  }
  flush(now);
}

std::optional<Instant> Uplink::next_deadline() const {
  switch (state_) {
    case State::kIdle:
      if (stopped_ || !credentials_.known() || credentials_.commit() > store_.durable_commit())
        return std::nullopt;
      return dial_at_.value_or(Instant{});
    case State::kDialing:
      return std::nullopt;
    case State::kConnecting:
    case State::kClaiming:
      return started_ + kAnswerTimeout;
    case State::kTalking:
      break;
  }
  const Duration slack = conversation_.sender().pace().expected() * 2;
  Instant deadline =
      ping_out_ ? alive_at_ + keep_alive() * 3 / 2 + slack : std::min(sent_at_, alive_at_) + keep_alive();
  if (const auto conversation = conversation_.next_deadline()) deadline = std::min(deadline, *conversation);
  return deadline;
}

void Uplink::shut_down(const Now& now) {
  stopped_ = true;
  if (connection_ == 0) return;
  mqtt::encode(out_, Version::k5, mqtt::Disconnect{});
  flush(now);
  end("this node is shutting down", true, now);
}

// --- What leaves.

uint16_t Uplink::send(Kind kind, Bytes message, uint64_t commit) {
  if (connection_ == 0 || close_wanted_) return 0;
  do {
    if (++id_last_ == 0) id_last_ = 1;
  } while (ids_.contains(id_last_));
  ids_.insert(id_last_);
  mqtt::PublishHead head;
  head.qos = 1;
  head.topic = topic_of(kind);
  head.packet_id = id_last_;
  std::string bytes;
  bytes.reserve(mqtt::encoded_publish_size(Version::k5, head, message.size()));
  mqtt::encode_publish(bytes, Version::k5, head, message);
  gate(std::move(bytes), commit);
  return id_last_;
}

void Uplink::acknowledge(uint16_t id, Reason reason, uint64_t commit) {
  if (connection_ == 0) return;
  std::string bytes;
  mqtt::encode_ack(bytes, Version::k5, mqtt::PacketType::kPuback, id, reason);
  gate(std::move(bytes), commit);
}

void Uplink::close(const char* why) {
  if (!close_wanted_) close_wanted_ = why;
}

void Uplink::gate(std::string bytes, uint64_t commit) {
  if (gated_.empty() && commit <= store_.durable_commit()) {
    out_ += bytes;
  } else {
    gated_.push_back({commit, std::move(bytes)});
  }
}

void Uplink::release() {
  while (!gated_.empty() && gated_.front().commit <= store_.durable_commit()) {
    out_ += gated_.front().bytes;
    gated_.pop_front();
  }
}

void Uplink::flush(const Now& now) {
  if (connection_ == 0) return;
  release();
  if (out_.empty()) return;
  output_.send(connection_, out_);
  sent_bytes_ += out_.size();
  sent_at_ = now.mono;
  out_.clear();
}

}  // namespace hf::link
