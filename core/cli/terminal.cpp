#include "cli/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>

#include "cli/pager.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"

namespace wayfarer::host {

namespace {

constexpr std::size_t usual_columns = 100, fewest_columns = 20, most_columns = 10'000, map_lines = 16;

using rgb = std::array<double, 3>;

/// The report's colours: cividis at nine places, and blue, white, orange.
constexpr rgb amounts[] = {{0, 34, 78},     {24, 57, 112},   {69, 82, 109},  {99, 106, 113}, {125, 124, 120},
                           {155, 146, 119}, {187, 171, 108}, {221, 198, 85}, {254, 232, 56}};
constexpr rgb signs[] = {{18, 58, 128},   {64, 124, 196}, {160, 196, 232}, {248, 248, 246},
                         {250, 202, 140}, {224, 130, 34}, {140, 68, 4}};

template <std::size_t N>
rgb between(rgb const (&stops)[N], double share) {
  double const x = std::clamp(share, 0.0, 1.0) * static_cast<double>(N - 1);
  auto const i = std::min(static_cast<std::size_t>(x), N - 2);
  double const f = x - static_cast<double>(i);
  rgb out;
  for (std::size_t k = 0; k < 3; ++k) out[k] = stops[i][k] + (stops[i + 1][k] - stops[i][k]) * f;
  return out;
}

struct limits {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  std::size_t finite = 0;
  bool is_signed() const { return least < 0 && most > 0; }
  /// Halves, because the difference of two huge numbers may be infinite.
  double share(double x) const {
    if (is_signed()) {
      double const limit = std::max(-least, most);
      return x / limit / 2 + 0.5;
    }
    return most > least ? (x / 2 - least / 2) / (most / 2 - least / 2) : 0.5;
  }
  rgb colour(double x) const { return is_signed() ? between(signs, share(x)) : between(amounts, share(x)); }
};

limits limits_of(std::span<double const> values) {
  limits out;
  for (double const x : values) {
    if (!std::isfinite(x)) continue;
    out.least = std::min(out.least, x), out.most = std::max(out.most, x);
    ++out.finite;
  }
  return out;
}

bool says(char const* variable, std::string_view wanted) {
  char const* const value = std::getenv(variable);
  return value != nullptr && value == wanted;
}

/// The end of an escape that sets the foreground (38) or background (48) to a colour.
std::string code(int ground, rgb const& c) {
  auto const byte = [](double x) { return std::to_string(static_cast<int>(std::lround(x))); };
  if (says("COLORTERM", "truecolor") || says("COLORTERM", "24bit"))
    return std::to_string(ground) + ";2;" + byte(c[0]) + ";" + byte(c[1]) + ";" + byte(c[2]);
  // The cube of 6 x 6 x 6 colours, whose steps are 0, 95, 135, ..., 255.
  auto const step = [](double x) { return x < 48 ? 0 : x < 115 ? 1 : std::min(5, static_cast<int>((x - 35) / 40)); };
  return std::to_string(ground) + ";5;" + std::to_string(16 + 36 * step(c[0]) + 6 * step(c[1]) + step(c[2]));
}

/// The mean of the finite values of a range of rows and columns; NaN if there are none.
double mean_of(std::span<double const> values, std::size_t columns, std::size_t r0, std::size_t r1, std::size_t c0,
               std::size_t c1) {
  double mean = 0;
  std::size_t n = 0;
  for (std::size_t r = r0; r < r1; ++r)
    for (std::size_t c = c0; c < c1; ++c)
      if (double const x = values[r * columns + c]; std::isfinite(x)) mean += (x - mean) / static_cast<double>(++n);
  return n == 0 ? std::numeric_limits<double>::quiet_NaN() : mean;
}

std::string legend_of(limits const& l) {
  double const low = l.is_signed() ? -std::max(-l.least, l.most) : l.least, high = l.is_signed() ? -low : l.most;
  std::string out = format_number(low) + " ";
  for (int i = 0; i <= 8; ++i) {
    double const share = i / 8.0;
    out += "\033[0;" + code(38, l.is_signed() ? between(signs, share) : between(amounts, share)) + "m\u2588";
  }
  return out + "\033[0m " + format_number(high);
}

}  // namespace

bool colours() {
  // no-color.org: any value but the empty one switches colours off.
  char const* const no = std::getenv("NO_COLOR");
  return (::isatty(STDOUT_FILENO) == 1 || pager::columns() != 0) && (no == nullptr || *no == '\0');
}

std::size_t terminal_columns() {
  if (char const* const given = std::getenv("COLUMNS")) {
    std::size_t n = 0;
    auto const end = given + std::strlen(given);
    if (auto const [rest, bad] = std::from_chars(given, end, n);
        bad == std::errc{} && rest == end && n >= fewest_columns && n <= most_columns)
      return n;
  }
  if (pager::columns() >= fewest_columns) return pager::columns();
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= fewest_columns) return size.ws_col;
  return usual_columns;
}

