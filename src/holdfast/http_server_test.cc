// Goal: nobody gets more than the token says, everything the admin protocol does is there, and what is said is well formed.
// Method: requests to the server with an admin that keeps what it is asked; the table against the document made of it.
#include "holdfast/http_server.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <set>

namespace hf::holdfast {
namespace {

using Json = nlohmann::json;

class TestAdmin final : public io::AdminHandler {
 public:
  void request(ConnectionId connection, Bytes line, const Now&,
               std::vector<io::AdminReply>* replies) override {
    asked = Json::parse(line);
    if (!answer.empty()) replies->push_back({connection, answer});
  }
  bool after_step(const Now&, bool, std::vector<io::AdminReply>*) override { return false; }
  void closed(ConnectionId) override {}

  Json asked;
  std::string answer = R"({"ok":true,"x":1})";
};

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    identity::Tokens::Map all;
    for (const auto role : {identity::Role::kRead, identity::Role::kOperate, identity::Role::kAdminister})
      all[identity::role_name(role)] = identity::make_token(role, identity::role_name(role));
    server_.set_tokens(identity::Tokens(all));
    view_.status.name = "ship-7";
    now_.mono = Instant{} + seconds(1000);
  }

  io::HttpResponse ask(const std::string& method, const std::string& target, const std::string& token = "",
                       const std::string& body = "") {
    io::HttpRequest request;
    request.method = method;
    request.path = target.substr(0, target.find('?'));
    if (target.find('?') != std::string::npos) request.query = target.substr(target.find('?') + 1);
    request.headers.emplace_back("Host", host_);
    if (!token.empty()) request.headers.emplace_back("authorization", "bearer " + token);
    if (!body.empty()) request.headers.emplace_back("Content-Type", type_);
    request.body = body;
    std::vector<io::HttpReply> replies;
    admin_.asked = nullptr;
    server_.request(7, {std::make_shared<io::HttpDoor>(door_), loopback_, "192.0.2.1"}, request, now_,
                    &replies);
    if (replies.size() != 1) return {.status = 0};
    if (replies[0].response.status >= 400) {
      EXPECT_EQ(replies[0].response.type, "application/problem+json");
      const Json problem = Json::parse(replies[0].response.body);
      EXPECT_EQ(problem["status"], replies[0].response.status);
      EXPECT_FALSE(problem["detail"].get<std::string>().empty());
    }
    return replies[0].response;
  }
  int status(const std::string& method, const std::string& target, const std::string& token = "",
             const std::string& body = "") {
    return ask(method, target, token, body).status;
  }

  TestAdmin admin_;
  StatusView view_;
  io::LoopFigures loop_;
  std::string log_;
  HttpServer server_{
      admin_,
      {.status = [this](const Now&) { return view_; },
       .loop = [this] { return loop_; },
       .say = [this](const char* event, const std::string& text) { log_ += event + (" " + text) + "\n"; }}};
  io::HttpDoor door_{.address = "127.0.0.1:8080"};
  bool loopback_ = true;
  std::string host_ = "localhost";
  std::string type_ = "application/json; charset=utf-8";
  Now now_;
};

TEST_F(HttpServerTest, ProbesAreOpenHereAndNowhereElse) {
  for (const char* path : {"/livez", "/readyz", "/metrics"}) {
    EXPECT_EQ(status("GET", path), 200);
    EXPECT_EQ(status("HEAD", path), 200);
    EXPECT_EQ(status("POST", path), 405);
    loopback_ = false;
    EXPECT_EQ(status("GET", path), 401);
    EXPECT_EQ(status("GET", path, "read"), 200);
    loopback_ = true;
    door_.encrypted = true;
    EXPECT_EQ(status("GET", path), 401);
    door_.encrypted = false;
  }
  EXPECT_EQ(status("GET", "/"), 404);
  EXPECT_EQ(status("GET", "/metrics/"), 404);
}

