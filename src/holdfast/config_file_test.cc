// Goal: a right file gives what it says, a wrong one is refused with sentences that name the line and the way
// out. Method: golden messages; the template that `init` writes is read back.
#include "holdfast/config_file.h"

#include <gtest/gtest.h>

#include "holdfast/read_file.h"
#include "io/temporary_directory_testing.h"

namespace hf::holdfast {
namespace {

// The mistakes of a file, one a line.
std::string mistakes(std::string_view text) {
  const auto config = parse_config(text, "holdfast.toml");
  if (config) return "";
  std::string all;
  for (const std::string& mistake : config.error()) all += (all.empty() ? "" : "\n") + mistake;
  return all;
}

TEST(ConfigFileTest, AnEmptyFileIsAllDefaults) {
  const auto config = parse_config("", "holdfast.toml");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->listen, std::vector<std::string>{"127.0.0.1:1883"});
  EXPECT_EQ(config->node.name, "node");
  EXPECT_EQ(config->node.quota_bytes, uint64_t{4} << 30);
  EXPECT_EQ(config->node.retention_s, 7u * 86400);
  EXPECT_EQ(config->node.receive_maximum, 1024);
  EXPECT_FALSE(config->node.upstream);
  EXPECT_FALSE(config->node.insecure);
  EXPECT_TRUE(config->node.routes.empty());
}

TEST(ConfigFileTest, ReadsEveryKey) {
  const auto config = parse_config(R"(
name = "ship-7"
data = "/data"
listen = ["127.0.0.1:1883", "[::1]:1884"]
admin_socket = "/run/holdfast.sock"
key = "/mnt/key"
users = "who"
permissions = "/etc/may.toml"
quota = "512 MiB"
retention = "12 h"

[upstream]
host = "localhost"
port = 1885
compress = false

[[route]]
filter = "alarm/#"
stream = "alarms"
priority = 0

[[route]]
filter = "camera/+"
stream = "pictures"
priority = 9
time_to_live = "1 d"
upstream = false

[[event_time]]
filter = "plc/#"
field = "meta.ts"
unit = "us"

[mqtt]
session_expiry = "2 d"
max_packet = "4 MiB"
receive_maximum = 100
session_queue_max = "1 GiB"
)",
                                   "holdfast.toml");
  ASSERT_TRUE(config) << config.error().front();
  EXPECT_EQ(config->data, "/data");
  EXPECT_EQ(config->listen.size(), 2u);
  EXPECT_EQ(config->admin_socket, "/run/holdfast.sock");
  EXPECT_EQ(config->key, "/mnt/key");
  EXPECT_EQ(config->users, "who");
  EXPECT_EQ(config->permissions, "/etc/may.toml");
  const node::Config& node = config->node;
  EXPECT_EQ(node.name, "ship-7");
  EXPECT_EQ(node.quota_bytes, uint64_t{512} << 20);
  EXPECT_EQ(node.retention_s, 43200u);
  ASSERT_TRUE(node.upstream);
  EXPECT_EQ(node.upstream->host, "localhost");
  EXPECT_EQ(node.upstream->port, 1885);
  EXPECT_FALSE(node.upstream->compress);
  ASSERT_EQ(node.routes.size(), 2u);
  EXPECT_EQ(node.routes[0], (node::Route{"alarm/#", "alarms", 0, 0, true}));
  EXPECT_EQ(node.routes[1], (node::Route{"camera/+", "pictures", 9, 86400, false}));
  ASSERT_EQ(node.event_times.size(), 1u);
  EXPECT_EQ(node.event_times[0],
            (node::EventTimeField{"plc/#", "meta.ts", node::EventTimeField::Unit::kMicroseconds}));
  EXPECT_EQ(node.session_expiry_default_s, 2u * 86400);
  EXPECT_EQ(node.packet_bytes_max, 4u << 20);
  EXPECT_EQ(node.receive_maximum, 100);
  EXPECT_EQ(node.session_owed_bytes_max, uint64_t{1} << 30);
}

