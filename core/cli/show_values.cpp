#include "cli/show_values.hpp"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "cli/terminal.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {

namespace {

/// Datasets of so many rows share a table, and longer vectors without labels go in lines of `in_a_line`.
constexpr std::size_t small_rows = 40, in_a_line = 10;
/// Values that are printed of one dataset in a node's view and alone, rows of a matrix that has to be cut, and pictures.
constexpr std::size_t most_in_node = 2'000, most_alone = 20'000, cut_rows = 20, most_pictures = 8;
/// Curves in one picture, and bins of a histogram.
constexpr std::size_t most_curves = 12, most_bins = 40;

/// The numbers of a dataset, all as doubles, with what a glance needs to know about them.
struct summary {
  double least = std::numeric_limits<double>::infinity(), most = -least, mean = 0;
  std::size_t finite = 0, count = 0;

  explicit summary(tensor const& t) {
    tensor const wide = t.to(dtype::f64);
    auto const values = wide.values<double>();
    count = values.size();
    for (double const x : values) {
      if (!std::isfinite(x)) continue;
      ++finite;
      least = std::min(least, x), most = std::max(most, x);
      mean += (x - mean) / static_cast<double>(finite);
    }
  }
};

std::vector<double> numbers_of(tensor const& t) {
  tensor const wide = t.to(dtype::f64);
  auto const values = wide.values<double const>();
  return {values.begin(), values.end()};
}

/// The name of an index of a dimension: its label, its coordinate, its token, or the index itself.
std::string coordinate(dataset_slice const& s, std::size_t axis, std::size_t i) {
  dim const& x = s.part.shape()[axis];
  if (auto const at = s.part.coordinate_map().find(x.name); at != s.part.coordinate_map().end() && at->second.count() == x.size)
    return cell_text(dataset(at->second), i);
  std::string const index = std::to_string(s.first[axis] + i);
  if (s.names[axis].empty()) return index;
  return s.tokens[axis] ? index + " " + s.names[axis][i] : s.names[axis][i];
}

/// The escapes behind each element, or none.
std::vector<std::string> escapes_of(shown_dataset const& s) {
  return s.shades.empty() ? std::vector<std::string>() : backgrounds(s.shades);
}

/// Rows [0, rows) and columns [0, columns) of the matrix that starts at element `from`.
void print_matrix(dataset_slice const& s, std::vector<std::string> const& escapes, std::size_t from, std::size_t rows,
                  std::size_t columns) {
  dataset const& d = s.part;
  std::size_t const r = d.shape().size() - 2, width = d.shape()[r + 1].size;
  std::vector<std::string> header{d.shape()[r].name + " \\ " + d.shape()[r + 1].name};
  for (std::size_t c = 0; c < columns; ++c) header.push_back(coordinate(s, r + 1, c));
  std::vector<std::vector<std::string>> lines;
  cell_colours colours;
  for (std::size_t i = 0; i < rows; ++i) {
    std::size_t const at = from + i * width;
    std::vector<std::string> line{coordinate(s, r, i)}, behind{""};
    for (std::size_t c = 0; c < columns; ++c) {
      line.push_back(cell_text(d, at + c));
      if (!escapes.empty()) behind.push_back(escapes[at + c]);
    }
    lines.push_back(std::move(line));
    colours.push_back(std::move(behind));
  }
  std::cout << format_blocks(header, lines, terminal_columns(), 1, colours);
}

/// A curve for each index of the axis that the view does not run along. False if these are too many for it.
bool print_curves(dataset_slice const& s, std::vector<double> const& values, std::size_t rows, std::size_t columns) {
  std::size_t const r = s.part.shape().size() - 2;
  bool const down = view_of(s.part, "x") == s.part.shape()[r].name;
  std::size_t const count = down ? columns : rows, length = down ? rows : columns;
  if (count > most_curves || length < 3) return false;
  std::vector<std::string> names;
  std::size_t widest = 0;
  for (std::size_t k = 0; k < count; ++k) {
    names.push_back(printable(coordinate(s, down ? r + 1 : r, k)));
    widest = std::max(widest, columns_of(names[k]));
  }
  for (std::size_t k = 0; k < count; ++k) {
    std::vector<double> curve;
    for (std::size_t i = 0; i < length; ++i) curve.push_back(down ? values[i * columns + k] : values[k * columns + i]);
    std::string const line = sparkline(curve, terminal_columns() - std::min(widest + 1, terminal_columns() / 2));
    if (!line.empty()) std::cout << std::string(widest - columns_of(names[k]), ' ') << names[k] << ' ' << line;
  }
  return true;
}

/// How many values lie in each of equal bins from the least to the largest.
std::vector<double> bins_of(std::vector<double> const& values, summary const& s) {
  if (s.finite == 0 || !(s.most > s.least)) return {};
  std::size_t const n = std::clamp<std::size_t>(static_cast<std::size_t>(std::sqrt(s.finite)), 1, most_bins);
  std::vector<double> counts(n);
  for (double const x : values) {
    if (!std::isfinite(x)) continue;
    double const share = (x / 2 - s.least / 2) / (s.most / 2 - s.least / 2);
    counts[std::min(n - 1, static_cast<std::size_t>(share * static_cast<double>(n)))] += 1;
  }
  return counts;
}

/// The picture of `rows` times `columns` values from element `from` on, `rows` 1 for a vector: what the view asks for, else a
/// map, or a line of a vector.
void print_picture(dataset_slice const& s, std::size_t from, std::size_t rows, std::size_t columns) {
  dataset const& d = s.part;
  std::string const kind = view_of(d);
  if (d.is_text() || kind == "table" || !pictures()) return;
  auto const part = d.values().reshaped({{"i", d.values().count()}}).slice(0, from, from + rows * columns);
  auto const values = numbers_of(part);
  std::size_t const width = terminal_columns();
  if (rows == 1)
    std::cout << sparkline(kind == "histogram" ? bins_of(values, summary(part)) : values, width);
  else if (rows >= 2 && columns >= 2 && values.size() > 6 && (kind != "curve" || !print_curves(s, values, rows, columns)))
    std::cout << heat_map(values, rows, columns, width);
}

void print_range(dataset const& d) {
  if (d.is_text()) return;
  summary const s(d.values());
  if (s.finite > 0)
    std::cout << "min " << format_number(s.least) << "  mean " << format_number(s.mean) << "  max " << format_number(s.most);
  if (s.finite < s.count) std::cout << (s.finite > 0 ? "  " : "") << format_count(s.count - s.finite) << " values not finite";
  std::cout << '\n';
}

/// A vector: a line for each value, or, if it is long and its indices have no names, lines of ten. Returns how many it printed.
std::size_t print_vector(dataset_slice const& s, std::vector<std::string> const& escapes, std::size_t most) {
  dataset const& d = s.part;
  dim const& over = d.shape()[0];
  print_picture(s, 0, 1, over.size);
  std::vector<std::vector<std::string>> lines;
  if (over.size > small_rows && !d.is_text() && s.names[0].empty() && !d.coordinate_map().contains(over.name)) {
    std::size_t const printed = std::min(over.size, most);
    std::vector<std::string> header{over.name};
    for (std::size_t c = 0; c < in_a_line; ++c) header.push_back("+" + std::to_string(c));
    for (std::size_t i = 0; i < printed; ++i) {
      if (i % in_a_line == 0) lines.push_back({coordinate(s, 0, i)});
      lines.back().push_back(cell_text(d, i));
    }
    std::cout << format_blocks(header, lines, terminal_columns());
    return printed;
  }
  // A value takes a line here.
  std::size_t const printed = std::min(over.size, std::max(small_rows, most / in_a_line));
  cell_colours colours;
  for (std::size_t i = 0; i < printed; ++i) {
    lines.push_back({coordinate(s, 0, i), cell_text(d, i)});
    colours.push_back({"", escapes.empty() ? "" : escapes[i]});
  }
  std::cout << format_table({over.name, d.is_text() ? "text" : "value"}, lines, colours);
  return printed;
}

/// "head 1, item 0": which matrix the one that begins at element `from` is.
std::string place_of(dataset_slice const& s, std::size_t number) {
  dims const& shape = s.part.shape();
  std::string at;
  for (std::size_t a = shape.size() - 2; a-- > 0;) {
    at = shape[a].name + " " + coordinate(s, a, number % shape[a].size) + (at.empty() ? "" : ", ") + at;
    number /= shape[a].size;
  }
  return at;
}

/// Matrices, whole ones as long as there is room; of the first its corner if it has to be. Returns how many values it printed.
std::size_t print_matrices(dataset_slice const& s, std::vector<std::string> const& escapes, std::size_t most) {
  dataset const& d = s.part;
  dims const& shape = d.shape();
  std::size_t const width = shape.back().size, height = shape[shape.size() - 2].size, each = width * height;
  std::size_t const count = element_count(shape);
  std::size_t printed = 0;
  for (std::size_t from = 0; from < count; from += each) {
    std::size_t rows = height, columns = width;
    if (printed + each > most) {
      if (printed > 0) break;
      rows = std::min(height, std::max(cut_rows, most / width));
      columns = std::min(width, std::max<std::size_t>(1, most / rows));
    }
    if (std::string const at = place_of(s, from / each); !at.empty()) std::cout << printable(at) << ":\n";
    if (from / each < most_pictures) print_picture(s, from, height, width);
    print_matrix(s, escapes, from, rows, columns);
    printed += rows * columns;
  }
  return printed;
}

void print_values(shown_dataset const& s, std::size_t most) {
  dataset const& d = s.d();
  dims const& shape = d.shape();
  std::size_t const count = element_count(shape);
  auto const escapes = escapes_of(s);
  if (!escapes.empty() && count > 0)
    if (std::string const told = legend(s.shades); !told.empty())
      std::cout << "coloured by " << printable(s.shaded_by) << ": " << told << '\n';
  if (count == 0) {
    std::cout << "(empty)\n";
  } else if (shape.empty()) {
    std::cout << cell_text(d, 0) << '\n';
  } else {
    std::size_t const printed = shape.size() == 1 ? print_vector(s.slice, escapes, most) : print_matrices(s.slice, escapes, most);
    if (printed < count)
      std::cout << "(" << format_count(printed) << " of " << format_count(count) << " values; --all shows all, a slice such as ["
                << printable(shape[0].name) << "=0] a part, --csv, --json and --npy give them to programs)\n";
  }
}

void print_one(shown_dataset const& s, std::size_t most) {
  dataset const& d = s.d();
  print_heading(s.name);
  std::cout << printable(shape_of(d)) << ", " << type_of(d) << (d.units().empty() ? "" : ", in " + printable(d.units()))
            << (view_of(d).empty() ? "" : ", view " + printable(view_of(d)))
            << (d.about().empty() ? "" : ": " + printable(d.about())) << '\n';
  for (taken_index const& t : s.slice.taken)
    std::cout << printable(t.dimension) << ' ' << t.index << (t.name.empty() ? "" : ": " + printable(t.name)) << '\n';
  if (!d.missing().empty() && !d.is_text() && d.values().count() != 0 && summary(d.values()).finite != d.values().count())
    std::cout << "missing: " << printable(d.missing()) << '\n';
  if (!d.shape().empty() && element_count(d.shape()) > 8) print_range(d);
  print_values(s, most);
}

/// Datasets that can be columns of one table with dataset `first`, itself among them.
std::vector<std::size_t> columns_with(std::vector<shown_dataset> const& all, std::size_t first, std::vector<bool> const& done) {
  dataset const& d = all[first].d();
  std::vector<std::size_t> columns;
  if (d.shape().size() != 1 || d.shape()[0].size == 0 || d.shape()[0].size > small_rows) return columns;
  for (std::size_t k = first; k < all.size(); ++k) {
    dataset const& other = all[k].d();
    bool const coordinate_itself = all[first].name == d.shape()[0].name || all[k].name == d.shape()[0].name;
    if (!done[k] && other.shape() == d.shape() && (coordinate_itself || d.label_map() == other.label_map())) columns.push_back(k);
  }
  return columns;
}

void print_columns(std::vector<shown_dataset> const& all, std::vector<std::size_t> columns) {
  auto const& first = all[columns[0]];
  dim const& over = first.d().shape()[0];
  std::cout << '\n';
  std::vector<std::string> header;
  // A dataset that is the coordinate of its own dimension is a column already, and comes first.
  auto const own = std::find_if(columns.begin(), columns.end(), [&](std::size_t k) { return all[k].name == over.name; });
  if (own != columns.end())
    std::rotate(columns.begin(), own, own + 1);
  else
    header.push_back(over.name);
  std::vector<std::vector<std::string>> lines(over.size);
  for (std::size_t r = 0; r < over.size && !header.empty(); ++r) lines[r].push_back(coordinate(first.slice, 0, r));
  for (std::size_t const k : columns) {
    header.push_back(all[k].name + (all[k].d().units().empty() ? "" : " (" + all[k].d().units() + ")"));
    for (std::size_t r = 0; r < over.size; ++r) lines[r].push_back(cell_text(all[k].d(), r));
  }
  std::cout << format_blocks(header, lines, terminal_columns());
}

}  // namespace

