#include "holdfast/password_input.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <initializer_list>
#include <vector>

#include "crypto/crypto.h"
#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"
#include "holdfast/text.h"
#include "io/errno_text.h"
#include "io/file_descriptor.h"

namespace hf::holdfast {

namespace {

std::unexpected<Failure> refuse(std::string text) {
  return std::unexpected(Failure{kExitFailed, std::move(text)});
}

// A terminal that shows nothing, for as long as this lives. Signals wait meanwhile, so that none of them leaves it so.
class QuietTerminal {
 public:
  QuietTerminal() {
    sigset_t ending;
    ::sigemptyset(&ending);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP}) ::sigaddset(&ending, number);
    ::sigprocmask(SIG_BLOCK, &ending, &signals_before_);
    signals_ = io::FileDescriptor(::signalfd(-1, &ending, SFD_CLOEXEC));
    changed_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = changed_ && ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
  }
  ~QuietTerminal() {
    if (changed_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
    ::sigprocmask(SIG_SETMASK, &signals_before_, nullptr);
  }
  QuietTerminal(const QuietTerminal&) = delete;
  QuietTerminal& operator=(const QuietTerminal&) = delete;

  bool quiet() const { return changed_; }

  // Waits until there is something to read; false if a signal came instead.
  bool wait() const {
    pollfd sources[] = {{STDIN_FILENO, POLLIN, 0}, {signals_.get(), POLLIN, 0}};
    while (::poll(sources, signals_.valid() ? 2 : 1, -1) < 0) {
      if (errno != EINTR) return false;
    }
    return sources[1].revents == 0;
  }

 private:
  termios before_{};
  sigset_t signals_before_{};
  io::FileDescriptor signals_;
  bool changed_ = false;
};

// Up to the end of a line or of the input; a little more than a password may have, at most.
std::expected<std::string, Failure> read_line(const QuietTerminal* terminal) {
  std::string line;
  while (line.size() <= kPasswordBytesMax + 2) {
    if (terminal != nullptr && !terminal->wait()) return refuse("interrupted; nothing was changed");
    char c = 0;
    // One by one: what follows the line is somebody else's.
    const ssize_t count = ::read(STDIN_FILENO, &c, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse("cannot read the password: " + io::errno_text(errno));
    if (count == 0) break;
    line += c;
    if (c == '\n') break;
  }
  return line;
}

// What is typed after each of these prompts.
std::expected<std::vector<std::string>, Failure> ask_terminal(std::initializer_list<const char*> prompts,
                                                              const std::string& user) {
  const QuietTerminal terminal;
  if (!terminal.quiet())
    return refuse("cannot keep the terminal from showing the password; use --password-file FILE");
  std::vector<std::string> typed;
  for (const char* const prompt : prompts) {
    std::fprintf(stderr, "%s %s: ", prompt, printable(user).c_str());
    auto line = read_line(&terminal);
    std::fputc('\n', stderr);
    if (!line) return std::unexpected(line.error());
    typed.push_back(std::move(*line));
  }
  return typed;
}

std::expected<std::string, Failure> ask_twice(const std::string& user) {
  auto both = ask_terminal({"New password for", "Again, for"}, user);
  if (!both) return std::unexpected(both.error());
  std::vector<std::string>& typed = *both;
  const bool same = typed[0] == typed[1];
  crypto::wipe(&typed[1]);
  if (!same) {
    crypto::wipe(&typed[0]);
    return refuse("the two passwords differ; nothing was changed");
  }
  return typed[0];
}

}  // namespace

std::expected<std::string, Failure> password_of(const std::string& text, const std::string& source,
                                                size_t bytes_min) {
  std::string line = text.substr(0, text.find('\n'));
  if (line.size() + 1 < text.size()) {
    crypto::wipe(&line);
    return refuse(fmt::format("{} has more than one line; a password is one", source));
  }
  if (line.size() < text.size() && line.ends_with('\r')) line.pop_back();
  const size_t size = line.size();
  if (size >= bytes_min && size <= kPasswordBytesMax && line.find('\0') == std::string::npos) return line;
  crypto::wipe(&line);
  if (size < bytes_min) {
    return refuse(fmt::format("the password has {} bytes; it needs {} at least", size, bytes_min));
  }
  if (size > kPasswordBytesMax)
    return refuse(fmt::format("a password has {} bytes at most", kPasswordBytesMax));
  return refuse("the password has a zero byte; is it text?");
}

std::expected<std::string, Failure> read_new_password(const std::string& file, const std::string& user) {
  std::expected<std::string, Failure> text;
  std::string source = "standard input";
  if (!file.empty()) {
    source = file;
    auto read = read_file(file, 4096);
    if (!read) return refuse(read.error());
    text = std::move(*read);
  } else {
    text = ::isatty(STDIN_FILENO) == 1 ? ask_twice(user) : read_line(nullptr);
    if (!text) return text;
  }
  auto password = password_of(*text, source);
  crypto::wipe(&*text);
  return password;
}

std::expected<std::string, Failure> read_password(const std::string& file, const std::string& user) {
  const bool asked = file.empty();
  if (asked && ::isatty(STDIN_FILENO) != 1) {
    return std::unexpected(
        Failure{kExitUsage, "nobody is here to be asked for the password; use --password-file FILE"});
  }
  std::string text;
  if (asked) {
    auto typed = ask_terminal({"Password for"}, user);
    if (!typed) return std::unexpected(typed.error());
    text = std::move(typed->front());
  } else {
    auto read = read_file(file, 4096);
    if (!read) return refuse(read.error());
    text = std::move(*read);
  }
  auto password = password_of(text, asked ? "the terminal" : file, 0);
  crypto::wipe(&text);
  return password;
}

}  // namespace hf::holdfast
