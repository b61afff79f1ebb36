// holdfast stream export: records as lines, for other programs.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "holdfast/admin_pages.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/export_text.h"
#include "holdfast/text.h"
#include "holdfast/units.h"
#include "io/clock.h"
#include "io/entropy.h"

namespace hf::holdfast {

namespace {

// A page is at most so long, or 256 KiB and one record: what the core can make in a few milliseconds.
constexpr uint64_t kRecordsPerPage = 500;
constexpr Duration kProgressInterval = milliseconds(250);

struct Options {
  Target target;
  std::string stream;
  std::string since;
  std::string until;
  std::string topic;
  std::string format = "json";
};

// A moment as RFC 3339: "2026-11-20", "2026-11-20T09:45:42Z", or so long ago.
std::expected<std::string, Failure> moment(const std::string& text, const char* option, int64_t now_us) {
  if (text.empty()) return text;
  int64_t wall_us = 0;
  if (parse_utc(text, &wall_us) || parse_utc(text + "T00:00:00Z", &wall_us)) return format_utc(wall_us, 6);
  if (const auto ago = parse_duration(text)) return format_utc(now_us - ago->ns / 1000, 6);
  return std::unexpected(
      Failure{kExitUsage, fmt::format("{} \"{}\" is neither a moment in UTC, such as 2026-11-20 or "
                                      "2026-11-20T09:45:42Z, nor a duration, such as \"2 h\"",
                                      option, printable(text))});
}

// On standard error, if somebody looks at it and the records go elsewhere.
class Progress {
 public:
  explicit Progress(io::Clock& clock)
      : clock_(clock), shown_(::isatty(STDERR_FILENO) == 1 && ::isatty(STDOUT_FILENO) != 1) {}
  ~Progress() {
    if (any_) std::fputc('\n', stderr);
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void tell(uint64_t count, uint64_t bytes, const std::string& arrived, bool last) {
    const Instant now = clock_.now().mono;
    if (!shown_ || (!last && now < next_)) return;
    next_ = now + kProgressInterval;
    any_ = true;
    std::fprintf(stderr, "\r%s, %s, up to %.19sZ ", format_counted(count, "record", "records").c_str(),
                 format_size(bytes).c_str(), printable(arrived).c_str());
  }

 private:
  io::Clock& clock_;
  const bool shown_;
  bool any_ = false;
  Instant next_;
};

std::expected<void, Failure> export_stream(const Options& options) {
  io::SystemEntropy entropy;
  io::Clock clock(entropy);
  const int64_t now_us = clock.now().wall_us;
  const auto since = moment(options.since, "--since", now_us);
  if (!since) return std::unexpected(since.error());
  const auto until = moment(options.until, "--until", now_us);
  if (!until) return std::unexpected(until.error());
  auto connection = AdminConnection::open(options.target.admin_socket());
  if (!connection) return std::unexpected(connection.error());

  const bool csv = options.format == "csv";
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  uint64_t count = 0;
  uint64_t bytes = 0;
  std::string arrived;
  bool headed = false;
  Progress progress(clock);
  const AdminRequest request{.command = "export",
                             .stream = options.stream,
                             .count = kRecordsPerPage,
                             .filter = options.topic,
                             .since = *since,
                             .until = *until};
  const auto done =
      for_each_page(*connection, request, [&](const Json& page) -> std::expected<void, Failure> {
        std::string out;
        if (csv && !headed) out = csv_heading();
        headed = true;
        for (const Json& record : list_of(page, "records")) {
          out += csv ? csv_line(record) : json_printable(dump(record)) + "\n";
          ++count;
          arrived = text_of(record, "arrived");
        }
        bytes += out.size();
        progress.tell(count, bytes, arrived, !page.contains("cursor"));
        // What strangers wrote does nothing to a terminal; a file gets it as it is.
        if (csv && terminal) {
          std::erase(out, '\r');
          out = printable(out, /*keep_lines=*/true);
        }
        return print(out);
      });
  return done;
}

}  // namespace

void add_stream_export(Command stream) {
  auto options = std::make_shared<Options>();
  const Command command =
      stream.subcommand("export", "Write records as CSV or JSON lines, the oldest first, for other programs");
  command.option("stream", "STREAM", &options->stream, "Name of the stream").required();
  command.option("--since", "TIME|DURATION", &options->since,
                 "Those that arrived from then on: a moment in UTC, or so long ago (default: all)");
  command.option("--until", "TIME|DURATION", &options->until,
                 "Those that arrived before (default: all that is there now)");
  command.option("--topic", "FILTER", &options->topic, "Those whose topics match");
  command
      .option("-o,--output,--format", "FORMAT", &options->format,
              "csv or json (default): an object on each line")
      .one_of({"csv", "json"});
  add_target_options(command, &options->target);
  command.footer(
      "Records of several nodes come one node after the other, each in its order.\n"
      "Examples:\n"
      "  holdfast stream export telemetry --since '24 h' > day.jsonl\n"
      "  holdfast stream export telemetry --since 2026-11-01 --until 2026-12-01 -o csv > november.csv\n"
      "  holdfast stream export alarms --topic 'alarm/engine/#'");
  command.run([options] { return report(export_stream(*options)); });
}

}  // namespace hf::holdfast