shown_dataset read_shown(result_reader const& r, std::string name, dataset_name const& wanted) {
  shown_dataset out{std::move(name), read_slice(r, wanted), {}, ""};
  constexpr std::string_view tokens = "tokens";
  if (!out.d().is_text() || !wanted.dataset.ends_with(tokens) || !pictures()) return out;
  auto const all = r.datasets(wanted.node);
  for (char const* beside : {"probabilities", "logits", "scores"}) {
    dataset_name other = wanted;
    other.dataset.replace(other.dataset.size() - tokens.size(), tokens.size(), beside);
    if (std::find(all.begin(), all.end(), other.dataset) == all.end()) continue;
    // The slice was made for the texts: only what has the same dimensions is beside them.
    if (r.header(wanted.node, other.dataset).shape != r.header(wanted.node, wanted.dataset).shape) continue;
    dataset_slice const shade = read_slice(r, other);
    if (shade.part.is_text() || shade.part.shape() != out.d().shape()) continue;
    out.shades = numbers_of(shade.part.values());
    out.shaded_by = other.dataset;
    break;
  }
  return out;
}

std::string view_of(dataset const& d, char const* what) {
  if (d.view().empty()) return "";
  try {
    auto const said = parse_json(d.view(), "view").find(what);
    return said && said->kind() == json_kind::string ? said->as_string() : "";
  } catch (error const&) {
    return "";
  }
}

