// wayfarer compare: the differences between two result files, with tolerances. The exit code is 0 or 1, for scripts.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>

#include <wayfarer/error.hpp>
#include <wayfarer/json.hpp>

#include "cli/options.hpp"
#include "export/slice.hpp"
#include "store/store.hpp"
#include "text/numbers.hpp"
#include "text/printable.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace po = boost::program_options;

namespace {

struct tolerance {
  double relative = 0, absolute = 0;
};

/// How two datasets of numbers differ: the largest differences, and how many are beyond the tolerance.
struct difference {
  std::size_t beyond = 0, first = 0;
  double absolute = 0, relative = 0;

  void see(std::size_t index, double a, double b, tolerance const& t) {
    if (a == b || (std::isnan(a) && std::isnan(b))) return;
    double const d = std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::infinity() : std::abs(a - b);
    double const size = std::max(std::abs(a), std::abs(b));
    absolute = std::max(absolute, d);
    relative = std::max(relative, std::isfinite(d) ? d / size : d);
    if (std::isfinite(d) && d <= t.absolute + t.relative * size) return;
    if (beyond++ == 0) first = index;
  }
};

difference differ(tensor const& a, tensor const& b, tolerance const& t) {
  difference out;
  if (a.type() == dtype::i64 && b.type() == dtype::i64) {
    // Beyond 2^53 different integers may be equal as doubles.
    auto const x = a.values<std::int64_t>(), y = b.values<std::int64_t>();
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] == y[i]) continue;
      double const p = static_cast<double>(x[i]), q = static_cast<double>(y[i]);
      out.see(i, p, p == q ? std::nextafter(q, std::numeric_limits<double>::infinity()) : q, t);
    }
    return out;
  }
  tensor const x = a.to(dtype::f64), y = b.to(dtype::f64);
  auto const p = x.values<double>(), q = y.values<double>();
  for (std::size_t i = 0; i < p.size(); ++i) out.see(i, p[i], q[i], t);
  return out;
}

/// "[3, 0]": the index of the i-th element.
std::string place(dims const& shape, std::size_t i) {
  std::string out;
  for (std::size_t a = shape.size(); a-- > 0;) {
    out = std::to_string(i % shape[a].size) + (out.empty() ? "" : ", ") + out;
    i /= shape[a].size;
  }
  return "[" + out + "]";
}

std::string shortened(std::string_view text, std::size_t most = 60) {
  std::string out = printable(text.substr(0, most));
  return "'" + out + (text.size() > most ? "...'" : "'");
}

/// The number of the first line that differs, and both lines.
std::string lines_apart(std::string_view x, std::string_view y) {
  for (std::size_t line = 1;; ++line) {
    auto const p = x.substr(0, x.find('\n')), q = y.substr(0, y.find('\n'));
    if (p != q || x.size() == p.size() || y.size() == q.size())
      return "line " + std::to_string(line) + ": " + shortened(p, 200) + " against " + shortened(q, 200);
    x.remove_prefix(p.size() + 1), y.remove_prefix(q.size() + 1);
  }
}

/// Gathers findings and prints them.
class comparison {
 public:
  comparison(result_reader const& a, result_reader const& b, tolerance t, bool all) : a_(a), b_(b), tolerance_(t), all_(all) {}

  /// Two nodes, whatever they are called: what they are, and their datasets.
  int nodes(std::string const& first, std::string const& second) {
    node_record const x = a_.node(first), y = b_.node(second);
    std::string const where = first == second ? first : first + ", " + second;
    text(where, "plugin", x.plugin, y.plugin);
    text(where, "kind", x.kind, y.kind);
    text(where, "plugin_version", x.plugin_version, y.plugin_version);
    json(where, "parameters", x.parameters, y.parameters);
    group(first, second);
    return told("names, keys and inputs of the nodes are ignored");
  }

  /// Two datasets, or slices of them.
  int datasets(dataset_name const& first, dataset_name const& second) {
    ++compared_;
    std::string const x = first.node + "/" + first.dataset, y = second.node + "/" + second.dataset;
    std::string const where = x == y ? x : x + ", " + y;
    compare(where, read_slice(a_, first).part, read_slice(b_, second).part);
    if (all_ && differences_ == 0) findings_.push_back({where, "same" + note_});
    return told("");
  }

