// What the answers of the admin protocol hold, as JSON Schema: for the OpenAPI document (http_routes.h). What each field means
// stands in docs/formats/admin.md.
//
// The end-to-end tests hold every answer that a node gives them against this, both ways: a field that an answer has and that
// is not here fails as one that is missing does. So the two cannot drift apart.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace hf::holdfast {

// "client-kick" -> "ClientKickAnswer".
std::string answer_schema_name(const std::string& command);
// By those names.
nlohmann::ordered_json answer_schemas();

}  // namespace hf::holdfast
