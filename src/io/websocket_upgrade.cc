#include "io/websocket_upgrade.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/assert.h"

namespace hf::io {

namespace {

constexpr size_t kHeadersMax = 64;

bool is_token_character(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower(Bytes text) {
  std::string all(text);
  for (char& c : all) c = lower(c);
  return all;
}

bool same(Bytes a, Bytes b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

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

// What a request says of what matters here. Views into its head.
struct Request {
  std::optional<Bytes> host;
  std::optional<Bytes> origin;
  std::optional<Bytes> key;
  std::optional<Bytes> version;
  bool upgrade = false;
  bool connection = false;
  std::optional<Bytes> protocol;  // The first of the client's that we speak.
  Bytes path;
};

Upgrade refuse(const char* status, std::string why, const char* header = "") {
  Upgrade answer;
  answer.response = std::string("HTTP/1.1 ") + status + "\r\nConnection: close\r\n" + header +
                    "Content-Type: text/plain\r\nContent-Length: " + std::to_string(why.size() + 1) +
                    "\r\n\r\n" + why + "\n";
  answer.failure = std::move(why);
  return answer;
}

Upgrade bad_request(std::string why) { return refuse("400 Bad Request", std::move(why)); }

// Whether a list, "a, b, c", holds the word.
bool holds(Bytes list, Bytes word) {
  while (!list.empty()) {
    if (same(trimmed(cut(&list, ',')), word)) return true;
  }
  return false;
}

// Takes one header; false if it is there twice and may not be.
bool take(Bytes name, Bytes value, Request* request) {
  const auto once = [&](std::optional<Bytes>* field) {
    if (*field) return false;
    *field = value;
    return true;
  };
  if (same(name, "host")) return once(&request->host);
  if (same(name, "origin")) return once(&request->origin);
  if (same(name, "sec-websocket-key")) return once(&request->key);
  if (same(name, "sec-websocket-version")) return once(&request->version);
  if (same(name, "upgrade")) request->upgrade = request->upgrade || holds(value, "websocket");
  if (same(name, "connection")) request->connection = request->connection || holds(value, "upgrade");
  if (same(name, "sec-websocket-protocol")) {
    // Names of protocols are compared as they are. RFC 6455, section 4.1, point 10.
    while (!value.empty() && !request->protocol) {
      const Bytes offered = trimmed(cut(&value, ','));
      if (offered == "mqtt" || offered == "mqttv3.1") request->protocol = offered;
    }
  }
  return true;
}

// An empty string, or what is wrong with the head.
const char* parse(Bytes head, Request* request) {
  for (size_t i = 0; i < head.size(); ++i) {
    const auto c = static_cast<unsigned char>(head[i]);
    const bool line_end = c == '\r' && i + 1 < head.size() && head[i + 1] == '\n';
    const bool after_return = c == '\n' && i > 0 && head[i - 1] == '\r';
    if (c < 0x20 && c != '\t' && !line_end && !after_return) return "the request holds a control character";
  }
  Bytes line = cut(&head, '\n');
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (cut(&line, ' ') != "GET") return "the request is not GET";
  request->path = cut(&line, ' ');
  if (line != "HTTP/1.1") return "the request is not HTTP/1.1";
  for (size_t count = 0; !head.empty(); ++count) {
    line = cut(&head, '\n');
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) return "";
    if (count == kHeadersMax) return "the request has too many headers";
    Bytes value = line;
    const Bytes name = cut(&value, ':');
    // A header that goes on in the next line begins with a blank, which no name does. RFC 9112, section 5.2.
    if (name.empty() || name.size() == line.size() ||
        !std::all_of(name.begin(), name.end(), is_token_character))
      return "the request has a line that is no header";
    if (!take(name, trimmed(value), request)) return "the request has a header twice";
  }
  return "";
}

// 16 bytes in base64.
bool key_valid(Bytes key) {
  if (key.size() != 24 || !key.ends_with("==")) return false;
  return std::all_of(key.begin(), key.end() - 2, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
  });
}

// "example:443" and "example" are the same host over https.
std::string host_without_default_port(Bytes host, Bytes port) {
  if (host.ends_with(port)) host.remove_suffix(port.size());
  return lower(host);
}

bool origin_allowed(Bytes origin, Bytes host, const std::vector<std::string>& origins) {
  for (const std::string& allowed : origins) {
    if (allowed == "*" || same(allowed, origin)) return true;
  }
  for (const auto& [scheme, port] : {std::pair<Bytes, Bytes>{"https://", ":443"}, {"http://", ":80"}}) {
    if (!lower(origin).starts_with(scheme)) continue;
    return host_without_default_port(origin.substr(scheme.size()), port) ==
           host_without_default_port(host, port);
  }
  return false;
}

// RFC 6455, section 4.2.2, point 5.4.
std::string accept_text(Bytes key) {
  const std::string joined = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  HF_ASSERT(EVP_Digest(joined.data(), joined.size(), digest.data(), &size, EVP_sha1(), nullptr) == 1);
  std::array<unsigned char, 64> text{};
  const int length = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(size));
  return {reinterpret_cast<const char*>(text.data()), static_cast<size_t>(length)};
}

}  // namespace

std::optional<size_t> upgrade_request_end(Bytes bytes) {
  const size_t at = bytes.find("\r\n\r\n");
  if (at == Bytes::npos) return std::nullopt;
  return at + 4;
}

Upgrade refuse_upgrade_size() {
  return refuse("431 Request Header Fields Too Large", "the request is longer than 8 KiB");
}

Upgrade answer_upgrade(Bytes head, const std::vector<std::string>& origins) {
  Request request;
  if (const char* wrong = parse(head, &request); *wrong != '\0') return bad_request(wrong);
  const Bytes path = request.path.substr(0, request.path.find('?'));
  if (path != "/" && path != "/mqtt") return refuse("404 Not Found", "there is nothing but / and /mqtt here");
  if (!request.host || request.host->empty()) return bad_request("the request has no Host");
  if (!request.upgrade || !request.connection) return bad_request("the request asks for no WebSocket");
  if (request.version.value_or("") != "13") {
    return refuse("426 Upgrade Required", "the request is not of WebSocket version 13",
                  "Sec-WebSocket-Version: 13\r\n");
  }
  if (!request.key || !key_valid(*request.key))
    return bad_request("the request has no right Sec-WebSocket-Key");
  // A page in a browser may connect to any host; whether it may speak to this one is for us to say.
  // RFC 6455, section 10.2.
  if (request.origin && !origin_allowed(*request.origin, *request.host, origins)) {
    return refuse("403 Forbidden",
                  "pages of " + std::string(request.origin->substr(0, 200)) +
                      " may not connect; who runs this node can allow it with origins = [...]");
  }
  // [MQTT-6.0.0-3] [MQTT-6.0.0-4]
  if (!request.protocol) return bad_request("the request does not offer the subprotocol mqtt");

  Upgrade answer;
  answer.response =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
      "Upgrade\r\nSec-WebSocket-Accept: " +
      accept_text(*request.key) + "\r\nSec-WebSocket-Protocol: " + std::string(*request.protocol) +
      "\r\n\r\n";
  return answer;
}

}  // namespace hf::io
