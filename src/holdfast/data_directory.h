// A node's data directory, opened for one process:
//
//     DIR/holdfast.toml   configuration (config_file.h)
//     DIR/users, DIR/permissions.toml, DIR/tokens    who may log in and do what (identity_files.h)
//     DIR/key             32 random bytes that protect the store's master key; may lie elsewhere (key =
//     "...") DIR/store/          the log (docs/formats/store.md) DIR/lock            held while a process has
//     the directory DIR/admin.sock      the admin socket while a node runs; may lie elsewhere (admin_socket =
//     "...")
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "crypto/crypto.h"
#include "holdfast/admin_client.h"
#include "holdfast/config_file.h"
#include "holdfast/status_text.h"
#include "io/directory_lock.h"
#include "io/posix_disk.h"
#include "store/store.h"

namespace hf::holdfast {

struct DataDirectory {
  std::string path;
  Config config;
  std::unique_ptr<io::DirectoryLock> lock;
  crypto::Key key;
  KeyPlace key_place = KeyPlace::kBesideData;
  bool key_exposed = false;  // Others than the owner may read the key file.
  std::string key_path;
  std::string admin_socket;
  std::string fence;
  std::shared_ptr<io::PosixDirectory> store;
};

// `config_path` empty: DIR/holdfast.toml. Every failure is kExitConfiguration but those of the disk.
std::expected<DataDirectory, Failure> open_data_directory(const std::string& path,
                                                          const std::string& config_path);

// 32 bytes, or 64 hexadecimal digits.
std::expected<crypto::Key, std::string> read_key(const std::string& path);

// "kind of error: what the core said (errno text)" for people.
std::string error_text(const Error& error);
// What the store is told of a configuration.
store::Options store_options(const node::Config& config);

}  // namespace hf::holdfast
