// Goal: a certificate that was revoked is refused, at the door and, when the list changes, also where it got in already; a list
// that is old still counts, and one that says nothing of an authority is a mistake. Method: the two ends of TLS without a network,
// and the loop with real sockets.
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <fstream>

#include "io/event_loop_testing.h"
#include "io/tls_filter.h"
#include "io/tls_testing.h"

namespace hf::io {
namespace {

using State = Filter::State;

class RevocationTest : public EventLoopTest {
 protected:
  RevocationTest()
      : authority_("Test authority", nullptr),
        stranger_("Another authority", nullptr),
        server_("hub", &authority_, "DNS:hub"),
        good_("press-7", &authority_),
        bad_("press-8", &authority_) {
    authority_.write(path("ca.pem"));
    write("server", server_);
    write("good", good_);
    write("bad", bad_);
    revoke({});
  }
  std::string path(const std::string& name) const { return temporary_ / name; }
  void write(const std::string& name, const TestCertificate& certificate) {
    certificate.write(path(name + ".pem"), path(name + ".key"));
    ::chmod(path(name + ".key").c_str(), 0600);
  }
  void revoke(const std::vector<const TestCertificate*>& revoked, long next_s = 86400) {
    authority_.write_revoked(path("crl.pem"), revoked, next_s);
  }
  TlsServerFiles server_files() const {
    return {.certificate = path("server.pem"),
            .key = path("server.key"),
            .client_ca = path("ca.pem"),
            .client_crl = path("crl.pem")};
  }
  TlsClientFiles client_files(const std::string& name) const {
    return {path("ca.pem"), path(name + ".pem"), path(name + ".key"), ""};
  }
  TlsContext::Loaded load() const { return TlsContext::server(server_files(), TlsContext::Protocol::kMqtt); }

  // What became of a handshake at the server's end: "" if it stands.
  static std::string shake_hands(TlsFilter& client, TlsFilter& server, std::string* core = nullptr) {
    std::string ignored, to_server, to_client;
    client.receive({}, &ignored, &to_server);
    while (!to_server.empty() || !to_client.empty()) {
      server.receive(std::exchange(to_server, ""), core == nullptr ? &ignored : core, &to_client);
      client.receive(std::exchange(to_client, ""), &ignored, &to_server);
    }
    return server.state() == State::kEstablished ? "" : server.failure();
  }
  std::string at_the_door(const std::string& name) const {
    TlsFilter client(*TlsContext::client(client_files(name)), "hub");
    TlsFilter server(*load());
    return shake_hands(client, server);
  }