TEST_F(HttpServerTest, ReadyMeansThatItAcceptsAndKeeps) {
  const auto why = [&] {
    const io::HttpResponse response = ask("GET", "/readyz");
    return response.status == 200 ? "" : Json::parse(response.body)["code"].get<std::string>();
  };
  EXPECT_EQ(why(), "");
  view_.status.mode = store::Mode::kDegraded;
  EXPECT_EQ(why(), "");
  view_.status.mode = store::Mode::kFull;
  EXPECT_EQ(why(), "full");
  view_.status.mode = store::Mode::kStorageFailed;
  EXPECT_EQ(why(), "storage-failed");
  view_.status.mode = store::Mode::kReady;
  loop_.disk_silent_for = seconds(30);
  EXPECT_EQ(why(), "");
  loop_.disk_silent_for = seconds(31);
  EXPECT_EQ(why(), "disk-stuck");
  loop_.disk_silent_for = {};
  loop_.paused_for = seconds(31);
  EXPECT_EQ(why(), "ingest-stuck");
  loop_.stopping = true;
  EXPECT_EQ(why(), "stopping");
  view_.locked = "wrong key.";
  EXPECT_EQ(why(), "locked");
  EXPECT_EQ(status("GET", "/livez"), 200);
}

TEST_F(HttpServerTest, EveryRouteAsksForItsRole) {
  for (const HttpRoute& route : http_routes()) {
    std::string path = std::regex_replace(route.pattern, std::regex("\\{[a-z]+\\}"), "x");
    std::string body;
    Json needed = Json::object();
    for (const HttpField& field : route.fields) {
      if (field.where == HttpField::Where::kBody && field.required) needed[field.name] = "x";
      if (field.where == HttpField::Where::kQuery && field.required)
        path += (path.find('?') == std::string::npos ? "?" : "&") + std::string(field.name) + "=x";
    }
    if (!needed.empty()) body = needed.dump();
    EXPECT_EQ(status(route.method, path, "", body), 401) << path;
    EXPECT_TRUE(admin_.asked.is_null());
    for (const auto role : {identity::Role::kRead, identity::Role::kOperate, identity::Role::kAdminister}) {
      const int got = status(route.method, path, identity::role_name(role), body);
      EXPECT_EQ(got, role >= route.role ? route.status : 403) << path << " " << identity::role_name(role);
      EXPECT_EQ(admin_.asked.is_null(), role < route.role);
      if (role >= route.role) {
        EXPECT_EQ(admin_.asked["command"], route.command);
      }
    }
  }
  EXPECT_NE(log_.find("HF-HTTP-002 POST /api/v1/nodes by the token administer from 192.0.2.1"),
            std::string::npos);
}

TEST_F(HttpServerTest, FieldsComeFromPathQueryAndBody) {
  EXPECT_EQ(status("GET", "/api/v1/streams/a%2Fb%20c/records?count=5&after=3:4", "read"), 200);
  EXPECT_EQ(admin_.asked, Json::parse(R"({"command":"tail","stream":"a/b c","count":5,"after":"3:4"})"));
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"name":"n","down":["a/#"]})"), 201);
  EXPECT_EQ(admin_.asked, Json::parse(R"({"command":"node-add","name":"n","down":["a/#"]})"));
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"name":"n","prefix":"sites/n/"})"), 201);
  EXPECT_EQ(admin_.asked, Json::parse(R"({"command":"node-add","name":"n","prefix":"sites/n/"})"));
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"name":"n","prefix":1})"), 400);
  EXPECT_EQ(status("DELETE", "/api/v1/nodes/n", "administer"), 200);
  EXPECT_EQ(admin_.asked, Json::parse(R"({"command":"node-rm","name":"n"})"));

  EXPECT_EQ(status("GET", "/api/v1/streams/x/records?count=-1", "read"), 400);
  EXPECT_EQ(status("GET", "/api/v1/streams/x/records?count=1&count=2", "read"), 400);
  EXPECT_EQ(status("GET", "/api/v1/streams/x/records?cuont=1", "read"), 400);
  EXPECT_EQ(status("GET", "/api/v1/streams/x/records?after=%zz", "read"), 400);
  EXPECT_EQ(status("GET", "/api/v1/streams/%ff/records", "read"), 400);
  EXPECT_EQ(status("GET", "/api/v1/streams//records", "read"), 404);
  EXPECT_EQ(status("GET", "/api/v1/status?x=y", "read"), 400);
  // Nobody chooses the operation but the table.
  EXPECT_EQ(status("GET", "/api/v1/status?command=node-rm", "read"), 400);
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"name":"n","command":"claim"})"), 400);
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"name":1})"), 400);
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"down":[]})"), 400);
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"name":"n","down":[1]})"), 400);
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", "[]"), 400);
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", std::string(100'000, '[')), 400);
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer"), 400);
  type_ = "text/plain";
  EXPECT_EQ(status("POST", "/api/v1/nodes", "administer", R"({"name":"n"})"), 415);
}

