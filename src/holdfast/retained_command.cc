// holdfast retained ls | rm, holdfast sub ls: what new subscribers are told, and who has subscribed.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/confirm.h"
#include "holdfast/exit_code.h"
#include "holdfast/text.h"
#include "holdfast/units.h"

namespace hf::holdfast {

namespace {

struct Options {
  Target target;
  std::string output;
  std::string filter;
  bool yes = false;
};

std::expected<void, Failure> remove(const Options& options) {
  const auto none = [&] {
    return std::unexpected(Failure{kExitFailed, "no retained message matches " + printable(options.filter)});
  };
  auto connection = AdminConnection::open(options.target.admin_socket());
  if (!connection) return std::unexpected(connection.error());
  if (!options.yes) {
    uint64_t count = 0;
    uint64_t bytes = 0;
    const auto counted = for_each_page(*connection, {.command = "retained", .filter = options.filter},
                                       [&](const Json& page) -> std::expected<void, Failure> {
                                         for (const Json& row : list_of(page, "retained")) {
                                           ++count;
                                           bytes += number_of(row, "payload_bytes");
                                         }
                                         return {};
                                       });
    if (!counted) return counted;
    if (count == 0) return none();
    const auto agreed = confirm(fmt::format("This removes {} ({}): all that match {}.",
                                            format_counted(count, "retained message", "retained messages"),
                                            format_size(bytes), printable(options.filter)));
    if (!agreed) return agreed;
  }
  uint64_t removed = 0;
  const auto done = for_each_page(*connection, {.command = "retained-rm", .filter = options.filter},
                                  [&](const Json& page) -> std::expected<void, Failure> {
                                    removed += list_of(page, "retained").size();
                                    return {};
                                  });
  if (!done) return done;
  if (removed == 0) return none();
  if (options.output == "json") return print(fmt::format("{{\"ok\": true, \"removed\": {}}}\n", removed));
  return print(
      fmt::format("{} removed.\n", format_counted(removed, "retained message", "retained messages")));
}

}  // namespace

void add_retained(Command app) {
  const Command command = app.subcommand("retained", "Look after retained messages");
  command.require_subcommand();
  command.footer(
      "Examples:\n"
      "  holdfast retained ls\n"
      "  holdfast retained rm 'old/#'");

  auto listed = std::make_shared<Options>();
  const Command ls = command.subcommand("ls", "List the retained messages, by topic");
  ls.option("filter", "FILTER", &listed->filter, "Topic filter (default #: all)");
  add_target_options(ls, &listed->target);
  add_output_option(ls, &listed->output);
  ls.footer(
      "Examples:\n"
      "  holdfast retained ls\n"
      "  holdfast retained ls 'engine/+/state' -o json");
  ls.run([listed] {
    return print_list(listed->target, {.command = "retained", .filter = listed->filter}, retained_list(),
                      listed->output);
  });

  auto removed = std::make_shared<Options>();
  const Command rm =
      command.subcommand("rm", "Remove retained messages of this node; those of other nodes stay");
  rm.option("filter", "FILTER", &removed->filter, "Topic, or topic filter").required();
  rm.flag("-y,--yes", &removed->yes, "Do not ask");
  add_target_options(rm, &removed->target);
  add_output_option(rm, &removed->output);
  rm.footer(
      "Clients that are subscribed are not told.\n"
      "Examples:\n"
      "  holdfast retained rm engine/1/state\n"
      "  holdfast retained rm 'old/#' --yes");
  rm.run([removed] { return report(remove(*removed)); });
}

void add_sub_ls(Command sub) {
  struct Query {
    Target target;
    std::string output;
    std::string client;
    std::string topic;
  };
  auto query = std::make_shared<Query>();
  const Command ls = sub.subcommand("ls", "List subscriptions, or who gets a message on a topic");
  ls.option("--client", "ID", &query->client, "Those of this client");
  ls.option("--topic", "NAME", &query->topic, "Those that match this topic name");
  add_target_options(ls, &query->target);
  add_output_option(ls, &query->output);
  ls.footer(
      "Examples:\n"
      "  holdfast sub ls\n"
      "  holdfast sub ls --client press-7\n"
      "  holdfast sub ls --topic engine/1/rpm");
  ls.run([query] {
    return print_list(query->target,
                      {.command = "subscriptions", .client = query->client, .topic = query->topic},
                      query->topic.empty() ? subscriptions_list() : receivers_list(), query->output);
  });
}

}  // namespace hf::holdfast
