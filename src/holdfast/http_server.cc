#include "holdfast/http_server.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "crypto/crypto.h"
#include "holdfast/admin.h"
#include "holdfast/text.h"
#include "holdfast/units.h"
#include "identity/network.h"

namespace hf::holdfast {

namespace {

using io::HttpCaller;
using io::HttpRequest;
using io::HttpResponse;

constexpr Duration kStuck = seconds(30);
constexpr size_t kPathShown = 200;

HttpResponse only(const char* methods) {
  HttpResponse response = io::http_problem(405, "method", std::string("here there is only ") + methods);
  response.headers.emplace_back("Allow", methods);
  return response;
}

HttpResponse unauthorized(const char* challenge, Bytes sentence) {
  HttpResponse response = io::http_problem(401, "token", sentence);
  response.headers.emplace_back("WWW-Authenticate", challenge);  // RFC 6750, section 3.
  return response;
}

// The token of a request; nothing if there is none. RFC 6750, section 2.1.
std::optional<Bytes> bearer(const HttpRequest& request) {
  const auto value = request.header("authorization");
  constexpr Bytes kScheme = "Bearer ";
  if (!value || value->size() <= kScheme.size() || !io::http_same(value->substr(0, kScheme.size()), kScheme))
    return std::nullopt;
  Bytes token = value->substr(kScheme.size());
  while (token.starts_with(' ')) token.remove_prefix(1);
  return token;
}

bool is_json(const HttpRequest& request) {
  Bytes type = request.header("content-type").value_or("");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return io::http_same(type, "application/json");
}

}  // namespace

std::optional<NotReady> not_ready(const StatusView& view, const io::LoopFigures& loop) {
  if (!view.locked.empty()) return NotReady{"locked", "The store is locked: " + view.locked};
  if (loop.stopping) return NotReady{"stopping", "The node is being stopped."};
  switch (view.status.mode) {
    case store::Mode::kStorageFailed:
    case store::Mode::kFull:
      return NotReady{view.status.mode == store::Mode::kFull ? "full" : "storage-failed",
                      status_sentence(view)};
    case store::Mode::kReady:
    case store::Mode::kDegraded:
      break;  // With one failure behind it everything still works.
  }
  if (loop.disk_silent_for > kStuck) {
    return NotReady{
        "disk-stuck",
        fmt::format("The disk has not answered for {}: nothing can be acknowledged. Look at the disk.",
                    format_duration(loop.disk_silent_for))};
  }
  if (loop.paused_for > kStuck) {
    return NotReady{
        "ingest-stuck",
        fmt::format("The disk is so far behind that no client has been read for {}. Look at the disk.",
                    format_duration(loop.paused_for))};
  }
  return std::nullopt;
}

bool HttpServer::request(ConnectionId connection, const HttpCaller& caller, const HttpRequest& request,
                         const Now& now, std::vector<io::HttpReply>* replies) {
  std::vector<io::AdminReply> said;
  auto response = answer(connection, caller, request, now, &said);
  if (response) {
    replies->push_back({connection, std::move(*response)});
    return false;
  }
  for (const io::AdminReply& reply : said)
    replies->push_back({reply.connection, admin_answered(reply.connection, reply.line)});
  return true;
}

std::optional<HttpResponse> HttpServer::answer(ConnectionId connection, const HttpCaller& caller,
                                               const HttpRequest& request, const Now& now,
                                               std::vector<io::AdminReply>* said) {
  if (!io::http_host_allowed(request.header("host").value_or(""), caller.door->address, caller.door->hosts)) {
    return io::http_problem(421, "host",
                            "this node does not go by that name; ask it by its address, or add the name to "
                            "hosts = [...] of the listener");
  }
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const bool open = caller.loopback && !caller.door->encrypted;
  std::string name;
  if (request.path == "/livez" || request.path == "/readyz" || request.path == "/metrics") {
    if (!reads) return only("GET, HEAD");
    if (!open) {
      if (auto refusal = refuse(caller, request, identity::Role::kRead, now, &name)) return refusal;
    }
    if (request.path == "/livez") return HttpResponse{.type = "text/plain; charset=utf-8", .body = "ok\n"};
    const StatusView view = around_.status(now);
    const io::LoopFigures loop = around_.loop();
    if (request.path == "/metrics") {
      return HttpResponse{.type = "text/plain; version=0.0.4; charset=utf-8",
                          .body = metrics_text(view, loop, token_failures_)};
    }
    if (const auto why = not_ready(view, loop)) return io::http_problem(503, why->code, why->sentence);
    return HttpResponse{.type = "application/json", .body = "{\"ready\":true}\n"};
  }
  if (!request.path.starts_with(kHttpApiPrefix)) {
    return io::http_problem(404, "not-found",
                            "there is nothing here but /livez, /readyz, /metrics and /api/v1/...");
  }
  std::string allowed;
  const HttpRoute* const route = find_route(request.method, request.path, &allowed);
  const bool document = request.path == kHttpOpenApiPath;
  // Who may not look is not told what there is.
  const identity::Role role = route == nullptr ? identity::Role::kRead : route->role;
  if (auto refusal = refuse(caller, request, role, now, &name)) return refusal;
  if (document) {
    if (!reads) return only("GET, HEAD");
    return HttpResponse{.type = "application/json", .body = openapi_document()};
  }
  if (route == nullptr && !allowed.empty()) return only(allowed.c_str());
  if (route == nullptr) {
    return io::http_problem(404, "not-found",
                            "the API has no such path; /api/v1/openapi.json holds all there are");
  }
  if (!request.body.empty() && !is_json(request)) {
    return io::http_problem(415, "media-type", "the body is to be JSON, with Content-Type: application/json");
  }
  auto call = admin_request_of(*route, request);
  if (!call) return io::http_problem(400, "invalid", call.error());
  if (!reads) {
    around_.say("HF-HTTP-002",
                fmt::format("{} {} by the token {} from {}: {}", request.method,
                            request.path.substr(0, kPathShown), name, caller.address, call->shown));
  }
  asked_[connection] = route;
  admin_.request(connection, call->line, now, said);
  crypto::wipe(&call->line);
  return std::nullopt;
}

HttpResponse HttpServer::admin_answered(ConnectionId connection, const std::string& line) {
  const auto asked = asked_.find(connection);
  HF_ASSERT(asked != asked_.end());
  const HttpRoute& route = *asked->second;
  asked_.erase(asked);
  const auto answer = decode_answer(line);
  HF_ASSERT(answer);
  if (answer->ok) return {.status = route.status, .type = "application/json", .body = line + "\n"};
  const bool locked = answer->code == "denied" && answer->error.starts_with("the store is locked");
  const int status = http_status_of(answer->code, locked);
  HttpResponse problem = io::http_problem(status, locked ? "locked" : answer->code, answer->error);
  if (answer->code == "busy") problem.headers.emplace_back("Retry-After", "1");
  return problem;
}

std::optional<HttpResponse> HttpServer::refuse(const HttpCaller& caller, const HttpRequest& request,
                                               identity::Role role, const Now& now, std::string* name) {
  const auto token = bearer(request);
  if (!token) {
    ++token_failures_.missing;
    return unauthorized(
        "Bearer realm=\"holdfast\"",
        "this needs a token: make one with holdfast token add NAME --role ROLE, and send it as "
        "Authorization: Bearer TOKEN");
  }
  const auto holder = tokens_.holder(*token);
  if (!holder) {
    const auto until =
        caller.loopback ? std::nullopt : addresses_.waits(identity::network_of(caller.address), now.mono);
    if (until) {
      ++token_failures_.throttled;
      HttpResponse problem = io::http_problem(
          429, "throttled", "too many wrong tokens came from your address; wait, and send a good one");
      const int64_t wait_s = to_ms(*until - now.mono) / 1000 + 1;
      problem.headers.emplace_back("Retry-After", std::to_string(wait_s));
      return problem;
    }
    ++token_failures_.wrong;
    failed(caller, now);
    return unauthorized("Bearer realm=\"holdfast\", error=\"invalid_token\"",
                        "this token is not good here; those that are: holdfast token ls");
  }
  if (holder->role < role) {
    ++token_failures_.role;
    return io::http_problem(403, "role",
                            fmt::format("the token {} may {}, and this needs one that may {}", holder->name,
                                        identity::role_name(holder->role), identity::role_name(role)));
  }
  addresses_.succeeded(identity::network_of(caller.address));
  *name = holder->name;
  return std::nullopt;
}

void HttpServer::failed(const HttpCaller& caller, const Now& now) {
  around_.say("HF-HTTP-001", "a request from " + caller.address + " had a token that is not good here");
  if (!caller.loopback) addresses_.failed(identity::network_of(caller.address), now.mono);
}

}  // namespace hf::holdfast
