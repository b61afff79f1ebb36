#include "io/tls_context.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/assert.h"
#include "base/bytes.h"
#include "io/errno_text.h"
#include "io/file_descriptor.h"

namespace hf::io {

namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL";
// What ALPN is told, with the length in front. RFC 7301; `mqtt` is registered with IANA.
constexpr unsigned char kAlpnMqtt[] = "\x04mqtt";
constexpr unsigned char kAlpnHttp[] = "\x08http/1.1";

// A client that offers protocols and ours is not among them speaks to the wrong port, or is made to (ALPACA); one that
// offers none is from before there was a name.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                    unsigned int offered_size, void* ours) {
  const auto* wanted = static_cast<const unsigned char*>(ours);
  for (unsigned int at = 0; at < offered_size && at + 1u + offered[at] <= offered_size;
       at += 1u + offered[at]) {
    if (offered[at] == wanted[0] && std::memcmp(offered + at + 1, wanted + 1, wanted[0]) == 0) {
      *out = offered + at + 1;
      *out_size = offered[at];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// A key with a passphrase would make OpenSSL ask for it on the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

std::expected<std::string, int> read_whole(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return std::unexpected(errno);
  std::string content;
  char part[16384];
  while (content.size() <= kFileBytesMax) {
    const ssize_t count = ::read(file.get(), part, sizeof part);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(errno);
    if (count == 0) return content;
    content.append(part, static_cast<size_t>(count));
  }
  return std::unexpected(EFBIG);
}

std::string sha256(Bytes bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HF_ASSERT(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) == 1);
  return {reinterpret_cast<const char*>(digest), size};
}

std::string date_text(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "a date that cannot be read";
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

std::string subject_text(const X509* certificate) {
  BIO* const out = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(out, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  std::string subject(text, static_cast<size_t>(std::max(size, 0L)));
  BIO_free(out);
  return subject;
}

// A site whose link is down gets no new lists for weeks. One that is due to be renewed, or that is from the future of a machine
// without the time, still says who is revoked: it is used, and a warning says so. To refuse everybody instead would
// stop the site for no gain.
int allow_old_lists(int good, X509_STORE_CTX* check) {
  const int error = X509_STORE_CTX_get_error(check);
  if (good == 1 || (error != X509_V_ERR_CRL_HAS_EXPIRED && error != X509_V_ERR_CRL_NOT_YET_VALID))
    return good;
  X509_STORE_CTX_set_error(check, X509_V_OK);
  return 1;
}

TlsMistake mistake(const char* key, std::string text) { return {key, std::move(text)}; }

}  // namespace

std::string tls_error_text() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "the connection broke";
  if (ERR_GET_REASON(code) == ERR_R_SYS_LIB || ERR_SYSTEM_ERROR(code))
    return errno_text(ERR_GET_REASON(code));
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "error " + std::to_string(code) : reason;
}

TlsContext::TlsContext(bool server)
    : context_(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method())) {
  HF_ASSERT(context_ != nullptr);
  HF_ASSERT(SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION) == 1);
  HF_ASSERT(SSL_CTX_set_cipher_list(context_, kCiphers) == 1);
  SSL_CTX_set_options(context_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  // Buffers of 16 KiB and more only while they hold something: most connections are silent most of the time.
  SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(context_, no_passphrase);
  // Tickets hold the state of sessions; the server remembers nothing.
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
  if (server) {
    SSL_CTX_set_num_tickets(context_, 1);
    constexpr unsigned char kSessionId[] = "holdfast";
    SSL_CTX_set_session_id_context(context_, kSessionId, sizeof kSessionId - 1);
  }
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

std::expected<void, TlsMistake> TlsContext::take_file(const char* key, const std::string& path) {
  auto content = read_whole(path);
  if (!content) {
    return std::unexpected(mistake(key, "cannot read " + path + ": " + errno_text(content.error()) +
                                            "; name a PEM file that the node's user may read"));
  }
  digest_ = sha256(digest_ + sha256(*content));
  std::fill(content->begin(), content->end(), '\0');  // It may be a key.
  return {};
}

std::expected<void, TlsMistake> TlsContext::take_pair(const std::string& certificate,
                                                      const std::string& key) {
  if (const auto read = take_file("certificate", certificate); !read) return read;
  if (const auto read = take_file("key", key); !read) return read;
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context_, certificate.c_str()) != 1) {
    return std::unexpected(
        mistake("certificate", certificate + " does not hold a certificate in PEM: " + tls_error_text()));
  }
  if (SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    const unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH) {
      ERR_clear_error();
      return std::unexpected(mistake("key", key + " is not the key of the certificate in " + certificate +
                                                "; both come from the same request"));
    }
    return std::unexpected(mistake(
        "key", key + " does not hold a private key in PEM without a passphrase: " + tls_error_text()));
  }
  if (SSL_CTX_check_private_key(context_) != 1) {
    ERR_clear_error();
    return std::unexpected(mistake("key", key + " is not the key of the certificate in " + certificate +
                                              "; both come from the same request"));
  }
  const X509* const own = SSL_CTX_get0_certificate(context_);
  const std::string until = date_text(X509_get0_notAfter(own));
  if (std::tm parts{}; ASN1_TIME_to_tm(X509_get0_notAfter(own), &parts) == 1) not_after_s_ = ::timegm(&parts);
  summary_ = subject_text(own) + ", good until " + until;
  if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0) {
    warnings_.push_back({"HF-TLS-003", "the certificate in " + certificate + " expired on " + until +
                                           "; peers will refuse it: put a new one in its place"});
  } else if (X509_cmp_current_time(X509_get0_notBefore(own)) > 0) {
    warnings_.push_back({"HF-TLS-003", "the certificate in " + certificate + " is not good before " +
                                           date_text(X509_get0_notBefore(own)) +
                                           "; is the clock of this machine right?"});
  }
  struct stat about{};
  if (::stat(key.c_str(), &about) == 0 && (about.st_mode & 0007) != 0) {
    warnings_.push_back(
        {"HF-TLS-004",
         key + " may be read by everybody on this machine; set it right with: chmod 0400 " + key});
  }
  return {};
}

