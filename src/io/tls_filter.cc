#include "io/tls_filter.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace hf::io {

namespace {

constexpr size_t kRecordBytesMax = 16 << 10;
constexpr size_t kUserBytesMax = 256;

// --- A BIO over TlsFilter::Wire. OpenSSL's own memory BIOs would copy everything twice, and keep the largest buffer they ever
// needed for as long as the connection lives.

int wire_read(BIO* bio, char* out, size_t size, size_t* count) {
  auto* wire = static_cast<TlsFilter::Wire*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  *count = std::min(size, wire->in.size());
  if (*count == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  std::memcpy(out, wire->in.data(), *count);
  wire->in.remove_prefix(*count);
  return 1;
}

int wire_write(BIO* bio, const char* bytes, size_t size, size_t* count) {
  auto* wire = static_cast<TlsFilter::Wire*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  // Outside of a call nobody takes what OpenSSL says, and it has nothing to say.
  if (wire->out != nullptr) wire->out->append(bytes, size);
  *count = size;
  return 1;
}

long wire_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO_METHOD* wire_method() {
  static BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "holdfast");
    HF_ASSERT(method != nullptr);
    BIO_meth_set_read_ex(method, wire_read);
    BIO_meth_set_write_ex(method, wire_write);
    BIO_meth_set_ctrl(method, wire_control);
    return method;
  }();
  return kMethod;
}

// --- Names in certificates.

// Empty if it is not a name: none, too long, or with a NUL inside, which the next one to read it might take for its end.
std::string name_text(const ASN1_STRING* string) {
  if (string == nullptr) return "";
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, string);
  if (size < 0) return "";
  std::string text(reinterpret_cast<const char*>(utf8), static_cast<size_t>(size));
  OPENSSL_free(utf8);
  if (text.size() > kUserBytesMax || text.find('\0') != std::string::npos) return "";
  return text;
}

std::string common_name(X509* certificate) {
  const X509_NAME* const subject = X509_get_subject_name(certificate);
  const int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (index < 0) return "";
  return name_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)));
}

// The first DNS name or URI.
std::string alternative_name(X509* certificate) {
  auto* const names =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  std::string found;
  for (int i = 0; i < sk_GENERAL_NAME_num(names) && found.empty(); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) found = name_text(name->d.dNSName);
    if (name->type == GEN_URI) found = name_text(name->d.uniformResourceIdentifier);
  }
  GENERAL_NAMES_free(names);
  return found;
}

}  // namespace

TlsFilter::TlsFilter(std::shared_ptr<const TlsContext> context)
    : context_(std::move(context)), server_(true) {
  create();
  SSL_set_accept_state(ssl_);
}

TlsFilter::TlsFilter(std::shared_ptr<const TlsContext> context, const std::string& host)
    : context_(std::move(context)), server_(false) {
  create();
  SSL_set_connect_state(ssl_);
  X509_VERIFY_PARAM* const wanted = SSL_get0_param(ssl_);
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1) return;
  ERR_clear_error();
  X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  // A name that cannot be checked must not pass unchecked.
  if (X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), host.size()) != 1 ||
      SSL_set_tlsext_host_name(ssl_, host.c_str()) != 1) {
    fail("\"" + host + "\" is not a name that a certificate can hold");
  }
}

TlsFilter::~TlsFilter() { SSL_free(ssl_); }

void TlsFilter::create() {
  ssl_ = SSL_new(context_->get());
  BIO* const bio = BIO_new(wire_method());
  HF_ASSERT(ssl_ != nullptr && bio != nullptr);
  BIO_set_data(bio, &wire_);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
}

void TlsFilter::receive(Bytes wire, std::string* core, std::string* reply) {
  if (state_ != State::kHandshaking && state_ != State::kEstablished) return;
  wire_ = {wire, reply};
  ERR_clear_error();
  if (state_ == State::kHandshaking) shake_hands();
  while (state_ == State::kEstablished) {
    char record[kRecordBytesMax];
    size_t count = 0;
    if (SSL_read_ex(ssl_, record, sizeof record, &count) == 1) {
      core->append(record, count);
      continue;
    }
    const int error = SSL_get_error(ssl_, 0);
    if (error == SSL_ERROR_WANT_READ) break;
    if (error == SSL_ERROR_ZERO_RETURN) {
      state_ = State::kEnded;
      SSL_shutdown(ssl_);  // Answers close_notify with ours.
    } else {
      fail();
    }
  }
  wire_ = {};
}

void TlsFilter::shake_hands() {
  const int done = SSL_do_handshake(ssl_);
  if (done == 1) return established();
  if (SSL_get_error(ssl_, done) != SSL_ERROR_WANT_READ) fail();
}

void TlsFilter::established() {
  state_ = State::kEstablished;
  if (!server_) return;
  X509* const certificate = SSL_get1_peer_certificate(ssl_);
  if (certificate == nullptr) return;
  user_ = context_->user_from() == TlsServerFiles::UserFrom::kSan ? alternative_name(certificate)
                                                                  : common_name(certificate);
  X509_free(certificate);
  certificate_ = PeerCertificate::of(ssl_);
  // A certificate that names nobody must not become a client without a name.
  if (user_.empty()) fail("the client's certificate names no user");
}

void TlsFilter::send(Bytes core, std::string* wire) {
  if (state_ != State::kEstablished || core.empty()) return;
  wire_ = {{}, wire};
  ERR_clear_error();
  size_t count = 0;
  // Everything at once: the wire takes all that OpenSSL writes.
  if (SSL_write_ex(ssl_, core.data(), core.size(), &count) != 1) fail();
  wire_ = {};
}

void TlsFilter::finish(std::string* wire) {
  if (state_ != State::kEstablished) return;
  wire_ = {{}, wire};
  SSL_shutdown(ssl_);
  ERR_clear_error();
  state_ = State::kEnded;
  wire_ = {};
}

void TlsFilter::fail() {
  const long verified = SSL_get_verify_result(ssl_);
  const unsigned long code = ERR_peek_last_error();
  if (verified != X509_V_OK && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    ERR_clear_error();
    return fail(std::string("certificate verify failed: ") + X509_verify_cert_error_string(verified));
  }
  fail(tls_error_text());
}

void TlsFilter::fail(std::string why) {
  state_ = State::kFailed;
  failure_ = std::move(why);
}

}  // namespace hf::io