bool pictures() {
  if (!colours() || says("TERM", "dumb") || says("TERM", "")) return false;
  // The first that is set decides, as for the C library.
  for (char const* variable : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (char const* const value = std::getenv(variable); value != nullptr && *value != '\0') {
      std::string_view const locale(value);
      return locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos || locale.find("utf-8") != locale.npos;
    }
  return false;
}

std::string format_blocks(std::vector<std::string> const& header, std::vector<std::vector<std::string>> const& rows,
                          std::size_t width, std::size_t keys, cell_colours const& colours) {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < header.size(); ++c) {
    std::size_t most = columns_of(printable(header[c]));
    for (auto const& row : rows)
      if (c < row.size()) most = std::max(most, columns_of(printable(row[c])));
    widths.push_back(most);
  }
  keys = std::min(keys, header.size());
  std::size_t before = 0;
  for (std::size_t c = 0; c < keys; ++c) before += widths[c] + 2;
  std::string out;
  for (std::size_t from = keys;;) {
    std::size_t to = from, used = before;
    // One column at least, however wide.
    while (to < header.size() && (to == from || used + widths[to] <= width)) used += widths[to++] + 2;
    auto const block_of = [&](std::vector<std::string> const& line) {
      std::vector<std::string> block;
      for (std::size_t c = 0; c < std::min(to, line.size()); ++c)
        if (c < keys || c >= from) block.push_back(line[c]);
      return block;
    };
    std::vector<std::vector<std::string>> block, block_colours;
    for (auto const& row : rows) block.push_back(block_of(row));
    for (auto const& row : colours) block_colours.push_back(block_of(row));
    out += (out.empty() ? "" : "\n") + format_table(block_of(header), block, block_colours);
    from = to;
    if (from >= header.size()) return out;
  }
}

std::string heat_map(std::span<double const> values, std::size_t rows, std::size_t columns, std::size_t width) {
  limits const l = limits_of(values);
  if (l.finite < 2 || rows * columns != values.size()) return "";
  // Two rows of values to a line: the upper half of a character and its background.
  std::size_t const across = std::min(columns, width), down = std::min(rows, 2 * map_lines);
  auto const at = [&](std::size_t r, std::size_t c) {
    return r >= down ? std::numeric_limits<double>::quiet_NaN()
                     : mean_of(values, columns, r * rows / down, (r + 1) * rows / down, c * columns / across,
                               (c + 1) * columns / across);
  };
  std::string out;
  for (std::size_t r = 0; r < down; r += 2) {
    for (std::size_t c = 0; c < across; ++c) {
      double const upper = at(r, c), lower = at(r + 1, c);
      if (std::isnan(upper) && std::isnan(lower))
        out += "\033[0m ";
      else if (std::isnan(upper))
        out += "\033[0;" + code(38, l.colour(lower)) + "m\u2584";
      else
        out += "\033[0;" + code(38, l.colour(upper)) + (std::isnan(lower) ? "" : ";" + code(48, l.colour(lower))) + "m\u2580";
    }
    out += "\033[0m\n";
  }
  out += legend_of(l);
  if (across < columns || down < rows) out += ", neighbours averaged";
  return out + "\n";
}

std::string sparkline(std::span<double const> values, std::size_t width) {
  limits const l = limits_of(values);
  if (l.finite < 2 || !(l.most > l.least)) return "";
  constexpr char const* bars[] = {"\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588"};
  std::size_t const across = std::min(values.size(), width);
  std::string out = "\033[36m";
  for (std::size_t c = 0; c < across; ++c) {
    double const x = mean_of(values, values.size(), 0, 1, c * values.size() / across, (c + 1) * values.size() / across);
    double const share = (x / 2 - l.least / 2) / (l.most / 2 - l.least / 2);
    out += std::isnan(x) ? " " : bars[std::min(7, static_cast<int>(share * 8))];
  }
  return out + "\033[0m\n";
}

std::vector<std::string> backgrounds(std::span<double const> values) {
  limits const l = limits_of(values);
  std::vector<std::string> out;
  for (double const x : values) {
    if (!std::isfinite(x)) {
      out.emplace_back();
      continue;
    }
    rgb const c = l.colour(x);
    // Black or white, whichever is farther from the colour as eyes weigh it.
    bool const bright = 0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2] > 128;
    out.push_back("\033[0;" + code(38, bright ? rgb{0, 0, 0} : rgb{255, 255, 255}) + ";" + code(48, c) + "m");
  }
  return out;
}

std::string legend(std::span<double const> values) {
  limits const l = limits_of(values);
  return l.finite == 0 ? "" : legend_of(l);
}

}  // namespace wayfarer::host
