// For tests: a site with a store on a disk in memory, a broker, and clients that are told what to send and
// whose packets read as lines. The disk does nothing until sync().
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker/broker.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"
#include "store/memory_disk.h"
#include "store/store.h"

namespace hf::broker {

using Lines = std::vector<std::string>;

inline std::string hex2(uint8_t value) { return to_hex(Bytes(reinterpret_cast<const char*>(&value), 1)); }

// "PUBLISH q1 #1 a/b 'payload' dup retain ids 1,2 expiry 5 name=value", "PUBACK #1 00", "SUBACK #1 01 80" ...
inline std::string line_of(const mqtt::Packet& packet) {
  if (const auto* connack = std::get_if<mqtt::Connack>(&packet)) {
    return "CONNACK " + hex2(connack->reason) + (connack->session_present ? " present" : "");
  }
  if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) {
    std::string line = "PUBLISH q" + std::to_string(publish->qos);
    if (publish->qos > 0) line += " #" + std::to_string(publish->packet_id);
    line += " " + std::string(publish->topic);
    if (publish->properties.topic_alias) line += "@" + std::to_string(*publish->properties.topic_alias);
    line += " '" + std::string(publish->payload) + "'";
    if (publish->dup) line += " dup";
    if (publish->retain) line += " retain";
    const mqtt::Properties& properties = publish->properties;
    for (size_t i = 0; i < properties.subscription_identifiers.size(); ++i) {
      line += (i == 0 ? " ids " : ",") + std::to_string(properties.subscription_identifiers[i]);
    }
    if (properties.message_expiry_interval_s)
      line += " expiry " + std::to_string(*properties.message_expiry_interval_s);
    for (const auto& user : properties.user_properties)
      line += " " + std::string(user.name) + "=" + std::string(user.value);
    return line;
  }
  if (const auto* ack = std::get_if<mqtt::Ack>(&packet)) {
    return std::string(mqtt::packet_type_name(ack->type)) + " #" + std::to_string(ack->packet_id) + " " +
           hex2(static_cast<uint8_t>(ack->reason));
  }
  if (const auto* suback = std::get_if<mqtt::SubAck>(&packet)) {
    std::string line =
        std::string(mqtt::packet_type_name(suback->type)) + " #" + std::to_string(suback->packet_id);
    for (const uint8_t reason : suback->reasons) line += " " + hex2(reason);
    return line;
  }
  if (const auto* disconnect = std::get_if<mqtt::Disconnect>(&packet)) {
    std::string line = std::string(mqtt::packet_type_name(disconnect->type)) + " " +
                       hex2(static_cast<uint8_t>(disconnect->reason));
    if (const auto& data = disconnect->properties.authentication_data)
      line += " '" + std::string(*data) + "'";
    return line;
  }
  if (const auto* ping = std::get_if<mqtt::Ping>(&packet)) return mqtt::packet_type_name(ping->type);
  return "?";
}

// Topics as they are, or filters.
class TestRights : public Rights {
 public:
  std::vector<std::string> publishes, retains, subscribes, receives;
  bool publish(Bytes topic) const override { return any(publishes, topic); }
  bool retain(Bytes topic) const override { return any(retains, topic); }
  bool subscribe(Bytes filter) const override {
    return std::find(subscribes.begin(), subscribes.end(), filter) != subscribes.end();
  }
  bool receive(Bytes topic) const override { return any(receives, topic); }

 private:
  static bool any(const std::vector<std::string>& filters, Bytes topic) {
    return std::any_of(filters.begin(), filters.end(),
                       [&](const std::string& filter) { return mqtt::topic_matches(filter, topic); });
  }
};

class TestHost : public Host {
 public:
  struct Route {
    std::string filter;
    std::string stream;
    std::vector<store::Member> links;
  };
  std::map<ConnectionId, std::string> sent;
  std::map<ConnectionId, std::string> addresses;
  std::vector<ConnectionId> sent_to;  // In the order of the calls.
  std::set<ConnectionId> closed;
  Lines logged;
  Lines calls;  // Those about nodes.
  std::vector<Route> routes;
  std::map<std::string, std::string> nodes;     // User name -> registered node.
  std::set<std::string> denied;                 // User names.
  std::set<std::string> pending;                // Whose verdicts come later.
  std::set<std::string> with_certificate;       // User names of those who come so.
  std::set<std::string> gone;                   // From the list: those who do not come so have no rights.
  std::map<std::string, TestRights> rights_of;  // By user; others may do everything.
  uint64_t epoch = 1;
  store::Store* store = nullptr;
  std::optional<int64_t> payload_time;
  int route_calls = 0;
  size_t send_calls = 0;
  size_t passed_on = 0;
  size_t event_time_calls = 0;
  std::vector<const char*> payloads_at;  // Where each lay that was looked at for its time.
  mutable size_t rights_calls = 0;

