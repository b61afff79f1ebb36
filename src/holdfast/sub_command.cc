// holdfast sub: print what comes.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "base/base64.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/mqtt_client.h"
#include "holdfast/mqtt_options.h"
#include "holdfast/text.h"
#include "holdfast/units.h"
#include "io/clock.h"
#include "io/entropy.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

struct Options {
  MqttOptions mqtt;
  bool keep_session = false;
  std::string expiry = "7 d";
  std::vector<std::string> filters;
  int qos = 1;
  bool verbose = false;
  bool json = false;
  std::string output;
  uint64_t count = 0;  // 0: without end.
  std::string wait;
};

using Done = std::expected<void, Failure>;

// With a count: messages that the server may send before it has heard of the first.
constexpr uint16_t kWindowMax = 64;

void put_json_bytes(std::string* out, const char* name, Bytes bytes) {
  if (mqtt::utf8_valid(bytes)) {
    *out += fmt::format(",\"{}\":{}", name, json_quoted(bytes));
  } else {
    *out += fmt::format(",\"{}_base64\":{}", name, json_quoted(to_base64(bytes)));
  }
}

// One line, with everything that MQTT says about the message.
std::string json_line(const mqtt::Publish& publish, int64_t wall_us) {
  std::string out = fmt::format("{{\"time\":\"{}\",\"topic\":{},\"qos\":{},\"retain\":{},\"dup\":{}",
                                format_utc(wall_us, 6), json_quoted(publish.topic), publish.qos,
                                publish.retain, publish.dup);
  put_json_bytes(&out, "payload", publish.payload);
  const mqtt::Properties& properties = publish.properties;
  if (properties.payload_format_indicator) {
    out += fmt::format(",\"payload_format_indicator\":{}", *properties.payload_format_indicator);
  }
  if (properties.message_expiry_interval_s) {
    out += fmt::format(",\"message_expiry_interval_s\":{}", *properties.message_expiry_interval_s);
  }
  if (properties.content_type) out += ",\"content_type\":" + json_quoted(*properties.content_type);
  if (properties.response_topic) out += ",\"response_topic\":" + json_quoted(*properties.response_topic);
  if (properties.correlation_data) put_json_bytes(&out, "correlation_data", *properties.correlation_data);
  if (!properties.user_properties.empty()) {
    out += ",\"user_properties\":[";
    bool first = true;
    for (const mqtt::UserProperty& property : properties.user_properties) {
      out +=
          fmt::format("{}[{},{}]", first ? "" : ",", json_quoted(property.name), json_quoted(property.value));
      first = false;
    }
    out += "]";
  }
  return out + "}\n";
}

class Subscriber {
 public:
  Subscriber(MqttClient& client, const Options& options)
      : client_(client), options_(options), clock_(entropy_) {}

  Done subscribe() {
    mqtt::Subscribe subscribe;
    subscribe.packet_id = 1;
    for (const std::string& filter : options_.filters) {
      subscribe.entries.push_back({.filter = filter, .qos = static_cast<uint8_t>(options_.qos)});
    }
    client_.put(subscribe);
    return client_.flush();
  }

  // Until `count` messages were printed, or the time is over. Then what is printed is acknowledged.
  Done serve() {
    const Done served = receive();
    answer(held_.size());  // It leaves together with DISCONNECT, so that nothing is sent for it.
    return served;
  }

  // How many messages the server may have sent without our last answers.
  static uint16_t window(const Options& options) {
    return static_cast<uint16_t>(std::min<uint64_t>(options.count, kWindowMax));
  }

 private:
  Done receive() {
    std::optional<Instant> deadline;
    if (!options_.wait.empty()) deadline = clock_.now().mono + *parse_duration(options_.wait);
    while (!finished()) {
      std::optional<Duration> left;
      if (deadline) left = std::max(Duration{0}, *deadline - clock_.now().mono);
      auto packet = client_.next(left);
      if (!packet) return std::unexpected(packet.error());
      if (!*packet) break;
      if (const Done handled = handle(**packet); !handled) return handled;
    }
    if (options_.count > 0 && printed_count_ < options_.count) {
      return std::unexpected(Failure{kExitFailed, fmt::format("{} of {} messages came in {}", printed_count_,
                                                              options_.count, options_.wait)});
    }
    return {};
  }

  bool finished() const {
    return options_.count > 0 && printed_count_ >= options_.count && unreleased_.empty();
  }

  // The last answer to a message lets the server send another one. So that none is sent that nobody prints, and that a kept session
  // would have to send again, the last few are held back until everything is there.
  Done finish(const mqtt::Ack& last) {
    held_.push_back(last);
    const uint64_t all = answered_count_ + held_.size();
    const uint64_t may = options_.count == 0 ? all : std::min(all, options_.count - window(options_));
    if (may > answered_count_) answer(may - answered_count_);
    return client_.flush();
  }

  void answer(size_t count) {
    for (size_t i = 0; i < count; ++i) client_.put(held_[i]);
    held_.erase(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(count));
    answered_count_ += count;
  }

  Done handle(const mqtt::Packet& packet) {
    if (const auto* suback = std::get_if<mqtt::SubAck>(&packet)) {
      for (size_t i = 0; i < suback->reasons.size() && i < options_.filters.size(); ++i) {
        if (suback->reasons[i] < 0x80) continue;
        return std::unexpected(
            Failure{kExitFailed, "the server refused to subscribe to " + options_.filters[i] + ": " +
                                     mqtt::reason_name(static_cast<mqtt::Reason>(suback->reasons[i]))});
      }
      return {};
    }
    if (const auto* publish = std::get_if<mqtt::Publish>(&packet)) return take(*publish);
    if (const auto* ack = std::get_if<mqtt::Ack>(&packet);
        ack != nullptr && ack->type == mqtt::PacketType::kPubrel) {
      unreleased_.erase(ack->packet_id);
      return finish({.type = mqtt::PacketType::kPubcomp, .packet_id = ack->packet_id});
    }
    return {};
  }

