// Exported records as lines: CSV (RFC 4180) and JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

namespace hf::holdfast {

// A field: in quotes if it has a comma, a quote, or the end of a line.
std::string csv_field(std::string_view text);
// The names of the columns, and one record as the admin protocol gives it. Lines end in CR LF.
std::string csv_heading();
std::string csv_line(const nlohmann::ordered_json& record);

}  // namespace hf::holdfast
