// What the checks of a metric share: the metric, and the results that its ports are wired to. Each check_* holds the metric to
// one rule and throws violation where it breaks it; metric_steps lists them. Lives in the child process that checks.
#pragma once

#include <memory>
#include <vector>

#include <wayfarer/metric.hpp>

#include "conformance/steps.hpp"
#include "conformance/wiring.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {

struct metric_case {
  std::shared_ptr<workbench> bench;
  std::vector<candidate> candidates;  ///< that the wires point into
  wiring wires;
  std::shared_ptr<metric const> subject;

  metric const& what() const { return *subject; }
};

results measure(metric const&, wiring const&);

// pure_function.cpp
void check_results_of_metric(metric_case const&, reporter&);
void check_metric_repeats(metric_case const&, reporter&);
void check_metric_leaves_input_alone(metric_case const&, reporter&);
void check_metric_on_threads(metric_case const&, reporter&);
// other_numbers.cpp
void check_shapes_stay(metric_case const&, reporter&);
void check_every_number(metric_case const&, double value);

}  // namespace wayfarer::host::conformance
