// AES-256-GCM by OpenSSL.
#include <openssl/evp.h>

#include "base/assert.h"
#include "crypto/crypto.h"

namespace hf::crypto {

namespace {

const uint8_t* raw(Bytes bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }
uint8_t* raw(std::string& bytes) { return reinterpret_cast<uint8_t*>(bytes.data()); }

// For bytes that are all written next: resize() would fill them with zeros first. (g++-12 offers the callback more room than was
// asked for.)
void resize_unfilled(std::string* text, size_t size) {
  text->resize_and_overwrite(size, [size](char*, size_t) { return size; });
}

}  // namespace

struct Aead::State {
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  Key key;
  // GCM's key schedule serves both directions, but OpenSSL ties a context to one: remembered, so that a run
  // of seals or of opens sets only the nonce.
  int direction = -1;

  ~State() { EVP_CIPHER_CTX_free(context); }

  void start(int encrypt, const Nonce& nonce) {
    static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
    HF_ASSERT(cipher != nullptr);
    const bool keyed = direction == encrypt;
    const int ok = EVP_CipherInit_ex2(context, keyed ? nullptr : cipher, keyed ? nullptr : raw(key.bytes()),
                                      nonce.data(), encrypt, nullptr);
    HF_ASSERT(ok == 1);
    direction = encrypt;
  }

  bool update(uint8_t* out, Bytes in) {
    int written = 0;
    HF_ASSERT(in.size() <= 1u << 30);
    return EVP_CipherUpdate(context, out, &written, raw(in), static_cast<int>(in.size())) == 1;
  }
};

Aead::Aead(const Key& key) : state_(std::make_unique<State>()) {
  HF_ASSERT(state_->context != nullptr);
  state_->key = key;
}

Aead::~Aead() = default;

void Aead::seal(const Nonce& nonce, Bytes associated, Bytes plain, std::string* out) {
  const size_t at = out->size();
  resize_unfilled(out, at + plain.size() + kTagBytes);
  uint8_t* const target = raw(*out) + at;
  state_->start(1, nonce);
  int written = 0;
  bool ok = associated.empty() || state_->update(nullptr, associated);
  ok = ok && (plain.empty() || state_->update(target, plain));
  ok = ok && EVP_CipherFinal_ex(state_->context, target + plain.size(), &written) == 1;
  ok = ok &&
       EVP_CIPHER_CTX_ctrl(state_->context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, target + plain.size()) == 1;
  HF_ASSERT(ok);
}

Result<> Aead::open(const Nonce& nonce, Bytes associated, Bytes sealed, std::string* plain) {
  plain->clear();
  if (sealed.size() < kTagBytes)
    return fail(Code::kTruncated, "sealed bytes are shorter than their tag", sealed.size());
  const Bytes cipher = sealed.substr(0, sealed.size() - kTagBytes);
  std::string tag(sealed.substr(cipher.size()));
  resize_unfilled(plain, cipher.size());
  state_->start(0, nonce);
  int written = 0;
  uint8_t last[kTagBytes];
  bool ok = associated.empty() || state_->update(nullptr, associated);
  ok = ok && (cipher.empty() || state_->update(raw(*plain), cipher));
  ok = ok && EVP_CIPHER_CTX_ctrl(state_->context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1;
  ok = ok && EVP_CipherFinal_ex(state_->context, last, &written) == 1;
  if (!ok) {
    wipe(plain);
    return fail(Code::kCorrupt, "the authentication tag does not hold");
  }
  return {};
}

}  // namespace hf::crypto
