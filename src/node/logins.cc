#include "node/logins.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "crypto/crypto.h"
#include "identity/network.h"

namespace hf::node {

namespace {

using broker::Principal;
using broker::Verdict;
using mqtt::Reason;

constexpr Bytes kMethod = "SCRAM-SHA-256";
constexpr size_t kNonceBytes = 18;
constexpr Duration kDelayOfAddress = seconds(60);
// Short: somebody who only knows the name must not keep its owner out.
constexpr Duration kDelayOfUser = seconds(5);
constexpr Duration kEarlyOnceIn = seconds(3600);

// `name`: who it says it is, where that is not what CONNECT says.
Verdict refused(Reason reason, Bytes name = {}) {
  return {.reason = reason, .principal = {Principal::Kind::kClient, std::string(name)}};
}

class GrantRights final : public broker::Rights {
 public:
  explicit GrantRights(identity::Grant grant) : grant_(std::move(grant)) {}
  bool publish(Bytes topic) const override { return grant_.may_publish(topic); }
  bool retain(Bytes topic) const override { return grant_.may_retain(topic); }
  bool subscribe(Bytes filter) const override { return grant_.may_subscribe(filter); }
  bool receive(Bytes topic) const override { return grant_.may_receive(topic); }

 private:
  identity::Grant grant_;
};

}  // namespace

LoginWork::~LoginWork() { crypto::wipe(&password_); }

Logins::Logins(Entropy& entropy, Identities identities, std::string salt_secret)
    : entropy_(entropy),
      identities_(std::move(identities)),
      secret_(crypto::kKeyBytes, '\0'),
      salt_secret_(std::move(salt_secret)),
      addresses_(kDelayOfAddress),
      names_(kDelayOfUser),
      early_(kEarlyOnceIn) {
  entropy_.fill(secret_.data(), secret_.size());
}

void Logins::set(identity::Users users, identity::Permissions permissions) {
  identities_.users = std::move(users);
  identities_.permissions = std::move(permissions);
  rights_.clear();
  std::erase_if(known_, [&](const auto& entry) {
    const identity::User* user = identities_.users.find(entry.first);
    return user == nullptr || *user != entry.second.user;
  });
}

bool Logins::wary_of(const std::string& network, Instant now) const {
  return unknown_count_ >= kUnknownMax || addresses_.remembers(network, now);
}

bool Logins::called(ConnectionId connection, Caller caller, Instant now) {
  caller.network = identity::network_of(caller.address);
  if (!caller.loopback && unknown_count_ >= kUnknownMax) {
    const auto found = unknown_by_address_.find(caller.network);
    if (found != unknown_by_address_.end() && found->second >= kUnknownOfAddressMax) {
      ++turned_away_.unfinished;
      return false;
    }
  }
  if (!caller.loopback && wary_of(caller.network, now) && !calls_.take(caller.network, now)) {
    ++turned_away_.rate;
    return false;
  }
  Call& call = callers_[connection];
  call.caller = std::move(caller);
  call.unknown = !call.caller.loopback;
  if (call.unknown) {
    ++unknown_count_;
    ++unknown_by_address_[call.caller.network];
  }
  return true;
}

void Logins::admitted(ConnectionId connection) {
  if (const auto found = callers_.find(connection); found != callers_.end()) settle(found->second);
}

void Logins::gone(ConnectionId connection) {
  admitted(connection);
  callers_.erase(connection);
}

void Logins::settle(Call& call) {
  if (!std::exchange(call.unknown, false)) return;
  --unknown_count_;
  const auto found = unknown_by_address_.find(call.caller.network);
  if (--found->second == 0) unknown_by_address_.erase(found);
}

Verdict Logins::begin(ConnectionId connection, const mqtt::Connect& connect, Instant now,
                      std::unique_ptr<LoginWork>* work) {
  Call& call = callers_[connection];
  const std::string name(connect.user_name.value_or(Bytes()));
  if (const auto& method = connect.properties.authentication_method) {
    if (*method != kMethod) return refused(Reason::kBadAuthenticationMethod);
    if (address_waits(call, now)) return refused(Reason::kConnectionRateExceeded);
    Verdict verdict = begin_again(connection, connect.properties.authentication_data.value_or(Bytes()));
    const bool guessed = call.exchange != nullptr && !name_lets(call, call.exchange->name(), now);
    return guessed ? refused(Reason::kConnectionRateExceeded, call.exchange->name()) : verdict;
  }
  if (!call.caller.certificate_user.empty()) {
    if (!name.empty() && name != call.caller.certificate_user) return refused(Reason::kBadUserNameOrPassword);
    call.by_certificate = true;
    return admit(call, call.caller.certificate_user);
  }
  // Where nobody is registered a name proves nothing.
  const bool listed = !identities_.users.all().empty();
  if (name.empty() || !listed) {
    if (!call.caller.loopback || !identities_.anonymous) return refused(Reason::kNotAuthorized);
    return Verdict{};
  }
  // Before anything is compared: else each guess would be answered, and for nothing.
  if (address_waits(call, now)) return refused(Reason::kConnectionRateExceeded);
  const std::string password(connect.password.value_or(Bytes()));
  const auto known = known_.find(name);
  if (known != known_.end() &&
      crypto::equal_constant_time(known->second.mac, crypto::hmac_sha256(secret_, password))) {
    return admit(call, name);
  }
  const auto waiting = work_by_address_.find(call.caller.network);
  const size_t of_address = waiting == work_by_address_.end() ? 0 : waiting->second;
  if (work_count_ >= kWorkMax || (!call.caller.loopback && of_address >= kWorkOfAddressMax))
    return refused(Reason::kServerBusy);
  // Behind all of that: who only knows the name must not keep its owner out.
  if (!name_lets(call, name, now)) return refused(Reason::kConnectionRateExceeded);
  ++work_count_;
  ++work_by_address_[call.caller.network];
  *work = std::make_unique<LoginWork>(connection, name, password, call.caller.network,
                                      identities_.users.find(name), identities_.users.check(name));
  return {.pending = true};
}

Verdict Logins::finish(LoginWork& work, ConnectionId* connection, Instant now) {
  --work_count_;
  if (const auto of_address = work_by_address_.find(work.network_); --of_address->second == 0) {
    work_by_address_.erase(of_address);
  }
  *connection = work.connection_;
  const auto found = callers_.find(work.connection_);
  if (found == callers_.end()) return refused(Reason::kUnspecifiedError);  // It did not wait.
  Call& call = found->second;
  if (work.outcome_) {
    const identity::User* user = identities_.users.find(work.user_);
    // Removed meanwhile, or it has another password: this one was right once.
    if (user == nullptr || !work.kept_ || *user != *work.kept_)
      return refused(Reason::kBadUserNameOrPassword);
    known_[work.user_] = {*user, crypto::hmac_sha256(secret_, work.password_)};
    addresses_.succeeded(call.caller.network);
    return admit(call, work.user_);
  }
  if (work.outcome_.error().code != Code::kDenied) return refused(Reason::kServerBusy);  // No memory for it.
  failed(call, work.user_, now);
  return refused(Reason::kBadUserNameOrPassword);
}

Verdict Logins::begin_again(ConnectionId connection, Bytes data) {
  std::string raw(kNonceBytes, '\0');
  entropy_.fill(raw.data(), raw.size());
  Call& call = callers_[connection];
  call.exchange = std::make_unique<identity::ScramLogin>(to_base64(raw));
  auto answer = call.exchange->first(data, identities_.users, salt_secret_);
  const identity::User* user = identities_.users.find(call.exchange->name());
  call.exchange_user.reset();
  if (user != nullptr) call.exchange_user = *user;
  if (answer) {
    return {.reason = Reason::kContinueAuthentication,
            .principal = {Principal::Kind::kClient, call.exchange->name()},
            .data = std::move(*answer)};
  }
  call.exchange.reset();
  return refused(Reason::kNotAuthorized);
}

Verdict Logins::more(ConnectionId connection, Bytes data, Instant now) {
  Call& call = callers_[connection];
  const std::unique_ptr<identity::ScramLogin> exchange = std::move(call.exchange);
  if (exchange == nullptr) return refused(Reason::kProtocolError);
  if (address_waits(call, now) || !name_lets(call, exchange->name(), now))
    return refused(Reason::kConnectionRateExceeded, exchange->name());
  auto answer = exchange->last(data);
  if (!answer) {
    failed(call, exchange->name(), now);
    return refused(Reason::kNotAuthorized, exchange->name());
  }
  // What it proved was right when the exchange began.
  const identity::User* user = identities_.users.find(exchange->name());
  if (user == nullptr || !call.exchange_user || *user != *call.exchange_user)
    return refused(Reason::kNotAuthorized, exchange->name());
  Verdict verdict = admit(call, exchange->name());
  verdict.data = std::move(*answer);
  return verdict;
}

Verdict Logins::admit(Call& call, const std::string& name) {
  const identity::User* user = call.by_certificate ? nullptr : identities_.users.find(name);
  if (!call.by_certificate && user == nullptr) return refused(Reason::kNotAuthorized);
  if (user != nullptr) call.user = *user;
  if (std::exchange(call.early, false)) early_.give_back(call.caller.network);  // It was no guess.
  settle(call);
  return {.principal = {Principal::Kind::kClient, name, call.by_certificate}};
}

bool Logins::still_admitted(ConnectionId connection, const Principal& principal) const {
  const auto found = callers_.find(connection);
  if (found == callers_.end()) return false;
  const Call& call = found->second;
  if (call.by_certificate || principal.kind == Principal::Kind::kNode) return true;
  if (principal.name.empty()) return call.caller.loopback && identities_.anonymous;
  const identity::User* user = identities_.users.find(principal.name);
  return user != nullptr && call.user && *user == *call.user;
}

bool Logins::known(const std::string& user, bool by_certificate) const {
  if (user.empty() || identities_.users.find(user) != nullptr) return true;
  // Not all users are in the list, but one who came by a password was.
  return by_certificate && identities_.certificate_users;
}

identity::Grant Logins::grant(const std::string& user, bool by_certificate,
                              const std::string& client_id) const {
  // One who was removed has none, wherever something of his is still kept.
  return known(user, by_certificate) ? identities_.permissions.grant_for(user, client_id) : identity::Grant();
}

std::shared_ptr<const broker::Rights> Logins::rights(const std::string& user, bool by_certificate,
                                                     const std::string& client_id) const {
  const auto make = [&]() -> std::shared_ptr<const broker::Rights> {
    identity::Grant grant = this->grant(user, by_certificate, client_id);
    if (grant.all()) return nullptr;
    return std::make_shared<GrantRights>(std::move(grant));
  };
  if (identities_.permissions.look_at_clients()) return make();
  const std::pair<std::string, bool> who{user, known(user, by_certificate)};
  const auto found = rights_.find(who);
  if (found != rights_.end()) return found->second;
  if (rights_.size() >= kRightsMax) rights_.clear();
  return rights_[who] = make();
}

const Caller* Logins::caller(ConnectionId connection) const {
  const auto found = callers_.find(connection);
  return found == callers_.end() ? nullptr : &found->second.caller;
}

// --- Those who guess.

bool Logins::address_waits(const Call& call, Instant now) const {
  return !call.caller.loopback && addresses_.waits(call.caller.network, now);
}

bool Logins::name_lets(Call& call, Bytes name, Instant now) {
  if (call.caller.loopback || call.early || !names_.waits(name, now)) return true;
  // The name is asked last, so that who had his try takes nobody else's.
  if (!early_.may(call.caller.network, now) || !names_.early(name, now)) return false;
  early_.take(call.caller.network, now);
  call.early = true;
  return true;
}

void Logins::failed(Call& call, const std::string& user, Instant now) {
  ++failures_;
  call.early = false;
  if (call.caller.loopback) return;
  addresses_.failed(call.caller.network, now);
  names_.failed(user, now);  // Of any name, so that none is told apart by it.
}

}  // namespace hf::node