  void send(ConnectionId connection, Bytes bytes) override {
    EXPECT_FALSE(closed.contains(connection));
    ++send_calls;
    sent_to.push_back(connection);
    sent[connection].append(bytes);
  }
  void pass_on(ConnectionId connection, Bytes bytes) override {
    ++passed_on;
    send(connection, bytes);
  }
  void close(ConnectionId connection) override { EXPECT_TRUE(closed.insert(connection).second); }
  void log(const char* event, std::string text) override {
    logged.push_back(std::string(event) + " " + text);
  }
  Verdict authenticate(ConnectionId, const mqtt::Connect& connect) override {
    if (const auto& method = connect.properties.authentication_method) {
      if (*method != "RIDDLE") return {.reason = mqtt::Reason::kBadAuthenticationMethod};
      return {.reason = mqtt::Reason::kContinueAuthentication, .data = "who?"};
    }
    const std::string user(connect.user_name.value_or(""));
    if (denied.contains(user)) return {.reason = mqtt::Reason::kBadUserNameOrPassword};
    if (pending.contains(user)) return {.pending = true};
    if (nodes.contains(user)) return {.principal = {Principal::Kind::kNode, nodes[user]}};
    return {.principal = {Principal::Kind::kClient, user, with_certificate.contains(user)}};
  }
  Verdict authenticate_again(ConnectionId, Bytes) override {
    return {.reason = mqtt::Reason::kContinueAuthentication, .data = "still who?"};
  }
  Verdict authenticate_more(ConnectionId, Bytes data) override {
    if (data == "hm") return {.reason = mqtt::Reason::kContinueAuthentication, .data = "well?"};
    if (data.starts_with("I was "))
      return {.reason = mqtt::Reason::kNotAuthorized,
              .principal = {Principal::Kind::kClient, std::string(data.substr(6))}};
    if (!data.starts_with("I am ")) return {.reason = mqtt::Reason::kNotAuthorized};
    return {.principal = {Principal::Kind::kClient, std::string(data.substr(5))}, .data = "hello"};
  }
  std::string address_of(ConnectionId connection) const override {
    const auto found = addresses.find(connection);
    return found == addresses.end() ? "" : found->second;
  }
  bool still_admitted(ConnectionId, const Principal& principal) const override {
    return !denied.contains(principal.name);
  }
  std::shared_ptr<const Rights> rights(const std::string& user, bool by_certificate,
                                       const std::string&) const override {
    ++rights_calls;
    if (!by_certificate && gone.contains(user)) return std::make_shared<TestRights>();
    const auto found = rights_of.find(user);
    return found == rights_of.end() ? nullptr : std::make_shared<TestRights>(found->second);
  }
  Routing route(Bytes topic, const Source&) override {
    ++route_calls;
    for (const Route& route : routes) {
      if (!mqtt::topic_matches(route.filter, topic)) continue;
      return {true, store->open_local_stream(route.stream, 5, 0), route.links};
    }
    return {};
  }
  uint64_t routing_epoch() const override { return epoch; }
  std::optional<int64_t> event_time(Bytes, Bytes payload) override {
    ++event_time_calls;
    payloads_at.push_back(payload.data());
    return payload_time;
  }
  void node_connected(ConnectionId, const std::string& name) override {
    calls.push_back("connected " + name);
  }
  void node_disconnected(ConnectionId, const std::string& name) override {
    calls.push_back("disconnected " + name);
  }
  void reserved_publish(ConnectionId, Bytes topic, Bytes payload, uint16_t packet_id) override {
    calls.push_back(std::string(topic) + " '" + std::string(payload) + "' #" + std::to_string(packet_id));
  }
  void reserved_acknowledged(ConnectionId, uint16_t packet_id, mqtt::Reason reason) override {
    calls.push_back("acknowledged #" + std::to_string(packet_id) + " " + hex2(static_cast<uint8_t>(reason)));
  }
};

