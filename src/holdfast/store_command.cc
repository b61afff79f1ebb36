// holdfast store info | verify: look at a store that no process uses.
#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#include "holdfast/commands.h"
#include "holdfast/data_directory.h"
#include "holdfast/exit_code.h"
#include "holdfast/settle.h"
#include "holdfast/target.h"
#include "holdfast/text.h"
#include "holdfast/units.h"
#include "io/entropy.h"

namespace hf::holdfast {

namespace {

struct Options {
  Target target;
  std::string output;
};

// A store opened offline, and left as recovery leaves it: what waits in its open batch is made anew by the next start.
struct OpenStore {
  DataDirectory data;
  io::SystemEntropy entropy;
  std::unique_ptr<io::Clock> clock;
  std::unique_ptr<io::PosixDisk> disk;
  store::OpenReport report;
  std::unique_ptr<store::Store> store;
};

std::expected<std::unique_ptr<OpenStore>, Failure> open_offline(const Options& options) {
  auto data = open_data_directory(options.target.data_directory(), "");
  if (!data) return std::unexpected(data.error());
  auto open = std::make_unique<OpenStore>();
  open->data = std::move(*data);
  open->clock = std::make_unique<io::Clock>(open->entropy);
  open->disk = io::PosixDirectory::disk(open->data.store);
  auto store =
      store::Store::open(*open->disk, open->entropy, open->data.key, store_options(open->data.config.node),
                         open->data.fence, open->clock->now(), &open->report);
  if (!store) {
    const bool locked = store.error().code == Code::kWrongKey || store.error().code == Code::kForeign;
    return std::unexpected(
        Failure{locked ? kExitDegraded : kExitFailed, "cannot open the store: " + error_text(store.error())});
  }
  open->store = std::move(*store);
  return open;
}

struct StreamCheck {
  std::string name;
  std::string origin;
  uint64_t records = 0;
  uint64_t bytes = 0;
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t missing = 0;  // Numbers between the first and the last that are not there.
  bool disordered = false;
};

// Reads every record of a stream; false if the disk does not answer.
bool check_stream(OpenStore& open, const store::StreamInfo& stream, StreamCheck* check) {
  check->name = stream.key.name;
  check->origin = stream.options.origin.empty() ? "this node" : stream.options.origin;
  store::Position after;
  while (true) {
    const auto fetch = open.store->next_in_stream(stream.id, after, 0);
    if (fetch.status == store::Store::FetchStatus::kPending) {
      if (!run_jobs(*open.store, *open.disk, open.entropy, open.clock->now())) return false;
      continue;
    }
    if (fetch.status != store::Store::FetchStatus::kRecord) return true;
    const store::Record& record = *fetch.record;
    if (check->records == 0) {
      check->first = record.sequence;
    } else if (record.sequence <= check->last) {
      check->disordered = true;
    } else {
      check->missing += record.sequence - check->last - 1;
    }
    check->last = record.sequence;
    ++check->records;
    check->bytes += record.size_bytes();
    after = record.position;
  }
}

// Found at the start and, of what was read since, found then.
uint64_t rotten_frames(const OpenStore& open) {
  return std::max<uint64_t>(open.report.frames_rotten, open.store->figures().frames_rotten);
}

std::vector<std::pair<std::string, std::string>> recovery_pairs(const OpenStore& open) {
  const store::OpenReport& report = open.report;
  std::vector<std::pair<std::string, std::string>> pairs = {
      {"store", to_hex(open.store->store_id())},
      {"incarnation", to_hex(open.store->incarnation()) + (report.new_incarnation ? " (new)" : "")},
      {"segments", fmt::format("{}, {} read frame by frame", report.segments, report.segments_scanned)},
      {"last commit",
       fmt::format("{}{}", report.commit_last, report.tail_cut ? ", behind it a part of one was cut" : "")},
      {"rotten", format_counted(rotten_frames(open), "frame or segment", "frames or segments")},
  };
  if (report.files_removed > 0)
    pairs.emplace_back("tidied", format_counted(report.files_removed, "left-over file", "left-over files"));
  return pairs;
}

int info(const Options& options) {
  const auto open = open_offline(options);
  if (!open) return report(open.error());
  OpenStore& at = **open;
  const store::Figures figures = at.store->figures();
  std::vector<std::vector<std::string>> rows = {{"STREAM", "ORIGIN", "PRIORITY", "LAST"}};
  std::string streams;
  at.store->for_each_stream([&](const store::StreamInfo& stream) {
    rows.push_back({stream.key.name, stream.options.origin.empty() ? "this node" : stream.options.origin,
                    std::to_string(stream.options.priority), format_count(stream.sequence_last)});
    streams += fmt::format(
        "{}{{\"name\":{},\"origin\":{},\"incarnation\":\"{}\",\"priority\":{},\"sequence_last\":{}}}",
        streams.empty() ? "" : ",", json_quoted(printable(stream.key.name)),
        json_quoted(printable(stream.options.origin)), to_hex(stream.key.incarnation),
        stream.options.priority, stream.sequence_last);
  });
  uint64_t gaps = 0;
  at.store->for_each_gap([&](const store::Gap&) { ++gaps; });
  if (options.output == "json") {
    fmt::print(
        "{{\"ok\":true,\"store\":\"{}\",\"incarnation\":\"{}\",\"segments\":{},\"segments_scanned\":{},"
        "\"commit_last\":{},"
        "\"frames_rotten\":{},\"tail_cut\":{},\"files_removed\":{},\"file_bytes\":{},\"quota_bytes\":{},"
        "\"free_bytes\":{},"
        "\"gaps\":{},\"streams\":[{}]}}\n",
        to_hex(at.store->store_id()), to_hex(at.store->incarnation()), at.report.segments,
        at.report.segments_scanned, at.report.commit_last, at.report.frames_rotten, at.report.tail_cut,
        at.report.files_removed, figures.file_bytes, figures.quota_bytes, figures.free_bytes, gaps, streams);
  } else {
    auto pairs = recovery_pairs(at);
    pairs.emplace_back("disk", fmt::format("{} of {} used", format_size(figures.file_bytes),
                                           format_size(figures.quota_bytes)));
    pairs.emplace_back("gaps", format_count(gaps));
    fmt::print("{}", format_pairs(pairs));
    if (rows.size() > 1) fmt::print("\n{}", format_table(rows));
  }
  return kExitOk;
}

int verify(const Options& options) {
  const auto open = open_offline(options);
  if (!open) return report(open.error());
  OpenStore& at = **open;
  std::vector<store::StreamInfo> streams;
  at.store->for_each_stream([&](const store::StreamInfo& stream) { streams.push_back(stream); });
  std::vector<StreamCheck> checks;
  bool answered = true;
  bool disordered = false;
  uint64_t records = 0;
  uint64_t bytes = 0;
  for (const store::StreamInfo& stream : streams) {
    answered = check_stream(at, stream, &checks.emplace_back()) && answered;
    records += checks.back().records;
    bytes += checks.back().bytes;
    disordered = disordered || checks.back().disordered;
  }
  std::map<std::string, uint64_t> gaps;
  at.store->for_each_gap([&](const store::Gap& gap) { ++gaps[store::gap_cause_name(gap.cause)]; });
  const uint64_t rotten = rotten_frames(at);
  const bool sound = answered && !disordered && rotten == 0;

  if (options.output == "json") {
    std::string list;
    for (const StreamCheck& check : checks) {
      list += fmt::format(
          "{}{{\"name\":{},\"origin\":{},\"records\":{},\"bytes\":{},\"first\":{},\"last\":{},\"missing\":{}}"
          "}",
          list.empty() ? "" : ",", json_quoted(printable(check.name)), json_quoted(printable(check.origin)),
          check.records, check.bytes, check.first, check.last, check.missing);
    }
    std::string causes;
    for (const auto& [cause, count] : gaps)
      causes += fmt::format("{}\"{}\":{}", causes.empty() ? "" : ",", cause, count);
    fmt::print(
        "{{\"ok\":{},\"records\":{},\"bytes\":{},\"frames_rotten\":{},\"tail_cut\":{},\"gaps\":{{{}}},"
        "\"streams\":[{}]}}\n",
        sound, records, bytes, rotten, at.report.tail_cut, causes, list);
  } else {
    fmt::print("{} {} ({}) read in {}.\n\n",
               sound ? "Sound:" : "Damaged:", format_counted(records, "record", "records"),
               format_size(bytes), format_counted(streams.size(), "stream", "streams"));
    std::vector<std::vector<std::string>> rows = {
        {"STREAM", "ORIGIN", "RECORDS", "BYTES", "FIRST", "LAST", "NOT HERE"}};
    for (const StreamCheck& check : checks) {
      rows.push_back({check.name, check.origin, format_count(check.records), format_count(check.bytes),
                      format_count(check.first), format_count(check.last), format_count(check.missing)});
    }
    if (rows.size() > 1) fmt::print("{}\n", format_table(rows));
    auto pairs = recovery_pairs(at);
    for (const auto& [cause, count] : gaps) pairs.emplace_back("gaps, " + cause, format_count(count));
    fmt::print("{}", format_pairs(pairs));
    if (rotten > 0) {
      fmt::print(
          "\nRotten frames were set aside with a gap record each; what they held is lost here. Check the "
          "disk.\n");
    }
    if (!answered) fmt::print("\nNot everything could be read: the disk failed.\n");
  }
  return sound ? kExitOk : kExitDegraded;
}

}  // namespace

void add_store(Command app) {
  const Command command = app.subcommand("store", "Look at a store that no process uses");
  command.require_subcommand();
  struct Kind {
    const char* name;
    const char* help;
    const char* footer;
    int (*run)(const Options&);
  };
  for (const Kind& kind :
       {Kind{"info", "What the store holds and what recovery found",
             "Opening recovers, as a start does: a torn tail is cut, indexes are made anew.\n"
             "Example:\n  holdfast store info --data ./data",
             info},
        Kind{"verify", "Read and decrypt every record",
             "Exit code 4: something is damaged.\n"
             "Example:\n  holdfast store verify --data ./data -o json",
             verify}}) {
    auto options = std::make_shared<Options>();
    const Command one = command.subcommand(kind.name, kind.help);
    add_data_option(one, &options->target);
    add_output_option(one, &options->output);
    one.footer(kind.footer);
    one.run([options, run = kind.run] { return run(*options); });
  }
}

}  // namespace hf::holdfast
