#include "holdfast/admin_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "base/result.h"
#include "holdfast/exit_code.h"
#include "io/errno_text.h"
#include "io/listener.h"

namespace hf::holdfast {

namespace {

constexpr int kPatienceMs = 15'000;
constexpr int kStartTries = 20;  // A tenth of a second apart.

Failure unreachable(const std::string& socket_path, const std::string& why) {
  return {kExitUnreachable,
          "no node answers on " + socket_path + ": " + why +
              ". Is it running (holdfast run)? Say where it is with --data DIR or --socket PATH"};
}

}  // namespace

std::expected<io::FileDescriptor, int> connect_to_node(const std::string& socket_path) {
  auto socket = io::connect_unix(socket_path);
  const auto starting = [&] { return socket.error() == ENOENT || socket.error() == ECONNREFUSED; };
  for (int tries = 0; !socket && starting() && tries < kStartTries; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    socket = io::connect_unix(socket_path);
  }
  return socket;
}

std::expected<AdminConnection, Failure> AdminConnection::open(const std::string& socket_path) {
  auto socket = connect_to_node(socket_path);
  if (!socket && socket.error() == EACCES) {
    return std::unexpected(
        Failure{kExitUnreachable, socket_path + ": permission denied; ask as the user that runs the node"});
  }
  if (!socket) return std::unexpected(unreachable(socket_path, io::errno_text(socket.error())));
  return AdminConnection(socket_path, std::move(*socket));
}

std::expected<std::string, Failure> AdminConnection::ask(const AdminRequest& request) {
  const std::string line = encode_request(request) + "\n";
  for (size_t sent = 0; sent < line.size();) {
    const ssize_t count = ::send(socket_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(unreachable(socket_path_, io::errno_text(errno)));
    sent += static_cast<size_t>(count);
  }
  std::string answer = std::exchange(rest_, {});
  size_t end = answer.find('\n');
  while (end == std::string::npos) {
    pollfd event{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&event, 1, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return std::unexpected(unreachable(socket_path_, "it did not answer in time"));
    char bytes[65536];
    const ssize_t count = ready < 0 ? -1 : ::recv(socket_.get(), bytes, sizeof bytes, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(unreachable(socket_path_, io::errno_text(errno)));
    if (count == 0) return std::unexpected(unreachable(socket_path_, "it closed the connection"));
    const size_t before = answer.size();
    answer.append(bytes, static_cast<size_t>(count));
    end = answer.find('\n', before);
  }
  rest_ = answer.substr(end + 1);
  answer.resize(end);
  return answer;
}

Failure AdminConnection::not_holdfast() const {
  return {kExitFailed, "what answers on " + socket_path_ + " is not holdfast"};
}

int exit_code_of(Bytes code) {
  if (code == code_name(Code::kInvalid)) return kExitUsage;
  for (const Code needs_a_hand : {Code::kDenied, Code::kFull, Code::kIo}) {
    if (code == code_name(needs_a_hand)) return kExitDegraded;
  }
  return kExitFailed;
}

std::expected<AdminAnswer, Failure> ask(const std::string& socket_path, const AdminRequest& request) {
  auto connection = AdminConnection::open(socket_path);
  if (!connection) return std::unexpected(connection.error());
  const auto line = connection->ask(request);
  if (!line) return std::unexpected(line.error());
  auto decoded = decode_answer(*line);
  if (!decoded) return std::unexpected(connection->not_holdfast());
  if (!decoded->ok) return std::unexpected(Failure{exit_code_of(decoded->code), decoded->error});
  return *decoded;
}

}  // namespace hf::holdfast
