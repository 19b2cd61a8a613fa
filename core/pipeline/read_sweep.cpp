#include "pipeline/reading.hpp"

#include <algorithm>

#include <wayfarer/hooks.hpp>

#include "pipeline/values.hpp"

namespace wayfarer::host {
namespace {

std::string text_of(yaml_value const& v) {
  if (v.kind != yaml_kind::list) return v.text;
  std::string all;
  for (auto const& one : v.items) all += (all.empty() ? "" : ",") + text_of(one);
  return all;
}

}  // namespace

void read_swept(reading& file, plan_node& n, draft& d, std::string const& name, yaml_entry const& e) {
  auto const* p = n.what->find_param(name);
  if (!p) {
    std::vector<std::string> known;
    for (auto const& one : n.what->params()) known.emplace_back(one.name);
    for (auto const& near : near_names(name, known)) d.suggested.push_back(near);
    file.complain(
        n, e.from,
        std::string(n.what->id()) + " has no parameter " + single_quoted(name) + " to sweep" + did_you_mean(name, known));
    return;
  }
  bool const twice = !n.places.emplace(name, e.from.at).second;
  if (twice) file.complain(n, e.from, "'" + name + "' has a value and is swept; leave one out");
  if (e.value.kind == yaml_kind::list && e.value.items.empty()) {
    file.complain(n, place_of(e),
                  "'sweep' has an empty list for '" + name + "'; give the values that it is to take, or leave it out");
    return;
  }
  if (e.value.kind != yaml_kind::list) {
    file.complain(n, place_of(e), "'sweep' needs a list of values for '" + name + "', got " + found(e.value));
    return;
  }
  swept_parameter s{name, {}, {}, {}};
  for (auto const& one : e.value.items) {
    std::vector<value_problem> wrong;
    auto value = convert(*p, one, wrong);
    for (auto& w : wrong) file.complain(n, one.kind == yaml_kind::null ? e.from : w.from, std::move(w.message));
    if (!value) continue;
    if (p->type == param_type::path && !value->text().empty())
      value = param_value(file.resolve(value->text(), !e.from.option.empty()));
    if (std::find(s.values.begin(), s.values.end(), *value) != s.values.end()) {
      file.complain(n, one.from, "'" + name + "' takes the value " + single_quoted(text_of(one)) + " twice in 'sweep'");
      continue;
    }
    s.values.push_back(std::move(*value));
    s.given.push_back(text_of(one));
    s.origins.push_back(one.from);
  }
  // Of a parameter that has no good value the others' combinations are left.
  if (!twice && !s.values.empty()) n.sweep.push_back(std::move(s));
}

/// Every combination of the swept values as parameters of its own.
void expand(reading& file, plan_node& n, draft const& d) {
  if (n.sweep.empty()) return;
  std::size_t count = 1;
  for (auto const& s : n.sweep)
    if (__builtin_mul_overflow(count, s.values.size(), &count) || count > max_combinations) {
      file.complain(n, d.entry->from,
                    "'sweep' makes more than " + std::to_string(max_combinations) + " combinations; sweep fewer values");
      return;
    }
  for (std::size_t i = 0; i < count; ++i) {
    config c = n.parameters;
    std::size_t rest = i;
    for (auto s = n.sweep.rbegin(); s != n.sweep.rend(); ++s) {
      c.set(s->name, s->values[rest % s->values.size()]);
      rest /= s->values.size();
    }
    if (c.has("seed") && n.what->find_param("seed")->type == param_type::integer)
      c.set_seed(static_cast<std::uint64_t>(c["seed"].integer()));
    n.variants.push_back(std::move(c));
  }
}

}  // namespace wayfarer::host
