// holdfast queue ls | why | rm: who is owed messages, why they are still here, and how to be rid of them.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/confirm.h"
#include "holdfast/text.h"
#include "holdfast/units.h"

namespace hf::holdfast {

namespace {

struct Options {
  Target target;
  std::string output;
  std::string name;
  bool yes = false;
};

std::string owed_text(const Json& queue) {
  return fmt::format("{} ({})", format_counted(number_of(queue, "owed_count"), "message", "messages"),
                     format_size(number_of(queue, "owed_bytes")));
}

std::expected<void, Failure> remove(const Options& options) {
  auto connection = AdminConnection::open(options.target.admin_socket());
  if (!connection) return std::unexpected(connection.error());
  if (!options.yes) {
    const auto about = ask_json(*connection, {.command = "queue", .name = options.name});
    if (!about) return std::unexpected(about.error());
    for (const Json& queue : list_of(*about, "queues")) {
      if (text_of(queue, "waits_for") != "upstream") continue;  // The node refuses, and says why.
      const auto agreed =
          confirm(fmt::format("This gives up {} that the parent is owed: they are lost.", owed_text(queue)));
      if (!agreed) return agreed;
    }
  }
  const auto done = ask_json(*connection, {.command = "queue-rm", .name = options.name});
  if (!done) return std::unexpected(done.error());
  if (options.output == "json") return print(json_printable(done->dump(2)) + "\n");
  return print(owed_text(*done) + " given up.\n");
}

}  // namespace

void add_queue(Command app) {
  const Command command = app.subcommand("queue", "See who is owed messages, and why they are still here");
  command.require_subcommand();
  command.footer(
      "Examples:\n"
      "  holdfast queue ls\n"
      "  holdfast queue why press-7\n"
      "  holdfast queue why parent\n"
      "  holdfast queue rm parent");
  auto listed = std::make_shared<Options>();
  const Command ls =
      command.subcommand("ls", "List all that are owed something: parent, nodes, share groups, sessions");
  add_target_options(ls, &listed->target);
  add_output_option(ls, &listed->output);
  ls.footer("Example:\n  holdfast queue ls -o json");
  ls.run(
      [listed] { return print_list(listed->target, {.command = "queues"}, queues_list(), listed->output); });

  auto asked = std::make_shared<Options>();
  const Command why =
      command.subcommand("why", "Say in one sentence why somebody does not get what it is owed");
  why.option("name", "NAME", &asked->name,
             "Client identifier, share group (GROUP/FILTER), node, or \"parent\"")
      .required();
  add_target_options(why, &asked->target);
  add_output_option(why, &asked->output);
  why.footer(
      "Examples:\n"
      "  holdfast queue why press-7\n"
      "  holdfast queue why 'workers/jobs/#'\n"
      "  holdfast queue why parent");
  why.run([asked] {
    return print_answer(asked->target, {.command = "queue", .name = asked->name}, asked->output);
  });

  auto removed = std::make_shared<Options>();
  const Command rm =
      command.subcommand("rm", "Give up what is owed to a parent that the configuration names no more");
  rm.option("name", "NAME", &removed->name, "\"parent\"").required();
  rm.flag("-y,--yes", &removed->yes, "Do not ask");
  add_target_options(rm, &removed->target);
  add_output_option(rm, &removed->output);
  rm.footer(
      "What waits is kept, in case [upstream] is set again; until then it takes space.\n"
      "A session ends with `holdfast client kick ID --forget`, a node with `holdfast node rm NAME`.\n"
      "Example:\n"
      "  holdfast queue rm parent");
  rm.run([removed] { return report(remove(*removed)); });
}

}  // namespace hf::holdfast
