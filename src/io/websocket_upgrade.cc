#include "io/websocket_upgrade.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "io/http.h"

namespace hf::io {

namespace {

std::string lower(Bytes text) {
  std::string all(text);
  for (char& c : all) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return all;
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

// Takes one header; false if it is there twice and may not be.
bool take(Bytes name, Bytes value, Request* request) {
  const auto once = [&](std::optional<Bytes>* field) {
    if (*field) return false;
    *field = value;
    return true;
  };
  if (http_same(name, "host")) return once(&request->host);
  if (http_same(name, "origin")) return once(&request->origin);
  if (http_same(name, "sec-websocket-key")) return once(&request->key);
  if (http_same(name, "sec-websocket-version")) return once(&request->version);
  if (http_same(name, "upgrade")) request->upgrade = request->upgrade || http_list_holds(value, "websocket");
  if (http_same(name, "connection"))
    request->connection = request->connection || http_list_holds(value, "upgrade");
  if (http_same(name, "sec-websocket-protocol")) {
    // Names of protocols are compared as they are. RFC 6455, section 4.1, point 10. The name before the standard only where its own is
    // offered nowhere [MQTT-6.0.0-4].
    while (!value.empty()) {
      const Bytes offered = http_list_next(&value);
      if (offered == "mqtt" || (offered == "mqttv3.1" && !request->protocol)) request->protocol = offered;
    }
  }
  return true;
}

// An empty string, or what is wrong with the head.
const char* parse(Bytes head, Request* request) {
  const auto parsed = parse_http_head(head);
  if (!parsed) return parsed.error().text;
  if (parsed->method != "GET") return "the request is not GET";
  request->path = parsed->target;
  for (const HttpHeader& header : parsed->headers) {
    if (!take(header.name, header.value, request)) return "the request has a header twice";
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

// A name can be made to mean this machine by whoever owns it (DNS rebinding); an address cannot.
bool is_address(Bytes host) {
  if (host.starts_with('[')) return true;
  const Bytes name = host.substr(0, host.find(':'));
  return lower(name) == "localhost" || name.find_first_not_of("0123456789.") == Bytes::npos;
}

bool origin_allowed(Bytes origin, Bytes host, const std::vector<std::string>& origins) {
  for (const std::string& allowed : origins) {
    if (allowed == "*" || http_same(allowed, origin)) return true;
  }
  for (const auto& [scheme, port] : {std::pair<Bytes, Bytes>{"https://", ":443"}, {"http://", ":80"}}) {
    if (!lower(origin).starts_with(scheme)) continue;
    return is_address(host) && host_without_default_port(origin.substr(scheme.size()), port) ==
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
