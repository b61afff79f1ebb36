// Who is let in, and how those who guess are slowed down.
#include "node/logins.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "crypto/crypto.h"
#include "store/memory_disk.h"

namespace hf::node {
namespace {

using mqtt::Reason;

// A cost that is right for a test: it is the parsing that refuses weak ones, not the checking.
crypto::PasswordHash hash_of(Bytes password) {
  static std::map<std::string, crypto::PasswordHash, std::less<>> made;
  auto found = made.find(password);
  if (found == made.end()) {
    found = made.emplace(password, *crypto::hash_password(password, "0123456789abcdef")).first;
  }
  return found->second;
}

identity::Users users(std::map<std::string, std::string> passwords) {
  std::map<std::string, identity::User, std::less<>> all;
  for (const auto& [name, password] : passwords) {
    all[name] = {hash_of(password), *identity::make_scram_verifier(password, "0123456789abcdef", 4096)};
  }
  return identity::Users(std::move(all));
}

// By RFC 5802, section 3.
std::string proof_of(Bytes password, Bytes auth_message) {
  const std::string salted = crypto::pbkdf2_sha256(password, "0123456789abcdef", 4096);
  const std::string client_key = crypto::hmac_sha256(salted, "Client Key");
  const std::string signature = crypto::hmac_sha256(crypto::sha256(client_key), auth_message);
  std::string proof = client_key;
  for (size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ signature[i]);
  return to_base64(proof);
}

struct Door {
  store::TestEntropy entropy;
  Identities identities;
  std::unique_ptr<Logins> logins;
  Instant now{1'000'000'000};
  ConnectionId connection_last = 0;

  explicit Door(std::map<std::string, std::string> passwords = {{"ann", "secret-1"}, {"bob", "secret-2"}}) {
    identities.users = users(std::move(passwords));
    start();
  }
  void start() { logins = std::make_unique<Logins>(entropy, identities, "a secret of the node"); }
  ConnectionId call(bool loopback = false, std::string address = "192.0.2.1", std::string certificate = "") {
    logins->called(++connection_last, {loopback, std::move(address), std::move(certificate)}, now);
    return connection_last;
  }
  // The verdict on a CONNECT, waited for; *checked says whether the password cost anything.
  broker::Verdict login(ConnectionId connection, Bytes user, Bytes password, bool* checked = nullptr) {
    mqtt::Connect connect;
    connect.user_name = user;
    connect.password = password;
    std::unique_ptr<LoginWork> work;
    broker::Verdict verdict = logins->begin(connection, connect, now, &work);
    EXPECT_EQ(verdict.pending, work != nullptr);
    if (checked != nullptr) *checked = verdict.pending;
    if (!verdict.pending) return verdict;
    work->run();
    ConnectionId whose = 0;
    verdict = logins->finish(*work, &whose, now);
    EXPECT_EQ(whose, connection);
    return verdict;
  }
  // The answer to a SCRAM exchange with this password, or with no more than this for a proof; the connection is gone then.
  Reason prove(ConnectionId connection, const std::string& user, const std::string& secret,
               bool password = false) {
    mqtt::Connect connect;
    const std::string first = "n=" + user + ",r=client";
    const std::string data = "n,," + first;
    connect.properties.authentication_method = "SCRAM-SHA-256";
    connect.properties.authentication_data = data;
    std::unique_ptr<LoginWork> none;
    const broker::Verdict challenge = logins->begin(connection, connect, now, &none);
    if (challenge.reason != Reason::kContinueAuthentication) {
      logins->gone(connection);
      return challenge.reason;
    }
    const std::string bare = "c=biws," + challenge.data.substr(0, challenge.data.find(','));
    const std::string proof = password ? proof_of(secret, first + "," + challenge.data + "," + bare) : secret;
    const Reason reason = logins->more(connection, bare + ",p=" + proof, now).reason;
    logins->gone(connection);
    return reason;
  }
  Reason anonymous(ConnectionId connection) {
    std::unique_ptr<LoginWork> work;
    return logins->begin(connection, mqtt::Connect(), now, &work).reason;
  }
};

TEST(Logins, PasswordIsCheckedOnceAndKnownAgain) {
  Door door;
  bool checked = false;
  const broker::Verdict first = door.login(door.call(), "ann", "secret-1", &checked);
  EXPECT_EQ(first.reason, Reason::kSuccess);
  EXPECT_EQ(first.principal.name, "ann");
  EXPECT_TRUE(checked);
  EXPECT_EQ(door.login(door.call(), "ann", "secret-1", &checked).reason, Reason::kSuccess);
  EXPECT_FALSE(checked);
  EXPECT_EQ(door.login(door.call(), "bob", "secret-1", &checked).reason, Reason::kBadUserNameOrPassword);
  EXPECT_TRUE(checked);
}

TEST(Logins, UnknownNameAndMissingPasswordGetTheSameAnswer) {
  Door door;
  bool checked = false;
  EXPECT_EQ(door.login(door.call(), "eve", "x", &checked).reason, Reason::kBadUserNameOrPassword);
  EXPECT_TRUE(checked);
  EXPECT_EQ(door.login(door.call(), "ann", "").reason, Reason::kBadUserNameOrPassword);
}

TEST(Logins, OnlyThisMachineNeedsNoName) {
  Door door;
  EXPECT_EQ(door.anonymous(door.call(true)), Reason::kSuccess);
  EXPECT_EQ(door.anonymous(door.call(false)), Reason::kNotAuthorized);
  EXPECT_EQ(door.login(door.call(true), "ann", "wrong").reason, Reason::kBadUserNameOrPassword);
  door.identities.anonymous = false;
  door.start();
  EXPECT_EQ(door.anonymous(door.call(true)), Reason::kNotAuthorized);
}

TEST(Logins, WithoutAListNamesProveNothing) {
  Door door(std::map<std::string, std::string>{});
  const broker::Verdict here = door.login(door.call(true), "ann", "x");
  EXPECT_EQ(here.reason, Reason::kSuccess);
  EXPECT_EQ(here.principal.name, "");
  EXPECT_EQ(door.login(door.call(false), "ann", "x").reason, Reason::kNotAuthorized);
}

TEST(Logins, CertificateIsAName) {
  Door door;
  const broker::Verdict verdict = door.login(door.call(false, "192.0.2.1", "press-7"), "", "");
  EXPECT_EQ(verdict.reason, Reason::kSuccess);
  EXPECT_EQ(verdict.principal.name, "press-7");
  EXPECT_EQ(door.login(door.call(false, "192.0.2.1", "press-7"), "ann", "secret-1").reason,
            Reason::kBadUserNameOrPassword);
}

TEST(Logins, GuessingBecomesSlowButNeverForEver) {
  Door door;
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(door.login(door.call(), "ann", "guess").reason, Reason::kBadUserNameOrPassword) << i;
  }
  EXPECT_EQ(door.login(door.call(), "ann", "guess").reason, Reason::kConnectionRateExceeded);
  EXPECT_EQ(door.login(door.call(), "bob", "secret-2").reason, Reason::kConnectionRateExceeded);
  door.now = door.now + seconds(1);
  EXPECT_EQ(door.login(door.call(), "ann", "guess").reason, Reason::kBadUserNameOrPassword);
  door.now = door.now + seconds(1);  // Two now.
  EXPECT_EQ(door.login(door.call(), "ann", "guess").reason, Reason::kConnectionRateExceeded);
  for (int i = 0; i < 20; ++i) {
    door.now = door.now + seconds(60);
    EXPECT_EQ(door.login(door.call(), "eve", "guess").reason, Reason::kBadUserNameOrPassword);
  }
  door.now = door.now + seconds(60);
  EXPECT_EQ(door.login(door.call(), "ann", "secret-1").reason, Reason::kSuccess);
  EXPECT_GT(door.logins->failures(), 20u);
}

// Strangers with 500 addresses, always before the owner and each time with one that was not answered yet, while this run of the
// node has not seen him. Each address costs him a second at most.
TEST(Logins, OwnerGetsInWhateverStrangersTry) {
  Door door;
  constexpr int kStrangers = 500;
  int answered = 0;
  int waited_s = 0;
  for (; waited_s < 2 * kStrangers; ++waited_s, door.now = door.now + seconds(1)) {
    for (int i = 0; i < 20; ++i) {
      const int stranger = (answered + i) % kStrangers;
      const std::string address =
          "198.51." + std::to_string(100 + stranger / 250) + "." + std::to_string(1 + stranger % 250);
      if (door.prove(door.call(false, address), "bob", "AAAA") == Reason::kNotAuthorized) ++answered;
    }
    const Reason reason = door.login(door.call(false, "203.0.113.200"), "bob", "secret-2").reason;
    if (reason == Reason::kSuccess) break;
    EXPECT_EQ(reason, Reason::kConnectionRateExceeded);
  }
  EXPECT_LE(waited_s, kStrangers);
  // Four before the name waits, and one a second.
  EXPECT_LE(answered, 4 + 1 + waited_s);
}

TEST(Logins, OwnerWithAProofGetsInAsOneWithAPassword) {
  Door door;
  for (int i = 0; i < 40; ++i) {
    door.prove(door.call(false, "198.51.100." + std::to_string(i)), "bob", "AAAA");
  }
  door.now = door.now + seconds(1);
  EXPECT_EQ(door.prove(door.call(false, "203.0.113.200"), "bob", "secret-2", true), Reason::kSuccess);
  // It was no guess, so it may come again.
  for (int i = 0; i < 40; ++i) {
    door.prove(door.call(false, "198.51.101." + std::to_string(i)), "bob", "AAAA");
  }
  door.now = door.now + seconds(1);
  EXPECT_EQ(door.prove(door.call(false, "203.0.113.200"), "bob", "secret-2", true), Reason::kSuccess);
}

// From many addresses: one try a second of a name, and one an hour of an address.
TEST(Logins, GuessingFromManyAddressesIsBoundedForAName) {
  Door door;
  constexpr int kStrangers = 50;
  constexpr int kSeconds = 600;
  int guesses = 0;
  for (int second = 0; second < kSeconds; ++second, door.now = door.now + seconds(1)) {
    for (int i = 0; i < kStrangers; ++i) {
      const std::string address = "198.51.100." + std::to_string(i + 1);
      const Reason reason = door.prove(door.call(false, address), second % 2 == 0 ? "bob" : "nobody", "AAAA");
      if (reason == Reason::kNotAuthorized) ++guesses;
    }
  }
  // Of each name three that are free and one in five seconds; of each address one.
  EXPECT_LE(guesses, 2 * (4 + kSeconds / 5) + kStrangers);
  EXPECT_GT(guesses, kStrangers);
}

TEST(Logins, OwnerWhoWasHereBeforeIsNotKeptOutByGuesses) {
  Door door;
  EXPECT_EQ(door.login(door.call(false, "192.0.2.9"), "ann", "secret-1").reason, Reason::kSuccess);
  for (int i = 0; i < 10; ++i) door.login(door.call(false, "198.51.100.1"), "ann", "guess");
  EXPECT_EQ(door.login(door.call(false, "192.0.2.9"), "ann", "secret-1").reason, Reason::kSuccess);
}

TEST(Logins, ThisMachineIsNeverKeptWaiting) {
  Door door;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(door.login(door.call(true), "ann", "guess").reason, Reason::kBadUserNameOrPassword);
  }
  EXPECT_EQ(door.login(door.call(true), "ann", "secret-1").reason, Reason::kSuccess);
}

TEST(Logins, RightGuessOfAnAddressThatWaitsIsNotAnsweredEither) {
  Door door;
  EXPECT_EQ(door.login(door.call(false, "192.0.2.9"), "ann", "secret-1").reason, Reason::kSuccess);
  for (int i = 0; i < 5; ++i) door.login(door.call(), "ann", "guess");
  EXPECT_EQ(door.login(door.call(), "ann", "secret-1").reason, Reason::kConnectionRateExceeded);
}

TEST(Logins, NamesThatNobodyHasAreSlowedDownLikeOthers) {
  Door door;
  for (int i = 0; i < 4; ++i) door.login(door.call(false, "192.0.2.1"), i % 2 == 0 ? "ann" : "eve", "guess");
  for (int i = 0; i < 4; ++i) door.login(door.call(false, "192.0.2.2"), i % 2 == 0 ? "ann" : "eve", "guess");
  const auto from = [&](const char* address, Bytes name) {
    return door.login(door.call(false, address), name, "x").reason;
  };
  for (const char* name : {"ann", "eve"}) {
    const std::string first = name == Bytes("ann") ? "192.0.2.3" : "192.0.2.4";
    EXPECT_EQ(from(first.c_str(), name),
              Reason::kBadUserNameOrPassword);  // The one early try of this second.
    EXPECT_EQ(from("192.0.2.5", name), Reason::kConnectionRateExceeded);
  }
}

TEST(Logins, RefusedProofSaysWhoseItWas) {
  Door door;
  mqtt::Connect scram;
  scram.properties.authentication_method = "SCRAM-SHA-256";
  scram.properties.authentication_data = "n,,n=ann,r=client";
  std::unique_ptr<LoginWork> none;
  const ConnectionId guesses = door.call();
  EXPECT_EQ(door.logins->begin(guesses, scram, door.now, &none).principal.name, "ann");
  const broker::Verdict verdict = door.logins->more(guesses, "c=biws,r=x,p=AAAA", door.now);
  EXPECT_EQ(verdict.reason, Reason::kNotAuthorized);
  EXPECT_EQ(verdict.principal.name, "ann");
}

TEST(Logins, PasswordThatWasChangedMeanwhileIsNotRightAnyMore) {
  Door door;
  const ConnectionId slow = door.call(), exchanging = door.call();
  mqtt::Connect connect;
  connect.user_name = "ann";
  connect.password = "secret-1";
  std::unique_ptr<LoginWork> work;
  EXPECT_TRUE(door.logins->begin(slow, connect, door.now, &work).pending);
  mqtt::Connect scram;
  scram.properties.authentication_method = "SCRAM-SHA-256";
  scram.properties.authentication_data = "n,,n=ann,r=client";
  std::unique_ptr<LoginWork> none;
  const broker::Verdict challenge = door.logins->begin(exchanging, scram, door.now, &none);
  ASSERT_EQ(challenge.reason, Reason::kContinueAuthentication);
  door.logins->set(users({{"ann", "another-1"}}), identity::Permissions());
  work->run();
  ConnectionId whose = 0;
  EXPECT_EQ(door.logins->finish(*work, &whose, door.now).reason, Reason::kBadUserNameOrPassword);
  bool checked = false;
  EXPECT_EQ(door.login(door.call(), "ann", "secret-1", &checked).reason, Reason::kBadUserNameOrPassword);
  EXPECT_TRUE(checked);
  // The right answer to the old challenge.
  const Bytes nonce = Bytes(challenge.data).substr(0, challenge.data.find(','));
  const std::string bare = "c=biws," + std::string(nonce);
  const std::string proof = proof_of("secret-1", "n=ann,r=client," + challenge.data + "," + bare);
  EXPECT_EQ(door.logins->more(exchanging, bare + ",p=" + proof, door.now).reason, Reason::kNotAuthorized);
}

TEST(Logins, WaitingPasswordsAreBounded) {
  Door door;
  std::vector<std::unique_ptr<LoginWork>> waiting;
  mqtt::Connect connect;
  connect.user_name = "ann";
  connect.password = "x";
  Reason reason = Reason::kSuccess;
  while (reason == Reason::kSuccess) {
    std::unique_ptr<LoginWork> work;
    reason = door.logins->begin(door.call(true), connect, door.now, &work).reason;
    if (work != nullptr) waiting.push_back(std::move(work));
    ASSERT_LE(waiting.size(), 1000u);
  }
  EXPECT_EQ(reason, Reason::kServerBusy);
  EXPECT_EQ(waiting.size(), 256u);
  ConnectionId whose = 0;
  waiting.front()->run();
  door.logins->finish(*waiting.front(), &whose, door.now);
  std::unique_ptr<LoginWork> work;
  EXPECT_TRUE(door.logins->begin(door.call(true), connect, door.now, &work).pending);
}

TEST(Logins, AddressWithTooManyWhoSayNothingGetsNoMore) {
  Door door;
  std::vector<ConnectionId> hostile;
  for (int i = 0; i < 300; ++i) {
    const bool in = door.logins->called(++door.connection_last, {false, "198.51.100.1", ""}, door.now);
    EXPECT_EQ(in, i < 256) << i;
    if (in) hostile.push_back(door.connection_last);
  }
  EXPECT_EQ(door.logins->turned_away().unfinished, 44u);
  // Others come in, and count no more once they are known; this machine is never counted.
  for (int i = 0; i < 40; ++i) {
    const ConnectionId good = ++door.connection_last;
    ASSERT_TRUE(door.logins->called(good, {false, "192.0.2.1", ""}, door.now)) << i;
    EXPECT_EQ(door.login(good, "ann", "secret-1").reason, Reason::kSuccess);
    ASSERT_TRUE(door.logins->called(++door.connection_last, {true, "127.0.0.1", ""}, door.now)) << i;
  }
  for (const ConnectionId connection : hostile) door.logins->gone(connection);
  EXPECT_TRUE(door.logins->called(++door.connection_last, {false, "198.51.100.1", ""}, door.now));
}

// How many of `tries` are let in, each gone at once.
int let_in(Door* door, const std::string& address, int tries, bool loopback = false) {
  int count = 0;
  for (int i = 0; i < tries; ++i) {
    const ConnectionId connection = ++door->connection_last;
    if (!door->logins->called(connection, {loopback, address, ""}, door->now)) continue;
    ++count;
    door->logins->gone(connection);
  }
  return count;
}

TEST(Logins, AddressThatFailedOfLateGetsFiftyConnectionsASecond) {
  Door door;
  EXPECT_EQ(let_in(&door, "192.0.2.1", 200), 200);
  door.login(door.call(), "ann", "wrong");
  EXPECT_EQ(let_in(&door, "192.0.2.1", 200), 50);
  EXPECT_EQ(door.logins->turned_away().rate, 150u);
  EXPECT_EQ(let_in(&door, "192.0.2.2", 200), 200);
  door.now = door.now + milliseconds(100);
  EXPECT_EQ(let_in(&door, "192.0.2.1", 200), 5);
  door.now = door.now + seconds(61);  // It has been quiet.
  EXPECT_EQ(let_in(&door, "192.0.2.1", 200), 200);
  // This machine is never counted; a network of IPv6 is one address.
  door.login(door.call(true, "127.0.0.1"), "ann", "wrong");
  EXPECT_EQ(let_in(&door, "127.0.0.1", 200, true), 200);
  door.login(door.call(false, "[2001:db8:0:1::1]"), "ann", "wrong");
  EXPECT_EQ(let_in(&door, "[2001:db8:0:1::2]", 30), 30);
  EXPECT_EQ(let_in(&door, "[2001:db8:0:1::3]", 30), 20);
}

TEST(Logins, WhileManySayNothingAnAddressGetsFiftyConnectionsASecond) {
  Door door;
  for (int i = 0; i < 256; ++i) door.call(false, "198.51.100." + std::to_string(i));
  EXPECT_EQ(let_in(&door, "192.0.2.1", 200), 50);
  EXPECT_EQ(let_in(&door, "192.0.2.2", 200), 50);
  EXPECT_EQ(let_in(&door, "127.0.0.1", 200, true), 200);
  EXPECT_EQ(door.logins->turned_away().rate, 300u);
  EXPECT_TRUE(door.logins->wary_of("192.0.2.3", door.now));
  for (ConnectionId connection = 1; connection <= 256; ++connection) door.logins->gone(connection);
  EXPECT_FALSE(door.logins->wary_of("192.0.2.3", door.now));
  EXPECT_EQ(let_in(&door, "192.0.2.1", 200), 200);
}

TEST(Logins, NetworkOfIpv6IsCountedAsOne) {
  Door door;
  for (int i = 0; i < 5; ++i) {
    const ConnectionId guess = door.call(false, "[2001:db8:0:1::" + std::to_string(i + 1) + "]");
    door.login(guess, "nobody" + std::to_string(i), "wrong");
  }
  const auto from = [&](const char* address) {
    return door.login(door.call(false, address), "ann", "secret-1").reason;
  };
  EXPECT_EQ(from("[2001:db8:0:1:9:9:9:9]"), Reason::kConnectionRateExceeded);
  EXPECT_EQ(from("[2001:db8:0:2::1]"), Reason::kSuccess);
}

TEST(Logins, SaltOfANameThatNobodyHasOutlivesARestart) {
  Door door;
  const auto salt = [&](const std::string& name) {
    mqtt::Connect connect;
    const std::string first = "n,,n=" + name + ",r=client";
    connect.properties.authentication_method = "SCRAM-SHA-256";
    connect.properties.authentication_data = first;
    std::unique_ptr<LoginWork> work;
    const std::string data = door.logins->begin(door.call(), connect, door.now, &work).data;
    return data.substr(data.find(",s="));
  };
  const std::string known = salt("ann"), unknown = salt("nobody");
  door.start();
  EXPECT_EQ(salt("ann"), known);
  EXPECT_EQ(salt("nobody"), unknown);
  EXPECT_NE(salt("nobody else"), unknown);
}

TEST(Logins, RightsAreSharedWhereTheClientDoesNotMatter) {
  Door door;
  door.identities.permissions = identity::Permissions({{.user = "ann", .allow = {.publish = {"a/%u/#"}}}});
  door.start();
  EXPECT_EQ(door.logins->rights("ann", false, "one"), door.logins->rights("ann", false, "two"));
  door.identities.permissions = identity::Permissions({{.user = "ann", .allow = {.publish = {"a/%c/#"}}}});
  door.logins->set(door.identities.users, door.identities.permissions);
  EXPECT_NE(door.logins->rights("ann", false, "one"), door.logins->rights("ann", false, "two"));
  EXPECT_TRUE(door.logins->rights("ann", false, "one")->publish("a/one/x"));
  EXPECT_FALSE(door.logins->rights("ann", false, "two")->publish("a/one/x"));
}

TEST(Logins, ScramShowsNoPassword) {
  Door door;
  const ConnectionId connection = door.call();
  mqtt::Connect connect;
  connect.properties.authentication_method = "SCRAM-SHA-256";
  connect.properties.authentication_data = "n,,n=ann,r=client";
  std::unique_ptr<LoginWork> work;
  const broker::Verdict challenge = door.logins->begin(connection, connect, door.now, &work);
  ASSERT_EQ(challenge.reason, Reason::kContinueAuthentication);
  ASSERT_TRUE(challenge.data.starts_with("r=client"));
  const broker::Verdict wrong = door.logins->more(
      connection, "c=biws," + challenge.data.substr(0, challenge.data.find(',')) + ",p=AAAA", door.now);
  EXPECT_EQ(wrong.reason, Reason::kNotAuthorized);
  EXPECT_EQ(door.logins->more(connection, "c=biws", door.now).reason, Reason::kProtocolError);
  connect.properties.authentication_method = "PLAIN";
  EXPECT_EQ(door.logins->begin(connection, connect, door.now, &work).reason,
            Reason::kBadAuthenticationMethod);
}

TEST(Logins, ChangedListHoldsForThoseWhoAreHere) {
  Door door;
  const ConnectionId ann = door.call(), bob = door.call(), local = door.call(true),
                     cert = door.call(false, "a", "c");
  const auto ann_is = door.login(ann, "ann", "secret-1").principal;
  const auto bob_is = door.login(bob, "bob", "secret-2").principal;
  const auto cert_is = door.login(cert, "", "").principal;
  EXPECT_TRUE(door.logins->still_admitted(ann, ann_is));
  EXPECT_EQ(door.logins->rights("ann", false, "c"), nullptr);
  door.logins->set(users({{"bob", "another-2"}}), identity::Permissions());
  EXPECT_FALSE(door.logins->still_admitted(ann, ann_is));
  EXPECT_FALSE(door.logins->still_admitted(bob, bob_is));
  EXPECT_TRUE(door.logins->still_admitted(cert, cert_is));
  EXPECT_TRUE(door.logins->still_admitted(local, {}));
  // What she left behind has no rights any more.
  ASSERT_NE(door.logins->rights("ann", false, "c"), nullptr);
  EXPECT_FALSE(door.logins->rights("ann", false, "c")->publish("t"));
  bool checked = false;
  EXPECT_EQ(door.login(door.call(), "bob", "secret-2", &checked).reason, Reason::kBadUserNameOrPassword);
  EXPECT_TRUE(checked);  // The old password is not known again.
  EXPECT_EQ(door.login(door.call(), "bob", "another-2").reason, Reason::kSuccess);
}

// Where certificates name users not all of them are in the list; one who came by a password was.
TEST(Logins, RemovedUserHasNoRightsAlsoWhereCertificatesNameUsers) {
  Door door;
  door.identities.certificate_users = true;
  door.start();
  const auto ann = door.login(door.call(), "ann", "secret-1").principal;
  const auto press = door.login(door.call(false, "192.0.2.1", "press-7"), "", "").principal;
  EXPECT_FALSE(ann.by_certificate);
  EXPECT_TRUE(press.by_certificate);
  const auto may = [&](const broker::Principal& who) {
    const auto rights = door.logins->rights(who.name, who.by_certificate, "c");
    return rights == nullptr || rights->publish("t");
  };
  EXPECT_TRUE(may(ann));
  EXPECT_TRUE(may(press));
  door.logins->set(users({{"bob", "secret-2"}}), identity::Permissions());
  EXPECT_FALSE(may(ann));
  EXPECT_TRUE(may(press));
  EXPECT_TRUE(may({broker::Principal::Kind::kClient, "ann", true}));  // Of the same name, and not the same.
  door.identities.certificate_users = false;  // No listener takes certificates any more.
  door.start();
  EXPECT_FALSE(may(press));
}

TEST(Logins, RightsAreThoseOfThePermissions) {
  Door door;
  identity::Permission permission;
  permission.user = "*";
  permission.allow.publish = {"site/%u/#"};
  permission.allow.subscribe = {"site/%u/#"};
  door.logins->set(users({{"ann", "secret-1"}}), identity::Permissions({permission}));
  const auto rights = door.logins->rights("ann", false, "c");
  ASSERT_NE(rights, nullptr);
  EXPECT_TRUE(rights->publish("site/ann/x"));
  EXPECT_FALSE(rights->publish("site/bob/x"));
  EXPECT_FALSE(rights->retain("site/ann/x"));
  EXPECT_TRUE(rights->subscribe("site/ann/+"));
  EXPECT_FALSE(rights->subscribe("#"));
  EXPECT_FALSE(door.logins->rights("", false, "c")->publish("site//x"));
}

}  // namespace
}  // namespace hf::node
