// What was sent to a client at QoS 1 or 2 and is not acknowledged, by packet identifier.
//
// A table of slots, a power of two; the slot of an identifier is its low bits. New identifiers go round from
// 1 to the size of the table and pass over taken slots, so with acknowledgements in order each look-up and
// each new identifier is one step, and nothing allocates. They stay small on purpose: each is the key of a
// row, and rows that come again cost less than new ones. Identifiers that a restart brings back may collide:
// the table then doubles until they do not.
//
// Invariant: at most half of the slots are taken when an identifier is given out, so that one just freed
// rests for as many messages as there are in flight; an identifier in use is never given.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "store/record.h"

namespace hf::broker {

struct Outbound {
  enum class State : uint8_t {
    kSent,      // PUBLISH is sent; PUBACK or PUBREC is due.
    kReleased,  // PUBREC came; PUBCOMP is due.
  };
  uint16_t packet_id = 0;  // 0: the slot is free.
  State state = State::kSent;
  uint8_t qos = 1;
  bool on_wire = false;   // Sent on the present connection, and so part of its window.
  bool reserved = false;  // Broker::reserved_send: its acknowledgement goes to the host.
  bool leased = false;    // Session::leases says of whom.
  uint16_t run =
      0;  // The slot of the row that it shares with others, and 1; 0: it has a row of its own, or none.
  uint32_t size_bytes = 0;
  store::Position position;  // Zero: of no record.
  uint64_t commit = 0;       // Of its row as it is now.
};

class Inflight {
 public:
  static constexpr size_t kCountMax = 32'768;

  size_t count() const { return count_; }

  Outbound* find(uint16_t packet_id) {
    if (slots_.empty()) return nullptr;
    Outbound& slot = slots_[packet_id & (slots_.size() - 1)];
    return packet_id != 0 && slot.packet_id == packet_id ? &slot : nullptr;
  }

  // A new entry under a free identifier; the pointer holds until the next insert or add.
  Outbound* add() {
    HF_ASSERT(count_ < kCountMax);
    if (count_ * 2 >= slots_.size()) grow();
    for (;;) {
      last_ = last_ < slots_.size() && last_ < UINT16_MAX ? static_cast<uint16_t>(last_ + 1) : uint16_t{1};
      const uint16_t packet_id = last_;
      Outbound& slot = slots_[packet_id & (slots_.size() - 1)];
      if (slot.packet_id != 0) continue;
      slot = {};
      slot.packet_id = packet_id;
      ++count_;
      return &slot;
    }
  }

  // An entry that was there before a restart. False if its identifier is taken.
  bool insert(const Outbound& entry) {
    if (find(entry.packet_id) != nullptr) return false;
    while (slots_.empty() || slots_[entry.packet_id & (slots_.size() - 1)].packet_id != 0) grow();
    slots_[entry.packet_id & (slots_.size() - 1)] = entry;
    last_ = entry.packet_id;
    ++count_;
    return true;
  }

  void erase(Outbound* entry) {
    entry->packet_id = 0;
    // What a burst took is not kept for ever.
    if (--count_ == 0 && slots_.size() > kSlotsKept) std::vector<Outbound>().swap(slots_);
  }

  // In an order that depends on the identifiers alone.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (Outbound& slot : slots_) {
      if (slot.packet_id != 0) visit(slot);
    }
  }

 private:
  void grow() {
    std::vector<Outbound> old = std::move(slots_);
    slots_.assign(old.empty() ? kSlotsMin : old.size() * 2, Outbound());
    HF_ASSERT(slots_.size() <= 65'536);
    // Two identifiers that differ in the low bits of the smaller size differ in those of the larger.
    for (const Outbound& entry : old) {
      if (entry.packet_id != 0) slots_[entry.packet_id & (slots_.size() - 1)] = entry;
    }
  }

  static constexpr size_t kSlotsMin = 32;
  static constexpr size_t kSlotsKept = 512;

  std::vector<Outbound> slots_;
  size_t count_ = 0;
  uint16_t last_ = 0;
};

}  // namespace hf::broker