TlsContext::Loaded TlsContext::server(const TlsServerFiles& files, Protocol protocol) {
  std::shared_ptr<TlsContext> made(new TlsContext(/*server=*/true));
  SSL_CTX* const context = made->context_;
  made->user_from_ = files.user_from;
  if (const auto taken = made->take_pair(files.certificate, files.key); !taken)
    return std::unexpected(taken.error());
  SSL_CTX_set_alpn_select_cb(context, choose_protocol,
                             const_cast<unsigned char*>(protocol == Protocol::kMqtt ? kAlpnMqtt : kAlpnHttp));
  if (files.client_ca.empty()) return made;
  if (const auto taken = made->take_authorities(files); !taken) return std::unexpected(taken.error());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (files.client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     allow_old_lists);
  return made;
}

std::expected<void, TlsMistake> TlsContext::take_authorities(const TlsServerFiles& files) {
  const std::string before = std::exchange(digest_, "");
  if (const auto read = take_file("client_ca", files.client_ca); !read) return read;
  STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(files.client_ca.c_str());
  if (names == nullptr || SSL_CTX_load_verify_file(context_, files.client_ca.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return std::unexpected(
        mistake("client_ca", files.client_ca + " does not hold a certificate in PEM: " + tls_error_text()));
  }
  SSL_CTX_set_client_CA_list(context_, names);
  if (!files.client_crl.empty()) {
    if (auto taken = take_crl(files); !taken) return taken;
  }
  trust_ = digest_;
  digest_ = sha256(before + trust_);
  return {};
}

// Every authority has to have its list, signed by itself: without one nobody could say whether what it signed is good, and all of
// it would be refused at the door, far from the mistake.
std::expected<void, TlsMistake> TlsContext::take_crl(const TlsServerFiles& files) {
  if (auto read = take_file("client_crl", files.client_crl); !read) return read;
  std::vector<std::unique_ptr<X509_CRL, decltype(&X509_CRL_free)>> lists;
  X509_STORE* const store = SSL_CTX_get_cert_store(context_);
  BIO* const in = BIO_new_file(files.client_crl.c_str(), "r");
  while (X509_CRL* const list =
             in == nullptr ? nullptr : PEM_read_bio_X509_CRL(in, nullptr, nullptr, nullptr)) {
    lists.emplace_back(list, X509_CRL_free);
    X509_STORE_add_crl(store, list);
  }
  BIO_free(in);
  const unsigned long code = ERR_peek_last_error();
  const bool at_end = lists.empty() || ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  const std::string error = tls_error_text();
  if (lists.empty() || !at_end) {
    return std::unexpected(mistake(
        "client_crl", files.client_crl + " does not hold certificate revocation lists in PEM: " + error));
  }
  STACK_OF(X509_OBJECT)* const objects = X509_STORE_get0_objects(store);
  for (int i = 0; i < sk_X509_OBJECT_num(objects); ++i) {
    X509* const authority = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
    if (authority == nullptr) continue;
    const auto own = std::find_if(lists.begin(), lists.end(), [&](const auto& list) {
      return X509_NAME_cmp(X509_CRL_get_issuer(list.get()), X509_get_subject_name(authority)) == 0 &&
             X509_CRL_verify(list.get(), X509_get0_pubkey(authority)) == 1;
    });
    ERR_clear_error();
    if (own != lists.end()) continue;
    return std::unexpected(
        mistake("client_crl", files.client_crl + " holds no list that " + subject_text(authority) + " of " +
                                  files.client_ca + " has signed; put the lists of all authorities into it"));
  }
  for (const auto& list : lists) {
    std::tm parts{};
    if (ASN1_TIME_to_tm(X509_CRL_get0_lastUpdate(list.get()), &parts) == 1) {
      const int64_t made_s = ::timegm(&parts);
      crl_made_s_ = std::min(crl_made_s_.value_or(made_s), made_s);
    }
    const ASN1_TIME* const next = X509_CRL_get0_nextUpdate(list.get());
    if (next != nullptr && X509_cmp_current_time(next) < 0) {
      warnings_.push_back({"HF-TLS-007", "the revocation list in " + files.client_crl +
                                             " should have been renewed on " + date_text(next) +
                                             "; what it says holds until another one is there"});
    }
  }
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return {};
}

std::expected<void, std::string> TlsContext::verify(const PeerCertificate& peer) const {
  X509_STORE_CTX* const check = X509_STORE_CTX_new();
  HF_ASSERT(check != nullptr);
  ERR_clear_error();
  int good = X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context_), peer.own_, peer.chain_);
  if (good == 1) good = X509_STORE_CTX_set_default(check, "ssl_client");
  X509_STORE_CTX_set_verify_cb(check, allow_old_lists);
  if (good == 1) good = X509_verify_cert(check);
  const int error = X509_STORE_CTX_get_error(check);
  X509_STORE_CTX_free(check);
  ERR_clear_error();
  if (good == 1) return {};
  return std::unexpected(std::string(X509_verify_cert_error_string(error)));
}

