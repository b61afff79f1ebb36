// holdfast_sim: plays simulated histories and says what went wrong.
//
//   holdfast_sim --seeds 300 [--first 1] [--scenario NAME]    that many seeds of the swarm, and each standing scenario once
//   holdfast_sim --seed 17 --scenario swarm [--trace]         one of them again, word by word
//   holdfast_sim --bugs                                       every planted bug must be found
//   holdfast_sim --scenario list
//
// A run is its own process (a child of this one): an assertion that fails or a step that does not return is a finding like
// any other, and the next seed starts clean.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/planted_bugs.h"
#include "sim/scenario.h"

namespace hf::sim {
namespace {

struct Arguments {
  uint64_t seeds = 0;
  uint64_t first = 1;
  std::optional<uint64_t> seed;
  std::string scenario;
  std::map<std::string, std::string> only;
  PlantedBug bug = PlantedBug::kNone;
  bool bugs = false;
  bool aloud = false;
};

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string replay_command(const Scenario& scenario, uint64_t seed, PlantedBug bug, const std::string& more) {
  std::string out =
      std::string("holdfast_sim --scenario ") + scenario.name + " --seed " + std::to_string(seed);
  if (bug != PlantedBug::kNone) out += std::string(" --bug ") + planted_bug_name(bug);
  if (!more.empty()) out += " " + more;
  return out;
}

void print_failure(const Scenario& scenario, uint64_t seed, PlantedBug bug, const Verdict& verdict) {
  constexpr size_t kLines = 40;
  const size_t begin = verdict.story.size() > kLines ? verdict.story.size() - kLines : 0;
  std::printf("\n");
  for (size_t i = begin; i < verdict.story.size(); ++i) std::printf("    %s\n", verdict.story[i].c_str());
  std::printf("\n  FAILED    %s, seed %llu\n  violated  %s\n  again     %s --trace\n\n", scenario.name,
              static_cast<unsigned long long>(seed), verdict.violation.c_str(),
              replay_command(scenario, seed, bug, verdict.replay).c_str());
}

// An assertion failed, or a step did not return: tells the story before the process goes. This is no ordinary signal: the
// program stands in a known place of this very thread.
struct Playing {
  const Scenario* scenario = nullptr;
  Run run;
  PlantedBug bug = PlantedBug::kNone;
} playing;

void tell_and_die(int signal_number) {
  signal(signal_number, SIG_DFL);
  Verdict verdict;
  verdict.violation = signal_number == SIGALRM ? "it does not end" : "an assertion failed (above)";
  for (const auto& [key, value] : playing.run.only) {
    verdict.replay.append(verdict.replay.empty() ? "--only " : ",").append(key).append("=").append(value);
  }
  if (const Trace* trace = Trace::current())
    verdict.story.assign(trace->story().begin(), trace->story().end());
  print_failure(*playing.scenario, playing.run.seed, playing.bug, verdict);
  std::fflush(stdout);
  raise(signal_number);
}

// What a child tells its parent: fixed fields, then the note.
struct Report {
  bool ok = false;
  uint64_t trace = 0;
  uint64_t cases = 0;
  uint64_t messages = 0;
  uint64_t deliveries = 0;
  uint64_t crashes = 0;
  int64_t simulated_ns = 0;
  char note[160] = {};
  char violation[400] = {};
};

// Plays one run in a child process. `quiet`: a finding is only reported, not told.
Report play(const Scenario& scenario, const Run& run, PlantedBug bug, bool quiet, unsigned seconds_max) {
  std::fflush(stdout);
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) std::abort();
  const pid_t child = fork();
  if (child < 0) std::abort();
  if (child == 0) {
    close(pipe_ends[0]);
    if (quiet && freopen("/dev/null", "w", stderr) == nullptr) std::abort();
    alarm(seconds_max);
    playing = {&scenario, run, bug};
    if (!quiet) {
      signal(SIGABRT, tell_and_die);
      signal(SIGALRM, tell_and_die);
    }
#if defined(HF_PLANTED_BUGS)
    plant(bug);
#endif
    const Verdict verdict = scenario.run(run);
    Report report;
    report.ok = verdict.ok();
    report.trace = verdict.trace;
    report.cases = verdict.cases;
    report.messages = verdict.messages;
    report.deliveries = verdict.deliveries;
    report.crashes = verdict.crashes;
    report.simulated_ns = verdict.simulated.ns;
    std::snprintf(report.note, sizeof report.note, "%s", verdict.note.c_str());
    std::snprintf(report.violation, sizeof report.violation, "%s", verdict.violation.c_str());
    if (!verdict.ok() && !quiet) print_failure(scenario, run.seed, bug, verdict);
    std::fflush(stdout);
    const ssize_t written = write(pipe_ends[1], &report, sizeof report);
    _exit(written == sizeof report ? 0 : 1);
  }
  close(pipe_ends[1]);
  Report report;
  const ssize_t got = read(pipe_ends[0], &report, sizeof report);
  close(pipe_ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (got == sizeof report) return report;

  report = {};
  const char* what = "the process died";
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) what = "an assertion failed";
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) what = "it does not end";
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) what = "segmentation fault";
  std::snprintf(report.violation, sizeof report.violation, "%s", what);
  if (!quiet) std::printf("  %s: %s\n", what, replay_command(scenario, run.seed, bug, "").c_str());
  return report;
}

