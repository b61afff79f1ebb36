// The network's promises: bytes in order, once, unchanged, however cut up; and its faults: what each end learns of them.
// Method: two hosts, a loop that takes events until nothing happens any more.
#include "sim/sim_network.h"

#include <gtest/gtest.h>

namespace hf::sim {
namespace {

using Kind = SimNetwork::Event::Kind;

class Network : public ::testing::Test {
 protected:
  Network() {
    a = network.add_host("a");
    b = network.add_host("b");
    network.set_listening(b, true);
  }

  // Runs until `end`; collects what each host got.
  void run(Duration duration) {
    const Instant end = now + duration;
    while (network.next() && *network.next() <= end) {
      now = *network.next();
      std::vector<SimNetwork::Event> events;
      network.advance(now, &events);
      for (SimNetwork::Event& event : events) {
        if (event.kind == Kind::kBytes) {
          EXPECT_LE(event.bytes.size(), 65536u);
          (event.host == a ? bytes_a : bytes_b) += event.bytes;
          ++chunks;
        }
        if (event.kind == Kind::kAccepted) end_b = event.connection;
        if (event.kind == Kind::kDialed) end_a = event.connection;
        if (event.kind == Kind::kClosed) (event.host == a ? closed_a : closed_b) = now;
        if (event.kind == Kind::kRefused) refused = event.bytes;
        if (event.kind == Kind::kUnsent) unsent.push_back(event.unsent);
      }
    }
    now = end;
  }

  void connect() {
    network.dial(a, b, now);
    run(seconds(1));
    ASSERT_NE(end_a, 0u);
    ASSERT_NE(end_b, 0u);
  }

