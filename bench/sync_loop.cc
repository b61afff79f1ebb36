// The disk's own limit for who syncs after each write: write a block, fdatasync, again, on a file that was filled
// with zeros and synced before, so that no sync has to change where the file lies.
// The result is one line of JSON, in the words of load.cc.
#include <fcntl.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "histogram.h"
#include "holdfast/command_line.h"
#include "system.h"

namespace hf::bench {
namespace {

using Json = nlohmann::ordered_json;

struct Settings {
  std::string path;
  size_t block_bytes = 4096;
  size_t file_bytes = 64 << 20;
  double warmup_s = 0.5;
  double duration_s = 5;
};

void write_all(int fd, const std::string& bytes, size_t at) {
  if (pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)) != static_cast<ssize_t>(bytes.size())) {
    fail_errno("write");
  }
}

void sync(int fd) {
  if (fdatasync(fd) < 0) fail_errno("fdatasync");
}

Json measure(const Settings& settings) {
  const Socket file(open(settings.path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.fd() < 0) fail_errno(settings.path);
  const std::string zeros(1 << 20, 0);
  for (size_t at = 0; at < settings.file_bytes; at += zeros.size()) write_all(file.fd(), zeros, at);
  if (fsync(file.fd()) < 0) fail_errno("fsync");

  std::string block(settings.block_bytes, 0);
  std::mt19937_64 random(1);
  for (char& byte : block) byte = static_cast<char>(random());
  const auto latencies = std::make_unique<Histogram>();
  const size_t blocks = settings.file_bytes / settings.block_bytes;
  size_t next = 0;
  const auto write_one = [&] {
    write_all(file.fd(), block, next++ % blocks * settings.block_bytes);
    sync(file.fd());
  };

  const uint64_t warm_ns = now_ns() + seconds_to_ns(settings.warmup_s);
  while (now_ns() < warm_ns) write_one();
  const uint64_t begin_ns = now_ns();
  const uint64_t end_ns = begin_ns + seconds_to_ns(settings.duration_s);
  uint64_t before_ns = begin_ns;
  while (before_ns < end_ns) {
    write_one();
    const uint64_t after_ns = now_ns();
    latencies->add(after_ns - before_ns);
    before_ns = after_ns;
  }
  const double elapsed_s = static_cast<double>(before_ns - begin_ns) * 1e-9;

  Json out;
  out["block_bytes"] = settings.block_bytes;
  out["duration_s"] = elapsed_s;
  out["acked_per_s"] = static_cast<uint64_t>(static_cast<double>(latencies->count()) / elapsed_s);
  out["ack"] = latencies->to_json();
  return out;
}

int main_checked(int argc, char** argv) {
  Settings settings;
  holdfast::CommandLine app("sync_loop",
                            "Writes and syncs blocks in a loop; the result is one line of JSON.");
  app.option("file", "FILE", &settings.path, "created or overwritten; removed afterwards").required();
  app.option("--block", "N", &settings.block_bytes, "bytes of each write")
      .between(512, 1 << 20)
      .show_default();
  app.option("--warmup", "S", &settings.warmup_s, "seconds that do not count").show_default();
  app.option("--seconds", "S", &settings.duration_s, "seconds that count").show_default();
  app.run([&] {
    const Json out = measure(settings);
    unlink(settings.path.c_str());
    std::puts(out.dump().c_str());
    return 0;
  });
  return app.parse(argc, argv);
}

}  // namespace
}  // namespace hf::bench

int main(int argc, char** argv) {
  try {
    return hf::bench::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sync_loop: %s\n", error.what());
    return 1;
  }
}
