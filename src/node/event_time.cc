#include "node/event_time.h"

#include <simdjson.h>

#include <algorithm>

#include "base/time.h"

namespace hf::node {

namespace {

// The power of ten from the unit to microseconds.
int exponent_of(EventTimeField::Unit unit) {
  switch (unit) {
    case EventTimeField::Unit::kSeconds:
      return 6;
    case EventTimeField::Unit::kMilliseconds:
      return 3;
    case EventTimeField::Unit::kMicroseconds:
      return 0;
    case EventTimeField::Unit::kNanoseconds:
      return -3;
    case EventTimeField::Unit::kRfc3339:
      break;
  }
  return 0;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool scale_to_us(Bytes number, EventTimeField::Unit unit, int64_t* us) {
  size_t at = 0;
  const bool negative = !number.empty() && number[0] == '-';
  if (negative) ++at;
  std::string digits;
  int exponent = exponent_of(unit);
  bool any = false;
  for (; at < number.size() && is_digit(number[at]); ++at) {
    digits += number[at];
    any = true;
  }
  if (at < number.size() && number[at] == '.') {
    for (++at; at < number.size() && is_digit(number[at]); ++at) {
      digits += number[at];
      --exponent;
      any = true;
    }
  }
  if (!any) return false;
  if (at < number.size() && (number[at] == 'e' || number[at] == 'E')) {
    bool down = false;
    ++at;
    if (at < number.size() && (number[at] == '+' || number[at] == '-')) down = number[at++] == '-';
    int shift = 0;
    if (at == number.size()) return false;
    for (; at < number.size() && is_digit(number[at]) && shift < 1000; ++at)
      shift = shift * 10 + (number[at] - '0');
    exponent += down ? -shift : shift;
  }
  if (at != number.size()) return false;
  // value = digits x 10^exponent, cut towards zero.
  if (exponent < 0) {
    const auto drop = static_cast<size_t>(-exponent);
    digits.erase(digits.size() - std::min(drop, digits.size()));
  }
  const size_t zeros = digits.find_first_not_of('0');
  digits.erase(0, zeros == std::string::npos ? digits.size() : zeros);
  if (exponent > 0 && !digits.empty()) {
    if (exponent > 18) return false;
    digits.append(static_cast<size_t>(exponent), '0');
  }
  if (digits.size() > 18) return false;
  int64_t value = 0;
  for (const char digit : digits) value = value * 10 + (digit - '0');
  *us = negative ? -value : value;
  return true;
}

std::optional<int64_t> event_time_in(Bytes payload, const EventTimeField& field) {
  // The parser keeps its buffers between calls; it is of this thread, the core's.
  thread_local simdjson::ondemand::parser parser;
  simdjson::padded_string padded(payload.data(), payload.size());
  simdjson::ondemand::document document;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS) return std::nullopt;
  simdjson::ondemand::object object;
  if (document.get_object().get(object) != simdjson::SUCCESS) return std::nullopt;
  Bytes path = field.field;
  for (;;) {
    const size_t dot = path.find('.');
    simdjson::ondemand::value value;
    if (object.find_field_unordered(path.substr(0, dot)).get(value) != simdjson::SUCCESS) return std::nullopt;
    if (dot != Bytes::npos) {
      path.remove_prefix(dot + 1);
      if (value.get_object().get(object) != simdjson::SUCCESS) return std::nullopt;
      continue;
    }
    simdjson::ondemand::json_type type{};
    if (value.type().get(type) != simdjson::SUCCESS) return std::nullopt;
    int64_t us = 0;
    if (type == simdjson::ondemand::json_type::string) {
      std::string_view text;
      if (value.get_string().get(text) != simdjson::SUCCESS) return std::nullopt;
      const bool read = field.unit == EventTimeField::Unit::kRfc3339 ? parse_utc(text, &us)
                                                                     : scale_to_us(text, field.unit, &us);
      return read ? std::optional(us) : std::nullopt;
    }
    if (type != simdjson::ondemand::json_type::number || field.unit == EventTimeField::Unit::kRfc3339)
      return std::nullopt;
    Bytes token = value.raw_json_token();
    while (!token.empty() &&
           (token.back() == ' ' || token.back() == '\n' || token.back() == '\r' || token.back() == '\t')) {
      token.remove_suffix(1);
    }
    return scale_to_us(token, field.unit, &us) ? std::optional(us) : std::nullopt;
  }
}

}  // namespace hf::node
