// For tests: certificates, made here and now, in files of a temporary directory.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <string>
#include <vector>

namespace hf::io {

// An authority, or what one signed. Elliptic curve keys, because they are made in no time.
class TestCertificate {
 public:
  // `issuer` null: it signs itself and may sign others. `san`: as "DNS:hub.example" or "URI:device:7" or "IP:127.0.0.1".
  TestCertificate(const std::string& name, const TestCertificate* issuer, const std::string& san = "",
                  long valid_s = 86400)
      : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    static long serial = 0;
    X509_set_version(certificate_, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate_), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate_), valid_s < 0 ? 2 * valid_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate_), valid_s);
    X509_set_pubkey(certificate_, key_);
    if (!name.empty()) {
      X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate_), "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.data()),
                                 static_cast<int>(name.size()), -1, 0);
    }
    const TestCertificate& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(certificate_, X509_get_subject_name(signer.certificate_));
    extend(NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "critical,CA:FALSE", signer);
    if (!san.empty()) extend(NID_subject_alt_name, san, signer);
    X509_sign(certificate_, signer.key_, EVP_sha256());
  }
  ~TestCertificate() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  TestCertificate(const TestCertificate&) = delete;
  TestCertificate& operator=(const TestCertificate&) = delete;

  void write(const std::string& certificate_path, const std::string& key_path = "") const {
    std::FILE* file = std::fopen(certificate_path.c_str(), "we");
    PEM_write_X509(file, certificate_);
    std::fclose(file);
    if (key_path.empty()) return;
    file = std::fopen(key_path.c_str(), "we");
    PEM_write_PrivateKey(file, key_, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
  }

  // The list of what this authority has revoked, due to be renewed in `next_s`.
  void write_revoked(const std::string& path, const std::vector<const TestCertificate*>& revoked,
                     long next_s = 86400) const {
    X509_CRL* const list = X509_CRL_new();
    X509_CRL_set_version(list, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list, X509_get_subject_name(certificate_));
    ASN1_TIME* const when = X509_gmtime_adj(nullptr, -7200);
    X509_CRL_set1_lastUpdate(list, when);
    for (const TestCertificate* each : revoked) {
      X509_REVOKED* const entry = X509_REVOKED_new();
      X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(each->certificate_));
      X509_REVOKED_set_revocationDate(entry, when);
      X509_CRL_add0_revoked(list, entry);
    }
    ASN1_TIME* const next = X509_gmtime_adj(nullptr, next_s);
    X509_CRL_set1_nextUpdate(list, next);
    X509_CRL_sort(list);
    X509_CRL_sign(list, key_, EVP_sha256());
    ASN1_TIME_free(when);
    ASN1_TIME_free(next);
    // As a careful program does it: whoever reads sees the old one or the new one.
    std::FILE* const file = std::fopen((path + ".new").c_str(), "we");
    PEM_write_X509_CRL(file, list);
    std::fclose(file);
    std::rename((path + ".new").c_str(), path.c_str());
    X509_CRL_free(list);
  }

 private:
  void extend(int nid, const std::string& value, const TestCertificate& signer) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, signer.certificate_, certificate_, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    X509_add_ext(certificate_, extension, -1);
    X509_EXTENSION_free(extension);
  }

  EVP_PKEY* key_;
  X509* certificate_;
};

}  // namespace hf::io
