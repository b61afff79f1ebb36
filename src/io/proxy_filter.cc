#include "io/proxy_filter.h"

#include <netinet/in.h>

#include <cstring>

namespace hf::io {

namespace {

constexpr Bytes kSignature{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr size_t kFixedBytes = 16;  // Signature, version and command, family, size.

uint8_t byte_at(Bytes bytes, size_t index) { return static_cast<uint8_t>(bytes[index]); }

}  // namespace

void ProxyFilter::receive(Bytes wire, std::string* core, std::string*) {
  if (state_ == State::kEstablished) {
    core->append(wire);
    return;
  }
  if (state_ != State::kHandshaking) return;
  // No more is held than a header may have: what follows goes on as it is.
  const size_t taken = std::min(wire.size(), kHeaderBytesMax - held_.size());
  held_.append(wire.substr(0, taken));
  const Bytes seen = held_;
  if (!kSignature.starts_with(seen.substr(0, kSignature.size()))) {
    if (seen.starts_with("PROXY ")) return fail("the PROXY header is of version 1; version 2 is needed");
    return fail("no PROXY header (version 2) was sent");
  }
  if (seen.size() < kFixedBytes) return;
  const size_t rest_bytes = static_cast<size_t>(byte_at(seen, 14)) << 8 | byte_at(seen, 15);
  if (kFixedBytes + rest_bytes > kHeaderBytesMax) return fail("the PROXY header is too long");
  if (seen.size() < kFixedBytes + rest_bytes) return;

  header(seen.substr(0, kFixedBytes), seen.substr(kFixedBytes, rest_bytes));
  if (state_ == State::kFailed) return;
  state_ = State::kEstablished;
  core->append(seen.substr(kFixedBytes + rest_bytes));
  core->append(wire.substr(taken));
  release_memory(held_);
}

void ProxyFilter::send(Bytes core, std::string* wire) { wire->append(core); }

void ProxyFilter::fail(const char* why) {
  state_ = State::kFailed;
  failure_ = why;
  release_memory(held_);
}

void ProxyFilter::header(Bytes fixed, Bytes rest) {
  const uint8_t version_and_command = byte_at(fixed, 12);
  const uint8_t family_and_protocol = byte_at(fixed, 13);
  if (version_and_command >> 4 != 2) return fail("the PROXY header is of a version that is not 2");
  const uint8_t command = version_and_command & 15;
  if (command > 1) return fail("the PROXY header has an unknown command");
  const uint8_t family = family_and_protocol >> 4;
  const uint8_t protocol = family_and_protocol & 15;
  if (family > 3 || protocol > 2) return fail("the PROXY header has an unknown address family");
  if (protocol == 2) return fail("the PROXY header speaks of datagrams");
  if (command == 0) return;  // LOCAL: addresses, if there are any, mean nothing.
  proxied_ = true;
  if (family == 0 || protocol == 0) return;

  constexpr size_t kAddressBytes[] = {0, 12, 36, 216};  // Source and destination, with their ports.
  if (rest.size() < kAddressBytes[family]) return fail("the PROXY header ends before its addresses do");
  SocketAddress address;
  if (family == 1) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    v4->sin_family = AF_INET;
    std::memcpy(&v4->sin_addr, rest.data(), 4);
    std::memcpy(&v4->sin_port, rest.data() + 8, 2);
    address.size = sizeof *v4;
  } else if (family == 2) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    v6->sin6_family = AF_INET6;
    std::memcpy(&v6->sin6_addr, rest.data(), 16);
    std::memcpy(&v6->sin6_port, rest.data() + 32, 2);
    address.size = sizeof *v6;
  } else {
    address.storage.ss_family = AF_UNIX;
    address.size = sizeof(sa_family_t);
  }
  address_ = address;
}

void ProxyFilter::tell(PeerFacts* facts) const {
  if (state_ != State::kEstablished) return;
  facts->proxied = proxied_;
  facts->address = address_;
}

}  // namespace hf::io
