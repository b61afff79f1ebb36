// How fast one thread reads a backlog back: decrypts frames, parses records, encodes each as the PUBLISH that a subscriber would
// get, and acknowledges it. The files lie in memory, so that no disk is in the figure. The result is one line of JSON.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "holdfast/command_line.h"
#include "io/memory.h"
#include "mqtt/packet.h"
#include "store/memory_disk.h"
#include "store/store.h"
#include "system.h"

namespace hf::bench {
namespace {

struct Depot {
  store::MemoryDisk disk;
  store::TestEntropy entropy;
  Now now;
  std::unique_ptr<store::Store> store;

  void run_jobs() {
    store->boundary();
    while (auto job = store->take_job(now)) {
      job->run(disk, entropy);
      store->complete(std::move(job), now);
    }
  }
};

int read_back(uint64_t records, size_t payload_bytes) {
  Depot depot;
  depot.now.mono = {1'000'000'000};
  depot.now.wall_us = 1'700'000'000'000'000;
  const crypto::Key key(std::string(32, 'k'));
  if (!store::Store::create(depot.disk, depot.entropy, key, 1)) fail("the store cannot be made");
  store::OpenReport report;
  store::Options options;
  options.quota_bytes = uint64_t{16} << 30;
  auto opened = store::Store::open(depot.disk, depot.entropy, key, options, "here", depot.now, &report);
  if (!opened) fail(opened.error().text);
  depot.store = std::move(*opened);
  store::Store& store = *depot.store;

  const store::ReaderId reader = store.create_reader(true);
  const std::string audience = store::encode_audience({{.reader = reader, .qos = 1}});
  const store::StreamId stream = store.open_local_stream("bench", 5, 0);
  std::mt19937_64 random(1);
  std::string payload(payload_bytes, 0);
  for (uint64_t i = 0; i < records; ++i) {
    for (size_t at = 0; at < payload.size(); at += 8) {
      const uint64_t bits = random();
      std::memcpy(payload.data() + at, &bits, std::min<size_t>(8, payload.size() - at));
    }
    if (!store.admit(payload_bytes + 32)) fail("the store is full");
    store.append({.stream = stream,
                  .topic = "plant/7/line/3/temperature",
                  .payload = payload,
                  .qos = 1,
                  .arrival = store::arrival_of(depot.now),
                  .audience = audience});
    if (i % 500 == 499) depot.run_jobs();
  }
  depot.run_jobs();

  std::string out;
  uint64_t read = 0;
  uint64_t encoded_bytes = 0;
  const uint64_t begin_ns = now_ns();
  const double cpu_before_s = own_cpu_s();
  while (read < records) {
    const store::Store::Fetch fetched = store.next(reader);
    if (fetched.status == store::Store::FetchStatus::kPending) {
      depot.run_jobs();
      (void)store.take_woken();
      continue;
    }
    if (fetched.status != store::Store::FetchStatus::kRecord) fail("the backlog ends too early");
    const auto packet_id = static_cast<uint16_t>(1 + read % 65'535);
    mqtt::encode_publish(out, mqtt::Version::k311,
                         {.qos = 1, .topic = fetched.record->topic, .packet_id = packet_id},
                         fetched.record->payload);
    store.acknowledge(reader, fetched.record->position);
    ++read;
    if (out.size() < 64 << 10) continue;
    encoded_bytes += out.size();
    out.clear();
  }
  const double elapsed_s = static_cast<double>(now_ns() - begin_ns) * 1e-9;
  nlohmann::ordered_json json;
  json["records"] = records;
  json["payload_bytes"] = payload_bytes;
  json["records_per_s"] = static_cast<uint64_t>(static_cast<double>(records) / elapsed_s);
  json["duration_s"] = elapsed_s;
  json["cpu_s"] = own_cpu_s() - cpu_before_s;
  json["encoded_bytes"] = encoded_bytes + out.size();
  std::puts(json.dump().c_str());
  return 0;
}

int main_checked(int argc, char** argv) {
  uint64_t records = 1'000'000;
  size_t payload_bytes = 256;
  holdfast::CommandLine app("read_back", "Reads a backlog back, measured; the result is one line of JSON.");
  app.option("--records", "N", &records, "").between(1000, 10'000'000).show_default();
  app.option("--payload", "N", &payload_bytes, "bytes").between(1, 65'536).show_default();
  app.run([&] { return read_back(records, payload_bytes); });
  return app.parse(argc, argv);
}

}  // namespace
}  // namespace hf::bench

int main(int argc, char** argv) {
  hf::io::keep_freed_memory();
  try {
    return hf::bench::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "read_back: %s\n", error.what());
    return 1;
  }
}
