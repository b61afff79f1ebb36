// The admin protocol: how the subcommands, and whoever may open the admin socket, talk to the node that runs.
// One JSON object a line in, one a line out; docs/formats/admin.md. A list that may be long is answered page by page, and each
// page is bounded: the core serves its clients in between.
//
// A request that writes is answered when what it wrote is durable.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "holdfast/config_values.h"
#include "holdfast/status_text.h"
#include "io/event_loop.h"
#include "io/work_thread.h"
#include "node/node.h"

namespace hf::holdfast {

struct AdminFiles;
class AdminWork;

// A request, as both sides see it.
struct AdminRequest {
  std::string command;                   // docs/formats/admin.md has them all.
  bool text = false;                     // Also wants the answer as text for people.
  std::string stream;                    // tail, export
  std::optional<store::Position> after;  // tail; nothing: the newest
  uint64_t count = 0;                    // tail, and lists; 0: 10 records, 100 rows
  std::string name;  // node-add, node-renew, node-rm, client, client-kick, queue, user-*, token-*
  std::vector<std::string> down;               // node-add
  std::string prefix;                          // node-add; empty: none
  std::string claim;                           // claim: the content of a claim file
  std::string cursor;                          // lists: that of the page before; empty: begins
  std::string client;                          // subscriptions; empty: all. acl-test
  std::string topic;                           // subscriptions; empty: whatever their filters are. acl-test
  std::string filter;                          // retained, retained-rm, export; empty: any topic
  std::string since;                           // export, RFC 3339; empty: from the first
  std::string until;                           // export; empty: to the last
  std::string key;                             // config; empty: all
  bool forget = false;                         // client-kick
  std::string user;                            // acl-test; empty: a client without a name
  std::string action;                          // acl-test; empty: all
  std::string password;                        // user-add, user-passwd; whoever holds a request wipes it
  std::optional<bool> scram;                   // Likewise; nothing: as it was, of a new user no
  uint64_t iterations = 0;                     // Likewise; 0: the default
  std::string role;                            // token-add
  std::optional<broker::Publication> message;  // publish
};
std::string encode_request(const AdminRequest& request);

// The answer, as the client sees it.
struct AdminAnswer {
  bool ok = false;
  std::string code;           // Of an error: "not-found"; see code_name().
  std::string error;          // A sentence.
  std::string state;          // status
  std::string sentence;       // status
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
  // `node` is null while the store is locked; `view` says why. Both outlive this object. `config`: the values in effect.
  Admin(node::Node* node, const StatusView& view, std::vector<ConfigValue> config = {});
  ~Admin() override;

  // Where users, tokens, permissions and the configuration are; before the first request about them. Both outlive this object.
  // Without a wakeup there is no thread: what they take is done in request().
  void serve_files(const AdminFiles& files, io::Wakeup* wakeup);

  void request(ConnectionId connection, Bytes line, const Now& now,
               std::vector<io::AdminReply>* replies) override;
  bool work_done() const override { return thread_ != nullptr && thread_->has_done(); }
  bool after_step(const Now& now, bool disk_answered, std::vector<io::AdminReply>* replies) override;
  void closed(ConnectionId connection) override;

 private:
  // An answer that waits.
  struct Waiting {
    ConnectionId connection = 0;
    AdminRequest request;
    enum class For : uint8_t {
      kCommit,   // To be durable.
      kStep,     // What a client's end wrote is known after the next step; then for that commit.
      kPublish,  // What became of a message likewise: `number` of Node::publish().
      kDisk,     // A disk job; then the node is asked again.
      kWork,     // A piece of work: its `number`.
    } what = For::kCommit;
    uint64_t number = 0;
    uint64_t commit = 0;
    std::string line;  // The answer once `commit` is durable.
    Instant deadline;
  };

  std::string answer(ConnectionId connection, AdminRequest& request, const Now& now);
  std::string status(const AdminRequest& request, const Now& now) const;
  std::string config(const AdminRequest& request) const;
  // What is in memory.
  std::string look(const AdminRequest& request, const Now& now) const;
  // What may be on the disk. Empty: a job is needed first.
  std::string read(const AdminRequest& request, const Now& now) const;
  std::string tail(const AdminRequest& request) const;
  std::string write(ConnectionId connection, AdminRequest& request, const Now& now);
  std::string work(ConnectionId connection, const AdminRequest& request, const Now& now);
  // What ended elsewhere becomes the line of who waits for it.
  void take_work();
  void take_published();

  node::Node* const node_;
  const StatusView& view_;
  const std::vector<ConfigValue> config_;
  std::vector<Waiting> waiting_;
  const AdminFiles* files_ = nullptr;
  uint64_t work_last_ = 0;  // Its number.
  size_t work_count_ = 0;   // With the thread, also where nobody waits for it any more.
  std::unique_ptr<io::WorkThread<AdminWork>> thread_;
};

}  // namespace hf::holdfast