TEST_F(HttpServerTest, TheLogSaysWhatWasAskedForAndNoSecret) {
  EXPECT_EQ(status("DELETE", "/api/v1/retained?filter=a/%23", "operate"), 200);
  EXPECT_NE(log_.find("HF-HTTP-002 DELETE /api/v1/retained by the token operate from 192.0.2.1: retained-rm "
                      "filter=\"a/#\"\n"),
            std::string::npos);
  EXPECT_EQ(status("POST", "/api/v1/clients/c%0Ad/kick", "operate", R"({"forget":true})"), 200);
  EXPECT_NE(log_.find(": client-kick name=\"c\\nd\" forget=true\n"), std::string::npos);
  EXPECT_EQ(
      status("POST", "/api/v1/messages", "operate", R"({"topic":"a","payload":"hush hush","retain":true})"),
      200);
  EXPECT_NE(log_.find(": publish topic=\"a\" payload=(9 bytes) retain=true\n"), std::string::npos);
  EXPECT_EQ(status("POST", "/api/v1/users", "administer", R"({"name":"anna","password":"hush hush"})"), 201);
  EXPECT_EQ(admin_.asked["password"], "hush hush");
  EXPECT_NE(log_.find(": user-add name=\"anna\"\n"), std::string::npos);
  EXPECT_EQ(status("POST", "/api/v1/claim", "administer", R"({"claim":"hush hush"})"), 200);
  EXPECT_EQ(log_.find("hush"), std::string::npos);
  EXPECT_EQ(status("POST", "/api/v1/users", "administer",
                   R"({"name":")" + std::string(100'000, 'a') + R"(","password":"x"})"),
            201);
  EXPECT_LT(log_.size(), 2000u);
  log_.clear();
  EXPECT_EQ(status("GET", "/api/v1/users", "read"), 200);
  EXPECT_EQ(status("POST", "/api/v1/users", "read", R"({"name":"anna","password":"hush hush"})"), 403);
  EXPECT_EQ(log_, "");
}

TEST_F(HttpServerTest, EveryAnswerHasItsSchema) {
  const Json document = Json::parse(openapi_document());
  std::set<std::string> named;
  for (const auto& [path, operations] : document["paths"].items()) {
    for (const auto& [method, operation] : operations.items()) {
      for (const auto& [code, response] : operation["responses"].items()) {
        for (const auto& [type, content] : response["content"].items())
          named.insert(content["schema"]["$ref"].get<std::string>());
      }
    }
  }
  std::set<std::string> there;
  for (const auto& [name, schema] : document["components"]["schemas"].items())
    there.insert("#/components/schemas/" + name);
  EXPECT_EQ(named, there);
  EXPECT_EQ(named.size(), http_routes().size() + 1);  // And Problem.
}

TEST_F(HttpServerTest, ErrorsAreProblems) {
  const auto answered = [&](const std::string& code, const std::string& error = "a sentence") {
    admin_.answer = R"({"ok":false,"code":")" + code + R"(","error":")" + error + "\"}";
    return status("GET", "/api/v1/nodes", "read");
  };
  EXPECT_EQ(answered("invalid"), 400);
  EXPECT_EQ(answered("not-found"), 404);
  EXPECT_EQ(answered("exists"), 409);
  EXPECT_EQ(answered("denied"), 403);
  EXPECT_EQ(answered("denied", "the store is locked: no."), 503);
  EXPECT_EQ(answered("busy"), 503);
  EXPECT_EQ(answered("full"), 507);
  EXPECT_EQ(answered("something"), 500);
  const io::HttpResponse method = ask("PUT", "/api/v1/nodes", "read");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.headers[0].second, "GET, HEAD, POST");
  EXPECT_EQ(status("GET", "/api/v1/nothing", "read"), 404);
  EXPECT_EQ(status("GET", "/api/v1/nothing"), 401);
}

