// Inside the broker: its state, and what its sources call in each other. One source for each noun or packet:
//   broker.cc       entry points, framing and dispatch, timers, closing
//   connect.cc      CONNECT, sessions from birth to end
//   authenticate.cc verdicts of the host, AUTH, and rights that change
//   publish.cc      PUBLISH in, and what becomes of a message: routes, record, retained row, targets
//   delivery.cc     PUBLISH out: windows, order, sending again
//   acknowledge.cc  PUBACK, PUBREC, PUBREL, PUBCOMP
//   absent.cc       what expires while its session is away
//   overfull.cc     sessions that are owed more than they may be
//   share.cc        shared subscriptions: groups, leases
//   subscribe.cc    SUBSCRIBE, UNSUBSCRIBE, and the retained messages that they owe
//   sys_topics.cc   "$SYS"
//   will.cc         wills
//   inspect.cc      what an operator looks at
//   recover.cc      from rows to sessions at the start
//
// Calls from the host (a node's link) may come back in while a packet is handled. So nothing is destroyed,
// and no session ends, in the middle of a call: connections that are given up wait in `graveyard_`, those to
// be given up in `doomed_`, sessions to be served in `pumps_`; Call's destructor, at the outermost level,
// does what is due.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/planted_bugs.h"
#include "base/prng.h"
#include "base/shown.h"
#include "broker/audience.h"
#include "broker/broker.h"
#include "broker/events.h"
#include "broker/headers.h"
#include "broker/retained.h"
#include "broker/rows.h"
#include "broker/session.h"
#include "broker/session_rights.h"
#include "broker/subscriptions.h"
#include "broker/timers.h"

namespace hf::broker {

using mqtt::PacketType;
using mqtt::Reason;
using mqtt::Version;
using store::Haste;
using store::Position;
using store::Table;

class Broker::Impl {
 public:
  Impl(store::Store& store, Host& host, const Limits& limits, uint64_t seed, const Now& now);

  // --- broker.cc: the entry points.
  void connected(ConnectionId id, const Now& now, Bytes from);
  void received(ConnectionId id, Bytes bytes, const Now& now);
  void closed(ConnectionId id, const Now& now);
  void authenticated(ConnectionId id, const Verdict& verdict, const Now& now);
  void identities_changed(const Now& now);
  void unsent(ConnectionId id, uint64_t bytes, const Now& now);
  void durable(const Now& now);
  bool woken(store::ReaderId reader, const Now& now);
  void tick(const Now& now);
  std::optional<Instant> next_deadline() const;
  store::Store::Appended ingest(store::NewRecord record, const Source& source, const Now& now);
  void together(const Now& now, const std::function<void()>& work);
  Result<Published> publish(const Publication& message, const Now& now);
  void reserved_acknowledge(ConnectionId id, uint16_t packet_id, Reason reason, uint64_t commit);
  uint16_t reserved_send(ConnectionId id, Bytes topic, Bytes payload, uint64_t commit);
  void reading(bool paused, const Now& now);
  void disconnect(ConnectionId id, Reason reason, const Now& now);
  void shut_down(const Now& now);
  const Counters& counters() const { return counters_; }

  // --- inspect.cc
  void for_each_client(const std::function<void(const ClientInfo&)>& visit) const;
  Page<ClientInfo> clients(Bytes after, size_t count, const Now& now) const;
  std::optional<ClientDetail> client(Bytes client_id, const Now& now) const;
  Page<SubscriptionInfo> subscriptions(Bytes client_id, Bytes topic, Bytes after, size_t count) const;
  Page<RetainedInfo> retained(Bytes filter, Bytes after, size_t count, const Now& now) const;
  Page<RetainedInfo> remove_retained(Bytes filter, Bytes after, size_t count, const Now& now);
  Page<QueueInfo> session_queues(Bytes after, size_t count, const Now& now, bool* pending);
  Page<QueueInfo> group_queues(Bytes after, size_t count, const Now& now, bool* pending);
  std::optional<QueueInfo> session_queue(Bytes client_id, const Now& now, bool* pending);
  std::optional<QueueInfo> group_queue(Bytes name, const Now& now, bool* pending);
  uint64_t end_client(Bytes client_id, bool forget, const Now& now);

