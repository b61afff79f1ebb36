// The header of the PROXY protocol, version 2: a load balancer tells for whom it connects.
//
//     0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a    signature
//     2c                                     version 2; command c: 0 LOCAL (the proxy itself, a health check), 1 PROXY
//     fp                                     family f: 0 unspecified, 1 IPv4, 2 IPv6, 3 unix; protocol p: 0, 1 stream
//     size16be, then so many bytes           source and destination address, ports, TLVs (passed over)
//
// Everything before the TLVs is needed; anything else than this, version 1 too, is refused: whoever may connect to such a
// listener may say whom it speaks for, so a guess would be a hole. At most kHeaderBytesMax, which is far more than
// proxies send. The specification is HAProxy's proxy-protocol.txt, section 2.2.
#pragma once

#include "io/filter.h"

namespace hf::io {

class ProxyFilter final : public Filter {
 public:
  static constexpr size_t kHeaderBytesMax = 4096;

  void receive(Bytes wire, std::string* core, std::string* reply) override;
  void send(Bytes core, std::string* wire) override;
  void finish(std::string*) override {}
  State state() const override { return state_; }
  const std::string& failure() const override { return failure_; }
  bool transparent() const override { return true; }
  void tell(PeerFacts* facts) const override;

 private:
  void fail(const char* why);
  void header(Bytes fixed, Bytes rest);

  State state_ = State::kHandshaking;
  std::string failure_;
  std::string held_;  // A header that is not whole yet.
  bool proxied_ = false;
  std::optional<SocketAddress> address_;
};

}  // namespace hf::io
