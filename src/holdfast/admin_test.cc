// Goal: both sides of the admin protocol agree, and nonsense gets a sentence.
// Method: requests to a node that is locked (the store is closed, so no node is needed), and answers as
// bytes; files in a directory of the test's own, without a thread. What needs a node is tested end to end.
#include "holdfast/admin.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "holdfast/admin_client.h"
#include "holdfast/admin_work.h"
#include "holdfast/exit_code.h"
#include "holdfast/read_file.h"

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

class AdminFilesTest : public AdminTest {
 protected:
  AdminFilesTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "holdfast-admin-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data()) == nullptr ? "" : pattern;
    files_ = {.identity = {.users = {path("users")},
                           .permissions = {path("permissions.toml")},
                           .tokens = {path("tokens")}},
              .config = path("holdfast.toml"),
              .data = directory_};
    admin_.serve_files(files_, nullptr);
  }
  ~AdminFilesTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  nlohmann::json asked(Bytes line) { return nlohmann::json::parse(ask(line)); }
  std::string code(Bytes line) { return asked(line).value("code", "ok"); }

  std::string directory_;
  AdminFiles files_;
};

TEST_F(AdminFilesTest, UsersAreLookedAfter) {
  EXPECT_EQ(ask(R"({"command":"users"})"), R"({"ok":true,"users":[]})");
  EXPECT_EQ(ask(R"({"command":"user-add","name":"anna","password":"correct horse"})"),
            R"({"ok":true,"name":"anna","scram":false})");
  EXPECT_EQ(code(R"({"command":"user-add","name":"anna","password":"correct horse"})"), "exists");
  EXPECT_EQ(code(R"({"command":"user-add","name":"a:b","password":"correct horse"})"), "invalid");
  EXPECT_EQ(code(R"({"command":"user-add","name":"bob","password":"short"})"), "invalid");
  EXPECT_EQ(code(R"({"command":"user-add","name":"bob","password":"two\nlines, or so"})"), "invalid");
  EXPECT_EQ(
      code(R"({"command":"user-add","name":"bob","password":"correct horse","scram":true,"iterations":1})"),
      "invalid");
  EXPECT_EQ(code(R"({"command":"user-add","name":"bob","password":1})"), "invalid");
  EXPECT_EQ(code(R"({"command":"user-passwd","name":"bob","password":"correct horse"})"), "not-found");
  const auto is_password = [&](Bytes password) {
    return load_users({.path = path("users")})->check("anna").run(password).has_value();
  };
  EXPECT_TRUE(is_password("correct horse"));
  EXPECT_EQ(ask(R"({"command":"user-passwd","name":"anna","password":"battery staple","scram":true})"),
            R"({"ok":true,"name":"anna","scram":true})");
  EXPECT_TRUE(is_password("battery staple"));
  EXPECT_FALSE(is_password("correct horse"));
  // As it was: SCRAM would else let the old password in for ever.
  EXPECT_EQ(ask(R"({"command":"user-passwd","name":"anna","password":"correct horse"})"),
            R"({"ok":true,"name":"anna","scram":true})");
  const std::string list = ask(R"({"command":"users","text":true})");
  EXPECT_NE(list.find(R"("name":"anna","password":{"kind":"argon2id")"), std::string::npos);
  EXPECT_NE(list.find("NAME"), std::string::npos);
  const std::string kept = read_file(path("users"), 10'000).value();
  EXPECT_EQ(list.find(kept.substr(kept.rfind('$') + 1, 20)), std::string::npos);
  EXPECT_EQ(code(R"({"command":"user-rm","name":"anna"})"), "ok");
  EXPECT_EQ(code(R"({"command":"user-rm","name":"anna"})"), "not-found");
  EXPECT_EQ(read_file(path("users"), 10'000).value(), "");
}

TEST_F(AdminFilesTest, TokensAreLookedAfter) {
  const nlohmann::json made = asked(R"({"command":"token-add","name":"scrape","role":"read"})");
  const std::string token = made.value("token", "");
  const auto tokens = load_tokens({.path = path("tokens")});
  ASSERT_TRUE(tokens);
  ASSERT_TRUE(tokens->holder(token));
  EXPECT_EQ(tokens->holder(token)->name, "scrape");
  EXPECT_EQ(code(R"({"command":"token-add","name":"scrape","role":"read"})"), "exists");
  EXPECT_EQ(code(R"({"command":"token-add","name":"b","role":"king"})"), "invalid");
  EXPECT_EQ(code(R"({"command":"token-add","name":"a b","role":"read"})"), "invalid");
  EXPECT_EQ(ask(R"({"command":"tokens"})"), R"({"ok":true,"tokens":[{"name":"scrape","role":"read"}]})");
  EXPECT_EQ(code(R"({"command":"token-rm","name":"scrap"})"), "not-found");
  EXPECT_EQ(ask(R"({"command":"token-rm","name":"scrape"})"), R"({"ok":true,"name":"scrape"})");
  EXPECT_EQ(ask(R"({"command":"tokens"})"), R"({"ok":true,"tokens":[]})");
}

TEST_F(AdminFilesTest, AFileThatIsNotRightIsSaidToBeAndLeft) {
  ASSERT_TRUE(write_new_file(path("users"), "anna\n", 0600));
  EXPECT_EQ(code(R"({"command":"users"})"), "corrupt");
  EXPECT_EQ(code(R"({"command":"user-add","name":"bob","password":"correct horse"})"), "corrupt");
  EXPECT_EQ(read_file(path("users"), 100).value(), "anna\n");
  ASSERT_TRUE(write_new_file(path("permissions.toml"), "x = 1\n", 0600));
  EXPECT_EQ(code(R"({"command":"acl-test","user":"anna","topic":"a"})"), "corrupt");
  ASSERT_TRUE(write_new_file(path("holdfast.toml"), "name = \"n\"\n", 0600));
  ASSERT_TRUE(write_new_file(path("key"), std::string(32, 'k'), 0400));
  const nlohmann::json test = asked(R"({"command":"config-test"})");
  EXPECT_EQ(test["ok"], true);
  EXPECT_EQ(test["right"], false);
  ASSERT_EQ(test["mistakes"].size(), 2u);
  EXPECT_EQ(test["mistakes"][1], path("permissions.toml") + ":1: unknown key `x`");
  std::filesystem::remove(path("users"));
  std::filesystem::remove(path("permissions.toml"));
  EXPECT_EQ(asked(R"({"command":"config-test"})")["right"], true);
}

TEST_F(AdminFilesTest, MayTheyAndWhy) {
  EXPECT_EQ(asked(R"({"command":"acl-test","user":"anna","topic":"a"})")["answers"].size(), 4u);
  EXPECT_EQ(code(R"({"command":"acl-test","user":"anna","topic":"a/#","action":"publish"})"), "invalid");
  EXPECT_EQ(code(R"({"command":"acl-test","user":"anna","topic":"a","action":"eat"})"), "invalid");
}

// A message that could not be put into a packet must not come as far as the broker.
TEST_F(AdminTest, AMessageIsReadWithCare) {
  const std::string long_text(70'000, 'a');
  for (const std::string& bad :
       {std::string(R"("topic":"a/#","payload":"x")"), std::string(R"("topic":"","payload":"x")"),
        std::string(R"("topic":"a")"), std::string(R"("topic":"a","payload":"x","payload_base64":"eA==")"),
        std::string(R"("topic":"a","payload_base64":"x")"),
        std::string(R"("topic":"a","payload":"x","qos":3)"),
        std::string(R"("topic":"a","payload":"x","expiry_s":4294967296)"),
        std::string(R"("topic":"a","payload":"x","user_properties":["x"])"),
        std::string(R"("topic":"a","payload":"x","user_properties":["x=\u0000"])"),
        R"("topic":"a","payload":"x","user_properties":["x=)" + long_text + "\"]",
        R"("topic":"a","payload":"x","content_type":")" + long_text + "\""}) {
    EXPECT_NE(ask(R"({"command":"publish",)" + bad + "}").find(R"("code":"invalid")"), std::string::npos)
        << bad;
  }
  EXPECT_NE(ask(R"({"command":"publish","topic":"a","payload":"x"})").find("locked"), std::string::npos);
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
