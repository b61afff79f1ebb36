// For tests and fuzz programs: what the standard lets a broker send, judged from outside. An observer of both directions of
// every connection: it decodes what a client said and what came back, keeps what a client would keep, and says so at once
// when an answer has no question, a limit that the client set is passed, or a promise is broken.
//
// What it holds a broker to:
//   packets      whole ones of the right version, CONNACK first and once, nothing behind the end
//   answers      PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP: none without what it answers
//   limits       maximum packet size, receive maximum, topic alias maximum of the client; no alias that stands for nothing
//   messages     none that nobody published, none that no filter of the session asked for, none without the right to it
//   QoS 2        an identifier that was released is not published again; no message twice
//   order        of one publisher, topic and QoS
//   durability   what is stored leaves, and is acknowledged, behind its commit; what was acknowledged reaches every
//                session that was known to stand, whatever restarts lie between (Observer::owed())
//
// It leans to the side of silence: where it cannot know (a verdict is out, a session was taken by a CONNECT whose answer was
// never seen) it asks nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/connection.h"
#include "base/time.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

namespace hf::broker {

class Observer {
 public:
  // What a message that was published may be held to.
  struct Message {
    std::string topic;
    int published = 0;    // Times that may count as a message of its own.
    bool plain = true;    // Published once, not retained, no will, no expiry: it may be asked for.
    uint64_t commit = 0;  // Of the store when it was handed in.
    bool stored = false;  // Whoever wants it.
    uint64_t order = 0;   // Of all, when it was handed in.
    ConnectionId from = 0;
    uint8_t qos = 0;
  };
  struct Filter {
    uint64_t ask = 0;               // When it was asked for, or given up, last.
    std::optional<uint64_t> since;  // SUBACK came at that time; nothing: perhaps not, or not any more.
    uint8_t granted = 0;
    bool no_local = false;
    std::set<uint32_t> identifiers;
  };
  struct Incoming {  // A QoS 2 message on its way to the client.
    std::string payload;
    bool released = false;
  };
  struct Outgoing {  // And from it, until PUBCOMP was seen.
    std::string payload;
    bool received = false;  // PUBREC was seen, and no PUBREL sent.
    bool muddled = false;   // Used again before it was free: which answer is whose cannot be told any more.
  };
  // A session as its client knows it, by client identifier.
  struct Session {
    bool certain = false;  // It stands and is kept, as far as anybody outside can know.
    bool lossy = false;    // Its client limited something, or it has limited rights: nothing is asked for it.
    std::string user;
    std::optional<Instant> gone;  // When its connection ended.
    uint32_t expiry_s = 0;
    std::map<std::string, Filter> filters;  // Also those that were given up: what was owed may come.
    ConnectionId asked_by = 0;              // The last CONNECT with its name.
    ConnectionId wiped_by = 0;  // The last clean start that was asked for: what it did is not known yet.
    std::map<uint16_t, Incoming> incoming;
    std::set<uint16_t> incoming_ever;
    std::map<std::string, int> got2;  // QoS 2 messages by payload.
    std::set<std::string> got;        // Payloads above QoS 0.
    std::map<std::tuple<ConnectionId, std::string, uint8_t>, uint64_t> order;
    std::set<std::string> owed;  // Payloads.
    bool shares = false;
    std::map<uint16_t, Outgoing> outgoing;
  };

  std::function<bool(Bytes user, Bytes topic)> may_receive = [](Bytes, Bytes) { return true; };
  std::function<bool(Bytes topic)> always_stored = [](Bytes) { return false; };
  uint16_t inflight_max = UINT16_MAX;

