// holdfast pub: publish, and wait until the node has it safe.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/mqtt_client.h"
#include "holdfast/mqtt_options.h"
#include "holdfast/units.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

struct Options {
  MqttOptions mqtt;
  std::string topic;
  std::string message;
  bool empty = false;
  bool lines = false;
  int qos = 1;
  bool retain = false;
  std::string content_type;
  std::string expiry;
  std::vector<std::string> user_properties;
  std::string output;
};

constexpr size_t kWindowMax = 1000;
constexpr Duration kAckPatience = seconds(30);
constexpr int kIdleMs = 1'000;  // Between looks at the connection while there is nothing to publish.

using Done = std::expected<void, Failure>;

class Publisher {
 public:
  Publisher(MqttClient& client, const Options& options, std::string raw_properties)
      : client_(client), options_(options), raw_properties_(std::move(raw_properties)) {}

  Done publish(std::string_view payload) {
    const size_t window = std::min<size_t>(kWindowMax, client_.receive_maximum());
    if (options_.qos > 0 && open_.size() >= window) {
      if (const Done sent = client_.flush(); !sent) return sent;
      while (open_.size() >= window) {
        if (const Done got = one_answer(); !got) return got;
      }
    }
    mqtt::PublishHead head{.qos = static_cast<uint8_t>(options_.qos),
                           .retain = options_.retain,
                           .topic = options_.topic,
                           .raw_properties = raw_properties_};
    if (options_.qos > 0) {
      do {
        if (++id_ == 0) id_ = 1;
      } while (open_.contains(id_));
      open_[id_] = false;
      head.packet_id = id_;
    }
    if (mqtt::encoded_publish_size(mqtt::Version::k5, head, payload.size()) > client_.packet_bytes_max()) {
      return std::unexpected(
          Failure{kExitFailed, fmt::format("the message is too large: the server takes packets of up to {}",
                                           format_size(client_.packet_bytes_max()))});
    }
    client_.put_publish(head, payload);
    ++sent_count_;
    constexpr size_t kFlushBytes = 64 << 10;
    return client_.unsent_bytes() > kFlushBytes ? client_.flush() : Done{};
  }

  // Until everything sent so far was answered finally.
  Done settle() {
    if (const Done sent = client_.flush(); !sent) return sent;
    while (!open_.empty()) {
      if (const Done got = one_answer(); !got) return got;
    }
    return {};
  }

  // Until there is something to read; the connection stays alive meanwhile [MQTT-3.1.2-20].
  Done wait_for(int file) {
    while (true) {
      pollfd event{file, POLLIN, 0};
      const int ready = ::poll(&event, 1, kIdleMs);
      if (ready > 0 || (ready < 0 && errno != EINTR)) return {};
      const auto packet = client_.next(Duration{});
      if (!packet) return std::unexpected(packet.error());
      if (!*packet) continue;
      if (const Done taken = take(**packet); !taken) return taken;
    }
  }

  uint64_t sent_count() const { return sent_count_; }
  uint64_t refused_count() const { return refused_count_; }
  uint64_t unwanted_count() const { return unwanted_count_; }
  mqtt::Reason refusal() const { return refusal_; }

 private:
  Done one_answer() {
    auto packet = client_.next(kAckPatience);
    if (!packet) return std::unexpected(packet.error());
    if (!*packet) {
      return std::unexpected(
          Failure{kExitFailed, fmt::format("{} not acknowledged in time: not safe yet",
                                           format_counted(open_.size(), "message", "messages"))});
    }
    return take(**packet);
  }

  Done take(const mqtt::Packet& packet) {
    const auto* ack = std::get_if<mqtt::Ack>(&packet);
    if (ack == nullptr) return {};
    const auto found = open_.find(ack->packet_id);
    if (found == open_.end()) return {};
    const bool refused = static_cast<uint8_t>(ack->reason) >= 0x80;
    if (refused) {
      ++refused_count_;
      refusal_ = ack->reason;
      open_.erase(found);
      return {};
    }
    if (ack->reason == mqtt::Reason::kNoMatchingSubscribers) ++unwanted_count_;
    if (ack->type == mqtt::PacketType::kPubrec) {
      client_.put(mqtt::Ack{.type = mqtt::PacketType::kPubrel, .packet_id = ack->packet_id});
      return client_.flush();
    }
    open_.erase(found);
    return {};
  }

  MqttClient& client_;
  const Options& options_;
  const std::string raw_properties_;
  std::map<uint16_t, bool> open_;  // Packet identifiers not yet answered finally.
  uint16_t id_ = 0;
  uint64_t sent_count_ = 0;
  uint64_t refused_count_ = 0;
  uint64_t unwanted_count_ = 0;
  mqtt::Reason refusal_ = mqtt::Reason::kSuccess;
};

// Every line of standard input is a message. What has been read is sent and safe before more is waited for.
Done publish_lines(Publisher& publisher) {
  std::string rest;
  char bytes[65536];
  while (true) {
    if (const Done ready = publisher.wait_for(STDIN_FILENO); !ready) return ready;
    const ssize_t count = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    rest.append(bytes, static_cast<size_t>(count));
    size_t begin = 0;
    for (size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', begin)) {
      if (const Done sent = publisher.publish(std::string_view(rest).substr(begin, end - begin)); !sent)
        return sent;
      begin = end + 1;
    }
    rest.erase(0, begin);
    pollfd event{STDIN_FILENO, POLLIN, 0};
    if (::poll(&event, 1, 0) == 0) {
      if (const Done safe = publisher.settle(); !safe) return safe;
    }
  }
  if (!rest.empty()) return publisher.publish(rest);
  return {};
}

