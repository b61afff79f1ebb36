// Goal: what may help whoever cannot reach his parent is told, soon and not too often; what cannot is not. Method: messages as
// the kernel writes them; time is an argument. With a real network: tests/e2e/test_network.py.
#include "io/network_watch.h"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <cstring>

namespace hf::io {
namespace {

template <typename Body>
std::string message(uint16_t type, const Body& body) {
  nlmsghdr head{};
  head.nlmsg_type = type;
  head.nlmsg_len = NLMSG_LENGTH(sizeof body);
  std::string bytes(NLMSG_SPACE(sizeof body), '\0');
  std::memcpy(bytes.data(), &head, sizeof head);
  std::memcpy(bytes.data() + NLMSG_HDRLEN, &body, sizeof body);
  return bytes;
}

std::string link(unsigned flags) {
  ifinfomsg body{};
  body.ifi_flags = flags;
  return message(RTM_NEWLINK, body);
}

std::string address(uint16_t type, uint8_t flags, uint8_t scope) {
  ifaddrmsg body{};
  body.ifa_flags = flags;
  body.ifa_scope = scope;
  return message(type, body);
}

std::string route(uint16_t type, uint8_t kind, uint8_t table) {
  rtmsg body{};
  body.rtm_type = kind;
  body.rtm_table = table;
  return message(type, body);
}

const std::string kRoute = route(RTM_NEWROUTE, RTN_UNICAST, RT_TABLE_MAIN);

class NetworkWatchTest : public testing::Test {
 protected:
  bool told_of(const std::string& bytes) {
    NetworkWatch watch;
    watch.take(bytes, now_);
    EXPECT_EQ(watch.pending(), watch.deadline().has_value());
    return watch.pending();
  }

  NetworkWatch watch_;
  Instant now_ = Instant{0} + seconds(100);
};

TEST_F(NetworkWatchTest, TellsOfWhatMayHelpAndOfAddressesThatGo) {
  EXPECT_TRUE(told_of(link(IFF_UP | IFF_RUNNING)));
  EXPECT_FALSE(told_of(link(IFF_UP)));  // Nothing is plugged in.
  EXPECT_FALSE(told_of(link(IFF_UP | IFF_RUNNING | IFF_LOOPBACK)));
  EXPECT_TRUE(told_of(address(RTM_NEWADDR, 0, RT_SCOPE_UNIVERSE)));
  EXPECT_FALSE(told_of(address(RTM_NEWADDR, IFA_F_TENTATIVE, RT_SCOPE_UNIVERSE)));
  EXPECT_FALSE(told_of(address(RTM_NEWADDR, 0, RT_SCOPE_HOST)));
  EXPECT_TRUE(told_of(address(RTM_DELADDR, 0, RT_SCOPE_UNIVERSE)));
  EXPECT_TRUE(told_of(kRoute));
  EXPECT_FALSE(told_of(route(RTM_DELROUTE, RTN_UNICAST, RT_TABLE_MAIN)));
  EXPECT_FALSE(told_of(route(RTM_NEWROUTE, RTN_LOCAL, RT_TABLE_LOCAL)));
  EXPECT_FALSE(told_of(route(RTM_NEWROUTE, RTN_MULTICAST, RT_TABLE_MAIN)));
  EXPECT_TRUE(told_of(link(0) + kRoute));
}

TEST_F(NetworkWatchTest, PassesOverWhatIsCutShort) {
  const std::string whole = kRoute;
  for (size_t size = 0; size < NLMSG_LENGTH(sizeof(rtmsg)); ++size)
    EXPECT_FALSE(told_of(whole.substr(0, size)));
  std::string lying = whole;
  for (const uint32_t length : {0u, 4u, 15u, 16u, 17u, 1'000'000u, UINT32_MAX}) {
    std::memcpy(lying.data(), &length, sizeof length);
    EXPECT_FALSE(told_of(lying));
  }
}

TEST_F(NetworkWatchTest, SettlesFirstButNotForLong) {
  EXPECT_FALSE(watch_.expire(now_));
  watch_.take(kRoute, now_);
  EXPECT_FALSE(watch_.expire(now_));
  EXPECT_EQ(*watch_.deadline(), now_ + NetworkWatch::kSettle);
  const Instant begun = now_;
  for (; now_ < begun + NetworkWatch::kSettleMax; now_ = now_ + milliseconds(50)) {
    watch_.take(kRoute, now_);
    EXPECT_FALSE(watch_.expire(now_));
  }
  EXPECT_TRUE(watch_.expire(now_));
  EXPECT_FALSE(watch_.pending());
  EXPECT_FALSE(watch_.expire(now_ + seconds(10)));
}

TEST_F(NetworkWatchTest, WhereContainersComeAndGoItTellsOnceASecond) {
  int told = 0;
  for (int i = 0; i < 1'000; ++i, now_ = now_ + milliseconds(10)) {
    watch_.take(kRoute, now_);
    told += watch_.expire(now_) ? 1 : 0;
  }
  EXPECT_GE(told, 9);
  EXPECT_LE(told, 11);
}

}  // namespace
}  // namespace hf::io