 private:
  // Every entry point holds one.
  class Call {
   public:
    Call(Impl& impl, const Now& now);
    ~Call();

   private:
    Impl& impl_;
  };

  // --- broker.cc
  Connection* find(ConnectionId id);
  void handle(Connection& connection, const mqtt::Framed& framed);
  void on_disconnect(Connection& connection, const mqtt::Disconnect& packet);
  void finish();
  // Between two groups of what belongs together. What was sent has its rows before a batch ends.
  void boundary();
  void timer_due(const Timer& timer);
  void arm_connection(Connection& connection, Instant at);
  // All that can be read of what has come.
  void read(Connection& connection, Bytes bytes);
  // The same, but that *done bytes at the front of its input are done with and still there.
  void read_all(Connection& connection, Bytes bytes, size_t* done);
  // Whether so much more may be buffered for one that is not let in yet, `each_max` for it alone; if so it is counted.
  bool count_connect_bytes(Connection& connection, size_t bytes, size_t each_max);
  void uncount_connect_bytes(Connection& connection, size_t bytes);
  // Keeps the start of a packet. False: the connection was given up.
  bool keep_input(Connection& connection, Bytes bytes);
  void drop_input(Connection& connection, size_t size);

  // The peer made a mistake, or broke a limit: DISCONNECT in 5.0, and the end of the connection.
  void fail(Connection& connection, Reason reason, const char* text);
  // If it is a limit's.
  void count_limit(Reason reason);
  // DISCONNECT if the version and the state allow it, then close. `text` is for the client, may be null.
  void close(Connection& connection, Reason reason, const char* text = nullptr);
  // The transport is gone, or the host was told to close it. `will_due`: no DISCONNECT came.
  void forget(Connection& connection, bool will_due);
  // What waits for a commit that will never come has waited enough.
  void fail_gated();
  void serve_leaving();
  // fail() for a connection that may be in use further up; happens when the present call ends.
  void doom(Connection& connection, Reason reason, const char* text);
  void log(const char* event, std::string text);
  // The same event at most once a second.
  void log_rarely(const char* event, std::string text);
  // Likewise, where the text is not to be made in vain: it is due now, and counts as logged.
  bool log_due(const char* event);
  // " (user 'anna', from 192.0.2.1)", as far as it is known.
  std::string whence(const Connection& connection) const;

  // --- Sending.
  void send_now(Connection& connection, Bytes bytes);
  void count_sent(Connection& connection, uint64_t bytes);
  uint64_t unsent_of(const Connection& connection) const {
    return connection.unsent_bytes + (connection.step == step_ ? connection.step_bytes : 0);
  }
  // Lets put(std::string&) append a packet that leaves once `commit` is durable, behind all that waits
  // already.
  template <typename Put>
  void send_gated(Connection& connection, uint64_t commit, uint32_t credits, Put&& put);
  void send_ack(Connection& connection, uint64_t commit, PacketType type, uint16_t packet_id, Reason reason);
  // A packet that the client may have limited the size of; closes the connection if it is too large.
  void send_packet(Connection& connection, uint64_t commit, const mqtt::Packet& packet);

  // --- connect.cc
  void on_connect(Connection& connection, const mqtt::Connect& packet, Bytes whole);
  void admit_client(Connection& connection, const mqtt::Connect& packet, const Verdict& verdict);
  void refuse(Connection& connection, Reason reason, const char* text);
  std::string assigned_client_id();
  Session& make_session(std::string client_id, bool durable);
  Session* find_session(Bytes client_id);
  void take_over(Session& session);
  void resume(Session& session);
  // Puts the session's row; `connected` says whether a connection stands.
  void put_session(const Session& session, bool connected, Haste haste);
  // Its connection has ended.
  void detach(Session& session, bool will_due);
  void arm_expiry(Session& session);
  // Rows, reader, subscriptions and the session itself go; a will that waits is published.
  void end_session(Session& session, Haste haste);

