// Goal: two ends of TLS understand each other or fail with a sentence, whatever pieces the bytes come in. Method: a
// server's filter and a client's, certificates made on the spot, the wire between them a string.
#include "io/tls_filter.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <fstream>

#include "io/temporary_directory_testing.h"
#include "io/tls_testing.h"

namespace hf::io {
namespace {

using State = Filter::State;

class TlsFilterTest : public testing::Test {
 protected:
  TlsFilterTest() : authority_("Test authority", nullptr), stranger_("Another authority", nullptr) {
    authority_.write(path("ca.pem"));
    stranger_.write(path("stranger.pem"));
    make("server", "hub.example", "DNS:hub.example, IP:192.0.2.1");
  }
  std::string path(const std::string& name) const { return temporary_ / name; }
  void make(const std::string& file, const std::string& name, const std::string& san = "",
            long valid_s = 86400) {
    TestCertificate(name, &authority_, san, valid_s).write(path(file + ".pem"), path(file + ".key"));
    ::chmod(path(file + ".key").c_str(), 0600);
  }
  TlsServerFiles server_files() const { return {path("server.pem"), path("server.key"), ""}; }
  TlsClientFiles client_files() const { return {path("ca.pem"), "", "", ""}; }

  struct Ends {
    std::unique_ptr<TlsFilter> server;
    std::unique_ptr<TlsFilter> client;
    std::string at_server;
    std::string at_client;
    std::string to_server;
    std::string to_client;
  };
  Ends ends(const TlsServerFiles& server, const TlsClientFiles& client,
            const std::string& host = "hub.example") {
    const auto server_context = TlsContext::server(server, TlsContext::Protocol::kMqtt);
    const auto client_context = TlsContext::client(client);
    EXPECT_TRUE(server_context && client_context);
    Ends both;
    both.server = std::make_unique<TlsFilter>(*server_context);
    both.client = std::make_unique<TlsFilter>(*client_context, host);
    return both;
  }
  // Until nobody has anything to say; `step` bytes at a time.
  static void talk(Ends& both, size_t step = SIZE_MAX) {
    both.client->receive({}, &both.at_client, &both.to_server);
    for (int turn = 0; turn < 10'000 && !(both.to_server.empty() && both.to_client.empty()); ++turn) {
      const std::string up = both.to_server.substr(0, step);
      both.to_server.erase(0, up.size());
      if (!up.empty()) both.server->receive(up, &both.at_server, &both.to_client);
      const std::string down = both.to_client.substr(0, step);
      both.to_client.erase(0, down.size());
      if (!down.empty()) both.client->receive(down, &both.at_client, &both.to_server);
    }
  }
  static std::string user(const Ends& both) {
    PeerFacts facts;
    both.server->tell(&facts);
    return facts.certificate_user;
  }

  TemporaryDirectory temporary_;
  TestCertificate authority_;
  TestCertificate stranger_;
};

TEST_F(TlsFilterTest, CarriesBytesBothWays) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const size_t step : {size_t{1}, size_t{100}, SIZE_MAX}) {
      const auto context = TlsContext::client(client_files());
      SSL_CTX_set_max_proto_version((*context)->get(), version);
      Ends both = ends(server_files(), client_files());
      both.client = std::make_unique<TlsFilter>(*context, "hub.example");
      talk(both, step);
      ASSERT_EQ(both.server->state(), State::kEstablished) << both.server->failure();
      ASSERT_EQ(both.client->state(), State::kEstablished) << both.client->failure();
      const std::string large(100'000, 'x');
      both.client->send("up", &both.to_server);
      both.server->send(large, &both.to_client);
      EXPECT_EQ(both.to_client.find(large.substr(0, 50)), std::string::npos);
      talk(both, step == 1 ? 1000 : step);
      EXPECT_EQ(both.at_server, "up");
      EXPECT_EQ(both.at_client, large);
      both.client->send("last", &both.to_server);
      both.client->finish(&both.to_server);
      talk(both);
      EXPECT_EQ(both.at_server, "uplast");
      EXPECT_EQ(both.server->state(), State::kEnded);
    }
  }
}

