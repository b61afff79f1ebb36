// Goal: HTTP is answered in order and within bounds, and MQTT notices nothing of it. Method: the loop with a handler that
// echoes, real sockets, short times.
#include <gtest/gtest.h>

#include "io/event_loop_testing.h"

namespace hf::io {
namespace {

std::string get(const std::string& path, const std::string& more = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n";
}

class EventLoopHttpTest : public EventLoopTest {
 protected:
  void start_http(EventLoopOptions options = {}, bool proxy = false) {
    DoorOptions door;
    door.address = "127.0.0.1:0";
    door.http = true;
    door.proxy = proxy;
    doors_.push_back(door);
    start(std::move(options));
  }
  Client client() { return Client::tcp(door(0)); }
};

// One response; its body.
std::string body_of(Client& client, std::string* head = nullptr) {
  std::string bytes;
  while (bytes.find("\r\n\r\n") == std::string::npos) {
    const std::string more = client.receive(1);
    if (more.empty()) return "(the end)";
    bytes += more;
  }
  if (head != nullptr) *head = bytes;
  const size_t at = bytes.find("Content-Length: ");
  return client.receive(std::stoul(bytes.substr(at + 16)));
}

TEST_F(EventLoopHttpTest, AnswersInOrderAndKeepsTheConnection) {
  start_http();
  Client client = this->client();
  client.send(get("/one") + "POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get("/two"));
  EXPECT_EQ(body_of(client), "/one");
  EXPECT_EQ(body_of(client), "later later abc");
  EXPECT_EQ(body_of(client), "/two");
  client.send(get("/three", "Connection: close\r\n"));
  std::string head;
  EXPECT_EQ(body_of(client, &head), "/three");
  EXPECT_NE(head.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(client.at_end());
  // The core never heard of it.
  EXPECT_TRUE(core_.diary_.empty());
}

TEST_F(EventLoopHttpTest, ManyAtOnceAreAllAnswered) {
  start_http();
  Client client = this->client();
  std::string many;
  for (int i = 0; i < 3000; ++i) many += get("/" + std::to_string(i));
  std::thread sender([&] { client.send(many); });
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(body_of(client), "/" + std::to_string(i));
  sender.join();
}

TEST_F(EventLoopHttpTest, HeadHasNoBody) {
  start_http();
  Client client = this->client();
  client.send("HEAD /abc HTTP/1.1\r\nHost: a\r\n\r\n" + get("/next"));
  std::string bytes;
  while (bytes.find("/next") == std::string::npos) bytes += client.receive(1);
  EXPECT_NE(bytes.find("Content-Length: 4\r\n"), std::string::npos);
  EXPECT_EQ(bytes.find("/abc"), std::string::npos);
}

TEST_F(EventLoopHttpTest, WhoWaitsForContinueGetsIt) {
  start_http();
  Client client = this->client();
  client.send("POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.receive(kHttpContinue.size()), kHttpContinue);
  client.send("ok");
  EXPECT_EQ(body_of(client), "/pok");
}

TEST_F(EventLoopHttpTest, AMistakeIsTheLastThing) {
  start_http();
  Client client = this->client();
  client.send(get("/one") + "GET /two HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" +
              get("/three"));
  EXPECT_EQ(body_of(client), "/one");
  std::string head;
  EXPECT_NE(body_of(client, &head).find("two Content-Length"), std::string::npos);
  EXPECT_TRUE(head.starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(client.at_end());
}

TEST_F(EventLoopHttpTest, ALargeAnswerWaitsForItsReader) {
  start_http();
  Client client = this->client();
  client.send(get("/large") + get("/after"));
  EXPECT_EQ(body_of(client).size(), size_t{8} << 20);
  EXPECT_EQ(body_of(client), "/after");
}

TEST_F(EventLoopHttpTest, ASlowRequestIsNotWaitedForWhateverItSends) {
  EventLoopOptions options;
  options.http_request_timeout = milliseconds(300);
  start_http(std::move(options));
  Client client = this->client();
  client.send("GET / HTTP/1.1\r\nX: ");
  std::string head;
  // A byte now and then, for as long as it is listened to.
  std::atomic<bool> done{false};
  std::thread dripper([&] {
    while (!done) {
      if (::send(client.get(), "x", 1, MSG_NOSIGNAL) != 1) break;
      pollfd event{client.get(), POLLIN, 0};
      if (::poll(&event, 1, 50) == 1) break;
    }
  });
  body_of(client, &head);
  done = true;
  dripper.join();
  EXPECT_TRUE(head.starts_with("HTTP/1.1 408 ")) << head;
  EXPECT_TRUE(client.at_end());
}

TEST_F(EventLoopHttpTest, AnIdleConnectionIsClosed) {
  EventLoopOptions options;
  options.http_idle_timeout = milliseconds(200);
  start_http(std::move(options));
  Client silent = client();
  Client client = this->client();
  client.send(get("/one"));
  EXPECT_EQ(body_of(client), "/one");
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(silent.at_end());
}

TEST_F(EventLoopHttpTest, ThereAreNoMoreThanSoMany) {
  EventLoopOptions options;
  options.http_max = 2;
  options.eviction_age = seconds(3600);
  start_http(std::move(options));
  Client first = client();
  Client second = client();
  first.send(get("/first"));
  second.send(get("/second"));
  EXPECT_EQ(body_of(first), "/first");
  EXPECT_EQ(body_of(second), "/second");
  Client third = client();
  EXPECT_TRUE(third.at_end());
  // MQTT has no part in that.
  Client mqtt = Client::tcp(address_);
  mqtt.send("hello");
  EXPECT_EQ(mqtt.receive(5), "hello");
  first.send(get("/again"));
  EXPECT_EQ(body_of(first), "/again");
}

TEST_F(EventLoopHttpTest, WhoIsIdleMakesRoom) {
  EventLoopOptions options;
  options.http_max = 2;
  options.eviction_age = Duration{0};
  start_http(std::move(options));
  Client first = client();
  first.send(get("/first"));
  EXPECT_EQ(body_of(first), "/first");
  Client second = client();
  second.send(get("/second"));
  EXPECT_EQ(body_of(second), "/second");
  Client third = client();
  third.send(get("/third"));
  EXPECT_EQ(body_of(third), "/third");
  EXPECT_TRUE(first.at_end());
}

TEST_F(EventLoopHttpTest, WhoAsksIsKnownBehindAProxyToo) {
  start_http({}, /*proxy=*/true);
  const std::string far("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\x7f\0\0\1\1\2\3\4", 28);
  Client client = this->client();
  client.send(far + get("/who"));
  EXPECT_EQ(body_of(client), "192.0.2.1");
}

}  // namespace
}  // namespace hf::io
