#include "broker/retained.h"

#include <algorithm>
#include <vector>

#include "broker/headers.h"
#include "mqtt/topic.h"

namespace hf::broker {

namespace {

using store::Table;

// Stamps, flags, sizes and the publisher's name: an estimate for admission only.
constexpr size_t kRowOverheadBytes = 128;

bool row_expired(const RetainedRow& row, const Now& now) {
  return row.expiry_s && elapsed_since(row.arrival, now) >= seconds(*row.expiry_s);
}

// The levels before the first wildcard: every topic that matches starts with them. "a/+/b" -> "a/", "a/#" ->
// "a".
Bytes literal_prefix(Bytes filter) {
  const size_t wildcard = filter.find_first_of("+#");
  if (wildcard == Bytes::npos) return filter;
  Bytes prefix = filter.substr(0, wildcard);
  // "a/#" matches "a" itself.
  if (filter[wildcard] == '#' && prefix.ends_with('/')) prefix.remove_suffix(1);
  return prefix;
}

}  // namespace

Retained::Retained(store::Store& store, size_t bytes_max) : store_(store), bytes_max_(bytes_max) {
  store_.scan(Table::kRetained, {}, [&](Bytes key, Bytes value) {
    bytes_ += key.size() + value.size();
    ++count_;
    return true;
  });
}

bool Retained::is_search(Bytes filter) { return filter.find_first_of("+#") != Bytes::npos; }

bool Retained::admit(Bytes topic, size_t headers_bytes, size_t payload_bytes, const Now& now) {
  const size_t wanted = topic.size() + headers_bytes + payload_bytes + kRowOverheadBytes;
  const auto fits = [&] {
    const auto old = store_.get(Table::kRetained, topic);
    const size_t freed = old ? topic.size() + old->size() : 0;
    return bytes_ - std::min(bytes_, freed) + wanted <= bytes_max_ &&
           store_.admit_row(wanted - std::min(wanted, freed));
  };
  if (fits()) return true;
  drop_expired(now);
  return fits();
}

void Retained::set(Bytes topic, const RetainedRow& row, store::Haste haste) {
  const auto old = store_.get(Table::kRetained, topic);
  if (old) bytes_ -= topic.size() + old->size();
  if (!old) ++count_;
  const std::string value = encode(row);
  bytes_ += topic.size() + value.size();
  store_.put(Table::kRetained, topic, value, haste);
}

bool Retained::erase(Bytes topic, store::Haste haste) {
  const auto old = store_.get(Table::kRetained, topic);
  if (!old) return false;
  bytes_ -= topic.size() + old->size();
  --count_;
  store_.erase(Table::kRetained, topic, haste);
  return true;
}

Retained::Found Retained::next(Bytes filter, std::optional<std::string>* last, size_t* rows_left,
                               const Now& now, RetainedRow* row) const {
  if (!is_search(filter)) {
    if (*last) return Found::kNoMore;
    last->emplace(filter);
    const auto value = store_.get(Table::kRetained, filter);
    return value && decode(*value, row) && !row_expired(*row, now) ? Found::kMessage : Found::kNoMore;
  }
  Found found = Found::kNoMore;
  store_.scan_behind(Table::kRetained, literal_prefix(filter), *last ? Bytes(**last) : Bytes(),
                     [&](Bytes topic, Bytes value) {
                       if (*last && topic == **last) return true;
                       if (*rows_left == 0) {
                         found = Found::kPaused;
                         return false;
                       }
                       --*rows_left;
                       const bool wanted = mqtt::topic_matches(filter, topic) && decode(value, row) &&
                                           !row_expired(*row, now);
                       if (wanted) found = Found::kMessage;
                       if (wanted || *rows_left == 0) last->emplace(topic);
                       return !wanted;
                     });
  return found;
}

void Retained::drop_expired(const Now& now) {
  if (dropped_at_ != Instant{} && now.mono - dropped_at_ < seconds(10)) return;
  dropped_at_ = now.mono;
  std::vector<std::string> topics;
  RetainedRow row;
  store_.scan(Table::kRetained, {}, [&](Bytes key, Bytes value) {
    if (decode(value, &row) && row_expired(row, now)) topics.emplace_back(key);
    return true;
  });
  for (const std::string& topic : topics) erase(topic, store::Haste::kRide);
}

}  // namespace hf::broker
