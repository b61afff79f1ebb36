#include "link/rows.h"

namespace hf::link {

namespace {

void put_stream(std::string& out, const store::StreamKey& stream) {
  put_u64be(out, stream.incarnation);
  out += stream.name;
}

std::string tagged(char tag, Bytes peer) {
  std::string key(1, tag);
  put_sized(key, peer);
  return key;
}

}  // namespace

bool node_name_valid(Bytes name) {
  if (name.empty() || name.size() > 64 || name.front() == '.') return false;
  for (const char c : name) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '_' || c == '.';
    if (!good) return false;
  }
  return true;
}

bool origin_valid(Bytes origin, bool up) {
  if (origin.empty()) return true;
  if (origin.size() > kOriginBytesMax) return false;
  for (size_t levels = 1; levels <= kOriginLevelsMax; ++levels) {
    const size_t slash = origin.find('/');
    const Bytes level = origin.substr(0, slash);
    if (!node_name_valid(level) && !(up && level == kParentName)) return false;
    if (slash == Bytes::npos) return true;
    origin.remove_prefix(slash + 1);
  }
  return false;
}

store::Table table_of(Bytes peer) {
  return peer == kParentName ? store::Table::kParent : store::Table::kNode;
}

std::string mark_prefix(Bytes peer) {
  std::string key;
  put_sized(key, peer);
  return key;
}

std::string mark_key(Bytes peer, const store::StreamKey& stream) {
  std::string key = mark_prefix(peer);
  put_stream(key, stream);
  return key;
}

bool parse_stream(Bytes rest, store::StreamKey* stream) {
  ByteReader in(rest);
  stream->incarnation = in.u64be();
  stream->name = in.rest();
  return in.ok();
}

std::string label_prefix(Bytes peer) { return tagged('L', peer); }

std::string label_key(Bytes peer, uint64_t store_id, const store::StreamKey& stream) {
  std::string key = tagged('L', peer);
  put_u64be(key, store_id);
  put_stream(key, stream);
  return key;
}

std::string lane_prefix(Bytes peer) { return tagged('R', peer); }

std::string lane_key(Bytes peer, const store::StreamKey& stream) {
  std::string key = tagged('R', peer);
  put_stream(key, stream);
  return key;
}

std::string reader_prefix(Bytes peer) { return tagged('R', peer); }

std::string reader_key(Bytes peer, uint8_t priority) {
  std::string key = tagged('R', peer);
  put_u8(key, priority);
  return key;
}

std::string memory_key(Bytes peer) { return tagged('P', peer); }

std::string half_prefix(Bytes peer) { return tagged('H', peer); }

std::string half_key(Bytes peer, const store::StreamKey& stream) {
  std::string key = tagged('H', peer);
  put_stream(key, stream);
  return key;
}

}  // namespace hf::link
