// wayfarer show: a result file as tables for people.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/run_files.hpp>

#include "cli/options.hpp"
#include "cli/outputs.hpp"
#include "cli/terminal.hpp"
#include "export/export.hpp"
#include "export/slice.hpp"
#include "store/store.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t small_rows = 40, small_values = 1'000;
constexpr std::size_t first_rows = 8;
/// What one dataset may print unless all of it is asked for, and how many of its matrices are drawn.
constexpr std::size_t most_values = 20'000, most_pictures = 8;

struct shown_dataset {
  std::string name;
  dataset_slice slice;
  dataset const& d() const { return slice.part; }
};

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
  if (d.is_text() || d.values().type() == dtype::i64 || d.values().type() == dtype::i32 || d.values().type() == dtype::u8)
    return exact_text(d, i);
  // One element's view, so that a large tensor isn't widened for it.
  tensor const flat = d.values().reshaped({{"i", d.values().count()}});
  return format_number(flat.get({i}));
}

/// The name of an index of a dimension: its label, its coordinate, its token, or the index itself.
std::string coordinate(dataset_slice const& s, std::size_t axis, std::size_t i) {
  dim const& x = s.part.shape()[axis];
  if (auto const at = s.part.coordinate_map().find(x.name); at != s.part.coordinate_map().end() && at->second.count() == x.size)
    return cell(dataset(at->second), i);
  if (s.names[axis].empty()) return std::to_string(i);
  return s.tokens[axis] ? std::to_string(i) + " " + s.names[axis][i] : s.names[axis][i];
}

/// Rows [0, rows) and columns [0, columns) of the matrix that starts at element `from`.
void print_matrix(dataset_slice const& s, std::size_t from, std::size_t rows, std::size_t columns) {
  dataset const& d = s.part;
  std::size_t const r = d.shape().size() - 2, width = d.shape()[r + 1].size;
  std::vector<std::string> header{d.shape()[r].name + " \\ " + d.shape()[r + 1].name};
  for (std::size_t c = 0; c < columns; ++c) header.push_back(coordinate(s, r + 1, c));
  std::vector<std::vector<std::string>> lines;
  for (std::size_t i = 0; i < rows; ++i) {
    std::vector<std::string> line{coordinate(s, r, i)};
    for (std::size_t c = 0; c < columns; ++c) line.push_back(cell(d, from + i * width + c));
    lines.push_back(std::move(line));
  }
  std::cout << format_blocks(header, lines, terminal_columns());
}

/// The picture of `count` values from element `from` on: a map of rows, or a line if `rows` is 1. For terminals that can show it.
void print_picture(dataset const& d, std::size_t from, std::size_t rows, std::size_t columns) {
  if (d.is_text() || !pictures()) return;
  std::vector<double> values;
  tensor const flat = d.values().reshaped({{"i", d.values().count()}}).slice(0, from, from + rows * columns).to(dtype::f64);
  for (double const x : flat.values<double const>()) values.push_back(x);
  std::size_t const width = terminal_columns();
  if (rows == 1)
    std::cout << sparkline(values, width);
  else if (rows >= 2 && columns >= 2 && values.size() > 6)
    std::cout << heat_map(values, rows, columns, width);
}

bool is_small(dataset const& d) {
  auto const& s = d.shape();
  std::size_t const count = element_count(s);
  return s.size() < 2 ? count <= small_rows : count <= small_values && s[s.size() - 2].size <= small_rows;
}

void print_range(dataset const& d) {
  if (d.is_text()) return;
  summary const s(d.values());
  if (s.finite > 0)
    std::cout << "min " << format_number(s.least) << "  mean " << format_number(s.mean) << "  max " << format_number(s.most);
  if (s.finite < s.count) std::cout << (s.finite > 0 ? "  " : "") << format_count(s.count - s.finite) << " values not finite";
  std::cout << '\n';
}

