// Who a client is and what it may do: the host's verdicts, which may take their time, enhanced authentication (MQTT 5.0,
// section 4.12), and what happens to those who are connected when identities change.
//
// While a verdict is out nothing of the connection is read: what came behind CONNECT waits in its input.
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "broker/broker_impl.h"

namespace hf::broker {

namespace {

// For a verdict, or the next AUTH.
constexpr Duration kAuthenticationTime = seconds(30);
constexpr size_t kRightsMax = 256;  // Of publishers that may be gone; looked up again otherwise.

}  // namespace

void Broker::Impl::take_verdict(Connection& connection, const mqtt::Connect& packet, Bytes whole,
                                const Verdict& verdict) {
  if (connection.asked_user.empty())
    connection.asked_user = cut_text(verdict.principal.name, kNameShownBytesMax);
  if (!verdict.pending && verdict.reason >= Reason::kUnspecifiedError) {  // [MQTT-3.1.4-2] [MQTT-4.12.0-1]
    return refuse(connection, verdict.reason, "not admitted");
  }
  if (!verdict.pending && verdict.reason == Reason::kSuccess)
    return admit_client(connection, packet, verdict);
  if (!verdict.pending &&
      connection.auth_method.empty()) {  // [MQTT-4.12.0-6] It began no exchange to go on with.
    return refuse(connection, Reason::kImplementationSpecificError, "an exchange that it did not ask for");
  }
  if (connection.state == Connection::State::kWaiting) {
    connection.state = Connection::State::kAuthenticating;
    connection.connect_packet = std::string(whole);
    if (!count_connect_bytes(connection, whole.size(), SIZE_MAX))
      return refuse(connection, Reason::kServerBusy,
                    "too much is buffered for connections that are not let in yet");
  }
  timers_.disarm(Timer::Kind::kConnection, connection.id, &connection.timer);
  arm_connection(connection, now_.mono + kAuthenticationTime);
  connection.checking = verdict.pending;
  if (!verdict.pending)
    send_auth(connection, Reason::kContinueAuthentication, verdict.data);  // [MQTT-4.12.0-2]
}

void Broker::Impl::authenticated(ConnectionId id, const Verdict& verdict, const Now& now) {
  const Call call(*this, now);
  Connection* connection = find(id);
  if (connection == nullptr || !connection->checking) return;
  boundary_due_ = true;
  connection->checking = false;
  if (connection->state == Connection::State::kOpen) {
    take_new_verdict(*connection, verdict);
  } else {
    take_later_verdict(*connection, verdict);
  }
  boundary();
  if (!connection->closed()) read(*connection, {});
}

void Broker::Impl::take_later_verdict(Connection& connection, const Verdict& verdict) {
  // CONNECT was decoded before: its views are gone, its bytes are here.
  const std::string whole = std::exchange(connection.connect_packet, {});
  mqtt::Framed framed;
  mqtt::DecodeError error;
  mqtt::Packet packet;
  HF_ASSERT(mqtt::frame_next(whole, whole.size(), &framed, &error) == mqtt::FrameStatus::kWhole);
  HF_ASSERT(mqtt::decode(framed, Version::k311, mqtt::Sender::kClient, &packet, &error));
  take_verdict(connection, std::get<mqtt::Connect>(packet), whole, verdict);
  if (connection.state == Connection::State::kAuthenticating) connection.connect_packet = whole;
}

void Broker::Impl::on_auth(Connection& connection, const mqtt::Disconnect& packet) {
  const Bytes data = packet.properties.authentication_data.value_or(Bytes());
  if (connection.auth_method.empty()) {  // [MQTT-4.12.0-6] [MQTT-4.12.0-7]
    return fail(connection, Reason::kProtocolError, "AUTH without an authentication method");
  }
  if (packet.properties.authentication_method.value_or(Bytes()) !=
      connection.auth_method) {  // [MQTT-4.12.0-5]
    return fail(connection, Reason::kProtocolError, "AUTH with another authentication method");
  }
  const bool open = connection.state == Connection::State::kOpen;
  if (open && packet.reason == Reason::kReauthenticate &&
      !connection.authenticating_again) {  // [MQTT-4.12.1-1]
    connection.authenticating_again = true;
    return take_new_verdict(connection, host_.authenticate_again(connection.id, data));
  }
  if (packet.reason != Reason::kContinueAuthentication || (open && !connection.authenticating_again)) {
    return fail(connection, Reason::kProtocolError, "AUTH where none was due");
  }
  const Verdict verdict = host_.authenticate_more(connection.id, data);
  if (open) return take_new_verdict(connection, verdict);
  take_later_verdict(connection, verdict);
}

// Of a client that authenticates once more; it goes on with what it has until it is refused [MQTT-4.12.1-2].
void Broker::Impl::take_new_verdict(Connection& connection, const Verdict& verdict) {
  connection.checking = verdict.pending;
  if (verdict.pending) return;
  if (verdict.reason == Reason::kContinueAuthentication) {
    return send_auth(connection, Reason::kContinueAuthentication, verdict.data);
  }
  connection.authenticating_again = false;
  if (verdict.reason != Reason::kSuccess || verdict.principal.name != connection.principal.name) {
    return fail(connection, verdict.reason != Reason::kSuccess ? verdict.reason : Reason::kNotAuthorized,
                "not admitted any more");
  }
  send_auth(connection, Reason::kSuccess, verdict.data);
}

void Broker::Impl::send_auth(Connection& connection, Reason reason, Bytes data) {
  mqtt::Disconnect packet{.type = PacketType::kAuth, .reason = reason};
  packet.properties.authentication_method = connection.auth_method;
  if (!data.empty()) packet.properties.authentication_data = data;
  // And nothing more: [MQTT-3.15.2-2] [MQTT-3.15.2-3].
  send_packet(connection, 0, packet);
}

// --- Rights.

bool Broker::Impl::may_publish(const Session& session, Bytes topic, bool retained) const {
  const Rights* const rights = session_rights_.of(session);
  return rights == nullptr || (rights->publish(topic) && (!retained || rights->retain(topic)));
}

bool Broker::Impl::may_still_publish(const Publisher& publisher, Bytes topic, bool retained) {
  // What came over a link, or is our own, was judged elsewhere.
  if (publisher.client_id.empty()) return true;
  const std::tuple<std::string, bool, std::string> who{publisher.user, publisher.by_certificate,
                                                       publisher.client_id};
  auto known = rights_.find(who);
  if (known == rights_.end()) {
    if (rights_.size() >= kRightsMax) rights_.clear();
    known = rights_.emplace(who, host_.rights(std::get<0>(who), std::get<1>(who), std::get<2>(who))).first;
  }
  const Rights* rights = known->second.get();
  return rights == nullptr || (rights->publish(topic) && (!retained || rights->retain(topic)));
}

void Broker::Impl::identities_changed(const Now& now) {
  const Call call(*this, now);
  boundary_due_ = true;
  rights_.clear();
  // Sessions are many, and each is looked at when its turn comes; those that are connected now must hold now.
  session_rights_.changed();
  std::vector<ConnectionId> revoked;
  for (const auto& [id, connection] : connections_) {
    const Session* const session = connection->session;
    if (session == nullptr || !session->node_name.empty()) continue;
    if (!host_.still_admitted(id, connection->principal)) revoked.push_back(id);
  }
  std::sort(revoked.begin(), revoked.end());
  subscriptions_.changed();
  for (const ConnectionId id : revoked) {
    Connection* connection = find(id);
    if (connection == nullptr) continue;
    log(kEventRevoked, quoted_name(connection->session->client_id) + " is disconnected: " +
                           quoted_name(connection->principal.name) + " was removed or has another password");
    close(*connection, Reason::kNotAuthorized, "this user was removed or has another password");
    boundary();
  }
}

}  // namespace hf::broker
