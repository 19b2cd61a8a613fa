// Ratios of sums over documents, and differences and ratios of these, with standard errors.
//
// A pooled average is sum(x_d) / sum(n_d) over documents d, not a mean of per-document means. Each value carries how much every
// document moves it (its influence), so that a difference or a ratio of two averages over the same documents has the right error.
// Values; any thread.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace wayfarer::topics {

struct pooled {
  double value = 0;
  std::vector<double> influence;  ///< [document], sums to 0

  /// NaN with fewer than two documents.
  double standard_error() const {
    if (influence.size() < 2) return std::numeric_limits<double>::quiet_NaN();
    double squares = 0;
    for (double e : influence) squares += e * e;
    auto const d = static_cast<double>(influence.size());
    return std::sqrt(squares * d / (d - 1));
  }
};

/// `sum`, `count`: [document]. NaN if nothing was counted.
inline pooled pooled_average(std::vector<double> const& sum, std::vector<double> const& count) {
  double x = 0, n = 0;
  for (std::size_t d = 0; d < sum.size(); ++d) x += sum[d], n += count[d];
  pooled p{x / n, std::vector<double>(sum.size())};
  for (std::size_t d = 0; d < sum.size(); ++d) p.influence[d] = (sum[d] - p.value * count[d]) / n;
  return p;
}

inline pooled operator-(pooled a, pooled const& b) {
  a.value -= b.value;
  for (std::size_t d = 0; d < a.influence.size(); ++d) a.influence[d] -= b.influence[d];
  return a;
}

inline pooled operator/(pooled a, pooled const& b) {
  a.value /= b.value;
  for (std::size_t d = 0; d < a.influence.size(); ++d) a.influence[d] = (a.influence[d] - a.value * b.influence[d]) / b.value;
  return a;
}

}  // namespace wayfarer::topics
