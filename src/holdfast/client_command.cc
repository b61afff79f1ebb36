// holdfast client ls | show | kick: who is connected, and whose session is kept.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/confirm.h"
#include "holdfast/exit_code.h"
#include "holdfast/text.h"

namespace hf::holdfast {

namespace {

struct Options {
  Target target;
  std::string output;
  std::string id;
  bool forget = false;
  bool yes = false;
};

std::expected<void, Failure> kick(const Options& options) {
  auto connection = AdminConnection::open(options.target.admin_socket());
  if (!connection) return std::unexpected(connection.error());
  const auto about = ask_json(*connection, {.command = "client", .name = options.id});
  if (!about) return std::unexpected(about.error());
  const auto found = about->find("client");
  const Json client = found == about->end() ? Json() : *found;
  const bool connected = flag_of(client, "connected");
  const std::string name = printable(options.id);
  const std::string loss = client_loss(client);
  if (!connected && !options.forget) {
    return std::unexpected(
        Failure{kExitFailed, name + " is not connected; to end its session as well: --forget"});
  }
  if (options.forget && !options.yes) {
    if (const auto agreed =
            confirm(fmt::format("This ends the session of {}{}.", name,
                                loss.empty() ? "; nothing is owed to it" : ": " + loss + " are lost"));
        !agreed) {
      return agreed;
    }
  }
  const auto done =
      ask_json(*connection, {.command = "client-kick", .name = options.id, .forget = options.forget});
  if (!done) return std::unexpected(done.error());
  if (options.output == "json") {
    const Json said = {
        {"ok", true}, {"name", options.id}, {"disconnected", connected}, {"forgotten", options.forget}};
    return print(json_printable(said.dump(2)) + "\n");
  }
  std::string said = connected ? name + " is disconnected" : name + " was away";
  if (options.forget) said += "; its session has ended" + (loss.empty() ? "" : ", with " + loss);
  return print(said + (options.forget || !flag_of(client, "persistent") ? "" : "; its session is kept") +
               ".\n");
}

Command add_one(Command client, const char* name, const char* about, Options* options) {
  const Command command = client.subcommand(name, about);
  command.option("id", "ID", &options->id, "Client identifier").required();
  add_target_options(command, &options->target);
  add_output_option(command, &options->output);
  return command;
}

}  // namespace

void add_client(Command app) {
  const Command command = app.subcommand("client", "Look at MQTT clients and their sessions");
  command.require_subcommand();
  command.footer(
      "Examples:\n"
      "  holdfast client ls\n"
      "  holdfast client show press-7\n"
      "  holdfast client kick press-7");

  auto listed = std::make_shared<Options>();
  const Command ls =
      command.subcommand("ls", "List the clients, connected or with a kept session, by identifier");
  add_target_options(ls, &listed->target);
  add_output_option(ls, &listed->output);
  ls.footer(
      "Examples:\n"
      "  holdfast client ls\n"
      "  holdfast client ls -o json | jq -r '.clients[] | select(.owed_count > 0) | .client'");
  ls.run([listed] {
    return print_list(listed->target, {.command = "clients"}, clients_list(), listed->output);
  });

  auto shown = std::make_shared<Options>();
  const Command show = add_one(command, "show", "Say everything about one client", shown.get());
  show.footer("Example:\n  holdfast client show press-7");
  show.run([shown] {
    return print_answer(shown->target, {.command = "client", .name = shown->id}, shown->output);
  });

  auto kicked = std::make_shared<Options>();
  const Command kick_command = add_one(command, "kick", "Disconnect a client", kicked.get());
  kick_command.flag("--forget", &kicked->forget,
                    "End its session too: its subscriptions and what it is owed are lost");
  kick_command.flag("-y,--yes", &kicked->yes, "Do not ask");
  kick_command.footer(
      "It may come back at once: to keep it out, remove its user or its permissions.\n"
      "Examples:\n"
      "  holdfast client kick press-7\n"
      "  holdfast client kick press-7 --forget");
  kick_command.run([kicked] { return report(kick(*kicked)); });
}

}  // namespace hf::holdfast