  // --- absent.cc
  std::optional<Duration> time_left(const store::Record& record) const;
  void arm_owed(Session& session, Duration left);
  void disarm_owed(Session& session);
  void owed_to_absent(Session& session, const store::Record& record);
  void pass_expired(Session& session);

  // --- overfull.cc
  bool owed_too_much(const Session& session) const;
  bool owed_too_much(const ShareGroup& group) const;
  // After a session or group that does not flow was owed one more record.
  template <typename Owner>
  void check_owed(Owner& owner);
  Session* next_to_end(store::ReaderId reader);
  // A few of those that were found; between groups of the log.
  void end_overfull();
  void end_overfull(Session& session, store::ReaderId reader);

  // --- authenticate.cc
  void take_verdict(Connection& connection, const mqtt::Connect& packet, Bytes whole, const Verdict& verdict);
  void take_later_verdict(Connection& connection, const Verdict& verdict);
  void on_auth(Connection& connection, const mqtt::Disconnect& packet);
  void take_new_verdict(Connection& connection, const Verdict& verdict);
  void send_auth(Connection& connection, Reason reason, Bytes data);
  bool may_publish(const Session& session, Bytes topic, bool retained) const;
  bool may_receive(const Session& session, Bytes topic) const {
    const Rights* const rights = session_rights_.of(session);
    return rights == nullptr || rights->receive(topic);
  }
  // Whom a message is from: all empty if it came over a link or is the node's own.
  struct Publisher {
    uint64_t session = 0;  // Its number.
    Bytes user;
    bool by_certificate = false;
    Bytes client_id;
  };
  // The right of somebody whose session may be gone.
  bool may_still_publish(const Publisher& publisher, Bytes topic, bool retained);

  // --- publish.cc
  // A PUBLISH without what few have.
  struct Incoming {
    uint8_t qos = 0;
    bool retain = false;
    uint16_t packet_id = 0;
    Bytes topic;
    Bytes payload;
    const mqtt::Properties* properties = nullptr;  // Null: none.
    Bytes raw_properties;
    Bytes whole;  // The packet as it came, where a copy of it may serve as a delivery.
  };
  // A PUBLISH on the topic of the one before it, whoever sent that, without DUP, retain and properties: most
  // of a stream are so, and there is nothing left to decode and to check. False: it is not such a one.
  bool on_publish_again(Connection& connection, const mqtt::Framed& framed);
  bool read_again(const Connection& connection, const mqtt::Framed& framed, Incoming* packet) const;
  // Of QoS 0, one after the other, and not stored: all of them at once, since to each subscriber they are one piece. Most of the
  // price of a message is not in its bytes. `lasting`: the source outlives the step. Returns how many bytes were taken; 0: no
  // such run.
  size_t on_publish_run(Connection& connection, Bytes source, bool lasting);
  void on_publish(Connection& connection, const mqtt::Publish& packet);
  void on_publish(Connection& connection, const Incoming& packet);
  struct Outcome {
    Reason reason = Reason::kSuccess;  // 0x80 or more: nothing has happened.
    uint64_t commit = 0;               // What an acknowledgement waits for.
  };
  // Its record, but for stream and audience; borrows from the packet and headers_scratch_. `who`: for the log.
  store::NewRecord record_of(const Incoming& packet, Bytes who);
  Outcome publish(store::NewRecord& record, const Source& source, const Publisher& publisher);
  Reason admit(const store::NewRecord& record, bool stored, bool retained);
  void fan_out_run(const Audience& audience, Version version, Bytes run, bool lasting);
  void fan_out(const store::NewRecord& record, const store::Store::Appended& appended,
               const Audience& audience, bool stored);
  void refuse_publish(Connection& connection, const Incoming& packet, Reason reason);
  void acknowledge_publish(Connection& connection, const Incoming& packet, const Outcome& outcome);
  void on_reserved(Connection& connection, const Incoming& packet);
  // True if a row was written.
  bool retain(const store::NewRecord& record, const Publisher& publisher, const store::StreamInfo* stream,
              uint64_t sequence);
  store::StreamId local_stream();

