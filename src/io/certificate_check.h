// Looks again at the certificates of those who are connected, when authorities or revocation lists have changed: a piece of work
// for a thread of its own, because each of some thousand signatures costs a tenth of a millisecond.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/connection.h"
#include "io/tls_context.h"

namespace hf::io {

struct CertificateCheck {
  struct Peer {
    ConnectionId connection = 0;
    std::shared_ptr<const PeerCertificate> certificate;
  };
  struct Refusal {
    ConnectionId connection = 0;
    std::string why;  // "certificate revoked"
  };
  std::shared_ptr<const TlsContext> context;
  std::vector<Peer> peers;
  std::vector<Refusal> refused;  // The outcome.

  void run() {
    for (const Peer& peer : peers) {
      if (const auto good = context->verify(*peer.certificate); !good)
        refused.push_back({peer.connection, good.error()});
    }
  }
};

}  // namespace hf::io
