// Goal: a request is understood in one way or not at all, however it is cut into pieces; a response is what the standard says.
// Method: golden bytes, every prefix, pieces of every size, and the tricks that are known to part a proxy's reading from ours.
#include "io/http.h"

#include <gtest/gtest.h>

namespace hf::io {
namespace {

const char* const kGet =
    "GET /api/v1/streams?a=b HTTP/1.1\r\n"
    "Host: 127.0.0.1:8080\r\n"
    "Authorization:\t Bearer x \r\n"
    "\r\n";
const char* const kPost =
    "POST /api/v1/nodes HTTP/1.1\r\n"
    "host: localhost\r\n"
    "content-length: 11\r\n"
    "\r\n"
    "hello world";

struct Read {
  std::vector<HttpRequest> requests;
  int failure = 0;
};

Read read(Bytes bytes, size_t step = SIZE_MAX) {
  HttpReader reader;
  Read out;
  const auto drain = [&] {
    while (auto request = reader.next()) out.requests.push_back(std::move(*request));
  };
  for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
    reader.take(bytes.substr(0, step));
    drain();
  }
  if (reader.failure() != nullptr) {
    out.failure = reader.failure()->status;
    EXPECT_STRNE(http_reason(out.failure), "");
    EXPECT_STRNE(reader.failure()->text, "");
  }
  return out;
}

TEST(HttpReaderTest, ReadsRequestsInPiecesOfEverySize) {
  const std::string wire = std::string("\r\n") + kGet + kPost + kGet;
  for (size_t step = 1; step <= wire.size(); ++step) {
    const Read out = read(wire, step);
    ASSERT_EQ(out.requests.size(), 3u) << step;
    EXPECT_EQ(out.failure, 0);
    EXPECT_EQ(out.requests[0].method, "GET");
    EXPECT_EQ(out.requests[0].path, "/api/v1/streams");
    EXPECT_EQ(out.requests[0].query, "a=b");
    EXPECT_EQ(out.requests[0].header("authorization"), "Bearer x");
    EXPECT_EQ(out.requests[0].header("cookie"), std::nullopt);
    EXPECT_TRUE(out.requests[0].keep_alive);
    EXPECT_EQ(out.requests[1].method, "POST");
    EXPECT_EQ(out.requests[1].body, "hello world");
    EXPECT_EQ(out.requests[2].query, "a=b");
  }
}

TEST(HttpReaderTest, EveryPrefixWaits) {
  for (const Bytes whole : {Bytes(kGet), Bytes(kPost)}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      HttpReader reader;
      reader.take(whole.substr(0, size));
      EXPECT_FALSE(reader.next()) << size;
      EXPECT_EQ(reader.failure(), nullptr) << size;
      EXPECT_EQ(reader.midway(), size > 0);
    }
  }
}

// The status for a request with one line more, or another one.
int with(Bytes line, Bytes instead_of = "", Bytes more = "") {
  std::string request = kGet;
  const Bytes place = instead_of.empty() ? Bytes("Authorization") : instead_of;
  const size_t at = request.find(place);
  EXPECT_NE(at, std::string::npos);
  request.replace(at, instead_of.empty() ? 0 : instead_of.size(), line);
  request += more;
  const int whole = read(request).failure;
  EXPECT_EQ(read(request, 1).failure, whole) << line;
  return whole;
}

