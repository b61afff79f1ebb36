// What a node says of its inside (node/inspect.h), as JSON: docs/formats/admin.md. The HTTP side may use the same.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>

#include "node/inspect.h"

namespace hf::holdfast {

using Json = nlohmann::ordered_json;

Json client_json(const node::ClientStatus& client);
Json client_report_json(const node::ClientReport& about, int64_t now_wall_us);
Json subscription_json(const broker::SubscriptionInfo& subscription, bool with_allowed);
Json retained_json(const broker::RetainedInfo& retained);
Json queue_json(const node::QueueStatus& queue, int64_t now_wall_us);
Json export_json(const node::ExportRecord& record);

// `name` if the bytes are UTF-8, else `name`_base64.
void put_bytes(Json& json, const std::string& name, const std::string& bytes);
// "12:3": commit and index. As text, because a JSON number is exact to 2^53 only.
std::string position_text(store::Position position);

// As one line. Strings from clients need not be UTF-8 where the disk or a peer was broken; an answer is sent all the same.
std::string dump(const Json& json);

// Fields of answers, as the client sees them. Those of another version may lack some, or hold something else: then they are
// empty.
std::string text_of(const Json& json, const char* key);
uint64_t number_of(const Json& json, const char* key);
bool flag_of(const Json& json, const char* key);
std::optional<Duration> duration_of(const Json& json, const char* key);
Json list_of(const Json& json, const char* key);

}  // namespace hf::holdfast
