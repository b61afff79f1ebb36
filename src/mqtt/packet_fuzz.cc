// Fuzzes the packet codec: any bytes, in both versions and from both sides. What decodes must encode and
// decode again to an equal packet, and what is refused must say why.
//
// Grammar of an input: a stream of packets, as it comes from a socket.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "mqtt/packet.h"
#include "mqtt/packet_hex.h"

namespace hf::mqtt {
namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void take_apart(Bytes stream, Version version, Sender sender) {
  while (true) {
    Framed framed;
    DecodeError error;
    const FrameStatus status = frame_next(stream, 1 << 20, &framed, &error);
    if (status == FrameStatus::kBad)
      check(error.reason >= Reason::kUnspecifiedError && error.text[0] != '\0');
    if (status != FrameStatus::kWhole) return;
    check(framed.size <= stream.size());

    // From a buffer of its own size, so that the sanitizer sees a read past the end.
    const std::vector<char> body(framed.body.begin(), framed.body.end());
    framed.body = Bytes(body.data(), body.size());
    Packet packet;
    if (decode(framed, version, sender, &packet, &error)) {
      check(survives_round_trip(packet, version, sender));
    } else {
      check(error.reason >= Reason::kUnspecifiedError && error.text[0] != '\0');
    }
    stream.remove_prefix(framed.size);
  }
}

}  // namespace
}  // namespace hf::mqtt

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hf::mqtt;
  const hf::Bytes stream(reinterpret_cast<const char*>(data), size);
  for (const Version version : {Version::k311, Version::k5}) {
    for (const Sender sender : {Sender::kClient, Sender::kServer}) take_apart(stream, version, sender);
  }
  // The same bytes as what properties and topics are made of.
  Properties properties;
  DecodeError error;
  (void)decode_publish_properties(stream, &properties, &error);
  return 0;
}
