// Which model, items and results suit a probe.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "conformance/probes/rig.hpp"
#include "conformance/workbench.hpp"

namespace wayfarer::host::conformance {

/// What a stage must have.
struct stage_request {
  bool wants_model = false, wants_source = false;
  std::size_t shortest = 0, longest = 0, items = 0;  ///< of its source; longest at most what the model takes
  std::string only_model = {};                       ///< "" for any
};
/// Every stage of that sort, in the order in which they are tried. `unavailable`: gains the reasons where a model is missing.
std::vector<stage> stages_for(workbench&, stage_request const&, std::vector<std::string>& unavailable);

/// A stage on which the probe works, and its configuration; where there is none, one on which it fails as a plugin should not.
stage find_stage(workbench&);

}  // namespace wayfarer::host::conformance
