#include "broker/headers.h"

#include <algorithm>
#include <limits>

namespace hf::broker {

namespace {

constexpr Bytes kTime = "hf-time";
constexpr int kDigits = 6;

// What only the node says. A client that says it could make others take its message for one that they have had.
bool of_the_node(Bytes name) {
  return name == "hf-origin" || name == "hf-seq" || name == "hf-arrived" || name == "hf-arrived-quality" ||
         name == "hf-may-double";
}

bool parse_time(Bytes text, int64_t* wall_us) {
  if (parse_utc(text, wall_us)) return true;
  if (text.empty() || text.size() > 15) return false;  // Fifteen digits of milliseconds reach the year 33658.
  int64_t ms = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    ms = ms * 10 + (c - '0');
  }
  *wall_us = ms * 1000;
  return true;
}

// The values of the properties that tell of a record's origin.
struct OriginText {
  std::string seq;
  std::string arrived;
};

void add_origin(mqtt::Properties* properties, const store::StreamInfo* stream, uint64_t sequence,
                const store::Arrival& arrival, bool may_double, OriginText* text) {
  auto& users = properties->user_properties;
  if (stream != nullptr && !stream->options.origin.empty()) {
    text->seq = to_hex(stream->key.incarnation) + ":" + stream->key.name + ":" + std::to_string(sequence);
    text->arrived = format_utc(arrival.wall_us, kDigits);
    users.push_back({"hf-origin", stream->options.origin});
    users.push_back({"hf-seq", text->seq});
    users.push_back({"hf-arrived", text->arrived});
    if (arrival.quality < ClockQuality::kParent) {
      users.push_back({"hf-arrived-quality", clock_quality_name(arrival.quality)});
    }
  }
  if (may_double) users.push_back({"hf-may-double", "1"});
}

// Whether the publisher said a time that can be read.
bool says_time(Bytes headers) {
  if (headers.find(kTime) == Bytes::npos) return false;  // The usual case.
  mqtt::Properties properties;
  mqtt::DecodeError error;
  if (!mqtt::decode_publish_properties(headers, &properties, &error)) return false;
  const auto& users = properties.user_properties;
  return std::any_of(users.begin(), users.end(), [](const auto& user) {
    int64_t event_us = 0;
    return user.name == kTime && parse_time(user.value, &event_us);
  });
}

}  // namespace

Carried carry(const mqtt::Properties& properties, Bytes raw, std::string* scratch) {
  Carried carried;
  carried.expiry_s = properties.message_expiry_interval_s;
  bool as_it_came = !raw.empty() && !properties.message_expiry_interval_s && !properties.topic_alias &&
                    !properties.will_delay_interval_s && properties.subscription_identifiers.empty();
  for (const mqtt::UserProperty& user : properties.user_properties) {
    if (of_the_node(user.name)) as_it_came = false;
    if (user.name != kTime) continue;
    int64_t event_us = 0;
    if (parse_time(user.value, &event_us)) {
      carried.event_us = event_us;
    } else {
      carried.time_invalid = true;
    }
  }
  if (as_it_came) {
    carried.headers = raw;
    return carried;
  }
  mqtt::Properties kept;
  kept.payload_format_indicator = properties.payload_format_indicator;  // [MQTT-3.3.2-4]
  kept.content_type = properties.content_type;                          // [MQTT-3.3.2-20]
  kept.response_topic = properties.response_topic;                      // [MQTT-3.3.2-15]
  kept.correlation_data = properties.correlation_data;                  // [MQTT-3.3.2-16]
  for (const mqtt::UserProperty& user : properties.user_properties) {   // [MQTT-3.3.2-17] [MQTT-3.3.2-18]
    if (!of_the_node(user.name)) kept.user_properties.push_back(user);
  }
  scratch->clear();
  mqtt::encode_properties(*scratch, kept);
  carried.headers = *scratch;
  return carried;
}

Duration elapsed_since(const store::Arrival& stamp, const Now& now) {
  if (stamp.boot == now.boot) {
    return now.mono.ns > stamp.mono_ns ? now.mono - Instant{stamp.mono_ns} : Duration{};
  }
  if (stamp.quality == ClockQuality::kUnknown || now.quality == ClockQuality::kUnknown) return {};
  // A difference of wall times in nanoseconds leaves 63 bits after 292 years; a clock may say anything.
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max() / 1000;
  if (now.wall_us <= stamp.wall_us) return {};
  const uint64_t us = static_cast<uint64_t>(now.wall_us) - static_cast<uint64_t>(stamp.wall_us);
  return microseconds(static_cast<int64_t>(std::min<uint64_t>(us, kMax)));
}

std::optional<uint32_t> expiry_left_s(const store::Arrival& arrival, const std::optional<uint32_t>& expiry_s,
                                      const Now& now) {
  if (!expiry_s) return std::nullopt;
  const int64_t passed_s = elapsed_since(arrival, now).ns / 1'000'000'000;
  return static_cast<uint32_t>(std::max<int64_t>(0, int64_t{*expiry_s} - passed_s));
}

Bytes delivery_properties(const store::Record& record, const store::StreamInfo* stream,
                          std::span<const uint32_t> subscription_identifiers, const Now& now,
                          std::string* scratch) {
  const bool foreign = stream != nullptr && !stream->options.origin.empty();
  if (subscription_identifiers.empty() && !record.event_us && !record.expiry_s && !foreign &&
      !record.may_double) {
    return record.headers;
  }
  mqtt::Properties added;
  OriginText text;
  std::string time;
  added.message_expiry_interval_s = expiry_left_s(record.arrival, record.expiry_s, now);  // [MQTT-3.3.2-6]
  added.subscription_identifiers.assign(subscription_identifiers.begin(), subscription_identifiers.end());
  if (record.event_us && !says_time(record.headers)) {
    time = format_utc(*record.event_us, kDigits);
    added.user_properties.push_back({kTime, time});
  }
  add_origin(&added, stream, record.sequence, record.arrival, record.may_double, &text);
  scratch->assign(record.headers);
  mqtt::encode_properties(*scratch, added);
  return *scratch;
}

Bytes lasting_headers(const store::NewRecord& record, const store::StreamInfo* stream, uint64_t sequence,
                      std::string* scratch) {
  mqtt::Properties added;
  OriginText text;
  add_origin(&added, stream, sequence, record.arrival, record.may_double, &text);
  if (added.user_properties.empty()) return record.headers;
  scratch->assign(record.headers);
  mqtt::encode_properties(*scratch, added);
  return *scratch;
}

}  // namespace hf::broker