  Done take(const mqtt::Publish& publish) {
    // Beyond the count there is only QoS 0, and what a server sent that does not keep to our window.
    if (options_.count > 0 && printed_count_ >= options_.count) return {};
    const bool repeated = publish.qos == 2 && !unreleased_.insert(publish.packet_id).second;
    if (!repeated) {
      ++printed_count_;
      if (!print(publish)) return std::unexpected(Failure{kExitFailed, "cannot write to standard output"});
    }
    if (publish.qos == 0) return {};
    // Printed and out of our hands before it is acknowledged.
    if (publish.qos == 1) return finish({.type = mqtt::PacketType::kPuback, .packet_id = publish.packet_id});
    client_.put(mqtt::Ack{.type = mqtt::PacketType::kPubrec, .packet_id = publish.packet_id});
    return client_.flush();
  }

  bool print(const mqtt::Publish& publish) {
    std::string line;
    if (options_.json) {
      line = json_printable(json_line(publish, clock_.now().wall_us));
    } else {
      if (options_.verbose) line = printable(publish.topic) + " ";
      // What strangers wrote does nothing to a terminal; a file or another program gets it as it is.
      line += terminal_ ? printable(publish.payload, /*keep_lines=*/true) : std::string(publish.payload);
      line += '\n';
    }
    return std::fwrite(line.data(), 1, line.size(), stdout) == line.size() && std::fflush(stdout) == 0;
  }

  MqttClient& client_;
  const Options& options_;
  const bool terminal_ = ::isatty(STDOUT_FILENO) == 1;
  io::SystemEntropy entropy_;
  io::Clock clock_;
  std::set<uint16_t> unreleased_;  // QoS 2: printed, and not yet released by the server.
  uint64_t printed_count_ = 0;
  std::deque<mqtt::Ack> held_;  // Last answers that wait, in order.
  uint64_t answered_count_ = 0;
};

Done subscribe(const Options& options) {
  const auto usage = [](std::string text) { return std::unexpected(Failure{kExitUsage, std::move(text)}); };
  if (options.filters.empty()) return usage("-t FILTER is needed: what to subscribe to");
  for (const std::string& filter : options.filters) {
    mqtt::SharedFilter shared;
    if (!mqtt::parse_shared(filter, &shared) || !mqtt::topic_filter_valid(shared.filter)) {
      return usage("-t \"" + filter + "\" is not a topic filter");
    }
  }
  if (options.keep_session && options.mqtt.client_id.empty())
    return usage("-c needs -i ID: a session is kept under its identifier");
  const auto expiry = parse_duration(options.expiry);
  if (!expiry) return usage("--expiry \"" + options.expiry + "\" is not a duration such as \"7 d\"");
  if (!options.wait.empty() && !parse_duration(options.wait)) {
    return usage("-W \"" + options.wait + "\" is not a duration such as \"10 s\"");
  }
  MqttClientOptions client_options;
  if (options.count > 0) client_options.receive_maximum = Subscriber::window(options);
  if (options.keep_session) {
    client_options.clean_start = false;
    client_options.session_expiry_s = static_cast<uint32_t>(to_ms(*expiry) / 1000);
  }
  auto client = connect_mqtt(options.mqtt, std::move(client_options));
  if (!client) return std::unexpected(client.error());
  Subscriber subscriber(**client, options);
  Done done = subscriber.subscribe();
  if (done) done = subscriber.serve();
  (*client)->disconnect();
  return done;
}

}  // namespace

void add_sub(Command app) {
  auto options = std::make_shared<Options>();
  const Command command = app.subcommand("sub", "Print messages as they come");
  add_sub_ls(command);
  command.option("-t,--topic", "FILTER", &options->filters, "Topic filter (repeat)");
  command.option("-q,--qos", "QOS", &options->qos, "0, 1 (default) or 2").between(0, 2);
  command.flag("-v,--verbose", &options->verbose, "Each line begins with the topic");
  command.flag("--json", &options->json, "Each message as a JSON object with its properties: -o json");
  command.option("-C,--count", "N", &options->count, "End after this many messages");
  command.option("-W,--wait", "DURATION", &options->wait,
                 "End after this long, such as \"10 s\"; with -C that is a failure");
  command.flag("-c,--keep", &options->keep_session,
               "Keep the session, and take what was kept for it (needs -i)");
  command.option("--expiry", "DURATION", &options->expiry, "How long the session is kept (default 7 d)");
  add_mqtt_options(command, &options->mqtt);
  add_output_option(command, &options->output);
  command.footer(
      "Examples:\n"
      "  holdfast sub -t 'engine/#' -v\n"
      "  holdfast sub -t 'alarm/#' -q 2 -i watch -c -o json\n"
      "  holdfast sub -t engine/rpm -C 1 -W '5 s'\n"
      "  holdfast sub -h hub.example --tls --user anna --password-file anna.password -t 'alarm/#'\n"
      "  holdfast sub ls --topic engine/rpm");
  command.run([options] {
    options->json = options->json || options->output == "json";
    return report(subscribe(*options));
  });
}

}  // namespace hf::holdfast