std::string shape_of(dataset const& d) {
  return d.shape().empty() ? "one number" : describe(d.shape());
}

std::string type_of(dataset const& d) {
  return d.is_text() ? "text" : std::string(name_of(d.values().type()));
}

std::string cell_text(dataset const& d, std::size_t i) {
  if (d.is_text() || d.values().type() == dtype::i64 || d.values().type() == dtype::i32 || d.values().type() == dtype::u8)
    return exact_text(d, i);
  // One element's view, so that a large tensor isn't widened for it.
  tensor const flat = d.values().reshaped({{"i", d.values().count()}});
  return format_number(flat.get({i}));
}

std::string range_of(dataset const& d) {
  if (d.is_text() || d.values().count() == 0) return "";
  if (d.shape().empty()) return cell_text(d, 0);
  summary const s(d.values());
  return s.finite == 0 ? "" : format_number(s.least) + " .. " + format_number(s.most);
}

void print_heading(std::string const& text) {
  bool const bold = colours();
  std::cout << '\n' << (bold ? "\033[1m" : "") << printable(text) << (bold ? "\033[0m" : "") << '\n';
}

void print_dataset(shown_dataset const& s, bool every_value) {
  print_one(s, every_value ? std::numeric_limits<std::size_t>::max() : most_alone);
}

void print_datasets(std::vector<shown_dataset> const& all, bool every_value) {
  std::vector<std::vector<std::string>> numbers;
  for (auto const& one : all) {
    dataset const& d = one.d();
    if (!d.shape().empty()) continue;
    bool const absent = !d.missing().empty() && !d.is_text() && !std::isfinite(d.scalar());
    numbers.push_back({one.name, cell_text(d, 0), d.units(), absent ? d.about() + " (missing: " + d.missing() + ")" : d.about()});
  }
  if (!numbers.empty()) std::cout << format_table({}, numbers);
  std::vector<bool> done(all.size(), false);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (done[i] || all[i].d().shape().empty()) continue;
    auto const columns = columns_with(all, i, done);
    if (columns.size() < 2) {
      print_one(all[i], every_value ? std::numeric_limits<std::size_t>::max() : most_in_node);
      continue;
    }
    for (std::size_t const k : columns) done[k] = true;
    print_columns(all, columns);
  }
}

}  // namespace wayfarer::host
