#include "holdfast/export_text.h"

#include <nlohmann/json.hpp>

namespace hf::holdfast {

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string csv_heading() {
  return "arrived,event_time,origin,incarnation,sequence,qos,retain,topic,encoding,payload\r\n";
}

std::string csv_line(const nlohmann::ordered_json& record) {
  const auto field = [&](const char* key) {
    const auto found = record.find(key);
    if (found == record.end() || found->is_null()) return std::string();
    return found->is_string() ? csv_field(found->get<std::string>()) : found->dump();
  };
  const bool text = record.contains("payload");
  return field("arrived") + "," + field("event_time") + "," + field("origin") + "," + field("incarnation") +
         "," + field("sequence") + "," + field("qos") + "," + field("retain") + "," + field("topic") + "," +
         (text ? "text," : "base64,") + field(text ? "payload" : "payload_base64") + "\r\n";
}

}  // namespace hf::holdfast
