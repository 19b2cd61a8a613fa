// Results of several snapshots as one: each dataset gains the outermost dimension "step". Pure functions.
#pragma once

#include <cstddef>
#include <vector>

#include <wayfarer/results.hpp>

namespace wayfarer::host {

/// `parts[i]` are the results at `steps[i]`; all must hold the same datasets of the same shapes, else plugin_error. Texts are the
/// same at every step or an error, and stay as they are.
results stack_steps(std::vector<std::size_t> const& steps, std::vector<results> const& parts);

}  // namespace wayfarer::host