  // --- delivery.cc
  // A message on its way to its targets, with what was encoded for one of them and serves the next.
  struct Fan {
    const store::Record* record = nullptr;
    const store::StreamInfo* stream = nullptr;
    bool plain_ready = false;  // `plain`: properties for a 5.0 client without subscription identifiers.
    Bytes plain;
    std::string plain_bytes;
    std::string own_bytes;  // With identifiers, for one target; likewise a whole packet.
    std::string own_whole;
    Bytes came;  // The packet as a client of `came_version` sent it, if it may be passed on as it is.
    Version came_version = Version::k311;
    Bytes whole[2][2];  // QoS 0 packets by version and retain flag, once there are.
    std::string whole_bytes[2][2];
  };
  void begin_fan(const store::Record& record);
  Bytes fan_properties(Version version, std::span<const uint32_t> identifiers);
  void deliver(const Target& target, bool stored);
  void deliver_qos0(Connection& connection, const Target& target);
  void enqueue(Session& session, const Target& target, uint8_t qos);
  enum class Sent : uint8_t { kSent, kTooLarge };
  // One QoS 1 or 2 PUBLISH of fan_.record under a new packet identifier. `reader` is who was owed the record and has
  // handed it out: the session's own, or the group's whose lease this is; 0: it is not stored.
  Sent send_new(Session& session, uint8_t qos, bool retain, std::span<const uint32_t> identifiers,
                store::ReaderId reader);
  // Writes the row of a delivery that has one of its own.
  void put_outbound(Session& session, Outbound& entry);
  // Whose record the delivery is.
  static store::ReaderId owner(const Session& session, const Outbound& entry);
  static uint16_t alias_topic(const Connection& connection, mqtt::PublishHead* head);
  void send_publish(Connection& connection, uint64_t commit, mqtt::PublishHead head, Bytes payload);
  void send_again(Session& session, Outbound& entry, const store::Member& member);
  uint32_t window(const Connection& connection) const;
  bool has_window(const Connection& connection) const;
  bool has_room(const Connection& connection) const;
  // Whether a new message may go out at once, with nothing before it.
  bool flows(const Session& session) const;
  void pump_later(Session& session);
  void pump(Session& session);
  void pump_own(Session& session);
  bool pump_again(Session& session);
  bool pump_queue(Session& session);
  // The client is done with it: its identifier is free.
  void complete(Session& session, Outbound& entry);
  // Writes the rows of the runs that are open.
  void close_runs();
  void close_run(Session& session);
  void wait_for_room(Connection& connection);
  void wait_for_step(Connection& connection);

  // --- acknowledge.cc
  void on_ack(Connection& connection, PacketType type, uint16_t packet_id, Reason reason);
  void ack_begun(uint64_t commit);
  void acks_left(uint64_t durable_commit);
  void on_puback(Connection& connection, Session& session, uint16_t packet_id, Reason reason);
  void on_pubrec(Connection& connection, Session& session, uint16_t packet_id, Reason reason);
  void on_pubrel(Connection& connection, Session& session, uint16_t packet_id);
  void on_pubcomp(Connection& connection, Session& session, uint16_t packet_id);

  // --- subscribe.cc
  void on_subscribe(Connection& connection, const mqtt::Subscribe& packet);
  void on_unsubscribe(Connection& connection, const mqtt::Unsubscribe& packet);
  // The reason code for one filter. *commit moves to what SUBACK waits for.
  uint8_t subscribe_one(Session& session, const Connection& connection, const mqtt::SubscribeEntry& entry,
                        uint32_t identifier, uint64_t* commit, bool* wants_retained);
  // Sends what a SUBSCRIBE asked for, as far as the client takes it now.
  void serve_retained(Session& session);
  bool has_room_for_retained(Session& session, uint8_t qos);
  bool send_retained(Session& session, const SubscriptionOptions& options, uint8_t qos, Bytes topic,
                     const RetainedRow& row);
  void end_scan(Session& session);