// A disk that takes new files but, once broken, syncs nothing that is written to them later.
class TestDisk : public store::MemoryDisk {
 public:
  bool broken = false;
  Result<> create(const std::string& name, uint64_t size) override {
    fresh_.insert(name);
    return MemoryDisk::create(name, size);
  }
  Result<> sync(const std::string& name) override {
    if (fresh_.erase(name) == 0 && broken) return fail(Code::kIo, "broken");
    return MemoryDisk::sync(name);
  }

 private:
  std::set<std::string> fresh_;
};

struct Site {
  TestDisk disk;
  store::TestEntropy entropy;
  store::Options options;
  Limits limits;
  Now now;
  TestHost host;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<Broker> broker;
  ConnectionId connection_last = 0;

  Site() {
    options.quota_bytes = 64 << 20;
    now.mono = {1'000'000'000};
    now.wall_us = 1'700'000'000'000'000;
    now.quality = ClockQuality::kNtp;
    now.boot = {1, 2};
    EXPECT_TRUE(store::Store::create(disk, entropy, crypto::Key(std::string(32, 'k')), 42));
    start();
  }

  void start() {
    store::OpenReport report;
    auto opened =
        store::Store::open(disk, entropy, crypto::Key(std::string(32, 'k')), options, "here", now, &report);
    ASSERT_TRUE(opened) << opened.error().text;
    store = std::move(*opened);
    host.store = store.get();
    broker = std::make_unique<Broker>(*store, host, limits, 7, now);
  }
  // All that is not on the disk is gone; connections too.
  void crash() {
    broker.reset();
    store.reset();
  }
  void restart() {
    crash();
    start();
  }

  // Runs the disk's jobs, and lets out what waited for them, until nothing moves.
  void sync() {
    for (int i = 0; i < 100'000; ++i) {
      store->boundary();
      if (auto job = store->take_job(now)) {
        job->run(disk, entropy);
        store->complete(std::move(job), now);
        broker->durable(now);
      } else {
        const auto woken = store->take_woken();
        if (woken.empty()) return;
        for (const store::ReaderId reader : woken) broker->woken(reader, now);
      }
    }
    FAIL() << "the store never comes to rest";
  }

  void pass(Duration time) {
    now.mono = now.mono + time;
    now.wall_us += time.ns / 1000;
    broker->tick(now);
  }
};

// One client of a site; its name is its client identifier.
class Client {
 public:
  Site& site;
  mqtt::Connect hello;
  std::string name;
  ConnectionId id = 0;

  Client(Site& at, std::string client_id, mqtt::Version version = mqtt::Version::k5)
      : site(at), name(std::move(client_id)), version_(version) {
    hello.version = version;
    hello.client_id = name;
  }
  Client(const Client&) = delete;

  // Asks for a session that is kept. (3.1.1 cannot say for how long.)
  Client& keep(uint32_t expiry_s = 3600) {
    hello.clean_start = false;
    if (version_ == mqtt::Version::k5) hello.properties.session_expiry_interval_s = expiry_s;
    return *this;
  }
  Client& will(Bytes topic, Bytes payload, uint8_t qos = 0, uint32_t delay_s = 0, bool retained = false) {
    hello.will = mqtt::Will{.qos = qos, .retain = retained, .topic = topic, .payload = payload};
    if (delay_s > 0) hello.will->properties.will_delay_interval_s = delay_s;
    return *this;
  }

  // CONNECT, and nothing looked at.
  void dial() {
    id = ++site.connection_last;
    site.broker->connected(id, site.now);
    send(hello);
  }
  // CONNECT and CONNACK.
  void connect() {
    dial();
    site.sync();
    ASSERT_EQ(take().front().substr(0, 10), "CONNACK 00") << name;
  }
  void drop() { site.broker->closed(id, site.now); }

  void send(const mqtt::Packet& packet) {
    std::string bytes;
    mqtt::encode(bytes, version_, packet);
    send_bytes(bytes);
  }
  void send_bytes(Bytes bytes) { site.broker->received(id, bytes, site.now); }

