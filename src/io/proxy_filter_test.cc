// Goal: a right PROXY header gives the client's address and lets through what follows it, anything else is refused, and
// no cut makes a difference. Method: golden headers, each in every split; every prefix.
#include "io/proxy_filter.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace hf::io {
namespace {

using State = Filter::State;

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string header(uint8_t version_and_command, uint8_t family, Bytes rest) {
  std::string all = kSignature;
  put_u8(all, version_and_command);
  put_u8(all, family);
  put_u16be(all, static_cast<uint16_t>(rest.size()));
  return all.append(rest);
}

std::string tcp4() {
  return from_hex(
      "c0000221"
      "7f000001"
      "d431"
      "22b3");
}  // 192.0.2.33:54321 to 127.0.0.1:8883
std::string tcp6() {
  return from_hex(
      "20010db8000000000000000000000007"
      "00000000000000000000000000000001"
      "0539"
      "22b3");
}

struct Outcome {
  State state = State::kHandshaking;
  std::string core;
  std::string address;
  bool proxied = false;
  std::string failure;
};

Outcome run(Bytes first, Bytes second = {}) {
  ProxyFilter filter;
  Outcome outcome;
  std::string reply;
  for (const Bytes part : {first, second}) filter.receive(part, &outcome.core, &reply);
  EXPECT_EQ(reply, "");
  outcome.state = filter.state();
  outcome.failure = filter.failure();
  PeerFacts facts;
  filter.tell(&facts);
  outcome.proxied = facts.proxied;
  if (facts.address) outcome.address = facts.address->text();
  return outcome;
}

TEST(ProxyFilterTest, GivesTheClientsAddress) {
  struct Golden {
    std::string header;
    std::string address;
    bool proxied;
  };
  const std::string tlv = from_hex("030004a1b2c3d4");
  const Golden golden[] = {
      {header(0x21, 0x11, tcp4()), "192.0.2.33:54321", true},
      {header(0x21, 0x11, tcp4() + tlv), "192.0.2.33:54321", true},
      {header(0x21, 0x21, tcp6() + tlv), "[2001:db8::7]:1337", true},
      {header(0x21, 0x31, std::string(216, 'p')), "unix", true},
      {header(0x21, 0x00, ""), "", true},
      {header(0x20, 0x00, ""), "", false},
      {header(0x20, 0x11, tcp4()), "", false},
  };
  for (const Golden& one : golden) {
    const std::string stream = one.header + "\x10 and what follows";
    for (size_t cut = 0; cut <= stream.size(); ++cut) {
      const Outcome outcome = run(Bytes(stream).substr(0, cut), Bytes(stream).substr(cut));
      ASSERT_EQ(outcome.state, State::kEstablished) << outcome.failure;
      EXPECT_EQ(outcome.core, "\x10 and what follows");
      EXPECT_EQ(outcome.address, one.address);
      EXPECT_EQ(outcome.proxied, one.proxied);
    }
  }
}

TEST(ProxyFilterTest, EveryPrefixWaits) {
  const std::string whole = header(0x21, 0x21, tcp6());
  for (size_t size = 0; size < whole.size(); ++size) {
    const Outcome outcome = run(Bytes(whole).substr(0, size));
    EXPECT_EQ(outcome.state, State::kHandshaking) << size;
    EXPECT_EQ(outcome.core, "");
    EXPECT_FALSE(outcome.proxied);
  }
}

TEST(ProxyFilterTest, RefusesEverythingElse) {
  EXPECT_EQ(run("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n").failure,
            "the PROXY header is of version 1; version 2 is needed");
  EXPECT_EQ(run("\x10\x0c").failure, "no PROXY header (version 2) was sent");
  EXPECT_EQ(run("\r\n\r\nX").failure, "no PROXY header (version 2) was sent");
  EXPECT_EQ(run(header(0x11, 0x11, tcp4())).failure, "the PROXY header is of a version that is not 2");
  EXPECT_EQ(run(header(0x22, 0x11, tcp4())).failure, "the PROXY header has an unknown command");
  EXPECT_EQ(run(header(0x21, 0x41, tcp4())).failure, "the PROXY header has an unknown address family");
  EXPECT_EQ(run(header(0x21, 0x12, tcp4())).failure, "the PROXY header speaks of datagrams");
  EXPECT_EQ(run(header(0x21, 0x11, "short")).failure, "the PROXY header ends before its addresses do");
  EXPECT_EQ(run(header(0x21, 0x11, std::string(5000, 'x'))).failure, "the PROXY header is too long");
}

}  // namespace
}  // namespace hf::io