TEST_F(TlsFilterTest, OldVersionsAreRefused) {
  const auto context = TlsContext::client(client_files());
  SSL_CTX_set_min_proto_version((*context)->get(), TLS1_1_VERSION);
  SSL_CTX_set_max_proto_version((*context)->get(), TLS1_1_VERSION);
  SSL_CTX_set_cipher_list((*context)->get(), "ALL:@SECLEVEL=0");
  Ends both = ends(server_files(), client_files());
  both.client = std::make_unique<TlsFilter>(*context, "hub.example");
  talk(both);
  EXPECT_EQ(both.server->state(), State::kFailed);
  EXPECT_EQ(both.server->failure(), "unsupported protocol");
}

TEST_F(TlsFilterTest, TheServersNameIsVerified) {
  Ends right = ends(server_files(), client_files(), "192.0.2.1");
  talk(right);
  EXPECT_EQ(right.client->state(), State::kEstablished) << right.client->failure();

  Ends wrong = ends(server_files(), client_files(), "other.example");
  talk(wrong);
  EXPECT_EQ(wrong.client->state(), State::kFailed);
  EXPECT_EQ(wrong.client->failure(), "certificate verify failed: hostname mismatch");
  EXPECT_EQ(wrong.server->state(), State::kFailed);

  Ends stranger = ends(server_files(), {path("stranger.pem"), "", "", ""});
  talk(stranger);
  EXPECT_EQ(stranger.client->failure(), "certificate verify failed: unable to get local issuer certificate");

  Ends nameless = ends(server_files(), client_files(), "");
  talk(nameless);
  EXPECT_EQ(nameless.client->state(), State::kFailed);
}

TEST_F(TlsFilterTest, AnExpiredCertificateIsRefusedByTheClient) {
  make("server", "hub.example", "DNS:hub.example", -86400);
  Ends both = ends(server_files(), client_files());
  talk(both);
  EXPECT_EQ(both.client->failure(), "certificate verify failed: certificate has expired");
}

TEST_F(TlsFilterTest, TheClientsCertificateGivesTheUser) {
  make("client", "sensor-7", "URI:urn:device:7");
  make("nobody", "", "URI:urn:device:8");
  TlsServerFiles server = server_files();
  server.client_ca = path("ca.pem");
  TlsClientFiles client = client_files();

  Ends without = ends(server, client);
  talk(without);
  EXPECT_EQ(without.server->failure(), "peer did not return a certificate");

  server.client_required = false;
  Ends optional = ends(server, client);
  talk(optional);
  EXPECT_EQ(optional.server->state(), State::kEstablished) << optional.server->failure();
  EXPECT_EQ(user(optional), "");

  client.certificate = path("client.pem");
  client.key = path("client.key");
  Ends named = ends(server, client);
  talk(named);
  EXPECT_EQ(user(named), "sensor-7");
  server.user_from = TlsServerFiles::UserFrom::kSan;
  Ends by_san = ends(server, client);
  talk(by_san);
  EXPECT_EQ(user(by_san), "urn:device:7");

  server.user_from = TlsServerFiles::UserFrom::kCommonName;
  client.certificate = path("nobody.pem");
  client.key = path("nobody.key");
  Ends nobody = ends(server, client);
  talk(nobody);
  EXPECT_EQ(nobody.server->failure(), "the client's certificate names no user");

  server.client_ca = path("stranger.pem");
  Ends stranger = ends(server, client);
  talk(stranger);
  EXPECT_TRUE(stranger.server->failure().starts_with("certificate verify failed: "))
      << stranger.server->failure();
}

