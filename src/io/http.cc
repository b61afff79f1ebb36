#include "io/http.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "base/assert.h"
#include "io/address.h"

namespace hf::io {

namespace {

bool is_token_character(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

bool is_token(Bytes text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

Bytes trimmed(Bytes text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// The text up to `separator`, which *rest then stands behind.
Bytes cut(Bytes* rest, char separator) {
  const size_t at = std::min(rest->find(separator), rest->size());
  const Bytes piece = rest->substr(0, at);
  rest->remove_prefix(std::min(at + 1, rest->size()));
  return piece;
}

// A line without its end, which is CRLF: parse_http_head() saw to that.
Bytes cut_line(Bytes* rest) {
  Bytes line = cut(rest, '\n');
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char letter = lower(c);
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

std::unexpected<HttpMistake> mistake(int status, const char* text) {
  return std::unexpected(HttpMistake{status, text});
}

// A JSON string literal. Bytes of UTF-8 stay as they are.
std::string json_text(Bytes text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\u%04x", static_cast<unsigned>(c));
      out += escaped.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

// --- Heads.

std::optional<size_t> http_head_end(Bytes bytes) {
  const size_t at = bytes.find("\r\n\r\n");
  if (at == Bytes::npos) return std::nullopt;
  return at + 4;
}

std::expected<HttpHead, HttpMistake> parse_http_head(Bytes head) {
  for (size_t i = 0; i < head.size(); ++i) {
    const auto c = static_cast<unsigned char>(head[i]);
    const bool line_end = c == '\r' && i + 1 < head.size() && head[i + 1] == '\n';
    const bool after_return = c == '\n' && i > 0 && head[i - 1] == '\r';
    if ((c < 0x20 && c != '\t' && !line_end && !after_return) || c == 0x7f)
      return mistake(400, "the request holds a control character");
  }
  HttpHead parsed;
  Bytes line = cut_line(&head);
  parsed.method = cut(&line, ' ');
  if (!is_token(parsed.method)) return mistake(400, "the request begins with no method");
  parsed.target = cut(&line, ' ');
  const auto printable = [](char c) { return c > 0x20 && c < 0x7f; };
  if (parsed.target.empty() || !std::all_of(parsed.target.begin(), parsed.target.end(), printable))
    return mistake(400, "the request's target is not a path");
  if (line != "HTTP/1.1") return mistake(505, "the request is not HTTP/1.1");
  while (!head.empty()) {
    line = cut_line(&head);
    if (line.empty()) return parsed;
    if (parsed.headers.size() == kHttpHeadersMax) return mistake(431, "the request has too many headers");
    Bytes value = line;
    const Bytes name = cut(&value, ':');
    // A header that goes on in the next line begins with a blank, which no name does; nor does one end with it.
    // RFC 9112, sections 5.1 and 5.2.
    if (name.size() == line.size() || !is_token(name))
      return mistake(400, "the request has a line that is no header");
    parsed.headers.push_back({name, trimmed(value)});
  }
  return parsed;
}

bool http_same(Bytes a, Bytes b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

Bytes http_list_next(Bytes* list) { return trimmed(cut(list, ',')); }

bool http_list_holds(Bytes list, Bytes word) {
  while (!list.empty()) {
    if (http_same(http_list_next(&list), word)) return true;
  }
  return false;
}

std::optional<std::string> http_percent_decoded(Bytes text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = digit_value(text[i + 1]);
    const int low = digit_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool http_host_allowed(Bytes host, const std::string& listener_address,
                       const std::vector<std::string>& hosts) {
  // The port goes; an IPv6 address has colons of its own, within brackets.
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end == Bytes::npos) return false;
    const Bytes rest = host.substr(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return false;
    host = host.substr(1, end - 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  if (host.ends_with('.')) host.remove_suffix(1);
  if (host.empty()) return false;
  std::string name(host);
  for (char& c : name) c = lower(c);
  if (host_is_loopback(name)) return true;
  for (const std::string& allowed : hosts) {
    if (http_same(allowed, name)) return true;
  }
  const auto listener = parse_host_port(listener_address, /*allow_port_zero=*/true);
  if (!listener) return false;
  if (http_same(listener->host, name)) return true;
  const bool all = listener->host == "0.0.0.0" || listener->host == "::";
  return all && parse_address(name, 1).has_value();
}

// --- Requests.

std::optional<Bytes> HttpRequest::header(Bytes name) const {
  std::optional<Bytes> found;
  for (const auto& [each, value] : headers) {
    if (!http_same(each, name)) continue;
    if (found) return std::nullopt;
    found = value;
  }
  return found;
}

void HttpReader::fail(HttpMistake mistake) {
  failed_ = true;
  mistake_ = mistake;
  release_memory(held_);
  head_.reset();
  continue_due_ = false;
}

void HttpReader::take(Bytes bytes) {
  if (failed_) return;
  held_.append(bytes);
  if (!head_) read_head();
}

// Looks for a head at the front of held_.
void HttpReader::read_head() {
  // An empty line before a request is passed over. RFC 9112, section 2.2.
  size_t blank = 0;
  while (Bytes(held_).substr(blank).starts_with("\r\n")) blank += 2;
  if (blank > 0) {
    held_.erase(0, blank);
    looked_at_ = 0;
  }
  // Bare line feeds are found as they come: behind one the end of a head may never show.
  for (size_t end = 0; looked_at_ < std::min(held_.size(), kHttpHeadBytesMax); ++looked_at_) {
    if (held_[looked_at_] != '\n') continue;
    if (looked_at_ == 0 || held_[looked_at_ - 1] != '\r')
      return fail({400, "the request has a line that does not end in CRLF"});
    if (looked_at_ < 3 || held_[looked_at_ - 2] != '\n') continue;
    end = looked_at_ + 1;
    const auto head = parse_http_head(Bytes(held_).substr(0, end));
    if (!head) return fail(head.error());
    if (const auto begun = begin(*head); !begun) return fail(begun.error());
    held_.erase(0, end);
    looked_at_ = 0;
    // Whoever sent the body already waits for nothing.
    if (held_.size() >= body_bytes_) continue_due_ = false;
    return;
  }
  if (held_.size() >= kHttpHeadBytesMax) fail({431, "the head of the request is longer than 16 KiB"});
}

std::expected<void, HttpMistake> HttpReader::begin(const HttpHead& head) {
  HttpRequest request;
  std::optional<Bytes> length;
  std::optional<Bytes> coding;
  bool host = false;
  body_bytes_ = 0;
  continue_due_ = false;
  for (const HttpHeader& header : head.headers) {
    request.headers.emplace_back(header.name, header.value);
    if (http_same(header.name, "host")) {
      if (std::exchange(host, true)) return mistake(400, "the request has two Host headers");
    } else if (http_same(header.name, "content-length")) {
      if (length) return mistake(400, "the request has two Content-Length headers");
      length = header.value;
    } else if (http_same(header.name, "transfer-encoding")) {
      if (coding) return mistake(400, "the request has two Transfer-Encoding headers");
      coding = header.value;
    } else if (http_same(header.name, "connection")) {
      if (http_list_holds(header.value, "close")) request.keep_alive = false;
    } else if (http_same(header.name, "expect")) {
      if (!http_same(header.value, "100-continue"))
        return mistake(417, "the request expects something else than 100-continue");
      continue_due_ = true;
    }
  }
  if (!host) return mistake(400, "the request has no Host");  // RFC 9112, section 3.2.
  if (!head.target.starts_with('/')) return mistake(400, "the request's target is not a path");
  // RFC 9112, section 6.3: where both are, one of two readers ends the body elsewhere.
  if (coding && length) return mistake(400, "the request has both Content-Length and Transfer-Encoding");
  if (coding && http_same(*coding, "chunked"))
    return mistake(411, "the request has a body in chunks; send it with Content-Length");
  if (coding) return mistake(501, "the request has a Transfer-Encoding; send it with Content-Length");
  if (length) {
    if (length->empty() || length->find_first_not_of("0123456789") != Bytes::npos)
      return mistake(400, "the request's Content-Length is not a number");
    for (const char c : *length) {
      body_bytes_ = body_bytes_ * 10 + static_cast<size_t>(c - '0');
      if (body_bytes_ > kHttpBodyBytesMax) return mistake(413, "the request's body is longer than 1 MiB");
    }
  }
  const size_t query = std::min(head.target.find('?'), head.target.size());
  request.method = head.method;
  request.path = head.target.substr(0, query);
  request.query = head.target.substr(std::min(query + 1, head.target.size()));
  head_ = std::move(request);
  return {};
}

std::optional<HttpRequest> HttpReader::next() {
  if (!failed_ && !head_) read_head();
  if (!head_ || held_.size() < body_bytes_) return std::nullopt;
  std::optional<HttpRequest> request = std::exchange(head_, std::nullopt);
  if (held_.size() == body_bytes_) {
    request->body = std::exchange(held_, {});  // No copy stays behind: whoever took a secret wipes it.
  } else {
    request->body = held_.substr(0, body_bytes_);
    held_.erase(0, body_bytes_);
  }
  body_bytes_ = 0;
  return request;
}

// --- Responses.

const char* http_reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "";
  }
}

HttpResponse http_problem(int status, Bytes code, Bytes sentence) {
  HttpResponse response;
  response.status = status;
  response.type = "application/problem+json";
  // RFC 9457, section 4.2.1: of "about:blank" the title is the status' own.
  response.body = "{\"type\":\"about:blank\",\"title\":" + json_text(http_reason(status)) +
                  ",\"status\":" + std::to_string(status) + ",\"code\":" + json_text(code) +
                  ",\"detail\":" + json_text(sentence) + "}\n";
  return response;
}

std::string format_http_response(const HttpResponse& response, bool head_only, bool close, Bytes date) {
  std::string out =
      "HTTP/1.1 " + std::to_string(response.status) + " " + http_reason(response.status) + "\r\n";
  const auto add = [&out](Bytes name, Bytes value) {
    HF_ASSERT(value.find_first_of("\r\n") == Bytes::npos);
    out.append(name).append(": ").append(value).append("\r\n");
  };
  if (!date.empty()) add("Date", date);
  if (!response.type.empty()) add("Content-Type", response.type);
  add("Content-Length", std::to_string(response.body.size()));
  add("Cache-Control", "no-store");
  add("X-Content-Type-Options", "nosniff");
  add("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  for (const auto& [name, value] : response.headers) add(name, value);
  if (close) add("Connection", "close");
  out += "\r\n";
  if (!head_only) out += response.body;
  return out;
}

std::string http_date(int64_t wall_us) {
  constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const time_t at = wall_us / 1'000'000;
  tm parts{};
  if (::gmtime_r(&at, &parts) == nullptr) return "";
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                kDays[static_cast<size_t>(parts.tm_wday)], parts.tm_mday,
                kMonths[static_cast<size_t>(parts.tm_mon)], parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
                parts.tm_sec);
  return text.data();
}

}  // namespace hf::io
