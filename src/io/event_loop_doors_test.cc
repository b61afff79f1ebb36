// Goal: what comes through a door reaches the core as if it had come plain, after the handshake and with the peer's name;
// what does not get through is gone in time and nobody waits for it. Method: the loop on a thread of its own, real
// sockets, the client's TLS made of the same filter.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>

#include "io/event_loop_testing.h"
#include "io/listener.h"
#include "io/tls_filter.h"
#include "io/tls_testing.h"

namespace hf::io {
namespace {

using State = Filter::State;

// PROXY for 192.0.2.33:54321.
const std::string kProxied = std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 16) +
                             std::string("\xc0\0\2\x21\x7f\0\0\1\xd4\x31\x22\xb3", 12);
const std::string kUpgrade =
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

// A client's end of TLS over a socket.
class TlsClient {
 public:
  TlsClient(Client socket, const TlsClientFiles& files, const std::string& host = "hub")
      : socket_(std::move(socket)), filter_(*TlsContext::client(files), host) {
    std::string wire;
    filter_.receive({}, &core_, &wire);
    socket_.send(wire);
    while (filter_.state() == State::kHandshaking && pull()) {
    }
  }
  void send(Bytes bytes) {
    std::string wire;
    filter_.send(bytes, &wire);
    socket_.send(wire);
  }
  std::string receive(size_t size) {
    while (core_.size() < size && filter_.state() == State::kEstablished && pull()) {
    }
    const std::string got = core_.substr(0, size);
    core_.erase(0, size);
    return got;
  }
  bool at_end() { return receive(1).empty(); }
  TlsFilter& filter() { return filter_; }
  Client& socket() { return socket_; }

 private:
  bool pull() {
    char wire[16384];
    pollfd event{socket_.get(), POLLIN, 0};
    if (::poll(&event, 1, 10'000) != 1) return false;
    const ssize_t count = ::recv(socket_.get(), wire, sizeof wire, 0);
    if (count <= 0) return false;
    std::string reply;
    filter_.receive({wire, static_cast<size_t>(count)}, &core_, &reply);
    socket_.send(reply);
    return true;
  }

  Client socket_;
  TlsFilter filter_;
  std::string core_;
};

class DoorsTest : public EventLoopTest {
 protected:
  DoorsTest() : authority_("Test authority", nullptr) {
    authority_.write(temporary_ / "ca.pem");
    make("server", "hub", "DNS:hub, IP:127.0.0.1");
    make("client", "sensor-7");
  }
  void make(const std::string& file, const std::string& name, const std::string& san = "") {
    const TestCertificate made(name, &authority_, san);
    made.write(temporary_ / (file + ".pem.new"), temporary_ / (file + ".key.new"));
    for (const char* end : {".pem", ".key"}) {
      ::chmod((temporary_ / (file + end + ".new")).c_str(), 0600);
      ::rename((temporary_ / (file + end + ".new")).c_str(), (temporary_ / (file + end)).c_str());
    }
  }
  DoorOptions tls_door() const {
    DoorOptions options;
    options.address = "127.0.0.1:0";
    options.tls = TlsServerFiles{temporary_ / "server.pem", temporary_ / "server.key", temporary_ / "ca.pem",
                                 "", false};
    return options;
  }
  TlsClientFiles trust() const { return {temporary_ / "ca.pem", "", "", ""}; }
  TlsClientFiles identity() const {
    return {temporary_ / "ca.pem", temporary_ / "client.pem", temporary_ / "client.key", ""};
  }
  const DoorCounters& counters_after_stop() {
    stop();
    return loop_->door_counters();
  }

  TestCertificate authority_;
};

TEST_F(DoorsTest, TlsReachesTheCoreAsPlain) {
  doors_ = {tls_door()};
  start();
  TlsClient client(Client::tcp(door(0)), identity());
  ASSERT_EQ(client.filter().state(), State::kEstablished) << client.filter().failure();
  ASSERT_TRUE(core_.saw("connected"));
  const std::string large(300'000, 'x');
  client.send(large);
  EXPECT_EQ(client.receive(large.size()), large);
  EXPECT_EQ(core_.connected_[0].certificate_user, "sensor-7");
  EXPECT_TRUE(core_.connected_[0].peer.starts_with("127.0.0.1:"));
  EXPECT_TRUE(core_.connected_[0].loopback);

  // The core's close arrives as TLS's own goodbye.
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) {
    out.sends.add(core_.connections_[0]).bytes = "last words";
    out.closes.push_back({core_.connections_[0]});
  });
  EXPECT_EQ(client.receive(10), "last words");
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(client.filter().state(), State::kEnded);
  EXPECT_EQ(counters_after_stop().done, 1u);
}

TEST_F(DoorsTest, HandshakeThatEndsDuringAPauseIsReadAfterIt) {
  doors_ = {tls_door()};
  start();
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { core_.pauses = out.pause_reading = true; });
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.pauses; }));
  TlsClient client(Client::tcp(door(0)), trust());
  ASSERT_EQ(client.filter().state(), State::kEstablished) << client.filter().failure();
  ASSERT_TRUE(core_.saw("connected"));
  client.send("waits");
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { core_.pauses = out.pause_reading = false; });
  EXPECT_EQ(client.receive(5), "waits");
}

