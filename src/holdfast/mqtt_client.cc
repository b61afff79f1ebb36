#include "holdfast/mqtt_client.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "holdfast/exit_code.h"
#include "io/address.h"
#include "io/errno_text.h"
#include "io/listener.h"

namespace hf::holdfast {

namespace {

constexpr uint16_t kKeepAliveS = 60;
constexpr int64_t kConnectPatienceMs = 5'000;
constexpr int64_t kAnswerPatienceMs = 10'000;

int64_t monotonic_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

// Where a server that sends us away says that another one is (MQTT 5.0, section 4.11).
std::string elsewhere(const mqtt::Properties& properties) {
  if (!properties.server_reference || properties.server_reference->empty()) return "";
  return "; it names " + std::string(*properties.server_reference);
}

std::unexpected<Failure> broken(const std::string& why) {
  return std::unexpected(Failure{kExitFailed, "the connection broke: " + why});
}

// Waits until the socket is ready for `events`; false when the deadline passed.
bool wait_for(int socket, short events, std::optional<int64_t> deadline_ms) {
  while (true) {
    int timeout = -1;
    if (deadline_ms)
      timeout = static_cast<int>(std::clamp<int64_t>(*deadline_ms - monotonic_ms(), 0, 1 << 30));
    pollfd event{socket, events, 0};
    const int ready = ::poll(&event, 1, timeout);
    if (ready < 0 && errno == EINTR) continue;
    return ready != 0;
  }
}

std::expected<io::FileDescriptor, std::string> connect_tcp(const std::string& host, uint16_t port) {
  std::string error;
  const auto addresses = io::resolve_host(host, port, &error);
  for (const io::SocketAddress& address : addresses) {
    io::FileDescriptor socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return std::unexpected(io::errno_text(errno));
    int code = ::connect(socket.get(), address.get(), address.size) == 0 ? 0 : errno;
    if (code == EINPROGRESS) {
      if (wait_for(socket.get(), POLLOUT, monotonic_ms() + kConnectPatienceMs)) {
        socklen_t size = sizeof code;
        ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &code, &size);
      } else {
        code = ETIMEDOUT;
      }
    }
    if (code == 0) {
      const int on = 1;
      ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return socket;
    }
    error = io::errno_text(code);
  }
  return std::unexpected(error);
}

}  // namespace

std::expected<std::unique_ptr<MqttClient>, Failure> MqttClient::connect(const MqttAddress& address,
                                                                        const MqttClientOptions& options) {
  io::FileDescriptor socket;
  if (address.host.empty()) {
    auto connected = connect_to_node(address.socket_path);
    if (!connected) {
      return std::unexpected(Failure{
          kExitUnreachable,
          "no node answers on " + address.socket_path + ": " + io::errno_text(connected.error()) +
              ". Is it running (holdfast run)? Say where it is with --data DIR, --socket PATH or -h HOST"});
    }
    socket = std::move(*connected);
    ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  } else {
    auto connected = connect_tcp(address.host, address.port);
    if (!connected) {
      return std::unexpected(Failure{kExitUnreachable, "cannot connect to " +
                                                           io::format_host_port(address.host, address.port) +
                                                           ": " + connected.error()});
    }
    socket = std::move(*connected);
  }
  std::unique_ptr<MqttClient> client(new MqttClient(std::move(socket)));
  if (address.tls) {
    if (const auto encrypted = client->encrypt(address.tls, address.host); !encrypted)
      return std::unexpected(encrypted.error());
  }
  if (const auto accepted = client->handshake(options); !accepted) {
    if (!address.host.empty()) return std::unexpected(accepted.error());
    return std::unexpected(with_its_state(address.socket_path, accepted.error()));
  }
  return client;
}

std::expected<void, Failure> MqttClient::encrypt(std::shared_ptr<const io::TlsContext> context,
                                                 const std::string& host) {
  tls_ = std::make_unique<io::TlsFilter>(std::move(context), host);
  std::string wire;
  tls_->receive({}, &in_, &wire);  // Its first word.
  std::expected<void, Failure> done = write(wire);
  const int64_t deadline_ms = monotonic_ms() + kConnectPatienceMs;
  while (done && tls_->state() == io::Filter::State::kHandshaking) {
    const auto read = read_more(deadline_ms);
    if (!read) {
      done = std::unexpected(read.error());
    } else if (!*read) {
      done = std::unexpected(Failure{kExitUnreachable, "the server did not answer in time"});
    }
  }
  if (done && tls_->state() != io::Filter::State::kEstablished) done = broken(tls_->failure());
  if (!done)
    return std::unexpected(Failure{done.error().exit_code, "no TLS with " + host + ": " + done.error().text});
  return {};
}

