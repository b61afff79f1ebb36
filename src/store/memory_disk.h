// A disk in memory without faults, for tests of what stands on the store. (sim/ has the one with faults.)
#pragma once

#include <algorithm>
#include <map>

#include "base/prng.h"
#include "store/disk.h"

namespace hf::store {

class MemoryDisk : public Disk {
 public:
  std::map<std::string, std::string> files;
  uint64_t capacity_bytes = uint64_t{1} << 40;

  Result<std::vector<std::string>> list() override {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : files) names.push_back(name);
    return names;
  }
  Result<uint64_t> size(const std::string& name) override {
    const auto file = files.find(name);
    if (file == files.end()) return fail(Code::kNotFound, "no such file");
    return file->second.size();
  }
  Result<> create(const std::string& name, uint64_t size) override {
    if (files.contains(name)) return fail(Code::kExists, "the file exists");
    if (used() + size > capacity_bytes) return fail(Code::kFull, "no space left on the disk");
    files[name] = std::string(size, '\0');
    return {};
  }
  Result<std::string> read(const std::string& name, uint64_t offset, uint64_t size) override {
    const auto file = files.find(name);
    if (file == files.end()) return fail(Code::kNotFound, "no such file");
    if (offset >= file->second.size()) return std::string();
    return file->second.substr(offset, size);
  }
  Result<> write(const std::string& name, uint64_t offset, Bytes bytes) override {
    const auto file = files.find(name);
    if (file == files.end()) return fail(Code::kNotFound, "no such file");
    const uint64_t end = offset + bytes.size();
    if (end > file->second.size()) {
      if (used() + end - file->second.size() > capacity_bytes)
        return fail(Code::kFull, "no space left on the disk");
      file->second.resize(end, '\0');
    }
    file->second.replace(offset, bytes.size(), bytes);
    return {};
  }
  Result<> truncate(const std::string& name, uint64_t size) override {
    const auto file = files.find(name);
    if (file == files.end()) return fail(Code::kNotFound, "no such file");
    file->second.resize(size, '\0');
    return {};
  }
  Result<> sync(const std::string& name) override {
    if (!files.contains(name)) return fail(Code::kNotFound, "no such file");
    return {};
  }
  Result<> rename(const std::string& from, const std::string& to) override {
    const auto file = files.find(from);
    if (file == files.end()) return fail(Code::kNotFound, "no such file");
    files[to] = std::move(file->second);
    files.erase(from);
    return {};
  }
  Result<> remove(const std::string& name) override {
    if (files.erase(name) == 0) return fail(Code::kNotFound, "no such file");
    return {};
  }
  Result<> sync_directory() override { return {}; }
  Result<uint64_t> free_bytes() override { return capacity_bytes - std::min(capacity_bytes, used()); }

 private:
  uint64_t used() const {
    uint64_t total = 0;
    for (const auto& [name, bytes] : files) total += bytes.size();
    return total;
  }
};

// Entropy that repeats, for tests.
class TestEntropy : public Entropy {
 public:
  explicit TestEntropy(uint64_t seed = 1) : prng_(seed) {}
  void fill(void* out, uint64_t size_bytes) override {
    auto* bytes = static_cast<uint8_t*>(out);
    for (uint64_t i = 0; i < size_bytes; ++i) bytes[i] = static_cast<uint8_t>(prng_.next());
  }

 private:
  Prng prng_;
};

}  // namespace hf::store
