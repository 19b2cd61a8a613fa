// Intrinsic dimension of points from the distances of each to its two nearest neighbours. Facco, d'Errico, Rodriguez and Laio
// 2017, "Estimating the intrinsic dimension of datasets by a minimal neighborhood information" (TwoNN).
//
// If points are spread evenly over d dimensions on the scale of two neighbours, log(r2 / r1) is exponential with rate d. The
// largest ratios come from the edges and from stray points, and are left out: the rate is then that of the smallest k of n draws,
//     d = (k - 1) / (x_1 + ... + x_k + (n - k) x_k),  standard error d / sqrt(k - 2),
// free of bias and with its exact error for exponential draws. (The paper fits a line to the same ratios.) Pure functions; any
// thread. Distances are float64 and summed in a fixed order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include <wayfarer/parallel.hpp>

namespace wayfarer::dimension {

struct estimate {
  double value = std::numeric_limits<double>::quiet_NaN(), standard_error = std::numeric_limits<double>::quiet_NaN();
};

inline double squared_distance(double const* a, double const* b, std::size_t width) noexcept {
  double chain[8] = {};
  std::size_t j = 0;
  for (; j + 8 <= width; j += 8)
    for (std::size_t c = 0; c < 8; ++c) chain[c] += (a[j + c] - b[j + c]) * (a[j + c] - b[j + c]);
  for (; j < width; ++j) chain[0] += (a[j] - b[j]) * (a[j] - b[j]);
  return ((chain[0] + chain[1]) + (chain[2] + chain[3])) + ((chain[4] + chain[5]) + (chain[6] + chain[7]));
}

/// The rows of points [row, width] that equal no earlier one, in order. Numbers that are not finite: none is left out.
inline std::vector<std::size_t> distinct_rows(std::span<double const> points, std::size_t width) {
  std::size_t const n = width == 0 ? 0 : points.size() / width;
  std::vector<std::size_t> order(n), kept;
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (!std::all_of(points.begin(), points.end(), [](double x) { return std::isfinite(x); })) return order;
  auto const row = [&](std::size_t i) { return points.subspan(i * width, width); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::lexicographical_compare(row(a).begin(), row(a).end(), row(b).begin(), row(b).end());
  });
  for (std::size_t i = 0; i < n; ++i)
    if (i == 0 || !std::equal(row(order[i]).begin(), row(order[i]).end(), row(order[i - 1]).begin())) kept.push_back(order[i]);
  std::sort(kept.begin(), kept.end());
  return kept;
}

/// log(r2 / r1) of each of the rows `of`, whose neighbours are the other rows among them. No two rows are equal.
inline std::vector<double> neighbour_ratios(std::span<double const> points, std::size_t width, std::span<std::size_t const> of) {
  std::vector<double> out(of.size());
  parallel_for(of.size(), [&](std::size_t i) {
    double first = std::numeric_limits<double>::infinity(), second = first;
    for (std::size_t j = 0; j < of.size(); ++j) {
      if (j == i) continue;
      double const square = squared_distance(&points[of[i] * width], &points[of[j] * width], width);
      if (square < first)
        second = first, first = square;
      else
        second = std::min(second, square);
    }
    out[i] = 0.5 * std::log(second / first);
  });
  return out;
}

/// `discard`: share of the largest ratios that is left out. NaN for fewer than 10 ratios, for ratios that are all 1, and if one
/// is not a number.
inline estimate two_nn(std::vector<double> ratios, double discard) {
  std::size_t const n = ratios.size();
  if (n < 10 || !std::all_of(ratios.begin(), ratios.end(), [](double x) { return std::isfinite(x); })) return {};
  std::sort(ratios.begin(), ratios.end());
  auto const kept = std::clamp<std::size_t>(static_cast<std::size_t>(std::ceil((1 - discard) * static_cast<double>(n))), 5, n);
  double total = static_cast<double>(n - kept) * ratios[kept - 1];
  for (std::size_t i = 0; i < kept; ++i) total += ratios[i];
  if (!(total > 0)) return {};
  double const k = static_cast<double>(kept), d = (k - 1) / total;
  return {d, d / std::sqrt(k - 2)};
}

}  // namespace wayfarer::dimension