TEST_F(HttpServerTest, AnAnswerMayComeLater) {
  admin_.answer.clear();
  EXPECT_EQ(status("GET", "/api/v1/nodes", "read"), 0);
  const io::HttpResponse response = server_.admin_answered(7, R"({"ok":true})");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "{\"ok\":true}\n");
}

TEST_F(HttpServerTest, OnlyByItsOwnNames) {
  host_ = "evil.example";
  EXPECT_EQ(status("GET", "/livez"), 421);
  EXPECT_EQ(status("GET", "/api/v1/status", "read"), 421);
  door_.hosts = {"evil.example"};
  EXPECT_EQ(status("GET", "/livez"), 200);
}

TEST_F(HttpServerTest, WhoGuessesWaitsAndWhoHasATokenDoesNot) {
  loopback_ = false;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(status("GET", "/api/v1/status", "wrong"), 401);
  const io::HttpResponse slow = ask("GET", "/api/v1/status", "wrong");
  EXPECT_EQ(slow.status, 429);
  EXPECT_EQ(slow.headers[0], (std::pair<std::string, std::string>("Retry-After", "2")));
  now_.mono = now_.mono + milliseconds(1001);
  EXPECT_EQ(status("GET", "/api/v1/status", "wrong"), 401);
  now_.mono = now_.mono + milliseconds(1001);
  EXPECT_EQ(status("GET", "/api/v1/status", "wrong"), 429);
  EXPECT_EQ(status("GET", "/api/v1/status", "read"), 200);
  EXPECT_EQ(status("GET", "/api/v1/status", "wrong"), 401);
  loopback_ = true;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(status("GET", "/api/v1/status", "wrong"), 401);
  EXPECT_EQ(log_.find("wrong"), std::string::npos);
}

TEST_F(HttpServerTest, TheDocumentHoldsTheTable) {
  EXPECT_EQ(status("GET", kHttpOpenApiPath), 401);
  const io::HttpResponse response = ask("GET", kHttpOpenApiPath, "read");
  ASSERT_EQ(response.status, 200);
  const Json document = Json::parse(response.body);
  EXPECT_EQ(document["openapi"], "3.1.0");
  std::set<std::string> commands;
  size_t operations = 0;
  for (const auto& [path, methods] : document["paths"].items()) operations += methods.size();
  EXPECT_EQ(operations, http_routes().size());
  for (const HttpRoute& route : http_routes()) {
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    const Json& operation = document["paths"][route.pattern][method];
    EXPECT_EQ(operation["operationId"], route.command);
    EXPECT_TRUE(commands.insert(route.command).second) << "an operationId is there once";
    EXPECT_TRUE(operation["responses"].contains(std::to_string(route.status)));
    for (const char* always : {"400", "401", "403", "503", "default"})
      EXPECT_TRUE(operation["responses"].contains(always));
    for (const HttpField& field : route.fields) {
      if (field.where != HttpField::Where::kPath) continue;
      EXPECT_NE(std::string(route.pattern).find("{" + std::string(field.name) + "}"), std::string::npos);
    }
  }
}

