// Goal: what io/ says of the machine is what the machine is: clocks, boot, fence, lock, addresses.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "io/address.h"
#include "io/clock.h"
#include "io/directory_lock.h"
#include "io/entropy.h"
#include "io/errno_text.h"
#include "io/fence.h"
#include "io/service_manager.h"
#include "io/temporary_directory_testing.h"

namespace hf::io {
namespace {

TEST(ClockTest, GoesForwardWithinOneBoot) {
  SystemEntropy entropy;
  Clock clock(entropy);
  const Now first = clock.now();
  const Now second = clock.now();
  EXPECT_LE(first.mono, second.mono);
  EXPECT_EQ(first.boot, second.boot);
  EXPECT_NE(first.boot, BootId{});
  EXPECT_EQ(first.boot, Clock(entropy).now().boot);
}

TEST(AddressTest, KnowsWhatIsHere) {
  for (const char* here : {"127.0.0.1", "127.0.0.2", "::1"})
    EXPECT_TRUE(address_is_here(*parse_address(here, 1)));
  // For documentation, RFC 5737 and RFC 3849: nobody has them.
  for (const char* elsewhere : {"192.0.2.1", "2001:db8::1"})
    EXPECT_FALSE(address_is_here(*parse_address(elsewhere, 1)));
}

TEST(ClockTest, ReadsBootIds) {
  const BootId boot = parse_boot_id("00000000-0000-0001-0200-000000000000\n");
  EXPECT_EQ(boot.high, uint64_t{1} << 56);
  EXPECT_EQ(boot.low, 2u);
  EXPECT_EQ(parse_boot_id("not a boot id"), BootId{});
  EXPECT_EQ(parse_boot_id(""), BootId{});
}

TEST(EntropyTest, DiffersEachTime) {
  SystemEntropy entropy;
  EXPECT_NE(entropy.u64(), entropy.u64());
}

TEST(FenceTest, StaysForADirectoryAndNotForItsCopy) {
  TemporaryDirectory temporary;
  std::filesystem::create_directory(temporary / "a");
  const auto fence = directory_fence(temporary / "a");
  ASSERT_TRUE(fence);
  EXPECT_EQ(*fence, *directory_fence(temporary / "a"));
  std::filesystem::copy(temporary / "a", temporary / "b", std::filesystem::copy_options::recursive);
  EXPECT_NE(*fence, *directory_fence(temporary / "b"));
  std::filesystem::rename(temporary / "a", temporary / "moved");
  EXPECT_EQ(*fence, *directory_fence(temporary / "moved"));
  EXPECT_EQ(directory_fence(temporary / "none").error().code, Code::kNotFound);
}

TEST(DirectoryLockTest, NamesWhoHoldsIt) {
  TemporaryDirectory temporary;
  auto lock = DirectoryLock::acquire(temporary.path());
  ASSERT_TRUE(lock);
  EXPECT_EQ(DirectoryLock::acquire(temporary.path()).error(),
            temporary.path() + " is in use by process " + std::to_string(::getpid()));
  lock->reset();
  EXPECT_TRUE(DirectoryLock::acquire(temporary.path()));
  EXPECT_NE(DirectoryLock::acquire(temporary / "none").error().find("no such file or directory"),
            std::string::npos);
}

TEST(AddressTest, ReadsAndWritesHostPort) {
  EXPECT_EQ(parse_host_port("127.0.0.1:1883"), (HostPort{"127.0.0.1", 1883}));
  EXPECT_EQ(parse_host_port("[::1]:1883"), (HostPort{"::1", 1883}));
  EXPECT_EQ(parse_host_port("hub.example:8883"), (HostPort{"hub.example", 8883}));
  for (const char* bad :
       {"", ":1883", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "a:65536", "a:18x", "::1:1883", "[]:1"}) {
    EXPECT_EQ(parse_host_port(bad), std::nullopt) << bad;
  }
  EXPECT_TRUE(parse_host_port("a:0", true));
  EXPECT_EQ(format_host_port("::1", 1), "[::1]:1");
  EXPECT_EQ(format_host_port("hub", 1), "hub:1");
  EXPECT_EQ(parse_address("::1", 7)->text(), "[::1]:7");
}

TEST(AddressTest, KnowsThisMachine) {
  for (const char* host :
       {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST", "a.localhost"}) {
    EXPECT_TRUE(host_is_loopback(host)) << host;
  }
  for (const char* host :
       {"0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "hub.example", "localhost.example"}) {
    EXPECT_FALSE(host_is_loopback(host)) << host;
  }
}

TEST(AddressTest, AFailedLookUpSaysWhy) {
  std::string error;
  // No label is longer than 63 bytes (RFC 1035, 2.3.4), so no name server is asked, which may not be there.
  std::string name(64, 'x');
  name += ".invalid";
  EXPECT_TRUE(resolve_host(name, 1, &error).empty());
  EXPECT_TRUE(error.starts_with("cannot look up " + name + ": ")) << error;
}

TEST(ServiceManagerTest, TellsWhoStartedUs) {
  TemporaryDirectory temporary;
  const std::string path = temporary / "notify";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ServiceManager service;
  ::unsetenv("NOTIFY_SOCKET");
  ::unsetenv("WATCHDOG_USEC");
  EXPECT_EQ(service.watchdog_interval(), seconds(3));
  service.notify("READY=1");
  char text[64];
  ASSERT_EQ(::recv(socket.get(), text, sizeof text, MSG_DONTWAIT), 7);
  EXPECT_EQ(std::string(text, 7), "READY=1");

  ServiceManager nobody;
  nobody.notify("READY=1");
  EXPECT_EQ(nobody.watchdog_interval(), seconds(0));
}

TEST(ErrnoTest, BeginsSmall) {
  EXPECT_EQ(errno_text(ECONNREFUSED), "connection refused");
  EXPECT_EQ(errno_text(EINVAL), "invalid argument");
}

}  // namespace
}  // namespace hf::io
