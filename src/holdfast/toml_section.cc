#define TOML_IMPLEMENTATION  // Of the parser: here.
#include "holdfast/toml_section.h"

#include <fmt/format.h>

#include "holdfast/text.h"
#include "holdfast/units.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a number";
    case toml::node_type::floating_point:
      return "a decimal number";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::date_time:
      return "a date";
    case toml::node_type::none:
      break;
  }
  return "nothing";
}

// What TOML forbids: control characters anywhere, and anything but ASCII outside of quotes and comments. The latter is
// what a word processor makes of quotes and spaces, so it deserves words of its own. Follows quotes as far as that
// takes: ":LINE: ..." of the first such character.
std::optional<std::string> strange_character(std::string_view text) {
  size_t line = 1;
  char quote = '\0';  // Of the string that we are in; '#' in a comment.
  bool triple = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f) {
      return fmt::format(":{}: a control character (0x{:02x}); is it a text file?", line, c);
    }
    if (c >= 0x80 && quote == '\0') {
      return fmt::format(
          ":{}: a character outside of quotes that is not ASCII; quotes and spaces from a word processor "
          "only look "
          "like those that are meant here",
          line);
    }
    if (c == '\n') {
      ++line;
      if (!triple) quote = '\0';
    } else if (quote == '\0') {
      if (c != '"' && c != '\'' && c != '#') continue;
      quote = text[i];
      triple = c != '#' && text.substr(i).starts_with(std::string(3, quote));
      if (triple) i += 2;
    } else if (c == '\\' && quote == '"' && i + 1 < text.size() && text[i + 1] != '\n') {
      ++i;
    } else if (text[i] == quote && quote != '#' &&
               (!triple || text.substr(i).starts_with(std::string(3, quote)))) {
      if (triple) i += 2;
      quote = '\0';
      triple = false;
    }
  }
  return std::nullopt;
}

std::string binary_size(uint64_t bytes) {
  if (bytes >= uint64_t{1} << 40) return fmt::format("{} TiB", bytes >> 40);
  if (bytes >= uint64_t{1} << 20) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= uint64_t{1} << 10) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

}  // namespace

std::expected<toml::table, Mistakes> parse_toml(std::string_view text, const std::string& name) {
  if (auto mistake = strange_character(text)) return std::unexpected(Mistakes{name + *mistake});
  try {
    return toml::parse(text, std::string_view(name));
  } catch (const toml::parse_error& error) {
    return std::unexpected(
        Mistakes{fmt::format("{}:{}: {}", name, error.source().begin.line, error.description())});
  }
}

void Reader::mistake(const toml::source_region& where, const std::string& text) {
  mistakes_->push_back(fmt::format("{}:{}: {}", name_, where.begin.line, text));
}

void Section::refuse_unknown() {
  for (const auto& [key, value] : table_) {
    const std::string text(key.str());
    std::vector<std::string> here;
    std::vector<std::string> elsewhere;
    bool known = false;
    for (const KnownKey& candidate : reader_.known()) {
      if (std::string_view(candidate.section) == name_) {
        here.emplace_back(candidate.key);
        known = known || text == candidate.key;
      } else if (text == candidate.key) {
        elsewhere.push_back(*candidate.section == '\0'
                                ? fmt::format("`{}` at the top of the file", text)
                                : fmt::format("`{}` in [{}]", text, candidate.section));
      }
    }
    if (known) continue;
    std::string said = fmt::format("unknown key `{}`", qualified(text));
    if (const std::string near = nearest_name(text, here); !near.empty()) {
      said += fmt::format("; did you mean `{}`?", qualified(near));
    } else if (!elsewhere.empty()) {
      said += fmt::format("; did you mean {}?", elsewhere.front());
    }
    reader_.mistake(key.source(), said);
  }
}

const toml::source_region& Section::where(const char* key) const {
  const toml::node* node = find(key);
  return node == nullptr ? table_.source() : node->source();
}

bool Section::text(const char* key, std::string* out) {
  const toml::node* node = find(key);
  if (node == nullptr) return false;
  if (!node->is_string()) {
    wrong_type(key, *node, "a string");
    return false;
  }
  *out = node->as_string()->get();
  return true;
}

void Section::path(const char* key, std::string* out) {
  if (text(key, out) && out->empty()) mistake(key, fmt::format("`{}` is empty", qualified(key)));
}

size_t Section::choice(const char* key, std::initializer_list<const char*> words) {
  std::string written;
  if (!text(key, &written)) return 0;
  std::string all;
  for (size_t i = 0; i < words.size(); ++i) {
    if (written == words.begin()[i]) return i;
    all += fmt::format("{}\"{}\"", i == 0 ? "" : " or ", words.begin()[i]);
  }
  mistake(key, fmt::format("`{}` is \"{}\", but may be {}", qualified(key), written, all));
  return 0;
}

Lines Section::lines() const {
  Lines all{{"", line()}};
  for (const auto& [key, value] : table_) all[std::string(key.str())] = key.source().begin.line;
  return all;
}

