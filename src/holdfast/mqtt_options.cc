#include "holdfast/mqtt_options.h"

#include <cstdio>

#include "crypto/crypto.h"
#include "holdfast/exit_code.h"
#include "holdfast/password_input.h"
#include "holdfast/text.h"
#include "io/address.h"

namespace hf::holdfast {

void add_mqtt_options(Command command, MqttOptions* options) {
  command.option("-i,--id", "ID", &options->client_id, "Client identifier");
  command.option("-h,--host", "HOST", &options->host,
                 "Over TCP to this host instead of the node's unix socket");
  command.option("-p,--port", "PORT", &options->port, "TCP port (default 1883, with --tls 8883)")
      .between(1, 65535);
  command.flag("--tls", &options->tls, "Encrypt, and let in only a host whose certificate is good for HOST");
  command.option("--ca", "FILE", &options->ca,
                 "Authorities of that certificate, in PEM (default: the system's)");
  command.option("--user", "NAME", &options->user,
                 "Log in as this user; other machines want a name of everybody");
  command.option("--password-file", "FILE", &options->password_file,
                 "A file whose one line is the password (default: it is asked for)");
  add_target_options(command, &options->target);
}

std::expected<std::unique_ptr<MqttClient>, Failure> connect_mqtt(const MqttOptions& options,
                                                                 MqttClientOptions more) {
  const auto usage = [](const char* text) { return std::unexpected(Failure{kExitUsage, text}); };
  if (options.host.empty() && options.tls)
    return usage("--tls needs -h HOST: the unix socket is not encrypted");
  if (!options.ca.empty() && !options.tls) return usage("--ca needs --tls");
  if (!options.password_file.empty() && options.user.empty())
    return usage("--password-file needs --user NAME");
  MqttAddress address{
      .socket_path = options.target.admin_socket(), .host = options.host, .port = options.port};
  if (options.port == 0) address.port = options.tls ? 8883 : 1883;
  if (options.tls) {
    auto loaded = io::TlsContext::client({.ca = options.ca, .certificate = {}, .key = {}, .server_name = {}});
    if (!loaded) return std::unexpected(Failure{kExitFailed, "--ca: " + loaded.error().text});
    address.tls = std::move(*loaded);
  }
  more.client_id = options.client_id;
  if (!options.user.empty()) {
    if (!options.host.empty() && !options.tls && !io::host_is_loopback(options.host)) {
      std::fprintf(stderr,
                   "note: the password goes to %s as it is, for all on the way to read; --tls encrypts\n",
                   printable(options.host).c_str());
    }
    auto password = read_password(options.password_file, options.user);
    if (!password) return std::unexpected(password.error());
    more.user = options.user;
    more.password = std::move(*password);
  }
  auto client = MqttClient::connect(address, more);
  crypto::wipe(&more.password);
  return client;
}

}  // namespace hf::holdfast
