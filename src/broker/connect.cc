// CONNECT, and sessions from birth to end.
#include <algorithm>
#include <tuple>

#include "base/assert.h"
#include "broker/broker_impl.h"
#include "mqtt/topic.h"

namespace hf::broker {

namespace {

constexpr uint32_t kNeverExpires = UINT32_MAX;

// 3.1.1, table 3.1.
uint8_t return_code(Reason reason) {
  switch (reason) {
    case Reason::kSuccess:
      return 0;
    case Reason::kUnsupportedProtocolVersion:
      return 1;
    case Reason::kClientIdentifierNotValid:
      return 2;
    case Reason::kServerUnavailable:
    case Reason::kServerMoved:
    case Reason::kServerBusy:
    case Reason::kServerShuttingDown:
    case Reason::kQuotaExceeded:
    case Reason::kConnectionRateExceeded:
      return 3;
    case Reason::kBadUserNameOrPassword:
      return 4;
    default:
      return 5;
  }
}

}  // namespace

void Broker::Impl::on_connect(Connection& connection, const mqtt::Connect& packet, Bytes whole) {
  const bool v5 = packet.version == Version::k5;
  connection.version = packet.version;
  connection.asked_as = cut_text(packet.client_id, kNameShownBytesMax);
  connection.asked_user = cut_text(packet.user_name.value_or(Bytes()), kNameShownBytesMax);
  const mqtt::Properties& asked = packet.properties;
  connection.receive_maximum = asked.receive_maximum.value_or(UINT16_MAX);
  connection.packet_bytes_max = asked.maximum_packet_size.value_or(UINT32_MAX);
  connection.outbound_aliases.set_maximum(asked.topic_alias_maximum.value_or(0));
  // Absent means yes as well [MQTT-3.1.2-29], but who does not ask does not read them either.
  connection.wants_reasons = asked.request_problem_information == uint8_t{1};

  if (asked.user_properties.size() > limits_.connect_properties_max) {
    ++counters_.of(Limit::kConnectProperties);
    return refuse(connection, Reason::kQuotaExceeded, "too many user properties");
  }
  if (!limits_.server_moved.empty()) {
    return refuse(connection, Reason::kServerMoved, "this node sends its clients elsewhere");
  }

  if (packet.client_id.empty() && !packet.clean_start && !v5) {  // [MQTT-3.1.3-8] of 3.1.1
    return refuse(connection, Reason::kClientIdentifierNotValid,
                  "a session to be kept needs a client identifier");
  }
  if (packet.will && packet.will->topic.starts_with('$')) {
    return refuse(connection, Reason::kNotAuthorized, "a will on a topic that starts with $");
  }
  connection.auth_method = std::string(asked.authentication_method.value_or(Bytes()));
  take_verdict(connection, packet, whole, host_.authenticate(connection.id, packet));
}

// CONNECT is accepted as far as it depends on who sent it.
void Broker::Impl::admit_client(Connection& connection, const mqtt::Connect& packet, const Verdict& verdict) {
  const bool v5 = packet.version == Version::k5;
  const mqtt::Properties& asked = packet.properties;
  Principal principal = verdict.principal;
  // [MQTT-3.1.3-5] Any that is text. [MQTT-3.1.3-6] [MQTT-3.1.3-7]
  std::string client_id = packet.client_id.empty() ? assigned_client_id() : std::string(packet.client_id);
  const bool node = principal.kind == Principal::Kind::kNode;
  Session* session = find_session(client_id);
  if (session != nullptr && session->connection != nullptr && !session->node_name.empty() &&
      !(node && session->node_name == principal.name)) {
    return refuse(connection, Reason::kClientIdentifierNotValid, "the client identifier belongs to a node");
  }
  const std::string user = node ? std::string() : principal.name;
  const bool by_certificate = !node && principal.by_certificate;
  // A node has proven its name: what stands in its way ends.
  if (!node && session != nullptr && !session->user.empty() && session->user != user) {
    return refuse(connection, Reason::kClientIdentifierNotValid,
                  "the client identifier belongs to another user");
  }
  const std::shared_ptr<const Rights> rights = node ? nullptr : host_.rights(user, by_certificate, client_id);
  if (packet.will && rights != nullptr &&
      !(rights->publish(packet.will->topic) &&
        (!packet.will->retain || rights->retain(packet.will->topic)))) {
    ++counters_.not_authorized;
    return refuse(connection, Reason::kNotAuthorized, "no right to publish its will");
  }

  // Nodes agree on their state anew at each connection; a storage that failed keeps nothing.
  const bool failed = storage_failed();
  const bool forgetful = failed || node;
  const uint32_t asked_s = asked.session_expiry_interval_s.value_or(0);
  const uint32_t wanted_s = v5 ? asked_s : (packet.clean_start ? 0 : limits_.session_expiry_default_s);
  if (failed && !v5 && wanted_s > 0) {
    return refuse(connection, Reason::kServerUnavailable, "storage has failed: clean sessions only");
  }
  const uint32_t expiry_s = forgetful ? 0 : std::min(wanted_s, limits_.session_expiry_max_s);

  // What stays behind of a client is bounded, however many there are.
  if (!failed && ((session == nullptr && expiry_s > 0) || packet.will)) {
    const uint64_t will = packet.will ? packet.will->topic.size() + packet.will->payload.size() : 0;
    if (!store_.admit_row(client_id.size() + will + 64)) {
      ++counters_.of(Limit::kRows);
      return refuse(connection, Reason::kQuotaExceeded, "no space for a session or a will");
    }
  }

  bool wrote = false;
  if (session != nullptr && session->connection != nullptr) {
    take_over(*session);  // [MQTT-3.1.4-3] (In 3.1.1: [MQTT-3.1.4-2].)
    session = find_session(client_id);
  }
  if (session != nullptr &&
      (packet.clean_start || forgetful)) {  // [MQTT-3.1.2-4] [MQTT-3.1.4-4] (In 3.1.1: [MQTT-3.1.2-6].)
    end_session(*session, Haste::kCommit);
    session = nullptr;
    wrote = true;
  }
  const bool present = session != nullptr;  // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
  if (present) {                            // [MQTT-3.1.2-5]
    resume(*session);
  } else {  // [MQTT-3.1.2-6]
    session = &make_session(client_id, expiry_s > 0);
  }
  session->version = packet.version;
  session->expiry_s = expiry_s;
  session->node_name = node ? principal.name : std::string();
  if (session->user != user || session->by_certificate != by_certificate) subscriptions_.changed();
  session->user = user;
  session->by_certificate = by_certificate;
  session->rights_generation = 0;  // To be looked up for whoever it is now.
  session->connection = &connection;
  ++online_count_;
  connection.session = session;
  connection.principal = std::move(principal);
  connection.state = Connection::State::kOpen;
  connection.opened = now_.mono;
  release_memory(connection.asked_as);
  release_memory(connection.asked_user);
  uncount_connect_bytes(connection, connection.connect_bytes);
  release_memory(connection.from);
  if (session->durable) {
    // "Connected" is durable before CONNACK: else a crash much later would count the expiry from the time
    // before.
    put_session(*session, true, Haste::kCommit);
    wrote = true;
  }
  if (packet.will) {
    keep_will(*session, *packet.will);
    wrote = true;
  }

  uint16_t keep_alive_s = packet.keep_alive_s;
  const bool caps =
      v5 && limits_.keep_alive_max_s != 0 && (keep_alive_s == 0 || keep_alive_s > limits_.keep_alive_max_s);
  if (caps) keep_alive_s = limits_.keep_alive_max_s;  // The client has to take it: [MQTT-3.2.2-21].
  connection.keep_alive = milliseconds(int64_t{keep_alive_s} * 1500);  // [MQTT-3.1.2-22] [MQTT-3.2.2-22]
  timers_.disarm(Timer::Kind::kConnection, connection.id, &connection.timer);
  if (connection.keep_alive > Duration{}) arm_connection(connection, now_.mono + connection.keep_alive);

  connection.resumed = present;
  mqtt::Connack connack{.session_present = present};
  std::string response_information;
  if (v5) {
    mqtt::Properties& told = connack.properties;
    told.receive_maximum = limits_.receive_maximum;
    told.maximum_packet_size = static_cast<uint32_t>(limits_.packet_bytes_max);
    // Absent: every QoS, retained messages [MQTT-3.2.2-9].
    if (limits_.topic_alias_maximum != 0) told.topic_alias_maximum = limits_.topic_alias_maximum;
    if (caps) told.server_keep_alive_s = keep_alive_s;
    // [MQTT-3.1.2-28] Only to those who ask, and only where it makes a topic.
    if (asked.request_response_information == uint8_t{1} && !limits_.response_topic.empty()) {
      response_information = limits_.response_topic + "/" + session->client_id;
      if (mqtt::topic_name_valid(response_information)) told.response_information = response_information;
    }
    if (expiry_s != wanted_s) told.session_expiry_interval_s = expiry_s;
    if (packet.client_id.empty()) told.assigned_client_identifier = session->client_id;  // [MQTT-3.2.2-16]
    if (!connection.auth_method.empty()) {                                               // [MQTT-4.12.0-5]
      told.authentication_method = connection.auth_method;
      if (!verdict.data.empty()) told.authentication_data = verdict.data;
    }
  }
  ++counters_.connects_accepted;
  uint64_t commit = wrote && !failed ? store_.open_commit() : 0;
  if (const auto ended = ended_.find(session->client_id); ended != ended_.end() && !failed)
    commit = std::max(commit, ended->second);
  send_packet(connection, commit, connack);  // [MQTT-3.1.4-5] [MQTT-3.2.0-1]
  if (connection.closed()) return;
  connection.connack_sent = connection.gate.empty();
  if (connection.connack_sent) pump_later(*session);
  if (node) host_.node_connected(connection.id, connection.principal.name);
}

void Broker::Impl::refuse(Connection& connection, Reason reason, const char* text) {
  ++counters_.connects_refused;
  count_limit(reason);
  if (log_due(kEventConnectRefused)) {
    const std::string who = connection.asked_as.empty() ? "" : " of " + quoted_name(connection.asked_as);
    log(kEventConnectRefused,
        "CONNECT" + who + whence(connection) + " refused: " + mqtt::reason_name(reason) + ": " + text);
  }
  const bool v5 = connection.version == Version::k5;
  // [MQTT-3.2.2-6] No session is present in a refusal; [MQTT-3.2.2-7] [MQTT-4.12.0-4] [MQTT-4.13.2-1] the connection
  // ends, and nothing behind CONNECT is read [MQTT-3.1.4-6]. There are no user properties [MQTT-3.2.2-20].
  scratch_.clear();
  mqtt::Connack connack{.reason = v5 ? static_cast<uint8_t>(reason) : return_code(reason)};
  if (v5) {
    if (connection.wants_reasons) connack.properties.reason_string = text;
    if (reason == Reason::kServerMoved) connack.properties.server_reference = limits_.server_moved;
  }
  mqtt::encode(scratch_, connection.version, connack);
  if (scratch_.size() > connection.packet_bytes_max) {  // [MQTT-3.2.2-19]
    connack.properties = {};
    scratch_.clear();
    mqtt::encode(scratch_, connection.version, connack);
  }
  if (scratch_.size() <= connection.packet_bytes_max) send_now(connection, scratch_);
  host_.close(connection.id);
  forget(connection, false);
}

std::string Broker::Impl::assigned_client_id() {
  for (;;) {
    std::string client_id = "hf-" + to_hex(prng_.next());
    if (find_session(client_id) == nullptr) return client_id;  // [MQTT-3.2.2-16]
  }
}

Session* Broker::Impl::find_session(Bytes client_id) {  // [MQTT-3.1.3-2]
  const auto found = sessions_.find(client_id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

Session& Broker::Impl::make_session(std::string client_id, bool durable) {
  auto made = std::make_unique<Session>();
  Session& session = *made;
  session.number = ++session_number_last_;
  session.client_id = client_id;
  session.durable = durable;
  if (durable) {
    session.reader = store_.create_reader(true);
    sessions_by_reader_[session.reader] = &session;
    store_.count_in_figures(session.reader);
  }
  sessions_by_number_[session.number] = &session;
  sessions_[std::move(client_id)] = std::move(made);
  return session;
}

void Broker::Impl::take_over(Session& session) { close(*session.connection, Reason::kSessionTakenOver); }

void Broker::Impl::resume(Session& session) {
  timers_.disarm(Timer::Kind::kSession, session.number, &session.expiry_timer);
  timers_.disarm(Timer::Kind::kLease, session.number, &session.lease_timer);
  disarm_owed(session);
  drop_will(session, Haste::kCommit);  // [MQTT-3.1.3-9]
  // [MQTT-4.4.0-1] [MQTT-4.6.0-1] What was not acknowledged is sent again, in its order.
  std::vector<Outbound> unacknowledged;
  session.outbound.for_each([&](Outbound& entry) {
    entry.on_wire = false;
    unacknowledged.push_back(entry);
  });
  std::sort(unacknowledged.begin(), unacknowledged.end(), [](const Outbound& a, const Outbound& b) {
    return std::tie(a.position, a.packet_id) < std::tie(b.position, b.packet_id);
  });
  session.resend.clear();
  session.resend_next = 0;
  for (const Outbound& entry : unacknowledged) session.resend.push_back(entry.packet_id);
  session.behind = session.reader != 0;
}

void Broker::Impl::put_session(const Session& session, bool connected, Haste haste) {
  const SessionRow row{.connected = connected,
                       .v5 = session.version == Version::k5,
                       .number = session.number,
                       .expiry_s = session.expiry_s,
                       .reader = session.reader,
                       .stamp = arrival_,
                       .user = session.user,
                       .by_certificate = session.by_certificate};
  store_.put(Table::kSession, session.client_id, encode(row), haste);
}

void Broker::Impl::detach(Session& session, bool will_due_now) {
  session.queue.clear();
  session.queue_bytes = 0;
  session.resend.clear();
  session.resend_next = 0;
  session.disconnected = arrival_;
  if (shut_down_) {
    if (session.durable) put_session(session, false, Haste::kRide);
    return;  // Its will stays due as its row.
  }
  if (!will_due_now) drop_will(session, Haste::kCommit);
  if (!session.durable || session.expiry_s == 0) return end_session(session, Haste::kCommit);
  // [MQTT-3.1.2-23] [MQTT-4.1.0-2]
  put_session(session, false, Haste::kRide);
  arm_expiry(session);
  arm_leases(session);
  if (store_.reader(session.reader)->owed_count > 0) arm_owed(session, Duration{0});
  will_due(session);
}

void Broker::Impl::arm_expiry(Session& session) {
  if (session.expiry_s == kNeverExpires) return;
  const Duration left = seconds(session.expiry_s) - elapsed_since(session.disconnected, now_);
  timers_.arm(Timer::Kind::kSession, session.number, now_.mono + std::max(left, Duration{}),
              &session.expiry_timer);
}

void Broker::Impl::end_session(Session& session, Haste haste) {
  HF_ASSERT(session.connection == nullptr);
  timers_.disarm(Timer::Kind::kSession, session.number, &session.expiry_timer);
  timers_.disarm(Timer::Kind::kWill, session.number, &session.will_timer);
  timers_.disarm(Timer::Kind::kRetained, session.number, &session.retained_timer);
  timers_.disarm(Timer::Kind::kLease, session.number, &session.lease_timer);
  disarm_owed(session);
  return_leases(session, true);
  if (session.durable) {
    store_.erase(Table::kSession, session.client_id, haste);
    if (haste == Haste::kCommit) ended_[session.client_id] = store_.open_commit();
    for (const auto& [filter, options] : session.subscriptions) {
      store_.erase(Table::kSubscription, subscription_key(session.number, filter), haste);
    }
    for (const auto& [packet_id, commit] : session.inbound) {
      store_.erase(Table::kInbound, PacketKey(session.number, packet_id), haste);
    }
    session.outbound.for_each([&](const Outbound& entry) {
      store_.erase(Table::kOutbound, PacketKey(session.number, entry.packet_id), haste);
    });
    for (size_t slot = 0; slot < session.runs.left.size(); ++slot) {
      store_.erase(Table::kOutboundRun, PacketKey(session.number, static_cast<uint16_t>(slot)), haste);
    }
  }
  const std::vector<ShareGroup*> groups = session.groups;
  subscriptions_.erase_all(session);
  for (ShareGroup* group : groups) close_group(*group);
  if (session.reader != 0) {
    sessions_by_reader_.erase(session.reader);
    const auto cause = session.durable ? std::optional(store::GapCause::kSessionEnded) : std::nullopt;
    store_.remove_reader(session.reader, cause);
  }
  sessions_by_number_.erase(session.number);
  const auto found = sessions_.find(session.client_id);
  HF_ASSERT(found != sessions_.end());
  const std::unique_ptr<Session> ended = std::move(found->second);
  sessions_.erase(found);
  // 3.1.2.5: at the session's end the will is due, whatever its delay. In the same group its row goes.
  if (ended->will) publish_will_of(*ended);
}

}  // namespace hf::broker
