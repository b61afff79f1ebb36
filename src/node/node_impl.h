// The inside of Node: the rooms, and how they are joined. node.cc steps and routes, peers.cc joins broker and
// links, report.cc answers the operator, inspect.cc shows what is inside.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>

#include "broker/broker.h"
#include "link/claim.h"
#include "link/conversation.h"
#include "link/host.h"
#include "link/registry.h"
#include "link/rows.h"
#include "link/travel.h"
#include "link/uplink.h"
#include "node/node.h"
#include "node/routes.h"

namespace hf::node {

inline constexpr const char* kNoClaim =
    "the upstream does not know this node: register it there with holdfast node add NAME, and give the claim "
    "here with "
    "holdfast claim FILE";
// Row of kParent: report.cc.
inline constexpr Bytes kLastUpKey = "U";
// Likewise, 32 random bytes: what the salts of names that nobody has are made from.
inline constexpr Bytes kSaltSecretKey = "S";
// Rounds of one step in which readers that were woken wake others.
inline constexpr int kRoundsMax = 8;

class Node::Impl final : public broker::Host, public link::Host, public link::Uplink::Output {
 public:
  Impl(Config config, Entropy& entropy, std::unique_ptr<store::Store> store, const store::OpenReport& report,
       const Now& now);

  void step(std::span<Input> inputs, const Now& now, Effects& out);
  std::optional<Instant> next_deadline() const;

  // --- broker::Host and, where they agree, link::Host and link::Uplink::Output
  void send(ConnectionId connection, Bytes bytes) override;
  void pass_on(ConnectionId connection, Bytes bytes) override;
  void close(ConnectionId connection) override;
  void log(const char* event, std::string text) override;
  broker::Verdict authenticate(ConnectionId connection, const mqtt::Connect& connect) override;
  broker::Verdict authenticate_again(ConnectionId connection, Bytes data) override;
  broker::Verdict authenticate_more(ConnectionId connection, Bytes data) override;
  std::string address_of(ConnectionId connection) const override;
  bool still_admitted(ConnectionId connection, const broker::Principal& principal) const override;
  std::shared_ptr<const broker::Rights> rights(const std::string& user, bool by_certificate,
                                               const std::string& client_id) const override;
  broker::Routing route(Bytes topic, const broker::Source& source) override;
  uint64_t routing_epoch() const override { return routing_epoch_; }
  std::optional<int64_t> event_time(Bytes topic, Bytes payload) override;
  void node_connected(ConnectionId connection, const std::string& name) override;
  void node_disconnected(ConnectionId connection, const std::string& name) override;
  void reserved_publish(ConnectionId connection, Bytes topic, Bytes payload, uint16_t packet_id) override;
  void reserved_acknowledged(ConnectionId connection, uint16_t packet_id, mqtt::Reason reason) override;
  void ingest(const std::string& peer, const store::NewRecord& record, const Now& now) override;
  void together(const std::function<void()>& work) override;
  void incarnation_renewed() override;
  bool begin_assembly(const std::string& peer) override;
  void end_assembly(const std::string& peer) override;

  // --- report.cc
  Status status(const Now& now) const;
  std::vector<TailRecord> tail(Bytes stream, std::optional<store::Position> after, size_t count,
                               bool* pending);
  std::vector<StreamStatus> streams() const;
  std::vector<NodeStatus> nodes() const;
  Result<uint64_t> node_add(Bytes name, const std::vector<std::string>& down_filters, Bytes prefix,
                            std::string* claim_text);
  Result<uint64_t> node_renew(Bytes name, std::string* claim_text);
  Result<uint64_t> node_remove(Bytes name);
  Result<uint64_t> claim(Bytes claim_text);
  Result<> connect_now(const Now& now);
  Result<uint64_t> give_up_parent();
  void set_identities(identity::Users users, identity::Permissions permissions);
  const Identities& identities() const { return logins_.identities(); }
  bool wary_of(const std::string& network, Instant now) const { return logins_.wary_of(network, now); }
  void shut_down(const Now& now);
  bool stopped() const;

  // --- inspect.cc
  broker::Broker& broker() const { return *broker_; }
  Page<ClientStatus> clients(Bytes after, size_t count, const Now& now) const;
  std::optional<ClientReport> client(Bytes client_id, const Now& now) const;
  Result<> client_end(Bytes client_id, bool forget, const Now& now);
  uint64_t ended_commit() const { return ended_commit_; }
  Page<broker::RetainedInfo> remove_retained(Bytes filter, Bytes after, size_t count, const Now& now,
                                             uint64_t* commit);
  uint64_t publish(broker::Publication message);
  std::vector<OperatorPublished> take_published() { return std::exchange(published_, {}); }
  Page<QueueStatus> queues(Bytes after, size_t count, const Now& now, bool* pending);
  std::vector<QueueStatus> queue(Bytes name, const Now& now, bool* pending);
  Result<Page<ExportRecord>> export_records(const ExportQuery& query, bool* pending);

  const Config config;
  Entropy& entropy;
  const store::OpenReport report;
  std::unique_ptr<store::Store> store;

