// Directions on the sphere onto which a norm maps every vector.
//
// Called by the plugin `trajectory` and its tests. Pure functions, float64; any thread. The direction of a vector of length 0 is
// empty, and results for it are NaN.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <wayfarer/ops.hpp>

namespace wayfarer::sphere {

/// x, centred if the norm does that, at length 1.
inline std::vector<double> direction(std::span<double const> x, bool centred) {
  std::vector<double> u(x.begin(), x.end());
  if (centred) {
    double mean = 0;
    for (double const v : u) mean += v;
    mean /= static_cast<double>(u.size());
    for (double& v : u) v -= mean;
  }
  double const length = std::sqrt(dot(std::span<double const>(u), std::span<double const>(u)));
  if (!(length > 0)) return {};
  for (double& v : u) v /= length;
  return u;
}

/// The angle between two directions, exact for small ones too.
inline double angle(std::vector<double> const& a, std::vector<double> const& b) {
  if (a.empty() || b.empty()) return std::numeric_limits<double>::quiet_NaN();
  double less = 0, more = 0;
  for (std::size_t i = 0; i < a.size(); ++i) less += (a[i] - b[i]) * (a[i] - b[i]), more += (a[i] + b[i]) * (a[i] + b[i]);
  return 2 * std::atan2(std::sqrt(less), std::sqrt(more));
}

/// At b: the angle between the great circle that comes from a, carried on, and the one that leaves to c. 0: straight on.
inline double turning(std::vector<double> const& a, std::vector<double> const& b, std::vector<double> const& c) {
  if (a.empty() || b.empty() || c.empty()) return std::numeric_limits<double>::quiet_NaN();
  auto const tangent = [&](std::vector<double> const& to, double sign) {
    double const along = dot(std::span<double const>(to), std::span<double const>(b));
    std::vector<double> t(b.size());
    for (std::size_t i = 0; i < t.size(); ++i) t[i] = sign * (to[i] - along * b[i]);
    return direction(t, false);
  };
  return angle(tangent(a, -1), tangent(c, 1));
}

}  // namespace wayfarer::sphere
