// Any bytes, behind a right request or instead of one, in any two pieces: what the core sees is the same as in one.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "io/websocket_filter.h"

namespace {

using hf::Bytes;

constexpr Bytes kRequest =
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

struct Outcome {
  hf::io::Filter::State state;
  std::string core;
  std::string reply;
};

Outcome run(bool with_request, Bytes first, Bytes second) {
  static const auto kOrigins = std::make_shared<const std::vector<std::string>>(1, "https://app.example");
  hf::io::WebSocketFilter filter(kOrigins);
  Outcome outcome;
  if (with_request) filter.receive(kRequest, &outcome.core, &outcome.reply);
  filter.receive(first, &outcome.core, &outcome.reply);
  filter.receive(second, &outcome.core, &outcome.reply);
  outcome.state = filter.state();
  if (outcome.state == hf::io::Filter::State::kFailed && filter.failure().empty()) std::abort();
  filter.send("to the wire", &outcome.reply);
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const Bytes bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t cut = std::min<size_t>(data[1], bytes.size());
  const bool with_request = (data[0] & 1) != 0;
  const Outcome whole = run(with_request, bytes, {});
  const Outcome pieces = run(with_request, bytes.substr(0, cut), bytes.substr(cut));
  using State = hf::io::Filter::State;
  if ((whole.state == State::kHandshaking) != (pieces.state == State::kHandshaking)) std::abort();
  // Of a frame that turns out to be wrong more or less may have been passed on before. And libwslay looks at the text of a close
  // frame by pieces, so it may find in one case what it does not in the other; the connection ends either way.
  if (whole.state == State::kEstablished && pieces.state == State::kEstablished &&
      (whole.core != pieces.core || whole.reply != pieces.reply)) {
    std::abort();
  }
  if (!Bytes(whole.core).starts_with(pieces.core) && !Bytes(pieces.core).starts_with(whole.core))
    std::abort();
  if (whole.core.size() > bytes.size()) std::abort();
  return 0;
}