TEST(HttpReaderTest, WhatTwoCouldReadInTwoWaysIsRefused) {
  EXPECT_EQ(with("Content-Length: 3\r\nContent-Length: 4\r\n", "", "abcd"), 400);
  EXPECT_EQ(with("Content-Length: 3\r\nContent-Length: 3\r\n", "", "abc"), 400);
  EXPECT_EQ(with("Content-Length: 3, 3\r\n", "", "abc"), 400);
  EXPECT_EQ(with("Content-Length: +3\r\n", "", "abc"), 400);
  EXPECT_EQ(with("Content-Length: 0x3\r\n", "", "abc"), 400);
  EXPECT_EQ(with("Content-Length: -1\r\n"), 400);
  EXPECT_EQ(with("Content-Length:\r\n"), 400);
  EXPECT_EQ(with("Content-Length: 3 4\r\n", "", "abc"), 400);
  EXPECT_EQ(with("Content-Length: 18446744073709551619\r\n", "", "abc"), 413);
  EXPECT_EQ(with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "", "0\r\n\r\n"), 400);
  EXPECT_EQ(with("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "", "0\r\n\r\n"), 400);
  EXPECT_EQ(with("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(with("Transfer-Encoding: chunked\r\n", "", "0\r\n\r\n"), 411);
  EXPECT_EQ(with("Transfer-Encoding: gzip, chunked\r\n"), 501);
  EXPECT_EQ(with("Transfer-Encoding: xchunked\r\n"), 501);
  EXPECT_EQ(with("Transfer-Encoding : chunked\r\n"), 400);
  EXPECT_EQ(with("Content-Length : 3\r\n"), 400);
  EXPECT_EQ(with(" Content-Length: 3\r\n"), 400);
  EXPECT_EQ(with("X: y\r\n folded: z\r\n"), 400);
  EXPECT_EQ(with("X: y\n"), 400);
  EXPECT_EQ(with("X: y\rContent-Length: 3\r\n"), 400);
  EXPECT_EQ(with("\nX: y\r\n"), 400);
  EXPECT_EQ(with(Bytes("X: y\0z\r\n", 8)), 400);
  EXPECT_EQ(with("X: y\x7f\r\n"), 400);
  EXPECT_EQ(with("nothing\r\n"), 400);
  EXPECT_EQ(with(": y\r\n"), 400);
  EXPECT_EQ(with("X(y): z\r\n"), 400);
  EXPECT_EQ(with("Host: other\r\n"), 400);
  EXPECT_EQ(with("", "Host: 127.0.0.1:8080\r\n"), 400);
}

TEST(HttpReaderTest, OnlyRequestsOfThisVersionWithAPath) {
  EXPECT_EQ(with("HTTP/1.0", "HTTP/1.1"), 505);
  EXPECT_EQ(with("HTTP/2.0", "HTTP/1.1"), 505);
  EXPECT_EQ(with("http/1.1", "HTTP/1.1"), 505);
  EXPECT_EQ(with("GET  /", "GET /"), 400);
  EXPECT_EQ(with("GET\t/", "GET /"), 400);
  EXPECT_EQ(with("G(T /", "GET /"), 400);
  EXPECT_EQ(with("GET http://localhost/", "GET /"), 400);
  EXPECT_EQ(with("GET \xc3\xa4/", "GET /"), 400);
  EXPECT_EQ(with("OPTIONS * HTTP/1.1", "GET /api/v1/streams?a=b HTTP/1.1"), 400);
  EXPECT_EQ(with("PRI * HTTP/2.0", "GET /api/v1/streams?a=b HTTP/1.1"), 505);
  EXPECT_EQ(with("Expect: a miracle\r\n"), 417);
}

TEST(HttpReaderTest, IsBounded) {
  std::string many;
  for (int i = 0; i < 98; ++i) many += "X: y\r\n";
  EXPECT_EQ(with(many), 0);
  EXPECT_EQ(with(many + "X: y\r\n"), 431);
  EXPECT_EQ(with("X: " + std::string(kHttpHeadBytesMax, 'x') + "\r\n"), 431);
  EXPECT_EQ(read(std::string(kHttpHeadBytesMax, 'x')).failure, 431);
  EXPECT_EQ(read(std::string(kHttpHeadBytesMax - 1, 'x')).failure, 0);
  EXPECT_EQ(with("Content-Length: 1048577\r\n"), 413);
  const std::string body(kHttpBodyBytesMax, 'b');
  const Read out =
      read("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n" + body + kGet, 64 << 10);
  ASSERT_EQ(out.requests.size(), 2u);
  EXPECT_TRUE(out.requests[0].body == body);
}

TEST(HttpReaderTest, NothingComesAfterAMistake) {
  const Read out = read(std::string(kGet) + "X\r\n\r\n" + kGet);
  EXPECT_EQ(out.requests.size(), 1u);
  EXPECT_EQ(out.failure, 400);
}

TEST(HttpReaderTest, WhoWaitsForAWordGetsItOnce) {
  const Bytes head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
  HttpReader waits;
  waits.take(head);
  EXPECT_FALSE(waits.next());
  EXPECT_TRUE(waits.take_continue());
  EXPECT_FALSE(waits.take_continue());
  waits.take("ok");
  EXPECT_EQ(waits.next()->body, "ok");

  HttpReader waits_not;
  waits_not.take(std::string(head) + "ok");
  EXPECT_FALSE(waits_not.take_continue());
  EXPECT_EQ(waits_not.next()->body, "ok");
}

TEST(HttpReaderTest, ConnectionSaysWhetherMoreFollows) {
  const auto keeps = [](Bytes line) {
    std::string request = kGet;
    request.insert(request.find("Host"), line);
    return read(request).requests.at(0).keep_alive;
  };
  EXPECT_TRUE(keeps("Connection: keep-alive\r\n"));
  EXPECT_FALSE(keeps("Connection: close\r\n"));
  EXPECT_FALSE(keeps("connection: X, CLOSE\r\n"));
  EXPECT_TRUE(keeps("Connection: closed\r\n"));
}

TEST(HttpTest, ResponsesAreGolden) {
  HttpResponse response{.status = 200, .type = "text/plain", .body = "ok\n"};
  const std::string head =
      "HTTP/1.1 200 OK\r\n"
      "Date: Fri, 20 Nov 2026 17:05:48 GMT\r\n"
      "Content-Type: text/plain\r\n"
      "Content-Length: 3\r\n"
      "Cache-Control: no-store\r\n"
      "X-Content-Type-Options: nosniff\r\n"
      "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";
  const std::string date = http_date(1'795'194'348'000'000);
  EXPECT_EQ(format_http_response(response, false, false, date), head + "\r\nok\n");
  EXPECT_EQ(format_http_response(response, true, false, date), head + "\r\n");
  response.headers = {{"Allow", "GET, HEAD"}};
  EXPECT_EQ(format_http_response(response, true, true, date),
            head + "Allow: GET, HEAD\r\nConnection: close\r\n\r\n");
}

TEST(HttpTest, ProblemsAreGolden) {
  const HttpResponse problem = http_problem(404, "not-found", "no \"such\\thing\"\n");
  EXPECT_EQ(problem.status, 404);
  EXPECT_EQ(problem.type, "application/problem+json");
  EXPECT_EQ(problem.body, R"({"type":"about:blank","title":"Not Found","status":404,"code":"not-found",)"
                          R"("detail":"no \"such\\thing\"\u000a"})"
                          "\n");
}

TEST(HttpTest, DecodesPercents) {
  EXPECT_EQ(http_percent_decoded("a%2Fb%2fc+d"), "a/b/c+d");
  EXPECT_EQ(http_percent_decoded("%00").value().size(), 1u);
  for (const char* wrong : {"%", "%2", "a%g0", "%2x"}) EXPECT_EQ(http_percent_decoded(wrong), std::nullopt);
}

TEST(HttpTest, OnlyOurOwnNamesAreHosts) {
  const auto allowed = [](Bytes host, const std::string& listener = "192.0.2.1:8443") {
    return http_host_allowed(host, listener, {"hub.example"});
  };
  for (const char* ours : {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080",
                           "192.0.2.1:8443", "192.0.2.1", "hub.example", "Hub.Example:443", "hub.example."})
    EXPECT_TRUE(allowed(ours)) << ours;
  for (const char* other : {"", ":80", "evil.example", "hub.example.evil.example", "192.0.2.2", "[::2]",
                            "[::1", "[::1]x", "127.0.0.1.evil.example", "localhost.evil.example"})
    EXPECT_FALSE(allowed(other)) << other;
  EXPECT_TRUE(allowed("192.0.2.7:8443", "0.0.0.0:8443"));
  EXPECT_TRUE(allowed("[2001:db8::1]:8443", "[::]:8443"));
  EXPECT_FALSE(allowed("evil.example:8443", "0.0.0.0:8443"));
  EXPECT_TRUE(allowed("localhost", "unix:/run/holdfast/http.sock"));
}

}  // namespace
}  // namespace hf::io
