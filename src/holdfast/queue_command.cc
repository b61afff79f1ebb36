// holdfast queue ls | why: who is owed messages, and why they are still here.
#include <memory>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"

namespace hf::holdfast {

void add_queue(Command app) {
  const Command command = app.subcommand("queue", "See who is owed messages, and why they are still here");
  command.require_subcommand();
  command.footer(
      "Examples:\n"
      "  holdfast queue ls\n"
      "  holdfast queue why press-7\n"
      "  holdfast queue why parent");
  struct Options {
    Target target;
    std::string output;
    std::string name;
  };
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
}

}  // namespace hf::holdfast
