// What the tests of the store share: a store on a disk in memory whose jobs run when the test says so.
#pragma once

#include <gtest/gtest.h>

#include "base/assert.h"
#include "store/frame.h"
#include "store/memory_disk.h"
#include "store/segment.h"
#include "store/segment_index.h"
#include "store/store.h"

namespace hf::store {

inline crypto::Key test_kek() { return crypto::Key(std::string(32, 'k')); }

struct World {
  MemoryDisk own_disk;
  MemoryDisk& disk;
  TestEntropy entropy;
  Options options;
  Now now;
  OpenReport report;
  std::unique_ptr<Store> store;
  explicit World(MemoryDisk* other = nullptr) : disk(other ? *other : own_disk) {
    options.quota_bytes = 64 << 20;
    options.segment_bytes_min = 64 << 10;
    options.segment_bytes_max = 256 << 10;
    now.mono = {1'000'000'000};
    now.wall_us = 1'700'000'000'000'000;
    now.quality = ClockQuality::kNtp;
    now.boot = {1, 2};
    EXPECT_TRUE(Store::create(disk, entropy, test_kek(), 42));
    open();
  }
  void open(Bytes fence = "here") {
    store.reset();
    report = {};
    auto opened = Store::open(disk, entropy, test_kek(), options, fence, now, &report);
    ASSERT_TRUE(opened) << opened.error().text;
    store = std::move(*opened);
  }
  // Drives jobs; false if it never comes to rest.
  bool settle(int limit = 10'000) {
    store->boundary();
    for (int i = 0; i < limit; ++i) {
      auto job = store->take_job(now);
      if (job == nullptr) return true;
      job->run(disk, entropy);
      store->complete(std::move(job), now);
    }
    return false;
  }
  void idle(int seconds_count) {
    now.mono = now.mono + seconds(seconds_count);
    now.wall_us += int64_t{seconds_count} * 1'000'000;
  }
  Store::Appended append(StreamId stream, Bytes payload, std::vector<Member> audience = {}) {
    const std::string encoded = encode_audience(std::move(audience));
    NewRecord record;
    record.stream = stream;
    record.topic = "t";
    record.payload = payload;
    record.qos = 1;
    record.arrival = arrival_of(now);
    record.audience = encoded;
    return store->append(record);
  }
  std::vector<std::string> drain(ReaderId reader, bool acknowledge = true) {
    std::vector<std::string> payloads;
    for (int i = 0; i < 1'000'000; ++i) {
      Store::Fetch fetch = store->next(reader);
      if (fetch.status == Store::FetchStatus::kRecord) {
        payloads.emplace_back(fetch.record->payload);
        if (acknowledge) store->acknowledge(reader, fetch.record->position);
      } else if (fetch.status == Store::FetchStatus::kPending) {
        settle();
      } else {
        break;
      }
    }
    return payloads;
  }
  std::vector<Gap> gaps() {
    std::vector<Gap> list;
    store->for_each_gap([&](const Gap& gap) { list.push_back(gap); });
    return list;
  }
  std::vector<std::string> names(const char* suffix) {
    std::vector<std::string> list;
    for (auto& [name, bytes] : disk.files)
      if (name.ends_with(suffix)) list.push_back(name);
    return list;
  }
  bool covered(Position position) {
    for (const Gap& gap : gaps())
      if (gap.stream == 0 && gap.first <= position.value && position.value <= gap.last) return true;
    return false;
  }
};

inline std::vector<std::string> numbered(int first, int last) {
  std::vector<std::string> names;
  for (int i = first; i <= last; ++i) names.push_back("payload " + std::to_string(i));
  return names;
}

}  // namespace hf::store
