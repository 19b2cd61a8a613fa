// wayfarer show: a result file as tables for people.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>

#include <wayfarer/error.hpp>
#include <wayfarer/hooks.hpp>

#include "cli/options.hpp"
#include "store/store.hpp"

namespace wayfarer::host {

namespace {

constexpr std::size_t small_rows = 40, small_columns = 12, small_values = 400;
constexpr std::size_t corner_rows = 4, corner_columns = 6;

void heading(std::string const& text) {
  bool const bold = colours();
  std::cout << '\n' << (bold ? "\033[1m" : "") << printable(text) << (bold ? "\033[0m" : "") << '\n';
}

std::string shape_of(dataset const& d) {
  return d.shape().empty() ? "one number" : describe(d.shape());
}

std::string type_of(dataset const& d) {
  return d.is_text() ? "text" : std::string(name_of(d.values().type()));
}

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

/// One element as text; integers in full.
std::string cell(dataset const& d, std::size_t i) {
  if (d.is_text()) return d.texts()[i];
  switch (d.values().type()) {
    case dtype::i64:
      return std::to_string(d.values().values<std::int64_t>()[i]);
    case dtype::i32:
      return std::to_string(d.values().values<std::int32_t>()[i]);
    case dtype::u8:
      return std::to_string(d.values().values<std::uint8_t>()[i]);
    default:
      break;
  }
  // One element's view, so that a large tensor isn't widened for it.
  tensor const flat = d.values().reshaped({{"i", d.values().count()}});
  return format_number(flat.get({i}));
}

/// The coordinate of an axis at an index, or the index itself.
std::string coordinate(dataset const& d, std::size_t axis, std::size_t i) {
  dim const& x = d.shape()[axis];
  if (auto const* labels = d.find_labels(x.name); labels && labels->size() == x.size) return (*labels)[i];
  if (auto const at = d.coordinate_map().find(x.name); at != d.coordinate_map().end() && at->second.count() == x.size)
    return cell(dataset(at->second), i);
  return std::to_string(i);
}

/// Rows [0, rows) and columns [0, columns) of the matrix that starts at element `from`.
void print_matrix(dataset const& d, std::size_t from, std::size_t rows, std::size_t columns) {
  std::size_t const r = d.shape().size() - 2, width = d.shape()[r + 1].size;
  std::vector<std::string> header{d.shape()[r].name + " \\ " + d.shape()[r + 1].name};
  for (std::size_t c = 0; c < columns; ++c) header.push_back(coordinate(d, r + 1, c));
  std::vector<std::vector<std::string>> lines;
  for (std::size_t i = 0; i < rows; ++i) {
    std::vector<std::string> line{coordinate(d, r, i)};
    for (std::size_t c = 0; c < columns; ++c) line.push_back(cell(d, from + i * width + c));
    lines.push_back(std::move(line));
  }
  std::cout << format_table(header, lines);
}

bool is_small(dataset const& d) {
  auto const& s = d.shape();
  std::size_t const count = element_count(s);
  if (s.size() < 2) return count <= small_rows;
  return count <= small_values && s.back().size <= small_columns && s[s.size() - 2].size <= small_rows;
}

void print_large(dataset const& d) {
  if (!d.is_text()) {
    summary const s(d.values());
    if (s.finite > 0)
      std::cout << "min " << format_number(s.least) << "  mean " << format_number(s.mean) << "  max " << format_number(s.most);
    if (s.finite < s.count) std::cout << (s.finite > 0 ? "  " : "") << format_count(s.count - s.finite) << " values not finite";
    std::cout << '\n';
  }
  auto const& s = d.shape();
  if (s.size() >= 2) {
    std::size_t const rows = std::min(corner_rows, s[s.size() - 2].size), columns = std::min(corner_columns, s.back().size);
    std::cout << "its first corner:\n";
    print_matrix(d, 0, rows, columns);
  } else {
    std::vector<std::vector<std::string>> lines;
    for (std::size_t i = 0; i < std::min<std::size_t>(s[0].size, corner_rows * 2); ++i)
      lines.push_back({coordinate(d, 0, i), cell(d, i)});
    std::cout << "its beginning:\n" << format_table({}, lines);
  }
}

/// All values of a dataset, however many.
void print_whole(dataset const& d) {
  auto const& s = d.shape();
  if (element_count(s) == 0) {
    std::cout << "(empty)\n";
  } else if (s.empty()) {
    std::cout << cell(d, 0) << '\n';
  } else if (s.size() == 1) {
    std::vector<std::vector<std::string>> lines;
    for (std::size_t i = 0; i < s[0].size; ++i) lines.push_back({coordinate(d, 0, i), cell(d, i)});
    std::cout << format_table({s[0].name, d.is_text() ? "text" : "value"}, lines);
  } else {
    std::size_t const each = s.back().size * s[s.size() - 2].size;
    for (std::size_t from = 0; from < element_count(s); from += each) {
      std::string at;
      std::size_t rest = from / each;
      for (std::size_t a = s.size() - 2; a-- > 0;) {
        at = s[a].name + " " + coordinate(d, a, rest % s[a].size) + (at.empty() ? "" : ", ") + at;
        rest /= s[a].size;
      }
      if (!at.empty()) std::cout << printable(at) << ":\n";
      print_matrix(d, from, s[s.size() - 2].size, s.back().size);
    }
  }
}

void print_dataset(std::string const& name, dataset const& d) {
  heading(name);
  std::cout << printable(shape_of(d)) << ", " << type_of(d) << (d.units().empty() ? "" : ", in " + printable(d.units()))
            << (d.about().empty() ? "" : ": " + printable(d.about())) << '\n';
  if (!d.missing().empty() && !d.is_text() && d.values().count() != 0 && summary(d.values()).finite != d.values().count())
    std::cout << "missing: " << printable(d.missing()) << '\n';
  if (element_count(d.shape()) == 0 || is_small(d))
    print_whole(d);
  else
    print_large(d);
}

/// Small datasets over the same single dimension are columns of one table, and single numbers are rows of one.
void print_datasets(std::vector<std::pair<std::string, dataset>> const& all) {
  std::vector<std::vector<std::string>> numbers;
  for (auto const& [name, d] : all)
    if (d.shape().empty()) {
      bool const absent = !d.missing().empty() && !d.is_text() && !std::isfinite(d.scalar());
      numbers.push_back({name, cell(d, 0), d.units(), absent ? d.about() + " (missing: " + d.missing() + ")" : d.about()});
    }
  if (!numbers.empty()) std::cout << format_table({}, numbers);
  std::vector<bool> done(all.size(), false);
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto const& [name, d] = all[i];
    if (done[i] || d.shape().empty()) continue;
    std::vector<std::size_t> columns;
    if (d.shape().size() == 1 && is_small(d) && d.shape()[0].size > 0) {
      for (std::size_t k = i; k < all.size() && columns.size() < small_columns; ++k) {
        dataset const& other = all[k].second;
        bool const coordinate_itself = name == d.shape()[0].name || all[k].first == d.shape()[0].name;
        if (!done[k] && other.shape() == d.shape() && (coordinate_itself || d.label_map() == other.label_map()))
          columns.push_back(k);
      }
    }
    if (columns.size() < 2) {
      print_dataset(name, d);
      continue;
    }
    dim const& over = d.shape()[0];
    std::cout << '\n';
    std::vector<std::string> header;
    // A dataset that is the coordinate of its own dimension is a column already.
    bool const own = std::any_of(columns.begin(), columns.end(), [&](std::size_t k) { return all[k].first == over.name; });
    if (!own) header.push_back(over.name);
    std::vector<std::vector<std::string>> lines(over.size);
    for (std::size_t r = 0; r < over.size && !own; ++r) lines[r].push_back(coordinate(d, 0, r));
    for (std::size_t const k : columns) {
      done[k] = true;
      header.push_back(all[k].first + (all[k].second.units().empty() ? "" : " (" + all[k].second.units() + ")"));
      for (std::size_t r = 0; r < over.size; ++r) lines[r].push_back(cell(all[k].second, r));
    }
    std::cout << format_table(header, lines);
  }
}

std::vector<std::pair<std::string, dataset>> read_all(result_reader const& r, std::string const& node) {
  std::vector<std::pair<std::string, dataset>> out;
  for (auto const& name : r.datasets(node)) out.emplace_back(name, r.read(node, name));
  return out;
}

void show_expectations(result_reader const& r) {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> lines;
  for (auto const& name : r.datasets("_run")) {
    constexpr std::string_view prefix = "expectations/";
    if (!name.starts_with(prefix)) continue;
    dataset const column = r.read("_run", name);
    if (column.shape().size() != 1) continue;
    header.push_back(name.substr(prefix.size()));
    std::size_t const rows = column.shape()[0].size;
    if (lines.size() < rows) lines.resize(rows);
    bool const yes_no = !column.is_text() && column.values().type() == dtype::u8;
    for (std::size_t i = 0; i < rows; ++i) {
      lines[i].resize(header.size());
      lines[i].back() = yes_no ? (cell(column, i) == "0" ? "NO" : "yes") : cell(column, i);
    }
  }
  if (lines.empty()) return;
  heading("Measured against what was expected");
  for (auto& line : lines) line.resize(header.size());
  std::cout << format_table(header, lines);
}

int show_file(std::filesystem::path const& file, result_reader const& r) {
  bool const bold = colours();
  std::cout << (bold ? "\033[1m" : "") << printable(r.title().empty() ? "(no title)" : r.title()) << (bold ? "\033[0m" : "")
            << '\n';
  auto const number = [&](char const* name) { return static_cast<std::uint64_t>(std::max(0.0, r.read("_run", name).scalar())); };
  auto const threads = number("threads");
  std::cout << "seed " << r.seed() << ", run " << printable(r.run_text("started")) << " to " << printable(r.run_text("ended"))
            << " on " << threads << (threads == 1 ? " thread" : " threads") << ", at most " << format_size(number("peak_memory"))
            << " of memory; file " << format_size(std::filesystem::file_size(file)) << '\n';

  heading("Nodes");
  std::vector<std::vector<std::string>> lines;
  std::vector<node_record> records;
  for (auto const& name : r.nodes()) {
    auto const& n = records.emplace_back(r.node(name));
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f", n.seconds);
    lines.push_back({n.name, n.kind, n.plugin, n.plugin_version, std::to_string(r.datasets(name).size()), seconds});
  }
  std::cout << format_table({"node", "kind", "plugin", "version", "datasets", "seconds"}, lines);
  show_expectations(r);
  dataset const warnings = r.read("_run", "warnings");
  for (auto const& warning : warnings.texts()) std::cout << "\nwarning: " << printable(warning) << '\n';

  for (auto const& n : records) {
    auto const all = read_all(r, n.name);
    if (all.empty()) continue;
    heading(n.name);
    if (n.kind == "metric") {
      print_datasets(all);
      continue;
    }
    std::vector<std::vector<std::string>> rows;
    for (auto const& [name, d] : all) {
      std::string range;
      if (!d.is_text() && d.values().count() > 0) {
        summary const s(d.values());
        if (d.shape().empty())
          range = cell(d, 0);
        else if (s.finite > 0)
          range = format_number(s.least) + " .. " + format_number(s.most);
      }
      rows.push_back({name, shape_of(d), type_of(d), range, d.units(), d.about()});
    }
    std::cout << format_table({"dataset", "shape", "type", "range", "units", "description"}, rows);
  }
  return 0;
}

int show_node(result_reader const& r, std::string const& name) {
  if (name != "_run") {
    node_record const n = r.node(name);
    std::cout << printable(n.name) << ": " << printable(n.kind) << ' ' << printable(n.plugin) << ' '
              << printable(n.plugin_version) << " (" << printable(n.build_id) << ")\nparameters " << printable(n.parameters)
              << "\nkey " << printable(n.key) << "\n\n";
  }
  print_datasets(read_all(r, name));
  return 0;
}

}  // namespace

