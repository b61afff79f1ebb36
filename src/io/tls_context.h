// What TLS needs from files: certificate, key, authorities. Loaded as a whole and never changed: a reload makes another one,
// which new handshakes take, while connections that stand keep what they were made with.
//
// TLS 1.2 and 1.3, forward secrecy and authenticated ciphers only, no renegotiation, no compression, no early data.
// Tickets are good for one context: whoever comes back after a reload is checked against the new files.
#pragma once

#include <openssl/types.h>
#include <openssl/x509.h>

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hf::io {

struct TlsServerFiles {
  std::string certificate;  // PEM, with the chain behind it.
  std::string key;
  std::string client_ca;        // Empty: clients are not asked for certificates.
  std::string client_crl;       // With client_ca: lists of revoked certificates. Empty: none is revoked.
  bool client_required = true;  // With client_ca: without a certificate nobody gets in.
  enum class UserFrom : uint8_t { kCommonName, kSan } user_from = UserFrom::kCommonName;
};

struct TlsClientFiles {
  std::string ca;           // Empty: the system's authorities.
  std::string certificate;  // Both or neither.
  std::string key;
  std::string server_name;  // Empty: the host that is dialed.
};

struct TlsMistake {
  const char* key = "";  // The configuration's key it belongs to: "certificate".
  std::string text;      // A sentence with the path and what to do.
};

// What a client showed of itself, to be looked at again when authorities and revocation lists change.
class PeerCertificate {
 public:
  // Null if it showed none.
  static std::shared_ptr<const PeerCertificate> of(const SSL* ssl);
  ~PeerCertificate();
  PeerCertificate(const PeerCertificate&) = delete;
  PeerCertificate& operator=(const PeerCertificate&) = delete;

 private:
  friend class TlsContext;
  PeerCertificate() = default;

  X509* own_ = nullptr;
  STACK_OF(X509) * chain_ = nullptr;  // Those that lead to an authority; null in a session that was resumed.
};

class TlsContext {
 public:
  enum class Protocol : uint8_t { kMqtt, kHttp };  // What ALPN calls `mqtt` and `http/1.1`.
  using Loaded = std::expected<std::shared_ptr<const TlsContext>, TlsMistake>;

  static Loaded server(const TlsServerFiles& files, Protocol protocol);
  static Loaded client(const TlsClientFiles& files);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  SSL_CTX* get() const { return context_; }
  TlsServerFiles::UserFrom user_from() const { return user_from_; }
  // Things that are not as they should be and do not stop anything: an expired certificate, an open key file.
  struct Warning {
    const char* event = "";
    std::string text;
  };
  const std::vector<Warning>& warnings() const { return warnings_; }
  // "CN=hub.example, good until 2027-03-01"; empty if there is no certificate.
  const std::string& summary() const { return summary_; }
  // When it is good no more, since 1970; nothing if there is no certificate.
  std::optional<int64_t> not_after_s() const { return not_after_s_; }
  // When the oldest of the revocation lists was made, since 1970; nothing if there is none.
  std::optional<int64_t> crl_made_s() const { return crl_made_s_; }
  // The same as long as the same clients' certificates are good.
  const std::string& trust() const { return trust_; }
  // Whether a client may go on with its certificate. The error is why not: "certificate revoked". From any thread.
  std::expected<void, std::string> verify(const PeerCertificate& peer) const;
  // The same for files of the same content.
  const std::string& digest() const { return digest_; }

 private:
  explicit TlsContext(bool server);
  std::expected<void, TlsMistake> take_file(const char* key, const std::string& path);
  std::expected<void, TlsMistake> take_pair(const std::string& certificate, const std::string& key);
  std::expected<void, TlsMistake> take_authorities(const TlsServerFiles& files);
  std::expected<void, TlsMistake> take_crl(const TlsServerFiles& files);

  SSL_CTX* context_ = nullptr;
  TlsServerFiles::UserFrom user_from_ = TlsServerFiles::UserFrom::kCommonName;
  std::vector<Warning> warnings_;
  std::string summary_;
  std::optional<int64_t> not_after_s_;
  std::optional<int64_t> crl_made_s_;
  std::string trust_;
  std::string digest_;
};

// What OpenSSL says of the last error of this thread, in the form our sentences use it; forgets it.
std::string tls_error_text();

}  // namespace hf::io
