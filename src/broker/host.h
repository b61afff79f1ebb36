// What the broker asks of the node that composes it. The broker knows nothing of links, sockets or
// configuration files; node/ implements this.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/connection.h"
#include "base/time.h"
#include "mqtt/packet.h"
#include "store/record.h"

namespace hf::broker {

// Where a message came from, so that a record never goes back there.
struct Source {
  enum class Kind : uint8_t { kClient, kBroker /* wills */, kParent, kChild };
  Kind kind = Kind::kClient;
  std::string child;  // The registered node's name, for kChild.
  // The stream it came in over a link: it stays in it, and so in that stream's lane of further links. 0: none
  // yet.
  store::StreamId stream = 0;
  friend auto operator<=>(const Source&, const Source&) = default;
};

// What the node's routes say of a topic.
struct Routing {
  bool stored = false;               // A route takes it, so that QoS 0 is stored too.
  store::StreamId stream = 0;        // Where its record goes if it is stored; 0: the stream `local`.
  std::vector<store::Member> links;  // Link readers that are owed it.
};

// Who a connection is. Anonymous clients are kClient with an empty name.
struct Principal {
  enum class Kind : uint8_t { kClient, kNode };
  Kind kind = Kind::kClient;
  std::string name;
  bool by_certificate = false;  // That says its name, which is in no list then.
};

// What the host says to a client that wants in.
struct Verdict {
  // kSuccess: it is `principal`. kContinueAuthentication: it is to be sent `data` and answers with AUTH. 0x80 and more:
  // it is refused.
  mqtt::Reason reason = mqtt::Reason::kSuccess;
  bool pending = false;  // None of that yet: Broker::authenticated() brings it.
  Principal principal;   // Before kSuccess: who it says it is, as far as its exchange tells.
  std::string data;      // Authentication data of an enhanced authentication (MQTT 5.0, section 4.12).
};

// What one client may do. Topics are names, but for subscribe().
class Rights {
 public:
  virtual ~Rights() = default;
  virtual bool publish(Bytes topic) const = 0;
  virtual bool retain(Bytes topic) const = 0;
  virtual bool subscribe(Bytes filter) const = 0;  // Not a shared one: its inner filter.
  virtual bool receive(Bytes topic) const = 0;
};

class Host {
 public:
  virtual ~Host() = default;

  // Bytes for the peer; they leave when the step ends, in order.
  virtual void send(ConnectionId connection, Bytes bytes) = 0;
  // The same for bytes that lie in what Broker::received() was given: the host may send them from there.
  virtual void pass_on(ConnectionId connection, Bytes bytes) { send(connection, bytes); }
  // Closes after what was sent has left. The broker hears no more of it: no closed() follows.
  virtual void close(ConnectionId connection) = 0;
  // A line for the operator: a stable event id ("HF-MQTT-004") and a sentence.
  virtual void log(const char* event, std::string text) = 0;

  // CONNECT: who it is, or the reason to refuse (5.0 reason; the broker maps it for 3.1.1).
  virtual Verdict authenticate(ConnectionId connection, const mqtt::Connect& connect) = 0;
  // A client that is connected begins to authenticate once more, by the method of its CONNECT.
  virtual Verdict authenticate_again(ConnectionId connection, Bytes data) = 0;
  // AUTH in an exchange that one of the two has begun. The end of the connection ends the exchange.
  virtual Verdict authenticate_more(ConnectionId connection, Bytes data) = 0;
  // Where it is connected from, for people: "192.0.2.1", "unix"; empty: not known.
  virtual std::string address_of(ConnectionId connection) const = 0;
  // Whether one that was admitted would still be: it was not removed, and its password is the same.
  virtual bool still_admitted(ConnectionId connection, const Principal& principal) const = 0;
  // What a client of this name may do, who came with a certificate or did not; null: everything. Holds until
  // Broker::identities_changed().
  virtual std::shared_ptr<const Rights> rights(const std::string& user, bool by_certificate,
                                               const std::string& client_id) const = 0;
  // The routes for a topic; the answer for one (topic, source) holds until routing_epoch() changes.
  virtual Routing route(Bytes topic, const Source& source) = 0;
  virtual uint64_t routing_epoch() const = 0;
  // The device's own time where it stands in the payload (a configured JSON field).
  virtual std::optional<int64_t> event_time(Bytes topic, Bytes payload) = 0;

  // Of topics that are mqtt::reserved_to_nodes(): a node's connection and its end; its PUBLISH there (always QoS 1; answered
  // later by Broker::reserved_acknowledge) and its PUBACK for a Broker::reserved_send.
  virtual void node_connected(ConnectionId connection, const std::string& name) = 0;
  virtual void node_disconnected(ConnectionId connection, const std::string& name) = 0;
  virtual void reserved_publish(ConnectionId connection, Bytes topic, Bytes payload, uint16_t packet_id) = 0;
  virtual void reserved_acknowledged(ConnectionId connection, uint16_t packet_id, mqtt::Reason reason) = 0;
};

}  // namespace hf::broker
