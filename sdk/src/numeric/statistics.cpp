#include <wayfarer/statistics.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include <wayfarer/error.hpp>

namespace wayfarer {

double quantile(std::span<double const> ascending, double q) {
  if (ascending.empty()) throw plugin_error("no values have no quantile");
  if (!(q >= 0 && q <= 1)) throw plugin_error("a quantile is between 0 and 1, not " + std::to_string(q));
  double const at = q * static_cast<double>(ascending.size() - 1);
  auto const i = static_cast<std::size_t>(at);
  double const next = ascending[std::min(i + 1, ascending.size() - 1)];
  return ascending[i] + (at - static_cast<double>(i)) * (next - ascending[i]);
}

double median(std::span<double> values) {
  if (values.empty()) throw plugin_error("no values have no median");
  auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

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