// A client of OpenSSL's own parts, because it has to bring a session along.
struct RawClient {
  RawClient(SSL_CTX* context, SSL_SESSION* session) : ssl(SSL_new(context)) {
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
    SSL_set_verify(ssl, SSL_VERIFY_NONE, nullptr);
    if (session != nullptr) SSL_set_session(ssl, session);
  }
  ~RawClient() { SSL_free(ssl); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  // Until both are still.
  void talk(TlsFilter& server) {
    for (int turn = 0; turn < 10; ++turn) {
      char bytes[16384];
      size_t count = 0;
      (void)SSL_read_ex(ssl, bytes, sizeof bytes, &count);
      std::string core;
      std::string reply;
      const int out = BIO_read(SSL_get_wbio(ssl), bytes, sizeof bytes);
      if (out > 0) server.receive({bytes, static_cast<size_t>(out)}, &core, &reply);
      if (!reply.empty()) BIO_write(SSL_get_rbio(ssl), reply.data(), static_cast<int>(reply.size()));
    }
  }
  SSL* ssl;
};

TEST_F(TlsFilterTest, AResumedSessionKeepsTheUserAndEndsWithTheContext) {
  make("client", "sensor-7");
  TlsServerFiles files = server_files();
  files.client_ca = path("ca.pem");
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const auto context = *TlsContext::server(files, TlsContext::Protocol::kMqtt);
    const auto client_context =
        *TlsContext::client({path("ca.pem"), path("client.pem"), path("client.key"), ""});
    SSL_CTX_set_max_proto_version(client_context->get(), version);
    TlsFilter first_server(context);
    RawClient first(client_context->get(), nullptr);
    first.talk(first_server);
    ASSERT_EQ(first_server.state(), State::kEstablished) << first_server.failure();
    SSL_SESSION* const session = SSL_get1_session(first.ssl);

    TlsFilter second_server(context);
    RawClient second(client_context->get(), session);
    second.talk(second_server);
    EXPECT_EQ(second_server.state(), State::kEstablished) << second_server.failure();
    EXPECT_EQ(SSL_session_reused(second.ssl), 1);
    PeerFacts facts;
    second_server.tell(&facts);
    EXPECT_EQ(facts.certificate_user, "sensor-7");

    TlsFilter reloaded_server(*TlsContext::server(files, TlsContext::Protocol::kMqtt));
    RawClient third(client_context->get(), session);
    third.talk(reloaded_server);
    EXPECT_EQ(reloaded_server.state(), State::kEstablished) << reloaded_server.failure();
    EXPECT_EQ(SSL_session_reused(third.ssl), 0);
    SSL_SESSION_free(session);
  }
}

TEST_F(TlsFilterTest, RenegotiationIsRefused) {
  const auto client_context = *TlsContext::client(client_files());
  SSL_CTX_set_max_proto_version(client_context->get(), TLS1_2_VERSION);
  SSL_CTX_clear_options(client_context->get(), SSL_OP_NO_RENEGOTIATION);
  TlsFilter server(*TlsContext::server(server_files(), TlsContext::Protocol::kMqtt));
  RawClient client(client_context->get(), nullptr);
  client.talk(server);
  ASSERT_EQ(server.state(), State::kEstablished);
  ASSERT_EQ(SSL_renegotiate(client.ssl), 1);
  SSL_do_handshake(client.ssl);
  std::string core;
  std::string reply;
  char bytes[16384];
  const int out = BIO_read(SSL_get_wbio(client.ssl), bytes, sizeof bytes);
  ASSERT_GT(out, 0);
  server.receive({bytes, static_cast<size_t>(out)}, &core, &reply);
  EXPECT_LT(reply.size(), 100u);  // An alert, and no handshake.
}

TEST_F(TlsFilterTest, AnotherProtocolIsRefusedAndNoneIsTaken) {
  for (const auto& [offered, state] : {std::pair{std::string("\x08http/1.1"), State::kFailed},
                                       {std::string("\x08http/1.1\x04mqtt"), State::kEstablished},
                                       {std::string(), State::kEstablished}}) {
    const auto context = TlsContext::client(client_files());
    SSL_CTX_set_alpn_protos((*context)->get(), reinterpret_cast<const unsigned char*>(offered.data()),
                            static_cast<unsigned int>(offered.size()));
    Ends both = ends(server_files(), client_files());
    both.client = std::make_unique<TlsFilter>(*context, "hub.example");
    talk(both);
    EXPECT_EQ(both.server->state(), state) << offered << both.server->failure();
  }
}

