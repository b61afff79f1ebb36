// A small MQTT 5 client that waits: for `holdfast pub` and `holdfast sub`. By default it goes over the node's
// unix socket, so that it works when the network side does not.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "holdfast/admin_client.h"
#include "io/file_descriptor.h"
#include "io/tls_filter.h"
#include "mqtt/packet.h"

namespace hf::holdfast {

struct MqttAddress {
  std::string socket_path;  // Used if `host` is empty.
  std::string host;
  uint16_t port = 1883;
  std::shared_ptr<const io::TlsContext> tls;  // Null: not encrypted.
};

struct MqttClientOptions {
  std::string client_id;  // Empty: the server gives one.
  bool clean_start = true;
  uint32_t session_expiry_s = 0;
  uint16_t receive_maximum = 1024;
  std::string user;  // Empty: without a name.
  std::string password;
};

class MqttClient {
 public:
  // Connected and accepted. kExitUnreachable if nobody is there, kExitFailed if it refuses; kExitDegraded if it is the node of
  // this machine and needs a hand.
  static std::expected<std::unique_ptr<MqttClient>, Failure> connect(const MqttAddress& address,
                                                                     const MqttClientOptions& options);

  // What we put leaves with the next flush().
  void put(const mqtt::Packet& packet) { mqtt::encode(out_, mqtt::Version::k5, packet); }
  void put_publish(const mqtt::PublishHead& head, Bytes payload) {
    mqtt::encode_publish(out_, mqtt::Version::k5, head, payload);
  }
  size_t unsent_bytes() const { return out_.size(); }
  std::expected<void, Failure> flush();

  // The next packet from the server, which borrows from this client until the next call; pings by itself.
  // Nothing if none came within `timeout` (none: for ever). The end of the connection is a failure.
  std::expected<std::optional<mqtt::Packet>, Failure> next(std::optional<Duration> timeout);

  // DISCONNECT, and whatever was put before.
  void disconnect();

  const std::string& client_id() const { return client_id_; }
  bool session_present() const { return session_present_; }
  uint16_t receive_maximum() const { return receive_maximum_; }  // Of the server.
  uint64_t packet_bytes_max() const { return packet_bytes_max_; }
  uint8_t maximum_qos() const { return maximum_qos_; }
  bool retain_available() const { return retain_available_; }

 private:
  explicit MqttClient(io::FileDescriptor socket) : socket_(std::move(socket)) {}
  std::expected<void, Failure> handshake(const MqttClientOptions& options);
  std::expected<void, Failure> encrypt(std::shared_ptr<const io::TlsContext> context,
                                       const std::string& host);
  std::expected<void, Failure> write(std::string_view wire);
  // Waits at most until `deadline_ms` (of a monotonic clock; none: for ever) and reads. False: nothing came.
  std::expected<bool, Failure> read_more(std::optional<int64_t> deadline_ms);

  io::FileDescriptor socket_;
  std::unique_ptr<io::TlsFilter> tls_;  // Null: not encrypted.
  std::string out_;
  std::string in_;
  size_t in_used_ = 0;  // Bytes of in_ that were handed out.
  int64_t last_sent_ms_ = 0;
  std::string client_id_;
  bool session_present_ = false;
  uint16_t receive_maximum_ = 65535;
  uint64_t packet_bytes_max_ = 256 << 20;
  uint8_t maximum_qos_ = 2;
  bool retain_available_ = true;
  uint16_t keep_alive_s_ = 0;
};

// A failure of the node that answers on this admin socket: if it needs a hand, that is why.
Failure with_its_state(const std::string& socket_path, Failure failure);

}  // namespace hf::holdfast
