#include "holdfast/command_line.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "holdfast/exit_code.h"

namespace hf::holdfast {

Option Option::required() const {
  option_->required();
  return *this;
}

Option Option::environment(const char* variable) const {
  option_->envname(variable);
  return *this;
}

Option Option::one_of(std::initializer_list<const char*> values) const {
  option_->check(CLI::IsMember(std::vector<std::string>(values.begin(), values.end())));
  return *this;
}

Option Option::between(int min, int max) const {
  option_->check(CLI::Range(min, max));
  return *this;
}

Option Option::between(uint64_t min, uint64_t max) const {
  option_->check(CLI::Range(min, max));
  return *this;
}

Option Option::excludes(Option other) const {
  option_->excludes(other.option_);
  return *this;
}

Option Option::show_default() const {
  option_->capture_default_str();
  return *this;
}

bool Option::given() const { return option_->count() > 0; }

Command Command::subcommand(const char* name, const char* about) const {
  return Command(app_->add_subcommand(name, about), exit_code_);
}

std::vector<std::string> Command::subcommand_names() const {
  std::vector<std::string> names;
  for (const CLI::App* command : app_->get_subcommands({})) names.push_back(command->get_name());
  return names;
}

void Command::require_subcommand() const { app_->require_subcommand(1); }

Option Command::option(const char* names, const char* value_name, OptionValue value,
                       const std::string& about) const {
  return std::visit(
      [&](auto* place) { return Option(app_->add_option(names, *place, about)->type_name(value_name)); },
      value);
}

Option Command::flag(const char* names, bool* value, const char* about) const {
  return Option(app_->add_flag(names, *value, about));
}

void Command::footer(const char* text) const { app_->footer(text); }

void Command::run(std::function<int()> action) const {
  app_->callback([app = app_, exit_code = exit_code_, action = std::move(action)] {
    if (app->get_subcommands().empty()) *exit_code = action();
  });
}

struct CommandLine::Owned {
  CLI::App app;
  int exit_code = kExitOk;
};

CommandLine::CommandLine(std::unique_ptr<Owned> owned)
    : Command(&owned->app, &owned->exit_code), owned_(std::move(owned)) {}

CommandLine::CommandLine(const char* name, const char* about) : CommandLine(std::make_unique<Owned>()) {
  app_->name(name);
  app_->description(about);
  app_->set_help_flag("--help", "Help; also for each command");
}

CommandLine::~CommandLine() = default;

void CommandLine::version(const std::string& text) { app_->set_version_flag("--version", text); }

int CommandLine::parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Asking for help is not a mistake; everything else here is.
    return app_->exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return *exit_code_;
}

}  // namespace hf::holdfast
