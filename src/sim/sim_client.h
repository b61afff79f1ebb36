// A model MQTT client: a device or an application that does what the standard asks of it, and forgets nothing.
//
// It publishes and subscribes, over 3.1.1 or 5.0. What it sent and was not acknowledged stays with it over reconnects and
// goes out again as the standard says; identifiers of QoS 2 messages it received and were not released stay too. So
// whatever is lost or doubled was lost or doubled by the node. Packet identifiers are the lowest that are free, which uses
// them again as soon as it may.
//
// It also judges the node's manners: more open deliveries than the client allowed, an identifier used again before its
// release, packets that do not decode, a promised session that is not there.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/time.h"
#include "mqtt/packet.h"
#include "sim/oracle.h"

namespace hf::sim {

class SimClient {
 public:
  struct Subscription {
    std::string filter;
    uint8_t qos = 0;
  };
  struct Options {
    std::string client_id;
    mqtt::Version version = mqtt::Version::k5;
    bool persistent = true;
    uint16_t keep_alive_s = 10;
    uint16_t receive_maximum = 20;  // Deliveries it takes before it acknowledges (5.0).
    uint32_t window = 10;           // PUBLISHes it has open at most.
    Duration acknowledge_max;       // Acknowledges after 0 to this.
    Duration redial_max = seconds(2);
    std::vector<Subscription> subscriptions;
  };
  // What the world is to do after a call.
  struct Output {
    std::string bytes;
    bool close = false;  // After the bytes.
    bool dial = false;
  };

  // `number` is its number at the oracle.
  SimClient(Options options, uint32_t number, Oracle& oracle, Trace& trace, uint64_t seed);

  // --- The application: the message is the client's to bring to the node from now on.
  MessageId publish(const std::string& topic, uint8_t qos, bool retain, size_t filler_bytes, Instant now);

  // --- The transport.
  void dialed(bool connected, Instant now);
  void received(Bytes bytes, Instant now);
  void closed(Instant now);
  void tick(Instant now);
  std::optional<Instant> next_deadline() const;
  Output take_output();

  // Ends the connection: with DISCONNECT, or as if the battery fell out. Dials again after `away`.
  void leave(bool politely, Duration away, Instant now);
  // Stays away until further notice; or dials at once.
  void set_enabled(bool enabled, Instant now);

  // The application was put back to where its node was: it knows no open QoS 2 deliveries.
  void forget_inbound() { inbound_.clear(); }

  const std::string& name() const { return options_.client_id; }
  uint32_t number() const { return number_; }
  bool connected() const { return state_ == State::kUp; }
  bool subscribed() const { return subscribed_ || options_.subscriptions.empty(); }
  size_t outgoing() const { return outgoing_.size(); }
  uint64_t connects() const { return connects_; }

 private:
  enum class State : uint8_t { kAway, kDialing, kConnecting, kUp };
  struct Outgoing {
    MessageId id;
    std::string topic;
    std::string payload;
    uint8_t qos = 0;
    bool retain = false;
    enum class State : uint8_t { kQueued, kSent, kReleased } state = State::kQueued;
    uint16_t packet_id = 0;
  };
  struct Acknowledgement {
    Instant at;
    mqtt::PacketType type = mqtt::PacketType::kPuback;
    uint16_t packet_id = 0;
  };

  void on_packet(const mqtt::Packet& packet, Instant now);
  void on_connack(const mqtt::Connack& connack, Instant now);
  void on_publish(const mqtt::Publish& publish, Instant now);
  void on_ack(const mqtt::Ack& ack, Instant now);
  void send(const mqtt::Packet& packet, Instant now);
  void send_publish(const Outgoing& message, bool dup, Instant now);
  void send_subscribe(Instant now);
  void resume(Instant now);
  void start_over();
  void pump(Instant now);
  void flush_acknowledgements(Instant now);
  void drop(Instant now, Duration away);
  std::deque<Outgoing>::iterator find_outgoing(uint16_t packet_id);
  void forget(const std::deque<Outgoing>::iterator& message);
  uint16_t free_packet_id() const;

  const Options options_;
  const uint32_t number_;
  Oracle& oracle_;
  Trace& trace_;
  Prng prng_;
  Output output_;

  State state_ = State::kAway;
  bool enabled_ = true;
  Instant dial_at_;
  Instant connect_deadline_;
  Instant sent_last_;
  std::optional<Instant> ping_at_;  // When PINGREQ left and was not answered.
  std::string input_;
  uint64_t connects_ = 0;

  // Its state, which outlives connections.
  bool promised_ = false;  // A CONNACK said that there is a session.
  bool subscribed_ = false;
  std::deque<Outgoing> outgoing_;          // First those with an identifier, in the order they were sent.
  std::set<uint16_t> ids_used_;            // Theirs.
  std::map<uint16_t, MessageId> inbound_;  // QoS 2, not released.
  uint64_t message_next_ = 1;

  // Of this connection.
  std::deque<Acknowledgement> acknowledgements_;
  std::map<uint16_t, bool> open_;  // Deliveries not yet acknowledged (QoS 2: completed).
  uint16_t server_receive_maximum_ = 65'535;
  uint16_t subscribe_id_ = 0;
};

}  // namespace hf::sim
