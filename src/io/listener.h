// Sockets that others connect to. Errors are sentences that say what to do.
#pragma once

#include <expected>
#include <string>

#include "io/file_descriptor.h"

namespace hf::io {

// `address` is "127.0.0.1:1883" or "[::1]:1883", in figures or a name that means this machine; port 0 takes a
// free one. `key` is where the configuration says it.
std::expected<FileDescriptor, std::string> listen_tcp(const std::string& address, const char* key = "listen");

// A socket file with the permissions `mode`. One that a dead process left behind is replaced; one that
// answers is an error.
std::expected<FileDescriptor, std::string> listen_unix(const std::string& path, unsigned mode = 0600,
                                                       const char* key = "admin_socket");

// Connects and waits; for clients on this machine. The error is errno.
std::expected<FileDescriptor, int> connect_unix(const std::string& path);

}  // namespace hf::io
