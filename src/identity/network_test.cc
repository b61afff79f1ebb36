#include "identity/network.h"

#include <gtest/gtest.h>

namespace hf::identity {
namespace {

// Goal: one who has a network is one. Method: addresses as sockets write them, and as nobody should.
TEST(Network, AddressesOfOneNetworkAreOne) {
  EXPECT_EQ(network_of("2001:db8:0:1::5"), "2001:db8:0:1::/64");
  EXPECT_EQ(network_of("[2001:db8:0:1:ffff:ffff:ffff:ffff]"), "2001:db8:0:1::/64");
  EXPECT_EQ(network_of("2001:0DB8:0:1::192.0.2.1"), "2001:db8:0:1::/64");
  EXPECT_EQ(network_of("fe80::1%eth0"), network_of("[fe80::2%eth1]"));
  EXPECT_NE(network_of("2001:db8:0:2::5"), network_of("2001:db8:0:1::5"));
  EXPECT_EQ(network_of("::1"), "0:0:0:0::/64");
}

TEST(Network, AddressOfIpv4StandsForItself) {
  EXPECT_EQ(network_of("192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(network_of("::ffff:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(network_of("[::ffff:c000:201]"), "192.0.2.1");
}

TEST(Network, WhatIsNoAddressStaysAsItIs) {
  for (const Bytes text :
       {Bytes(""), Bytes("unix"), Bytes(":"), Bytes(":::"), Bytes("1:2:3:4:5:6:7"),
        Bytes("1:2:3:4:5:6:7:8:9"), Bytes("::1::2"), Bytes("12345::"), Bytes("g::"), Bytes("::1.2.3"),
        Bytes("::1.2.3.256"), Bytes("1:2:3:4:5:6:7:1.2.3.4"), Bytes("[]")})
    EXPECT_EQ(network_of(text), text);
}

}  // namespace
}  // namespace hf::identity
