// Goal: PosixDisk keeps the contract of store/disk.h on a real file system, in good and bad times.
// Method: a temporary directory; bad times by a file size limit (a write that fails half-way) and, for root,
// by a file system of one megabyte.
#include "io/posix_disk.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "io/temporary_directory_testing.h"

namespace hf::io {
namespace {

class PosixDiskTest : public testing::Test {
 protected:
  PosixDiskTest()
      : directory_(*PosixDirectory::open(temporary_.path())), disk_(PosixDirectory::disk(directory_)) {}

  // How many descriptors of this process lead to a file of the directory, also to a removed one.
  size_t open_files() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (!gone && target.starts_with(temporary_.path() + "/")) ++count;
    }
    return count;
  }

  TemporaryDirectory temporary_;
  std::shared_ptr<PosixDirectory> directory_;
  std::unique_ptr<PosixDisk> disk_;
};

TEST_F(PosixDiskTest, WritesAndReadsBack) {
  ASSERT_TRUE(disk_->create("a.seg", 10'000));
  EXPECT_EQ(*disk_->size("a.seg"), 10'000u);
  EXPECT_EQ(*disk_->read("a.seg", 9'990, 100), std::string(10, '\0'));
  ASSERT_TRUE(disk_->write("a.seg", 4'096, "hello"));
  ASSERT_TRUE(disk_->write("a.seg", 12'000, "beyond"));
  ASSERT_TRUE(disk_->sync("a.seg"));
  ASSERT_TRUE(disk_->sync_directory());
  EXPECT_EQ(*disk_->read("a.seg", 4'095, 7), std::string("\0hello\0", 7));
  EXPECT_EQ(*disk_->size("a.seg"), 12'006u);
  EXPECT_EQ(*disk_->read("a.seg", 20'000, 10), "");
  EXPECT_EQ(disk_->read("a.seg", 0, uint64_t{1} << 60)->size(), 12'006u);
  ASSERT_TRUE(disk_->truncate("a.seg", 4'098));
  EXPECT_EQ(*disk_->read("a.seg", 4'096, 100), "he");
}

TEST_F(PosixDiskTest, ReadsPastTheCacheWhatIsThere) {
  std::string bytes(300'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 / 3);
  ASSERT_TRUE(disk_->write("a.seg", 0, bytes));
  for (const uint64_t offset :
       {0u, 1u, 511u, 4'096u, 4'097u, 100'000u, 290'000u, 299'999u, 300'000u, 400'000u}) {
    for (const uint64_t size : {10u, 65'536u, 65'537u, 131'072u, 299'999u, 300'000u, 1u << 30}) {
      ASSERT_EQ(*disk_->read_once("a.seg", offset, size),
                offset > bytes.size() ? "" : bytes.substr(offset, size))
          << offset << " " << size;
    }
  }
  EXPECT_EQ(disk_->read_once("b.seg", 0, 1 << 20).error().code, Code::kNotFound);
  ASSERT_TRUE(disk_->remove("a.seg"));
  EXPECT_EQ(disk_->read_once("a.seg", 0, 1 << 20).error().code, Code::kNotFound);
}

TEST_F(PosixDiskTest, CreatedFilesOccupySpaceAndAreOurs) {
  ASSERT_TRUE(disk_->create("a.seg", 1 << 20));
  struct stat about{};
  ASSERT_EQ(::stat((temporary_ / "a.seg").c_str(), &about), 0);
  EXPECT_GE(about.st_blocks * 512, 1 << 20);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
}

TEST_F(PosixDiskTest, ListsFilesInOrder) {
  ASSERT_TRUE(disk_->create("b", 0));
  ASSERT_TRUE(disk_->write("a", 0, "x"));
  ::mkdir((temporary_ / "folder").c_str(), 0700);
  EXPECT_EQ(*disk_->list(), (std::vector<std::string>{"a", "b"}));
  EXPECT_GT(*disk_->free_bytes(), 0u);
}

TEST_F(PosixDiskTest, NamesThatAreThereOrAreNot) {
  ASSERT_TRUE(disk_->create("a", 1));
  EXPECT_EQ(disk_->create("a", 1).error().code, Code::kExists);
  EXPECT_EQ(disk_->read("b", 0, 1).error().code, Code::kNotFound);
  EXPECT_EQ(disk_->size("b").error().code, Code::kNotFound);
  EXPECT_EQ(disk_->remove("b").error().code, Code::kNotFound);
  EXPECT_EQ(disk_->rename("b", "c").error().code, Code::kNotFound);
  for (const char* name : {"", ".", "..", "a/b", "../a"}) {
    EXPECT_EQ(disk_->write(name, 0, "x").error().code, Code::kInvalid) << name;
    EXPECT_EQ(disk_->read(name, 0, 1).error().code, Code::kInvalid) << name;
  }
}

TEST_F(PosixDiskTest, DoesNotFollowLinks) {
  std::ofstream(temporary_ / "target") << "secret";
  ASSERT_EQ(::symlink("target", (temporary_ / "link").c_str()), 0);
  EXPECT_FALSE(disk_->read("link", 0, 10));
  EXPECT_FALSE(disk_->write("link", 0, "x"));
}

TEST_F(PosixDiskTest, RemovedFilesAreHeldByNobody) {
  // Three disks of one directory, as the storage threads have them; each has the file open to write and to
  // read.
  const auto other = PosixDirectory::disk(directory_);
  ASSERT_TRUE(disk_->create("a", 4096));
  for (PosixDisk* disk : {disk_.get(), other.get()}) {
    ASSERT_TRUE(disk->write("a", 0, "x"));
    ASSERT_TRUE(disk->read("a", 0, 1));
  }
  EXPECT_EQ(open_files(), 4u);
  ASSERT_TRUE(PosixDirectory::disk(directory_)->remove("a"));
  EXPECT_EQ(open_files(), 0u);
  EXPECT_EQ(disk_->read("a", 0, 1).error().code, Code::kNotFound);
  ASSERT_TRUE(disk_->write("a", 0, "new"));
  EXPECT_EQ(*other->read("a", 0, 10), "new");
}

TEST_F(PosixDiskTest, RenameReplacesWhatIsCached) {
  ASSERT_TRUE(disk_->write("a", 0, "old"));
  ASSERT_TRUE(disk_->write("b", 0, "new"));
  ASSERT_TRUE(disk_->read("a", 0, 3));
  ASSERT_TRUE(disk_->rename("b", "a"));
  EXPECT_EQ(*disk_->read("a", 0, 10), "new");
  ASSERT_TRUE(disk_->write("a", 3, "er"));
  EXPECT_EQ(*disk_->read("a", 0, 10), "newer");
}

TEST_F(PosixDiskTest, AFileThatFailedIsWrittenNoMore) {
  const auto other = PosixDirectory::disk(directory_);
  ASSERT_TRUE(disk_->write("a", 0, "sound"));
  ASSERT_TRUE(disk_->sync("a"));

  std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit before = limit;
  limit.rlim_cur = 8192;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const auto written = disk_->write("a", 4096, std::string(8192, 'x'));  // Half of it fits.
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);

  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kIo);
  EXPECT_EQ(written.error().number, static_cast<uint64_t>(EFBIG));
  EXPECT_EQ(disk_->sync("a").error().code, Code::kIo);
  EXPECT_EQ(disk_->write("a", 0, "x").error().code, Code::kIo);
  EXPECT_EQ(other->sync("a").error().code, Code::kIo);
  EXPECT_EQ(*disk_->read("a", 0, 5), "sound");
  // Another file under the same name is another file; a new name does not heal.
  ASSERT_TRUE(disk_->rename("a", "b"));
  EXPECT_EQ(disk_->sync("b").error().code, Code::kIo);
  ASSERT_TRUE(disk_->create("a", 100));
  EXPECT_TRUE(disk_->sync("a"));
}

TEST_F(PosixDiskTest, AFullDiskIsSaidAndLeavesNoFile) {
  const std::string small = temporary_ / "small";
  ASSERT_EQ(::mkdir(small.c_str(), 0700), 0);
  if (::mount("none", small.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "needs root to mount a tmpfs";
  {
    const auto directory = *PosixDirectory::open(small);
    const auto disk = PosixDirectory::disk(directory);
    ASSERT_TRUE(disk->create("fits", 512 << 10));
    EXPECT_LE(*disk->free_bytes(), uint64_t{512 << 10});
    EXPECT_EQ(disk->create("large", 2 << 20).error().code, Code::kFull);
    EXPECT_EQ(*disk->list(), std::vector<std::string>{"fits"});
    EXPECT_EQ(disk->write("grows", 0, std::string(1 << 20, 'x')).error().code, Code::kFull);
    EXPECT_EQ(disk->sync("grows").error().code, Code::kIo);
    ASSERT_TRUE(disk->remove("grows"));
    EXPECT_TRUE(disk->write("grows", 0, "x"));
  }
  ::umount2(small.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace hf::io
