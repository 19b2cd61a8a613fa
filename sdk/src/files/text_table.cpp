#include <wayfarer/text_table.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include <wayfarer/error.hpp>
#include <wayfarer/utf8.hpp>

namespace wayfarer {
namespace {

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

/// `line` is trimmed and not empty.
std::vector<std::string_view> fields_of(std::string_view line) {
  char const separator = line.find('\t') != line.npos ? '\t' : line.find(',') != line.npos ? ',' : ' ';
  std::vector<std::string_view> fields;
  for (std::size_t first = 0; first <= line.size();) {
    std::size_t const end = std::min(line.find(separator, first), line.size());
    if (separator != ' ' || end != first) fields.push_back(trimmed(line.substr(first, end - first)));
    first = end + 1;
  }
  return fields;
}

}  // namespace

text_table::text_table(std::string const& path) : file_(mapped_file::open(path)) {
  std::vector<std::string> notes;  // a byte order mark changes nothing here
  std::string_view const text = text_of_file(file_->text(), path, notes);
  std::size_t number = 0;
  for (std::size_t first = 0; first < text.size();) {
    std::size_t const end = std::min(text.find('\n', first), text.size());
    std::string_view const line = trimmed(text.substr(first, end - first));
    first = end + 1, ++number;
    if (!line.empty() && line.front() != '#') lines_.push_back({number, fields_of(line)});
  }
  if (lines_.empty()) throw data_error(path + ": no line holds anything; expected columns of text");
}

void text_table::fail(table_line const& line, std::string const& what) const {
  throw data_error(path() + ": line " + std::to_string(line.number) + ": " + what);
}

bool is_number(std::string_view text, double* value) noexcept {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  double read = 0;
  char const* const last = text.data() + text.size();
  auto [end, code] = std::from_chars(text.data(), last, read);
  if (code == std::errc::result_out_of_range) {
    // Too small is zero, too large is no number.
    long double wide = 0;
    code = std::from_chars(text.data(), last, wide).ec;
    read = static_cast<double>(wide);
    if (std::abs(wide) > 1) return false;
  }
  if (text.empty() || end != last || code != std::errc()) return false;
  if (value) *value = read;
  return true;
}

}  // namespace wayfarer
