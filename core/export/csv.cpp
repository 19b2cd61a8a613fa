// RFC 4180, but with plain line ends: one line a value, with a column for each dimension and one for the value.
#include "export/export.hpp"

namespace wayfarer::host {

namespace {

std::string quoted(std::string const& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string out = "\"";
  for (char const c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

}  // namespace

std::string csv_table(named_slice const& s) {
  dims const& shape = s.slice.part.shape();
  std::string out;
  for (dim const& d : shape) out += quoted(d.name) + ",";
  out += quoted(s.name.substr(s.name.find('/') == s.name.npos ? 0 : s.name.rfind('/') + 1)) + "\n";
  // Tokens may stand more than once, so that only their places tell them apart.
  std::vector<std::vector<std::string>> names(shape.size());
  for (std::size_t a = 0; a < shape.size(); ++a)
    for (std::size_t i = 0; i < shape[a].size; ++i)
      names[a].push_back(
          (s.slice.names[a].empty() || s.slice.tokens[a] ? std::to_string(s.slice.first[a] + i) : quoted(s.slice.names[a][i])) +
          ",");
  std::size_t const count = element_count(shape);
  std::vector<std::size_t> at(shape.size(), 0);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t a = 0; a < shape.size(); ++a) out += names[a][at[a]];
    out += quoted(exact_text(s.slice.part, i)) + "\n";
    for (std::size_t a = shape.size(); a-- > 0 && ++at[a] == shape[a].size;) at[a] = 0;
  }
  return out;
}

std::vector<export_file> csv_files(export_node const& n) {
  return one_file_each(n, ".csv", csv_table);
}

}  // namespace wayfarer::host
