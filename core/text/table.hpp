// Tables in columns for a terminal. A pure function, for any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace wayfarer::host {

/// Columns that a terminal gives to UTF-8 text, one for each character.
std::size_t columns_of(std::string_view text);
/// For each cell of a table's rows the escape that colours it, "" for none.
using cell_colours = std::vector<std::vector<std::string>>;
/// A table for people: columns aligned, numbers to the right. Cells are made printable; `colours`, which may be empty, is printed
/// as it is.
std::string format_table(std::vector<std::string> const& header, std::vector<std::vector<std::string>> const& rows,
                         cell_colours const& colours = {});

}  // namespace wayfarer::host
