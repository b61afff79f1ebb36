// The keys of all rows that link/ keeps, in one place, and the names that stand in them.
//
//   kMark    peer stream                       -> number varint, hash u64, stream id varint
//   kPair    'r' peer sized-stream number      -> hash u64
//            's' peer store sized-stream number -> hash u64, position varint
//   kLabel   'L' peer store stream             -> { from varint, incarnation u64, doubtful_last varint } ...
//            'R' peer stream                   -> priority u8, { from u8, position varint } ...
//   kNode    'N' name                          -> registration (registry.cc)
//            'R' peer priority:u8              -> reader varint
//            'P' peer                          -> store u64, goodput varint
//            'H' peer stream                   -> number varint, hash u64, size varint, held varint, reader varint
//   kParent  'C'                               -> credentials (claim.cc)
//            'R', 'P', 'H' as in kNode, of the parent
//
//   peer     = sized name of a registered child, or "^" for the parent
//   store    = u64be, the store id that the peer said in HELLO
//   stream   = incarnation u64be, name;  sized-stream = incarnation u64be, sized name
//   number   = u64be, so that rows of a stream stand in order
//
// Marks are of a peer's name alone: they are listed in HELLO before the peer has said which store it is, and
// a stream's key is unique anyway. What was receipted (pairs 's', labels) is a promise of one store, so its
// id is part of the key.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "store/record.h"
#include "store/table.h"

namespace hf::link {

// How the parent is called among our peers. No registered node can have this name.
inline constexpr Bytes kParentName = "^";

// 1 to 64 letters, digits, '-', '_' and '.', not starting with '.'.
bool node_name_valid(Bytes name);

inline constexpr size_t kStreamNameBytesMax = 255;
inline constexpr size_t kOriginBytesMax = 1024;
inline constexpr size_t kOriginLevelsMax = 16;
// Names of nodes joined by '/', or nothing. `up` says whether levels may be "^", the sender's parent.
bool origin_valid(Bytes origin, bool up);

// Where the readers and the memory of a peer stand.
store::Table table_of(Bytes peer);

std::string mark_prefix(Bytes peer);
std::string mark_key(Bytes peer, const store::StreamKey& stream);
// The stream of a key of kMark, after its prefix; false if it is none.
bool parse_stream(Bytes rest, store::StreamKey* stream);
std::string label_prefix(Bytes peer);
std::string label_key(Bytes peer, uint64_t store_id, const store::StreamKey& stream);
std::string lane_prefix(Bytes peer);
std::string lane_key(Bytes peer, const store::StreamKey& stream);
std::string reader_prefix(Bytes peer);
std::string reader_key(Bytes peer, uint8_t priority);
std::string memory_key(Bytes peer);
std::string half_prefix(Bytes peer);
std::string half_key(Bytes peer, const store::StreamKey& stream);

}  // namespace hf::link
