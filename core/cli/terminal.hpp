// What a terminal can show: tables in blocks of columns that fit it, and small pictures in colour. Main thread, or the child that
// reads a result and prints.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "text/table.hpp"

namespace wayfarer::host {

/// Whether standard output may carry colours: a terminal, or a pager on one, and NO_COLOR not set.
bool colours();
/// Columns of the terminal: COLUMNS, else the terminal's own width, else 100.
std::size_t terminal_columns();
/// Whether pictures can be shown: colours, and characters beyond ASCII.
bool pictures();

/// As format_table, in blocks of columns no wider than `width`. Each block begins with the first `keys` columns.
std::string format_blocks(std::vector<std::string> const& header, std::vector<std::vector<std::string>> const& rows,
                          std::size_t width, std::size_t keys = 1, cell_colours const& colours = {});

/// Values in row-major order as a map of at most `width` columns and 16 lines, with its limits: cividis, or blue to orange where
/// values have both signs. Larger matrices are averaged. "" if fewer than 2 values are finite.
std::string heat_map(std::span<double const> values, std::size_t rows, std::size_t columns, std::size_t width);
/// Values along one axis as a line of bars of at most `width` columns.
std::string sparkline(std::span<double const> values, std::size_t width);

/// Escapes that put each value's colour behind a text, which stays readable on it; "" for what is not finite.
std::vector<std::string> backgrounds(std::span<double const> values);
/// What the colours of these values mean, as a line.
std::string legend(std::span<double const> values);

}  // namespace wayfarer::host
