// holdfast queue ls | why: who is owed messages, and why they are still here.
#include <CLI/CLI.hpp>
#include <memory>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"

namespace hf::holdfast {

void add_queue(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("queue", "See who is owed messages, and why they are still here");
  command->require_subcommand(1);
  command->footer(
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
  CLI::App* ls = command->add_subcommand(
      "ls", "List all that are owed something: parent, nodes, share groups, sessions");
  add_target_options(*ls, &listed->target);
  add_output_option(*ls, &listed->output);
  ls->footer("Example:\n  holdfast queue ls -o json");
  ls->callback([listed, exit_code] {
    *exit_code = print_list(listed->target, {.command = "queues"}, queues_list(), listed->output);
  });

  auto asked = std::make_shared<Options>();
  CLI::App* why =
      command->add_subcommand("why", "Say in one sentence why somebody does not get what it is owed");
  why->add_option("name", asked->name, "Client identifier, share group (GROUP/FILTER), node, or \"parent\"")
      ->required()
      ->type_name("NAME");
  add_target_options(*why, &asked->target);
  add_output_option(*why, &asked->output);
  why->footer(
      "Examples:\n"
      "  holdfast queue why press-7\n"
      "  holdfast queue why 'workers/jobs/#'\n"
      "  holdfast queue why parent");
  why->callback([asked, exit_code] {
    *exit_code = print_answer(asked->target, {.command = "queue", .name = asked->name}, asked->output);
  });
}

}  // namespace hf::holdfast
