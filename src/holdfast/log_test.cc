// Goal: a line of the log is one line, as JSON always JSON, and never long, whatever strangers put into it; and who does not read
// it holds nothing up. Method: golden text; pipes that nobody reads.
#include "holdfast/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

namespace hf::holdfast {
namespace {

TEST(LogTest, LinesAreGolden) {
  EXPECT_EQ(format_log_line(LogFormat::kText, "2026-11-20T09:45:42.123Z", "HF-RUN-003", "stopped"),
            "2026-11-20T09:45:42.123Z HF-RUN-003 stopped\n");
  EXPECT_EQ(format_log_line(LogFormat::kText, "", "HF-RUN-003", "a\nb"), "HF-RUN-003 a\\x0ab\n");
  EXPECT_EQ(format_log_line(LogFormat::kJson, "2026-11-20T09:45:42.123Z", "HF-RUN-003", "say \"no\""),
            R"({"time":"2026-11-20T09:45:42.123Z","event":"HF-RUN-003","text":"say \"no\""})"
            "\n");
}

TEST(LogTest, WhateverIsLoggedIsJson) {
  for (const std::string& text :
       {std::string("\xff\xfe"), std::string("a\0b", 3), std::string("\xc2\x80\x1b[31m"),
        std::string("\xed\xa0\x80"), std::string("{\"\\\n\"}")}) {
    const std::string line = format_log_line(LogFormat::kJson, "t", "HF-X-001", text);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto json = nlohmann::json::parse(line, nullptr, false);
    ASSERT_TRUE(json.is_object()) << line;
    EXPECT_EQ(json["event"], "HF-X-001");
  }
}

TEST(LogTest, LineIsNeverLongerThanAPipeTakesAtOnce) {
  for (const std::string& text :
       {std::string(70'000, 'a'), std::string(70'000, '"'), std::string(70'000, '\x85'),
        std::string(70'000, '\\'), std::string(70'000, '\n')}) {
    const std::string line = format_log_line(LogFormat::kText, "2026-11-20T09:45:42.123Z", "HF-X-001", text);
    EXPECT_LE(line.size(), kLogLineBytesMax);
    EXPECT_GT(line.size(), kLogLineBytesMax - 10);
    EXPECT_TRUE(line.ends_with("…\n"));
    const std::string object =
        format_log_line(LogFormat::kJson, "2026-11-20T09:45:42.123Z", "HF-X-001", text);
    EXPECT_LE(object.size(), kLogLineBytesMax);
    EXPECT_GT(object.size(), kLogLineBytesMax - 10);
    EXPECT_TRUE(nlohmann::json::accept(object)) << object;
  }
  std::string text(70'000, 'u');
  for (size_t i = 1; i < text.size(); i += 2) text.replace(i, 2, "ü");
  EXPECT_TRUE(nlohmann::json::accept(format_log_line(LogFormat::kJson, "t", "HF-X-001", text)));
}

// Both ends of a pipe or of a pair of sockets.
struct Ends {
  io::FileDescriptor reads, writes;
  std::string read() {
    std::string bytes(1 << 20, '\0');
    ::fcntl(reads.get(), F_SETFL, O_NONBLOCK);
    std::string all;
    for (ssize_t count = 0; (count = ::read(reads.get(), bytes.data(), bytes.size())) > 0;)
      all.append(bytes, 0, static_cast<size_t>(count));
    return all;
  }
};

Ends pipe_ends() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {io::FileDescriptor(ends[0]), io::FileDescriptor(ends[1])};
}

Ends socket_ends() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {io::FileDescriptor(ends[0]), io::FileDescriptor(ends[1])};
}

TEST(LogTest, ReaderThatDoesNotReadHoldsNothingUpAndIsToldWhatItMissed) {
  for (const bool socket : {false, true}) {
    SCOPED_TRACE(socket ? "a socket" : "a pipe");
    Ends ends = socket ? socket_ends() : pipe_ends();
    Log log(ends.writes.get());
    const std::string text(70'000, '"');
    // More than any of them takes. (Of one event ten lines are written in ten seconds.)
    std::vector<std::string> events;
    for (int i = 0; i < 400; ++i) events.push_back("HF-X-" + std::to_string(100 + i));
    for (const std::string& event : events) log.line(event.c_str(), text);
    const std::string seen = ends.read();
    const auto lines = static_cast<size_t>(std::count(seen.begin(), seen.end(), '\n'));
    EXPECT_GT(lines, 5u);
    EXPECT_LT(lines, 400u);
    log.line("HF-X-001", "heard again");
    const std::string after = ends.read();
    // The socket may have taken a part of the last line: its rest comes first.
    const size_t torn = seen.back() == '\n' ? 0 : 1;
    EXPECT_NE(after.find("HF-LOG-001 " + std::to_string(400 - lines - torn) + " lines were dropped"),
              std::string::npos)
        << lines << after;
    EXPECT_TRUE(after.ends_with("HF-X-001 heard again\n")) << after;
    log.line("HF-X-002", "and again");
    EXPECT_EQ(ends.read().find("HF-LOG-001"), std::string::npos);
  }
}

TEST(LogTest, FileIsWrittenToItsEnd) {
  char name[] = "/tmp/holdfast-log-XXXXXX";
  const io::FileDescriptor file(::mkstemp(name));
  ASSERT_TRUE(file.valid());
  ASSERT_EQ(::unlink(name), 0);
  ASSERT_EQ(::write(file.get(), "before\n", 7), 7);
  Log log(file.get());
  log.line("HF-X-001", "one");
  log.line("HF-X-001", "two");
  std::string seen(1000, '\0');
  seen.resize(static_cast<size_t>(::pread(file.get(), seen.data(), seen.size(), 0)));
  EXPECT_TRUE(seen.starts_with("before\n")) << seen;
  EXPECT_EQ(std::count(seen.begin(), seen.end(), '\n'), 3) << seen;
}

}  // namespace
}  // namespace hf::holdfast
