// A node: the whole of Holdfast but its sockets, files and clocks. It composes store, broker and link; the
// event loop of io/ and the world of sim/ run the very same lines.
//
//     what happened  ->  step(inputs, now, effects)  ->  what to do
//
// A step handles all that arrived. Its effects are carried out in order after it returns; disk jobs run
// elsewhere and come back as inputs. Nothing else enters or leaves.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/connection.h"
#include "base/prng.h"
#include "base/result.h"
#include "base/time.h"
#include "broker/broker.h"
#include "node/config.h"
#include "node/inspect.h"
#include "node/sends.h"
#include "node/status.h"
#include "store/disk.h"
#include "store/job.h"
#include "store/store.h"

namespace hf::node {

// --- Inputs.

struct Connected {
  ConnectionId connection = 0;
  bool loopback = true;          // The peer is on this machine (or on a unix socket).
  std::string peer;              // "192.0.2.1:54321", the client's own address also behind a proxy; "unix".
  std::string certificate_user;  // Whom the client's certificate names; empty without one.
};
struct Received {
  ConnectionId connection = 0;
  Bytes bytes;  // Borrowed until the effects of the step have been carried out.
};
struct Closed {  // By the peer or the network; never after the node's own Close.
  ConnectionId connection = 0;
};
struct Unsent {  // How many bytes the connection could not send yet; told when that falls to a new level.
  ConnectionId connection = 0;
  uint64_t bytes = 0;
};
struct Dialed {  // The answer to Dial: a connection stands, or 0.
  ConnectionId connection = 0;
  std::string error;  // Why not: "connection refused".
};
struct JobDone {
  std::unique_ptr<store::Job> job;
};
struct LoginDone {
  std::unique_ptr<LoginWork> work;
};
// A link, an address or a route came (or an address went): who could not be reached may be reached now.
struct NetworkChanged {};
using Input = std::variant<Connected, Received, Closed, Unsent, Dialed, JobDone, LoginDone, NetworkChanged>;

// --- Effects.

struct Close {  // After what was sent before has left, or 5 s.
  ConnectionId connection = 0;
};
struct Dial {  // Answered by Dialed; at most one is out.
  std::string host;
  uint16_t port = 0;
};
struct LogLine {
  const char* event = "";  // "HF-LINK-003": stable, for searching.
  std::string text;
};

struct Effects {
  Sends sends;                // One for each connection at most.
  std::vector<Close> closes;  // After the sends.
  std::optional<Dial> dial;
  std::vector<std::unique_ptr<store::Job>> jobs;
  std::vector<std::unique_ptr<LoginWork>>
      logins;  // To be run elsewhere, one after another; each comes back as LoginDone.
  std::vector<LogLine> log;
  bool pause_reading = false;  // The disk is far behind: read no socket until a step says otherwise.

  void clear();
};

class Node {
 public:
  // Opens the store and starts. Uses `disk` only until it returns. An error is for configuration or key
  // trouble: the caller shows it and, for kWrongKey and kForeign, runs as `locked` (status and admin socket
  // only).
  static Result<std::unique_ptr<Node>> open(store::Disk& disk, Entropy& entropy, const crypto::Key& kek,
                                            const Config& config, Bytes fence, const Now& now);
  ~Node();

  void step(std::span<Input> inputs, const Now& now, Effects& out);
  // When to call step() again if nothing arrives before; the only timer.
  std::optional<Instant> next_deadline() const;

  // --- Commands of the operator (admin socket). Those that write are safe to answer once durable_commit()
  // reaches the commit they return.

