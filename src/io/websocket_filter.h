// MQTT over WebSocket, the server's end (RFC 6455; MQTT 5.0, section 6). The upgrade is io/websocket_upgrade.h's; framing,
// masks, fragments, pings and the closing handshake are libwslay's, which does no I/O of its own.
//
// Binary frames only: text closes with 1003 [MQTT-6.0.0-1]. Packets and frames know nothing of each other: what comes in is passed on
// as it comes, part of a frame too, and all that the core sends at once becomes one frame [MQTT-6.0.0-2]. So nothing is
// held but the head of a frame, and a control frame's 125 bytes.
#pragma once

#include <wslay/wslay.h>

#include <memory>
#include <vector>

#include "io/filter.h"

namespace hf::io {

class WebSocketFilter final : public Filter {
 public:
  // Nothing is held of a frame, so this bounds what a peer may announce, not memory.
  static constexpr uint64_t kFrameBytesMax = 64 << 20;

  explicit WebSocketFilter(std::shared_ptr<const std::vector<std::string>> origins);
  ~WebSocketFilter() override;
  WebSocketFilter(const WebSocketFilter&) = delete;
  WebSocketFilter& operator=(const WebSocketFilter&) = delete;

  void receive(Bytes wire, std::string* core, std::string* reply) override;
  void send(Bytes core, std::string* wire) override;
  void finish(std::string* wire) override;
  State state() const override { return state_; }
  const std::string& failure() const override { return failure_; }
  bool upgrades() const override { return true; }

 private:
  struct Callbacks;  // libwslay's way back to us.

  void upgrade(Bytes wire, std::string* core, std::string* reply);
  void frames(Bytes wire, std::string* core, std::string* reply);
  void close(uint16_t status, const char* why);
  void write_out(std::string* wire);
  void fail(std::string why);

  const std::shared_ptr<const std::vector<std::string>> origins_;
  State state_ = State::kHandshaking;
  std::string failure_;
  std::string held_;  // A request that is not whole yet.
  wslay_event_context_ptr context_ = nullptr;
  // During one call: what libwslay reads from and writes to.
  Bytes in_;
  bool data_frame_ = false;  // The frame that is being read is not a ping and the like.
  std::string* core_ = nullptr;
  std::string* out_ = nullptr;
};

}  // namespace hf::io
