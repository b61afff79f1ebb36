#include "link/channel.h"

namespace hf::link {

Bytes topic_of(Kind kind) {
  switch (kind) {
    case Kind::kHello:
      return "$hf/hello";
    case Kind::kBatch:
      return "$hf/batch";
    case Kind::kPairs:
      return "$hf/pairs";
    case Kind::kClaim:
      return "$hf/claim";
    case Kind::kChunk:
      return "$hf/chunk";
  }
  return {};
}

std::optional<Kind> kind_of(Bytes topic) {
  for (const Kind kind : {Kind::kHello, Kind::kBatch, Kind::kPairs, Kind::kClaim, Kind::kChunk}) {
    if (topic == topic_of(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace hf::link
