// Goal: what is inside a node reads well, says why, and does nothing to a terminal whatever strangers are called.
// Method: golden sentences and tables.
#include "holdfast/inspect_text.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "holdfast/export_text.h"
#include "holdfast/inspect_json.h"
#include "holdfast/text.h"

namespace hf::holdfast {
namespace {

using Kind = node::QueueStatus::Kind;
using broker::WaitsFor;

constexpr int64_t kNowUs = 1'795'000'000'000'000;
constexpr char kHostile[] = "evil\x1b[2J\x7f\xc2\x9b";

node::QueueStatus queue(Kind kind, WaitsFor waits_for) {
  node::QueueStatus queue;
  queue.kind = kind;
  queue.info.name = kind == Kind::kParent ? "hub:1883" : kind == Kind::kGroup ? "g/jobs/#" : "press-7";
  queue.info.owed_count = 1234;
  queue.info.owed_bytes = 5'600'000;
  queue.info.oldest = seconds(3 * 3600);
  queue.info.waits_for = waits_for;
  return queue;
}

std::string why(const node::QueueStatus& queue) {
  const std::string sentence = queue_sentence(queue, kNowUs);
  return sentence.substr(sentence.find(": ") + 2);
}

TEST(InspectTextTest, SaysWhyASessionWaits) {
  node::QueueStatus one = queue(Kind::kSession, WaitsFor::kClient);
  one.info.since = seconds(3 * 3600 + 12 * 60);
  EXPECT_EQ(queue_sentence(one, kNowUs),
            "press-7 is owed 1,234 messages (5.6 MB), the oldest 3 h old: it has been away since "
            "2026-11-18T07:54:40Z (3 h 12 min).");
  EXPECT_EQ(queue_summary(one), "away 3 h");

  one = queue(Kind::kSession, WaitsFor::kWindow);
  one.info.inflight = one.info.window = 20;
  one.info.since = seconds(180);
  EXPECT_EQ(why(one), "window full: 20 of 20 in flight, the client has acknowledged nothing for 3 min.");
  EXPECT_EQ(queue_summary(one), "window full: 20 of 20");
  one.info.since = seconds(1);
  EXPECT_EQ(why(one),
            "window full: 20 of 20 in flight, the client acknowledges more slowly than messages come.");
  one.info.inflight = 4;
  one.info.inflight_bytes = 4'200'000;
  EXPECT_EQ(why(one),
            "4.2 MB in flight, as much as is sent before a client acknowledges; the client acknowledges more "
            "slowly than messages come.");

  one = queue(Kind::kSession, WaitsFor::kNetwork);
  one.info.unsent_bytes = 300'000;
  EXPECT_EQ(why(one), "300 kB wait for its network: the client does not read, or its link is thin.");
  one = queue(Kind::kSession, WaitsFor::kDisk);
  one.pending_bytes = 1'200'000;
  EXPECT_EQ(why(one), "the disk is behind: 1.2 MB wait to be written.");
  EXPECT_EQ(why(queue(Kind::kSession, WaitsFor::kTurn)),
            "nothing stands in its way: it is being read and sent.");
  EXPECT_EQ(why(queue(Kind::kSession, WaitsFor::kStorage)),
            "the storage has failed; check the disk, then restart holdfast.");

  one = queue(Kind::kSession, WaitsFor::kNothing);
  one.info.owed_count = 0;
  EXPECT_EQ(queue_sentence(one, kNowUs), "Nothing is owed to press-7.");
}

TEST(InspectTextTest, SaysWhyALinkWaits) {
  node::QueueStatus one = queue(Kind::kParent, WaitsFor::kLink);
  one.error = "connection refused";
  one.next_dial = seconds(8);
  EXPECT_EQ(queue_sentence(one, kNowUs),
            "The parent hub:1883 is owed 1,234 messages (5.6 MB), the oldest 3 h old: the link is down: "
            "connection refused, next attempt in 8 s.");
  EXPECT_EQ(queue_summary(one), "link down: connection refused");
  one = queue(Kind::kParent, WaitsFor::kAcknowledgement);
  one.goodput_bytes_s = 56'000;
  EXPECT_EQ(why(one), "the link is up, and it is being sent at 56.0 kB/s, about 1 min 40 s.");
  one = queue(Kind::kNode, WaitsFor::kLink);
  one.info.since = seconds(7200);
  EXPECT_EQ(why(one), "it is away, last seen 2 h ago.");
  EXPECT_EQ(why(queue(Kind::kNode, WaitsFor::kClaim)),
            "it has not shown its claim yet; another one: holdfast node renew press-7.");
  one = queue(Kind::kParent, WaitsFor::kUpstream);
  one.info.name = "parent";
  EXPECT_EQ(
      queue_sentence(one, kNowUs),
      "The parent is owed 1,234 messages (5.6 MB), the oldest 3 h old: the configuration names no upstream "
      "any more; set [upstream] again, or give them up with: holdfast queue rm parent.");
  one = queue(Kind::kGroup, WaitsFor::kClient);
  one.info.members = 3;
  EXPECT_EQ(why(one), "none of its 3 members is connected.");
  one.info.owed_count = 0;
  EXPECT_EQ(queue_sentence(one, kNowUs), "Nothing is owed to the share group g/jobs/#.");
}

TEST(InspectTextTest, NamesOfStrangersDoNothingToATerminal) {
  const auto harmless = [](const std::string& text) {
    for (const char c : text)
      EXPECT_TRUE(c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)) << text;
    EXPECT_EQ(text.find("\xc2\x9b"), std::string::npos) << text;
  };
  node::ClientReport about;
  about.detail.info.client_id = about.detail.info.user = kHostile;
  about.detail.subscriptions = {{kHostile, {}}};
  about.detail.will = broker::WillInfo{.topic = kHostile};
  about.rights.publish.allow = {kHostile};
  const Json client = client_report_json(about, kNowUs);
  harmless(client_text(client));
  harmless(json_printable(client.dump()));
  EXPECT_EQ(Json::parse(json_printable(client.dump())), client);
  node::QueueStatus one = queue(Kind::kSession, WaitsFor::kClient);
  one.info.name = kHostile;
  one.error = kHostile;
  harmless(queue_sentence(one, kNowUs));
  one.kind = Kind::kParent;
  one.info.waits_for = WaitsFor::kLink;
  harmless(queue_sentence(one, kNowUs));
  TablePages table(queues_list().heading);
  harmless(table.add({queues_list().row(queue_json(one, kNowUs))}));
}

TEST(InspectTextTest, SaysEverythingAboutAClient) {
  node::ClientReport about;
  broker::ClientDetail& detail = about.detail;
  detail.info = {.client_id = "press-7",
                 .user = "anna",
                 .connection = 1,
                 .connected = true,
                 .version = mqtt::Version::k5,
                 .persistent = true,
                 .subscriptions = 1,
                 .owed_count = 1234,
                 .owed_bytes = 5'600'000,
                 .inflight = 3,
                 .node = "",
                 .window = 20,
                 .since = seconds(3600)};
  detail.expiry_s = 7 * 86400;
  detail.inflight_bytes = 1200;
  detail.keep_alive_s = 60;
  detail.heard = seconds(12);
  detail.acknowledged = seconds(2);
  detail.will =
      broker::WillInfo{.topic = "gone/press-7", .qos = 1, .retain = true, .delay_s = 30, .payload_bytes = 4};
  detail.subscriptions = {{"jobs/#", {.qos = 1, .no_local = true, .identifier = 7}}};
  about.address = "192.0.2.1";
  about.rights.publish = {{"sites/anna/#"}, {"sites/anna/lock"}};
  about.rights.subscribe = {{"news/#", "jobs/#"}, {}};
  const Json client = client_report_json(about, kNowUs);
  EXPECT_EQ(client_text(client),
            "client:         press-7\n"
            "user:           anna\n"
            "state:          online from 192.0.2.1 since 2026-11-18T10:06:40Z (1 h)\n"
            "protocol:       MQTT 5.0\n"
            "session:        kept for 7 d when it goes\n"
            "keep alive:     1 min, last heard 12 s ago\n"
            "owed:           1,234 messages (5.6 MB)\n"
            "in flight:      3 of 20 (1.2 kB), last acknowledgement 2 s ago\n"
            "will:           4 B to gone/press-7, QoS 1, retained, after 30 s\n"
            "may publish:    sites/anna/#, but not sites/anna/lock\n"
            "may retain:     nothing\n"
            "may subscribe:  news/#, jobs/#\n"
            "\n"
            "FILTER  QOS  OPTIONS\n"
            "jobs/#    1  no local, identifier 7\n");
  EXPECT_EQ(client_loss(client), "1 subscription and 1,234 messages (5.6 MB) that it is owed");
}

TEST(InspectTextTest, AnswersOfAnotherVersionAreNoMishap) {
  for (const char* text :
       {"{}", R"({"client":7,"subscriptions":[{}],"will":{},"rights":{},"since_s":"x"})"}) {
    const Json json = Json::parse(text);
    EXPECT_FALSE(client_text(json).empty());
    for (const ListText* list : {&clients_list(), &subscriptions_list(), &receivers_list(), &retained_list(),
                                 &queues_list(), &config_list()}) {
      EXPECT_EQ(list->row(json).size(), list->heading.size());
    }
    EXPECT_FALSE(csv_line(json).empty());
  }
}

TEST(InspectTextTest, PagesOfATableStandUnderEachOther) {
  TablePages table({"NAME", "OWED"});
  EXPECT_EQ(table.add({{"press-7", "12"}}), "NAME     OWED\npress-7    12\n");
  EXPECT_EQ(table.add({{"a", "1,234"}}), "a        1,234\n");
}

TEST(InspectTextTest, CsvQuotesAsTheStandardSays) {
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"x\"\r\n"), "\"say \"\"x\"\"\r\n\"");
  node::ExportRecord record{.position = store::Position::of(12, 3),
                            .origin = "ship-7",
                            .incarnation = 0xabc,
                            .sequence = 9,
                            .arrived_wall_us = kNowUs,
                            .event_us = std::nullopt,
                            .qos = 1,
                            .retain = false,
                            .topic = "a/b",
                            .payload = "{\"t\": 1}"};
  EXPECT_EQ(csv_line(export_json(record)),
            "2026-11-18T11:06:40.000000Z,,ship-7,0000000000000abc,9,1,false,a/b,text,\"{\"\"t\"\": 1}\"\r\n");
  record.payload = "\xff\xfe";
  EXPECT_TRUE(csv_line(export_json(record)).ends_with(",a/b,base64,//4=\r\n"));
}

}  // namespace
}  // namespace hf::holdfast
