// Compares a run's figures with published or derived ones. Pure functions over finished results.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <wayfarer/results.hpp>

#include "pipeline/plan.hpp"

namespace wayfarer::host {

struct verdict {
  expectation const* wanted = nullptr;
  double measured = 0;
  bool within = false;
  std::string problem{};  ///< why there is nothing to compare; then `measured` is NaN
};

/// `of(node)` gives a node's results. An expectation that names no single number has a `problem`, with its place.
std::vector<verdict> compare_with_expected(plan const&, std::function<results const&(std::size_t node)> const& of);

/// "5.58 +- 0.1", "at least 1.5".
std::string describe(expectation const&);
/// The verdicts as columns, for the result file.
results tabulate(std::vector<verdict> const&);
/// The verdicts as a table, for people.
std::string format_verdicts(std::vector<verdict> const&);

}  // namespace wayfarer::host
