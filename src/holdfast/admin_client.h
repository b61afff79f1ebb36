// Asks a running node over its admin socket.
#pragma once

#include <expected>
#include <string>

#include "holdfast/admin.h"
#include "io/file_descriptor.h"

namespace hf::holdfast {

// Why a subcommand ends early.
struct Failure {
  int exit_code = 1;
  std::string text;
  const char* code =
      "io";  // For who asked another way than by the command line: the code of an admin answer.
};

// Waits two seconds for a node that was started just now. The error is errno's.
std::expected<io::FileDescriptor, int> connect_to_node(const std::string& socket_path);

// A connection that is kept for many requests, one after the other.
class AdminConnection {
 public:
  static std::expected<AdminConnection, Failure> open(const std::string& socket_path);
  // The line that is answered, which may say that something is wrong.
  std::expected<std::string, Failure> ask(const AdminRequest& request);
  // What a line that is no answer leads to.
  Failure not_holdfast() const;

 private:
  AdminConnection(std::string socket_path, io::FileDescriptor socket)
      : socket_path_(std::move(socket_path)), socket_(std::move(socket)) {}

  std::string socket_path_;
  io::FileDescriptor socket_;
  std::string rest_;  // Behind the last answer.
};

// The exit code for an answer that is an error, by its `code`. A mistake of whoever asked is kExitUsage, also where only the node
// can tell; what the node itself needs a hand for is kExitDegraded: it is locked, full, or its disk has failed.
int exit_code_of(Bytes code);

// One request, one answer. Not being reached is kExitUnreachable.
std::expected<AdminAnswer, Failure> ask(const std::string& socket_path, const AdminRequest& request);

}  // namespace hf::holdfast