TEST(ConfigFileTest, UnknownKeysAreRefusedWithTheNearestName) {
  EXPECT_EQ(mistakes("name = \"a\"\n\n\n\n\n\nlisen = [\"127.0.0.1:1883\"]\n"),
            "holdfast.toml:7: unknown key `lisen`; did you mean `listen`?");
  EXPECT_EQ(mistakes("[upstream]\nhost = \"localhost\"\nprot = 1\n"),
            "holdfast.toml:3: unknown key `upstream.prot`; did you mean `upstream.port`?");
  EXPECT_EQ(mistakes("host = \"localhost\"\n"),
            "holdfast.toml:1: unknown key `host`; did you mean `host` in [upstream]?");
  EXPECT_EQ(mistakes("[mqtt]\nquota = \"1 GiB\"\n"),
            "holdfast.toml:2: unknown key `mqtt.quota`; did you mean `quota` at the top of the file?");
  EXPECT_EQ(mistakes("zebra = 1\n"), "holdfast.toml:1: unknown key `zebra`");
}

TEST(ConfigFileTest, WrongTypesSayWhatIsWanted) {
  EXPECT_EQ(mistakes("name = 7"), "holdfast.toml:1: `name` is a number, but should be a string");
  EXPECT_EQ(mistakes("quota = 4"),
            "holdfast.toml:1: `quota` is a number, but should be a size with its unit, such as \"4 GiB\"");
  EXPECT_EQ(mistakes("retention = \"week\""),
            "holdfast.toml:1: `retention` is \"week\", which is not a duration with its unit, such as \"7 "
            "d\" or \"1 h 30 min\"");
  EXPECT_EQ(mistakes("listen = 1883"),
            "holdfast.toml:1: `listen` is a number, but should be a list of strings");
  EXPECT_EQ(mistakes("listen = [1883]"),
            "holdfast.toml:1: `listen` holds a number, but is a list of strings");
  EXPECT_EQ(mistakes("insecure = \"yes\""),
            "holdfast.toml:1: `insecure` is a string, but should be true or false");
  EXPECT_EQ(mistakes("upstream = \"hub\""),
            "holdfast.toml:1: `upstream` is a string, but should be a section, as [upstream]");
  EXPECT_EQ(
      mistakes("[route]\nfilter = \"#\"\n"),
      "holdfast.toml:1: `route` is a table, but should be a section that may be repeated, as [[route]]");
}

TEST(ConfigFileTest, RangesAreSaid) {
  EXPECT_EQ(mistakes("quota = \"1 MiB\""),
            "holdfast.toml:1: `quota` is 1.0 MB, but may be 32 MiB to 1024 TiB");
  EXPECT_EQ(mistakes("[upstream]\nhost = \"localhost\"\nport = 70000\n"),
            "holdfast.toml:3: `upstream.port` is 70000, but may be 1 to 65535");
  EXPECT_EQ(mistakes("[[route]]\nfilter = \"#\"\nstream = \"a\"\npriority = 10\n"),
            "holdfast.toml:4: `route.priority` is 10, but may be 0 to 9");
  EXPECT_EQ(
      mistakes("[[route]]\nfilter = \"#\"\nstream = \"a\"\ntime_to_live = \"500 ms\"\n"),
      "holdfast.toml:4: `route.time_to_live` is \"500 ms\", but may be 1 s to 36500 d, in whole seconds");
}

TEST(ConfigFileTest, BrokenTomlNamesItsLine) {
  EXPECT_TRUE(mistakes("name = \"a\"\nquota = \n").starts_with("holdfast.toml:2: "))
      << mistakes("name = \"a\"\nquota = \n");
}

