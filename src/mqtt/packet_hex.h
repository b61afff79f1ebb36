// For tests: packets written as hexadecimal with spaces, as one reads them in the standard.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "mqtt/packet.h"

namespace hf::mqtt {

inline std::string hex(Bytes text) {
  std::string digits(text);
  std::erase(digits, ' ');
  return from_hex(digits);
}

// Decodes one whole packet from a copy that ends where the packet does, so that a sanitizer sees every read
// past it. The copy is `storage`, from which *packet borrows.
inline bool decode_whole(Bytes bytes, Version version, Sender sender, std::vector<char>& storage,
                         Packet* packet, DecodeError* error, uint8_t* unsupported_level = nullptr) {
  storage.assign(bytes.begin(), bytes.end());
  storage.shrink_to_fit();
  Framed framed;
  if (frame_next(Bytes(storage.data(), storage.size()), SIZE_MAX, &framed, error) != FrameStatus::kWhole)
    return false;
  return decode(framed, version, sender, packet, error, unsupported_level);
}

// Whether `packet`, once encoded, decodes to an equal packet. This is what the codec promises for everything
// that it has decoded. raw_properties are compared only where the packet has them: from parsed properties
// they come anew.
inline bool survives_round_trip(const Packet& packet, Version version, Sender sender) {
  std::string bytes;
  encode(bytes, version, packet);
  std::vector<char> storage;
  Packet again;
  DecodeError error;
  if (!decode_whole(bytes, version, sender, storage, &again, &error)) return false;
  Packet wanted = packet;
  if (auto* publish = std::get_if<Publish>(&wanted); publish != nullptr && publish->raw_properties.empty()) {
    if (const auto* back = std::get_if<Publish>(&again)) publish->raw_properties = back->raw_properties;
  }
  return wanted == again;
}

}  // namespace hf::mqtt
