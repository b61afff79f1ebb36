#include "store/table.h"

namespace hf::store {

const char* table_name(Table table) {
  switch (table) {
    case Table::kStore:
      return "store";
    case Table::kStream:
      return "stream";
    case Table::kReader:
      return "reader";
    case Table::kGap:
      return "gap";
    case Table::kSession:
      return "session";
    case Table::kSubscription:
      return "subscription";
    case Table::kRetained:
      return "retained";
    case Table::kInbound:
      return "inbound";
    case Table::kOutbound:
      return "outbound";
    case Table::kWill:
      return "will";
    case Table::kNode:
      return "node";
    case Table::kParent:
      return "parent";
    case Table::kMark:
      return "mark";
    case Table::kPair:
      return "pair";
    case Table::kLabel:
      return "label";
    case Table::kOutboundRun:
      return "outbound-run";
    case Table::kShareGroup:
      return "share-group";
    case Table::kShareOwed:
      return "share-owed";
  }
  return "unknown";
}

}  // namespace hf::store
