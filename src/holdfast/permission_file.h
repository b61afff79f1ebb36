// The permissions file: TOML, read into identity::Permissions.
//
//     [[permission]]
//     user = "*"                          # a name, "*": everybody with a name, "": clients without one
//     client = "press-*"                  # left out: any client identifier
//     publish = ["sites/%u/#"]            # %u the user's name, %c the client identifier
//     subscribe = ["sites/%u/#", "news/#"]
//     retain = ["sites/%u/state"]
//     deny_publish = ["sites/+/locked"]   # likewise deny_subscribe, deny_retain
//
// Like the configuration it is refused as a whole, with every mistake that was found.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "holdfast/mistakes.h"
#include "identity/permissions.h"

namespace hf::holdfast {

// `name` stands before the line number in messages.
std::expected<identity::Permissions, Mistakes> parse_permissions(std::string_view text,
                                                                 const std::string& name);

}  // namespace hf::holdfast
