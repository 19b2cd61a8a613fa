// Random rows and weights in float64, and the check of a gradient against central differences.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <wayfarer/random.hpp>
#include <wayfarer/rows.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer::test {

inline std::shared_ptr<row_packing const> pack(std::vector<std::size_t> const& lengths) {
  auto p = std::make_shared<row_packing>();
  for (auto const n : lengths) p->offsets.push_back(p->offsets.back() + n), p->first_position.push_back(0);
  return p;
}

inline void fill(std::span<double> x, std::string_view name, double sd = 1) {
  random_stream draw(11, name);
  for (auto& v : x) v = sd * draw.normal();
}
inline tensor noise(dims d, std::string_view name, double sd = 1) {
  tensor t(dtype::f64, std::move(d));
  fill(t.values<double>(), name, sd);
  return t;
}
inline rows noise_rows(std::shared_ptr<row_packing const> of, std::size_t width, std::string_view name, double sd = 1) {
  rows x(std::move(of), width, dtype::f64);
  fill({x.overwrite<double>(), x.count() * width}, name, sd);
  return x;
}
inline std::span<double> all(rows& x) {
  return {x.own<double>(), x.count() * x.width()};
}
inline std::span<double const> all(rows const& x) {
  return {x.data<double>(), x.count() * x.width()};
}

inline double weighted(rows const& y, rows const& by) {
  double sum = 0;
  for (std::size_t i = 0; i < y.count() * y.width(); ++i) sum += y.data<double>()[i] * by.data<double>()[i];
  return sum;
}

/// Every number of `x`, or about 200 of them: the gradient must be what changing it does to the loss.
inline void expect_gradient(char const* what, std::span<double> x, std::span<double const> gradient,
                            std::function<double()> const& loss, double tolerance = 2e-7) {
  ASSERT_EQ(x.size(), gradient.size()) << what;
  double largest = 0;
  for (double const g : gradient) largest = std::max(largest, std::abs(g));
  EXPECT_GT(largest, 0) << what << ": the gradient is nothing";
  std::size_t const step = std::max<std::size_t>(1, x.size() / 200);
  for (std::size_t i = 0; i < x.size(); i += step) {
    double const was = x[i], h = 1e-5 * std::max(1.0, std::abs(was));
    x[i] = was + h;
    double const up = loss();
    x[i] = was - h;
    double const down = loss();
    x[i] = was;
    ASSERT_NEAR(gradient[i], (up - down) / (2 * h), tolerance * std::max(1.0, largest)) << what << " " << i;
  }
}

}  // namespace wayfarer::test