  // --- share.cc
  // Makes the group's reader when a member may want what is stored; true if that was now.
  bool open_group(ShareGroup& group);
  // Ends it if nobody needs it any more.
  void close_group(ShareGroup& group);
  ShareGroup* find_group(store::ReaderId reader);
  void deliver_shared(const Target& target, bool stored);
  enum class Leased : uint8_t { kSent, kNobody };
  // fan_.record, which the group's reader has handed out, to the member whose turn it is; at QoS 0 for one who was granted
  // no more.
  Leased lease(ShareGroup& group);
  // `topic` empty: any.
  ShareGroup::Member* choose(ShareGroup& group, uint8_t qos, Bytes topic);
  void pump_group_later(ShareGroup& group);
  void pump_group(ShareGroup& group);
  // True if one more record of the group was dealt with; false if the reader has none.
  bool pump_group_one(ShareGroup& group);
  // The group's reader has handed it out, and no row of a session says so: this one does.
  void put_owed(store::ReaderId reader, Position position, uint8_t qos);
  void erase_owed(store::ReaderId reader, Position position);
  void give_up(store::ReaderId reader, Position position);
  // `with_qos2`: the session ends, and those are given up.
  void return_leases(Session& session, bool with_qos2);
  // Of one that was not acknowledged, and is in no window.
  void return_lease(Session& session, Outbound& entry);
  void arm_leases(Session& session);

  // --- sys_topics.cc
  struct SysValue {
    const char* topic;
    std::string text;
  };
  std::vector<SysValue> sys_values() const;
  // The present values to a session that has just subscribed to them.
  void answer_sys(Session& session, const std::set<std::string>& filters);
  // There is a subscription to this filter.
  void watch_sys(Bytes filter);
  void publish_sys();

  // --- will.cc
  void keep_will(Session& session, const mqtt::Will& will);
  void drop_will(Session& session, Haste haste);
  // The connection ended without DISCONNECT: now, or after its delay.
  void will_due(Session& session);
  // `last`: it is lost if there is no space for it.
  void publish_will(const std::string& client_id, const WillRow& will, uint64_t publisher, bool last = false);
  void publish_will_of(Session& session);
  // Those that found no space.
  void publish_waiting_wills();

  // --- inspect.cc
  ClientInfo info_of(const Session& session, const Now& now) const;
  QueueInfo queue_of(const Session& session, const Now& now) const;
  QueueInfo queue_of(const ShareGroup& group) const;
  // Sets the age of what the reader is owed longest. False: the disk has to be asked first.
  bool find_oldest(store::ReaderId reader, const Now& now, QueueInfo* info);

  // --- recover.cc
  void recover();
  void recover_sessions();
  void recover_subscriptions();
  void recover_groups();
  void recover_packets();
  void recover_owed();
  void settle_groups();
  void recover_runs();
  void recover_wills();

  // A full window of deliveries fits, and many answers.
  size_t gate_bytes_max() const { return 2 * limits_.inflight_bytes_max + limits_.packet_bytes_max; }
  bool storage_failed() const { return store_.storage_failed(); }

  store::Store& store_;
  Host& host_;
  const Limits limits_;
  Prng prng_;
  Now now_;
  store::Arrival arrival_;  // Of what comes in this step.
  uint64_t step_ = 1;       // Moves with time.
  int depth_ = 0;
  bool boundary_due_ = false;
  bool shut_down_ = false;
  Counters counters_;
  // PUBLISHes whose acknowledgement waits for a commit. Those of one step that wait for the same are one; beyond kAckWaitsMax
  // all that come are counted with the last, so that this never grows with a disk that is behind.
  struct AckWait {
    uint64_t commit = 0;
    Instant since;
    uint64_t count = 0;
  };
  static constexpr size_t kAckWaitsMax = 1024;
  std::deque<AckWait> ack_waits_;