/// The values of a dataset, at most `most` of them, and what to do about the others.
void print_values(dataset_slice const& s, std::size_t most) {
  dataset const& d = s.part;
  dims const& shape = d.shape();
  std::size_t const count = element_count(shape);
  if (count == 0) {
    std::cout << "(empty)\n";
    return;
  }
  if (shape.empty()) {
    std::cout << cell(d, 0) << '\n';
    return;
  }
  std::size_t printed = 0;
  if (shape.size() == 1) {
    print_picture(d, 0, 1, count);
    printed = std::min(count, most);
    std::vector<std::vector<std::string>> lines;
    for (std::size_t i = 0; i < printed; ++i) lines.push_back({coordinate(s, 0, i), cell(d, i)});
    std::cout << format_table({shape[0].name, d.is_text() ? "text" : "value"}, lines);
  } else {
    std::size_t const width = shape.back().size, height = shape[shape.size() - 2].size, each = width * height;
    for (std::size_t from = 0; from < count && printed < most; from += each) {
      std::string at;
      std::size_t rest = from / each;
      for (std::size_t a = shape.size() - 2; a-- > 0;) {
        at = shape[a].name + " " + coordinate(s, a, rest % shape[a].size) + (at.empty() ? "" : ", ") + at;
        rest /= shape[a].size;
      }
      if (!at.empty()) std::cout << printable(at) << ":\n";
      if (from / each < most_pictures) print_picture(d, from, height, width);
      std::size_t const columns = std::min(width, most), rows = std::clamp<std::size_t>((most - printed) / columns, 1, height);
      print_matrix(s, from, rows, columns);
      printed += rows * columns;
    }
  }
  if (printed < count)
    std::cout << "(" << format_count(printed) << " of " << format_count(count) << " values; --all shows all, a slice such as ["
              << shape[0].name << "=0] a part, --csv, --json and --npy give them to programs)\n";
}

/// The beginning of a large dataset: as much as fits the terminal's width, in a few rows.
void print_beginning(dataset_slice const& s) {
  dataset const& d = s.part;
  print_range(d);
  dims const& shape = d.shape();
  if (shape.size() < 2) {
    print_picture(d, 0, 1, shape[0].size);
    std::vector<std::vector<std::string>> lines;
    for (std::size_t i = 0; i < std::min(shape[0].size, first_rows); ++i) lines.push_back({coordinate(s, 0, i), cell(d, i)});
    std::cout << "its beginning:\n" << format_table({}, lines);
    return;
  }
  std::size_t const height = shape[shape.size() - 2].size, width = shape.back().size, rows = std::min(height, first_rows);
  print_picture(d, 0, height, width);
  std::size_t used = 0, columns = 0;
  for (std::size_t i = 0; i < rows; ++i) used = std::max(used, columns_of(printable(coordinate(s, shape.size() - 2, i))));
  used = std::max(used, columns_of(printable(shape[shape.size() - 2].name + " \\ " + shape.back().name)));
  for (; columns < width; ++columns) {
    std::size_t most = columns_of(printable(coordinate(s, shape.size() - 1, columns)));
    for (std::size_t i = 0; i < rows; ++i) most = std::max(most, columns_of(printable(cell(d, i * width + columns))));
    if (columns > 0 && used + 2 + most > terminal_columns()) break;
    used += 2 + most;
  }
  std::cout << "its first corner:\n";
  print_matrix(s, 0, rows, columns);
}

void print_dataset(shown_dataset const& s, bool whole, bool all) {
  dataset const& d = s.d();
  heading(s.name);
  std::cout << printable(shape_of(d)) << ", " << type_of(d) << (d.units().empty() ? "" : ", in " + printable(d.units()))
            << (d.about().empty() ? "" : ": " + printable(d.about())) << '\n';
  for (taken_index const& t : s.slice.taken)
    std::cout << printable(t.dimension) << ' ' << t.index << (t.name.empty() ? "" : ": " + printable(t.name)) << '\n';
  if (!d.missing().empty() && !d.is_text() && d.values().count() != 0 && summary(d.values()).finite != d.values().count())
    std::cout << "missing: " << printable(d.missing()) << '\n';
  if (whole || all || element_count(d.shape()) == 0 || is_small(d)) {
    if (whole && d.shape().size() > 0 && element_count(d.shape()) > 8) print_range(d);
    print_values(s.slice, all ? std::numeric_limits<std::size_t>::max() : most_values);
  } else {
    print_beginning(s.slice);
  }
}

