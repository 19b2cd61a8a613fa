// What the checks of a probe share: the probe, its stage, and what it observes there. Each check_* holds the probe to one rule
// and throws violation where it breaks it; probe_steps lists them. Lives in the child process that checks.
#pragma once

#include <cstdint>
#include <memory>

#include "conformance/guarded.hpp"
#include "conformance/probes/rig.hpp"
#include "conformance/steps.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {

struct probe_case {
  std::shared_ptr<workbench> bench;
  std::shared_ptr<probe const> subject;
  std::shared_ptr<rig const> on;
  bool observing = false;  ///< whether it observes anything

  probe const& what() const { return *subject; }
  stage const& found() const { return on->on(); }
  std::uint64_t seed() const { return bench->seed; }
  /// Whether activations are what it observes.
  bool captures() const { return !on->hooks().empty(); }
};

// declared_hooks.cpp
void check_needs(probe_case const&, reporter&);
void check_all_hooks_captured(probe_case const&, reporter&);
// results.cpp
void check_results_written(probe_case const&, reporter&);
void check_fields_written(probe_case const&, reporter&);
void check_steps_agree(probe_case const&, reporter&);
// blocks.cpp; `change` stands for what is observed
void check_split(probe_case const&, transform const& change, reporter&);
void check_merge_order(probe_case const&, transform const& change, reporter&);
// instances.cpp
void check_measures_repeat(probe_case const&, reporter&);
void check_instances_are_independent(probe_case const&, reporter&);
void check_observing_on_threads(probe_case const&, reporter&);
void check_finishing_on_threads(probe_case const&, reporter&);
// shared_values.cpp
void check_shared_values(probe_case const&, reporter&);
// given_arrays.cpp
void check_input_left_alone(probe_case const&, reporter&);
void check_within_bounds(probe_case const&, guard_side);
void check_every_activation(probe_case const&, double value, reporter&);
// other_inputs.cpp
void check_nothing_observed(probe_case const&, reporter&);
/// Steps with items of these lengths, and with models of other families.
void add_length_steps(std::vector<step>&, std::shared_ptr<probe_case const> const&);
void add_family_steps(std::vector<step>&, std::shared_ptr<probe_case const> const&);

}  // namespace wayfarer::host::conformance