Done publish(const Options& options) {
  if (!mqtt::topic_name_valid(options.topic)) {
    return std::unexpected(
        Failure{kExitUsage, "-t \"" + options.topic + "\" is not a topic name (wildcards are for sub)"});
  }
  mqtt::Properties properties;
  for (const std::string& pair : options.user_properties) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos) {
      return std::unexpected(Failure{kExitUsage, "--user-property \"" + pair + "\" is not NAME=VALUE"});
    }
    properties.user_properties.push_back({Bytes(pair).substr(0, equals), Bytes(pair).substr(equals + 1)});
  }
  if (!options.content_type.empty()) properties.content_type = options.content_type;
  if (!options.expiry.empty()) {
    const auto expiry = parse_duration(options.expiry);
    if (!expiry)
      return std::unexpected(
          Failure{kExitUsage, "--expiry \"" + options.expiry + "\" is not a duration such as \"10 min\""});
    properties.message_expiry_interval_s = static_cast<uint32_t>(to_ms(*expiry) / 1000);
  }
  std::string raw;
  mqtt::encode_properties(raw, properties);

  auto client = connect_mqtt(options.mqtt, {});
  if (!client) return std::unexpected(client.error());
  if (options.qos > (*client)->maximum_qos()) {  // [MQTT-3.2.2-11]
    return std::unexpected(Failure{
        kExitFailed,
        fmt::format("the server takes messages up to QoS {}; say so with -q", (*client)->maximum_qos())});
  }
  if (options.retain && !(*client)->retain_available())  // [MQTT-3.2.2-14]
    return std::unexpected(Failure{kExitFailed, "the server retains no messages"});
  Publisher publisher(**client, options, raw);
  Done done =
      options.lines ? publish_lines(publisher) : publisher.publish(options.empty ? "" : options.message);
  if (done) done = publisher.settle();
  if (!done) return done;
  (*client)->disconnect();
  if (options.output == "json") {
    // Refusals of QoS 0 are not told.
    const nlohmann::ordered_json said = {{"topic", options.topic},
                                         {"qos", options.qos},
                                         {"sent", publisher.sent_count()},
                                         {"refused", publisher.refused_count()},
                                         {"unwanted", publisher.unwanted_count()}};
    fmt::print("{}\n", said.dump());
  }
  if (publisher.refused_count() > 0) {
    const Failure refused{
        kExitFailed, fmt::format("{} refused: {}",
                                 format_counted(publisher.refused_count(), "message was", "messages were"),
                                 mqtt::reason_name(publisher.refusal()))};
    const bool here = options.mqtt.host.empty();
    const bool full = publisher.refusal() == mqtt::Reason::kQuotaExceeded;
    return std::unexpected(here && full ? with_its_state(options.mqtt.target.admin_socket(), refused)
                                        : refused);
  }
  if (publisher.unwanted_count() > 0 && options.output != "json") {
    fmt::print(stderr, "holdfast: accepted, but nobody subscribed to it and no route keeps it ({})\n",
               format_counted(publisher.unwanted_count(), "message", "messages"));
  }
  return {};
}

}  // namespace

void add_pub(Command app) {
  auto options = std::make_shared<Options>();
  const Command command = app.subcommand("pub", "Publish messages, and wait until they are safe");
  command.option("-t,--topic", "TOPIC", &options->topic, "Topic").required();
  const Option message = command.option("-m,--message", "TEXT", &options->message, "The message");
  const Option lines =
      command.flag("-l,--lines", &options->lines, "Each line of standard input is a message");
  const Option empty =
      command.flag("-n,--empty", &options->empty, "An empty message; with -r it clears what is retained");
  message.excludes(lines).excludes(empty);
  lines.excludes(empty);
  command
      .option("-q,--qos", "QOS", &options->qos,
              "0, 1 (default) or 2; with 1 and 2 it waits for the last acknowledgement")
      .between(0, 2);
  command.flag("-r,--retain", &options->retain, "The topic keeps it for later subscribers");
  command.option("--user-property", "NAME=VALUE", &options->user_properties, "A user property (repeat)");
  command.option("--content-type", "TYPE", &options->content_type, "Content type");
  command.option("--expiry", "DURATION", &options->expiry,
                 "The message is worthless after this long, such as \"10 min\"");
  add_mqtt_options(command, &options->mqtt);
  add_output_option(command, &options->output);
  command.footer(
      "Examples:\n"
      "  holdfast pub -t engine/rpm -m 1450\n"
      "  tail -f log | holdfast pub -t log -l\n"
      "  holdfast pub -h hub.example --tls --user anna -t alarm/fire -q 2 -m on");
  command.run([options, message] {
    if (!message.given() && !options->lines && !options->empty) {
      return report(
          {kExitUsage, "say what to publish: -m TEXT, -l for lines of standard input, or -n for nothing"});
    }
    return report(publish(*options));
  });
}

}  // namespace hf::holdfast