  TestCertificate authority_;
  TestCertificate stranger_;
  TestCertificate server_;
  TestCertificate good_;
  TestCertificate bad_;
};

TEST_F(RevocationTest, ARevokedCertificateIsRefusedAtTheDoor) {
  EXPECT_EQ(at_the_door("good"), "");
  EXPECT_EQ(at_the_door("bad"), "");
  revoke({&bad_});
  EXPECT_EQ(at_the_door("good"), "");
  EXPECT_EQ(at_the_door("bad"), "certificate verify failed: certificate revoked");
}

TEST_F(RevocationTest, AnOldListStillCountsAndIsSaid) {
  revoke({&bad_}, -3600);
  EXPECT_EQ(at_the_door("good"), "");
  EXPECT_EQ(at_the_door("bad"), "certificate verify failed: certificate revoked");
  const auto loaded = load();
  ASSERT_EQ((*loaded)->warnings().size(), 1u);
  EXPECT_STREQ((*loaded)->warnings()[0].event, "HF-TLS-007");
  EXPECT_NE((*loaded)->warnings()[0].text.find("should have been renewed on"), std::string::npos);
  ASSERT_TRUE((*loaded)->crl_made_s());
}

TEST_F(RevocationTest, EveryAuthorityHasToHaveItsList) {
  stranger_.write(path("stranger.pem"));
  std::ofstream(path("ca.pem"), std::ios::app) << std::ifstream(path("stranger.pem")).rdbuf();
  const auto missing = load();
  ASSERT_FALSE(missing);
  EXPECT_STREQ(missing.error().key, "client_crl");
  EXPECT_NE(missing.error().text.find("no list that CN=Another authority"), std::string::npos)
      << missing.error().text;
  stranger_.write_revoked(path("other.pem"), {});
  std::ofstream(path("crl.pem"), std::ios::app) << std::ifstream(path("other.pem")).rdbuf();
  EXPECT_TRUE(load());
}

TEST_F(RevocationTest, AListThatIsNoneIsAMistake) {
  for (const char* text : {"", "nonsense", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"}) {
    std::ofstream(path("crl.pem")) << text;
    const auto loaded = load();
    ASSERT_FALSE(loaded) << text;
    EXPECT_NE(loaded.error().text.find("does not hold certificate revocation lists in PEM"),
              std::string::npos);
  }
  // Somebody else's, under the same name.
  const TestCertificate impostor("Test authority", nullptr);
  impostor.write_revoked(path("crl.pem"), {});
  EXPECT_FALSE(load());
  // A whole one and half of another.
  revoke({});
  std::ofstream(path("crl.pem"), std::ios::app) << "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
  EXPECT_FALSE(load());
}

TEST_F(RevocationTest, WhatWasShownCanBeLookedAtAgain) {
  const auto before = *load();
  TlsFilter client(*TlsContext::client(client_files("bad")), "hub");
  TlsFilter server(before);
  ASSERT_EQ(shake_hands(client, server), "");
  PeerFacts facts;
  server.tell(&facts);
  ASSERT_TRUE(facts.certificate);
  EXPECT_TRUE(before->verify(*facts.certificate));
  revoke({&bad_});
  const auto after = *load();
  EXPECT_NE(before->trust(), after->trust());
  ASSERT_FALSE(after->verify(*facts.certificate));
  EXPECT_EQ(after->verify(*facts.certificate).error(), "certificate revoked");
  // Another certificate of our own changes nothing for clients.
  write("server", TestCertificate("hub", &authority_, "DNS:hub"));
  EXPECT_EQ((*load())->trust(), after->trust());
  EXPECT_NE((*load())->digest(), after->digest());
  // Another authority.
  stranger_.write(path("ca.pem"));
  stranger_.write_revoked(path("crl.pem"), {});
  EXPECT_FALSE((*load())->verify(*facts.certificate));
}

// The loop: who is connected is cut off, and only who is meant.
TEST_F(RevocationTest, WhoIsConnectedIsCutOff) {
  doors_.push_back({.address = "127.0.0.1:0", .tls = server_files()});
  start();
  const auto connect = [&](const std::string& name) {
    auto filter = std::make_unique<TlsFilter>(*TlsContext::client(client_files(name)), "hub");
    auto socket = std::make_unique<Client>(Client::tcp(door(0)));
    std::string wire, core;
    filter->receive({}, &core, &wire);
    socket->send(wire);
    while (filter->state() == State::kHandshaking) {
      char bytes[16384];
      const ssize_t count = ::recv(socket->get(), bytes, sizeof bytes, 0);
      if (count <= 0) break;
      wire.clear();
      filter->receive({bytes, static_cast<size_t>(count)}, &core, &wire);
      socket->send(wire);
    }
    EXPECT_EQ(filter->state(), State::kEstablished) << filter->failure();
    return socket;
  };
  const auto good = connect("good");
  const auto bad = connect("bad");
  ASSERT_TRUE(core_.wait_until([](TestCore& core) { return core.connected_.size() == 2; }));
  const Client halfway = Client::tcp(door(0));  // It never says a word, and is not to get in by the old list.
  revoke({&bad_});
  EXPECT_TRUE(logged("HF-TLS-008 closed the connection of press-8 from 127.0.0.1"));
  EXPECT_TRUE(logged("certificate revoked"));
  EXPECT_TRUE(core_.saw("closed"));
  bad->receive(SIZE_MAX);  // To its end.
  std::lock_guard lock(core_.mutex_);
  EXPECT_EQ(std::count(core_.diary_.begin(), core_.diary_.end(), "closed"), 1);
  EXPECT_EQ(log_.find("press-7"), std::string::npos);
}

}  // namespace
}  // namespace hf::io
