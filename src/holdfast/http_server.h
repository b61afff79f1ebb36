// What a node answers over HTTP (docs/http.md):
//
//     /livez     the loop turns
//     /readyz    the node accepts, and can make safe what it accepts
//     /metrics   for Prometheus (metrics.h)
//     /api/v1    what the admin socket does (http_routes.h)
//
// On a listener without TLS, to somebody on this machine, the first three are open. Everything else needs a token: by
// `Authorization: Bearer` alone, never by a cookie, so that no page in a browser acts for somebody who does not know.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "holdfast/http_routes.h"
#include "holdfast/metrics.h"
#include "holdfast/status_text.h"
#include "identity/throttle.h"
#include "identity/tokens.h"
#include "io/event_loop.h"
#include "io/http_service.h"

namespace hf::holdfast {

// Why a node is not ready.
struct NotReady {
  const char* code = "";  // "locked"
  std::string sentence;
};
std::optional<NotReady> not_ready(const StatusView& view, const io::LoopFigures& loop);

class HttpServer final : public io::HttpHandler {
 public:
  struct Around {
    std::function<StatusView(const Now&)> status;  // Of now.
    std::function<io::LoopFigures()> loop;
    std::function<void(const char* event, const std::string& text)> say;
  };
  // `admin` outlives this object.
  HttpServer(io::AdminHandler& admin, Around around) : admin_(admin), around_(std::move(around)) {}

  void set_tokens(identity::Tokens tokens) { tokens_ = std::move(tokens); }
  const identity::Tokens& tokens() const { return tokens_; }

  bool request(ConnectionId connection, const io::HttpCaller& caller, const io::HttpRequest& request,
               const Now& now, std::vector<io::HttpReply>* replies) override;
  io::HttpResponse admin_answered(ConnectionId connection, const std::string& line) override;
  void closed(ConnectionId connection) override { asked_.erase(connection); }

 private:
  // Nothing: an admin request was made of it.
  std::optional<io::HttpResponse> answer(ConnectionId connection, const io::HttpCaller& caller,
                                         const io::HttpRequest& request, const Now& now,
                                         std::vector<io::AdminReply>* said);
  // Nothing: who asks may have what `role` may; *name is who it is.
  std::optional<io::HttpResponse> refuse(const io::HttpCaller& caller, const io::HttpRequest& request,
                                         identity::Role role, const Now& now, std::string* name);
  void failed(const io::HttpCaller& caller, const Now& now);

  io::AdminHandler& admin_;
  const Around around_;
  identity::Tokens tokens_;
  std::map<ConnectionId, const HttpRoute*> asked_;  // Whose admin answer is awaited.
  identity::Throttle addresses_{seconds(60)};       // Of wrong tokens.
  TokenFailures token_failures_;
};

}  // namespace hf::holdfast
