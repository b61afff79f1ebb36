// Goal: what a browser does is understood, byte for byte, and nothing else gets through. Method: the request and the frames
// of RFC 6455 as golden bytes, in pieces of every size; a client's frames made by hand.
#include "io/websocket_filter.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "io/websocket_upgrade.h"

namespace hf::io {
namespace {

using State = Filter::State;

const char* const kRequest =
    "GET /mqtt HTTP/1.1\r\n"
    "Host: hub.example\r\n"
    "Upgrade: websocket\r\n"
    "Connection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: chat, mqtt\r\n"
    "\r\n";
const char* const kResponse =
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"  // RFC 6455, section 1.3.
    "Sec-WebSocket-Protocol: mqtt\r\n"
    "\r\n";

enum Opcode : uint8_t { kContinuation, kText, kBinary, kClose = 8, kPing, kPong };

std::string frame(Opcode opcode, Bytes payload, bool final = true, bool masked = true) {
  std::string out;
  put_u8(out, static_cast<uint8_t>((final ? 0x80 : 0) | opcode));
  const uint8_t mask_bit = masked ? 0x80 : 0;
  if (payload.size() < 126) {
    put_u8(out, static_cast<uint8_t>(mask_bit | payload.size()));
  } else if (payload.size() < 65536) {
    put_u8(out, static_cast<uint8_t>(mask_bit | 126));
    put_u16be(out, static_cast<uint16_t>(payload.size()));
  } else {
    put_u8(out, static_cast<uint8_t>(mask_bit | 127));
    put_u64be(out, payload.size());
  }
  if (!masked) return out.append(payload);
  const Bytes mask("\x37\xfa\x21\x3d");
  out += mask;
  for (size_t i = 0; i < payload.size(); ++i) out += static_cast<char>(payload[i] ^ mask[i % 4]);
  return out;
}

class Server {
 public:
  explicit Server(std::vector<std::string> origins = {})
      : filter(std::make_shared<const std::vector<std::string>>(std::move(origins))) {}
  // An established one.
  static std::unique_ptr<Server> open() {
    auto server = std::make_unique<Server>();
    server->take(kRequest);
    EXPECT_EQ(server->reply, kResponse);
    server->reply.clear();
    return server;
  }
  Server& take(Bytes wire, size_t step = SIZE_MAX) {
    for (; !wire.empty(); wire.remove_prefix(std::min(step, wire.size())))
      filter.receive(wire.substr(0, step), &core, &reply);
    return *this;
  }

