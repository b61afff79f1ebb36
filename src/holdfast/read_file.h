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
// Puts a file with these bytes and permissions in the place of the one at `path`, at once and durably: whoever reads
// has the old one or the new one. It belongs to the owner of the old one, or, if there is none, of the directory.
// PATH.new is ours meanwhile, and what is left of it if the machine stops just then is removed the next time.
std::expected<void, std::string> replace_file(const std::string& path, std::string_view bytes, unsigned mode);

}  // namespace hf::holdfast
