#include "holdfast/http_routes.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "crypto/crypto.h"
#include "holdfast/answer_schemas.h"
#include "holdfast/inspect_json.h"
#include "holdfast/text.h"
#include "holdfast/version.h"
#include "mqtt/topic.h"

namespace hf::holdfast {

namespace {

using Kind = HttpField::Kind;
using Where = HttpField::Where;
using Role = identity::Role;
using Shown = HttpField::Shown;

// The field of a route that the admin protocol calls by the same name.
HttpField in_path(const char* name, const char* about) {
  return {.name = name, .where = Where::kPath, .required = true, .about = about};
}

const HttpField kCount = {"count", Where::kQuery, Kind::kNumber, false, "At most so many rows, 1000 at most"};
const HttpField kCursor = {"cursor", Where::kQuery, Kind::kText, false,
                           "Of the answer before; an answer without one is the last"};

const HttpField kPassword = {
    "password", Where::kBody, Kind::kText, true, "8 to 1024 bytes; it is not kept", Shown::kNothing};
const HttpField kScramIterations = {"iterations", Where::kBody, Kind::kNumber, false, "Of SCRAM"};

const std::vector<HttpRoute>& table() {
  static const std::vector<HttpRoute> routes = {
      {"GET", "/api/v1/status", "status", Role::kRead, 200, "What the node is doing", {}},
      {"GET", "/api/v1/version", "version", Role::kRead, 200, "Which version runs", {}},
      {"GET", "/api/v1/streams", "streams", Role::kRead, 200, "The streams it keeps", {}},
      {"GET",
       "/api/v1/streams/{stream}/records",
       "tail",
       Role::kRead,
       200,
       "Records of a stream, oldest first, with their payloads",
       {in_path("stream", "Its name; '/' in it is written %2F"),
        {"after", Where::kQuery, Kind::kText, false,
         "A position, from the last answer; without it the newest"},
        {"count", Where::kQuery, Kind::kNumber, false, "At most so many, 1000 at most"}}},
      {"GET", "/api/v1/nodes", "nodes", Role::kRead, 200, "The nodes that are registered here", {}},
      {"POST",
       "/api/v1/nodes",
       "node-add",
       Role::kAdminister,
       201,
       "Register a node; the answer holds its claim, a secret that is good once and is not shown again",
       {{"name", Where::kBody, Kind::kText, true, "What it is called"},
        {"down", Where::kBody, Kind::kTexts, false,
         "Topic filters of what goes down to it, as topics are called here; without them all behind its "
         "prefix, or its name"},
        {"prefix", Where::kBody, Kind::kText, false,
         "What its topics begin with here, such as sites/NAME/; taken off again on the way down"}}},
      {"POST",
       "/api/v1/nodes/{name}/renew",
       "node-renew",
       Role::kAdminister,
       200,
       "Another claim for a node that lost its disk or its claim",
       {in_path("name", "What it is called")}},
      {"DELETE",
       "/api/v1/nodes/{name}",
       "node-rm",
       Role::kAdminister,
       200,
       "Shut a node out; what it was owed is given up",
       {in_path("name", "What it is called")}},
      {"POST",
       "/api/v1/claim",
       "claim",
       Role::kAdminister,
       200,
       "Take a claim, in the place of the one that was there, and dial",
       {{"claim", Where::kBody, Kind::kText, true, "The content of the claim file", Shown::kNothing}}},
      {"POST", "/api/v1/connect", "connect", Role::kOperate, 202, "Dial the upstream now", {}},
      {"GET",
       "/api/v1/config",
       "config",
       Role::kRead,
       200,
       "The values it runs with, and which of them are defaults",
       {{"key", Where::kQuery, Kind::kText, false,
         "A key or a section of the configuration; without it all"}}},
      {"GET",
       "/api/v1/clients",
       "clients",
       Role::kRead,
       200,
       "Clients and their sessions, page by page",
       {kCount, kCursor}},
      {"GET",
       "/api/v1/clients/{name}",
       "client",
       Role::kRead,
       200,
       "All about one client",
       {in_path("name", "Its client identifier; '/' in it is written %2F")}},
      {"POST",
       "/api/v1/clients/{name}/kick",
       "client-kick",
       Role::kOperate,
       200,
       "Disconnect a client; it may come back at once",
       {in_path("name", "Its client identifier; '/' in it is written %2F"),
        {"forget", Where::kBody, Kind::kFlag, false, "End its session too, and give up what it is owed"}}},
      {"GET",
       "/api/v1/subscriptions",
       "subscriptions",
       Role::kRead,
       200,
       "Who subscribed to what, page by page",
       {{"client", Where::kQuery, Kind::kText, false, "Only those of this client identifier"},
        {"topic", Where::kQuery, Kind::kText, false, "Only those that match this topic name"},
        kCount,
        kCursor}},
      {"GET",
       "/api/v1/retained",
       "retained",
       Role::kRead,
       200,
       "Retained messages, page by page",
       {{"filter", Where::kQuery, Kind::kText, false, "Only those on topics that this filter matches"},
        kCount,
        kCursor}},
      {"DELETE",
       "/api/v1/retained",
       "retained-rm",
       Role::kOperate,
       200,
       "Remove retained messages, page by page; for good, here only",
       {{"filter", Where::kQuery, Kind::kText, true, "A topic, or a filter"}, kCount, kCursor}},
      {"GET",
       "/api/v1/queues",
       "queues",
       Role::kRead,
       200,
       "Who is owed something, and what it waits for, page by page",
       {kCount, kCursor}},
      {"GET",
       "/api/v1/queues/{name}",
       "queue",
       Role::kRead,
       200,
       "Why one of them does not drain",
       {in_path("name", "parent, a node, GROUP/FILTER or a client identifier; '/' in it is written %2F")}},
      {"DELETE",
       "/api/v1/queues/{name}",
       "queue-rm",
       Role::kAdminister,
       200,
       "Give up what is owed to a parent that the configuration names no more; it is lost",
       {in_path("name", "parent")}},
      {"GET",
       "/api/v1/streams/{stream}/export",
       "export",
       Role::kRead,
       200,
       "Records of a stream by when they arrived, page by page",
       {in_path("stream", "Its name; '/' in it is written %2F"),
        {"since", Where::kQuery, Kind::kText, false, "Arrived at this moment or later (RFC 3339 in UTC)"},
        {"until", Where::kQuery, Kind::kText, false, "Arrived before this moment"},
        {"filter", Where::kQuery, Kind::kText, false, "Only those on topics that this filter matches"},
        kCount,
        kCursor}},
      {"POST",
       "/api/v1/messages",
       "publish",
       Role::kOperate,
       200,
       "Publish a message, for nobody's rights but the token's; the answer comes when it is safe",
       {{"topic", Where::kBody, Kind::kText, true, "A topic name; none that begins with $"},
        {"payload", Where::kBody, Kind::kText, false, "Text; this or the next, also if it is empty",
         Shown::kSize},
        {"payload_base64", Where::kBody, Kind::kText, false, "Bytes", Shown::kSize},
        {"qos", Where::kBody, Kind::kNumber, false, "0, 1 or 2; without it 1"},
        {"retain", Where::kBody, Kind::kFlag, false,
         "The topic keeps it for later subscribers; an empty one clears it"},
        {"content_type", Where::kBody, Kind::kText, false, "Such as application/json"},
        {"expiry_s", Where::kBody, Kind::kNumber, false, "It is worthless after so many seconds"},
        {"user_properties", Where::kBody, Kind::kTexts, false, "NAME=VALUE each"}}},
      {"GET", "/api/v1/users", "users", Role::kRead, 200, "Who may log in by name and password", {}},
      {"POST",
       "/api/v1/users",
       "user-add",
       Role::kAdminister,
       201,
       "Add a user",
       {{"name", Where::kBody, Kind::kText, true, "What it is called"},
        kPassword,
        {"scram", Where::kBody, Kind::kFlag, false, "Keep what SCRAM-SHA-256 needs as well"},
        kScramIterations}},
      {"PUT",
       "/api/v1/users/{name}/password",
       "user-passwd",
       Role::kAdminister,
       200,
       "Set another password",
       {in_path("name", "What the user is called"),
        kPassword,
        {"scram", Where::kBody, Kind::kFlag, false,
         "Keep what SCRAM-SHA-256 needs as well; without it as it was"},
        kScramIterations}},
      {"DELETE",
       "/api/v1/users/{name}",
       "user-rm",
       Role::kAdminister,
       200,
       "Remove a user, who can then log in no more",
       {in_path("name", "What the user is called")}},
      {"GET",
       "/api/v1/acl",
       "acl-test",
       Role::kRead,
       200,
       "Whether a user may do something, and why, by the permissions file",
       {{"user", Where::kQuery, Kind::kText, true, "Its name; empty: a client without a name"},
        {"topic", Where::kQuery, Kind::kText, true, "With wildcards it can be subscribed to only"},
        {"client", Where::kQuery, Kind::kText, false, "The client identifier, which %c stands for"},
        {"action", Where::kQuery, Kind::kText, false,
         "publish, retain, subscribe or receive; without it all"}}},
      {"GET",
       "/api/v1/tokens",
       "tokens",
       Role::kRead,
       200,
       "Which programs may ask over HTTP, and for what",
       {}},
      {"POST",
       "/api/v1/tokens",
       "token-add",
       Role::kAdminister,
       201,
       "Make a token; the answer holds it, and it is not shown again",
       {{"name", Where::kBody, Kind::kText, true, "Who will have it"},
        {"role", Where::kBody, Kind::kText, true, "read, operate or administer"}}},
      {"DELETE",
       "/api/v1/tokens/{name}",
       "token-rm",
       Role::kAdminister,
       200,
       "Remove a token, which is then good no more, also for who asks",
       {in_path("name", "What the token is called")}},
      {"GET",
       "/api/v1/config/test",
       "config-test",
       Role::kRead,
       200,
       "Whether the node would start with its configuration, users, permissions and tokens as they are now",
       {}},
  };
  return routes;
}

std::vector<Bytes> pieces(Bytes path) {
  std::vector<Bytes> all;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    all.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return all;
}

bool is_field(Bytes piece) { return piece.starts_with('{') && piece.ends_with('}'); }

bool matches(const HttpRoute& route, Bytes path) {
  const std::vector<Bytes> wanted = pieces(route.pattern);
  const std::vector<Bytes> given = pieces(path);
  if (wanted.size() != given.size()) return false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (is_field(wanted[i]) ? given[i].empty() : wanted[i] != given[i]) return false;
  }
  return true;
}

const HttpField* find_field(const HttpRoute& route, Where where, Bytes name) {
  for (const HttpField& field : route.fields) {
    if (field.where == where && name == field.name) return &field;
  }
  return nullptr;
}

std::string in_ticks(Bytes name) { return "`" + std::string(name) + "`"; }

const char* kind_text(Kind kind) {
  switch (kind) {
    case Kind::kText:
      return "a string";
    case Kind::kNumber:
      return "a number";
    case Kind::kFlag:
      return "true or false";
    case Kind::kTexts:
      return "a list of strings";
  }
  return "";
}

std::unexpected<std::string> wrong_kind(const HttpField& field) {
  return std::unexpected(in_ticks(field.name) + " is to be " + kind_text(field.kind));
}

// What stands in a path or a query, as the admin protocol has it.
std::expected<Json, std::string> from_text(const HttpField& field, const std::string& text) {
  switch (field.kind) {
    case Kind::kText:
      return Json(text);
    case Kind::kNumber: {
      uint64_t number = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      if (error != std::errc() || end != text.data() + text.size()) return wrong_kind(field);
      return Json(number);
    }
    case Kind::kFlag:
      if (text != "true" && text != "false") return wrong_kind(field);
      return Json(text == "true");
    case Kind::kTexts:
      return Json::array({text});
  }
  return wrong_kind(field);
}

bool of_kind(const Json& value, Kind kind) {
  switch (kind) {
    case Kind::kText:
      return value.is_string();
    case Kind::kNumber:
      return value.is_number_unsigned();
    case Kind::kFlag:
      return value.is_boolean();
    case Kind::kTexts:
      return value.is_array() &&
             std::all_of(value.begin(), value.end(), [](const Json& each) { return each.is_string(); });
  }
  return false;
}

std::expected<void, std::string> take_path(const HttpRoute& route, Bytes path, Json* json) {
  const std::vector<Bytes> wanted = pieces(route.pattern);
  const std::vector<Bytes> given = pieces(path);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!is_field(wanted[i])) continue;
    const Bytes name = wanted[i].substr(1, wanted[i].size() - 2);
    const HttpField* const field = find_field(route, Where::kPath, name);
    const auto text = io::http_percent_decoded(given[i]);
    if (!text || !mqtt::utf8_valid(*text))
      return std::unexpected(in_ticks(name) + " in the path is not UTF-8 in percent encoding");
    auto value = from_text(*field, *text);
    if (!value) return std::unexpected(value.error());
    (*json)[field->name] = std::move(*value);
  }
  return {};
}

