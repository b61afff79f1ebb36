#include "holdfast/admin_pages.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "holdfast/commands.h"
#include "holdfast/exit_code.h"
#include "holdfast/text.h"

namespace hf::holdfast {

namespace {

// Rows asked for at once: some milliseconds of the core's time.
constexpr uint64_t kRowsPerPage = 500;

}  // namespace

std::expected<Json, Failure> ask_json(AdminConnection& connection, const AdminRequest& request) {
  const auto line = connection.ask(request);
  if (!line) return std::unexpected(line.error());
  Json parsed = Json::parse(*line, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object() || !parsed.contains("ok") || !parsed["ok"].is_boolean())
    return std::unexpected(connection.not_holdfast());
  if (parsed["ok"].get<bool>()) return parsed;
  const std::string error = text_of(parsed, "error");
  return std::unexpected(Failure{exit_code_of(text_of(parsed, "code")),
                                 error.empty() ? "the node says no, and not why" : printable(error)});
}

std::expected<void, Failure> for_each_page(
    AdminConnection& connection, AdminRequest request,
    const std::function<std::expected<void, Failure>(const Json&)>& visit) {
  if (request.count == 0) request.count = kRowsPerPage;
  while (true) {
    const auto page = ask_json(connection, request);
    if (!page) return std::unexpected(page.error());
    if (const auto visited = visit(*page); !visited) return visited;
    const auto cursor = page->find("cursor");
    if (cursor == page->end()) return {};
    const auto place = cursor->is_string() ? from_base64(cursor->get<std::string>()) : std::nullopt;
    if (!place) return std::unexpected(connection.not_holdfast());
    request.cursor = *place;
  }
}

std::expected<void, Failure> print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  return std::unexpected(Failure{kExitFailed, "cannot write to standard output"});
}

int print_list(const Target& target, const AdminRequest& request, const ListText& list,
               const std::string& output) {
  auto connection = AdminConnection::open(target.admin_socket());
  if (!connection) return report(connection.error());
  const bool text = output == "table";
  TablePages table(list.heading);
  bool any = false;
  const auto done =
      for_each_page(*connection, request, [&](const Json& page) -> std::expected<void, Failure> {
        const Json rows = list_of(page, list.rows);
        std::string out;
        if (text) {
          std::vector<std::vector<std::string>> lines;
          for (const Json& row : rows) lines.push_back(list.row(row));
          if (!lines.empty()) out = table.add(lines);
        } else {
          for (const Json& row : rows) {
            out += (any ? ",\n  " : std::string("{\"ok\": true, \"") + list.rows + "\": [\n  ") +
                   json_printable(dump(row));
            any = true;
          }
        }
        any = any || !rows.empty();
        return print(out);
      });
  if (!done) return report(done.error());
  std::string end;
  if (!text) end = any ? "\n]}\n" : std::string("{\"ok\": true, \"") + list.rows + "\": []}\n";
  if (text && !any) end = std::string(list.none) + "\n";
  return report(print(end));
}

int print_answer(const Target& target, AdminRequest request, const std::string& output,
                 const std::string& said) {
  const bool json = output == "json";
  request.text = !json && said.empty();
  const auto answer = ask(target.admin_socket(), request);
  if (!answer) return report({answer.error().exit_code, printable(answer.error().text)});
  return report(print(json ? answer->json + "\n" : said.empty() ? answer->text : said));
}

}  // namespace hf::holdfast
