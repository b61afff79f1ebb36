// HTTP/1.1 (RFC 9110, RFC 9112), as much of it as a node's own pages and a WebSocket's beginning need: requests are read and
// responses written here, without a socket and without a clock.
//
//     METHOD /path?query HTTP/1.1 CRLF
//     name: value CRLF ...          at most kHttpHeadersMax, all of the head at most kHttpHeadBytesMax
//     CRLF
//     body                          as long as Content-Length says, at most kHttpBodyBytesMax
//
// What two readers could understand in two ways is refused and ends the connection, because a proxy in front of us may be
// the other reader: two Content-Length, Transfer-Encoding (of any kind), a line that goes on in the next, a line that ends
// in LF alone, a blank before the colon.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace hf::io {

inline constexpr size_t kHttpHeadBytesMax = 16 << 10;
inline constexpr size_t kHttpBodyBytesMax = 1 << 20;
inline constexpr size_t kHttpHeadersMax = 100;

// --- Heads: for whoever reads requests, WebSocket's upgrade too.

struct HttpHeader {
  Bytes name;   // As it was written; compare with http_same().
  Bytes value;  // Without blanks around it.
};
// Views into the bytes it was parsed from.
struct HttpHead {
  Bytes method;
  Bytes target;
  std::vector<HttpHeader> headers;
};
struct HttpMistake {
  int status = 400;
  const char* text = "";  // A sentence without its end.
};

// Where a head ends, its empty line included; nothing if it is not whole yet.
std::optional<size_t> http_head_end(Bytes bytes);
// `head`: what http_head_end() measured.
std::expected<HttpHead, HttpMistake> parse_http_head(Bytes head);

// Names of headers, codings and schemes: without regard to the case of ASCII letters.
bool http_same(Bytes a, Bytes b);
// Whether a list, "a, b, c", holds the word.
bool http_list_holds(Bytes list, Bytes word);
// The next of a list, without blanks around it; *list then stands behind it.
Bytes http_list_next(Bytes* list);
// "%2F" becomes "/". Nothing if a '%' is not followed by two hexadecimal digits.
std::optional<std::string> http_percent_decoded(Bytes text);

// Whether a request with this Host is for us. A page in a browser whose own name was made to mean our address (DNS
// rebinding) names itself there. Ours are names of this machine, the address of the listener (any address in figures, if it
// listens on all) and `hosts`; ports are passed over.
bool http_host_allowed(Bytes host, const std::string& listener_address,
                       const std::vector<std::string>& hosts);

// --- Requests.

struct HttpRequest {
  std::string method;
  std::string path;   // As it came, with its percents.
  std::string query;  // What follows '?', as it came.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool keep_alive = true;

  // The value of a header that is there once; nothing if it is not there, or more than once.
  std::optional<Bytes> header(Bytes name) const;
};

// Takes bytes as they come and gives requests one after the other. Holds at most one head, one body and what was read with
// them, if its owner stops reading while a request is being answered.
class HttpReader {
 public:
  void take(Bytes bytes);
  // The next one, if it is whole.
  std::optional<HttpRequest> next();
  // Why no more will come; null while all is well. The answer to it is the last one.
  const HttpMistake* failure() const { return failed_ ? &mistake_ : nullptr; }
  // True once: the client waits for "100 Continue" before it sends the body. RFC 9110, section 10.1.1.
  bool take_continue() { return std::exchange(continue_due_, false); }
  // A request has begun and is not whole.
  bool midway() const { return head_.has_value() || !held_.empty(); }
  size_t held_bytes() const { return held_.size() + (head_ ? head_->body.size() : 0); }

 private:
  void read_head();
  std::expected<void, HttpMistake> begin(const HttpHead& head);
  void fail(HttpMistake mistake);

  std::string held_;
  size_t looked_at_ = 0;             // Of held_: line ends were checked up to here.
  std::optional<HttpRequest> head_;  // Its body is missing.
  size_t body_bytes_ = 0;
  bool continue_due_ = false;
  bool failed_ = false;
  HttpMistake mistake_;
};

// --- Responses.

struct HttpResponse {
  int status = 200;
  std::string type;  // Content-Type; empty: there is no body.
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  bool close = false;  // The connection ends with it.
};

// "Not Found"
const char* http_reason(int status);
// A mistake as RFC 9457 has it. `code`: a word that does not change. `sentence`: what happened and what to do, in UTF-8.
HttpResponse http_problem(int status, Bytes code, Bytes sentence);
// All of it, as bytes. `head_only`: to HEAD. Nothing of ours is to be kept by caches, guessed at or run by browsers, and
// every response says so. `date`: of http_date(), or empty.
std::string format_http_response(const HttpResponse& response, bool head_only, bool close, Bytes date);
// "Fri, 20 Nov 2026 17:05:48 GMT"
std::string http_date(int64_t wall_us);

inline constexpr Bytes kHttpContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace hf::io
