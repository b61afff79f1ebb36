// TLS as a byte filter, either end, over OpenSSL. OpenSSL reads from the bytes that receive() was given and writes to the
// end of a string: no socket, and no buffer of ours between the two.
//
// laborious(): the handshake goes to the handshake thread. After it, records cost a few microseconds each and are
// handled where the bytes are. All records of one call leave together.
#pragma once

#include <memory>

#include "io/filter.h"
#include "io/tls_context.h"

namespace hf::io {

class TlsFilter final : public Filter {
 public:
  // The end that answers.
  explicit TlsFilter(std::shared_ptr<const TlsContext> context);
  // The end that begins; `host` is whom the other's certificate has to name, a name or an address.
  TlsFilter(std::shared_ptr<const TlsContext> context, const std::string& host);
  ~TlsFilter() override;
  TlsFilter(const TlsFilter&) = delete;
  TlsFilter& operator=(const TlsFilter&) = delete;

  void receive(Bytes wire, std::string* core, std::string* reply) override;
  void send(Bytes core, std::string* wire) override;
  void finish(std::string* wire) override;
  State state() const override { return state_; }
  const std::string& failure() const override { return failure_; }
  bool laborious() const override { return true; }
  void tell(PeerFacts* facts) const override {
    facts->certificate_user = user_;
    facts->certificate = certificate_;
  }

  // What OpenSSL reads and writes during one call.
  struct Wire {
    Bytes in;
    std::string* out = nullptr;
  };

 private:
  void create();
  void shake_hands();
  void established();
  void fail();
  void fail(std::string why);

  const std::shared_ptr<const TlsContext> context_;
  const bool server_;
  Wire wire_;
  SSL* ssl_ = nullptr;
  State state_ = State::kHandshaking;
  std::string failure_;
  std::string user_;
  std::shared_ptr<const PeerCertificate> certificate_;
};

}  // namespace hf::io