TEST(ConfigFileTest, BinaryIsNoText) {
  EXPECT_EQ(mistakes({"name = 1\n[\0]", 12}),
            "holdfast.toml:2: a control character (0x00); is it a text file?");
  EXPECT_NE(mistakes("name = \"\xff\""), "");
  EXPECT_EQ(mistakes("# größe \"\nkey = \"/größe\"\nname = \u201cship\u201d\n"),
            "holdfast.toml:3: a character outside of quotes that is not ASCII; quotes and spaces from a word "
            "processor only look "
            "like those that are meant here");
  EXPECT_EQ(mistakes("key = \"/a\\\"größe\" # ü\ndata = \"\"\"größe\n\"ü\"\"\"\nadmin_socket = 'ü'\n"), "");
}

TEST(ConfigFileTest, EveryMistakeIsNamed) {
  EXPECT_EQ(mistakes("lisen = 1\nname = 2\n[mqtt]\nreceive_maximum = 0\n"),
            "holdfast.toml:1: unknown key `lisen`; did you mean `listen`?\n"
            "holdfast.toml:2: `name` is a number, but should be a string\n"
            "holdfast.toml:4: `mqtt.receive_maximum` is 0, but may be 1 to 65535");
}

TEST(ConfigFileTest, OpenDoorsNeedAWord) {
  EXPECT_EQ(
      mistakes("listen = [\"0.0.0.0:1883\"]"),
      "holdfast.toml:1: `listen` holds \"0.0.0.0:1883\", which other machines can reach, and `listen` "
      "does not encrypt. Open a [[listener]] with `certificate` and `key`, or listen on 127.0.0.1, or, if "
      "the network is protected by other means, set insecure = true");
  EXPECT_EQ(
      mistakes("[upstream]\nhost = \"hub.example\"\n"),
      "holdfast.toml:2: `upstream.host` is \"hub.example\", another machine, and the connection is not "
      "encrypted: whoever sees the network could read and forge messages. Set tls = true, or, if the way "
      "there is protected by other means (VPN, a cable of your own), insecure = true at the top of the "
      "file");
  EXPECT_EQ(mistakes("[upstream]\nhost = \"hub.example\"\ntls = true\n"), "");
  EXPECT_EQ(mistakes("insecure = true\nlisten = [\"0.0.0.0:1883\", \"[::]:1883\"]\n[upstream]\nhost = "
                     "\"hub.example\"\n"),
            "");
  EXPECT_NE(mistakes("listen = [\"1883\"]"), "");
  EXPECT_NE(mistakes("[upstream]\nhost = \"hub.example:1883\"\n").find("the port goes to `port`"),
            std::string::npos);
  EXPECT_NE(mistakes("[upstream]\nport = 1\n").find("needs `host`"), std::string::npos);
}

TEST(ConfigFileTest, ReadsListeners) {
  const auto config = parse_config(R"(
[[listener]]
address = "0.0.0.0:8883"
certificate = "hub.pem"
key = "hub.key"
client_ca = "/etc/ca.pem"
client_crl = "crl.pem"
client_certificate = "optional"
user_from = "san"
[[listener]]
address = "127.0.0.1:9001"
protocol = "websocket"
proxy = true
origins = ["https://app.example"]
[[listener]]
address = "unix:/run/holdfast/mqtt.sock"
[upstream]
host = "hub.example"
tls = true
ca = "ca.pem"
certificate = "site.pem"
key = "site.key"
server_name = "hub"
)",
                                   "holdfast.toml");
  ASSERT_TRUE(config) << config.error().front();
  ASSERT_EQ(config->listeners.size(), 3u);
  const io::DoorOptions& tls = config->listeners[0].door;
  EXPECT_EQ(tls.address, "0.0.0.0:8883");
  ASSERT_TRUE(tls.tls);
  EXPECT_EQ(tls.tls->certificate, "hub.pem");
  EXPECT_EQ(tls.tls->key, "hub.key");
  EXPECT_EQ(tls.tls->client_ca, "/etc/ca.pem");
  EXPECT_EQ(tls.tls->client_crl, "crl.pem");
  EXPECT_FALSE(tls.tls->client_required);
  EXPECT_EQ(tls.tls->user_from, io::TlsServerFiles::UserFrom::kSan);
  const io::DoorOptions& websocket = config->listeners[1].door;
  EXPECT_TRUE(websocket.websocket && websocket.proxy && !websocket.tls);
  EXPECT_EQ(websocket.origins, std::vector<std::string>{"https://app.example"});
  EXPECT_EQ(config->listeners[2].door.unix_path(), "/run/holdfast/mqtt.sock");
  EXPECT_EQ(config->node.upstream->port, 8883);
  ASSERT_TRUE(config->upstream_tls);
  EXPECT_EQ(config->upstream_tls->ca, "ca.pem");
  EXPECT_EQ(config->upstream_tls->server_name, "hub");
}

