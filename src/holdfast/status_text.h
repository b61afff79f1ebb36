// What a node is doing, in one sentence that a tired person understands, and in a table for those who want
// the figures.
#pragma once

#include <string>
#include <vector>

#include "node/status.h"

namespace hf::holdfast {

// Where the key lies, which decides what a thief of the machine gets.
enum class KeyPlace : uint8_t { kBesideData, kElsewhere };

// A status and what surrounds the node.
struct StatusView {
  node::Status status;
  // Not empty: the store could not be opened with this key and nothing runs but the admin socket; a sentence
  // that says why and what to do. `status` then holds the name alone.
  std::string locked;
  std::string data;  // The data directory.
  KeyPlace key = KeyPlace::kBesideData;
  std::vector<std::string> listen;
};

// A word that scripts may rely on: "online", "offline", "hub", "standalone", or what needs a hand:
// "degraded", "full", "storage-failed", "locked".
std::string status_state(const StatusView& view);
bool status_needs_a_hand(const StatusView& view);
std::string status_sentence(const StatusView& view);
// The sentence and the table, as `holdfast status` prints them.
std::string status_text(const StatusView& view);

std::string streams_text(const std::vector<node::StreamStatus>& streams);
std::string nodes_text(const std::vector<node::NodeStatus>& nodes, int64_t now_wall_us);
// One line for each record: arrival, sequence, topic, payload.
std::string records_text(const std::vector<node::TailRecord>& records);

}  // namespace hf::holdfast