std::expected<void, std::string> take_query(const HttpRoute& route, Bytes query, Json* json) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    Bytes pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    const size_t equals = std::min(pair.find('='), pair.size());
    std::string raw(pair.substr(std::min(equals + 1, pair.size())));
    for (char& c : raw) c = c == '+' ? ' ' : c;
    const auto name = io::http_percent_decoded(pair.substr(0, equals));
    const auto text = io::http_percent_decoded(raw);
    if (!name || !text || !mqtt::utf8_valid(*name) || !mqtt::utf8_valid(*text))
      return std::unexpected("the query is not UTF-8 in percent encoding");
    const HttpField* const field = find_field(route, Where::kQuery, *name);
    if (field == nullptr) return std::unexpected("nothing is known of " + in_ticks(*name) + " here");
    auto value = from_text(*field, *text);
    if (!value) return std::unexpected(value.error());
    Json& at = (*json)[field->name];
    if (at.is_array()) {
      at.push_back(std::move((*value)[0]));
    } else if (!at.is_null()) {
      return std::unexpected(in_ticks(*name) + " is there twice");
    } else {
      at = std::move(*value);
    }
  }
  return {};
}

// The members of a secret's name, whatever they are.
void wipe_secrets(const HttpRoute& route, Json* json) {
  for (const HttpField& field : route.fields) {
    if (field.shown != Shown::kNothing || !json->is_object()) continue;
    const auto found = json->find(field.name);
    if (found != json->end() && found->is_string()) crypto::wipe(&found->get_ref<std::string&>());
  }
}

