// Tables in columns for a terminal. A pure function, for any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace wayfarer::host {

/// Columns that a terminal gives to UTF-8 text, one for each character.
std::size_t columns_of(std::string_view text);
/// A table for people: columns aligned, numbers to the right. Cells are made printable.
std::string format_table(std::vector<std::string> const& header, std::vector<std::vector<std::string>> const& rows);

}  // namespace wayfarer::host
