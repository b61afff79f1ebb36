// Who comes in: what a CONNECT says of its sender, judged by the users, by the door it came through and by what went
// before; and what each may do.
//
// A password costs tens of milliseconds on purpose, so it is checked elsewhere (LoginWork). One that was right is known
// again by its keyed hash, which stays in memory alone: ten thousand devices that come back at once do not wait for each
// other. Only what is not known again counts as an attempt: those that fail are answered slower and slower, by address and
// by name, never for ever; and never on this machine.
//
// What strangers guess must not keep the owner of a name out, also where the node has not seen him since its start. So while a
// name waits, one try a second is looked at nevertheless, of an address that has not had such a try within the hour: strangers
// with as many addresses as they like are done with after as many seconds, and then it is the owner's turn, whatever they do.
// So of one name no more is guessed than a try a second, and in the long run than one an hour of each address.
//
// An address of IPv6 counts as its network: identity/network.h.
//
// Connections that have not said who they are may be many, but from elsewhere not many of one address while there are many of
// them; and then, or when it has failed of late, an address gets so many a second.
//
// Invariants: a name that is in no list gets the answer that a wrong password gets; no more than kWorkMax passwords wait.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/connection.h"
#include "base/prng.h"
#include "base/time.h"
#include "broker/host.h"
#include "identity/once.h"
#include "identity/permissions.h"
#include "identity/rate.h"
#include "identity/scram.h"
#include "identity/throttle.h"
#include "identity/users.h"
#include "node/status.h"

namespace hf::node {

// A password to be checked: run() on any thread, then back to the node.
class LoginWork {
 public:
  // `kept`: what the list said of the user when this began; null if nothing. `network`: whose attempt it is.
  LoginWork(ConnectionId connection, std::string user, std::string password, std::string network,
            const identity::User* kept, identity::PasswordCheck check)
      : connection_(connection),
        user_(std::move(user)),
        password_(std::move(password)),
        network_(std::move(network)),
        check_(std::move(check)) {
    if (kept != nullptr) kept_ = *kept;
  }
  ~LoginWork();
  LoginWork(const LoginWork&) = delete;
  LoginWork& operator=(const LoginWork&) = delete;

  void run() { outcome_ = check_.run(password_); }

 private:
  friend class Logins;
  ConnectionId connection_;
  std::string user_;
  std::string password_;
  std::string network_;
  std::optional<identity::User> kept_;
  identity::PasswordCheck check_;
  Result<> outcome_ = fail(Code::kDenied, "not checked");
};

// What is known of a connection before it says a word.
struct Caller {
  bool loopback = false;
  std::string address;           // Without its port.
  std::string certificate_user;  // Who its certificate says it is; empty: it showed none.
  std::string network = {};      // What it is counted by: identity/network.h. Set by called().
};

struct Identities {
  identity::Users users;
  identity::Permissions permissions;
  bool anonymous = true;           // Clients on this machine need no name.
  bool certificate_users = false;  // Some listener takes names from certificates.
};

class Logins {
 public:
  // `salt_secret`: of the node's whole life, so that the salts of names that nobody has stay as they are.
  Logins(Entropy& entropy, Identities identities, std::string salt_secret);

  void set(identity::Users users, identity::Permissions permissions);

  const Identities& identities() const { return identities_; }

  // A new connection. False: it is not to be let in, because too many from its address came now or have not said who they are.
  bool called(ConnectionId connection, Caller caller, Instant now);
  // Whether what comes from there is bounded in its rate: it has failed to log in of late, or too many have not said who they
  // are. The door asks too, before it shakes hands.
  bool wary_of(const std::string& network, Instant now) const;
  // It was let in, as a node.
  void admitted(ConnectionId connection);
  void gone(ConnectionId connection);

  // Of broker::Host. `begin` for clients that are no nodes; *work is what its verdict, if pending, waits for.
  broker::Verdict begin(ConnectionId connection, const mqtt::Connect& connect, Instant now,
                        std::unique_ptr<LoginWork>* work);
  broker::Verdict begin_again(ConnectionId connection, Bytes data);
  broker::Verdict more(ConnectionId connection, Bytes data, Instant now);
  bool still_admitted(ConnectionId connection, const broker::Principal& principal) const;
  // One for all of a user's clients, where the permissions do not look at client identifiers.
  std::shared_ptr<const broker::Rights> rights(const std::string& user, bool by_certificate,
                                               const std::string& client_id) const;

  // For people: what rights() is made of, and who called; null: nobody knows such a connection.
  identity::Grant grant(const std::string& user, bool by_certificate, const std::string& client_id) const;
  const Caller* caller(ConnectionId connection) const;

  // Work that has been done: the verdict for its connection.
  broker::Verdict finish(LoginWork& work, ConnectionId* connection, Instant now);

  uint64_t failures() const { return failures_; }
  const TurnedAway& turned_away() const { return turned_away_; }

 private:
  static constexpr size_t kWorkMax = 256;
  static constexpr size_t kWorkOfAddressMax = 64;  // Of one address from elsewhere.
  static constexpr size_t kUnknownMax = 256;       // Then no address may have more than the next.
  static constexpr size_t kUnknownOfAddressMax = 16;
  static constexpr uint32_t kCallsPerSecond = 50;  // Of an address that we are wary of.
  static constexpr size_t kRightsMax = 1024;       // Kept to be shared; then from the beginning.

  struct Call {
    Caller caller;
    std::unique_ptr<identity::ScramLogin> exchange;
    std::optional<identity::User> exchange_user;  // As it stood in the list when the exchange began.
    bool early = false;                           // What it tries now it tries although its name waits.
    bool by_certificate = false;
    bool unknown = false;                // It is from elsewhere and was not let in yet: counted below.
    std::optional<identity::User> user;  // As it stood in the list when it came in.
  };
  struct Known {
    identity::User user;  // For whom the mac is good.
    std::string mac;      // HMAC of the password under secret_.
  };
  void settle(Call& call);
  broker::Verdict admit(Call& call, const std::string& name);
  bool known(const std::string& user, bool by_certificate) const;
  // Whether it has failed so often from its address that nothing is tried now.
  bool address_waits(const Call& call, Instant now) const;
  // Whether it may try by this name: it does not wait, or this is its one early try.
  bool name_lets(Call& call, Bytes name, Instant now);
  void failed(Call& call, const std::string& user, Instant now);

  Entropy& entropy_;
  Identities identities_;
  std::string secret_;             // Of this run: for passwords that are known again.
  const std::string salt_secret_;  // For SCRAM.
  std::unordered_map<ConnectionId, Call> callers_;
  std::map<std::string, Known, std::less<>> known_;
  // By user, and whether that is somebody who is known.
  mutable std::map<std::pair<std::string, bool>, std::shared_ptr<const broker::Rights>> rights_;
  identity::Throttle addresses_;
  identity::Throttle names_;
  identity::Once early_;  // By address: those who had their try at a name that waits.
  size_t work_count_ = 0;
  std::map<std::string, size_t, std::less<>> work_by_address_;
  size_t unknown_count_ = 0;                                       // Of callers from elsewhere.
  std::map<std::string, size_t, std::less<>> unknown_by_address_;  // The same.
  uint64_t failures_ = 0;
  identity::Rate calls_{kCallsPerSecond};  // By address.
  TurnedAway turned_away_;
};

}  // namespace hf::node
