// holdfast node add | renew | rm | ls: the nodes below this one.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <vector>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"
#include "holdfast/text.h"

namespace hf::holdfast {

namespace {

void add_ls(Command node) {
  struct Options {
    Target target;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  const Command command = node.subcommand("ls", "List the nodes registered here");
  add_target_options(command, &options->target);
  add_output_option(command, &options->output);
  command.footer("Example:\n  holdfast node ls --data ./hub");
  command.run([options] { return print_answer(options->target, {.command = "nodes"}, options->output); });
}

struct AddOptions {
  Target target;
  std::string output;
  std::string name;
  std::vector<std::string> down;
  std::string prefix;
  std::string claim;
};

// Registers (or, with "node-renew", only makes a new claim) and writes the claim file.
int write_claim(const AddOptions& options, const std::string& request, const char* done) {
  const auto answer =
      ask(options.target.admin_socket(),
          {.command = request, .name = options.name, .down = options.down, .prefix = options.prefix});
  if (!answer) return report(answer.error());
  const bool json = options.output == "json";
  if (options.claim == "-" && json) {
    std::puts(answer->json.c_str());
    return kExitOk;
  }
  if (options.claim == "-") {
    std::fputs(answer->claim.c_str(), stdout);
    if (!answer->claim.ends_with('\n')) std::fputc('\n', stdout);
    return kExitOk;
  }
  const std::string path = options.claim.empty() ? options.name + ".claim" : options.claim;
  if (const auto written = write_new_file(path, answer->claim, 0600); !written) {
    // It cannot be asked for again, so it is shown rather than lost.
    std::fputs(answer->claim.c_str(), stdout);
    return report(
        {kExitFailed, written.error() + "; the claim is printed above, save it: it is shown only once"});
  }
  if (json) {
    fmt::print("{{\"ok\": true, \"name\": {}, \"claim_file\": {}}}\n", json_quoted(options.name),
               json_quoted(path));
    return kExitOk;
  }
  fmt::print(
      "{} {}. Bring {} to it; it is a secret and good for one use:\n"
      "  holdfast init DIR --claim {}      a new node\n"
      "  holdfast claim {}                 one that runs already\n",
      done, options.name, path, path, path);
  return kExitOk;
}

void add_rm(Command node) {
  struct Options {
    Target target;
    std::string name;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  const Command command =
      node.subcommand("rm", "Register a node no more: it is cut off, what it was owed is given up");
  command.option("name", "NAME", &options->name, "Name of the node").required();
  add_target_options(command, &options->target);
  add_output_option(command, &options->output);
  command.footer("Example:\n  holdfast node rm ship-7");
  command.run([options] {
    return print_answer(options->target, {.command = "node-rm", .name = options->name}, options->output,
                        options->name + " is registered no more; what it sent stays here.\n");
  });
}

}  // namespace

void add_node(Command app) {
  const Command command = app.subcommand("node", "Look after the nodes below this one");
  command.require_subcommand();
  command.footer(
      "Examples:\n"
      "  holdfast node add ship-7\n"
      "  holdfast node ls\n"
      "  holdfast node renew ship-7");
  add_ls(command);
  add_rm(command);

  auto options = std::make_shared<AddOptions>();
  const Command add = command.subcommand("add", "Register a node and write its claim file");
  add.option("name", "NAME", &options->name, "Name of the node: letters, digits, '.', '_' and '-'")
      .required();
  add.option("--down", "FILTER", &options->down,
             "Topics that go down to it, as they are called here (repeat; default PREFIX# or NAME/#)");
  add.option("--prefix", "PREFIX", &options->prefix,
             "What its topics begin with here; taken off on the way down (sites/NAME/; default none)");
  add.option("--claim", "FILE", &options->claim,
             "Where to write the claim file (default NAME.claim; - prints it)");
  add_target_options(add, &options->target);
  add_output_option(add, &options->output);
  add.footer(
      "Examples:\n"
      "  holdfast node add ship-7\n"
      "  holdfast node add ship-7 --down 'cmd/ship-7/#' --claim ship-7.claim\n"
      "  holdfast node add plant-2 --prefix sites/plant-2/");
  add.run([options] { return write_claim(*options, "node-add", "Registered"); });

  auto renewed = std::make_shared<AddOptions>();
  const Command renew =
      command.subcommand("renew", "Write a new claim for a node whose disk or claim was lost");
  renew.option("name", "NAME", &renewed->name, "Name of the node").required();
  renew.option("--claim", "FILE", &renewed->claim,
               "Where to write the claim file (default NAME.claim; - prints it)");
  add_target_options(renew, &renewed->target);
  add_output_option(renew, &renewed->output);
  renew.footer("Example:\n  holdfast node renew ship-7 --claim ship-7-new.claim");
  renew.run([renewed] { return write_claim(*renewed, "node-renew", "A new claim for"); });
}

}  // namespace hf::holdfast
