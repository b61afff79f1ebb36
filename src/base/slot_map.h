// A table of values named by generational handles. A handle outlives its value: once the value is erased,
// looking the handle up is an ordinary miss, also after the slot was given to another value.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/assert.h"

namespace hf {

template <typename Tag>
struct Handle {
  uint32_t slot = 0;
  uint32_t generation = 0;  // 0 names nothing.
  friend constexpr auto operator<=>(const Handle&, const Handle&) = default;
  explicit operator bool() const { return generation != 0; }
};

template <typename Value, typename Tag = Value>
class SlotMap {
 public:
  template <typename... Args>
  Handle<Tag> emplace(Args&&... args) {
    uint32_t slot = 0;
    if (free_.empty()) {
      slot = static_cast<uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    slots_[slot].value.emplace(std::forward<Args>(args)...);
    ++count_;
    return {slot, slots_[slot].generation};
  }

  // The pointer holds until the next emplace.
  Value* find(Handle<Tag> handle) {
    if (handle.slot >= slots_.size()) return nullptr;
    Slot& slot = slots_[handle.slot];
    return slot.generation == handle.generation && slot.value ? &*slot.value : nullptr;
  }
  const Value* find(Handle<Tag> handle) const { return const_cast<SlotMap*>(this)->find(handle); }

  bool erase(Handle<Tag> handle) {
    if (find(handle) == nullptr) return false;
    Slot& slot = slots_[handle.slot];
    slot.value.reset();
    if (++slot.generation == 0) slot.generation = 1;
    free_.push_back(handle.slot);
    --count_;
    return true;
  }

  size_t count() const { return count_; }

  // In slot order, so that two runs of one seed agree.
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].value) visit(Handle<Tag>{i, slots_[i].generation}, *slots_[i].value);
    }
  }

 private:
  struct Slot {
    std::optional<Value> value;
    uint32_t generation = 1;
  };
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  size_t count_ = 0;
};

}  // namespace hf
