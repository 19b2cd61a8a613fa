// Nodes that run more than once, for the steps of a trained model or the values of a swept parameter. Their results are stacked,
// with one more dimension for each.
//
// Pure functions, called by the engine's tasks.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <wayfarer/results.hpp>
#include <wayfarer/tensor.hpp>

#include "pipeline/plan.hpp"

namespace wayfarer::host {

/// One dimension along which a node was run more than once.
struct axis {
  std::string name;
  std::vector<std::string> labels;  ///< as text, whatever the values are
  tensor numbers{};                 ///< the values where they are numbers

  std::size_t size() const noexcept { return labels.size(); }
  friend bool operator==(axis const& x, axis const& y) { return x.name == y.name && x.labels == y.labels; }
};

axis step_axis(std::vector<std::size_t> const& steps);
std::vector<axis> axes_of_sweep(plan_node const&);

/// Product of the sizes; 1 for none.
std::size_t combinations_of(std::vector<axis> const&) noexcept;
/// "step 100, norm=l2": which part this is.
std::string name_of_part(std::vector<axis> const&, std::size_t part);

/// Results of all combinations, the last axis changing fastest, as one: every dataset gains the axes as its first dimensions.
/// Where that would be more dimensions than a tensor has, the axes become one, "combination". Texts that are the same in all stay
/// as they are.
/// What is larger than some MiB is put together in a temporary file in `folder`.
results stack_parts(std::vector<axis> const&, std::vector<results> const& parts, std::string const& folder);

/// The same once more. Datasets are handles: copying them is cheap.
results copy_of(results const&);

/// The results with the given axes held at an index and the others stacked, in their order. With nothing held, `parts` is the one
/// whole already.
results slice_parts(std::vector<axis> const&, std::span<results const> parts,
                    std::vector<std::pair<std::string, std::size_t>> const& fixed, std::string const& folder);

}  // namespace wayfarer::host
