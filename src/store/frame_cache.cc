#include "store/frame_cache.h"

#include <utility>

namespace hf::store {

void FrameCache::add(FrameRef ref, std::string plain, Position first) {
  const auto [found, added] = entries_.try_emplace(ref);
  if (!added) return;
  Entry& entry = found->second;
  entry.plain_bytes = plain.capacity() + sizeof(Entry);
  entry.plain = std::move(plain);
  entry.first = first;
  plain_bytes_ += entry.plain_bytes;
  order_.push_back(ref);
  trim_plain();
}

std::shared_ptr<const Frame> FrameCache::find(FrameRef ref) {
  const auto found = entries_.find(ref);
  if (found == entries_.end()) return nullptr;
  Entry& entry = found->second;
  if (entry.frame != nullptr || entry.broken) return entry.frame;
  const uint64_t plain_size = entry.plain.capacity();
  Result<std::shared_ptr<const Frame>> frame = Frame::parse(std::move(entry.plain), entry.first);
  entry.broken = !frame;
  if (entry.broken) return nullptr;
  entry.frame = std::move(*frame);
  entry.parsed_bytes = entry.frame->memory_bytes() - plain_size;
  entry.parsed = parsed_.insert(parsed_.end(), ref);
  parsed_bytes_ += entry.parsed_bytes;
  std::shared_ptr<const Frame> held = entry.frame;
  trim_parsed();
  return held;
}

void FrameCache::unparse(Entry& entry) {
  parsed_bytes_ -= std::exchange(entry.parsed_bytes, 0);
  parsed_.erase(entry.parsed);
  entry.plain = Frame::unparse(entry.frame);
  entry.frame = nullptr;
}

void FrameCache::trim_plain() {
  while (plain_bytes_ > plain_budget_bytes() && order_.size() > 1) {
    const auto oldest = entries_.find(order_.front());
    order_.pop_front();
    plain_bytes_ -= oldest->second.plain_bytes;
    parsed_bytes_ -= oldest->second.parsed_bytes;
    if (oldest->second.frame != nullptr) parsed_.erase(oldest->second.parsed);
    entries_.erase(oldest);
  }
}

void FrameCache::trim_parsed() {
  for (auto next = parsed_.begin(); parsed_bytes_ > budget_bytes_ / 4 && next != parsed_.end();) {
    Entry& entry = entries_.find(*next++)->second;
    if (entry.frame.use_count() == 1) unparse(entry);
  }
}

}  // namespace hf::store
