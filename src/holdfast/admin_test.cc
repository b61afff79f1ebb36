// Goal: both sides of the admin protocol agree, and nonsense gets a sentence.
// Method: requests to a node that is locked (the store is closed, so no node is needed), and answers as
// bytes. What needs a node is tested end to end.
#include "holdfast/admin.h"

#include <gtest/gtest.h>

#include "holdfast/admin_client.h"
#include "holdfast/exit_code.h"

namespace hf::holdfast {
namespace {

class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    view_.status.name = "ship-7";
    view_.data = "/data";
    view_.locked = "wrong key.";
  }
  std::string ask(Bytes line) {
    std::vector<io::AdminReply> replies;
    admin_.request(7, line, {}, &replies);
    if (replies.size() != 1 || replies[0].connection != 7) return "no answer";
    return replies[0].line;
  }

  StatusView view_;
  Admin admin_{nullptr, view_};
};

TEST_F(AdminTest, SaysThatItIsLocked) {
  const auto answer = decode_answer(ask(encode_request({.command = "status", .text = true})));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->ok);
  EXPECT_EQ(answer->state, "locked");
  EXPECT_TRUE(answer->needs_a_hand);
  EXPECT_TRUE(answer->text.starts_with("Locked: wrong key.\n"));
  EXPECT_EQ(answer->json.find("\"text\""), std::string::npos);
  EXPECT_EQ(
      ask(R"({"command":"status"})"),
      R"({"ok":true,"state":"locked","needs_a_hand":true,"sentence":"Locked: wrong key.","name":"ship-7","version":"0.1.0",)"
      R"("data":"/data","key":"beside-data"})");
  EXPECT_EQ(ask(R"({"command":"streams"})"),
            R"({"ok":false,"code":"denied","error":"the store is locked: wrong key."})");
}

TEST_F(AdminTest, CodesOfAnswersAreExitCodes) {
  EXPECT_EQ(exit_code_of("invalid"), kExitUsage);
  for (const char* code : {"denied", "full", "io"}) EXPECT_EQ(exit_code_of(code), kExitDegraded) << code;
  for (const char* code : {"not-found", "exists", "busy", "unsupported", ""})
    EXPECT_EQ(exit_code_of(code), kExitFailed) << code;
}

TEST_F(AdminTest, AnswersNonsense) {
  EXPECT_EQ(ask(R"({"command":"statsu"})"),
            R"({"ok":false,"code":"unsupported","error":"no command `statsu`; did you mean `status`?"})");
  EXPECT_EQ(
      ask("{"),
      R"({"ok":false,"code":"invalid","error":"a request is one JSON object on one line, such as {\"command\":\"status\"}"})");
  for (const char* bad : {R"({"command":1})", R"({"command":"tail","count":"x"})",
                          R"({"command":"tail","count":-1})", R"({"command":"tail","after":"x"})",
                          R"({"command":"node-add","down":[1]})", R"({"command":"status","text":1})"}) {
    EXPECT_NE(ask(bad).find(R"("code":"invalid")"), std::string::npos) << bad;
  }
  EXPECT_NE(ask("{\"command\":\"\xff\"}"), "no answer");
}

TEST_F(AdminTest, ReadsAnswersOfOthersWithCare) {
  EXPECT_FALSE(decode_answer(""));
  EXPECT_FALSE(decode_answer("[]"));
  EXPECT_FALSE(decode_answer(R"({"ok":1})"));
  EXPECT_FALSE(decode_answer(R"({"ok":true,"state":1})"));
  const auto answer = decode_answer(R"({"ok":false,"code":"exists","error":"there is one","after":"12:3"})");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, "there is one");
  EXPECT_EQ(answer->after, store::Position::of(12, 3));
}

}  // namespace
}  // namespace hf::holdfast
