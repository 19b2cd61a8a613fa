// Ranks, quantiles, and how far two orders agree.
//
// Pure functions; any thread. Sums run in a fixed order.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>

namespace wayfarer {

/// The q-quantile, 0 <= q <= 1, of values in ascending order: linear between the two nearest (type 7, as numpy does). Throws
/// plugin_error if there are none.
WAYFARER_API double quantile(std::span<double const> ascending, double q);
/// The middle value, or the mean of the middle two; the values are reordered. Throws plugin_error if there are none.
WAYFARER_API double median(std::span<double> values);

/// The rank of each value, from 1 for the smallest; equal values share the mean of their ranks. NaN has no rank: throws
/// plugin_error. Infinities have one.
WAYFARER_API std::vector<double> average_ranks(std::span<double const>);

/// Spearman's rank correlation with its error, the pairs independent (Bonett and Wright 2000): Fisher's z has the standard error
/// sqrt((1 + r^2 / 2) / (n - 3)), and r that times 1 - r^2.
struct WAYFARER_API rank_correlation {
  double count = 0;           ///< pairs
  double value = 0;           ///< NaN with fewer than two pairs, or if one side's values are all equal
  double standard_error = 0;  ///< NaN too with fewer than four pairs
  double low = 0, high = 0;   ///< of the interval of 95 %
};
/// As many values on both sides, none of them NaN: else throws plugin_error.
WAYFARER_API rank_correlation spearman(std::span<double const> x, std::span<double const> y);
/// The value alone, of ranks that `average_ranks` gave: for many correlations with one side.
WAYFARER_API double correlation_of_ranks(std::span<double const> x, std::span<double const> y);

WAYFARER_LAYOUT(rank_correlation, count, value, standard_error, low, high);

}  // namespace wayfarer