/// Small datasets over the same single dimension are columns of one table, and single numbers are rows of one.
void print_datasets(std::vector<shown_dataset> const& all, bool every_value) {
  std::vector<std::vector<std::string>> numbers;
  for (auto const& one : all) {
    dataset const& d = one.d();
    if (!d.shape().empty()) continue;
    bool const absent = !d.missing().empty() && !d.is_text() && !std::isfinite(d.scalar());
    numbers.push_back({one.name, cell(d, 0), d.units(), absent ? d.about() + " (missing: " + d.missing() + ")" : d.about()});
  }
  if (!numbers.empty()) std::cout << format_table({}, numbers);
  std::vector<bool> done(all.size(), false);
  for (std::size_t i = 0; i < all.size(); ++i) {
    dataset const& d = all[i].d();
    if (done[i] || d.shape().empty()) continue;
    std::vector<std::size_t> columns;
    if (d.shape().size() == 1 && is_small(d) && d.shape()[0].size > 0) {
      for (std::size_t k = i; k < all.size(); ++k) {
        dataset const& other = all[k].d();
        bool const coordinate_itself = all[i].name == d.shape()[0].name || all[k].name == d.shape()[0].name;
        if (!done[k] && other.shape() == d.shape() && (coordinate_itself || d.label_map() == other.label_map()))
          columns.push_back(k);
      }
    }
    if (columns.size() < 2) {
      print_dataset(all[i], false, every_value);
      continue;
    }
    dim const& over = d.shape()[0];
    std::cout << '\n';
    std::vector<std::string> header;
    // A dataset that is the coordinate of its own dimension is a column already, and comes first.
    auto const own = std::find_if(columns.begin(), columns.end(), [&](std::size_t k) { return all[k].name == over.name; });
    if (own != columns.end())
      std::rotate(columns.begin(), own, own + 1);
    else
      header.push_back(over.name);
    std::vector<std::vector<std::string>> lines(over.size);
    for (std::size_t r = 0; r < over.size && !header.empty(); ++r) lines[r].push_back(coordinate(all[i].slice, 0, r));
    for (std::size_t const k : columns) {
      done[k] = true;
      header.push_back(all[k].name + (all[k].d().units().empty() ? "" : " (" + all[k].d().units() + ")"));
      for (std::size_t r = 0; r < over.size; ++r) lines[r].push_back(cell(all[k].d(), r));
    }
    std::cout << format_blocks(header, lines, terminal_columns());
  }
}

std::vector<shown_dataset> read_all(result_reader const& r, std::string const& node) {
  std::vector<shown_dataset> out;
  for (auto const& name : r.datasets(node)) out.push_back({name, read_slice(r, {node, name, {}, false})});
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

int show_file(std::filesystem::path const& file, result_reader const& r, bool every_value) {
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
    if (n.kind == "metric" || every_value) {
      print_datasets(all, every_value);
      continue;
    }
    std::vector<std::vector<std::string>> rows;
    for (auto const& one : all) {
      dataset const& d = one.d();
      std::string range;
      if (!d.is_text() && d.values().count() > 0) {
        summary const s(d.values());
        if (d.shape().empty())
          range = cell(d, 0);
        else if (s.finite > 0)
          range = format_number(s.least) + " .. " + format_number(s.most);
      }
      rows.push_back({one.name, shape_of(d), type_of(d), range, d.units(), d.about()});
    }
    std::cout << format_table({"dataset", "shape", "type", "range", "units", "description"}, rows);
  }
  return 0;
}

int show_node(result_reader const& r, std::string const& name, bool every_value) {
  if (name != "_run") {
    node_record const n = r.node(name);
    std::cout << printable(n.name) << ": " << printable(n.kind) << ' ' << printable(n.plugin) << ' '
              << printable(n.plugin_version) << " (" << printable(n.build_id) << ")\nparameters " << printable(n.parameters)
              << "\nkey " << printable(n.key) << "\n\n";
  }
  print_datasets(read_all(r, name), every_value);
  return 0;
}

