#include "io/websocket_filter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "io/http.h"
#include "io/websocket_upgrade.h"

namespace hf::io {

struct WebSocketFilter::Callbacks {
  static WebSocketFilter& of(void* user) { return *static_cast<WebSocketFilter*>(user); }

  static ssize_t receive(wslay_event_context_ptr context, uint8_t* out, size_t size, int, void* user) {
    Bytes& in = of(user).in_;
    const size_t count = std::min(size, in.size());
    if (count == 0) {
      wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
      return -1;
    }
    std::memcpy(out, in.data(), count);
    in.remove_prefix(count);
    return static_cast<ssize_t>(count);
  }

  static ssize_t send(wslay_event_context_ptr, const uint8_t* bytes, size_t size, int, void* user) {
    of(user).out_->append(reinterpret_cast<const char*>(bytes), size);
    return static_cast<ssize_t>(size);
  }

  static void frame_begins(wslay_event_context_ptr, const wslay_event_on_frame_recv_start_arg* frame,
                           void* user) {
    // [MQTT-6.0.0-1] The fragments that follow cannot be text, because libwslay keeps a message to its first frame's kind.
    if (frame->opcode == WSLAY_TEXT_FRAME)
      of(user).close(WSLAY_CODE_UNSUPPORTED_DATA, "a text frame came; MQTT is in binary frames");
    of(user).data_frame_ = frame->opcode == WSLAY_CONTINUATION_FRAME || frame->opcode == WSLAY_BINARY_FRAME;
  }

  static void payload(wslay_event_context_ptr, const wslay_event_on_frame_recv_chunk_arg* part, void* user) {
    WebSocketFilter& filter = of(user);
    if (filter.data_frame_ && filter.state_ == State::kEstablished)
      filter.core_->append(reinterpret_cast<const char*>(part->data), part->data_length);
  }

  static constexpr wslay_event_callbacks kTable{receive, send,    nullptr, frame_begins,
                                                payload, nullptr, nullptr};
};

WebSocketFilter::WebSocketFilter(std::shared_ptr<const std::vector<std::string>> origins)
    : origins_(std::move(origins)) {}

WebSocketFilter::~WebSocketFilter() {
  if (context_ != nullptr) wslay_event_context_free(context_);
}

void WebSocketFilter::receive(Bytes wire, std::string* core, std::string* reply) {
  if (state_ == State::kHandshaking) return upgrade(wire, core, reply);
  if (state_ == State::kEstablished) frames(wire, core, reply);
}

void WebSocketFilter::upgrade(Bytes wire, std::string* core, std::string* reply) {
  // No more is held than a request may have: what follows goes on as it is.
  const size_t taken = std::min(wire.size(), kUpgradeRequestBytesMax - held_.size());
  held_.append(wire.substr(0, taken));
  const auto end = http_head_end(held_);
  if (!end && held_.size() < kUpgradeRequestBytesMax) return;
  Upgrade answer = end ? answer_upgrade(Bytes(held_).substr(0, *end), *origins_) : refuse_upgrade_size();
  reply->append(answer.response);
  if (!answer.failure.empty()) return fail(std::move(answer.failure));

  HF_ASSERT(wslay_event_context_server_init(&context_, &Callbacks::kTable, this) == 0);
  wslay_event_config_set_no_buffering(context_, 1);
  wslay_event_config_set_max_recv_msg_length(context_, kFrameBytesMax);
  state_ = State::kEstablished;
  // A client should wait for the answer, but one that does not sends nothing that would have to be refused.
  const std::string early = std::exchange(held_, {}).substr(*end);
  if (!early.empty()) frames(early, core, reply);
  if (taken < wire.size() && state_ == State::kEstablished) frames(wire.substr(taken), core, reply);
}

void WebSocketFilter::frames(Bytes wire, std::string* core, std::string* reply) {
  in_ = wire;
  core_ = core;
  const int result = wslay_event_recv(context_);
  in_ = {};
  core_ = nullptr;
  if (result == WSLAY_ERR_CALLBACK_FAILURE) {
    // What it says of a control frame that is too long or in fragments; and its own close has no status then.
    reply->append("\x88\x02\x03\xea");
    return fail("a frame broke the WebSocket protocol (status 1002)");  // RFC 6455, sections 5.5 and 7.4.1
  }
  write_out(reply);  // Pongs, and the answer to a close.
  if (state_ != State::kEstablished) return;
  if (result != 0) return fail("the WebSocket ran out of memory");
  if (wslay_event_get_close_received(context_) != 0) {
    state_ = State::kEnded;
  } else if (wslay_event_want_read(context_) == 0) {
    fail("a frame broke the WebSocket protocol (status " +
         std::to_string(wslay_event_get_status_code_sent(context_)) + ")");
  }
}

void WebSocketFilter::send(Bytes core, std::string* wire) {
  if (state_ != State::kEstablished || core.empty()) return;
  const wslay_event_msg message{WSLAY_BINARY_FRAME, reinterpret_cast<const uint8_t*>(core.data()),
                                core.size()};
  if (wslay_event_queue_msg(context_, &message) != 0) return fail("the WebSocket ran out of memory");
  write_out(wire);
}

void WebSocketFilter::finish(std::string* wire) {
  if (state_ != State::kEstablished) return;
  wslay_event_queue_close(context_, WSLAY_CODE_NORMAL_CLOSURE, nullptr, 0);
  write_out(wire);
  state_ = State::kEnded;
}

// Ends the connection from within a frame.
void WebSocketFilter::close(uint16_t status, const char* why) {
  wslay_event_shutdown_read(context_);
  wslay_event_queue_close(context_, status, reinterpret_cast<const uint8_t*>(why), std::strlen(why));
  fail(why);
}

void WebSocketFilter::write_out(std::string* wire) {
  out_ = wire;
  if (wslay_event_send(context_) != 0) fail("the WebSocket ran out of memory");
  out_ = nullptr;
}

void WebSocketFilter::fail(std::string why) {
  state_ = State::kFailed;
  failure_ = std::move(why);
  release_memory(held_);
}

}  // namespace hf::io