TEST(ConfigFileTest, ListenersMustFitTogether) {
  EXPECT_EQ(
      mistakes("[[listener]]\naddress = \"0.0.0.0:1883\"\n"),
      "holdfast.toml:2: `listener.address` is \"0.0.0.0:1883\", which other machines can reach, and the "
      "listener does not encrypt. Give it `certificate` and `key`, or listen on 127.0.0.1, or, if the "
      "network is protected by other means, set insecure = true at the top of the file");
  EXPECT_NE(mistakes("[[listener]]\naddress = \"0.0.0.0:1884\"\nproxy = true\n"), "");
  EXPECT_EQ(mistakes("insecure = true\n[[listener]]\naddress = \"0.0.0.0:1884\"\nproxy = true\n"), "");
  EXPECT_EQ(mistakes("[[listener]]\naddress = \"0.0.0.0:8883\"\ncertificate = \"c\"\nkey = \"k\"\n"), "");
  EXPECT_EQ(mistakes("[[listener]]\nproxy = true\n"),
            "holdfast.toml:1: [listener] needs `address`, such as \"0.0.0.0:8883\"");
  EXPECT_NE(mistakes("[[listener]]\naddress = \"8883\"\n").find("neither ADDRESS:PORT"), std::string::npos);
  EXPECT_NE(mistakes("[[listener]]\naddress = \"unix:\"\n").find("without a path"), std::string::npos);
  EXPECT_EQ(mistakes("[[listener]]\naddress = \"127.0.0.1:1883\"\n"),
            "holdfast.toml:2: `listener.address` is \"127.0.0.1:1883\", which `listen` has by default; set "
            "listen = []");
  EXPECT_EQ(mistakes("listen = [\"[::1]:1\"]\n[[listener]]\naddress = \"[::1]:1\"\n"),
            "holdfast.toml:3: `listener.address` is \"[::1]:1\", which line 1 has");
  EXPECT_EQ(mistakes("[[listener]]\naddress = \"[::1]:1\"\ncertificate = \"c\"\n"),
            "holdfast.toml:3: `listener.certificate` needs `key` beside it");
  EXPECT_EQ(mistakes("[[listener]]\naddress = \"[::1]:1\"\nclient_ca = \"c\"\n"),
            "holdfast.toml:3: `listener.client_ca` needs `certificate` and `key` beside it");
  EXPECT_EQ(
      mistakes("[[listener]]\naddress = \"[::1]:1\"\nclient_crl = \"c\"\n"),
      "holdfast.toml:3: `listener.client_crl` needs `client_ca` beside it, the authority of the clients' "
      "certificates");
  EXPECT_EQ(
      mistakes("[[listener]]\naddress = \"[::1]:1\"\nuser_from = \"cn\"\n"),
      "holdfast.toml:3: `listener.user_from` is \"cn\", but may be \"common_name\" or \"san\"\n"
      "holdfast.toml:3: `listener.user_from` needs `client_ca` beside it, the authority of the clients' "
      "certificates");
  EXPECT_EQ(
      mistakes("insecure = true\n[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\n"),
      "holdfast.toml:3: `listener.address` is \"0.0.0.0:80\", which other machines can reach, and HTTP there "
      "carries tokens. Give the listener `certificate` and `key`, or listen on 127.0.0.1");
  EXPECT_EQ(mistakes("[[listener]]\naddress = \"[::1]:1\"\nprotocol = \"http\"\nhosts = [\"a:1\"]\n"),
            "holdfast.toml:4: `listener.hosts` holds \"a:1\", which is not a name, such as \"hub.example\"; "
            "no port "
            "and no scheme go with it");
  EXPECT_EQ(mistakes("[[listener]]\naddress = \"[::1]:1\"\nhosts = [\"a\"]\n"),
            "holdfast.toml:3: `listener.hosts` needs `protocol = \"http\"` beside it");
  EXPECT_EQ(mistakes("[[listener]]\naddress = \"[::1]:1\"\norigins = [\"app.example\"]\n"),
            "holdfast.toml:3: `listener.origins` needs `protocol = \"websocket\"` beside it\n"
            "holdfast.toml:3: `listener.origins` holds \"app.example\", which is not an origin, such as "
            "\"https://app.example\", nor \"*\"");
  EXPECT_EQ(mistakes("[upstream]\nhost = \"localhost\"\nca = \"c\"\n"),
            "holdfast.toml:3: `upstream.ca` needs `tls = true` beside it");
}

