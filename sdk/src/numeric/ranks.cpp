#include <wayfarer/ranks.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include <wayfarer/error.hpp>

namespace wayfarer {

std::vector<double> average_ranks(std::span<double const> values) {
  std::size_t const n = values.size();
  if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); }))
    throw plugin_error("a NaN has no rank; leave such values out");
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(n);
  for (std::size_t first = 0, last = 0; first < n; first = last) {
    while (last < n && values[order[last]] == values[order[first]]) ++last;
    double const rank = static_cast<double>(first + 1 + last) / 2;  // the mean of first + 1 to last
    for (std::size_t i = first; i < last; ++i) ranks[order[i]] = rank;
  }
  return ranks;
}

double correlation_of_ranks(std::span<double const> x, std::span<double const> y) {
  if (x.size() != y.size())
    throw plugin_error("ranks of " + std::to_string(x.size()) + " and of " + std::to_string(y.size()) +
                       " values have no correlation; give as many of both");
  double const mean = (static_cast<double>(x.size()) + 1) / 2;
  double xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double const a = x[i] - mean, b = y[i] - mean;
    xx += a * a, yy += b * b, xy += a * b;
  }
  if (!(xx > 0 && yy > 0)) return std::numeric_limits<double>::quiet_NaN();
  return std::clamp(xy / std::sqrt(xx * yy), -1.0, 1.0);
}

rank_correlation spearman(std::span<double const> x, std::span<double const> y) {
  constexpr double nothing = std::numeric_limits<double>::quiet_NaN(), normal_975 = 1.959963984540054;
  rank_correlation r{static_cast<double>(x.size()), correlation_of_ranks(average_ranks(x), average_ranks(y)), nothing, nothing,
                     nothing};
  if (x.size() < 4 || std::isnan(r.value)) return r;
  double const of_z = std::sqrt((1 + r.value * r.value / 2) / (r.count - 3)), z = std::atanh(r.value);
  r.standard_error = (1 - r.value * r.value) * of_z;
  r.low = std::tanh(z - normal_975 * of_z), r.high = std::tanh(z + normal_975 * of_z);
  return r;
}

}  // namespace wayfarer