  std::unordered_map<ConnectionId, std::unique_ptr<Connection>> connections_;  // For look-up only.
  std::vector<std::unique_ptr<Connection>> graveyard_;
  struct Doomed {
    ConnectionId connection;
    Reason reason;
    const char* text;
  };
  std::vector<Doomed> doomed_;
  std::deque<store::ReaderId>
      overfull_;  // Of sessions and groups that are owed more than they may be: each once.
  // Of those that sent DISCONNECT while answers waited for the disk: all that waited. They close once it has left.
  std::map<ConnectionId, Gate> leaving_;
  std::vector<ConnectionId> gated_;    // Whose gate is not empty, in the order in which that became so.
  std::vector<uint64_t> pumps_;        // Numbers of sessions to be served before the call ends.
  std::vector<uint64_t> group_pumps_;  // And of groups.
  std::vector<uint64_t> open_runs_;    // Numbers of sessions with deliveries that have no row yet.
  uint64_t retained_step_ = 0;         // Of the rows that are looked at for retained messages in one step ...
  size_t retained_rows_left_ = 0;      // ... how many may still be ...
  ConnectionId retained_last_ = 0;     // ... and whose search used them up.
  ConnectionId serving_ = 0;           // Whose turn it is among those in next_step_.
  std::vector<ConnectionId> next_step_;  // To be served once time has moved.
  uint64_t online_count_ = 0;            // Sessions with a connection.
  // What is buffered for connections that are not let in yet, by whose they are.
  std::map<std::string, size_t, std::less<>> connect_bytes_from_;

  std::map<std::string, std::unique_ptr<Session>, std::less<>> sessions_;  // By client identifier.
  std::unordered_map<uint64_t, Session*> sessions_by_number_;              // For look-up only, like the next.
  std::unordered_map<store::ReaderId, Session*> sessions_by_reader_;
  std::map<uint64_t, ShareGroup*> groups_by_number_;
  std::unordered_map<store::ReaderId, ShareGroup*> groups_by_reader_;
  uint64_t session_number_last_ = 0;
  // Kept sessions whose end is not durable yet, by client identifier: its commit. Until then a crash would bring them back, and
  // nobody may be told that there is none.
  std::map<std::string, uint64_t, std::less<>> ended_;

  Subscriptions subscriptions_;
  SessionRights session_rights_;
  Audiences audiences_;
  Retained retained_;
  Timers timers_;
  const Instant started_;
  std::optional<Instant> sys_timer_;
  // Wills that are due and found no space, by client identifier. Their rows stand, so there are no more than rows were admitted.
  struct WaitingWill {
    WillRow will;
    uint64_t publisher = 0;
  };
  std::map<std::string, WaitingWill, std::less<>> wills_waiting_;
  std::string will_tried_;  // The last one of those.
  std::optional<Instant> wills_timer_;
  bool reading_paused_ = false;                               // By the host.
  Instant reading_paused_until_;                              // When it last was.
  std::map<std::string, std::string, std::less<>> sys_told_;  // The values of status topics as last sent.
  store::StreamId local_stream_ = 0;
  uint64_t local_incarnation_ = 0;

  Fan fan_;
  mqtt::Packet packet_;
  std::string scratch_;
  std::vector<Outbound> run_scratch_;
  std::string headers_scratch_;
  std::vector<Incoming> run_;  // What the packets of the run in hand are.
  std::vector<const Target*> run_odd_;
  std::string topic_last_;  // Of the last PUBLISH that was decoded, and so valid.
  const Source client_source_{};
  // The rights that may_still_publish() looked at, by user, how he came, and client identifier.
  std::map<std::tuple<std::string, bool, std::string>, std::shared_ptr<const Rights>> rights_;
  std::map<std::string, Instant, std::less<>> logged_;  // When an event was last logged by log_rarely().
};

template <typename Put>
void Broker::Impl::send_gated(Connection& connection, uint64_t commit, uint32_t credits, Put&& put) {
  if (connection.closed()) return;
  ++counters_.packets_sent;
  if (connection.gate.empty() && commit <= store_.durable_commit()) {
    scratch_.clear();
    put(scratch_);
    connection.received_open -= std::min(connection.received_open, credits);
    send_now(connection, scratch_);
    return;
  }
  put(connection.gate.open(commit));
  connection.gate.close(credits);
  if (connection.gate.size() > gate_bytes_max()) {
    ++counters_.of(Limit::kAnswers);
    doom(connection, Reason::kQuotaExceeded, "too many answers wait for the disk");
  }
  if (!connection.gated) {
    connection.gated = true;
    gated_.push_back(connection.id);
  }
}

}  // namespace hf::broker
