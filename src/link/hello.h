// HELLO, the first message of both sides, and the question for pairs that may follow it.
//
//   hello   = format:u8 (1), version_min, version_max, features (varints), name (sized), store:u64,
//             incarnation:u64, wall_us (svarint), quality:u8, count (varint), mark ...
//   mark    = incarnation:u64, name (sized), number (varint), hash:u64     ascending by (incarnation, name)
//   pairs   = format:u8 (1), what:u8, incarnation:u64, name (sized) [ count (varint), item ... ]
//   item    = number (varint, distance from the one before) [hash:u64]           ascending
//
// what: 0 asks for the pairs of the stream; 1 is the answer, with number and hash; 2 asks for the hashes of single
// records, by number; 3 is the answer, with number and hash of the first record at or behind each of them.
//
// docs/formats/link.md tells what they are for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "store/record.h"

namespace hf::link {

inline constexpr uint64_t kProtocolVersion = 1;
inline constexpr uint64_t kFeatureZstd = 1;
inline constexpr uint64_t kFeatureChunks = 2;
inline constexpr uint64_t kFeatureHashes = 4;

inline constexpr size_t kHelloBytesMax = 1 << 20;
inline constexpr size_t kMarksMax = 65'536;
inline constexpr size_t kPairsMax = 1024;
// Numbers of which the hashes are asked for at once.
inline constexpr size_t kHashesMax = 16;

// The last number that the writer holds of a stream it receives from the other side, and that record's hash.
struct Mark {
  store::StreamKey key;
  uint64_t number = 0;
  uint64_t hash = 0;
  bool operator==(const Mark&) const = default;
};

struct Hello {
  uint64_t version_min = kProtocolVersion;
  uint64_t version_max = kProtocolVersion;
  uint64_t features = 0;
  std::string name;
  uint64_t store_id = 0;
  uint64_t incarnation = 0;
  int64_t wall_us = 0;
  ClockQuality quality = ClockQuality::kUnknown;
  std::vector<Mark> marks;
  bool operator==(const Hello&) const = default;
};

// Sorts the marks.
std::string encode_hello(Hello hello);
Result<Hello> decode_hello(Bytes message);
// What a mark takes in HELLO, at most.
size_t mark_size(const store::StreamKey& key);

// A number that both sides may hold the hash of.
struct NumberHash {
  uint64_t number = 0;
  uint64_t hash = 0;
  bool operator==(const NumberHash&) const = default;
};

struct PairsMessage {
  bool answer = false;
  bool single = false;  // Of records that are named by number.
  store::StreamKey key;
  std::vector<NumberHash>
      pairs;  // Ascending; empty in a question for pairs, without hashes in one for single records.
  bool operator==(const PairsMessage&) const = default;
};

std::string encode_pairs(const PairsMessage& message);
Result<PairsMessage> decode_pairs(Bytes message);

// The hash of a record in marks and pairs: what its origin gave it and nothing that a hop may change.
uint64_t record_hash(uint64_t sequence, const store::Arrival& arrival, Bytes topic, Bytes headers,
                     Bytes payload);

}  // namespace hf::link
