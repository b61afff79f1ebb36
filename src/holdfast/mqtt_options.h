// Whom `pub` and `sub` speak MQTT with, and as whom: the options that both have.
#pragma once

#include <expected>
#include <memory>
#include <string>

#include "holdfast/mqtt_client.h"
#include "holdfast/target.h"

namespace hf::holdfast {

struct MqttOptions {
  Target target;
  std::string host;   // Empty: the node's unix socket.
  uint16_t port = 0;  // 0: the usual one.
  bool tls = false;
  std::string ca;
  std::string user;
  std::string password_file;
  std::string client_id;
};

void add_mqtt_options(Command command, MqttOptions* options);

// Asks for the password if there is a user and no file. What the options do not say is left as it is in `more`.
std::expected<std::unique_ptr<MqttClient>, Failure> connect_mqtt(const MqttOptions& options,
                                                                 MqttClientOptions more);

}  // namespace hf::holdfast