  int run() {
    text("", "title", a_.title(), b_.title());
    text("", "seed", std::to_string(a_.seed()), std::to_string(b_.seed()));
    for (auto const& node : in_both("", a_.nodes(), b_.nodes(), "node")) {
      node_record const x = a_.node(node), y = b_.node(node);
      text(node, "plugin", x.plugin, y.plugin);
      text(node, "kind", x.kind, y.kind);
      text(node, "plugin_version", x.plugin_version, y.plugin_version);
      text(node, "build_id", x.build_id, y.build_id);
      json(node, "parameters", x.parameters, y.parameters);
      text(node, "key", x.key, y.key);
      group(node);
    }
    inputs();
    versions();
    group("_run");
    return told("times, threads, memory and environment of the runs are ignored");
  }

 private:
  int told(std::string const& left_aside) const {
    std::string const datasets = std::to_string(compared_) + (compared_ == 1 ? " dataset" : " datasets");
    if (findings_.empty())
      std::cout << "no difference in " << datasets;
    else
      std::cout << format_table({}, findings_) << differences_ << (differences_ == 1 ? " difference" : " differences") << ", "
                << datasets << " compared";
    std::cout << (left_aside.empty() ? "" : " (" + left_aside + ")") << '\n';
    return differences_ == 0 ? 0 : 1;
  }

  void differs(std::string const& where, std::string const& what) {
    ++differences_;
    findings_.push_back({where, what});
  }

  void text(std::string const& node, std::string const& what, std::string const& x, std::string const& y) {
    if (x != y) differs(node.empty() ? what : node, (node.empty() ? "" : what + " ") + shortened(x) + " against " + shortened(y));
  }

  /// Every key of two JSON texts that differs, with both values.
  void json(std::string const& where, std::string const& what, std::string const& x, std::string const& y) {
    if (x == y) return;
    try {
      json_limits const limits{std::size_t{64} << 20, 64, 5'000'000};
      keys(where, what, parse_json(x, where, limits), parse_json(y, where, limits));
    } catch (data_error const&) {
      text(where, what, x, y);
    }
  }

  void keys(std::string const& where, std::string const& what, json_value const& x, json_value const& y) {
    // Parameters are reported with their node.
    if (x == y || (where == "_run/plan" && what.starts_with("plan.nodes.") && what.ends_with(".parameters"))) return;
    if (x.kind() != json_kind::object || y.kind() != json_kind::object) {
      differs(where, what + " " + shortened(to_json(x), 200) + " against " + shortened(to_json(y), 200));
      return;
    }
    for (auto const& [key, value] : x.members()) {
      if (auto const other = y.find(key))
        keys(where, what + "." + key, value, *other);
      else
        differs(where, what + "." + key + " " + shortened(to_json(value), 200) + " only in the first");
    }
    for (auto const& [key, value] : y.members())
      if (!x.find(key)) differs(where, what + "." + key + " " + shortened(to_json(value), 200) + " only in the second");
  }

  /// Files that were read, by node and name, with sizes and digests; in a group of their own, since a file more moves all others.
  void inputs() {
    using file = std::pair<std::string, std::string>;
    auto const read = [](result_reader const& r) {
      std::map<file, std::string> all;
      auto const names = r.datasets("_run");
      for (char const* column : {"inputs/node", "inputs/name", "inputs/bytes", "inputs/sha256"})
        if (std::find(names.begin(), names.end(), column) == names.end()) return all;
      auto const node = r.read("_run", "inputs/node"), name = r.read("_run", "inputs/name"),
                 bytes = r.read("_run", "inputs/bytes"), digest = r.read("_run", "inputs/sha256");
      for (std::size_t i = 0; i < name.texts().size() && i < node.texts().size() && i < digest.texts().size(); ++i) {
        auto const size = i < bytes.values().count() ? bytes.values().get({i}) : 0;
        all[{node.texts()[i], name.texts()[i]}] =
            format_count(static_cast<std::uint64_t>(std::max(0.0, size))) + " bytes " + digest.texts()[i].substr(0, 12);
      }
      return all;
    };
    auto const x = read(a_), y = read(b_);
    for (auto const& [which, about] : x) {
      auto const other = y.find(which);
      std::string const where = "_run/inputs", what = which.first + ": " + which.second + ", ";
      if (other == y.end())
        differs(where, what + about + ", only in the first");
      else if (other->second != about)
        differs(where, what + about + " against " + other->second);
    }
    for (auto const& [which, about] : y)
      if (!x.contains(which)) differs("_run/inputs", which.first + ": " + which.second + ", " + about + ", only in the second");
  }