std::expected<void, std::string> take_members(const HttpRoute& route, const Json& given, Json* json) {
  if (!given.is_object()) return std::unexpected("the body is to be one JSON object");
  for (const auto& [name, value] : given.items()) {
    const HttpField* const field = find_field(route, Where::kBody, name);
    if (field == nullptr) return std::unexpected("nothing is known of " + in_ticks(name) + " here");
    if (!of_kind(value, field->kind)) return wrong_kind(*field);
    (*json)[field->name] = value;
  }
  return {};
}

std::expected<void, std::string> take_body(const HttpRoute& route, const std::string& body, Json* json) {
  if (body.empty()) return {};
  Json given = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  auto taken = take_members(route, given, json);
  wipe_secrets(route, &given);
  return taken;
}

// For the log: one line, of bounded length, without secrets.
std::string shown_of(const HttpRoute& route, const Json& json) {
  constexpr size_t kValueShown = 200;
  std::string shown = route.command;
  for (const HttpField& field : route.fields) {
    const auto found = json.find(field.name);
    if (found == json.end() || field.shown == Shown::kNothing) continue;
    shown += std::string(" ") + field.name + "=";
    if (field.shown == Shown::kSize) {
      shown += "(" + std::to_string(found->get_ref<const std::string&>().size()) + " bytes)";
      continue;
    }
    std::string value = json_printable(dump(*found));
    if (value.size() > kValueShown) value = printable(value.substr(0, kValueShown)) + "...";
    shown += value;
  }
  return shown;
}

