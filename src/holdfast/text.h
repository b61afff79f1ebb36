// Small work on text for people: near names, tables, quoting.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hf::holdfast {

// The candidate that a mistyped `name` most likely means; empty if none is near. Nearness is the number of
// letters inserted, deleted, replaced or swapped (optimal string alignment): at most a third of the name.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// Columns that stand under each other; the first row is the heading (none if it is empty). A column of
// numbers is aligned to the right. Control characters in cells are shown as "\x07": names come from
// strangers.
std::string format_table(const std::vector<std::vector<std::string>>& rows);
// "name: value" lines with the values under each other.
std::string format_pairs(const std::vector<std::pair<std::string, std::string>>& pairs);

// Bytes for a terminal: valid UTF-8 without control characters stays (newline and tab too if `keep_lines`),
// else "\x.."
std::string printable(std::string_view bytes, bool keep_lines = false);
bool utf8_printable(std::string_view bytes);

// A JSON string literal with its quotes; `text` is valid UTF-8.
std::string json_quoted(std::string_view text);

}  // namespace hf::holdfast
