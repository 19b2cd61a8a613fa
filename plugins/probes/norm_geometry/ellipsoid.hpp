// The ellipsoid that a norm's weight makes of the sphere: its axes and the hyperplane it lies in.
//
// Called by the plugin and its tests. Pure functions; any thread.
#pragma once

#include <span>
#include <vector>

namespace wayfarer::ellipsoid {

/// |weight|, largest first.
std::vector<double> magnitudes(std::span<double const> weight);

/// Singular values of Pi G, largest first, where G = diag(weight) and Pi = I - 1 1^T / d centres: as many as weights, the last of
/// them 0. Exact to a few units in the last place of the largest.
std::vector<double> centred_axes(std::span<double const> weight);

/// The unit vector u with u . (n G) = 0 for every centred n: along 1 / weight. Where weights are 0 it is along those, which every
/// result has in common.
std::vector<double> normal(std::span<double const> weight);

}  // namespace wayfarer::ellipsoid