TEST(ConfigFileTest, FilesThatAreNotThereAreNamedWithTheirLine) {
  const auto config = parse_config(
      "[[listener]]\naddress = \"[::1]:1\"\nkey = \"/none/k\"\ncertificate = \"/none/c\"\n[upstream]\nhost = "
      "\"localhost\"\ntls = true\nca = \"/none/ca\"\n",
      "holdfast.toml");
  ASSERT_TRUE(config);
  const FileCheck check = check_files(*config, "holdfast.toml");
  ASSERT_EQ(check.mistakes.size(), 2u);
  EXPECT_EQ(
      check.mistakes[0],
      "holdfast.toml:4: `listener.certificate`: cannot read /none/c: no such file or directory; name a PEM "
      "file that the node's user may read");
  EXPECT_TRUE(check.mistakes[1].starts_with("holdfast.toml:8: `upstream.ca`: cannot read /none/ca"));
}

TEST(ConfigFileTest, RelativePathsBeginAtTheFile) {
  const io::TemporaryDirectory directory;
  const std::string path = directory / "holdfast.toml";
  ASSERT_TRUE(write_new_file(path, "data = \"d\"\nkey = \"k\"\nadmin_socket = \"s\"\nusers = \"u\"\n", 0600));
  auto config = load_config(path);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->data, directory / "d");
  EXPECT_EQ(config->key, directory / "k");
  EXPECT_EQ(config->admin_socket, directory / "s");
  EXPECT_EQ(config->users, directory / "u");
  const std::string absolute = directory / "absolute.toml";
  ASSERT_TRUE(write_new_file(absolute, "key = \"/k\"\n", 0600));
  config = load_config(absolute);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->key, "/k");
  EXPECT_EQ(config->admin_socket, "");
}