  /// Of the libraries and of Wayfarer itself.
  void versions() {
    auto const read = [](result_reader const& r) {
      std::map<std::string, std::string> all;
      auto const known = r.datasets("_run");
      for (char const* column : {"versions/name", "versions/value"})
        if (std::find(known.begin(), known.end(), column) == known.end()) return all;
      auto const name = r.read("_run", "versions/name"), value = r.read("_run", "versions/value");
      for (std::size_t i = 0; i < name.texts().size() && i < value.texts().size(); ++i) all[name.texts()[i]] = value.texts()[i];
      return all;
    };
    auto const x = read(a_), y = read(b_);
    for (auto const& [name, value] : x) {
      auto const other = y.find(name);
      if (other == y.end() || other->second != value)
        differs("_run/versions", name + " " + shortened(value) +
                                     (other == y.end() ? " only in the first" : " against " + shortened(other->second)));
    }
    for (auto const& [name, value] : y)
      if (!x.contains(name)) differs("_run/versions", name + " " + shortened(value) + " only in the second");
  }

  /// Names that both have, in the order of the first; the others are reported.
  std::vector<std::string> in_both(std::string const& node, std::vector<std::string> const& x, std::vector<std::string> const& y,
                                   std::string const& what) {
    auto const has = [](std::vector<std::string> const& all, std::string const& name) {
      return std::find(all.begin(), all.end(), name) != all.end();
    };
    // Inputs are compared file by file, versions name by name.
    auto const skip = [&](std::string const& name) {
      return node == "_run" && (varies_between_runs(name) || name.starts_with("inputs/") || name.starts_with("versions/"));
    };
    std::string const prefix = node.empty() ? "" : node + "/";
    std::vector<std::string> out;
    for (auto const& name : x) {
      if (skip(name)) continue;
      if (has(y, name))
        out.push_back(name);
      else
        differs(prefix + name, what + " only in the first");
    }
    for (auto const& name : y)
      if (!skip(name) && !has(x, name)) differs(prefix + name, what + " only in the second");
    return out;
  }

  void group(std::string const& node) { group(node, node); }
  void group(std::string const& node, std::string const& second) {
    for (auto const& name : in_both(node, a_.datasets(node), b_.datasets(second), "dataset")) {
      ++compared_;
      std::size_t const before = differences_;
      compare(node + "/" + name, a_.read(node, name), b_.read(second, name));
      if (all_ && differences_ == before) findings_.push_back({node + "/" + name, "same" + note_});
      note_.clear();
    }
  }

  void compare(std::string const& where, dataset const& x, dataset const& y) {
    if (x.missing() != y.missing())
      differs(where, "missing values mean " + shortened(x.missing()) + " against " + shortened(y.missing()));
    if (x.view() != y.view()) differs(where, "view " + shortened(x.view()) + " against " + shortened(y.view()));
    if (x.about() != y.about()) differs(where, "description " + shortened(x.about()) + " against " + shortened(y.about()));
    if (x.units() != y.units()) differs(where, "units " + shortened(x.units()) + " against " + shortened(y.units()));
    if (x.is_text() != y.is_text()) return differs(where, x.is_text() ? "texts against numbers" : "numbers against texts");
    if (x.shape() != y.shape()) return differs(where, "shape " + describe(x.shape()) + " against " + describe(y.shape()));
    coordinates(where, x, y);
    if (x.is_text()) return texts(where, x.texts(), y.texts());
    if (x.values().type() != y.values().type())
      differs(where, std::string(name_of(x.values().type())) + " against " + std::string(name_of(y.values().type())));
    difference const d = differ(x.values(), y.values(), tolerance_);
    std::string const largest = "largest difference " + format_number(d.absolute) + ", relative " + format_number(d.relative);
    if (d.beyond != 0)
      differs(where, format_count(d.beyond) + " of " + format_count(x.values().count()) + " values differ" +
                         (x.shape().empty() ? "" : ", first at " + place(x.shape(), d.first)) + "; " + largest);
    else if (d.absolute > 0)
      note_ = " within the tolerance; " + largest;
  }

  void texts(std::string const& where, std::vector<std::string> const& x, std::vector<std::string> const& y) {
    auto const [p, q] = std::mismatch(x.begin(), x.end(), y.begin(), y.end());
    if (p == x.end()) return;
    if (where == "_run/plan") return json(where, "plan", *p, *q);
    if (p->find('\n') != p->npos || q->find('\n') != q->npos) return differs(where, lines_apart(*p, *q));
    differs(where, "text [" + std::to_string(p - x.begin()) + "] " + shortened(*p) + " against " + shortened(*q));
  }

