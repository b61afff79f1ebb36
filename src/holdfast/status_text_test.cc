// Goal: one sentence says how the node is, in every state it can be in.
// Method: golden sentences.
#include "holdfast/status_text.h"

#include <gtest/gtest.h>

namespace hf::holdfast {
namespace {

constexpr int64_t kNowUs = 1'795'000'000'000'000;
constexpr int64_t kHourUs = 3'600'000'000;

StatusView site() {
  StatusView view;
  view.data = "/var/lib/holdfast";
  view.listen = {"127.0.0.1:1883"};
  node::Status& status = view.status;
  status.name = "ship-7";
  status.uptime = seconds(5 * 86400);
  status.wall_us = kNowUs;
  status.link.configured = true;
  status.link.peer = "hub.example:1883";
  status.store.quota_bytes = uint64_t{4} << 30;
  status.store.file_bytes = 12'000'000;
  status.store.free_bytes = 50'000'000'000;
  return view;
}

TEST(StatusTextTest, Offline) {
  StatusView view = site();
  node::LinkStatus& link = view.status.link;
  link.since = seconds(3 * 3600 + 12 * 60);
  link.backlog_count = 41'220;
  link.backlog_bytes = 6'123'456;
  link.oldest_wall_us = kNowUs - 3 * kHourUs - 11 * 60'000'000;
  view.status.space_left = seconds(214 * 86400);
  EXPECT_EQ(status_sentence(view),
            "Offline 3 h 12 min. 41,220 messages (6.1 MB) safe, oldest 3 h 11 min. 214 days of space left at "
            "the last "
            "day's rate.");
  EXPECT_EQ(status_state(view), "offline");
  EXPECT_FALSE(status_needs_a_hand(view));

  view.status.uptime = seconds(600);
  view.status.space_left = seconds(31 * 3600);
  link.oldest_wall_us = kNowUs + 5;  // A clock that was set back says nothing of age.
  EXPECT_EQ(status_sentence(view),
            "Offline 3 h 12 min. 41,220 messages (6.1 MB) safe. 31 h of space left at the rate since start.");

  link.backlog_count = 0;
  view.status.space_left.reset();
  EXPECT_EQ(status_sentence(view), "Offline 3 h 12 min. Nothing waits to be sent.");
}

TEST(StatusTextTest, Online) {
  StatusView view = site();
  node::LinkStatus& link = view.status.link;
  link.up = true;
  link.since = seconds(2 * 86400);
  view.status.space_left = seconds(214 * 86400);
  EXPECT_EQ(status_sentence(view), "Online with hub.example:1883 for 2 d. All messages delivered upstream.");
  EXPECT_EQ(status_state(view), "online");

  link.backlog_count = 1;
  link.backlog_bytes = 100;
  EXPECT_EQ(status_sentence(view), "Online with hub.example:1883 for 2 d. 1 message (100 B) on the way.");
  link.backlog_count = 900'000;
  link.backlog_bytes = 840'000'000;
  link.goodput_bytes_s = 1'250'000;
  EXPECT_EQ(status_sentence(view),
            "Online with hub.example:1883 for 2 d. 900,000 messages (840 MB) on the way, about 11 min at the "
            "present rate.");
}

TEST(StatusTextTest, WithoutUpstream) {
  StatusView view = site();
  view.status.link.configured = false;
  EXPECT_EQ(status_sentence(view), "Standalone: no upstream is set. 12.0 MB on disk.");
  EXPECT_EQ(status_state(view), "standalone");
  view.status.nodes_registered = 3;
  view.status.nodes_connected = 2;
  EXPECT_EQ(status_sentence(view), "Hub. 3 nodes registered, 2 connected.");
  EXPECT_EQ(status_state(view), "hub");
  view.status.nodes_registered = 1;
  view.status.space_left = seconds(3600);
  EXPECT_EQ(status_sentence(view),
            "Hub. 1 node registered, 2 connected. 60 min of space left at the last day's rate.");
}

TEST(StatusTextTest, WhatWaitsForAnUpstreamThatIsGoneIsSaid) {
  StatusView view = site();
  node::LinkStatus& link = view.status.link;
  link.configured = false;
  link.backlog_count = 41'220;
  link.backlog_bytes = 6'123'456;
  EXPECT_EQ(status_sentence(view),
            "Standalone: no upstream is set. 12.0 MB on disk. 41,220 messages (6.1 MB) wait for the upstream "
            "that was set before: set [upstream] again, or give up on what waits: holdfast queue rm parent.");
  EXPECT_NE(status_text(view).find("41,220 messages (6.1 MB)\n"), std::string::npos);
  view.status.mode = store::Mode::kFull;
  EXPECT_NE(status_sentence(view).find("Give up what waits for an upstream that is gone, raise quota"),
            std::string::npos);
}

TEST(StatusTextTest, WhatNeedsAHandComesFirst) {
  StatusView view = site();
  view.status.link.since = seconds(60);
  const std::string link = "Offline 1 min. Nothing waits to be sent.";

  view.status.mode = store::Mode::kDegraded;
  EXPECT_EQ(status_sentence(view),
            "Degraded: the disk failed to write a file, which was left behind; everything still works, but a "
            "second failure "
            "would stop it. Check the disk soon. " +
                link);
  EXPECT_EQ(status_state(view), "degraded");
  EXPECT_TRUE(status_needs_a_hand(view));

  view.status.mode = store::Mode::kFull;
  view.status.store.file_bytes = uint64_t{4} << 30;
  EXPECT_EQ(status_sentence(view),
            "Full: 4.3 GB of 4.3 GB used, 50.0 GB free on the disk; new messages are refused. Connect the "
            "upstream, raise quota, "
            "or free space. " +
                link);
  EXPECT_EQ(status_state(view), "full");

  view.status.mode = store::Mode::kStorageFailed;
  EXPECT_EQ(status_sentence(view),
            "Storage failed: nothing can be made safe any more, so messages of QoS 1 and 2 are refused; "
            "reading and QoS 0 go on. "
            "What was acknowledged is safe. Check the disk, then restart holdfast. " +
                link);
  EXPECT_EQ(status_state(view), "storage-failed");

  view.locked = "wrong key.";
  EXPECT_EQ(status_sentence(view), "Locked: wrong key.");
  EXPECT_EQ(status_state(view), "locked");
}

TEST(StatusTextTest, TheTableSaysWhatIsNotCovered) {
  StatusView view = site();
  view.status.insecure = true;
  view.status.moved_to = "hub-2.example:1883";
  view.status.link.last_error = "connection refused";
  view.status.link.next_dial = seconds(12);
  const std::string text = status_text(view);
  EXPECT_NE(text.find("key:         file beside the data: theft of the machine is not covered\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("moved to:    hub-2.example:1883: no client is let in, all are sent there\n"),
            std::string::npos);
  EXPECT_NE(text.find("insecure:    connections from other machines are allowed and not encrypted\n"),
            std::string::npos);
  EXPECT_NE(
      text.find("upstream:    hub.example:1883, down 0 s; last attempt: connection refused; next in 12 s\n"),
      std::string::npos);
  view.key = KeyPlace::kElsewhere;
  EXPECT_NE(status_text(view).find("file on another disk than the data"), std::string::npos);
  view.locked = "no.";
  EXPECT_EQ(
      status_text(view),
      "Locked: no.\n\nnode:  ship-7\ndata:  /var/lib/holdfast\nkey:   file on another disk than the data\n");
}

TEST(StatusTextTest, ListsNodesAndStreams) {
  EXPECT_EQ(nodes_text({}, 0), "No nodes are registered; add one with: holdfast node add NAME\n");
  node::NodeStatus node;
  node.name = "ship-7";
  node.claimed = true;
  node.last_seen_wall_us = kNowUs - 2 * kHourUs;
  node.down_filters = {"cmd/ship-7/#"};
  EXPECT_EQ(nodes_text({node}, kNowUs),
            "NODE    STATE  LAST SEEN  RECEIVED  OWED  DOWN          PREFIX\n"
            "ship-7  away   2 h ago           0     0  cmd/ship-7/#  -\n");
  node.prefix = "sites/ship-7/";
  EXPECT_NE(nodes_text({node}, kNowUs).find("  cmd/ship-7/#  sites/ship-7/\n"), std::string::npos);
  node::StreamStatus stream;
  stream.name = "telemetry";
  stream.incarnation = 1;
  stream.priority = 5;
  stream.sequence_last = 1000;
  EXPECT_EQ(streams_text({stream}),
            "STREAM     ORIGIN     PRIORITY  TIME TO LIVE   LAST  INCARNATION\n"
            "telemetry  this node         5  for ever      1,000  0000000000000001\n");
  node::TailRecord record;
  record.sequence = 7;
  record.topic = "a/b";
  record.payload = "x\ny";
  record.arrived_wall_us = kNowUs;
  EXPECT_EQ(records_text({record}), format_utc(kNowUs) + "  7  a/b  x\\x0ay\n");
}

}  // namespace
}  // namespace hf::holdfast