  void subscribe(Bytes filter, uint8_t qos, uint32_t identifier = 0) {
    subscribe(mqtt::SubscribeEntry{.filter = filter, .qos = qos}, identifier);
  }
  void subscribe(const mqtt::SubscribeEntry& entry, uint32_t identifier = 0) {
    mqtt::Subscribe packet{.packet_id = 900, .entries = {entry}};
    if (identifier != 0) packet.properties.subscription_identifiers = {identifier};
    send(packet);
  }
  // SUBSCRIBE and SUBACK.
  void subscribed(Bytes filter, uint8_t qos, uint32_t identifier = 0) {
    subscribe(filter, qos, identifier);
    site.sync();
    ASSERT_EQ(take(), Lines{"SUBACK #900 " + hex2(qos)});
  }
  void publish(Bytes topic, Bytes payload, uint8_t qos = 0, uint16_t packet_id = 1,
               mqtt::Properties properties = {}) {
    send(mqtt::Publish{.qos = qos,
                       .topic = topic,
                       .packet_id = qos > 0 ? packet_id : uint16_t{0},
                       .properties = properties,
                       .payload = payload});
  }
  void retain(Bytes topic, Bytes payload, uint8_t qos = 0, uint16_t packet_id = 1) {
    send(mqtt::Publish{.qos = qos,
                       .retain = true,
                       .topic = topic,
                       .packet_id = qos > 0 ? packet_id : uint16_t{0},
                       .payload = payload});
  }
  void ack(mqtt::PacketType type, uint16_t packet_id, mqtt::Reason reason = mqtt::Reason::kSuccess) {
    send(mqtt::Ack{.type = type, .packet_id = packet_id, .reason = reason});
  }
  void puback(uint16_t packet_id) { ack(mqtt::PacketType::kPuback, packet_id); }
  void pubrec(uint16_t packet_id) { ack(mqtt::PacketType::kPubrec, packet_id); }
  void pubrel(uint16_t packet_id) { ack(mqtt::PacketType::kPubrel, packet_id); }
  void pubcomp(uint16_t packet_id) { ack(mqtt::PacketType::kPubcomp, packet_id); }
  void disconnect(mqtt::Reason reason = mqtt::Reason::kSuccess) { send(mqtt::Disconnect{.reason = reason}); }

  // What came since the last look; "closed" last if the broker closed.
  Lines take() {
    Lines lines;
    const std::string bytes = std::exchange(site.host.sent[id], {});
    Bytes rest = bytes;
    while (!rest.empty()) {
      mqtt::Framed framed;
      mqtt::DecodeError error;
      mqtt::Packet packet;
      if (mqtt::frame_next(rest, 1 << 24, &framed, &error) != mqtt::FrameStatus::kWhole ||
          !mqtt::decode(framed, version_, mqtt::Sender::kServer, &packet, &error)) {
        lines.push_back(std::string("broken: ") + error.text);
        break;
      }
      if (const auto* connack = std::get_if<mqtt::Connack>(&packet)) {
        connack_ = connack->properties;
        assigned = std::string(connack->properties.assigned_client_identifier.value_or(""));
        response_information = std::string(connack->properties.response_information.value_or(""));
        reason_string = std::string(connack->properties.reason_string.value_or(""));
        method = std::string(connack->properties.authentication_method.value_or(""));
        method_data = std::string(connack->properties.authentication_data.value_or(""));
        server_reference = std::string(connack->properties.server_reference.value_or(""));
      }
      if (const auto* disconnect = std::get_if<mqtt::Disconnect>(&packet)) {
        reason_string = std::string(disconnect->properties.reason_string.value_or(""));
      }
      lines.push_back(line_of(packet));
      rest.remove_prefix(framed.size);
    }
    if (site.host.closed.contains(id) && !told_closed_.contains(id)) {
      told_closed_.insert(id);
      lines.push_back("closed");
    }
    return lines;
  }
  // All of it after the disk has done its work.
  Lines synced() {
    site.sync();
    return take();
  }
  // Of the last CONNACK; its strings are gone.
  const mqtt::Properties& connack() const { return connack_; }
  std::string assigned;
  std::string response_information;
  std::string server_reference;
  std::string method;
  std::string method_data;
  std::string reason_string;  // Of CONNACK or DISCONNECT.

 private:
  mqtt::Version version_;
  mqtt::Properties connack_;
  std::set<ConnectionId> told_closed_;
};

}  // namespace hf::broker
