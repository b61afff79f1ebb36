// Goal: filters in a row behave as one, and those that are done leave. Method: PROXY, TLS and WebSocket on top of each other, the
// client's side made of the same parts by hand.
#include "io/filter_chain.h"

#include <gtest/gtest.h>

#include "io/proxy_filter.h"
#include "io/temporary_directory_testing.h"
#include "io/tls_filter.h"
#include "io/tls_testing.h"
#include "io/websocket_filter.h"

namespace hf::io {
namespace {

using State = Filter::State;

const std::string kLocalHeader("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);
const char* const kRequest =
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

TEST(FilterChainTest, AProxysHeaderLeavesNothingBehind) {
  FilterChain chain;
  chain.add(std::make_unique<ProxyFilter>());
  std::string core;
  std::string reply;
  chain.receive(Bytes(kLocalHeader).substr(0, 7), &core, &reply);
  EXPECT_EQ(chain.state(), State::kHandshaking);
  EXPECT_FALSE(chain.empty());
  chain.receive(kLocalHeader.substr(7) + "mqtt", &core, &reply);
  EXPECT_EQ(chain.state(), State::kEstablished);
  EXPECT_TRUE(chain.empty());
  EXPECT_EQ(core, "mqtt");
}

TEST(FilterChainTest, ThreeInARow) {
  TemporaryDirectory temporary;
  TestCertificate("hub", nullptr, "DNS:hub").write(temporary / "c.pem", temporary / "k.pem");
  TlsServerFiles files{temporary / "c.pem", temporary / "k.pem", ""};
  FilterChain server;
  server.add(std::make_unique<ProxyFilter>());
  server.add(std::make_unique<TlsFilter>(*TlsContext::server(files, TlsContext::Protocol::kMqtt)));
  server.add(std::make_unique<WebSocketFilter>(std::make_shared<const std::vector<std::string>>()));
  FilterChain client;
  client.add(std::make_unique<TlsFilter>(*TlsContext::client({temporary / "c.pem", "", "", ""}), "hub"));

  std::string at_server;
  std::string at_client;
  std::string up = kLocalHeader;
  std::string down;
  const auto talk = [&] {
    while (!up.empty() || !down.empty()) {
      server.receive(std::exchange(up, {}), &at_server, &down);
      client.receive(std::exchange(down, {}), &at_client, &up);
    }
  };
  client.receive({}, &at_client, &up);
  EXPECT_TRUE(server.laborious());
  EXPECT_FALSE(server.upgrading());
  talk();
  EXPECT_EQ(client.state(), State::kEstablished) << client.failure();
  EXPECT_EQ(server.state(), State::kHandshaking);
  EXPECT_FALSE(server.laborious());
  EXPECT_TRUE(server.upgrading());

  client.send(kRequest, &up);
  talk();
  EXPECT_EQ(server.state(), State::kEstablished) << server.failure();
  EXPECT_TRUE(at_client.starts_with("HTTP/1.1 101 ")) << at_client;
  at_client.clear();
  server.send("down", &down);
  talk();
  EXPECT_EQ(at_client,
            "\x82\x04"
            "down");
  client.send(std::string("\x82\x82\0\0\0\0up", 8), &up);
  talk();
  EXPECT_EQ(at_server, "up");

  // A goodbye of every filter, outermost last.
  at_client.clear();
  server.finish(&down);
  client.receive(down, &at_client, &up);
  EXPECT_EQ(at_client, std::string("\x88\x02\x03\xe8", 4));
  EXPECT_EQ(client.state(), State::kEnded);
}

TEST(FilterChainTest, WhoIsThereIsKnownBeforeTheOthersWork) {
  FilterChain chain;
  chain.add(std::make_unique<ProxyFilter>());
  chain.add(std::make_unique<WebSocketFilter>(std::make_shared<const std::vector<std::string>>()));
  std::string rest;
  std::string reply;
  EXPECT_TRUE(chain.introducing());
  chain.introduce(Bytes(kLocalHeader).substr(0, 5), &rest, &reply);
  EXPECT_TRUE(chain.introducing());
  EXPECT_FALSE(chain.facts().proxied);
  chain.introduce(kLocalHeader.substr(5) + "GET", &rest, &reply);
  EXPECT_EQ(rest, "GET");
  EXPECT_FALSE(chain.introducing());
  EXPECT_EQ(chain.state(), State::kHandshaking);
  std::string core;
  chain.receive("GET /nowhere HTTP/1.1\r\n\r\n", &core, &reply);
  EXPECT_EQ(chain.state(), State::kFailed);

  FilterChain other;
  other.add(std::make_unique<ProxyFilter>());
  other.add(std::make_unique<WebSocketFilter>(std::make_shared<const std::vector<std::string>>()));
  other.introduce("no header", &rest, &reply);
  EXPECT_EQ(other.state(), State::kFailed);
}

TEST(FilterChainTest, AFailureIsTheChains) {
  FilterChain chain;
  chain.add(std::make_unique<ProxyFilter>());
  chain.add(std::make_unique<WebSocketFilter>(std::make_shared<const std::vector<std::string>>()));
  std::string core;
  std::string reply;
  chain.receive(kLocalHeader + "GET /nowhere HTTP/1.1\r\n\r\n", &core, &reply);
  EXPECT_EQ(chain.state(), State::kFailed);
  EXPECT_EQ(chain.failure(), "there is nothing but / and /mqtt here");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 404 ")) << reply;
}

}  // namespace
}  // namespace hf::io
