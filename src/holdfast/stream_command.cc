// holdfast stream ls | tail: what the node keeps. (stream export: export_command.cc.)
#include <time.h>

#include <cstdio>
#include <memory>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"

namespace hf::holdfast {

namespace {

void add_ls(Command stream) {
  struct Options {
    Target target;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  const Command command = stream.subcommand("ls", "List the streams");
  add_target_options(command, &options->target);
  add_output_option(command, &options->output);
  command.footer("Example:\n  holdfast stream ls -o json");
  command.run([options] { return print_answer(options->target, {.command = "streams"}, options->output); });
}

struct TailOptions {
  Target target;
  std::string output;
  std::string stream;
  uint64_t count = 10;
  bool follow = false;
};

int tail(const TailOptions& options) {
  const bool text = options.output == "table";
  const std::string socket = options.target.admin_socket();
  AdminRequest request{.command = "tail", .text = text, .stream = options.stream, .count = options.count};
  while (true) {
    const auto answer = ask(socket, request);
    if (!answer) return report(answer.error());
    const bool any = answer->after != request.after.value_or(store::Position{});
    request.after = answer->after;
    if (any || !options.follow) {
      std::fputs(text ? answer->text.c_str() : (answer->json + "\n").c_str(), stdout);
      if (std::fflush(stdout) != 0) return kExitFailed;
    }
    if (!options.follow) return kExitOk;
    request.count = 1000;
    if (any) continue;
    const timespec pause{0, 300'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace

void add_stream(Command app) {
  const Command command = app.subcommand("stream", "Look at what the node keeps");
  command.require_subcommand();
  command.footer(
      "Examples:\n"
      "  holdfast stream ls\n"
      "  holdfast stream tail alarms -f\n"
      "  holdfast stream export telemetry --since '24 h' -o csv > day.csv");
  add_ls(command);
  add_stream_export(command);

  auto options = std::make_shared<TailOptions>();
  const Command tail_command =
      command.subcommand("tail", "Show the newest records of a stream, the oldest of them first");
  tail_command.option("stream", "STREAM", &options->stream, "Name of the stream").required();
  tail_command.option("-n,--count", "N", &options->count, "How many (default 10, at most 1000)")
      .between(uint64_t{1}, uint64_t{1000});
  tail_command.flag("-f,--follow", &options->follow, "Go on with all that follow, until interrupted");
  add_target_options(tail_command, &options->target);
  add_output_option(tail_command, &options->output);
  tail_command.footer(
      "Examples:\n"
      "  holdfast stream tail telemetry -n 100\n"
      "  holdfast stream tail alarms -f");
  tail_command.run([options] { return tail(*options); });
}

}  // namespace hf::holdfast