unsigned seconds_max_of(const Scenario& scenario) { return scenario.seeds ? 60 : 900; }

void print_line(const Scenario& scenario, uint64_t runs, const Report& sum, double took) {
  std::printf(
      "%-18s %5llu runs %6llu cases %7llu messages %8llu deliveries %6llu crashes %6lld simulated minutes "
      "%6.1f s  "
      "trace %016llx%s%s\n",
      scenario.name, static_cast<unsigned long long>(runs), static_cast<unsigned long long>(sum.cases),
      static_cast<unsigned long long>(sum.messages), static_cast<unsigned long long>(sum.deliveries),
      static_cast<unsigned long long>(sum.crashes), static_cast<long long>(sum.simulated_ns / 60'000'000'000),
      took, static_cast<unsigned long long>(sum.trace), sum.note[0] != 0 ? "  " : "", sum.note);
}

// Seeds first..first+count-1 of a scenario; stops at the first that fails.
bool play_seeds(const Scenario& scenario, uint64_t first, uint64_t count, const Arguments& arguments,
                Report* total) {
  const auto begin = std::chrono::steady_clock::now();
  auto told = begin;
  Report sum;
  sum.trace = 0xcbf29ce484222325;
  for (uint64_t i = 0; i < count; ++i) {
    Run run;
    run.seed = first + i;
    run.only = arguments.only;
    const Report report = play(scenario, run, arguments.bug, false, seconds_max_of(scenario));
    if (!report.ok) return false;
    sum.trace = (sum.trace ^ report.trace) * 0x100000001b3;
    sum.cases += report.cases;
    sum.messages += report.messages;
    sum.deliveries += report.deliveries;
    sum.crashes += report.crashes;
    sum.simulated_ns += report.simulated_ns;
    std::memcpy(sum.note, report.note, sizeof sum.note);
    if (isatty(2) != 0 && std::chrono::steady_clock::now() - told > std::chrono::milliseconds(500)) {
      std::fprintf(stderr, "\r%s: %llu of %llu ", scenario.name, static_cast<unsigned long long>(i) + 1,
                   static_cast<unsigned long long>(count));
      told = std::chrono::steady_clock::now();
    }
  }
  if (isatty(2) != 0) std::fprintf(stderr, "\r                              \r");
  if (count > 1) sum.note[0] = 0;
  print_line(scenario, count, sum, seconds_since(begin));
  total->cases += sum.cases;
  total->messages += sum.messages;
  total->crashes += sum.crashes;
  total->simulated_ns += sum.simulated_ns;
  return true;
}

int run_seeds(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  Report total;
  for (const Scenario& scenario : scenarios()) {
    if (!arguments.scenario.empty() && arguments.scenario != scenario.name) continue;
    const bool swarm = std::strcmp(scenario.name, "swarm") == 0 || !arguments.scenario.empty();
    // Beside the swarm, each standing scenario once; those that differ by seed, eight times.
    const uint64_t count = swarm            ? arguments.seeds
                           : scenario.seeds ? std::min<uint64_t>(8, arguments.seeds)
                                            : 1;
    if (!play_seeds(scenario, arguments.first, count, arguments, &total)) return 1;
  }
  std::printf("%llu cases, %llu messages, %llu crashes, %lld simulated hours, 0 violations, %.0f s\n",
              static_cast<unsigned long long>(total.cases), static_cast<unsigned long long>(total.messages),
              static_cast<unsigned long long>(total.crashes),
              static_cast<long long>(total.simulated_ns / 3'600'000'000'000), seconds_since(begin));
  return 0;
}

int run_one(const Arguments& arguments) {
  const Scenario* scenario = find_scenario(arguments.scenario.empty() ? "swarm" : arguments.scenario);
  const auto begin = std::chrono::steady_clock::now();
  Run run;
  run.seed = *arguments.seed;
  run.aloud = arguments.aloud;
  run.only = arguments.only;
#if defined(HF_PLANTED_BUGS)
  plant(arguments.bug);
#endif
  // In this process: a debugger should find what it looks for.
  playing = {scenario, run, arguments.bug};
  signal(SIGABRT, tell_and_die);
  const Verdict verdict = scenario->run(run);
  Report report;
  report.trace = verdict.trace;
  report.cases = verdict.cases;
  report.messages = verdict.messages;
  report.deliveries = verdict.deliveries;
  report.crashes = verdict.crashes;
  report.simulated_ns = verdict.simulated.ns;
  std::snprintf(report.note, sizeof report.note, "%s", verdict.note.c_str());
  if (!verdict.ok()) {
    print_failure(*scenario, run.seed, arguments.bug, verdict);
    return 1;
  }
  print_line(*scenario, 1, report, seconds_since(begin));
  return 0;
}

// Which scenario should find which bug, and within how many seeds.
struct Hunt {
  PlantedBug bug;
  const char* scenario;
  uint64_t seeds_max;
};
constexpr Hunt kHunts[] = {
    {PlantedBug::kAckBeforeSync, "crash-sweep", 3},
    {PlantedBug::kAckBeforeSync, "swarm", 100},
    {PlantedBug::kDeliverBeforeDurable, "crash-sweep", 3},
    {PlantedBug::kDeliverBeforeDurable, "swarm", 100},
    {PlantedBug::kDeleteBeforeReceipt, "swarm", 100},
    {PlantedBug::kReuseNumbersAfterCutTail, "rot-tail", 50},
    {PlantedBug::kApplyHalfACommit, "crash-sweep", 3},
    {PlantedBug::kTrustNumberWithoutHash, "restored-child", 20},
    {PlantedBug::kTruncateAtRot, "rot", 2},
    {PlantedBug::kForgetDirectorySync, "crash-sweep", 3},
    {PlantedBug::kForgetDirectorySync, "swarm", 100},
    {PlantedBug::kPubcompBeforeState, "crash-sweep", 3},
    {PlantedBug::kForwardBeforeDurable, "crash-sweep", 3},
    {PlantedBug::kForwardBeforeDurable, "swarm", 100},
};

int run_bugs(const Arguments& arguments) {
#if !defined(HF_PLANTED_BUGS)
  (void)arguments;
  (void)kHunts;
  std::fprintf(stderr, "holdfast_sim: built without planted bugs; use the preset `sim`\n");
  return 78;
#else
  std::printf("%-30s %-18s %8s %8s  %s\n", "planted bug", "scenario", "seeds", "seconds",
              "what the oracle said");
  bool found[kPlantedBugCount] = {};
  for (const Hunt& hunt : kHunts) {
    if (arguments.bug != PlantedBug::kNone && hunt.bug != arguments.bug) continue;
    if (!arguments.scenario.empty() && arguments.scenario != hunt.scenario) continue;
    const Scenario& scenario = *find_scenario(hunt.scenario);
    const auto begin = std::chrono::steady_clock::now();
    Report report;
    report.ok = true;
    uint64_t seeds = 0;
    while (report.ok && seeds < hunt.seeds_max) {
      Run run;
      run.seed = arguments.first + seeds++;
      report = play(scenario, run, hunt.bug, true, seconds_max_of(scenario));
    }
    if (!report.ok) {
      // It counts only if the very same history is sound without the bug.
      Run run;
      run.seed = arguments.first + seeds - 1;
      if (const Report sound = play(scenario, run, PlantedBug::kNone, true, seconds_max_of(scenario));
          !sound.ok) {
        report = {};
        report.ok = true;
        std::snprintf(report.violation, sizeof report.violation, "fails without the bug as well: %.300s",
                      sound.violation);
      }
    }
    found[static_cast<int>(hunt.bug)] |= !report.ok;
    std::printf("%-30s %-18s %8s %8.1f  %.110s\n", planted_bug_name(hunt.bug), hunt.scenario,
                report.ok ? "NOT FOUND" : std::to_string(seeds).c_str(), seconds_since(begin),
                report.violation);
  }
  int missed = 0;
  for (int i = 1; i < kPlantedBugCount; ++i) {
    const auto bug = static_cast<PlantedBug>(i);
    if (arguments.bug != PlantedBug::kNone && bug != arguments.bug) continue;
    if (!found[i] && arguments.scenario.empty()) {
      std::printf("not found: %s\n", planted_bug_name(bug));
      ++missed;
    }
  }
  return missed == 0 ? 0 : 1;
#endif
}

[[noreturn]] void usage() {
  std::fprintf(
      stderr,
      "usage: holdfast_sim --seeds N [--first S] [--scenario NAME]\n"
      "       holdfast_sim --seed S [--scenario NAME] [--only key=value,...] [--bug NAME] [--trace]\n"
      "       holdfast_sim --bugs [--bug NAME] [--scenario NAME]\n"
      "       holdfast_sim --scenario list\n");
  std::exit(64);
}

uint64_t number(const char* text) {
  char* end = nullptr;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (end == text || *end != 0) usage();
  return value;
}

int run(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string option = values[i];
    const auto value = [&]() -> const char* {
      if (i + 1 >= count) usage();
      return values[++i];
    };
    if (option == "--seeds") {
      arguments.seeds = number(value());
    } else if (option == "--first") {
      arguments.first = number(value());
    } else if (option == "--seed") {
      arguments.seed = number(value());
    } else if (option == "--scenario") {
      arguments.scenario = value();
    } else if (option == "--only") {
      std::string text = value();
      while (!text.empty()) {
        const std::string part = text.substr(0, text.find(','));
        text.erase(0, part.size() + 1);
        const size_t equals = part.find('=');
        if (equals == std::string::npos) usage();
        arguments.only[part.substr(0, equals)] = part.substr(equals + 1);
      }
    } else if (option == "--bug") {
      const auto bug = find_planted_bug(value());
      if (!bug) usage();
      arguments.bug = *bug;
    } else if (option == "--bugs") {
      arguments.bugs = true;
    } else if (option == "--trace") {
      arguments.aloud = true;
    } else {
      usage();
    }
  }
  if (arguments.scenario == "list") {
    for (const Scenario& scenario : scenarios()) std::printf("%-18s %s\n", scenario.name, scenario.about);
    return 0;
  }
  if (!arguments.scenario.empty() && find_scenario(arguments.scenario) == nullptr) {
    std::fprintf(stderr, "holdfast_sim: no scenario %s; see --scenario list\n", arguments.scenario.c_str());
    return 64;
  }
  if (arguments.bugs) return run_bugs(arguments);
  if (arguments.seed) return run_one(arguments);
  if (arguments.seeds == 0) usage();
  return run_seeds(arguments);
}

}  // namespace
}  // namespace hf::sim

int main(int count, char** values) { return hf::sim::run(count, values); }
