// Small files, read and written whole. Errors are sentences.
#pragma once

#include <expected>
#include <string>
#include <string_view>

namespace hf::holdfast {

std::expected<std::string, std::string> read_file(const std::string& path, size_t size_max);
// Makes a new file with these permissions and makes it durable; an existing one is an error.
std::expected<void, std::string> write_new_file(const std::string& path, std::string_view bytes,
                                                unsigned mode);

}  // namespace hf::holdfast