  WebSocketFilter filter;
  std::string core;
  std::string reply;
};

TEST(WebSocketFilterTest, AnswersAsTheStandardsExample) {
  for (const size_t step : {size_t{1}, size_t{7}, SIZE_MAX}) {
    Server server;
    server.take(kRequest, step);
    EXPECT_EQ(server.reply, kResponse);
    EXPECT_EQ(server.filter.state(), State::kEstablished);
  }
}

TEST(WebSocketFilterTest, PassesOnWhatFramesHoldAsItComes) {
  const std::string large(70'000, 'l');
  const std::string wire = frame(kBinary, "\x10one") + frame(kBinary, "two", false) +
                           frame(kPing, "still there?") + frame(kContinuation, "", false) +
                           frame(kContinuation, "three") + frame(kBinary, large) +
                           frame(kBinary, std::string(300, 'm'));
  for (const size_t step : {size_t{1}, size_t{3}, size_t{5000}, SIZE_MAX}) {
    const auto server = Server::open();
    server->take(wire, step);
    EXPECT_EQ(server->core, "\x10onetwothree" + large + std::string(300, 'm'));
    EXPECT_EQ(server->reply, frame(kPong, "still there?", true, false));
    EXPECT_EQ(server->filter.state(), State::kEstablished);
  }
}

TEST(WebSocketFilterTest, PartOfAFrameIsNotHeld) {
  const auto server = Server::open();
  const std::string wire = frame(kBinary, std::string(60'000, 'x'));
  server->take(Bytes(wire).substr(0, 20'000));
  EXPECT_EQ(server->core.size(), 20'000u - 8);
}

TEST(WebSocketFilterTest, FramesMayFollowTheRequestAtOnce) {
  Server server;
  server.take(kRequest + frame(kBinary, "early"));
  EXPECT_EQ(server.core, "early");
}

TEST(WebSocketFilterTest, SendsOneFrameForWhatIsSentAtOnce) {
  const auto server = Server::open();
  std::string wire;
  server->filter.send("hello", &wire);
  EXPECT_EQ(wire, std::string("\x82\x05hello"));
  for (const size_t size : {size_t{125}, size_t{126}, size_t{65535}, size_t{65536}, size_t{200'000}}) {
    wire.clear();
    server->filter.send(std::string(size, 's'), &wire);
    EXPECT_TRUE(wire == frame(kBinary, std::string(size, 's'), true, false)) << size;
  }
}

TEST(WebSocketFilterTest, TextIsRefused) {  // [MQTT-6.0.0-1]
  const auto server = Server::open();
  server->take(frame(kText, "\x10"));
  EXPECT_EQ(server->filter.state(), State::kFailed);
  EXPECT_EQ(server->core, "");
  EXPECT_EQ(server->reply.substr(2, 2), "\x03\xeb");  // 1003
}

TEST(WebSocketFilterTest, WhatBreaksTheProtocolIsRefused) {
  struct Case {
    std::string wire;
    const char* status;
  };
  std::string huge("\x82\xff", 2);
  put_u64be(huge, uint64_t{1} << 40);
  const Case cases[] = {
      {frame(kBinary, "x", true, /*masked=*/false), "\x03\xea"},       // 1002
      {frame(kContinuation, "x"), "\x03\xea"},                         // Of nothing.
      {frame(kBinary, "x", false) + frame(kBinary, "y"), "\x03\xea"},  // Within another.
      {frame(kPing, "x", false), "\x03\xea"},                          // In fragments.
      {frame(kPing, std::string(126, 'x')), "\x03\xea"},               // Longer than a control frame may be.
      {std::string("\xc2\x80\1\2\3\4", 6), "\x03\xea"},                // With an extension's bit.
      {frame(static_cast<Opcode>(3), "x"), "\x03\xea"},                // Of no known kind.
      {huge + "\1\2\3\4x", "\x03\xf1"},                                // 1009
  };
  for (const Case& one : cases) {
    const auto server = Server::open();
    server->take(one.wire);
    EXPECT_EQ(server->filter.state(), State::kFailed) << to_hex(one.wire.substr(0, 20));
    EXPECT_EQ(server->reply.substr(2, 2), one.status)
        << to_hex(one.wire.substr(0, 20)) << " " << to_hex(server->reply);
    const std::string before = server->core;
    server->take(frame(kBinary, "more"));
    EXPECT_EQ(server->core, before);
  }
}

TEST(WebSocketFilterTest, ClosesInBothDirections) {
  const auto theirs = Server::open();
  theirs->take(frame(kBinary, "last") + frame(kClose, "\x03\xe8"));
  EXPECT_EQ(theirs->core, "last");
  EXPECT_EQ(theirs->filter.state(), State::kEnded);
  EXPECT_EQ(theirs->reply, std::string("\x88\x02\x03\xe8", 4));

  const auto ours = Server::open();
  std::string wire;
  ours->filter.finish(&wire);
  EXPECT_EQ(wire, std::string("\x88\x02\x03\xe8", 4));
}

TEST(WebSocketFilterTest, EveryPrefixWaits) {
  const std::string whole = kRequest + frame(kBinary, "payload");
  for (size_t size = 0; size < whole.size(); ++size) {
    Server server;
    server.take(Bytes(whole).substr(0, size));
    EXPECT_NE(server.filter.state(), State::kFailed) << size;
    EXPECT_TRUE(Bytes("payload").starts_with(server.core)) << size;
  }
}

// What the answer to a request with one line in another's place begins with.
std::string answer(Bytes line, Bytes instead, std::vector<std::string> origins = {}) {
  std::string request = kRequest;
  const size_t at = request.find(line);
  EXPECT_NE(at, std::string::npos) << line;
  request.replace(at, line.size(), instead);
  Server server(std::move(origins));
  server.take(request);
  EXPECT_EQ(server.filter.state() == State::kEstablished, server.reply.starts_with("HTTP/1.1 101 "));
  EXPECT_EQ(server.filter.state() == State::kFailed, !server.filter.failure().empty());
  return server.reply.substr(9, 3);
}

TEST(WebSocketUpgradeTest, NeedsEverythingItNeeds) {
  EXPECT_EQ(answer("/mqtt HTTP", "/ HTTP"), "101");
  EXPECT_EQ(answer("/mqtt HTTP", "/mqtt?a=b HTTP"), "101");
  EXPECT_EQ(answer("/mqtt HTTP", "/mqtt/ HTTP"), "404");
  EXPECT_EQ(answer("/mqtt HTTP", "http://hub.example/mqtt HTTP"), "404");
  EXPECT_EQ(answer("GET", "POST"), "400");
  EXPECT_EQ(answer("HTTP/1.1", "HTTP/1.0"), "400");
  EXPECT_EQ(answer("Host: hub.example\r\n", ""), "400");
  EXPECT_EQ(answer("Host: hub.example\r\n", "Host: a\r\nHost: b\r\n"), "400");
  EXPECT_EQ(answer("Upgrade: websocket", "Upgrade: h2c"), "400");
  EXPECT_EQ(answer("Upgrade: websocket", "UPGRADE: WebSocket"), "101");
  EXPECT_EQ(answer("keep-alive, Upgrade", "keep-alive"), "400");
  EXPECT_EQ(answer("Version: 13", "Version: 8"), "426");
  EXPECT_EQ(answer("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "400");
  EXPECT_EQ(answer("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ!=="), "400");
  EXPECT_EQ(answer("chat, mqtt", "mqttv3.1"), "101");
  EXPECT_EQ(answer("chat, mqtt", "chat"), "400");
  EXPECT_EQ(answer("chat, mqtt", "chat\r\nSec-WebSocket-Protocol: mqtt"), "101");
  EXPECT_EQ(answer("Sec-WebSocket-Protocol: chat, mqtt\r\n", ""), "400");
  EXPECT_EQ(answer("Upgrade: websocket", "Upgrade: web\r\n socket"), "400");
  EXPECT_EQ(answer("Upgrade: websocket", "Upgrade : websocket"), "400");
  EXPECT_EQ(answer("Upgrade: websocket", "Upgrade: websocket\nX: y"), "400");
  EXPECT_EQ(answer("Upgrade: websocket", Bytes("Upgrade: web\0socket", 19)), "400");
}

TEST(WebSocketUpgradeTest, TheNameOfTheStandardIsPreferred) {  // [MQTT-6.0.0-4]
  const auto chosen = [](const std::string& offered) {
    Server server;
    std::string request = kRequest;
    request.replace(request.find("chat, mqtt"), 10, offered);
    server.take(request);
    const size_t at = server.reply.find("Sec-WebSocket-Protocol: ");
    return at == std::string::npos ? ""
                                   : server.reply.substr(at + 24, server.reply.find("\r\n", at) - at - 24);
  };
  EXPECT_EQ(chosen("mqttv3.1, mqtt"), "mqtt");
  EXPECT_EQ(chosen("mqttv3.1\r\nSec-WebSocket-Protocol: mqtt"), "mqtt");
  EXPECT_EQ(chosen("mqtt, mqttv3.1"), "mqtt");
  EXPECT_EQ(chosen("mqttv3.1"), "mqttv3.1");
}

TEST(WebSocketUpgradeTest, IsBounded) {
  EXPECT_EQ(answer("Upgrade: websocket", "X: " + std::string(9000, 'x')), "431");
  std::string many;
  for (int i = 0; i < 100; ++i) many += "X: y\r\n";
  EXPECT_EQ(answer("Upgrade: websocket", many + "Upgrade: websocket"), "400");
}

TEST(WebSocketUpgradeTest, PagesFromElsewhereNeedToBeAllowed) {
  const auto from = [](const std::string& origin, std::vector<std::string> origins = {},
                       const std::string& host = "hub.example") {
    return answer("Host: hub.example\r\n", "Host: " + host + "\r\nOrigin: " + origin + "\r\n",
                  std::move(origins));
  };
  EXPECT_EQ(from("https://192.0.2.1", {}, "192.0.2.1"), "101");
  EXPECT_EQ(from("https://192.0.2.1:443", {}, "192.0.2.1"), "101");
  EXPECT_EQ(from("http://[2001:db8::1]:8080", {}, "[2001:db8::1]:8080"), "101");
  EXPECT_EQ(from("http://LocalHost:8080", {}, "localhost:8080"), "101");
  // A page's own name may be made to mean this machine after it was loaded.
  EXPECT_EQ(from("http://evil.example:9001", {}, "evil.example:9001"), "403");
  EXPECT_EQ(from("https://hub.example", {"https://hub.example"}), "101");
  EXPECT_EQ(from("http://hub.example:8080"), "403");
  EXPECT_EQ(from("https://hub.example.evil.example"), "403");
  EXPECT_EQ(from("null"), "403");
  EXPECT_EQ(from("https://app.example"), "403");
  EXPECT_EQ(from("https://app.example", {"https://other.example", "https://app.example"}), "101");
  EXPECT_EQ(from("null", {"*"}), "101");
}

}  // namespace
}  // namespace hf::io
