#include "base/time.h"

namespace hf {

namespace {

constexpr int64_t kDayUs = 86'400'000'000;

struct Civil {
  int64_t year;
  unsigned month;
  unsigned day;
};

// Days since 1970-01-01 to the proleptic Gregorian calendar and back (Howard Hinnant, "chrono-Compatible
// Low-Level Date Algorithms"): years start in March, so that the leap day is the last one.
Civil civil_from_days(int64_t days) {
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const auto day_of_era = static_cast<unsigned>(days - era * 146097);
  const unsigned year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned month_from_march = (5 * day_of_year + 2) / 153;
  const unsigned day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  return {static_cast<int64_t>(year_of_era) + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

int64_t days_from_civil(int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<int64_t>(day_of_era) - 719468;
}

// Reads exactly `count` digits at `at`.
bool number(std::string_view text, size_t at, size_t count, unsigned* value) {
  if (at + count > text.size()) return false;
  *value = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    *value = *value * 10 + static_cast<unsigned>(text[i] - '0');
  }
  return true;
}

}  // namespace

const char* clock_quality_name(ClockQuality quality) {
  switch (quality) {
    case ClockQuality::kUnknown:
      return "unknown";
    case ClockQuality::kFloor:
      return "floor";
    case ClockQuality::kRtc:
      return "rtc";
    case ClockQuality::kOperator:
      return "operator";
    case ClockQuality::kParent:
      return "parent";
    case ClockQuality::kNtp:
      return "ntp";
    case ClockQuality::kGnss:
      return "gnss";
  }
  return "unknown";
}

std::string format_utc(int64_t wall_us, int digits) {
  int64_t days = wall_us / kDayUs;
  int64_t rest = wall_us % kDayUs;
  if (rest < 0) {
    rest += kDayUs;
    --days;
  }
  const Civil date = civil_from_days(days);
  if (date.year < 0 || date.year > 9999) return "@" + std::to_string(wall_us) + "us";
  std::string text;
  const auto put = [&text](int64_t value, int width) {
    const size_t at = text.size();
    text.append(static_cast<size_t>(width), '0');
    for (size_t i = at + static_cast<size_t>(width); i-- > at; value /= 10) {
      text[i] = static_cast<char>('0' + value % 10);
    }
  };
  const int64_t second = rest / 1'000'000;
  put(date.year, 4);
  text += '-';
  put(date.month, 2);
  text += '-';
  put(date.day, 2);
  text += 'T';
  put(second / 3600, 2);
  text += ':';
  put(second / 60 % 60, 2);
  text += ':';
  put(second % 60, 2);
  text += '.';
  put(digits == 6 ? rest % 1'000'000 : rest / 1000 % 1000, digits == 6 ? 6 : 3);
  text += 'Z';
  return text;
}

bool parse_utc(std::string_view text, int64_t* wall_us) {
  unsigned year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (text.size() < 20 || !number(text, 0, 4, &year) || text[4] != '-' || !number(text, 5, 2, &month) ||
      text[7] != '-' || !number(text, 8, 2, &day) ||
      (text[10] != 'T' && text[10] != 't' && text[10] != ' ') || !number(text, 11, 2, &hour) ||
      text[13] != ':' || !number(text, 14, 2, &minute) || text[16] != ':' || !number(text, 17, 2, &second)) {
    return false;
  }
  size_t at = 19;
  int64_t fraction_us = 0;
  if (text[at] == '.') {
    int64_t unit = 100'000;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, unit /= 10) {
      fraction_us += unit * (text[at] - '0');
    }
    if (text[at - 1] == '.') return false;
  }
  if (at + 1 != text.size() || (text[at] != 'Z' && text[at] != 'z')) return false;
  // A leap second (RFC 3339, section 5.7) counts as the first moment of the next minute.
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60) return false;
  const int64_t days = days_from_civil(year, month, day);
  const Civil back = civil_from_days(days);
  if (day < 1 || back.day != day || back.month != month) return false;
  *wall_us =
      days * kDayUs + (static_cast<int64_t>(hour) * 3600 + minute * 60 + second) * 1'000'000 + fraction_us;
  return true;
}

}  // namespace hf
