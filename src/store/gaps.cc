// Gap records: what is no longer there, for whom, and why.
//
// With reader 0 a gap is everybody's: rot, a cut tail, numbers that never came. There are few, links say by them why numbers are
// absent, and they are kept for good. With a reader it is the account of what that one lost; clients make those by the
// hundred thousand (each lease that is given up is one). So one that goes on where the last one ended is part of it, and
// the newest kReaderGapsMax are kept: what is forgotten stays in the sums.
#include <algorithm>

#include "store/store_impl.h"

namespace hf::store {

namespace {

constexpr size_t kReaderGapsMax = 4096;
// Row of kStore: (cause:u8 gaps:varint records:varint)* of those that are forgotten.
constexpr Bytes kForgottenRow = "gaps_forgotten";

// What a gap says of how much there was. A range of positions alone says nothing.
uint64_t records_of(const Gap& gap) {
  if (gap.count != 0) return gap.count;
  return gap.stream != 0 && gap.last >= gap.first ? gap.last - gap.first + 1 : 0;
}

}  // namespace

std::string gap_key(const Gap& gap) {
  std::string key;
  put_u32be(key, gap.stream);
  put_u64be(key, gap.first);
  put_u64be(key, gap.reader);
  return key;
}

std::string gap_value(const Gap& gap) {
  std::string value;
  put_u64(value, gap.last);
  put_u8(value, static_cast<uint8_t>(gap.cause));
  put_u64(value, static_cast<uint64_t>(gap.wall_us));
  if (gap.count != 0) put_varint(value, gap.count);
  return value;
}

Gap gap_of(Bytes key, Bytes value) {
  ByteReader k(key);
  ByteReader v(value);
  Gap gap;
  gap.stream = k.u32be();
  gap.first = k.u64be();
  gap.reader = k.u64be();
  gap.last = v.u64();
  gap.cause = static_cast<GapCause>(v.u8());
  gap.wall_us = static_cast<int64_t>(v.u64());
  if (!v.empty()) gap.count = v.varint();
  return gap;
}

void Store::Impl::count_gap(const Gap& gap, bool there) {
  const auto cause = static_cast<size_t>(gap.cause);
  if (cause >= gap_sums.size()) return;
  const uint64_t records = records_of(gap);
  gap_sums[cause].gaps += there ? uint64_t{1} : ~uint64_t{0};
  gap_sums[cause].records += there ? records : ~records + 1;
}

void Store::Impl::load_gaps() {
  std::vector<std::pair<int64_t, std::string>> accounts;
  scan(Table::kGap, {}, {}, [&](Bytes key, Bytes value) {
    const Gap gap = gap_of(key, value);
    count_gap(gap, true);
    if (gap.reader != 0) accounts.emplace_back(gap.wall_us, key);
    return true;
  });
  std::sort(accounts.begin(), accounts.end());
  for (auto& [wall_us, key] : accounts) reader_gaps.push_back(std::move(key));
  ByteReader in(get(Table::kStore, kForgottenRow).value_or(Bytes()));
  while (in.ok() && !in.empty()) {
    const size_t cause = in.u8();
    const GapSum sum{in.varint(), in.varint()};
    if (!in.ok() || cause >= gaps_forgotten.size()) break;
    gaps_forgotten[cause] = sum;
  }
}

void Store::Impl::add_gap(const Gap& gap, Haste haste) {
  Gap whole = gap;
  if (whole.wall_us == 0) whole.wall_us = now_wall_us;
  const auto& rows = tables[static_cast<size_t>(Table::kGap)];
  std::string key = gap_key(gap);
  const auto at = rows.lower_bound(key);
  const bool known = at != rows.end() && at->first == key && !at->second.erased;
  if (known) {
    const Gap before = gap_of(at->first, at->second.value);
    if (before.last >= gap.last) return;
    count_gap(before, false);
  } else if (at != rows.begin() && !std::prev(at)->second.erased) {
    const auto& [key_before, row] = *std::prev(at);
    const Gap before = gap_of(key_before, row.value);
    if (before.stream == gap.stream && before.reader == gap.reader && before.cause == gap.cause &&
        before.last + 1 == gap.first) {
      whole.first = before.first;
      if (before.count + gap.count != 0) whole.count = records_of(before) + records_of(gap);
      key = key_before;
      count_gap(before, false);
    }
  }
  count_gap(whole, true);
  const bool grown = known || whole.first != gap.first;
  write_row(Table::kGap, key, false, gap_value(whole), haste);
  if (whole.reader == 0 || grown) return;
  reader_gaps.push_back(std::move(key));
  if (reader_gaps.size() > kReaderGapsMax) forget_gaps();
}

// The oldest eighth, so that the row of their sums is written seldom.
void Store::Impl::forget_gaps() {
  for (size_t i = 0; i < kReaderGapsMax / 8; ++i) {
    const std::string& key = reader_gaps.front();
    if (const auto value = get(Table::kGap, key)) {
      const Gap gap = gap_of(key, *value);
      count_gap(gap, false);
      const auto cause = static_cast<size_t>(gap.cause);
      if (cause < gaps_forgotten.size()) {
        ++gaps_forgotten[cause].gaps;
        gaps_forgotten[cause].records += records_of(gap);
      }
      erase(Table::kGap, key, Haste::kRide);
    }
    reader_gaps.pop_front();
  }
  std::string sums;
  for (size_t cause = 0; cause < gaps_forgotten.size(); ++cause) {
    if (gaps_forgotten[cause].gaps == 0) continue;
    put_u8(sums, static_cast<uint8_t>(cause));
    put_varint(sums, gaps_forgotten[cause].gaps);
    put_varint(sums, gaps_forgotten[cause].records);
  }
  write_row(Table::kStore, kForgottenRow, false, sums, Haste::kRide);
}

GapSum Store::Impl::gap_sum(GapCause cause) const {
  const auto index = static_cast<size_t>(cause);
  return {gap_sums[index].gaps + gaps_forgotten[index].gaps,
          gap_sums[index].records + gaps_forgotten[index].records};
}

}  // namespace hf::store
