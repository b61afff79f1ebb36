// What is in a store: everything that recovery finds on a disk, read through the store's own door. The disk is a copy, so
// that looking changes nothing.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "crypto/crypto.h"
#include "sim/payload.h"
#include "sim/sim_disk.h"
#include "store/store.h"

namespace hf::sim {

struct Autopsy {
  struct Item {
    store::StreamKey stream;
    uint64_t sequence = 0;
    store::Position position;
    std::string topic;
    uint8_t qos = 0;
    bool may_double = false;
    std::optional<MessageId> message;  // Nothing: not one of ours, or damaged.
    size_t size = 0;
  };
  struct Gap {
    store::StreamKey stream;  // Empty name: positions.
    uint64_t first = 0;
    uint64_t last = 0;
    store::GapCause cause = store::GapCause::kRot;
    store::ReaderId reader = 0;
  };
  struct Stream {
    store::StreamKey key;
    std::string origin;
    uint64_t sequence_last = 0;
    bool own = false;  // Numbers are given here.
  };

  store::OpenReport report;
  uint64_t incarnation = 0;
  std::vector<Stream> streams;
  std::vector<Item> items;  // By stream, then by position.
  std::vector<Gap> gaps;
  std::map<MessageId, uint32_t> counts;
  // Of rows, records and streams, without what every opening changes.
  uint64_t digest = 0;
  uint64_t digest_tables = 0;
  uint64_t digest_records = 0;
  uint64_t row_count = 0;
  std::set<std::pair<store::Table, std::string>> row_keys;

  const Stream* find(const store::StreamKey& key) const;
  // "telemetry 1-40 (38), 2 gaps": what is there, for a sentence.
  std::string summary() const;
};

// Opens the store on `disk` as after a power cut (the caller has made it) and reads all of it.
Result<Autopsy> examine(SimDisk disk, const crypto::Key& kek, const store::Options& options, Bytes fence,
                        const Now& now);

}  // namespace hf::sim
