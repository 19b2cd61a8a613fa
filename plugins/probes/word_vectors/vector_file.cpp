#include "vector_file.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>

namespace wayfarer {
namespace {

std::string_view without_spaces_at_end(std::string_view line) noexcept {
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) line.remove_suffix(1);
  return line;
}

bool whole_number(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// "400000 300"
bool is_header(std::string_view line) noexcept {
  std::size_t const space = line.find(' ');
  return space != line.npos && whole_number(line.substr(0, space)) && whole_number(line.substr(space + 1));
}

}  // namespace

void read_vector_file(std::string const& path,
                      std::function<bool(std::string_view word, std::span<float const> vector)> const& take) {
  mapped_file const file(path);
  std::string_view const text = file.text();
  std::vector<float> vector;
  std::size_t width = 0, number = 0;
  for (std::size_t first = 0; first < text.size();) {
    std::size_t const end = std::min(text.find('\n', first), text.size());
    std::string_view const line = without_spaces_at_end(text.substr(first, end - first));
    first = end + 1, ++number;
    if (line.empty() || (number == 1 && is_header(line))) continue;
    auto const fail = [&](std::string const& what) -> void {
      throw data_error(path + ": line " + std::to_string(number) + ": " + what +
                       "; expected a word and its numbers, separated by spaces");
    };
    if (width == 0) width = static_cast<std::size_t>(std::count(line.begin(), line.end(), ' '));
    if (width == 0) fail("there is no number behind the word");
    // From the end, since some files have words with a space in them.
    vector.resize(width);
    std::string_view rest = line;
    for (std::size_t i = width; i-- > 0;) {
      std::size_t const space = rest.rfind(' ');
      if (space == rest.npos || space == 0) fail("it has fewer numbers than the first line, which has " + std::to_string(width));
      std::string_view const field = rest.substr(space + 1);
      auto const [stop, code] = std::from_chars(field.data(), field.data() + field.size(), vector[i]);
      if (code != std::errc() || stop != field.data() + field.size() || !std::isfinite(vector[i]))
        fail("'" + std::string(field.substr(0, 40)) + "' is no number");
      rest = rest.substr(0, space);
    }
    if (!take(rest, vector)) return;
  }
  if (width == 0) throw data_error(path + ": no word vector in it; expected a word and its numbers on each line");
}

}  // namespace wayfarer
