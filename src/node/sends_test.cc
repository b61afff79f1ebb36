// What a step has for the sockets, and that it costs nothing to have it again.
#include "node/sends.h"

#include <gtest/gtest.h>

namespace hf::node {
namespace {

TEST(Sends, PartsComeInTheOrderInWhichTheyWereGiven) {
  const std::string input = "<in1><in2>";
  Send send;
  send.passed.push_back({0, Bytes(input).substr(0, 5)});
  send.bytes = "own";
  send.passed.push_back({3, Bytes(input).substr(5)});
  send.passed.push_back({3, Bytes(input).substr(0, 5)});
  send.bytes += "more";
  EXPECT_EQ(send.joined(), "<in1>own<in2><in1>more");
  EXPECT_EQ(send.size(), send.joined().size());
  size_t parts = 0;
  send.for_each_part([&](Bytes part) {
    EXPECT_FALSE(part.empty());
    ++parts;
  });
  EXPECT_EQ(parts, 5u);
}

TEST(Sends, NothingOfAStepIsLeftInTheNext) {
  Sends sends;
  Send& first = sends.add(1);
  first.bytes = "x";
  first.passed.push_back({0, "y"});
  sends.clear();
  EXPECT_TRUE(sends.empty());
  Send& second = sends.add(2);
  EXPECT_EQ(second.connection, 2u);
  EXPECT_EQ(second.joined(), "");
}

TEST(Sends, KeepsMemoryWithinBounds) {
  Sends sends;
  for (ConnectionId id = 1; id <= 5000; ++id) sends.add(id).bytes.assign(10'000, 'x');
  sends.clear();
  size_t kept = 0;
  for (ConnectionId id = 1; id <= 5000; ++id) kept += sends.add(id).bytes.capacity();
  EXPECT_LE(kept, size_t{3} << 20);
  EXPECT_GT(kept, size_t{1} << 20);
}

}  // namespace
}  // namespace hf::node
