// The API over HTTP: which request is which operation of the admin protocol (docs/formats/admin.md). One table; requests, rights
// and the OpenAPI document all come from it, so that an operation that is added there needs one row here.
#pragma once

#include <expected>
#include <span>
#include <string>
#include <vector>

#include "identity/tokens.h"
#include "io/http.h"

namespace hf::holdfast {

struct HttpField {
  enum class Where : uint8_t { kPath, kQuery, kBody };
  enum class Kind : uint8_t { kText, kNumber, kFlag, kTexts };
  const char* name = "";  // In the admin request too.
  Where where = Where::kQuery;
  Kind kind = Kind::kText;
  bool required = false;
  const char* about = "";
  // How the log shows it: the value, so that it says what was asked for; how long it is; or not at all, for it is a secret.
  enum class Shown : uint8_t { kValue, kSize, kNothing } shown = Shown::kValue;
};

struct HttpRoute {
  const char* method = "";   // HEAD is GET without a body.
  const char* pattern = "";  // "/api/v1/nodes/{name}": each piece in braces is one field, percent-decoded.
  const char* command = "";  // Of the admin protocol.
  identity::Role role = identity::Role::kRead;
  int status = 200;  // If it goes well.
  const char* about = "";
  std::vector<HttpField> fields;
};

inline constexpr const char* kHttpApiPrefix = "/api/v1/";
inline constexpr const char* kHttpOpenApiPath = "/api/v1/openapi.json";

std::span<const HttpRoute> http_routes();

// The route of a request; null: *allowed holds the methods of its path, separated by ", ", or nothing if there is no such path.
const HttpRoute* find_route(const std::string& method, const std::string& path, std::string* allowed);
struct HttpCall {
  std::string line;   // The admin request, without its end. It may hold a secret: wipe it.
  std::string shown;  // The same for the log: `client-kick name="press-7" forget=true`.
};
// The error is a sentence for who asked.
std::expected<HttpCall, std::string> admin_request_of(const HttpRoute& route, const io::HttpRequest& request);
// The status for the code of an admin error (`locked`: the node's store is).
int http_status_of(const std::string& code, bool locked);

// OpenAPI 3.1.
std::string openapi_document();

}  // namespace hf::holdfast