int show_verb(words const& arguments) {
  verb_options o(
      "show F.h5 [NODE | NODE/DATASET]",
      "Shows a result file: what ran, how its figures compare with what was expected, and the metrics. With a node, its\n"
      "datasets: small ones whole, large ones as range and corner. With a dataset, that one.",
      {"wayfarer show values.h5", "wayfarer show values.h5 structure", "wayfarer show values.h5 structure/value_blocks",
       "wayfarer show values.h5 _run/pipeline"});
  o.positional("F.h5");
  o.positional("NODE");
  if (!o.parse(arguments)) return 0;
  std::filesystem::path const file = o.required("F.h5");
  auto const wanted = o.all("NODE");
  return read_in_child({file}, [&] {
    result_reader const r(file);
    if (wanted.empty()) return show_file(file, r);
    auto const slash = wanted[0].find('/');
    if (slash == std::string::npos) return show_node(r, wanted[0]);
    std::string const node = wanted[0].substr(0, slash), name = wanted[0].substr(slash + 1);
    // A group, such as _run/inputs: all that is in it.
    auto const all = r.datasets(node);
    std::vector<std::pair<std::string, dataset>> below;
    for (auto const& one : all)
      if (one.starts_with(name + "/")) below.emplace_back(one.substr(name.size() + 1), r.read(node, one));
    if (!below.empty()) {
      print_datasets(below);
      return 0;
    }
    // Texts of the run are for reading, or for feeding back to `wayfarer run`, so they come as they are.
    if (node == "_run") {
      auto const is_text = [&] {
        auto const found = std::find(all.begin(), all.end(), name);
        if (found == all.end()) return false;
        dataset const d = r.read(node, name);
        return d.is_text() && d.texts().size() == 1;
      };
      if (auto const text = is_text() ? r.run_text(name) : std::string(); !text.empty()) {
        for (std::size_t from = 0; from < text.size();) {
          std::size_t const to = std::min(text.find('\n', from), text.size());
          std::cout << printable(std::string_view(text).substr(from, to - from)) << '\n';
          from = to + 1;
        }
        return 0;
      }
    }
    print_dataset(wanted[0], r.read(node, name));
    return 0;
  });
}

}  // namespace wayfarer::host
