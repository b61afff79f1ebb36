// Any bytes as a users file: mistakes with their lines, or users that can be written, edited and read again.
#include <cstdint>
#include <cstdlib>

#include "identity/users.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf;
  const Bytes text(reinterpret_cast<const char*>(data), size);
  const auto users = identity::parse_users(text);
  if (!users) {
    if (users.error().empty()) std::abort();
    for (const identity::Mistake& mistake : users.error()) {
      if (mistake.line == 0 || mistake.sentence.empty()) std::abort();
    }
    return 0;
  }
  std::string written;
  for (const auto& [name, user] : users->all()) {
    if (!identity::user_name_valid(name)) std::abort();
    written += identity::format_user(name, user) + "\n";
    // Writing what is there already changes nothing but the spelling of that line's number, which has one only.
    const auto same = identity::parse_users(identity::with_user(text, name, user));
    if (!same || same->all() != users->all()) std::abort();
    const auto fewer = identity::parse_users(identity::without_user(text, name));
    if (!fewer || fewer->all().size() + 1 != users->all().size() || fewer->find(name) != nullptr)
      std::abort();
  }
  const auto back = identity::parse_users(written);
  if (!back || back->all() != users->all()) std::abort();
  return 0;
}