// --- PeerCertificate.

std::shared_ptr<const PeerCertificate> PeerCertificate::of(const SSL* ssl) {
  X509* const own = SSL_get1_peer_certificate(ssl);
  if (own == nullptr) return nullptr;
  std::shared_ptr<PeerCertificate> made(new PeerCertificate());
  made->own_ = own;
  STACK_OF(X509)* const chain = SSL_get_peer_cert_chain(ssl);
  if (chain != nullptr) made->chain_ = X509_chain_up_ref(chain);
  return made;
}

PeerCertificate::~PeerCertificate() {
  X509_free(own_);
  sk_X509_pop_free(chain_, X509_free);
}

TlsContext::Loaded TlsContext::client(const TlsClientFiles& files) {
  std::shared_ptr<TlsContext> made(new TlsContext(/*server=*/false));
  SSL_CTX* const context = made->context_;
  if (!files.certificate.empty()) {
    if (const auto taken = made->take_pair(files.certificate, files.key); !taken)
      return std::unexpected(taken.error());
  }
  if (files.ca.empty()) {
    SSL_CTX_set_default_verify_paths(context);
  } else {
    if (const auto read = made->take_file("ca", files.ca); !read) return std::unexpected(read.error());
    if (SSL_CTX_load_verify_file(context, files.ca.c_str()) != 1) {
      return std::unexpected(
          mistake("ca", files.ca + " does not hold a certificate in PEM: " + tls_error_text()));
    }
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  HF_ASSERT(SSL_CTX_set_alpn_protos(context, kAlpnMqtt, sizeof kAlpnMqtt - 1) == 0);
  return made;
}

}  // namespace hf::io
