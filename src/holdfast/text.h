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
// numbers is aligned to the right. Names come from strangers: control characters in cells are shown as "\x07", and a cell that
// is longer than kNameShownBytesMax is cut, since it would make all the others as wide. (In the last column, which holds
// sentences, longer than 1 KiB.)
std::string format_table(const std::vector<std::vector<std::string>>& rows);

// The same in pages, for lists that are too long to be held: the columns of a page are as wide as those before it, or wider.
class TablePages {
 public:
  explicit TablePages(std::vector<std::string> heading) : heading_(std::move(heading)) {}
  // The lines of more rows; the first ones with the heading above.
  std::string add(const std::vector<std::vector<std::string>>& rows);

 private:
  const std::vector<std::string> heading_;
  std::vector<size_t> widths_;
  std::vector<bool> right_;
};

// "name: value" lines with the values under each other.
std::string format_pairs(const std::vector<std::pair<std::string, std::string>>& pairs);

// Bytes for a terminal: valid UTF-8 without control characters stays (newline and tab too if `keep_lines`),
// else "\x.."
std::string printable(std::string_view bytes, bool keep_lines = false);
bool utf8_printable(std::string_view bytes);

// JSON text with the control characters that its writer lets stand (U+007F to U+009F) as escapes: it says the same, and does
// nothing to a terminal.
std::string json_printable(std::string_view json);

// A JSON string literal with its quotes; `text` is valid UTF-8.
std::string json_quoted(std::string_view text);

}  // namespace hf::holdfast