// A parser of what Prometheus reads, strict where it is lenient.
TEST_F(HttpServerTest, MetricsAreWhatPrometheusReads) {
  node::Status& status = view_.status;
  status.gaps_by_cause = {{.cause = "rot", .gaps = 2, .records = 5}};
  status.link.configured = status.link.up = true;
  status.link.backlog_bytes = 1000;
  status.link.goodput_bytes_s = 10;
  status.link.backlog_count = 7;
  status.nodes_owed_count = 20;
  status.nodes_owed_bytes = 200;
  status.store.owed_count = 100;
  status.store.owed_bytes = 8000;
  status.link.lanes = {{.priority = 0, .count = 3, .bytes = 30, .oldest_wall_us = 1'000'000},
                       {.priority = 5, .count = 4, .bytes = 40, .oldest_wall_us = 3'000'000},
                       {.priority = 9}};
  status.wall_us = 3'500'000;
  loop_.now.wall_us = 3'500'000;
  loop_.certificates = {{"0.0.0.0:8883", 86'403, {}}, {"[::1]:8443", 1, 2}};
  loop_.commits.add(milliseconds(3));
  loop_.commits.add(seconds(60));
  view_.status.broker.connect_bytes = 1000;
  view_.status.turned_away = {.unfinished = 5, .rate = 6};
  loop_.preauth_bytes = 100;
  loop_.doors.throttled = 4;
  const std::string text = metrics_text(view_, loop_, {.wrong = 1});
  ASSERT_TRUE(text.ends_with('\n'));

  const std::regex help("# HELP (holdfast_[a-z0-9_]+) [A-Z0-9].*\\.");
  const std::regex type("# TYPE (holdfast_[a-z0-9_]+) (counter|gauge|histogram)");
  const std::regex sample(
      "(holdfast_[a-z0-9_]+)(\\{[a-z_]+=\"[^\"\\\\\n]*\"(,[a-z_]+=\"[^\"\\\\\n]*\")*\\})? "
      "(-?[0-9]+(\\.[0-9]+)?)");
  std::set<std::string> names;
  std::set<std::string> series;
  std::string name;
  std::string kind;
  bool typed = false;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, help)) {
      name = match[1];
      typed = false;
      EXPECT_TRUE(names.insert(name).second) << line;
    } else if (std::regex_match(line, match, type)) {
      EXPECT_EQ(match[1], name);
      kind = match[2];
      typed = true;
      EXPECT_EQ(kind == "counter", name.ends_with("_total")) << line;
    } else {
      ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
      EXPECT_TRUE(typed) << line;
      const std::string of = match[1];
      const bool own =
          of == name ||
          (kind == "histogram" && (of == name + "_bucket" || of == name + "_sum" || of == name + "_count"));
      EXPECT_TRUE(own) << line;
      EXPECT_TRUE(series.insert(of + std::string(match[2])).second) << line;
    }
  }
  for (const char* expected : {"holdfast_build_info{version=\"0.1.0\"} 1\n",
                               "holdfast_store_fsync_seconds_bucket{le=\"0.002\"} 0\n",
                               "holdfast_store_fsync_seconds_bucket{le=\"0.005\"} 1\n",
                               "holdfast_store_fsync_seconds_bucket{le=\"+Inf\"} 2\n",
                               "holdfast_store_fsync_seconds_sum 60.003\n",
                               "holdfast_store_fsync_seconds_count 2\n",
                               "holdfast_queue_messages{priority=\"5\"} 4\n",
                               "holdfast_queue_oldest_age_seconds{priority=\"0\"} 2.5\n",
                               "holdfast_queue_oldest_age_seconds{priority=\"5\"} 0.5\n",
                               "holdfast_queue_oldest_age_seconds{priority=\"9\"} 0\n",
                               "holdfast_cert_expiry_seconds{listener=\"0.0.0.0:8883\"} 86400\n",
                               "holdfast_cert_expiry_seconds{listener=\"[::1]:8443\"} -2\n",
                               "holdfast_crl_age_seconds{listener=\"[::1]:8443\"} 1\n",
                               "holdfast_queue_dropped_total{cause=\"gap_rot\"} 5\n",
                               "holdfast_store_gap_records_total{cause=\"rot\"} 2\n",
                               "holdfast_owed_messages{to=\"parent\"} 7\n",
                               "holdfast_owed_messages{to=\"nodes\"} 20\n",
                               "holdfast_owed_messages{to=\"clients\"} 100\n",
                               "holdfast_owed_bytes{to=\"clients\"} 8000\n",
                               "holdfast_link_up 1\n",
                               "holdfast_link_eta_seconds 100\n",
                               "holdfast_auth_failures_total{reason=\"token_wrong\"} 1\n",
                               "holdfast_preauth_bytes 1100\n",
                               "holdfast_handshakes_total{result=\"throttled\"} 4\n",
                               "holdfast_connections_turned_away_total{reason=\"unfinished\"} 5\n",
                               "holdfast_connections_turned_away_total{reason=\"rate\"} 6\n"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected;
  view_.locked = "wrong key.";
  EXPECT_NE(metrics_text(view_, loop_, {}).find("holdfast_locked 1\n"), std::string::npos);
}

}  // namespace
}  // namespace hf::holdfast
