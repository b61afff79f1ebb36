// What stands between a socket and the core: TLS, WebSocket, a proxy's header. A filter has no socket and no clock; bytes go
// in, bytes come out, so each is tested without a network and runs on whichever thread has it.
//
//     wire  --receive()-->  core        and, from both, what the filter itself wants on the wire:
//     wire  <----send()---  core        handshakes, answers to pings, alerts
//
// A connection has a chain of them (io/filter_chain.h), most often none.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "io/address.h"

namespace hf::io {

class PeerCertificate;

// What filters learned about who is at the other end.
struct PeerFacts {
  // A proxy's header was there. Then the socket's own address is the proxy's and says nothing about the client.
  bool proxied = false;
  std::optional<SocketAddress> address;  // The client's, as the proxy told it; nothing if it did not.
  std::string certificate_user;          // Whom the client's certificate names; empty without one.
  std::shared_ptr<const PeerCertificate> certificate;  // Null without one.
};

class Filter {
 public:
  enum class State : uint8_t {
    kHandshaking,
    kEstablished,
    kEnded,   // The peer said that it is done.
    kFailed,  // failure() says why.
  };

  virtual ~Filter() = default;

  // Takes all of `wire`; appends what is for the core to *core and what is for the wire to *reply. With no bytes it says
  // its own first word, if it is the end that begins. In kEnded and kFailed it takes no more, but *reply may still
  // hold last words.
  virtual void receive(Bytes wire, std::string* core, std::string* reply) = 0;
  // Only when established; appends to *wire.
  virtual void send(Bytes core, std::string* wire) = 0;
  // Says goodbye, as far as the protocol has a word for it.
  virtual void finish(std::string* wire) = 0;

  virtual State state() const = 0;
  // A sentence without its end, for the log: "no certificate was shown".
  virtual const std::string& failure() const = 0;

  // Once established it has nothing more to do, and is taken out of the way.
  virtual bool transparent() const { return false; }
  // Its handshake costs milliseconds of computing, which are not for the core thread.
  virtual bool laborious() const { return false; }
  // Its handshake has a time of its own, after that of what protects the connection.
  virtual bool upgrades() const { return false; }
  virtual void tell(PeerFacts*) const {}
};

}  // namespace hf::io