std::expected<void, Failure> MqttClient::handshake(const MqttClientOptions& options) {
  mqtt::Connect connect;
  connect.version = mqtt::Version::k5;
  connect.clean_start = options.clean_start;
  connect.keep_alive_s = kKeepAliveS;
  connect.client_id = options.client_id;
  if (!options.user.empty()) {
    connect.user_name = options.user;
    connect.password = options.password;
  }
  connect.properties.receive_maximum = options.receive_maximum;
  if (options.session_expiry_s > 0) connect.properties.session_expiry_interval_s = options.session_expiry_s;
  keep_alive_s_ = kKeepAliveS;
  put(connect);
  if (const auto sent = flush(); !sent) return std::unexpected(sent.error());
  const auto packet = next(milliseconds(kAnswerPatienceMs));
  if (!packet) {
    return std::unexpected(
        Failure{packet.error().exit_code,
                "the server did not let us in (" + packet.error().text + "); holdfast status may say why"});
  }
  if (!*packet)
    return std::unexpected(Failure{kExitUnreachable, "the server did not answer CONNECT in time"});
  const auto* connack = std::get_if<mqtt::Connack>(&**packet);
  if (connack == nullptr) return broken("the server did not answer CONNECT with CONNACK");
  const auto reason = static_cast<mqtt::Reason>(connack->reason);
  if (reason != mqtt::Reason::kSuccess) {
    return std::unexpected(Failure{kExitFailed, std::string("the server refused the connection: ") +
                                                    mqtt::reason_name(reason) +
                                                    elsewhere(connack->properties)});
  }
  session_present_ = connack->session_present;
  client_id_ = connack->properties.assigned_client_identifier
                   ? std::string(*connack->properties.assigned_client_identifier)
                   : options.client_id;
  if (session_present_ && options.clean_start) return broken("the server kept a session");  // [MQTT-3.2.2-4]
  receive_maximum_ = connack->properties.receive_maximum.value_or(65535);
  packet_bytes_max_ = connack->properties.maximum_packet_size.value_or(256 << 20);
  maximum_qos_ = connack->properties.maximum_qos.value_or(2);
  retain_available_ = connack->properties.retain_available.value_or(1) != 0;
  // [MQTT-3.1.2-21]
  if (const auto keep_alive_s = connack->properties.server_keep_alive_s) keep_alive_s_ = *keep_alive_s;
  return {};
}

std::expected<void, Failure> MqttClient::flush() {
  if (tls_) {
    std::string wire;
    tls_->send(out_, &wire);
    out_ = std::move(wire);
  }
  if (const auto written = write(out_); !written) return written;
  out_.clear();
  last_sent_ms_ = monotonic_ms();
  return {};
}

std::expected<void, Failure> MqttClient::write(std::string_view wire) {
  size_t sent = 0;
  while (sent < wire.size()) {
    const ssize_t count = ::send(socket_.get(), wire.data() + sent, wire.size() - sent, MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<size_t>(count);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return broken(io::errno_text(errno));
    if (!wait_for(socket_.get(), POLLOUT, monotonic_ms() + kKeepAliveS * 1000))
      return broken("the server does not read");
  }
  return {};
}

std::expected<bool, Failure> MqttClient::read_more(std::optional<int64_t> deadline_ms) {
  // What was handed out is no longer borrowed.
  in_.erase(0, in_used_);
  in_used_ = 0;
  if (!wait_for(socket_.get(), POLLIN, deadline_ms)) return false;
  char bytes[65536];
  const ssize_t count = ::recv(socket_.get(), bytes, sizeof bytes, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (count < 0) return broken(io::errno_text(errno));
  if (count == 0) return broken("the server closed it");
  const std::string_view came(bytes, static_cast<size_t>(count));
  if (!tls_) {
    in_.append(came);
    return true;
  }
  std::string wire;
  tls_->receive(came, &in_, &wire);
  if (const auto written = write(wire); !written) return std::unexpected(written.error());
  if (tls_->state() == io::Filter::State::kFailed) return broken(tls_->failure());
  // What came before its goodbye is read first.
  if (tls_->state() == io::Filter::State::kEnded && in_.empty()) return broken("the server closed it");
  return true;
}

std::expected<std::optional<mqtt::Packet>, Failure> MqttClient::next(std::optional<Duration> timeout) {
  const std::optional<int64_t> until_ms =
      timeout ? std::optional(monotonic_ms() + to_ms(*timeout)) : std::nullopt;
  while (true) {
    mqtt::Framed framed;
    mqtt::DecodeError error;
    const auto status = mqtt::frame_next(Bytes(in_).substr(in_used_), 256 << 20, &framed, &error);
    if (status == mqtt::FrameStatus::kBad)
      return broken(std::string("what the server sent is not MQTT: ") + error.text);
    if (status == mqtt::FrameStatus::kWhole) {
      in_used_ += framed.size;
      mqtt::Packet packet;
      if (!mqtt::decode(framed, mqtt::Version::k5, mqtt::Sender::kServer, &packet, &error)) {
        return broken(std::string("what the server sent is not MQTT: ") + error.text);
      }
      if (const auto* ping = std::get_if<mqtt::Ping>(&packet); ping != nullptr) continue;
      if (const auto* end = std::get_if<mqtt::Disconnect>(&packet); end != nullptr) {
        return std::unexpected(Failure{kExitFailed, std::string("the server ended the connection: ") +
                                                        mqtt::reason_name(end->reason) +
                                                        elsewhere(end->properties)});
      }
      return packet;
    }
    // [MQTT-3.1.2-20] (The server may have said that it wants none.)
    const int64_t ping_ms = last_sent_ms_ + (keep_alive_s_ != 0 ? keep_alive_s_ : kKeepAliveS) * 1000 / 2;
    const auto read = read_more(until_ms ? std::min(*until_ms, ping_ms) : ping_ms);
    if (!read) return std::unexpected(read.error());
    if (*read) continue;
    const int64_t now_ms = monotonic_ms();
    if (now_ms >= ping_ms) {
      put(mqtt::Ping{});
      if (const auto sent = flush(); !sent) return std::unexpected(sent.error());
    }
    if (until_ms && now_ms >= *until_ms) return std::nullopt;
  }
}

void MqttClient::disconnect() {
  put(mqtt::Disconnect{});
  (void)flush();
  if (!tls_) return;
  std::string wire;
  tls_->finish(&wire);
  (void)write(wire);
}

Failure with_its_state(const std::string& socket_path, Failure failure) {
  const auto status = ask(socket_path, {.command = "status"});
  if (!status || !status->needs_a_hand) return failure;
  return {kExitDegraded, failure.text + ". " + status->sentence};
}

}  // namespace hf::holdfast
