#include "holdfast/data_directory.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"
#include "io/errno_text.h"
#include "io/fence.h"

namespace hf::holdfast {

namespace {

std::unexpected<Failure> refuse(std::string text) {
  return std::unexpected(Failure{kExitConfiguration, std::move(text)});
}

bool exists(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0;
}

}  // namespace

std::string error_text(const Error& error) {
  std::string text = error.text;
  if ((error.code == Code::kIo || error.code == Code::kFull) && error.number != 0) {
    text += ": " + io::errno_text(static_cast<int>(error.number));
  }
  return text;
}

store::Options store_options(const node::Config& config) {
  store::Options options;
  options.quota_bytes = config.quota_bytes;
  options.retention_s = config.retention_s;
  return options;
}

std::expected<crypto::Key, std::string> read_key(const std::string& path) {
  auto bytes = read_file(path, 4096);
  if (!bytes) return std::unexpected(bytes.error());
  if (bytes->size() != crypto::kKeyBytes) {
    std::string digits = *bytes;
    while (!digits.empty() && (digits.back() == '\n' || digits.back() == '\r')) digits.pop_back();
    std::string decoded = from_hex(digits);
    crypto::wipe(&digits);
    crypto::wipe(&*bytes);
    bytes = std::move(decoded);
  }
  if (bytes->size() != crypto::kKeyBytes) {
    return std::unexpected(path + " is not a key: it should hold 32 bytes, or 64 hexadecimal digits");
  }
  crypto::Key key(*bytes);
  crypto::wipe(&*bytes);
  return key;
}

std::expected<DataDirectory, Failure> open_data_directory(const std::string& path,
                                                          const std::string& config_path) {
  DataDirectory data;
  data.path = path;
  const std::string store_path = path + "/store";
  if (!exists(path))
    return refuse(fmt::format("there is no directory {}; make one with: holdfast init {}", path, path));
  if (!exists(store_path)) {
    return refuse(
        fmt::format("{} is not a data directory (it has no store); make one with: holdfast init DIR", path));
  }

  auto config = load_config(config_path.empty() ? path + "/holdfast.toml" : config_path);
  if (!config) {
    return refuse(joined_lines(config.error()));
  }
  data.config = std::move(*config);
  data.admin_socket = data.config.admin_socket.empty() ? path + "/admin.sock" : data.config.admin_socket;
  data.key_path = data.config.key.empty() ? path + "/key" : data.config.key;

  auto lock = io::DirectoryLock::acquire(path);
  if (!lock) return refuse(lock.error());
  data.lock = std::move(*lock);

  auto key = read_key(data.key_path);
  if (!key) return refuse(key.error() + "; without it nothing in the store can be read");
  data.key = *key;
  struct stat key_file{};
  struct stat store_directory{};
  if (::stat(data.key_path.c_str(), &key_file) == 0 && ::stat(store_path.c_str(), &store_directory) == 0) {
    data.key_place = key_file.st_dev == store_directory.st_dev ? KeyPlace::kBesideData : KeyPlace::kElsewhere;
    data.key_exposed = (key_file.st_mode & 0077) != 0;
  }

  auto fence = io::directory_fence(store_path);
  if (!fence) return std::unexpected(Failure{kExitFailed, store_path + ": " + error_text(fence.error())});
  data.fence = std::move(*fence);
  auto store = io::PosixDirectory::open(store_path);
  if (!store) return std::unexpected(Failure{kExitFailed, store_path + ": " + error_text(store.error())});
  data.store = std::move(*store);
  return data;
}

}  // namespace hf::holdfast
