// wayfarer show: a result file as tables for people.
#include <algorithm>
#include <iostream>

#include <wayfarer/error.hpp>
#include <wayfarer/file.hpp>
#include <wayfarer/hooks.hpp>
#include <wayfarer/run_files.hpp>

#include "cli/options.hpp"
#include "cli/outputs.hpp"
#include "cli/pager.hpp"
#include "cli/show_values.hpp"
#include "cli/terminal.hpp"
#include "export/export.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;
namespace fs = std::filesystem;

namespace {

std::vector<shown_dataset> read_all(result_reader const& r, std::string const& node) {
  std::vector<shown_dataset> out;
  for (auto const& name : r.datasets(node)) out.push_back(read_shown(r, name, {node, name, {}, false}));
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
      lines[i].back() = yes_no ? (cell_text(column, i) == "0" ? "NO" : "yes") : cell_text(column, i);
    }
  }
  if (lines.empty()) return;
  print_heading("Measured against what was expected");
  for (auto& line : lines) line.resize(header.size());
  std::cout << format_table(header, lines);
}

int show_file(std::filesystem::path const& file, result_reader const& r, bool every_value) {
  bool const bold = colours();
  std::cout << (bold ? "\033[1m" : "") << printable(r.title().empty() ? "(no title)" : r.title()) << (bold ? "\033[0m" : "")
            << '\n';
  auto const number = [&](char const* name) { return static_cast<std::uint64_t>(std::max(0.0, r.read("_run", name).scalar())); };
  std::cout << "seed " << r.seed();
  // A reproducible run leaves out what differs between runs.
  bool const timed = !r.run_text("started").empty();
  if (timed) {
    auto const threads = number("threads");
    std::cout << ", run " << printable(r.run_text("started")) << " to " << printable(r.run_text("ended")) << " on " << threads
              << (threads == 1 ? " thread" : " threads") << ", at most " << format_size(number("peak_memory")) << " of memory";
  }
  std::cout << "; file " << format_size(std::filesystem::file_size(file)) << '\n';

  print_heading("Nodes");
  std::vector<std::vector<std::string>> lines;
  std::vector<node_record> records;
  for (auto const& name : r.nodes()) {
    auto const& n = records.emplace_back(r.node(name));
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.1f", n.seconds);
    lines.push_back({n.name, n.kind, n.plugin, n.plugin_version, std::to_string(r.datasets(name).size())});
    if (timed) lines.back().emplace_back(seconds);
  }
  std::vector<std::string> header{"node", "kind", "plugin", "version", "datasets"};
  if (timed) header.emplace_back("seconds");
  std::cout << format_table(header, lines);
  show_expectations(r);
  dataset const warnings = r.read("_run", "warnings");
  for (auto const& warning : warnings.texts()) std::cout << "\nwarning: " << printable(warning) << '\n';

  for (auto const& n : records) {
    auto const all = read_all(r, n.name);
    if (all.empty()) continue;
    print_heading(n.name);
    if (n.kind == "metric" || every_value) {
      print_datasets(all, every_value);
      continue;
    }
    std::vector<std::vector<std::string>> rows;
    for (auto const& one : all) {
      dataset const& d = one.d();
      rows.push_back({one.name, shape_of(d), type_of(d), range_of(d), d.units(), view_of(d), d.about()});
    }
    std::cout << format_table({"dataset", "shape", "type", "range", "units", "view", "description"}, rows);
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
      below.push_back(read_shown(r, one.substr(name.size() + 1), {node, one, wanted.items, wanted.sliced}));
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
  print_dataset(read_shown(r, as_given, wanted), every_value);
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
      "Shows a result file: what ran, the comparison with the expected figures, and the metrics. With a node, its\n"
      "datasets; with a dataset, or a slice of one, its values: as tables that fit the terminal, page by page (less, or PAGER)\n"
      "where they are longer than it. A slice has an item for each dimension, by place or by name: an index, a range 5:9 whose\n"
      "end is not included, a label, or ':'.",
      {"wayfarer show values.h5", "wayfarer show values.h5 structure", "wayfarer show values.h5 structure/value_blocks",
       "wayfarer show lens.h5 'lens/top_tokens[0,:,:,0]'",
       "wayfarer show lens.h5 'lens/top_probabilities[layer=2,pos=5:9]' --csv",
       "wayfarer show values.h5 structure/value_blocks --npy blocks.npy", "wayfarer show values.h5 _run/pipeline"});
  o.named().add_options()("all", "show all values, however many")("csv", "print the dataset as CSV: one line a value")(
      "json", "print the dataset as JSON")("npy", po::value<std::string>()->value_name("FILE"), "write the dataset as .npy file")(
      "force", "let --npy replace a file")("no-pager", "print all at once, on a terminal too");
  o.positional("F.h5");
  o.positional("NODE");
  if (!o.parse(arguments)) return 0;
  fs::path const file = o.place("F.h5", "the result file to read, such as my.h5");
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
  pager const pages(!o.has("no-pager"));
  return pages.ended(read_in_child({file}, [&] {
    result_reader const r(file);
    if (given.empty()) return show_file(file, r, all);
    if (wanted.dataset.empty()) return show_node(r, wanted.node, all);
    return show_dataset(r, given[0], wanted, all);
  }));
}

}  // namespace wayfarer::host
