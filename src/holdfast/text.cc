#include "holdfast/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>

#include "base/shown.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

// The last column holds sentences, and nothing is filled up to its width.
constexpr size_t kLastCellBytesMax = 1024;

size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1);  // Two rows above.
  std::vector<size_t> above(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

bool is_control(unsigned char c) { return c < 0x20 || c == 0x7f; }

// Characters and not bytes, so that "ü" does not shift its line. Wide characters are not worth a table of
// them.
size_t width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// A count as we write it: "41,220", or nothing. Not an identifier that happens to be all figures ("000000017").
bool is_number(std::string_view cell) {
  if (cell.empty() || cell == "-" || cell == "0") return true;
  return cell.front() != '0' && std::all_of(cell.begin(), cell.end(),
                                            [](unsigned char c) { return std::isdigit(c) != 0 || c == ','; });
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t d = distance(name, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = &candidate;
    }
  }
  return best == nullptr ? "" : *best;
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return "";
  return TablePages(rows.front()).add({rows.begin() + 1, rows.end()});
}

std::string TablePages::add(const std::vector<std::vector<std::string>>& rows) {
  const bool first = widths_.empty();
  std::vector<std::vector<std::string>> cells;
  if (first) cells.push_back(heading_);
  cells.insert(cells.end(), rows.begin(), rows.end());
  for (size_t row = 0; row < cells.size(); ++row) {
    const bool is_heading = first && row == 0;
    for (size_t i = 0; i < cells[row].size(); ++i) {
      std::string& cell = cells[row][i];
      if (i == widths_.size()) {
        widths_.push_back(0);
        right_.push_back(false);
      }
      // Which side a column keeps to is settled by the first page: numbers to the right, if there is any.
      if (first && !is_heading && is_number(cell) && cell != "-") right_[i] = true;
      const bool last = i + 1 == cells[row].size();
      cell = cut_text(printable(cell), last ? kLastCellBytesMax : kNameShownBytesMax);
      widths_[i] = std::max(widths_[i], width(cell));
    }
  }
  for (const auto& row : rows) {
    for (size_t i = 0; first && i < row.size(); ++i) right_[i] = right_[i] && is_number(row[i]);
  }
  std::string out;
  for (const auto& row : cells) {
    if (row.empty()) continue;
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths_[i] - width(row[i]), ' ');
      if (i > 0) line += "  ";
      line += right_[i] ? padding + row[i] : row[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string format_pairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
  size_t widest = 0;
  for (const auto& [name, value] : pairs) widest = std::max(widest, width(name));
  std::string out;
  for (const auto& [name, value] : pairs) {
    out += name + ":" + std::string(widest - width(name) + 2, ' ') + printable(value) + "\n";
  }
  return out;
}

bool utf8_printable(std::string_view bytes) {
  // U+0080 to U+009F control terminals too; in UTF-8 they begin with 0xc2.
  for (size_t i = 0; i + 1 < bytes.size(); ++i) {
    if (bytes[i] == '\xc2' && static_cast<unsigned char>(bytes[i + 1]) < 0xa0) return false;
  }
  return mqtt::utf8_valid(bytes) && std::none_of(bytes.begin(), bytes.end(), is_control);
}

std::string printable(std::string_view bytes, bool keep_lines) {
  const bool sound = mqtt::utf8_valid(bytes);
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto c = static_cast<unsigned char>(bytes[i]);
    const bool c1 = c == 0xc2 && i + 1 < bytes.size() && static_cast<unsigned char>(bytes[i + 1]) < 0xa0;
    if (keep_lines && (c == '\n' || c == '\t')) {
      out += static_cast<char>(c);
    } else if (c1 || is_control(c) || (!sound && c >= 0x80)) {
      out += fmt::format("\\x{:02x}", c);
      if (c1) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[++i]));
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

std::string json_printable(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    const auto c = static_cast<unsigned char>(json[i]);
    // They stand in strings alone: elsewhere JSON has none of them.
    if (c == 0x7f) {
      out += "\\u007f";
    } else if (c == 0xc2 && i + 1 < json.size() && static_cast<unsigned char>(json[i + 1]) < 0xa0) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(json[++i]));
    } else {
      out += json[i];
    }
  }
  return out;
}

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", c);
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

}  // namespace hf::holdfast