TEST_F(DoorsTest, ThePeersGoodbyeIsAClose) {
  doors_ = {tls_door()};
  start();
  TlsClient client(Client::tcp(door(0)), trust());
  client.send("first");
  EXPECT_EQ(client.receive(5), "first");
  std::string wire;
  client.filter().send("then this", &wire);
  client.filter().finish(&wire);
  client.socket().send(wire);
  EXPECT_TRUE(core_.saw("closed"));
  EXPECT_EQ(core_.bytes_[core_.connections_[0]], "firstthen this");
}

TEST_F(DoorsTest, WhoSaysEverythingAtOnceIsHeard) {
  DoorOptions websocket;
  websocket.address = "127.0.0.1:0";
  websocket.websocket = true;
  doors_ = {websocket};
  start();
  Client client = Client::tcp(door(0));
  client.send(kUpgrade + std::string("\x82\x83\0\0\0\0all\x88\x80\0\0\0\0", 15));
  EXPECT_TRUE(core_.saw("closed"));
  EXPECT_EQ(core_.bytes_[core_.connections_[0]], "all");
}

TEST_F(DoorsTest, ManyHandshakesAtOnce) {
  doors_ = {tls_door()};
  start();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10; ++j) {
        TlsClient client(Client::tcp(door(0)), trust());
        client.send("hello");
        EXPECT_EQ(client.receive(5), "hello");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counters_after_stop().done, 80u);
}

