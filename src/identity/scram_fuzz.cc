// Any bytes as the two messages of a SCRAM client, cut at the first zero byte: refused or answered, and nobody without
// the password ever gets in. As a verifier: what is read is what would be written.
#include <cstdint>
#include <cstdlib>

#include "identity/scram.h"
#include "identity/users.h"

namespace {

hf::identity::Users fuzz_users() {
  const auto users = hf::identity::parse_users(
      "anna:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4:"
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
  if (!users) std::abort();
  return *users;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf;
  static const identity::Users users = fuzz_users();
  const Bytes bytes(reinterpret_cast<const char*>(data), size);
  const size_t cut = bytes.find('\0');
  identity::ScramLogin login("0123456789abcdef01234567");
  const auto challenge = login.first(bytes.substr(0, cut), users, "secret");
  if (challenge && !challenge->starts_with("r=")) std::abort();
  if (login.last(cut == Bytes::npos ? Bytes() : bytes.substr(cut + 1)) || login.succeeded()) std::abort();
  if (const auto verifier = identity::parse_scram_verifier(bytes)) {
    if (identity::format_scram_verifier(*verifier) != bytes) std::abort();
  }
  return 0;
}
