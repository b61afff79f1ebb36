// A password from whoever is there: typed at a terminal that does not show it (a new one twice), or one line of a file or,
// for a new one, of standard input. Never an argument, which others on the machine can see.
#pragma once

#include <expected>
#include <string>

#include "holdfast/admin_client.h"

namespace hf::holdfast {

inline constexpr size_t kPasswordBytesMin = 8;
inline constexpr size_t kPasswordBytesMax = 1024;

// `file` empty: the terminal, or standard input if that is none.
std::expected<std::string, Failure> read_new_password(const std::string& file, const std::string& user);

// One to log in with; it may be as short as other servers like. Standard input, if it is no terminal, is for other things.
std::expected<std::string, Failure> read_password(const std::string& file, const std::string& user);

// The one line of `text`, whose end may be missing, if it can be a password.
std::expected<std::string, Failure> password_of(const std::string& text, const std::string& source,
                                                size_t bytes_min = kPasswordBytesMin);

}  // namespace hf::holdfast
