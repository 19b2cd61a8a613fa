// The rules writes_results and steps_agree.
#include <algorithm>
#include <map>

#include "conformance/probes/probe_case.hpp"

namespace wayfarer::host::conformance {

void check_results_written(probe_case const& c, reporter& out) {
  results const r = c.on->measure(c.what());
  check_results(*c.bench, r, c.observing ? c.on->items().size() : 0, out);
}

void check_fields_written(probe_case const& c, reporter& out) {
  std::map<std::string, bool> written;
  std::vector<transform> fills{{}};
  if (c.captures()) fills = {{}, whole_numbers(c.seed()), filled(1), filled(-2)};
  for (auto const& change : fills) {
    accumulator const sums = c.on->sums(c.what(), c.on->blocks(2, change));
    for (auto const& [name, field] : sums.fields()) {
      auto const own = sums[name].to(dtype::f64);
      auto const values = own.values<double const>();
      written[name] = written[name] || std::any_of(values.begin(), values.end(), [](double v) { return v != 0; });
    }
  }
  for (auto const& [name, yes] : written)
    if (!yes) out.note("writes_results", "the field '" + name + "' is zero whatever is observed; is it written?");
}

void check_steps_agree(probe_case const& c, reporter&) {
  results const now = c.on->measure(c.what());
  stage later = c.found();
  if (later.over)
    if (auto other = make_model(*c.bench, later.model_id, c.seed() + 1)) later.over = other;
  rig const then(later, c.what(), c.bench->base.seed());
  results const r = then.measure(c.what(), 2, then.hooks().empty() ? transform{} : whole_numbers(c.seed()), 7);
  std::string const name = first_difference(now, r, false);
  if (!name.empty()) throw violation("steps_agree", "'" + name + "' is not there at every step, or changes its shape");
}

}  // namespace wayfarer::host::conformance
