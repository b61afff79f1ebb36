// Answers of a running node as JSON, and lists that come page by page: what subcommands that show the inside of a node share.
#pragma once

#include <expected>
#include <functional>

#include "holdfast/admin_client.h"
#include "holdfast/inspect_json.h"
#include "holdfast/inspect_text.h"
#include "holdfast/target.h"

namespace hf::holdfast {

// An answer that says that something is wrong is a Failure.
std::expected<Json, Failure> ask_json(AdminConnection& connection, const AdminRequest& request);

// Asks for page after page until there is none, or `visit` fails. Nothing of them is kept.
std::expected<void, Failure> for_each_page(
    AdminConnection& connection, AdminRequest request,
    const std::function<std::expected<void, Failure>(const Json&)>& visit);

// Prints a list as a table, or as one JSON object with a row on each line. The exit code.
int print_list(const Target& target, const AdminRequest& request, const ListText& list,
               const std::string& output);

// Asks, and prints the answer as JSON or as text: as the node has put it, or `said` if that is enough. The exit code.
int print_answer(const Target& target, AdminRequest request, const std::string& output,
                 const std::string& said = "");

// All of it, or a Failure: the disk is full, or nobody reads any more.
std::expected<void, Failure> print(const std::string& text);

}  // namespace hf::holdfast
