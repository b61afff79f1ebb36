#include "holdfast/mqtt_options.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "crypto/crypto.h"
#include "holdfast/exit_code.h"
#include "holdfast/password_input.h"
#include "holdfast/text.h"
#include "io/address.h"

namespace hf::holdfast {

void add_mqtt_options(CLI::App& command, MqttOptions* options) {
  command.add_option("-i,--id", options->client_id, "Client identifier")->type_name("ID");
  command.add_option("-h,--host", options->host, "Over TCP to this host instead of the node's unix socket")
      ->type_name("HOST");
  command.add_option("-p,--port", options->port, "TCP port (default 1883, with --tls 8883)")
      ->check(CLI::Range(1, 65535))
      ->type_name("PORT");
  command.add_flag("--tls", options->tls,
                   "Encrypt, and let in only a host whose certificate is good for HOST");
  command.add_option("--ca", options->ca, "Authorities of that certificate, in PEM (default: the system's)")
      ->type_name("FILE");
  command.add_option("--user", options->user, "Log in as this user; other machines want a name of everybody")
      ->type_name("NAME");
  command
      .add_option("--password-file", options->password_file,
                  "A file whose one line is the password (default: it is asked for)")
      ->type_name("FILE");
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