  void opened(ConnectionId id) { connections_[id]; }
  void ended(ConnectionId id, Instant now) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) return;
    Connection& connection = found->second;
    if (connection.connack && !connection.name.empty()) {
      Session& session = sessions_[connection.name];
      if (holder_[connection.name] == id) {
        session.gone = now;
        if (session.expiry_s == 0) end(session);
      }
    }
    connection.over = true;
  }

  // What a client says, before the broker hears it. `open_commit`: of the store.
  void said(ConnectionId id, Bytes bytes, uint64_t open_commit) {
    Connection& connection = connections_[id];
    if (connection.over || connection.broken) return;
    connection.input.append(bytes);
    Bytes rest = connection.input;
    while (!rest.empty()) {
      mqtt::Framed framed;
      mqtt::DecodeError error;
      mqtt::Packet packet;
      const auto status = mqtt::frame_next(rest, 1 << 20, &framed, &error);
      if (status == mqtt::FrameStatus::kNeedMore) break;
      if (status == mqtt::FrameStatus::kBad ||
          !mqtt::decode(framed, connection.version, mqtt::Sender::kClient, &packet, &error) ||
          std::holds_alternative<mqtt::Connect>(packet) == connection.connect) {
        connection.broken = true;
        break;
      }
      said(id, connection, packet, open_commit);
      rest.remove_prefix(framed.size);
    }
    connection.input = std::string(rest);
  }
  // It said something that must end its connection, and no verdict stood in the way.
  bool must_end(ConnectionId id) const {
    const auto found = connections_.find(id);
    return found != connections_.end() && found->second.broken && !found->second.odd;
  }

  // What leaves for a client; `durable`: the commit that was durable then.
  void heard(ConnectionId id, Bytes bytes, uint64_t durable) {
    Connection& connection = connections_[id];
    while (!bytes.empty()) {
      mqtt::Framed framed;
      mqtt::DecodeError error;
      mqtt::Packet packet;
      HF_ASSERT(mqtt::frame_next(bytes, 1 << 28, &framed, &error) == mqtt::FrameStatus::kWhole);
      HF_ASSERT(mqtt::decode(framed, connection.version, mqtt::Sender::kServer, &packet, &error));
      HF_ASSERT(framed.size <= connection.packet_bytes_max);  // [MQTT-3.1.2-24]
      HF_ASSERT(!connection.goodbye);
      heard(id, connection, packet, durable);
      bytes.remove_prefix(framed.size);
    }
  }

  void passed(Instant now) {
    for (auto& [name, session] : sessions_) {
      if (session.gone && session.expiry_s != UINT32_MAX &&
          now - *session.gone >= seconds(session.expiry_s)) {
        end(session);
      }
    }
  }
  // All connections are gone; nobody said goodbye. What was going to be answered may never be.
  void crashed(Instant now) {
    for (auto& [id, connection] : connections_) {
      if (!connection.over) ended(id, now);
    }
    connections_.clear();
  }
  // An operator ended it.
  void forgotten(const std::string& name) { end(sessions_[name]); }

  const std::map<std::string, Session>& sessions() const { return sessions_; }
  bool has_connack(ConnectionId id) const {
    const auto found = connections_.find(id);
    return found != connections_.end() && found->second.connack;
  }
  // Packet identifiers that a polite client would answer, and how.
  struct Answer {
    mqtt::PacketType type;
    uint16_t packet_id;
  };
  std::vector<Answer> take_answers(ConnectionId id) { return std::exchange(connections_[id].answers, {}); }
  // Whether a message that was promised has not come to somebody who is known to be owed it.
  bool owed() const {
    return std::any_of(sessions_.begin(), sessions_.end(), [](const auto& entry) {
      return entry.second.certain && !entry.second.lossy && !entry.second.owed.empty();
    });
  }

 private:
  struct Connection {
    mqtt::Version version = mqtt::Version::k311;
    std::string input;
    std::string name;  // Client identifier; of an assigned one, once it is known.
    std::string user;
    bool connect = false;
    bool connack = false;
    bool clean_start = false;
    bool odd = false;     // Somebody else decides when and as whom it comes in.
    bool broken = false;  // What it said cannot be read on.
    bool over = false;
    bool goodbye = false;  // DISCONNECT, or a refusal, came.
    uint32_t packet_bytes_max = UINT32_MAX;
    uint32_t receive_maximum = UINT16_MAX;
    uint32_t expiry_s = 0;
    uint16_t alias_max = 0;
    std::map<uint16_t, std::string> aliases;  // The broker's.
    std::map<uint16_t, std::string> own_aliases;
    std::set<uint16_t> completed_early;
    std::map<uint16_t, uint8_t> open;  // The broker's PUBLISHes, by identifier: QoS.
    std::map<uint16_t, std::map<mqtt::PacketType, std::vector<std::string>>>
        due;  // Answers, with what they are about.
    struct Asked {
      std::string filter;
      uint8_t qos;
      bool no_local;
      uint64_t ask;
      std::vector<uint32_t> identifiers;
    };
    std::map<uint16_t, std::vector<std::vector<Asked>>> subscribes;
    std::map<uint16_t, std::vector<size_t>> unsubscribes;
    uint64_t pings = 0;
    std::vector<Answer> answers;
  };

  static constexpr uint8_t kReleased = 3;  // In Connection::open: PUBLISH came on an earlier connection.

  static void end(Session& session) {
    session.certain = false;
    session.owed.clear();
    session.gone.reset();
    for (auto& [filter, state] : session.filters) state.since.reset();
    // What its client kept: another session may stand in its place without a word.
    session.incoming.clear();
    session.got2.clear();
    session.order.clear();
  }

  static bool matches(Bytes filter, Bytes topic) {
    mqtt::SharedFilter shared;
    return mqtt::parse_shared(filter, &shared) && mqtt::topic_matches(shared.filter, topic);
  }

  void published(ConnectionId from, Bytes topic, Bytes payload, bool plain, uint8_t qos, uint64_t commit,
                 bool again) {
    const auto [found, fresh] = messages_.try_emplace({std::string(topic), std::string(payload)});
    Message& message = found->second;
    message.plain = message.plain && plain && (fresh || again);
    if (!again) ++message.published;
    if (!fresh) return;
    message.topic = topic;
    message.commit = commit;
    message.stored = always_stored(topic);
    message.order = ++clock_;
    message.from = from;
    message.qos = qos;
  }

  void said(ConnectionId id, Connection& connection, const mqtt::Packet& packet, uint64_t commit) {
    if (const auto* connect = std::get_if<mqtt::Connect>(&packet))
      return said_connect(connection, *connect, commit, id);
    Session* session = connection.name.empty() ? nullptr : &sessions_[connection.name];
    if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) {
      std::string topic(publish->topic);
      if (const auto alias = publish->properties.topic_alias) {
        if (!topic.empty()) connection.own_aliases[*alias] = topic;
        topic = connection.own_aliases[*alias];
      }
      const std::string payload(publish->payload);
      bool again = false;
      bool plain = session != nullptr && !publish->retain && !publish->properties.message_expiry_interval_s;
      bool doubtful = false;
      if (publish->qos == 2 && session != nullptr) {
        const auto [open, fresh] = session->outgoing.try_emplace(publish->packet_id, Outgoing{payload});
        // The broker may take it for the one before.
        doubtful = !fresh && open->second.payload != payload;
        plain = plain && !doubtful;
        open->second.muddled = open->second.muddled || !fresh;
        again = !fresh && open->second.payload == payload && open->second.received && session->certain;
      }
      published(id, topic, payload, plain, publish->qos, commit, again);
      if (publish->qos > 0) {
        const auto answer = publish->qos == 1 ? mqtt::PacketType::kPuback : mqtt::PacketType::kPubrec;
        const bool says_something = !doubtful && session != nullptr;
        connection.due[publish->packet_id][answer].push_back(says_something ? topic + '\0' + payload
                                                                            : std::string());
      }
      return;
    }
    if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
      const auto open = connection.open.find(ack->packet_id);
      switch (ack->type) {
        case mqtt::PacketType::kPuback:
        case mqtt::PacketType::kPubcomp:
          if (open != connection.open.end()) {
            connection.open.erase(open);
          } else {
            connection.completed_early.insert(ack->packet_id);
          }
          if (session != nullptr && ack->type == mqtt::PacketType::kPubcomp) {
            // One that comes before PUBREL is the client's mistake: nothing is asked of that message any more.
            const auto incoming = session->incoming.find(ack->packet_id);
            if (incoming != session->incoming.end()) {
              if (!incoming->second.released) --session->got2[incoming->second.payload];
              session->incoming.erase(incoming);
            }
          }
          return;
        case mqtt::PacketType::kPubrec:
          if (ack->reason >= mqtt::Reason::kUnspecifiedError) {
            if (open != connection.open.end()) connection.open.erase(open);
            // Refused: if that is lost it may come again.
            if (session != nullptr && session->incoming.contains(ack->packet_id)) {
              --session->got2[session->incoming[ack->packet_id].payload];
              session->incoming.erase(ack->packet_id);
            }
          } else {
            connection.due[ack->packet_id][mqtt::PacketType::kPubrel].push_back({});
          }
          return;
        default:
          if (session != nullptr && session->outgoing.contains(ack->packet_id))
            session->outgoing[ack->packet_id].received = false;
          connection.due[ack->packet_id][mqtt::PacketType::kPubcomp].push_back({});
          return;
      }
    }
    if (const auto* subscribe = std::get_if<mqtt::Subscribe>(&packet)) {
      auto& entries = connection.subscribes[subscribe->packet_id].emplace_back();
      for (const mqtt::SubscribeEntry& entry : subscribe->entries) {
        entries.push_back({std::string(entry.filter), entry.qos, entry.no_local, ++clock_,
                           subscribe->properties.subscription_identifiers});
        if (session != nullptr) ask(*session, entries.back());
      }
      return;
    }
    if (const auto* unsubscribe = std::get_if<mqtt::Unsubscribe>(&packet)) {
      connection.unsubscribes[unsubscribe->packet_id].push_back(unsubscribe->filters.size());
      if (session == nullptr) return;
      for (const Bytes filter : unsubscribe->filters) {
        const auto found = session->filters.find(std::string(filter));
        if (found == session->filters.end()) continue;
        found->second.since.reset();
        found->second.ask = ++clock_;
      }
      return;
    }
    if (std::holds_alternative<mqtt::Ping>(packet)) {
      ++connection.pings;
      return;
    }
    if (const auto* disconnect = std::get_if<mqtt::Disconnect>(&packet)) {
      if (disconnect->type != mqtt::PacketType::kDisconnect) {
        connection.odd = true;
        return;
      }
      connection.broken = true;  // Nothing behind it is read.
      if (session == nullptr) return;
      if (const auto expiry_s = disconnect->properties.session_expiry_interval_s) {
        // A session that had none may not get one now: it ends either way.
        if (session->expiry_s != 0) session->expiry_s = std::min(session->expiry_s, *expiry_s);
        if (*expiry_s == 0) end(*session);
      }
    }
  }

  void said_connect(Connection& connection, const mqtt::Connect& connect, uint64_t commit, ConnectionId id) {
    connection.connect = true;
    connection.version = connect.version;
    connection.name = std::string(connect.client_id);
    connection.user = std::string(connect.user_name.value_or(Bytes()));
    connection.clean_start = connect.clean_start;
    const mqtt::Properties& asked = connect.properties;
    connection.packet_bytes_max = asked.maximum_packet_size.value_or(UINT32_MAX);
    connection.receive_maximum = std::min<uint32_t>(asked.receive_maximum.value_or(UINT16_MAX), inflight_max);
    connection.alias_max = asked.topic_alias_maximum.value_or(0);
    const bool v5 = connect.version == mqtt::Version::k5;
    connection.expiry_s = v5                    ? asked.session_expiry_interval_s.value_or(0)
                          : connect.clean_start ? 0
                                                : 7 * 86400;
    connection.odd = connection.user.starts_with('p') || asked.authentication_method.has_value() ||
                     connection.name == "node";
    if (connect.will)
      published(id, connect.will->topic, connect.will->payload, false, connect.will->qos, commit, false);
    if (connection.name.empty()) return;
    Session& session = sessions_[connection.name];
    session.asked_by = id;
    if (connection.clean_start) session.wiped_by = id;
    const bool goes_on = !connection.clean_start && connection.expiry_s > 0 && !connection.odd &&
                         session.user == connection.user;
    if (goes_on) return;
    // Until it is answered nobody knows what becomes of the session that stood there, and then only what is asked for anew.
    end(session);
  }

  static void ask(Session& session, const Connection::Asked& asked) {
    Filter& filter = session.filters[asked.filter];
    filter.ask = asked.ask;
    filter.since.reset();
    for (const uint32_t one : asked.identifiers) filter.identifiers.insert(one);
    session.shares = session.shares || asked.filter.starts_with("$share/");
  }

  void heard(ConnectionId id, Connection& connection, const mqtt::Packet& packet, uint64_t durable) {
    if (const auto* connack = std::get_if<mqtt::Connack>(&packet)) {
      HF_ASSERT(connection.connect && !connection.connack);
      connection.connack = true;
      if (connack->reason != 0) {
        HF_ASSERT(!connack->session_present);
        connection.goodbye = true;
        connection.connack = false;
        return;
      }
      HF_ASSERT(!(connack->session_present && connection.clean_start));
      if (connection.name.empty())
        connection.name = connack->properties.assigned_client_identifier.value_or(Bytes());
      HF_ASSERT(!connection.name.empty() || connection.version == mqtt::Version::k311);  // [MQTT-3.2.2-16]
      if (connection.name.empty()) return;
      holder_[connection.name] = id;
      Session& session = sessions_[connection.name];
      if (!connack->session_present) start_anew(id, connection, session);
      session.gone.reset();
      session.user = connection.user;
      session.expiry_s = connack->properties.session_expiry_interval_s.value_or(connection.expiry_s);
      session.certain = session.expiry_s > 0 && !connection.odd && session.asked_by == id;
      session.lossy = session.lossy || connection.odd || connection.packet_bytes_max != UINT32_MAX ||
                      connection.user.starts_with('l');
      return;
    }
    if (const auto* disconnect = std::get_if<mqtt::Disconnect>(&packet)) {
      if (disconnect->type == mqtt::PacketType::kAuth) {
        HF_ASSERT(connection.odd);
        return;
      }
      HF_ASSERT(connection.connack);
      connection.goodbye = true;
      return;
    }
    HF_ASSERT(connection.connack);  // [MQTT-3.2.0-1]
    // Not that of a client of 3.1.1 without a name.
    const bool known = !connection.name.empty();
    Session nobody;
    Session& session = known ? sessions_[connection.name] : nobody;
    if (const auto* publish = std::get_if<mqtt::Publish>(&packet))
      return heard_publish(connection, session, known, *publish, durable);
    if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
      auto& due = connection.due[ack->packet_id][ack->type];
      if (ack->type == mqtt::PacketType::kPubrel) {
        // An answer, or what an earlier connection left open.
        const auto incoming = session.incoming.find(ack->packet_id);
        HF_ASSERT(!due.empty() || !known || session.wiped_by != 0 ||
                  session.incoming_ever.contains(ack->packet_id));
        const bool again = due.empty();
        if (!again) due.erase(due.begin());
        if (incoming != session.incoming.end() && ack->reason < mqtt::Reason::kUnspecifiedError)
          incoming->second.released = true;
        // It counts for nobody's window, but its identifier is taken.
        if (again && connection.completed_early.erase(ack->packet_id) == 0)
          connection.open.emplace(ack->packet_id, kReleased);
        connection.answers.push_back({mqtt::PacketType::kPubcomp, ack->packet_id});
        return;
      }
      HF_ASSERT(!due.empty());
      const std::string about = due.front();
      due.erase(due.begin());
      const bool good = ack->reason < mqtt::Reason::kUnspecifiedError;
      if (ack->type == mqtt::PacketType::kPubcomp || (ack->type == mqtt::PacketType::kPubrec && !good))
        if (session.outgoing.contains(ack->packet_id) && !session.outgoing[ack->packet_id].muddled)
          session.outgoing.erase(ack->packet_id);
      if (ack->type == mqtt::PacketType::kPubrec)
        connection.answers.push_back({mqtt::PacketType::kPubrel, ack->packet_id});
      if (about.empty()) return;
      const size_t end = about.find('\0');
      const std::string topic = about.substr(0, end);
      const std::string payload = about.substr(end + 1);
      if (ack->type == mqtt::PacketType::kPubrec && good && session.outgoing.contains(ack->packet_id) &&
          session.outgoing[ack->packet_id].payload == payload)
        session.outgoing[ack->packet_id].received = true;
      const auto message = messages_.find({topic, payload});
      if (!good || message == messages_.end()) return;
      // A topic that is refused to 3.1.1 without a word, and one that was denied, go nowhere.
      if (message->second.stored && !topic.starts_with('$') && !connection.user.starts_with('l') &&
          !connection.odd)
        HF_ASSERT(durable >= message->second.commit);
      promise(connection, message->second, payload);
      return;
    }
    if (const auto* suback = std::get_if<mqtt::SubAck>(&packet))
      return heard_suback(connection, session, *suback);
    if (std::holds_alternative<mqtt::Ping>(packet)) {
      HF_ASSERT(connection.pings > 0);
      --connection.pings;
      return;
    }
    HF_ASSERT(std::holds_alternative<mqtt::Ping>(packet));  // A server sends nothing else.
  }

  void heard_suback(Connection& connection, Session& session, const mqtt::SubAck& suback) {
    if (suback.type == mqtt::PacketType::kUnsuback) {
      auto& due = connection.unsubscribes[suback.packet_id];
      HF_ASSERT(!due.empty());
      if (connection.version == mqtt::Version::k5) HF_ASSERT(suback.reasons.size() == due.front());
      due.erase(due.begin());
      return;
    }
    auto& due = connection.subscribes[suback.packet_id];
    HF_ASSERT(!due.empty());
    HF_ASSERT(suback.reasons.size() == due.front().size());
    for (size_t i = 0; i < suback.reasons.size(); ++i) {
      const Connection::Asked& asked = due.front()[i];
      if (suback.reasons[i] >= 0x80) continue;
      HF_ASSERT(suback.reasons[i] <= asked.qos);
      Filter& filter = session.filters[asked.filter];
      if (filter.ask != asked.ask) continue;  // It was given up or asked for once more.
      filter.since = ++clock_;
      filter.granted = suback.reasons[i];
      filter.no_local = asked.no_local;
    }
    due.erase(due.begin());
    if (due.empty()) connection.subscribes.erase(suback.packet_id);
  }

  void promise(const Connection& publisher, const Message& message, const std::string& payload) {
    if (!message.plain || message.qos == 0 || message.topic.starts_with('$')) return;
    // Without a right it is acknowledged to 3.1.1 all the same.
    if (publisher.odd || publisher.user.starts_with('l')) return;
    for (auto& [name, session] : sessions_) {
      if (!session.certain || session.lossy || session.got.contains(payload)) continue;
      const bool wants = std::any_of(session.filters.begin(), session.filters.end(), [&](const auto& entry) {
        const Filter& filter = entry.second;
        return filter.since && *filter.since < message.order && filter.granted > 0 && !filter.no_local &&
               !entry.first.starts_with('$') && mqtt::topic_matches(entry.first, message.topic);
      });
      if (wants) session.owed.insert(payload);
    }
  }

  void heard_publish(Connection& connection, Session& session, bool known, const mqtt::Publish& publish,
                     uint64_t durable) {
    std::string topic(publish.topic);
    if (const auto alias = publish.properties.topic_alias) {
      HF_ASSERT(*alias <= connection.alias_max);  // [MQTT-3.3.2-9]
      if (topic.empty()) {
        HF_ASSERT(connection.aliases.contains(*alias));
        topic = connection.aliases[*alias];
      }
      connection.aliases[*alias] = topic;
    }
    HF_ASSERT(!topic.empty());
    if (topic.starts_with("$hf/")) {  // To a node: it holds its own.
      connection.answers.push_back({mqtt::PacketType::kPuback, publish.packet_id});
      return;
    }
    HF_ASSERT(may_receive(connection.odd ? Bytes() : Bytes(connection.user), topic));
    const std::string payload(publish.payload);
    const bool sys = topic.starts_with("$SYS/");
    const auto message = messages_.find({topic, payload});
    HF_ASSERT(sys || message != messages_.end());
    if (known) {
      const bool asked = std::any_of(session.filters.begin(), session.filters.end(),
                                     [&](const auto& entry) { return matches(entry.first, topic); });
      HF_ASSERT(asked);
      for (const uint32_t identifier : publish.properties.subscription_identifiers) {
        HF_ASSERT(std::any_of(session.filters.begin(), session.filters.end(), [&](const auto& entry) {
          return entry.second.identifiers.contains(identifier);
        }));
      }
    }
    if (publish.qos == 0) return;
    HF_ASSERT(connection.open.emplace(publish.packet_id, publish.qos).second);  // [MQTT-2.2.1-4]
    const auto open = std::count_if(connection.open.begin(), connection.open.end(),
                                    [](const auto& entry) { return entry.second != kReleased; });
    HF_ASSERT(static_cast<uint32_t>(open) <= connection.receive_maximum);  // [MQTT-3.3.4-9]
    connection.answers.push_back(
        {publish.qos == 1 ? mqtt::PacketType::kPuback : mqtt::PacketType::kPubrec, publish.packet_id});
    if (sys || !known) return;
    if (message->second.stored) HF_ASSERT(durable >= message->second.commit);
    const bool fresh = session.got.insert(payload).second;
    session.owed.erase(payload);
    if (session.wiped_by != 0) return;
    if (publish.qos == 2) {
      const auto incoming = session.incoming.find(publish.packet_id);
      if (incoming != session.incoming.end()) {
        HF_ASSERT(!incoming->second.released);           // [MQTT-4.3.3-6]
        HF_ASSERT(incoming->second.payload == payload);  // Else the client takes it for the one before.
      } else {
        session.incoming[publish.packet_id] = {payload, false};
        session.incoming_ever.insert(publish.packet_id);
        ++session.got2[payload];
        if (message->second.plain && !session.shares)
          HF_ASSERT(session.got2[payload] <= message->second.published);  // [MQTT-4.3.3-10]
      }
    } else {
      HF_ASSERT(!session.incoming.contains(publish.packet_id));
    }
    if (message->second.plain && message->second.published == 1 && fresh && !session.shares) {
      uint64_t& last = session.order[{message->second.from, topic, publish.qos}];
      HF_ASSERT(last < message->second.order);  // [MQTT-4.6.0-6]
      last = message->second.order;
    }
  }

  // What its client knew of the session before is nothing any more, but for what it has said on this connection already.
  void start_anew(ConnectionId id, const Connection& connection, Session& session) {
    Session fresh;
    if (session.wiped_by != id) fresh.wiped_by = session.wiped_by;
    fresh.asked_by = session.asked_by;
    const bool pending = std::any_of(connection.due.begin(), connection.due.end(), [](const auto& entry) {
      return entry.second.contains(mqtt::PacketType::kPubrec);
    });
    if (pending) fresh.outgoing = std::move(session.outgoing);
    for (const auto& [packet_id, waiting] : connection.subscribes) {
      for (const auto& subscribe : waiting) {
        for (const Connection::Asked& asked : subscribe) ask(fresh, asked);
      }
    }
    fresh.lossy = !connection.unsubscribes.empty();
    session = std::move(fresh);
  }

  std::map<ConnectionId, Connection> connections_;
  std::map<std::string, Session> sessions_;
  std::map<std::string, ConnectionId> holder_;
  std::map<std::pair<std::string, std::string>, Message> messages_;
  uint64_t clock_ = 0;
};

}  // namespace hf::broker
