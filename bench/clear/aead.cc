// In the place of src/crypto/aead.cc: nothing is encrypted, and a checksum stands where the tag would be. For the one question of
// what encryption costs (the program `holdfast_clear`); no product has it.
#include "base/crc32c.h"
#include "crypto/crypto.h"

namespace hf::crypto {

namespace {

constexpr size_t kTag = 16;

std::string tag_of(Bytes associated, Bytes plain) {
  std::string tag;
  put_u32(tag, crc32c(associated));
  put_u32(tag, crc32c(plain));
  tag.resize(kTag, '\0');
  return tag;
}

}  // namespace

struct Aead::State {};

Aead::Aead(const Key&) {}
Aead::~Aead() = default;

void Aead::seal(const Nonce&, Bytes associated, Bytes plain, std::string* out) {
  out->append(plain);
  out->append(tag_of(associated, plain));
}

Result<> Aead::open(const Nonce&, Bytes associated, Bytes sealed, std::string* plain) {
  plain->clear();
  if (sealed.size() < kTag) return fail(Code::kTruncated, "bytes are shorter than their tag", sealed.size());
  const Bytes bytes = sealed.substr(0, sealed.size() - kTag);
  if (sealed.substr(bytes.size()) != tag_of(associated, bytes))
    return fail(Code::kCorrupt, "the checksum does not hold");
  plain->assign(bytes);
  return {};
}

}  // namespace hf::crypto
