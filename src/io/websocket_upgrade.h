// The request with which a WebSocket begins, and its answer (RFC 6455, section 4.2). Only what an MQTT client needs of
// HTTP/1.1: one GET, its headers, no body. The whole of it has at most kRequestBytesMax bytes.
//
//     GET /mqtt HTTP/1.1                       "/" or "/mqtt", a query is passed over; else 404
//     Host, Upgrade: websocket, Connection: Upgrade, Sec-WebSocket-Version: 13, Sec-WebSocket-Key
//     Sec-WebSocket-Protocol: mqtt             or mqttv3.1; else 400 [MQTT-6.0.0-3]
//     Origin                                   if there is one: the host itself or one of the list; else 403
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"

namespace hf::io {

inline constexpr size_t kUpgradeRequestBytesMax = 8 << 10;

struct Upgrade {
  std::string response;  // To be sent, whether it is a yes or a no.
  std::string failure;   // Empty: the WebSocket stands.
};

// `head`: what http_head_end() (io/http.h) measured. `origins`: pages that may connect, as "https://app.example"; "*" is all.
Upgrade answer_upgrade(Bytes head, const std::vector<std::string>& origins);
// For a head that is longer than it may be.
Upgrade refuse_upgrade_size();

}  // namespace hf::io