  void coordinates(std::string const& where, dataset const& x, dataset const& y) {
    for (dim const& d : x.shape()) {
      auto const *p = x.find_labels(d.name), *q = y.find_labels(d.name);
      auto const s = x.coordinate_map().find(d.name), t = y.coordinate_map().find(d.name);
      bool const numbers = s != x.coordinate_map().end(), others = t != y.coordinate_map().end();
      if ((p != nullptr) != (q != nullptr) || numbers != others)
        differs(where, "coordinate of " + d.name + " of another kind");
      else if (p && *p != *q)
        texts(where + " (coordinate " + d.name + ")", *p, *q);
      else if (numbers && (s->second.shape() != t->second.shape() || differ(s->second, t->second, tolerance_).beyond != 0))
        differs(where, "coordinate of " + d.name + " differs");
    }
  }

  result_reader const& a_;
  result_reader const& b_;
  tolerance tolerance_;
  bool all_;
  std::vector<std::vector<std::string>> findings_;
  std::size_t differences_ = 0, compared_ = 0;
  std::string note_;
};

/// A result file, and what is meant in it: "a.h5/maps/cosine[0]" is maps/cosine[0] of a.h5.
struct side {
  std::filesystem::path file;
  std::string inside;
};

side side_of(std::string const& given) {
  std::error_code none;
  if (std::filesystem::is_regular_file(given, none)) return {given, ""};
  for (auto slash = given.rfind('/', given.find('[')); slash != given.npos && slash > 0; slash = given.rfind('/', slash - 1))
    if (std::string const file = given.substr(0, slash); std::filesystem::is_regular_file(file, none))
      return {file, given.substr(slash + 1)};
  return {given, ""};
}

}  // namespace

int compare_verb(words const& arguments) {
  verb_options o(
      "compare A.h5[/NODE] B.h5[/NODE] [OPTIONS]",
      "Lists how two result files differ: nodes, datasets, shapes, coordinates and values, and the largest difference of each\n"
      "dataset. Values that differ in every run (times, threads, memory, environment) are ignored.\n"
      "Two nodes, datasets or slices of datasets can be compared, also of one file: A.h5/NODE/DATASET[SLICE].\n"
      "Exit code 0 if nothing differs beyond the tolerance, 1 if something does, 3 if a file can't be read.",
      {"wayfarer compare before.h5 after.h5", "wayfarer compare one-thread.h5 two-threads.h5 --all",
       "wayfarer compare this-machine.h5 that-machine.h5 --rtol 1e-5 --atol 1e-8",
       "wayfarer compare walks.h5/greedy walks.h5/beam",
       "wayfarer compare 'before.h5/maps/cosine[0]' 'after.h5/maps/cosine[0]'"});
  o.named().add_options()("rtol", po::value<double>()->default_value(0, "0")->value_name("X"),
                          "relative tolerance: of the larger of two values")(
      "atol", po::value<double>()->default_value(0, "0")->value_name("X"), "absolute tolerance, added to the relative one")(
      "all", "also list the datasets that agree");
  o.positional("A.h5");
  o.positional("B.h5");
  if (!o.parse(arguments)) return 0;
  std::string const wanted = "the result file to read, such as my.h5";
  side const first = side_of(o.place("A.h5", wanted)), second = side_of(o.place("B.h5", wanted));
  dataset_name const x = parse_dataset_name(first.inside), y = parse_dataset_name(second.inside);
  if (x.node.empty() != y.node.empty() || x.dataset.empty() != y.dataset.empty())
    throw usage_error(
        "compare two files, two nodes, or two datasets: A.h5 B.h5, A.h5/NODE B.h5/NODE or A.h5/NODE/DATASET B.h5/NODE/DATASET");
  tolerance const t{o.get<double>("rtol"), o.get<double>("atol")};
  if (!(t.relative >= 0) || !(t.absolute >= 0)) throw usage_error("--rtol and --atol must be at least 0");
  bool const all = o.has("all");
  return read_in_child({first.file, second.file}, [&] {
    result_reader const a(first.file), b(second.file);
    comparison c(a, b, t, all);
    return x.node.empty() ? c.run() : x.dataset.empty() ? c.nodes(x.node, y.node) : c.datasets(x, y);
  });
}

}  // namespace wayfarer::host