  Status status(const Now& now) const;
  uint64_t durable_commit() const;
  // Registers a child and returns its one-time claim in *claim_text (the content of a claim file). Topics that
  // match `down_filters` go down to it; none given: everything under its prefix, or without one under its name,
  // "NAME/#". Its topics appear here behind `prefix`, which may be empty (link/prefix.h). kExists, kInvalid (name, filter,
  // prefix).
  Result<uint64_t> node_add(Bytes name, const std::vector<std::string>& down_filters, Bytes prefix,
                            std::string* claim_text);
  // A new claim for a child that lost its secret (its disk was replaced); the old secret goes on until the claim is used.
  // kNotFound.
  Result<uint64_t> node_renew(Bytes name, std::string* claim_text);
  // Registered no more: its connection ends, neither claim nor secret lets it in again, and what it was owed is given up.
  // kNotFound.
  Result<uint64_t> node_remove(Bytes name);
  // Takes a claim file's content at a site, in the place of what was there: names the parent and the secret to exchange.
  // kInvalid says what is wrong with it, or that it is another node's.
  Result<uint64_t> claim(Bytes claim_text);
  // The lists were changed: with the next step they hold for everybody, also for those who are connected.
  void set_identities(identity::Users users, identity::Permissions permissions);
  const Identities& identities() const;
  // Whether what comes from there (identity/network.h) is to be bounded in its rate: Logins::wary_of().
  bool wary_of(const std::string& network, Instant now) const;
  // Dials at once, whatever the backoff says. kNotFound: no parent is configured.
  Result<> connect_now(const Now& now);
  // Gives up what is owed to a parent that the configuration names no more. The commit that makes it so; kNotFound if nothing
  // is owed, kExists while there is an upstream.
  Result<uint64_t> give_up_parent();
  // Records of a stream by name, oldest first, at most `count`, after `after`; a disk job may be needed: then
  // *pending is true and the caller asks again after the next step.
  std::vector<TailRecord> tail(Bytes stream, std::optional<store::Position> after, size_t count,
                               bool* pending);
  std::vector<StreamStatus> streams() const;
  std::vector<NodeStatus> nodes() const;

  // --- What an operator looks at, page by page (node/inspect.h). `after` is Page::next of the page before, or empty; *pending:
  // a disk job is needed first, and the caller asks again after the next step.
  Page<ClientStatus> clients(Bytes after, size_t count, const Now& now) const;
  std::optional<ClientReport> client(Bytes client_id, const Now& now) const;
  // Disconnects the client, with the next step. `forget`: its session ends too, and what it was owed is given up; that is
  // durable once ended_commit(), as it is after that step, is. kNotFound.
  Result<> client_end(Bytes client_id, bool forget, const Now& now);
  uint64_t ended_commit() const;
  // Publishes with the next step, as Broker::publish() does. Returns a number; after that step take_published() says what became of
  // it, once.
  uint64_t publish(broker::Publication message);
  struct OperatorPublished {
    uint64_t number = 0;
    Result<broker::Published> outcome;
  };
  std::vector<OperatorPublished> take_published();
  // `client_id` empty: of all; `topic` empty: whatever their filters are, else those that match it.
  Page<broker::SubscriptionInfo> subscriptions(Bytes client_id, Bytes topic, Bytes after, size_t count) const;
  Page<broker::RetainedInfo> retained(Bytes filter, Bytes after, size_t count, const Now& now) const;
  // Those that come back are gone once *commit is durable (0: nothing was there).
  Page<broker::RetainedInfo> remove_retained(Bytes filter, Bytes after, size_t count, const Now& now,
                                             uint64_t* commit);
  // Whoever is owed something: the parent, nodes, share groups, sessions.
  Page<QueueStatus> queues(Bytes after, size_t count, const Now& now, bool* pending);
  // Those of this name, also if nothing is owed to them: "parent", a node, a share group (with or without "$share/"), a client.
  std::vector<QueueStatus> queue(Bytes name, const Now& now, bool* pending);
  // Records of the streams of this name, those of each origin in its order, as far as they are durable when the first page is
  // asked for. kNotFound, kInvalid (the place to go on).
  Result<Page<ExportRecord>> export_records(const ExportQuery& query, bool* pending);

  // Says goodbye to clients and makes everything durable; step() until stopped().
  void shut_down(const Now& now);
  bool stopped() const;

  const store::Store& store() const;

 private:
  class Impl;
  explicit Node(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hf::node