TEST(ConfigFileTest, KeyAndSocketAreLookedAtBeforeARestart) {
  const io::TemporaryDirectory directory;
  const auto checked = [&](const std::string& text, const std::string& data) {
    const auto config = parse_config(text, "holdfast.toml");
    return config ? joined_lines(check_files(*config, "holdfast.toml", data).mistakes) : "not read";
  };
  ASSERT_TRUE(write_new_file(directory / "good", std::string(64, 'a'), 0600));
  ASSERT_TRUE(write_new_file(directory / "bad", "x", 0600));
  const auto key = [&](const char* name) { return "\nkey = \"" + (directory / name) + "\"\n"; };
  EXPECT_EQ(checked(key("good"), directory.path()), "");
  EXPECT_EQ(checked(key("bad"), directory.path()),
            "holdfast.toml:2: `key`: " + (directory / "bad") +
                " is not a key: it should hold 32 bytes, or 64 hexadecimal digits");
  EXPECT_TRUE(checked(key("none"), directory.path()).starts_with("holdfast.toml:2: `key`: cannot read "));
  // By default it lies in the data directory; where that is not known, nothing is said.
  EXPECT_TRUE(checked("", directory.path()).starts_with("holdfast.toml: cannot read " + (directory / "key")));
  EXPECT_EQ(checked("", ""), "");
  EXPECT_EQ(checked("admin_socket = \"/" + std::string(106, 's') + "\"\n", ""), "");
  EXPECT_EQ(checked("admin_socket = \"/" + std::string(107, 's') + "\"\n", ""),
            "holdfast.toml:1: `admin_socket`: /" + std::string(107, 's') +
                " has 108 bytes; the path of a socket has at most 107");
}

TEST(ConfigFileTest, RoutesMustFitTogether) {
  EXPECT_EQ(mistakes("[[route]]\nfilter = \"a/#/b\"\nstream = \"a\"\n"),
            "holdfast.toml:2: `route.filter` is \"a/#/b\", which is not an MQTT topic filter");
  EXPECT_EQ(mistakes("[[route]]\nstream = \"a\"\n"), "holdfast.toml:1: [route] needs `filter`");
  EXPECT_NE(mistakes("[[route]]\nfilter = \"a\"\nstream = \"down/x\"\n").find("kept for what goes down"),
            std::string::npos);
  EXPECT_NE(mistakes("[[route]]\nfilter = \"a\"\nstream = \"a b\"\n").find("letters, digits"),
            std::string::npos);
  EXPECT_EQ(mistakes("[[route]]\nfilter = \"a\"\nstream = \"s\"\n[[route]]\nfilter = \"b\"\nstream = "
                     "\"s\"\npriority = 1\n"),
            "holdfast.toml:6: stream \"s\" has another priority or time_to_live in the [[route]] of line 1; "
            "a stream has one of each");
  EXPECT_EQ(mistakes("[[event_time]]\nfilter = \"a\"\nfield = \"t\"\nunit = \"m\"\n"),
            "holdfast.toml:4: `event_time.unit` is \"m\", but may be s, ms, us, ns or rfc3339");
}

TEST(ConfigFileTest, TheTemplateIsRight) {
  const auto config = parse_config(config_template("ship-7", "/mnt/key"), "holdfast.toml");
  ASSERT_TRUE(config) << config.error().front();
  EXPECT_EQ(config->node.name, "ship-7");
  EXPECT_EQ(config->key, "/mnt/key");
  EXPECT_TRUE(parse_config(config_template("a", ""), "holdfast.toml"));
}

TEST(ConfigFileTest, NamesOfNodes) {
  for (const char* good : {"ship-7", "a", "A.b_c"}) EXPECT_TRUE(node_name_valid(good)) << good;
  for (const char* bad : {"", "a/b", "a b", ".", "..", "ä"}) EXPECT_FALSE(node_name_valid(bad)) << bad;
  EXPECT_FALSE(node_name_valid(std::string(65, 'a')));
}

TEST(ConfigFileTest, HttpIsADoorOfItsOwn) {
  const auto config = parse_config(
      "log = \"json\"\ntokens = \"who\"\n"
      "[[listener]]\naddress = \"127.0.0.1:8080\"\nprotocol = \"http\"\nhosts = [\"hub.example\"]\n",
      "holdfast.toml");
  ASSERT_TRUE(config) << joined_lines(config.error());
  EXPECT_TRUE(config->log_json);
  EXPECT_EQ(config->tokens, "who");
  ASSERT_EQ(config->listeners.size(), 1u);
  EXPECT_TRUE(config->listeners[0].door.http);
  EXPECT_EQ(config->listeners[0].door.hosts, std::vector<std::string>{"hub.example"});
}

}  // namespace
}  // namespace hf::holdfast