int show_dataset(result_reader const& r, std::string const& as_given, dataset_name const& wanted, bool every_value) {
  std::string const &node = wanted.node, &name = wanted.dataset;
  // A group, such as _run/inputs: all that is in it.
  auto const all = r.datasets(node);
  std::vector<shown_dataset> below;
  for (auto const& one : all)
    if (one.starts_with(name + "/"))
      below.push_back({one.substr(name.size() + 1), read_slice(r, {node, one, wanted.items, wanted.sliced})});
  if (!below.empty()) {
    print_datasets(below, every_value);
    return 0;
  }
  // Texts of the run are for reading, or for feeding back to `wayfarer run`, so they come as they are.
  if (node == "_run" && !wanted.sliced) {
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
  print_dataset({as_given, read_slice(r, wanted)}, true, every_value);
  return 0;
}

/// The forms that programs read, by their options.
export_form const* form_of(verb_options const& o) {
  export_form const* found = nullptr;
  for (char const* option : {"csv", "json", "npy"}) {
    if (!o.has(option)) continue;
    if (found) throw usage_error("--csv, --json and --npy: choose one");
    found = &find_export_form(option);
  }
  return found;
}

/// A dataset for a program to read: as text on standard output, or as a .npy file.
int give_dataset(fs::path const& file, export_form const& form, verb_options const& o, dataset_name const& wanted) {
  auto const bytes = [&] {
    result_reader const r(file);
    return form.table({wanted.node + "/" + wanted.dataset, read_slice(r, wanted)});
  };
  if (std::string_view(form.name) != "npy")
    return read_in_child({file}, [&] {
      std::cout << bytes();
      return 0;
    });
  provide_run_inputs({file.string()});
  output_place const to = foreign_place(o.get<std::string>("npy"), "--npy", o.has("force"));
  say_replaced(to);
  write_file_atomically(to.path, make_text_in_child({file}, bytes));
  return 0;
}

}  // namespace

int show_verb(words const& arguments) {
  verb_options o(
      "show F.h5 [NODE | NODE/DATASET | 'NODE/DATASET[SLICE]'] [OPTIONS]",
      "Shows a result file: what ran, how its figures compare with what was expected, and the metrics. With a node, its\n"
      "datasets: small ones whole, large ones as range and corner. With a dataset, or a slice of one, its values in tables\n"
      "that fit the terminal. A slice has an item for each dimension, by place or by name: an index, a range 5:9 whose end is\n"
      "not included, a label, or ':'.",
      {"wayfarer show values.h5", "wayfarer show values.h5 structure", "wayfarer show values.h5 structure/value_blocks",
       "wayfarer show lens.h5 'lens/top_tokens[0,:,:,0]'",
       "wayfarer show lens.h5 'lens/top_probabilities[layer=2,pos=5:9]' --csv",
       "wayfarer show values.h5 structure/value_blocks --npy blocks.npy", "wayfarer show values.h5 _run/pipeline"});
  o.named().add_options()("all", "show all values, however many")("csv", "print the dataset as CSV: one line a value")(
      "json", "print the dataset as JSON")("npy", po::value<std::string>()->value_name("FILE"), "write the dataset as .npy file")(
      "force", "let --npy replace a file");
  o.positional("F.h5");
  o.positional("NODE");
  if (!o.parse(arguments)) return 0;
  fs::path const file = o.required("F.h5");
  bool const all = o.has("all");
  auto const given = o.all("NODE");
  export_form const* const form = form_of(o);
  dataset_name const wanted = given.empty() ? dataset_name{} : parse_dataset_name(given[0]);
  if (form) {
    if (wanted.dataset.empty())
      throw usage_error("--" + std::string(form->name) +
                        " is of one dataset: name it as NODE/DATASET or 'NODE/DATASET[SLICE]'; 'wayfarer export' "
                        "writes all of a node");
    return give_dataset(file, *form, o, wanted);
  }
  return read_in_child({file}, [&] {
    result_reader const r(file);
    if (given.empty()) return show_file(file, r, all);
    if (wanted.dataset.empty()) return show_node(r, wanted.node, all);
    return show_dataset(r, given[0], wanted, all);
  });
}

}  // namespace wayfarer::host