TEST_F(TlsFilterTest, WhatIsNotTlsFailsWithASentence) {
  for (const Bytes wrong :
       {Bytes("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", 14), Bytes("GET / HTTP/1.1\r\n\r\n")}) {
    Ends both = ends(server_files(), client_files());
    both.server->receive(wrong, &both.at_server, &both.to_client);
    EXPECT_EQ(both.server->state(), State::kFailed);
    EXPECT_NE(both.server->failure(), "");
    EXPECT_EQ(both.at_server, "");
  }
}

TEST_F(TlsFilterTest, ADamagedRecordEndsIt) {
  Ends both = ends(server_files(), client_files());
  talk(both);
  both.client->send("something", &both.to_server);
  both.to_server.back() = static_cast<char>(both.to_server.back() ^ 1);
  both.server->receive(both.to_server, &both.at_server, &both.to_client);
  EXPECT_EQ(both.server->state(), State::kFailed);
  EXPECT_EQ(both.at_server, "");
}

TEST_F(TlsFilterTest, EveryPrefixOfAHandshakeWaits) {
  Ends both = ends(server_files(), client_files());
  std::string hello;
  both.client->receive({}, &both.at_client, &hello);
  for (size_t size = 0; size < hello.size(); ++size) {
    const auto context = TlsContext::server(server_files(), TlsContext::Protocol::kMqtt);
    TlsFilter server(*context);
    std::string core;
    std::string reply;
    server.receive(Bytes(hello).substr(0, size), &core, &reply);
    ASSERT_EQ(server.state(), State::kHandshaking) << size << ": " << server.failure();
    ASSERT_EQ(reply, "");
  }
}

TEST_F(TlsFilterTest, MistakesInFilesAreSentences) {
  const auto mistake = [](const TlsServerFiles& files) {
    const auto made = TlsContext::server(files, TlsContext::Protocol::kMqtt);
    return made ? std::string() : made.error().key + (": " + made.error().text);
  };
  TlsServerFiles files = server_files();
  EXPECT_EQ(mistake(files), "");
  files.certificate = path("none.pem");
  EXPECT_EQ(mistake(files), "certificate: cannot read " + path("none.pem") +
                                ": no such file or directory; name a PEM file that the node's user may read");
  std::ofstream(path("text.pem")) << "nothing of use";
  files.certificate = path("text.pem");
  EXPECT_TRUE(
      mistake(files).starts_with("certificate: " + path("text.pem") + " does not hold a certificate in PEM"))
      << mistake(files);
  files = server_files();
  files.key = path("text.pem");
  EXPECT_TRUE(mistake(files).starts_with("key: " + path("text.pem") + " does not hold a private key"))
      << mistake(files);
  make("other", "hub.example");
  files.key = path("other.key");
  EXPECT_EQ(mistake(files), "key: " + path("other.key") + " is not the key of the certificate in " +
                                path("server.pem") + "; both come from the same request");
  files = server_files();
  files.client_ca = path("text.pem");
  EXPECT_TRUE(mistake(files).starts_with("client_ca: " + path("text.pem"))) << mistake(files);
}

TEST_F(TlsFilterTest, WhatIsOldOrOpenIsSaid) {
  make("server", "hub.example", "", -86400);
  ::chmod(path("server.key").c_str(), 0644);
  const auto made = TlsContext::server(server_files(), TlsContext::Protocol::kMqtt);
  ASSERT_TRUE(made);
  ASSERT_EQ((*made)->warnings().size(), 2u);
  EXPECT_NE((*made)->warnings()[0].text.find(" expired on "), std::string::npos);
  EXPECT_NE((*made)->warnings()[1].text.find("chmod 0400 " + path("server.key")), std::string::npos);
  EXPECT_TRUE((*made)->summary().starts_with("CN=hub.example, good until ")) << (*made)->summary();
}

}  // namespace
}  // namespace hf::io
