// Foreign text for a terminal: control and invisible characters are escaped. Pure functions, for any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <wayfarer/json.hpp>

namespace wayfarer::host {

/// Bytes of the first character of the UTF-8 `text` if a terminal would not show it, else 0: control
/// characters, line separators, marks of the direction of writing, and tags, which are invisible. For signal handlers too.
std::size_t hidden_bytes(std::string_view text) noexcept;
/// Text from a file, made safe for one line of a terminal: control characters, marks of the direction of writing, and bytes that
/// are not UTF-8 become "\xNN".
std::string printable(std::string_view text);
/// The same for whole messages and texts: lines and tabs stay.
std::string printable_lines(std::string_view text);
/// JSON for a terminal: the same characters as "\uNNNN".
std::string printable_json(json_value const&, int indent = 0);

}  // namespace wayfarer::host
