// The command line: a program's commands, their options, and what is said about them.
//
//   CommandLine program("greet", "Greets people.");
//   std::string name;
//   program.option("name", "NAME", &name, "Whom to greet").required();
//   program.run([&] { return greet(name); });
//   return program.parse(argc, argv);
//
// CLI11 does the work. Its templates cost each file that sees them seconds, so only command_line.cc does.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace hf::holdfast {

// Where the value of an option goes; what is there before is the default. A vector takes one after the other.
using OptionValue =
    std::variant<std::string*, std::vector<std::string>*, int*, uint16_t*, uint32_t*, uint64_t*, double*>;

// An option, a flag or a positional argument. A handle: it is copied freely, and good as long as the CommandLine is.
class Option {
 public:
  Option required() const;
  // A value from the environment, if the option is not given.
  Option environment(const char* variable) const;
  // Other values than these are refused. Help names them.
  Option one_of(std::initializer_list<const char*> values) const;
  Option between(int min, int max) const;
  Option between(uint64_t min, uint64_t max) const;
  // It cannot be given together with `other`.
  Option excludes(Option other) const;
  // Help names the default.
  Option show_default() const;

  // Known once the command runs.
  bool given() const;

 private:
  friend class Command;
  explicit Option(CLI::Option* option) : option_(option) {}
  CLI::Option* option_;
};

// A command or one of its subcommands. A handle, as Option is.
class Command {
 public:
  Command subcommand(const char* name, const char* about) const;
  std::vector<std::string> subcommand_names() const;
  // To call it without a subcommand is a mistake.
  void require_subcommand() const;

  // `names` are "-o,--output", or "file" for a positional argument. The value lives until parse() has returned; help calls it
  // `value_name`.
  Option option(const char* names, const char* value_name, OptionValue value, const std::string& about) const;
  Option flag(const char* names, bool* value, const char* about) const;

  // What help says last, such as examples.
  void footer(const char* text) const;

  // What to do when it is called and none of its subcommands is. It returns the exit code.
  void run(std::function<int()> action) const;

 protected:
  Command(CLI::App* app, int* exit_code) : app_(app), exit_code_(exit_code) {}
  CLI::App* app_;
  int* exit_code_;  // Of the CommandLine.
};

// The program itself, which is a command too, with --help.
class CommandLine : public Command {
 public:
  CommandLine(const char* name, const char* about);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Adds --version, which prints this.
  void version(const std::string& text);

  // Runs the command that is called, and returns its exit code. A mistake is explained on standard error: kExitUsage.
  int parse(int argc, char** argv);

 private:
  struct Owned;
  explicit CommandLine(std::unique_ptr<Owned> owned);
  std::unique_ptr<Owned> owned_;
};

}  // namespace hf::holdfast