// --- OpenAPI.

Json schema_of(const HttpField& field) {
  switch (field.kind) {
    case Kind::kText:
      return {{"type", "string"}};
    case Kind::kNumber:
      return {{"type", "integer"}, {"minimum", 0}};
    case Kind::kFlag:
      return {{"type", "boolean"}};
    case Kind::kTexts:
      return {{"type", "array"}, {"items", {{"type", "string"}}}};
  }
  return Json::object();
}

Json problem_response(const char* about) {
  return {
      {"description", about},
      {"content", {{"application/problem+json", {{"schema", {{"$ref", "#/components/schemas/Problem"}}}}}}}};
}

Json json_response(const char* about, const std::string& schema) {
  return {{"description", about},
          {"content", {{"application/json", {{"schema", {{"$ref", "#/components/schemas/" + schema}}}}}}}};
}

Json operation_of(const HttpRoute& route) {
  Json operation = {
      {"operationId", route.command},
      {"summary", route.about},
      {"description", std::string("Needs a token with the role ") + identity::role_name(route.role) +
                          ". The answer is that of `" + route.command + "` in docs/formats/admin.md."},
      {"x-role", identity::role_name(route.role)}};
  Json parameters = Json::array();
  Json properties = Json::object();
  Json required = Json::array();
  for (const HttpField& field : route.fields) {
    Json schema = schema_of(field);
    if (field.where == Where::kBody) {
      schema["description"] = field.about;
      properties[field.name] = std::move(schema);
      if (field.required) required.push_back(field.name);
      continue;
    }
    parameters.push_back({{"name", field.name},
                          {"in", field.where == Where::kPath ? "path" : "query"},
                          {"required", field.required},
                          {"description", field.about},
                          {"schema", std::move(schema)}});
  }
  if (!parameters.empty()) operation["parameters"] = std::move(parameters);
  if (!properties.empty()) {
    Json schema = {
        {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
    const bool needed = !required.empty();
    if (needed) schema["required"] = std::move(required);
    operation["requestBody"] = {{"required", needed},
                                {"content", {{"application/json", {{"schema", std::move(schema)}}}}}};
  }
  Json responses;
  responses[std::to_string(route.status)] = json_response("Done", answer_schema_name(route.command));
  responses["400"] = problem_response("The request is not right; the sentence says how it should be");
  responses["401"] = problem_response("No token, or one that is not good");
  responses["403"] = problem_response("The token's role does not allow it");
  responses["404"] = problem_response("There is no such thing");
  responses["409"] = problem_response("There is one already");
  responses["429"] =
      problem_response("Too many wrong tokens came from this address; Retry-After says how long to wait");
  responses["503"] =
      problem_response("The node cannot do it now: its store is locked, or the disk does not answer");
  responses["507"] = problem_response("There is no space");
  responses["default"] = problem_response("Anything else that is wrong");
  operation["responses"] = std::move(responses);
  return operation;
}

}  // namespace

std::span<const HttpRoute> http_routes() { return table(); }

const HttpRoute* find_route(const std::string& method, const std::string& path, std::string* allowed) {
  allowed->clear();
  const std::string wanted = method == "HEAD" ? "GET" : method;
  for (const HttpRoute& route : table()) {
    if (!matches(route, path)) continue;
    if (wanted == route.method) return &route;
    *allowed += (allowed->empty() ? "" : ", ") + std::string(route.method);
    if (route.method == std::string("GET")) *allowed += ", HEAD";
  }
  return nullptr;
}

std::expected<HttpCall, std::string> admin_request_of(const HttpRoute& route,
                                                      const io::HttpRequest& request) {
  Json json = {{"command", route.command}};
  const auto take = [&]() -> std::expected<HttpCall, std::string> {
    if (auto taken = take_path(route, request.path, &json); !taken) return std::unexpected(taken.error());
    if (auto taken = take_query(route, request.query, &json); !taken) return std::unexpected(taken.error());
    if (auto taken = take_body(route, request.body, &json); !taken) return std::unexpected(taken.error());
    for (const HttpField& field : route.fields) {
      if (field.required && !json.contains(field.name))
        return std::unexpected(in_ticks(field.name) + " is missing: " + field.about);
    }
    return HttpCall{.line = dump(json), .shown = shown_of(route, json)};
  };
  auto call = take();
  wipe_secrets(route, &json);
  return call;
}

int http_status_of(const std::string& code, bool locked) {
  static const std::map<std::string, int, std::less<>> kStatuses = {
      {"invalid", 400}, {"truncated", 400}, {"too-large", 413}, {"not-found", 404},
      {"exists", 409},  {"denied", 403},    {"corrupt", 500},   {"unsupported", 501},
      {"full", 507},    {"io", 503},        {"busy", 503}};
  if (code == "denied" && locked) return 503;
  const auto found = kStatuses.find(code);
  return found == kStatuses.end() ? 500 : found->second;
}

std::string openapi_document() {
  Json paths = Json::object();
  for (const HttpRoute& route : table()) {
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
    paths[route.pattern][method] = operation_of(route);
  }
  Json schemas = answer_schemas();
  schemas["Problem"] = {
      {"type", "object"},
      {"description", "RFC 9457"},
      {"required", {"type", "title", "status", "code", "detail"}},
      {"properties",
       {{"type", {{"type", "string"}}},
        {"title", {{"type", "string"}}},
        {"status", {{"type", "integer"}}},
        {"code", {{"type", "string"}, {"description", "A word that does not change"}}},
        {"detail", {{"type", "string"}, {"description", "What happened and what to do"}}}}}};
  const Json document = {
      {"openapi", "3.1.0"},
      {"info",
       {{"title", "Holdfast"},
        {"version", kVersion},
        {"description", "What the admin socket does, over HTTP. See docs/http.md."}}},
      {"security", Json::array({{{"token", Json::array()}}})},
      {"paths", std::move(paths)},
      {"components",
       {{"securitySchemes",
         {{"token",
           {{"type", "http"},
            {"scheme", "bearer"},
            {"description", "Made with: holdfast token add NAME --role read|operate|administer"}}}}},
        {"schemas", std::move(schemas)}}}};
  return document.dump(1) + "\n";
}

}  // namespace hf::holdfast