 private:
  // The channel to a child: messages are PUBLISHes of the broker's connection.
  class ChildChannel final : public link::Channel {
   public:
    ChildChannel(Impl& node, ConnectionId connection) : node_(node), connection_(connection) {}
    uint16_t send(link::Kind kind, Bytes message, uint64_t commit) override;
    void acknowledge(uint16_t id, mqtt::Reason reason, uint64_t commit) override;
    void close(const char* why) override;
    uint64_t message_bytes_max() const override;

   private:
    Impl& node_;
    const ConnectionId connection_;
  };

  // A registered child and its connection.
  struct Peer {
    std::unique_ptr<link::Conversation> conversation;
    std::unique_ptr<ChildChannel> channel;
    ConnectionId connection = 0;  // 0: not connected.
    bool claiming = false;        // Admitted by its claim: nothing but the exchange is allowed.
  };
  // The link to the parent.
  struct Parent {
    Parent(Impl& node, const Config& config);
    link::Conversation conversation;
    link::Credentials credentials;
    link::Uplink uplink;
  };
  // How records travel to the parent, or to the one that the configuration names no more. Null: there was none.
  const link::Travel* to_parent() const {
    return parent_ ? &parent_->conversation.sender().travel() : former_parent_.get();
  }

  // A message or an acknowledgement that a child's connection brought; handled when the broker has returned,
  // because what it leads to goes through the broker again.
  struct FromChild {
    enum class What : uint8_t { kConnected, kDisconnected, kMessage, kAcknowledged } what;
    ConnectionId connection = 0;
    std::string name;
    std::string topic;
    std::string payload;
    uint16_t packet_id = 0;
    mqtt::Reason reason = mqtt::Reason::kSuccess;
    bool claiming = false;  // kConnected: by a claim.
  };

  Send& send_to(ConnectionId connection);
  void end_clients();
  void publish_due();
  bool oldest_of(const link::Travel& travel, const Now& now, broker::QueueInfo* info);
  QueueStatus link_queue(const link::Conversation& conversation) const;
  QueueStatus broker_queue(QueueStatus::Kind kind, broker::QueueInfo info) const;
  QueueStatus parent_queue(const Now& now, bool* pending);
  QueueStatus former_parent_queue(const Now& now, bool* pending);
  QueueStatus child_queue(const std::string& name, const Peer& peer, const Now& now, bool* pending);
  broker::Verdict counted(broker::Verdict verdict);
  void take(Input& input);
  void take_from_children();
  void cut_off_removed();
  void take_from_child(FromChild& event);
  void message_from_child(Peer& peer, FromChild& event);
  Peer& peer(const std::string& name);
  void settle();
  void pump();
  void observe();
  void observe_mode();
  void leave_parent();
  void put_last_up(int64_t wall_us);
  void make_jobs();

  const Instant started_;
  Now now_;
  Effects* out_ = nullptr;
  // Where the bytes for a connection are gathered in a step. Kept while the connection stands, so that to send
  // costs no memory.
  struct SendPlace {
    uint64_t step = 0;
    size_t index = 0;  // In out_->sends, in that step.
  };
  std::unordered_map<ConnectionId, SendPlace> send_places_;
  uint64_t step_ = 1;
  Routes routes_;
  uint64_t routing_epoch_ = 1;
  std::unordered_map<ConnectionId, bool> claiming_;  // Nodes between authenticate() and node_connected().

  link::Registry registry_;
  Logins logins_;
  bool identities_due_ = false;
  LoginFailures login_failures_;
  std::unique_ptr<broker::Broker> broker_;
  std::unique_ptr<Parent> parent_;  // Null without an upstream.
  // Without one: who is owed what was meant for the upstream that was there before. Null if nothing is left.
  std::unique_ptr<link::Travel> former_parent_;
  std::map<std::string, Peer> children_;
  std::vector<std::string> removed_;  // By the operator; the next step cuts them off.
  struct End {
    std::string client_id;
    bool forget = false;
  };
  std::vector<End> ends_;  // Clients; likewise.
  uint64_t ended_commit_ = 0;
  std::vector<broker::Publication> publications_;  // The operator's; likewise.
  uint64_t publication_last_ = 0;                  // The number of the last one that was asked for.
  std::vector<OperatorPublished> published_;       // Not taken yet.
  std::unordered_map<ConnectionId, std::string> child_of_connection_;
  std::deque<FromChild> from_children_;
  std::string assembling_;       // The peer whose large record is being put together.
  bool assembly_freed_ = false;  // Others may want to.
  uint64_t durable_ = 0;
  std::vector<LogLine> early_log_;  // Of the start; leaves with the first step.
  bool stopping_ = false;
  bool goodbye_due_ = false;

  // The arrival of the oldest record that the parent is owed in a lane, and the low-water position it was looked up for, when.
  struct Oldest {
    store::Position low;
    int64_t wall_us = 0;
    Instant seen;
  };
  std::map<store::ReaderId, Oldest> oldest_;

  int64_t link_last_up_wall_us_ = 0;
  // For "days of space left": what the log grew by.
  // How much was written by when, at most a day back: samples an hour apart, the first one from the start.
  struct Growth {
    Instant at;
    uint64_t bytes = 0;
  };
  std::deque<Growth> growth_;
  Instant seen_at_;  // When the children's rows were last written.
  store::Mode mode_;
};

}  // namespace hf::node
