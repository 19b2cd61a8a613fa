#include "engine/expectations.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include <wayfarer/hooks.hpp>

#include "text/numbers.hpp"
#include "text/table.hpp"

namespace wayfarer::host {
namespace {

/// The index along one dimension that `at:` names; the last step where nothing is said.
std::size_t index_of(expectation const& e, dataset const& d, dim const& along) {
  auto const chosen = std::find_if(e.select.begin(), e.select.end(), [&](auto const& s) { return s.first == along.name; });
  auto const coordinate = d.coordinate_map().find(along.name);
  if (chosen == e.select.end()) {
    if (along.name == "step" && along.size > 0) return along.size - 1;
    if (along.size == 1) return 0;
    throw usage_error(e.what + " is not one number but " + describe(d.shape()) + "; say which with at: {" + along.name +
                      ": ...}");
  }
  if (coordinate == d.coordinate_map().end()) {
    if (chosen->second >= 0 && chosen->second < static_cast<double>(along.size) && chosen->second == std::floor(chosen->second))
      return static_cast<std::size_t>(chosen->second);
  } else {
    for (std::size_t i = 0; i < along.size; ++i)
      if (coordinate->second.get({i}) == chosen->second) return i;
  }
  throw usage_error(e.what + " has no " + along.name + " " + format_number(chosen->second));
}

double measure(expectation const& e, dataset const& d) {
  if (d.is_text()) throw usage_error(e.what + " holds texts, not numbers");
  for (auto const& [name, value] : e.select) {
    std::vector<std::string> known;
    for (auto const& x : d.shape()) known.push_back(x.name);
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw usage_error(e.what + " has no dimension '" + name + "'" + did_you_mean(name, known));
  }
  tensor t = d.values();
  for (auto const& along : d.shape()) t = t[index_of(e, d, along)];
  return t.get({});
}

}  // namespace

std::vector<verdict> compare_with_expected(plan const& p, std::function<results const&(std::size_t)> const& of) {
  std::vector<verdict> out;
  for (auto const& e : p.expectations) {
    verdict v{&e, std::numeric_limits<double>::quiet_NaN(), false};
    results const& node = of(e.node);
    try {
      auto const* d = node.find(e.dataset);
      if (!d)
        throw usage_error(p.nodes[e.node].name + " has no dataset '" + e.dataset + "'" + did_you_mean(e.dataset, node.names()));
      v.measured = measure(e, *d);
    } catch (usage_error const& wrong) {
      v.problem = located(p.file.string(), e.at.line, e.at.column, wrong.what());
    }
    v.within = std::isfinite(v.measured);
    if (e.at_least) v.within = v.within && v.measured >= *e.at_least;
    if (e.at_most) v.within = v.within && v.measured <= *e.at_most;
    if (e.near) v.within = v.within && std::abs(v.measured - *e.near) <= e.within;
    out.push_back(v);
  }
  return out;
}

std::string describe(expectation const& e) {
  std::string out;
  auto add = [&](std::string const& text) { out += (out.empty() ? "" : ", ") + text; };
  if (e.near) add(e.within > 0 ? format_number(*e.near) + " +- " + format_number(e.within) : "exactly " + format_number(*e.near));
  if (e.at_least) add("at least " + format_number(*e.at_least));
  if (e.at_most) add("at most " + format_number(*e.at_most));
  return out;
}

namespace {

std::string what_of(expectation const& e) {
  std::string out = e.what;
  for (auto const& [name, value] : e.select) out += " at " + name + " " + format_number(value);
  return out;
}

char const* word_of(verdict const& v) {
  if (!v.problem.empty()) return "not measured";
  if (v.wanted->recalled) return v.within ? "yes (recalled)" : "no (recalled)";
  return v.within ? "yes" : "NO";
}

}  // namespace

results tabulate(std::vector<verdict> const& all) {
  std::vector<std::string> what, expected, source, within;
  std::vector<double> measured;
  for (auto const& v : all) {
    what.push_back(what_of(*v.wanted));
    expected.push_back(describe(*v.wanted));
    source.push_back(v.wanted->source);
    within.emplace_back(word_of(v));
    measured.push_back(v.measured);
  }
  results out;
  if (all.empty()) return out;
  out.add("what", what).dims("expectation").about("node/dataset that was compared");
  out.add("measured", tensor::of(measured, {{"expectation", measured.size()}}))
      .about("what this run measured")
      .missing("there is no such number in this run");
  out.add("expected", expected).dims("expectation").about("published or derived figure");
  out.add("source", source).dims("expectation").about("where the figure is from");
  out.add("within", within).dims("expectation").about("whether the measured figure is within the expectation");
  return out;
}

std::string format_verdicts(std::vector<verdict> const& all) {
  std::vector<std::vector<std::string>> rows;
  for (auto const& v : all) {
    std::string figure = describe(*v.wanted);
    if (!v.wanted->source.empty()) figure += "  (" + v.wanted->source + ")";
    rows.push_back({what_of(*v.wanted), v.problem.empty() ? format_number(v.measured) : "none", figure, word_of(v)});
  }
  return format_table({"expectation", "measured", "published or derived", "within"}, rows);
}

}  // namespace wayfarer::host
