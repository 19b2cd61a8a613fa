#include "text/table.hpp"

#include <algorithm>

#include "text/printable.hpp"

namespace wayfarer::host {

namespace {

bool looks_numeric(std::string_view cell) {
  if (cell.empty() || cell == "nan" || cell == "inf" || cell == "-inf" || cell == "-") return true;
  std::size_t const start = cell.front() == '-' || cell.front() == '+';
  if (start == cell.size() || (cell[start] != '.' && (cell[start] < '0' || cell[start] > '9'))) return false;
  return cell.find_first_not_of("0123456789.,eE+-", start) == cell.npos;
}

}  // namespace

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string format_table(std::vector<std::string> const& header, std::vector<std::vector<std::string>> const& rows,
                         cell_colours const& colours) {
  std::size_t columns = header.size();
  for (auto const& row : rows) columns = std::max(columns, row.size());
  std::vector<std::size_t> widths(columns, 0);
  std::vector<bool> numeric(columns, true);
  std::vector<std::vector<std::string>> lines;
  bool const titled = std::any_of(header.begin(), header.end(), [](std::string const& h) { return !h.empty(); });
  if (titled) lines.push_back(header);
  lines.insert(lines.end(), rows.begin(), rows.end());
  for (std::size_t r = 0; r < lines.size(); ++r) {
    lines[r].resize(columns);
    for (std::size_t c = 0; c < columns; ++c) {
      lines[r][c] = printable(lines[r][c]);
      widths[c] = std::max(widths[c], columns_of(lines[r][c]));
      if (r >= (titled ? 1 : 0) && !looks_numeric(lines[r][c])) numeric[c] = false;
    }
  }
  std::string out;
  std::size_t const above = lines.size() - rows.size();
  for (std::size_t r = 0; r < lines.size(); ++r) {
    auto const& line = lines[r];
    std::string text;
    for (std::size_t c = 0; c < columns; ++c) {
      std::string const pad(widths[c] - columns_of(line[c]), ' '), cell = numeric[c] ? pad + line[c] : line[c] + pad;
      bool const coloured = r >= above && r - above < colours.size() && c < colours[r - above].size();
      std::string const& escape = coloured ? colours[r - above][c] : std::string();
      text += (c ? "  " : "") + (escape.empty() ? cell : escape + cell + "\033[0m");
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + '\n';
  }
  return out;
}

}  // namespace wayfarer::host
