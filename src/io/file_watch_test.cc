// Goal: whoever watches a file hears of its change however it was made, once, and of no other's. Method: real files in a
// temporary directory; time is an argument.
#include "io/file_watch.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "io/temporary_directory_testing.h"

namespace hf::io {
namespace {

class FileWatchTest : public testing::Test {
 protected:
  FileWatchTest() { write("a", "1"); }
  void write(const std::string& name, const std::string& text) { std::ofstream(temporary_ / name) << text; }
  void watch(const std::string& name) {
    watch_.watch({temporary_ / name}, [this] { ++told_; });
  }
  // Reads what the kernel has to say by now.
  void read() {
    pollfd event{watch_.descriptor(), POLLIN, 0};
    if (::poll(&event, 1, 0) == 1) watch_.readable(now_);
  }
  // How often it was told of what happened since the last call.
  int told() {
    read();
    if (const auto due = watch_.deadline()) now_ = *due;
    watch_.expire(now_);
    EXPECT_FALSE(watch_.deadline());
    return std::exchange(told_, 0);
  }

  TemporaryDirectory temporary_;
  FileWatch watch_;
  Instant now_ = Instant{0} + seconds(1);
  int told_ = 0;
};

TEST_F(FileWatchTest, HearsOfEveryWayToChangeAFile) {
  watch("a");
  EXPECT_EQ(told(), 0);
  write("a", "2");
  EXPECT_EQ(told(), 1);
  write("a.new", "3");
  EXPECT_EQ(told(), 0);
  std::filesystem::rename(temporary_ / "a.new", temporary_ / "a");
  EXPECT_EQ(told(), 1);
  std::filesystem::remove(temporary_ / "a");
  EXPECT_EQ(told(), 1);
  write("a", "4");
  EXPECT_EQ(told(), 1);
  std::filesystem::permissions(temporary_ / "a", std::filesystem::perms::owner_read);
  EXPECT_EQ(told(), 1);
}

TEST_F(FileWatchTest, OthersAreNotToldOfIt) {
  int others = 0;
  watch_.watch({temporary_ / "b"}, [&] { ++others; });
  watch("a");
  write("b", "1");
  EXPECT_EQ(told(), 0);
  EXPECT_EQ(others, 1);
  watch_.now_all();
  EXPECT_EQ(told(), 1);
  EXPECT_EQ(others, 2);
}

TEST_F(FileWatchTest, SettlesFirstButNotForEver) {
  watch("a");
  const Instant begun = now_;
  for (int i = 0; i < 30; ++i) {
    write("a", std::to_string(i));
    read();
    EXPECT_GT(*watch_.deadline(), now_);
    if (now_ + milliseconds(50) >= *watch_.deadline()) break;
    now_ = now_ + milliseconds(50);
  }
  EXPECT_EQ(*watch_.deadline(), begun + FileWatch::kSettleMax);
  EXPECT_EQ(told(), 1);
}

TEST_F(FileWatchTest, FollowsLinks) {
  std::filesystem::create_directory(temporary_ / "one");
  std::filesystem::create_directory(temporary_ / "two");
  write("one/key", "1");
  write("two/key", "2");
  std::filesystem::create_directory_symlink("one", temporary_ / "..data");
  std::filesystem::create_symlink("..data/key", temporary_ / "key");
  watch("key");
  write("one/key", "3");
  EXPECT_EQ(told(), 1);
  std::filesystem::create_directory_symlink("two", temporary_ / "..data.new");
  std::filesystem::rename(temporary_ / "..data.new", temporary_ / "..data");
  EXPECT_EQ(told(), 1);
  write("two/key", "4");
  EXPECT_EQ(told(), 1);
}

}  // namespace
}  // namespace hf::io