TEST_F(DoorsTest, AProxyTellsForWhom) {
  DoorOptions proxied;
  proxied.address = "127.0.0.1:0";
  proxied.proxy = true;
  doors_ = {proxied};
  start();
  Client client = Client::tcp(door(0));
  client.send(kProxied + "hello");
  EXPECT_EQ(client.receive(5), "hello");
  EXPECT_TRUE(core_.saw("connected from far"));
  EXPECT_EQ(core_.connected_[0].peer, "192.0.2.33:54321");
  client.send("and plain from here on");
  EXPECT_EQ(client.receive(22), "and plain from here on");

  Client own_check = Client::tcp(door(0));
  own_check.send(std::string("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16) + "x");
  EXPECT_EQ(own_check.receive(1), "x");
  EXPECT_TRUE(core_.connected_[1].loopback);
  Client unknown = Client::tcp(door(0));
  unknown.send(std::string("\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", 16) + "x");
  EXPECT_EQ(unknown.receive(1), "x");
  EXPECT_FALSE(core_.connected_[2].loopback);

  Client without = Client::tcp(door(0));
  without.send("\x10 stands for CONNECT");
  EXPECT_TRUE(without.at_end());
  EXPECT_TRUE(logged("no PROXY header"));
  EXPECT_EQ(counters_after_stop().failed, 1u);
}

TEST_F(DoorsTest, WhoWantsAnotherProtocolIsTurnedAway) {
  DoorOptions all = tls_door();
  all.websocket = true;
  all.proxy = true;
  doors_ = {all};
  start();
  Client socket = Client::tcp(door(0));
  socket.send(kProxied);
  // A node says "mqtt", where a browser says "http/1.1".
  const TlsClient client(std::move(socket), trust());
  EXPECT_TRUE(logged("no application protocol"));
  EXPECT_TRUE(core_.connected_.empty());
}

TEST_F(DoorsTest, WebSocketPingsAreAnsweredWithoutTheCore) {
  DoorOptions websocket;
  websocket.address = "127.0.0.1:0";
  websocket.websocket = true;
  doors_ = {websocket};
  start();
  Client client = Client::tcp(door(0));
  client.send(kUpgrade);
  std::string head;
  while (!head.ends_with("\r\n\r\n")) head += client.receive(1);
  client.send(std::string("\x89\x82\0\0\0\0hi", 8));
  EXPECT_EQ(client.receive(4), "\x8a\x02hi");
  client.send(std::string("\x82\x82\0\0\0\0up", 8));
  EXPECT_EQ(client.receive(4), "\x82\x02up");
  client.send(std::string("\x81\x81\0\0\0\0t", 7));
  EXPECT_EQ(client.receive(4).substr(2), "\x03\xeb");
  EXPECT_TRUE(core_.saw("closed"));
}

TEST_F(DoorsTest, AUnixSocketForClients) {
  DoorOptions local;
  local.address = "unix:" + temporary_ / "mqtt.sock";
  doors_ = {local};
  start();
  struct stat about{};
  ASSERT_EQ(::stat((temporary_ / "mqtt.sock").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0660u);
  Client client(std::move(*connect_unix(temporary_ / "mqtt.sock")));
  client.send("{ is not for operators here");
  EXPECT_EQ(client.receive(27), "{ is not for operators here");
  EXPECT_EQ(core_.connected_[0].peer, "unix");
  stop();
  EXPECT_NE(::stat((temporary_ / "mqtt.sock").c_str(), &about), 0);
}

TEST_F(DoorsTest, SilenceAtADoorEnds) {
  DoorOptions websocket;
  websocket.address = "127.0.0.1:0";
  websocket.websocket = true;
  doors_ = {tls_door(), websocket};
  start({.handshake_timeout = milliseconds(30), .upgrade_timeout = milliseconds(20)});
  EXPECT_TRUE(Client::tcp(door(0)).at_end());
  Client slow = Client::tcp(door(1));
  slow.send("GET /");
  EXPECT_TRUE(slow.at_end());
  EXPECT_EQ(counters_after_stop().timed_out, 2u);
  EXPECT_TRUE(core_.connected_.empty());
}

TEST_F(DoorsTest, TheOldestThatKeepsUsWaitingMakesRoom) {
  doors_ = {tls_door()};
  start({.openings_max = 2, .eviction_age = milliseconds(30)});
  Client first = Client::tcp(door(0));
  Client second = Client::tcp(door(0));
  TlsClient third(Client::tcp(door(0)), trust());
  third.send("hello");
  EXPECT_EQ(third.receive(5), "hello");
  EXPECT_TRUE(first.at_end());
  EXPECT_EQ(counters_after_stop().evicted, 1u);
}

TEST_F(DoorsTest, AddressWhoseHandshakesFailGetsTenASecond) {
  DoorOptions options = tls_door();
  options.proxy = true;  // Else all are of this machine, which is never counted.
  doors_ = {options};
  start();
  const auto stands = [&](const std::string& header) {
    Client socket = Client::tcp(door(0));
    socket.send(header);
    return TlsClient(std::move(socket), trust()).filter().state() == State::kEstablished;
  };
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(stands(kProxied));
  Client wrong = Client::tcp(door(0));
  wrong.send(kProxied + "no TLS at all");
  EXPECT_TRUE(wrong.at_end());
  ASSERT_TRUE(logged("HF-TLS-005"));
  const auto begin = std::chrono::steady_clock::now();
  int stood = 0;
  for (int i = 0; i < 60; ++i) stood += stands(kProxied) ? 1 : 0;
  const auto took_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  EXPECT_GE(stood, 10);
  EXPECT_LE(stood, 10 + took_ms.count() / 100 + 1);
  std::string other = kProxied;
  other[19] = '\x22';  // 192.0.2.34
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(stands(other));
  EXPECT_EQ(counters_after_stop().throttled, 60u - static_cast<unsigned>(stood));
}

TEST_F(DoorsTest, WhoWaitsOutsideComesInWhenThereIsRoom) {
  doors_ = {tls_door()};
  start({.openings_max = 1, .eviction_age = seconds(60)});
  Client first = Client::tcp(door(0));
  Client waits = Client::tcp(door(0));
  Client plain = Client::tcp(address_);  // Is not concerned.
  plain.send("hello");
  EXPECT_EQ(plain.receive(5), "hello");
  first.close();
  TlsClient next(std::move(waits), trust());
  next.send("hello");
  EXPECT_EQ(next.receive(5), "hello");
  EXPECT_EQ(counters_after_stop().evicted, 0u);
}

TEST_F(DoorsTest, ANewCertificateIsShownToNewClients) {
  doors_ = {tls_door()};
  start();
  TlsClient old(Client::tcp(door(0)), trust());
  old.send("before");
  EXPECT_EQ(old.receive(6), "before");
  make("server", "another", "DNS:another");
  ASSERT_TRUE(logged("HF-TLS-001")) << log_;
  TlsClient fresh(Client::tcp(door(0)), trust(), "another");
  fresh.send("after");
  EXPECT_EQ(fresh.receive(5), "after");
  old.send("still");
  EXPECT_EQ(old.receive(5), "still");

  // A broken one changes nothing.
  authority_.write(temporary_ / "server.pem");
  ASSERT_TRUE(logged("HF-TLS-002")) << log_;
  TlsClient unharmed(Client::tcp(door(0)), trust(), "another");
  unharmed.send("x");
  EXPECT_EQ(unharmed.receive(1), "x");
}

TEST_F(DoorsTest, DialsThroughTls) {
  core_.echo = false;
  dial_tls_ = identity();
  doors_ = {tls_door()};
  start();
  const uint16_t port = parse_host_port(door(0))->port;
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.dial = node::Dial{"127.0.0.1", port}; });
  ASSERT_TRUE(core_.saw("dialed"));
  ASSERT_TRUE(core_.saw("connected"));
  EXPECT_EQ(core_.connected_[0].certificate_user, "sensor-7");
  const ConnectionId ours = core_.diary_[0] == "dialed" ? core_.connections_[0] : core_.connections_[1];
  const ConnectionId theirs = core_.connected_[0].connection;
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.sends.add(ours).bytes = "up"; });
  EXPECT_TRUE(core_.wait_until([&](TestCore& core) { return core.bytes_[theirs] == "up"; }));

  // "localhost" is not in the certificate.
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.dial = node::Dial{"localhost", port}; });
  EXPECT_TRUE(core_.saw("not dialed: certificate verify failed: hostname mismatch"));
}

TEST_F(DoorsTest, APeerThatIsNotTlsOrSilentIsNotDialed) {
  dial_tls_ = trust();
  start({.handshake_timeout = milliseconds(50)});
  const uint16_t port = parse_host_port(address_)->port;  // Echoes what it gets.
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.dial = node::Dial{"127.0.0.1", port}; });
  ASSERT_TRUE(core_.wait_until([](TestCore& core) {
    return std::any_of(core.diary_.begin(), core.diary_.end(),
                       [](const std::string& entry) { return entry.starts_with("not dialed: "); });
  }));
  auto silent = listen_tcp("127.0.0.1:0");
  const uint16_t silent_port = local_address(silent->get()).port();
  core_.act(*loop_, *wakeup_, [&](node::Effects& out) { out.dial = node::Dial{"127.0.0.1", silent_port}; });
  EXPECT_TRUE(core_.saw("not dialed: the handshake took too long"));
}

}  // namespace
}  // namespace hf::io