void Section::flag(const char* key, bool* out) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  if (!node->is_boolean()) return wrong_type(key, *node, "true or false");
  *out = node->as_boolean()->get();
}

std::optional<int64_t> Section::number_within(const char* key, int64_t min, int64_t max) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_integer()) {
    wrong_type(key, *node, "a number");
    return std::nullopt;
  }
  const int64_t value = node->as_integer()->get();
  if (value < min || value > max) {
    mistake(key, fmt::format("`{}` is {}, but may be {} to {}", qualified(key), value, min, max));
    return std::nullopt;
  }
  return value;
}

void Section::size(const char* key, uint64_t min, uint64_t max, uint64_t* out) {
  const std::string wanted = "a size with its unit, such as \"4 GiB\"";
  std::string written;
  if (!quantity(key, wanted, &written)) return;
  const auto value = parse_size(written);
  if (!value)
    return mistake(key, fmt::format("`{}` is \"{}\", which is not {}", qualified(key), written, wanted));
  if (*value < min || *value > max) {
    return mistake(key, fmt::format("`{}` is {}, but may be {} to {}", qualified(key), format_size(*value),
                                    binary_size(min), binary_size(max)));
  }
  *out = *value;
}

void Section::duration_s(const char* key, uint32_t min_s, uint32_t max_s, uint32_t* out) {
  const std::string wanted = "a duration with its unit, such as \"7 d\" or \"1 h 30 min\"";
  std::string written;
  if (!quantity(key, wanted, &written)) return;
  const auto value = parse_duration(written);
  if (!value)
    return mistake(key, fmt::format("`{}` is \"{}\", which is not {}", qualified(key), written, wanted));
  const int64_t whole_s = value->ns / 1'000'000'000;
  if (whole_s < min_s || whole_s > max_s || value->ns % 1'000'000'000 != 0) {
    return mistake(
        key, fmt::format("`{}` is \"{}\", but may be {} to {}, in whole seconds", qualified(key), written,
                         format_duration(seconds(min_s)), format_duration(seconds(max_s))));
  }
  *out = static_cast<uint32_t>(whole_s);
}

void Section::filter(const char* key, std::string* out) {
  if (!text(key, out)) {
    if (!has(key)) reader_.mistake(table_.source(), fmt::format("[{}] needs `{}`", name_, key));
    return;
  }
  if (!mqtt::topic_filter_valid(*out)) {
    mistake(key, fmt::format("`{}` is \"{}\", which is not an MQTT topic filter", qualified(key), *out));
  }
}

void Section::section(const char* key, const std::function<void(Section&)>& visit) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  if (!node->is_table()) return wrong_type(key, *node, "a section, as [" + std::string(key) + "]");
  Section inner(reader_, *node->as_table(), key);
  inner.refuse_unknown();
  visit(inner);
}

void Section::sections(const char* key, const std::function<void(Section&)>& visit) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  const std::string wanted = fmt::format("a section that may be repeated, as [[{}]]", key);
  if (!node->is_array()) return wrong_type(key, *node, wanted);
  for (const toml::node& element : *node->as_array()) {
    if (!element.is_table()) {
      reader_.mistake(element.source(),
                      fmt::format("`{}` holds {}, but is {}", key, type_name(element), wanted));
      continue;
    }
    Section inner(reader_, *element.as_table(), key);
    inner.refuse_unknown();
    visit(inner);
  }
}

bool Section::quantity(const char* key, const std::string& wanted, std::string* out) {
  const toml::node* node = find(key);
  if (node == nullptr) return false;
  if (!node->is_string()) {
    wrong_type(key, *node, wanted);
    return false;
  }
  *out = node->as_string()->get();
  return true;
}

void Section::wrong_type(const char* key, const toml::node& node, const std::string& wanted) {
  mistake(key, fmt::format("`{}` is {}, but should be {}", qualified(key), type_name(node), wanted));
}

void Section::texts(const char* key, std::vector<std::string>* out) {
  texts(key, [](const std::string&) { return std::string(); }, out);
}

void Section::texts(const char* key, const std::function<std::string(const std::string&)>& wrong,
                    std::vector<std::string>* out) {
  const toml::node* node = find(key);
  if (node == nullptr) return;
  const auto add = [&](const toml::node& element) {
    const std::string& text = element.as_string()->get();
    if (const std::string said = wrong(text); !said.empty()) reader_.mistake(element.source(), said);
    out->push_back(text);
  };
  if (!node->is_string() && !node->is_array()) return wrong_type(key, *node, "a list of strings");
  out->clear();
  if (node->is_string()) return add(*node);
  for (const toml::node& element : *node->as_array()) {
    if (element.is_string()) {
      add(element);
    } else {
      reader_.mistake(element.source(), fmt::format("`{}` holds {}, but is a list of strings", qualified(key),
                                                    type_name(element)));
    }
  }
}

std::string Section::qualified(std::string_view key) const {
  return *name_ == '\0' ? std::string(key) : fmt::format("{}.{}", name_, key);
}

}  // namespace hf::holdfast
