#include "pipeline/reading.hpp"

#include <array>

#include <wayfarer/hooks.hpp>

#include "pipeline/values.hpp"

namespace wayfarer::host {
namespace {

constexpr std::array<std::string_view, 7> expect_keys{"at_least", "at_most", "near", "within", "at", "source", "recalled"};

void find_expected(reading& file, expectation& x, yaml_entry const& e) {
  auto const slash = e.key.find('/');
  if (slash == std::string::npos || slash + 1 == e.key.size()) {
    file.complain(e.from, "expect names a scalar as node/dataset, got " + single_quoted(e.key));
    return;
  }
  auto const node = e.key.substr(0, slash);
  x.dataset = e.key.substr(slash + 1);
  auto const at = file.index.find(node);
  if (at == file.index.end()) {
    file.complain(e.from, "expect names " + single_quoted(node) + ", but there is no such node" + did_you_mean(node, file.names));
    return;
  }
  x.node = at->second;
  auto const& n = file.out.nodes[x.node];
  if (n.kind == plugin_kind::source || (n.sound && !leaves_results(n)))
    file.complain(e.from,
                  "expect needs results, but '" + node + "' is a " + std::string(name_of(n.kind)) + ", which leaves none");
}

void read_expectation_key(reading& file, expectation& x, yaml_entry const& k) {
  if (k.key == "at_least") {
    x.at_least = file.number(k);
  } else if (k.key == "at_most") {
    x.at_most = file.number(k);
  } else if (k.key == "near") {
    x.near = file.number(k);
  } else if (k.key == "within") {
    auto const w = file.number(k);
    if (w && *w < 0) file.complain(k.value.from, "'within' must be at least 0, got " + found(k.value));
    x.within = w.value_or(0);
  } else if (k.key == "source") {
    if (k.value.kind != yaml_kind::scalar) file.complain(k.value.from, "'source' must be a text, got " + found(k.value));
    x.source = k.value.text;
  } else if (k.key == "recalled") {
    auto const b = k.value.kind == yaml_kind::scalar ? boolean_of(k.value.text) : std::nullopt;
    if (!b) file.complain(k.value.from, "'recalled' must be true or false, got " + found(k.value));
    x.recalled = b.value_or(false);
  } else if (k.key == "at") {
    if (k.value.kind != yaml_kind::map)
      file.complain(k.value.from, "'at' must be a map such as {step: 1001}, got " + found(k.value));
    for (auto const& dimension : k.value.entries)
      if (auto const c = file.number(dimension)) x.select.emplace_back(dimension.key, *c);
  } else {
    file.complain(k.from, "an expectation has no key " + single_quoted(k.key) + did_you_mean(k.key, strings_of(expect_keys)));
  }
}

void read_expectation(reading& file, yaml_entry const& e, yaml_value const& v) {
  expectation x;
  x.what = e.key;
  x.at = e.from.at;
  auto const before = file.problems.size();
  find_expected(file, x, e);
  if (v.kind != yaml_kind::map) {
    file.complain(v.kind == yaml_kind::null ? e.from : v.from,
                  single_quoted(e.key) + " must have a map with at_least, at_most or near (with within), got " + found(v));
    return;
  }
  bool const has_within = v.find("within") != nullptr;
  for (auto const& k : v.entries) read_expectation_key(file, x, k);
  if (!v.find("at_least") && !v.find("at_most") && !v.find("near"))
    file.complain(e.from, "nothing to compare " + single_quoted(e.key) + " with: give at_least, at_most, or near with within");
  if (auto const* near = v.find("near"); near && !has_within)
    file.complain(near->from, "'near' needs 'within': how far from it is still right");
  if (auto const* within = v.find("within"); within && !v.find("near"))
    file.complain(within->from, "'within' belongs to 'near', which is not given");
  if (x.at_least && x.at_most && *x.at_least > *x.at_most)
    file.complain(v.find("at_most")->value.from, "no number is both at_least and at_most these");
  if (file.problems.size() == before) file.out.expectations.push_back(std::move(x));
}

}  // namespace

void read_expectations(reading& file, yaml_entry const& expect) {
  if (expect.value.kind != yaml_kind::map) {
    file.complain(expect.value.kind == yaml_kind::null ? expect.from : expect.value.from,
                  "'expect' must be a map such as {contrast/ratio: {at_least: 1.5}}, got " + found(expect.value));
    return;
  }
  for (auto const& e : expect.value.entries) {
    if (e.value.kind != yaml_kind::list) {
      read_expectation(file, e, e.value);
    } else if (e.value.items.empty()) {
      file.complain(e.value.from, "nothing is expected of '" + e.key + "'");
    } else {
      for (auto const& one : e.value.items) read_expectation(file, e, one);
    }
  }
}

}  // namespace wayfarer::host