  SimNetwork network{7};
  HostId a = 0;
  HostId b = 0;
  Instant now;
  ConnectionId end_a = 0;
  ConnectionId end_b = 0;
  std::string bytes_a;
  std::string bytes_b;
  std::string refused;
  std::vector<uint64_t> unsent;
  uint64_t chunks = 0;
  std::optional<Instant> closed_a;
  std::optional<Instant> closed_b;
};

std::string pattern(size_t size) {
  std::string out;
  for (size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(i * 31 >> 3));
  return out;
}

TEST_F(Network, BytesArriveInOrderOnceAndCutUp) {
  connect();
  const std::string bytes = pattern(200'000);
  for (size_t i = 0; i < bytes.size(); i += 1000) network.send(end_a, Bytes(bytes).substr(i, 1000), now);
  network.send(end_b, "back", now);
  run(seconds(5));
  EXPECT_EQ(bytes_b, bytes);
  EXPECT_EQ(bytes_a, "back");
  EXPECT_GT(chunks, 5u);
}

TEST_F(Network, BandwidthIsKept) {
  PathOptions slow;
  slow.bytes_per_s = 2500;
  slow.chunk_bytes_max = 1460;
  slow.socket_buffer_bytes = 4096;
  network.set_path(a, b, slow);
  connect();
  EXPECT_GT(network.send(end_a, pattern(50'000), now), 0u);
  run(seconds(10));
  EXPECT_NEAR(static_cast<double>(bytes_b.size()), 25'000, 2'500);
  run(seconds(15));
  EXPECT_EQ(bytes_b, pattern(50'000));
  ASSERT_FALSE(unsent.empty());
  EXPECT_EQ(unsent.back(), 0u);
  EXPECT_TRUE(std::is_sorted(unsent.rbegin(), unsent.rend()));
}

TEST_F(Network, CloseComesAfterTheBytes) {
  connect();
  network.send(end_a, pattern(10'000), now);
  network.close(end_a, now);
  run(seconds(1));
  EXPECT_EQ(bytes_b, pattern(10'000));
  EXPECT_TRUE(closed_b);
  EXPECT_FALSE(closed_a);  // Who closed hears no more.
  EXPECT_EQ(network.connection_count(), 0u);
}

TEST_F(Network, CloseGivesUpAfterFiveSeconds) {
  PathOptions slow;
  slow.bytes_per_s = 1000;
  slow.chunk_bytes_max = 1000;
  network.set_path(a, b, slow);
  connect();
  network.send(end_a, pattern(50'000), now);
  network.close(end_a, now);
  run(seconds(60));
  EXPECT_TRUE(closed_b);
  EXPECT_LT(bytes_b.size(), 8'000u);
}

TEST_F(Network, ResetIsHeardAtBothEnds) {
  connect();
  network.reset(end_a, now);
  run(seconds(1));
  EXPECT_TRUE(closed_a);
  EXPECT_TRUE(closed_b);
}

TEST_F(Network, BlockedPathDelaysAndLosesNothing) {
  connect();
  network.block(a, b, true, now);
  network.send(end_a, "late", now);
  network.send(end_b, "one way only", now);
  run(seconds(30));
  EXPECT_EQ(bytes_b, "");
  EXPECT_EQ(bytes_a, "one way only");
  network.block(a, b, false, now);
  run(seconds(1));
  EXPECT_EQ(bytes_b, "late");
}

TEST_F(Network, BlackHoleTellsNobody) {
  connect();
  network.black_hole(end_a);
  network.send(end_a, "lost", now);
  network.close(end_a, now);
  run(seconds(60));
  EXPECT_EQ(bytes_b, "");
  EXPECT_FALSE(closed_b);
  // The other end goes when it gives up itself.
  network.close(end_b, now);
  run(seconds(10));
  EXPECT_EQ(network.connection_count(), 0u);
}

TEST_F(Network, DialIsRefusedOrTimesOut) {
  network.set_listening(b, false);
  network.dial(a, b, now);
  run(seconds(1));
  EXPECT_EQ(refused, "connection refused");
  network.set_listening(b, true);
  network.block(b, a, true, now);
  network.dial(a, b, now);
  run(seconds(30));
  EXPECT_EQ(refused, "timed out");
  EXPECT_EQ(network.connection_count(), 0u);
}

TEST_F(Network, KilledHostResetsItsPeers) {
  connect();
  network.vanish(b, false, now);
  run(seconds(1));
  EXPECT_TRUE(closed_a);
}

TEST_F(Network, PowerCutIsNoticedOnlyByWhoSends) {
  connect();
  network.vanish(b, true, now);
  network.set_listening(b, false);
  network.send(end_a, "into the dark", now);
  run(seconds(60));
  EXPECT_FALSE(closed_a);
  network.set_listening(b, true);
  run(seconds(60));
  EXPECT_FALSE(closed_a);
  network.send(end_a, "hello?", now);
  run(seconds(1));
  EXPECT_TRUE(closed_a);
  EXPECT_EQ(bytes_b, "");
}

TEST_F(Network, WhoDoesNotReadStopsTheSender) {
  connect();
  network.set_reading(b, false, now);
  const std::string bytes = pattern(1 << 20);
  network.send(end_a, bytes, now);
  run(seconds(10));
  EXPECT_EQ(bytes_b, "");
  EXPECT_GT(network.unsent_bytes(end_a), 500'000u);
  network.set_reading(b, true, now);
  run(seconds(30));
  EXPECT_EQ(bytes_b, bytes);
}

TEST_F(Network, OneSeedOneHistory) {
  std::string first;
  for (int run_number = 0; run_number < 2; ++run_number) {
    SimNetwork other(42);
    const HostId x = other.add_host("x");
    const HostId y = other.add_host("y");
    other.set_listening(y, true);
    const ConnectionId id = other.dial(x, y, {});
    std::string history;
    Instant t;
    int sent = 0;
    while (other.next()) {
      t = *other.next();
      std::vector<SimNetwork::Event> events;
      other.advance(t, &events);
      for (const SimNetwork::Event& event : events) {
        history += std::to_string(t.ns) + ":" + std::to_string(event.bytes.size()) + " ";
        if (event.kind == Kind::kDialed || (event.kind == Kind::kBytes && sent < 50)) {
          other.send(id, pattern(100 + static_cast<size_t>(sent++) * 50), t);
        }
      }
    }
    if (run_number == 0) first = history;
    EXPECT_EQ(history, first);
  }
  EXPECT_GT(first.size(), 500u);
}

}  // namespace
}  // namespace hf::sim
