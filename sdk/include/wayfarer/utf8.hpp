// Texts that people bring: what is UTF-8, and what to say of a file that is not.
//
// Sources call these when they open a file, models when they encode an item, and the program for texts on its command line. Free
// functions; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>

namespace wayfarer {

/// The place of the first byte that belongs to no UTF-8 character; text.size() if there is none.
WAYFARER_API std::size_t first_invalid_utf8(std::string_view text) noexcept;

/// Throws data_error "WHERE: byte 17 (0xe9) is no UTF-8 ...", with what to do, unless the text is UTF-8. `begin`: the number of
/// the text's first byte within WHERE.
WAYFARER_API void require_utf8(std::string_view text, std::string const& where, std::size_t begin = 0);

/// The text of a whole file: without a byte order mark, which `notes` then reports. Throws data_error for UTF-16, UTF-32 and
/// other text that is not UTF-8, naming file and byte and the command that converts it. The view looks into `bytes`.
WAYFARER_API std::string_view text_of_file(std::string_view bytes, std::string const& path, std::vector<std::string>& notes);

}  // namespace wayfarer
