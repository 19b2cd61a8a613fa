// Foreign text for a terminal: what the terminal would obey, or nobody would see, is written out. Pure functions, for any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <wayfarer/json.hpp>

namespace wayfarer::host {

/// Bytes of the character that begins `text`, which is UTF-8, if a terminal obeys it instead of showing it, else 0: control
/// characters, line separators, what turns the direction of writing, and tags, which nobody sees. For signal handlers too.
std::size_t hidden_bytes(std::string_view text) noexcept;
/// Text from a file, fit for one line of a terminal: control characters, what turns the direction of writing, and bytes that are
/// no UTF-8 become "\xNN".
std::string printable(std::string_view text);
/// The same for whole messages and texts: lines and tabs stay.
std::string printable_lines(std::string_view text);
/// JSON for a terminal: the same characters as "\uNNNN".
std::string printable_json(json_value const&, int indent = 0);

}  // namespace wayfarer::host
