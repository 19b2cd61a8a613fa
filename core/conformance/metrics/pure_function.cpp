// The rules writes_results, repeatable, leaves_input_alone and many_threads: a metric is a pure function of the results that it
// reads.
#include "conformance/metrics/metric_case.hpp"

namespace wayfarer::host::conformance {

results measure(metric const& what, wiring const& wires) {
  results r;
  what.measure(wire_up(wires), r);
  return r;
}

void check_results_of_metric(metric_case const& c, reporter& out) {
  check_results(*c.bench, measure(c.what(), c.wires), 0, out);
}

void check_metric_repeats(metric_case const& c, reporter& out) {
  std::string const first = digest_of(measure(c.what(), c.wires));
  if (digest_of(measure(c.what(), c.wires)) != first)
    throw violation("repeatable", "the same results measured twice give other numbers");
  if (digest_of(measure(*c.bench->make<metric>(), c.wires)) != first)
    throw violation("independent_instances", "a second instance with the same parameters gives other numbers");
  out.digest("results", first);
}

void check_metric_leaves_input_alone(metric_case const& c, reporter&) {
  std::vector<std::string> before;
  for (auto const& w : c.wires) before.push_back(digest_of(*w.from->all));
  measure(c.what(), c.wires);
  for (std::size_t i = 0; i < c.wires.size(); ++i)
    if (digest_of(*c.wires[i].from->all) != before[i])
      throw violation("leaves_input_alone", "measuring changes what '" + c.wires[i].port + "' is wired to");
}

void check_metric_on_threads(metric_case const& c, reporter&) {
  std::string const alone = digest_of(measure(c.what(), c.wires));
  for (int round = 0; round < 5; ++round)
    on_threads(4, [&](std::size_t) {
      if (digest_of(measure(c.what(), c.wires)) != alone)
        throw violation("many_threads", "numbers differ while other threads measure");
    });
}

}  // namespace wayfarer::host::conformance
