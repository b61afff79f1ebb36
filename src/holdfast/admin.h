// The admin protocol: how the subcommands, and whoever may open the admin socket, talk to the node that runs.
// One JSON object a line in, one a line out; docs/formats/admin.md. JSON is known to admin.cc alone.
//
// A request that writes is answered when what it wrote is durable.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "holdfast/status_text.h"
#include "io/event_loop.h"
#include "node/node.h"

namespace hf::holdfast {

// A request, as both sides see it.
struct AdminRequest {
  std::string
      command;  // "status", "streams", "tail", "nodes", "node-add|renew|rm", "claim", "connect", "version"
  bool text = false;                     // Also wants the answer as text for people.
  std::string stream;                    // tail
  std::optional<store::Position> after;  // tail; nothing: the newest
  uint64_t count = 10;                   // tail
  std::string name;                      // node-add, node-renew, node-rm
  std::vector<std::string> down;         // node-add
  std::string claim;                     // claim: the content of a claim file
};
std::string encode_request(const AdminRequest& request);

// The answer, as the client sees it.
struct AdminAnswer {
  bool ok = false;
  std::string code;           // Of an error: "not-found"; see code_name().
  std::string error;          // A sentence.
  std::string state;          // status
  bool needs_a_hand = false;  // status
  std::string claim;          // node-add: content of the claim file.
  std::optional<store::Position>
      after;         // tail; nothing: the newest: position of the last record, to ask on from.
  std::string text;  // If asked for.
  std::string json;  // The whole answer without `text`, indented.
};
// Nothing if the line is not an answer.
std::optional<AdminAnswer> decode_answer(Bytes line);

class Admin final : public io::AdminHandler {
 public:
  // `node` is null while the store is locked; `view` says why. Both outlive this object.
  Admin(node::Node* node, const StatusView& view) : node_(node), view_(view) {}

  void request(ConnectionId connection, Bytes line, const Now& now,
               std::vector<io::AdminReply>* replies) override;
  bool after_step(const Now& now, bool disk_answered, std::vector<io::AdminReply>* replies) override;
  void closed(ConnectionId connection) override;

 private:
  // An answer that waits for its commit to be durable, or for a disk job.
  struct Waiting {
    ConnectionId connection = 0;
    AdminRequest request;
    uint64_t commit = 0;
    std::string line;   // The answer once `commit` is durable.
    bool tail = false;  // Ask the store again.
    Instant deadline;
  };

  std::string answer(ConnectionId connection, const AdminRequest& request, const Now& now);
  std::string status(const AdminRequest& request, const Now& now) const;
  // Empty: a disk job is needed first.
  std::string tail(const AdminRequest& request) const;

  node::Node* const node_;
  const StatusView& view_;
  std::vector<Waiting> waiting_;
};

}  // namespace hf::holdfast
