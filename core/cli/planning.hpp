// Shared by run, check and graph: options that choose plugins and change a pipeline, and reading it with all its problems.
#pragma once

#include <vector>

#include "cli/options.hpp"
#include "engine/instances.hpp"
#include "engine/provenance.hpp"
#include "pipeline/plan.hpp"
#include "registry/registry.hpp"

namespace wayfarer::host {

/// Adds FILE, --set and --plugin-path.
void add_plan_options(verb_options&);
/// A registry over the folders of --plugin-path and the usual ones.
registry open_registry(verb_options const&);

/// A plan with its objects, and the problems of both.
struct planned {
  plan what;
  std::vector<instance> objects;
  std::vector<problem> problems;
  file_states files_before;  ///< of the input files, before the objects read of them
};
planned read_planned(verb_options const&, registry&);

/// Prints all problems to standard error. Returns their exit code, 0 if there are none.
int report_problems(planned const&);

}  // namespace wayfarer::host
